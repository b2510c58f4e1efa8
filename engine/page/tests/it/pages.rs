//! Pages and forms, as a browser without script asks for them.

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use backout_core::state::RunState;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::world::{World, approved, change, incident};

const HOST: &str = "127.0.0.1:7070";

struct Got {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

async fn send(world: &World, request: Request<Body>) -> Got {
    send_to(world.router.clone(), request).await
}

async fn send_to(router: axum::Router, request: Request<Body>) -> Got {
    let response: Response<Body> = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Got { status: parts.status, headers: parts.headers, text }
}

async fn get(world: &World, path: &str) -> Got {
    let request = Request::get(path).header(header::HOST, HOST).body(Body::empty()).unwrap();
    send(world, request).await
}

/// A browser that has seen a page: its cookie is its token.
struct Browser<'a> {
    world: &'a World,
    token: String,
}

impl<'a> Browser<'a> {
    async fn new(world: &'a World) -> Self {
        let got = get(world, "/").await;
        let cookie = got.headers[header::SET_COOKIE].to_str().unwrap();
        let token = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        Self { world, token }
    }

    async fn post(&self, run: &str, token: &str, fields: &[(&str, &str)]) -> Got {
        self.send(&format!("/runs/{run}/ask"), token, fields).await
    }

    async fn send(&self, path: &str, token: &str, fields: &[(&str, &str)]) -> Got {
        let mut form = format!("token={token}&command=c{}", fields.len());
        for (name, value) in fields {
            form.extend(["&", name, "=", &value.replace(' ', "+")]);
        }
        let request = Request::post(path)
            .header(header::HOST, HOST)
            .header(header::ORIGIN, format!("http://{HOST}"))
            .header(header::COOKIE, format!("backout_page={}", self.token))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        send(self.world, request.body(Body::from(form)).unwrap()).await
    }

    async fn starts(&self, fields: &[(&str, &str)]) -> Got {
        self.send("/start", &self.token, fields).await
    }

    async fn asks(&self, run: &str, fields: &[(&str, &str)]) -> Got {
        self.post(run, &self.token, fields).await
    }
}

#[tokio::test]
async fn a_list_of_runs_says_what_waits_for_a_person() {
    let world = World::new();
    let empty = get(&world, "/").await;
    assert!(empty.text.contains("No runs yet"), "{}", empty.text);
    let run = incident(&world).await;
    let all = get(&world, "/").await.text;
    for part in [run, "checkout-rollback", "in doubt", "checkout_old", "production"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(get(&world, "/?state=succeeded").await.text.contains("No run fits"));
    assert!(get(&world, "/?state=you&text=CHECKOUT+ann").await.text.contains(run));
}

#[tokio::test]
async fn what_now_is_first_and_what_is_in_doubt_is_first_of_it() {
    let world = World::new();
    let run = incident(&world).await;
    let page = get(&world, &format!("/runs/{run}")).await;
    assert_eq!(page.status, StatusCode::OK);
    let at = |text: &str| page.text.find(text).unwrap_or_else(|| panic!("{text}: {}", page.text));
    assert!(at("What now?") < at("In doubt"));
    assert!(at("In doubt") < at("Waits for approval"));
    assert!(at("Waits for approval") < at("As a list"));
    assert!(page.text.contains("the shop keeps no record of it"), "the evidence");
    assert!(page.text.contains("3,204 rows lose a value"), "the difference");
    assert!(page.text.contains("drops-column"), "the hazard");
    // What a target says is text and never markup.
    assert!(page.text.contains("&lt;b&gt;no leader&lt;/b&gt; &amp;"));
    assert!(!page.text.contains("<b>no leader"));
}

#[tokio::test]
async fn what_may_not_be_done_is_shown_with_the_reason() {
    let world = World::new();
    let run = incident(&world).await;
    let page = get(&world, &format!("/runs/{run}?step=schema_down")).await.text;
    assert!(
        page.contains("is approved by dba, and nobody-here (claimed) is none of them"),
        "{page}"
    );
    assert!(page.contains("Approve, breaking the glass"));
    assert!(page.contains("`schema_down` is waiting; nothing of it is in doubt"));
}

#[tokio::test]
async fn a_form_is_followed_once_and_leads_back() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    let fields = [("word", "approve"), ("step", "index_drop"), ("reason", "checked with dba")];
    let got = browser.asks(run, &fields).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let back = got.headers[header::LOCATION].to_str().unwrap().to_owned();
    assert!(back.starts_with(&format!("/runs/{run}?said=")) && back.ends_with("&step=index_drop"));
    // Sent again, as by an impatient finger.
    assert_eq!(browser.asks(run, &fields).await.status, StatusCode::SEE_OTHER);
    world.until(run, "index_drop", "succeeded").await;
    let page = get(&world, &back).await.text;
    assert!(page.contains("Recorded as event"));
    assert_eq!(page.matches("checked with dba").count(), 1, "{page}");
    assert!(page.contains("by nobody-here (claimed)</b>"), "{page}");
}

#[tokio::test]
async fn who_comes_too_late_is_told_what_changed() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    browser.asks(run, &[("word", "reject"), ("step", "index_drop"), ("reason", "not now")]).await;
    world.until(run, "index_drop", "failed").await;
    let late = [("word", "approve"), ("step", "index_drop"), ("seen", "9"), ("reason", "my words")];
    let got = browser.asks(run, &late).await;
    assert_eq!(got.status, StatusCode::PRECONDITION_FAILED);
    assert!(got.text.contains("Not done: Approve"), "{}", got.text);
    assert!(got.text.contains("Since you looked:"));
    assert!(got.text.contains("rejected by nobody-here (claimed): not now"));
    assert!(got.text.contains("my words"), "what was typed is not lost");
}

#[tokio::test]
async fn two_try_the_same_and_one_keeps_what_was_typed() {
    let world = World::new();
    let run = incident(&world).await;
    let seen = last_seen(&world, run).await;
    let (first, second) = (Browser::new(&world).await, Browser::new(&world).await);
    let of = |word: &'static str, why: &'static str| {
        vec![("word", word), ("step", "schema_down"), ("seen", &*seen), ("reason", why)]
    };
    assert_eq!(first.asks(run, &of("hold", "I look")).await.status, StatusCode::SEE_OTHER);
    // With one field more it is another sending.
    let other = [of("reject", "no, stop"), vec![("evidence", "")]].concat();
    let got = second.asks(run, &other).await;
    assert_eq!(got.status, StatusCode::PRECONDITION_FAILED);
    assert!(got.text.contains("I look"), "it is told what the other did");
    assert!(got.text.contains("rows=\"2\">no, stop</textarea>"), "what was typed is kept");
    // Seen now, it is decided on what is so.
    let now = last_seen(&world, run).await;
    let again = [("word", "note"), ("seen", &now), ("reason", "then you do")];
    assert_eq!(second.asks(run, &again).await.status, StatusCode::SEE_OTHER);
}

/// The run's last event, as the forms of its page carry it.
async fn last_seen(world: &World, run: &str) -> String {
    let page = get(world, &format!("/runs/{run}")).await.text;
    let (_, rest) = page.split_once("name=\"seen\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn what_is_in_doubt_is_settled_with_evidence() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    let settle = [("word", "settle-done"), ("step", "checkout_old")];
    let refused = browser.asks(run, &settle).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.text.contains("this needs a reason"), "{}", refused.text);
    let evidence = ("evidence", "three pods answer 2025.11.3");
    let given = [settle[0], settle[1], evidence, ("reason", "I looked")];
    assert_eq!(browser.asks(run, &given).await.status, StatusCode::SEE_OTHER);
    world.until(run, "checkout_old", "succeeded").await;
    let page = get(&world, &format!("/runs/{run}?step=checkout_old")).await.text;
    assert!(page.contains("three pods answer 2025.11.3"));
}

#[tokio::test]
async fn a_step_by_hand_is_added_and_approved() {
    let world = World::new();
    let run = incident(&world).await;
    let page = get(&world, &format!("/runs/{run}")).await.text;
    assert!(page.contains("Add a step by hand") && page.contains("name=\"does\""), "{page}");
    let browser = Browser::new(&world).await;
    let fields = [
        ("word", "insert"),
        ("name", "call_bank"),
        ("does", "Call the bank"),
        ("after", "announce"),
        ("reason", "they hold the payments"),
    ];
    let got = browser.asks(run, &fields).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    world.until(run, "call_bank", "waiting").await;
    let page = get(&world, &format!("/runs/{run}?step=call_bank")).await.text;
    assert!(page.contains("Call the bank") && page.contains("they hold the payments"), "{page}");
    let got = browser.asks(run, &[("word", "approve"), ("step", "call_bank")]).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    world.until(run, "call_bank", "succeeded").await;
    let unnamed = [("word", "insert"), ("name", "Call"), ("does", "x"), ("reason", "y")];
    let got = browser.asks(run, &unnamed).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(got.text.contains("is no name for a step"), "{}", got.text);
}

#[tokio::test]
async fn the_command_of_one_who_is_gone_is_taken_by_breaking_the_glass() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    let got = browser.asks(run, &[("word", "hand-over"), ("to", "bea")]).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let got = browser.asks(run, &[("word", "take-command"), ("reason", ""), ("to", "")]).await;
    assert_eq!(got.status, StatusCode::CONFLICT, "{}", got.text);
    let fields =
        [("word", "take-command-glass"), ("step", ""), ("to", ""), ("reason", "bea sleeps")];
    let got = browser.asks(run, &fields).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let page = get(&world, &format!("/runs/{run}")).await.text;
    assert!(page.contains("commanded by <b>nobody-here (claimed)</b>"), "{page}");
    assert!(page.contains("break glass: the rules were set aside"), "{page}");
}

#[tokio::test]
async fn a_lock_is_seen_with_its_holder_and_taken_over() {
    let world = World::new();
    let (first, second) = ("f000000000", "s000000000");
    let steps = vec![change("db", "", &[], "well", &[]), approved("more", "", &["db"], &[])];
    world.start(first, "one", steps).await;
    world.until(first, "more", "waiting").await;
    world.start(second, "two", vec![change("db", "", &[], "well", &[])]).await;
    world.until(second, "db", "waiting").await;
    let page = get(&world, &format!("/runs/{second}?step=db")).await.text;
    assert!(page.contains("Take over what it waits for"), "{page}");
    assert!(page.contains(&format!("action=\"/runs/{first}/ask\"")), "{page}");
    let locks = get(&world, "/locks").await.text;
    for part in ["shop:db", "of one", "commanded by", &format!("run {second}")] {
        assert!(locks.contains(part), "{part}: {locks}");
    }
    let browser = Browser::new(&world).await;
    let fields = [("word", "yield"), ("targets", "shop:db"), ("reason", "two is more urgent")];
    let got = browser.asks(first, &fields).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    world.until(second, "db", "succeeded").await;
}

#[tokio::test]
async fn targets_are_held_against_all_runs() {
    let world = World::new();
    let browser = Browser::new(&world).await;
    let held = [("targets", "shop:db"), ("reason", "the vendor looks at it")];
    let got = browser.send("/locks", &browser.token, &held).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let run = got.headers[header::LOCATION].to_str().unwrap().to_owned();
    let run = run.trim_start_matches("/runs/");
    world.until(run, "release", "waiting").await;
    assert!(get(&world, "/locks").await.text.contains("shop:db"));
    world.start("s000000000", "two", vec![change("db", "", &[], "well", &[])]).await;
    world.until("s000000000", "db", "waiting").await;
    let foreign = browser.send("/locks", "0123", &held).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let yes = [("word", "approve"), ("step", "release"), ("reason", "they are done")];
    let got = browser.asks(run, &yes).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    world.until("s000000000", "db", "succeeded").await;
}

#[tokio::test]
async fn what_people_outside_were_told_stands_on_the_page() {
    let world = World::new();
    let run = incident(&world).await;
    let page = get(&world, &format!("/runs/{run}")).await.text;
    assert!(page.contains("Nobody was told anything of this run"), "{page}");
    for (message, how, title) in [
        ("m000000000", "well", "How it stands"),
        ("m000000001", "held", "Still so"),
        ("m000000002", "fails", "IN DOUBT"),
    ] {
        world.tell(message, run, how, title).await;
    }
    world.until("m000000000", "send", "succeeded").await;
    world.until("m000000001", "send", "running").await;
    world.until("m000000002", "send", "waiting").await;
    let page = get(&world, &format!("/runs/{run}")).await.text;
    for part in ["1 sent, 2 waiting", "How it stands", "update to ops", "the cache answers 503"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let request = Request::get(format!("/api/v1/runs/{run}/messages")).header(header::HOST, HOST);
    let all = send(&world, request.body(Body::empty()).unwrap()).await;
    assert_eq!(all.text.matches("\"channel\":\"ops\"").count(), 3, "{}", all.text);
}

#[tokio::test]
async fn a_plan_too_large_to_be_drawn_is_shown_by_what_must_be_looked_at() {
    let world = World::new();
    let run = "b000000000";
    let mut steps: Vec<_> = (0..420)
        .map(|at| change(&format!("move_{at}"), "Move a shard", &[], "well", &[]))
        .collect();
    steps.push(change("stuck", "The shard that will not", &["move_7"], "unclear", &[]));
    steps.push(change("after", "Say so", &["stuck"], "well", &[]));
    world.start(run, "shards", steps).await;
    let moved = |state: &RunState| state.met == 420 && !state.asking.is_empty();
    world.until_state(run, "420 shards are moved and one is stuck", moved).await;
    let page = get(&world, &format!("/runs/{run}")).await.text;
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
    assert!(at("422 steps are too many") < at("id=\"group-in-doubt\" open"));
    assert!(at("id=\"group-in-doubt\" open") < at("id=\"group-pending\">"));
    assert!(at("id=\"group-pending\">") < at("id=\"group-succeeded\">"));
    assert!(page.contains("and 220 more; find them by name"), "{page}");
    let drawn = &page[at("<svg")..at("</svg>")];
    for near in ["move_7", "stuck", "after"] {
        assert!(drawn.contains(&format!(">{near}<")), "{near}: {drawn}");
    }
    assert!(!drawn.contains(">move_8<"));
    let found = get(&world, &format!("/runs/{run}?find=MOVE_41")).await.text;
    assert!(found.contains("11 with") && !found.contains("id=\"group-"), "{found}");
}

#[tokio::test]
async fn a_form_of_another_page_is_refused() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    let got = browser.post(run, "0123", &[("word", "abort")]).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
    assert!(got.text.contains("nothing was done"));
    let page = get(&world, &format!("/runs/{run}")).await.text;
    assert!(!page.contains("run aborted"));
}

#[tokio::test]
async fn a_replay_shows_what_was_known_then_and_commands_nothing() {
    let world = World::new();
    let run = incident(&world).await;
    let now = get(&world, &format!("/runs/{run}")).await.text;
    assert!(now.contains(&format!("/runs/{run}?at=1\"")), "a link to the replay");
    let first = get(&world, &format!("/runs/{run}?at=1&step=schema_down")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.text);
    let first = first.text;
    for part in [
        "Event 1 of ",
        "What was known just then",
        "run of checkout-rollback created",
        "What was known then",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    for later in
        ["the shop keeps no record of it", "3,204 rows", "Waits for approval", "in doubt</span>"]
    {
        assert!(!first.contains(later), "{later}: {first}");
    }
    assert!(!first.contains("/ask\"") && !first.contains("data-live"), "{first}");
    assert!(first.contains(&format!("/runs/{run}?at=1&amp;step=announce#step")), "{first}");
    assert!(first.contains(&format!("/runs/{run}?at=2&amp;step=schema_down\"")), "one on: {first}");
    assert!(first.contains("<span class=\"move\" id=\"move-before\" aria-disabled"), "{first}");
    let last = last_of(&first);
    let end = get(&world, &format!("/runs/{run}?at={last}")).await.text;
    assert!(end.contains("the shop keeps no record of it") && !end.contains("/ask\""), "{end}");
    assert!(end.contains("<span class=\"move\" id=\"move-next\" aria-disabled"), "{end}");
    let beyond = get(&world, &format!("/runs/{run}?at=9999")).await;
    assert_eq!(beyond.status, StatusCode::NOT_FOUND);
    assert!(beyond.text.contains("has no event 9999"), "{}", beyond.text);
}

#[tokio::test]
async fn a_replay_goes_from_decision_to_decision() {
    let world = World::new();
    let run = incident(&world).await;
    let browser = Browser::new(&world).await;
    for (word, step) in [("approve", "index_drop"), ("skip", "cache_flush")] {
        let fields = [("word", word), ("step", step), ("reason", "because of it")];
        let fields = &fields[..if word == "skip" { 3 } else { 2 }];
        let got = browser.asks(run, fields).await;
        assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    }
    let mut page = get(&world, &format!("/runs/{run}?at=1")).await.text;
    let mut seen = Vec::new();
    while let Some(next) = href(&page, "move-decision-next") {
        page = get(&world, &next).await.text;
        seen.push(
            page.split("data-words=\"").nth(1).unwrap().split('"').next().unwrap().to_owned(),
        );
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].ends_with("index_drop approved"), "{seen:?}");
    assert!(seen[1].ends_with("cache_flush skipped by a person"), "{seen:?}");
    assert!(page.contains("because of it"), "the reason");
    let back = get(&world, &href(&page, "move-decision-before").unwrap()).await.text;
    assert!(back.contains("index_drop approved"), "{back}");
}

#[tokio::test]
async fn a_record_alone_is_replayed_and_nothing_can_be_asked_of_it() {
    let world = World::new();
    let run = incident(&world).await;
    let record = world.record(run);
    let get = async |path: &str| {
        let request = Request::get(path).header(header::HOST, HOST).body(Body::empty()).unwrap();
        send_to(record.clone(), request).await
    };
    let list = get("/").await;
    assert_eq!(list.headers[header::LOCATION], format!("/runs/{run}?at=1"));
    let page = get(&format!("/runs/{run}")).await.text;
    assert!(page.contains("Event 1 of ") && page.contains("there is no engine here"), "{page}");
    for absent in ["Back to now", "/start", "data-live", "You act as"] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
    let end = get(&format!("/runs/{run}?at={}", last_of(&page))).await.text;
    assert!(end.contains("the shop keeps no record of it"), "{end}");
    assert_eq!(get("/start").await.status, StatusCode::NOT_FOUND);
    let ask = Request::post(format!("/runs/{run}/ask")).header(header::HOST, HOST);
    let asked = send_to(record.clone(), ask.body(Body::empty()).unwrap()).await;
    assert_eq!(asked.status, StatusCode::NOT_FOUND);
}

/// Where a link of the replay leads.
fn href(page: &str, id: &str) -> Option<String> {
    let link = page.split(&format!("id=\"{id}\" href=\"")).nth(1)?;
    Some(link.split('"').next()?.replace("&amp;", "&"))
}

fn last_of(page: &str) -> u64 {
    page.split("data-last=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn every_answer_is_guarded() {
    let world = World::new();
    for path in ["/", "/runs/zzzzzzzzzz", "/runs/nonsense", "/exercise", "/page/nothing.js"] {
        let got = get(&world, path).await;
        let policy = got.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}");
        assert!(!got.text.contains("<style") && !got.text.contains(" style="), "{path}");
        assert!(!got.text.contains(" onclick=") && !got.text.contains("<script>"), "{path}");
    }
    assert_eq!(get(&world, "/runs/zzzzzzzzzz").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&world, "/exercise").await.status, StatusCode::NOT_FOUND, "none is led here");
    for path in ["/exercise", "/exercise/emergency"] {
        let form = Request::post(path).header(header::HOST, HOST);
        let form = form.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let got = send(&world, form.body(Body::from("token=&line=end")).unwrap()).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{path}");
    }
    let foreign = Request::get("/").header(header::HOST, "evil.example:7070");
    let got = send(&world, foreign.body(Body::empty()).unwrap()).await;
    assert_eq!(got.status, StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn the_page_names_a_stream_that_tells_of_changes() {
    let world = World::new();
    let run = incident(&world).await;
    let page = get(&world, &format!("/runs/{run}")).await.text;
    let live = page.split("data-live=\"").nth(1).unwrap().split('"').next().unwrap();
    let request = Request::get(live).header(header::HOST, HOST);
    let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{live}");
    let mut body = response.into_body();
    world.let_on("pricing_old");
    let mut heard = String::new();
    while !heard.contains("effect-done") {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        heard.push_str(std::str::from_utf8(&frame).unwrap());
    }
    assert!(heard.contains("event: beat"), "{heard}");
}

#[tokio::test]
async fn a_runbook_is_started_only_after_its_plan_was_seen() {
    let folder = std::env::temp_dir().join(format!("backout-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("hello.ron"), HELLO).unwrap();
    let world = World::with_books(&folder);
    let browser = Browser::new(&world).await;
    assert!(get(&world, "/start").await.text.contains("/start?runbook=hello"));
    let asked = get(&world, "/start?runbook=hello").await.text;
    assert!(asked.contains("name=\"p.who\"") && asked.contains("whom to greet"), "{asked}");
    let seen = get(&world, "/start?runbook=hello&look=1&p.who=ann").await.text;
    assert!(seen.contains("What it would do") && seen.contains("Start hello"), "{seen}");
    let digest = seen.split("name=\"digest\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let wrong = [("runbook", "hello"), ("digest", digest), ("p.who", "bea")];
    assert_eq!(browser.starts(&wrong).await.status, StatusCode::CONFLICT);
    let right = [("runbook", "hello"), ("digest", digest), ("p.who", "ann"), ("reason", "try")];
    let got = browser.starts(&right).await;
    assert_eq!(got.status, StatusCode::SEE_OTHER, "{}", got.text);
    let again = browser.starts(&right).await;
    assert_eq!(again.headers[header::LOCATION], got.headers[header::LOCATION], "one run");
    let run = got.headers[header::LOCATION].to_str().unwrap();
    world.until(run.trim_start_matches("/runs/"), "greet", "waiting").await;
    std::fs::remove_dir_all(&folder).unwrap();
}

const HELLO: &str = r#"Runbook(format: 1, name: "hello", title: "A greeting",
    params: { "who": (help: "whom to greet") },
    steps: [(id: "greet", action: "wait.approval", with: (text: "hello ${params.who}"))])"#;
