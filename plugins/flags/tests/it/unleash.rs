//! Unleash's own server.

mod conforms;
mod windows;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use backout_plugin_api::{
    Action, Context, EffectKey, Guarantee, MadeEffect, Outcome, PrepareFailure, Prepared, Reverted,
    Satisfied, SecretError, SecretRef, SecretSource, Settled,
};
use backout_plugin_flags::{FlagsAssert, FlagsForce, FlagsRestore, ServerPoint};
use backout_test_targets::flags::{OUR_TOKEN, THEIR_TOKEN, Unleash};
use backout_test_targets::postgres::Postgres;
use serde_json::{Value, json};

use super::{NOW_MS, call, context};

/// Longer than a sending's request may still take effect.
const LATER_MS: i64 = 60_000;
const ENVIRONMENT: &str = "development";

/// One server for all tests; each has flags of its own.
fn server() -> Option<&'static Unleash> {
    static SERVER: OnceLock<Option<(Unleash, Postgres)>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        Unleash::is_here().then(|| {
            let postgres = Postgres::start().unwrap();
            (Unleash::start(&postgres).unwrap(), postgres)
        })
    });
    server.as_ref().map(|(unleash, _)| unleash)
}

#[derive(Debug)]
struct Tokens;

impl SecretSource for Tokens {
    fn resolve(&self, reference: &SecretRef) -> Result<backout_plugin_api::Secret, SecretError> {
        let value = if reference.0 == "env:TOKEN" { OUR_TOKEN } else { "*:*.wrong-token" };
        Ok(backout_plugin_api::Secret::new(value.to_owned()))
    }
}

/// One flag of its own on the server.
struct Flag {
    url: String,
    name: String,
    scratch: tempfile::TempDir,
}

fn strategy(rollout: &str, users: &[&str]) -> Value {
    json!({
        "name": "flexibleRollout",
        "title": format!("{rollout} percent"),
        "parameters": {"rollout": rollout, "stickiness": "default", "groupId": "g"},
        "constraints": [{"contextName": "userId", "operator": "IN", "values": users}],
    })
}

impl Flag {
    /// On for two strategies.
    async fn new(url: &str) -> Self {
        let flag = Self::bare(url).await;
        flag.ask("POST", "/strategies", Some(strategy("50", &["u1", "u2"]))).await;
        flag.ask("POST", "/strategies", Some(strategy("100", &["u1"]))).await;
        flag.ask("POST", "/on", None).await;
        flag
    }

    async fn bare(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("flag-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let flag = Self { url: url.to_owned(), name, scratch: tempfile::tempdir().unwrap() };
        let features = format!("{}/api/admin/projects/default/features", flag.url);
        let made = json!({"name": flag.name, "type": "release"});
        send("POST", &features, OUR_TOKEN, Some(made)).await;
        flag
    }

    fn at(&self, path: &str) -> String {
        let Self { url, name, .. } = self;
        format!("{url}/api/admin/projects/default/features/{name}/environments/{ENVIRONMENT}{path}")
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        send(method, &self.at(path), OUR_TOKEN, body).await
    }

    async fn by_alice(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        send(method, &self.at(path), THEIR_TOKEN, body).await
    }

    /// What users get of it: the switch and the strategies, without the server's ids.
    async fn state(&self) -> Value {
        let mut state = self.ask("GET", "", None).await;
        for strategy in state["strategies"].as_array_mut().unwrap() {
            strategy.as_object_mut().unwrap().remove("id");
        }
        state
    }

    async fn events(&self) -> Vec<String> {
        let url = format!("{}/api/admin/events/{}", self.url, self.name);
        let said = send("GET", &url, OUR_TOKEN, None).await;
        let events = said["events"].as_array().unwrap();
        events.iter().rev().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    fn input(&self, more: &Value) -> Value {
        let mut input = json!({
            "system": "unleash",
            "server": {"url": self.url, "token": "env:TOKEN", "environment": ENVIRONMENT},
        });
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    }

    fn off(&self) -> Value {
        self.input(&json!({"flag": self.name}))
    }

    fn context(&self) -> Context {
        let scratch = self.scratch.path().join("scratch");
        Context { secrets: Arc::new(Tokens), scratch, ..context(self.scratch.path()) }
    }

    async fn restore_of(&self, made: &backout_plugin_api::Call) -> Value {
        let made = MadeEffect {
            input: made.input.clone(),
            prepared: Arc::clone(&made.prepared),
            effect: 0,
            key: made.key.clone(),
            output: Value::Null,
            whole: true,
        };
        let Reverted::By { action, input } = FlagsForce::off().revert(&self.context(), &made).await
        else {
            panic!("no way back")
        };
        assert_eq!(action.as_str(), "flags.restore");
        input
    }
}

async fn send(method: &str, url: &str, token: &str, body: Option<Value>) -> Value {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = reqwest::Client::new().request(method, url).header("authorization", token);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{url}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}

async fn apply(action: &dyn Action, flag: &Flag, input: &Value, key: &str) -> (Prepared, Outcome) {
    let prepared = action.prepare(&flag.context(), input).await.unwrap();
    let mut made = call(input, prepared.clone(), 1);
    made.key = EffectKey::from_text(key);
    (prepared, action.apply(&flag.context(), &made).await)
}

#[tokio::test]
async fn off_touches_the_switch_alone_and_its_undo_adds_no_strategy() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let (before, events) = (flag.state().await, flag.events().await.len());
    let (off, input) = (FlagsForce::off(), flag.off());
    let prepared = off.prepare(&flag.context(), &input).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Probed);
    assert_eq!(prepared.difference(), [format!("{}: on -> off", flag.name)]);
    let made = call(&input, prepared, 1);
    let outcome = off.apply(&flag.context(), &made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(flag.events().await[events..], ["feature-environment-disabled"]);
    let again = off.prepare(&flag.context(), &input).await.unwrap();
    assert_eq!(again.effects[0].satisfied, Satisfied::Yes);

    let back = flag.restore_of(&made).await;
    let (_, outcome) =
        apply(&FlagsRestore::default(), &flag, &back, "0123456789/s/undo-1/1/0").await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(flag.state().await, before);
    assert_eq!(flag.events().await[events + 1..], ["feature-environment-enabled"]);
}

/// `/on` gives the flag to everybody where it has no strategy, or only disabled ones. Unleash turns
/// a flag off by itself when its last active strategy goes, so none is on like that; a restore to
/// it is refused, and one whose strategies somebody removed makes them first.
#[tokio::test]
async fn a_restore_never_lets_on_add_a_strategy_for_everybody() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let before = flag.state().await;
    let (prepared, outcome) =
        apply(&FlagsForce::off(), &flag, &flag.off(), "0123456789/s/1/0").await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    for strategy in flag.ask("GET", "", None).await["strategies"].as_array().unwrap() {
        let path = format!("/strategies/{}", strategy["id"].as_str().unwrap());
        flag.ask("DELETE", &path, None).await;
    }
    let back = flag.restore_of(&call(&flag.off(), prepared, 1)).await;
    let (_, outcome) =
        apply(&FlagsRestore::default(), &flag, &back, "0123456789/s/undo-1/1/0").await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(flag.state().await, before);

    let mut disabled = flag.ask("GET", "", None).await["strategies"].clone();
    for strategy in disabled.as_array_mut().unwrap() {
        strategy["disabled"] = json!(true);
        let path = format!("/strategies/{}", strategy["id"].as_str().unwrap());
        flag.ask("PUT", &path, Some(strategy.clone())).await;
    }
    assert_eq!(flag.state().await["enabled"], false, "Unleash turns it off by itself");
    let state = json!({"enabled": true, "strategies": disabled});
    let input = flag.input(&json!({"states": {flag.name.clone(): state}}));
    let failure = FlagsRestore::default().prepare(&flag.context(), &input).await.unwrap_err();
    assert!(failure.reason().contains("without an active strategy"), "{}", failure.reason());
    flag.ask("POST", "/on", None).await;
    let added = flag.state().await["strategies"].as_array().unwrap().len();
    assert_eq!(added, 3, "`/on` adds one for everybody");
}

/// What somebody did after ours is theirs: it is not undone by a second sending of ours.
#[tokio::test]
async fn a_flag_that_somebody_turned_on_again_is_left_to_a_person() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let off = FlagsForce::off().with_server_fault(|point| point == ServerPoint::Written(1));
    let (ctx, input) = (flag.context(), flag.off());
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    off.apply(&ctx, &made).await;
    flag.by_alice("POST", "/on", None).await;
    let later = Context { now_ms: NOW_MS + LATER_MS, ..ctx.clone() };
    let Settled::Unknown { evidence } = off.settle(&later, &made).await else { panic!() };
    assert!(evidence.contains("feature-environment-enabled by alice"), "{evidence}");

    // Somebody who turned it off before us did it: ours is refused, and an undo leaves it alone.
    let made = call(&input, FlagsForce::off().prepare(&ctx, &input).await.unwrap(), 1);
    let made = backout_plugin_api::Call { key: EffectKey::from_text("0123456789/s/2/0"), ..made };
    flag.by_alice("POST", "/off", None).await;
    let outcome = FlagsForce::off().apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
}

/// What a watch of the step tells: who turned it on again, here and not elsewhere.
#[tokio::test]
async fn who_changed_it_last_is_said_where_it_is_not_as_wanted() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let (ctx, input, off) = (flag.context(), flag.off(), FlagsForce::off());
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    assert!(matches!(off.apply(&ctx, &made).await, Outcome::Done { .. }));
    assert_eq!(off.prepare(&ctx, &input).await.unwrap().changed_by(), None);
    flag.by_alice("POST", "/on", None).await;
    let elsewhere = flag.at("/on").replace(ENVIRONMENT, "production");
    send("POST", &elsewhere, OUR_TOKEN, None).await;
    let prepared = off.prepare(&ctx, &input).await.unwrap();
    let by = prepared.changed_by().unwrap();
    assert!(by.starts_with("alice (feature-environment-enabled at 2"), "{by}");
}

#[tokio::test]
async fn somebody_else_is_seen_and_nothing_of_theirs_is_lost() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let (ctx, input) = (flag.context(), flag.off());
    let off = FlagsForce::off();
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    flag.by_alice("POST", "/strategies", Some(strategy("3", &["u3"]))).await;
    let Outcome::Done { output } = off.apply(&ctx, &made).await else { panic!() };
    let told = output["changed_by_others"][0].as_str().unwrap();
    assert!(told.contains("feature-strategy-add by alice"), "{told}");
    assert_eq!(flag.state().await["strategies"].as_array().unwrap().len(), 3);
    let Settled::Done { output: settled } = off.settle(&ctx, &made).await else { panic!() };
    assert_eq!(settled, output);

    // The undo would take it away: a hazard. A change after that is refused.
    let back = flag.restore_of(&made).await;
    let restore = FlagsRestore::default();
    let prepared = restore.prepare(&ctx, &back).await.unwrap();
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["changed-since"]);
    flag.by_alice("POST", "/strategies", Some(strategy("4", &["u4"]))).await;
    let mut made = call(&back, prepared, 1);
    made.key = EffectKey::from_text("0123456789/s/undo-1/1/0");
    let Outcome::Refused { reason } = restore.apply(&ctx, &made).await else { panic!() };
    assert!(reason.contains("by alice") && reason.contains("nothing was changed"), "{reason}");
    assert_eq!(flag.state().await["strategies"].as_array().unwrap().len(), 4);
}

/// There is no compare-and-swap: a change between our look and our writing is written over, and
/// said with the event that keeps it.
#[tokio::test]
async fn a_change_in_the_last_moment_is_told_with_the_event_that_keeps_it() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let wanted = flag.ask("GET", "", None).await;
    let first = wanted["strategies"][0]["id"].as_str().unwrap().to_owned();
    flag.ask("PUT", &format!("/strategies/{first}"), Some(strategy("7", &["u7"]))).await;
    let state = json!({"enabled": true, "strategies": wanted["strategies"]});
    let input = flag.input(&json!({"states": {flag.name.clone(): state}}));
    let url = flag.at(&format!("/strategies/{first}"));
    let restore = FlagsRestore::default().with_server_fault(move |point| {
        if point == ServerPoint::Claimed {
            let url = url.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let theirs = strategy("66", &["theirs"]);
                runtime.unwrap().block_on(send("PUT", &url, THEIR_TOKEN, Some(theirs)));
            })
            .join()
            .unwrap();
        }
        false
    });
    let (_, outcome) = apply(&restore, &flag, &input, "0123456789/s/1/0").await;
    let Outcome::Failed { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("feature-strategy-update by alice"), "{reason}");
    let url = format!("{}/api/admin/events/{}", flag.url, flag.name);
    assert!(send("GET", &url, OUR_TOKEN, None).await.to_string().contains("theirs"));
}

#[tokio::test]
async fn set_on_gives_it_to_everybody_and_the_playground_proves_it() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let endpoint = json!({"name": "unleash", "kind": "unleash", "url": flag.url,
        "api_key": "env:TOKEN", "environment": ENVIRONMENT});
    let prove = json!({"endpoints": [endpoint], "polls": 2, "every": "10ms", "converge": "5s",
        "contexts": [{"targetingKey": "u1"}, {"targetingKey": "nobody"}]});
    let more = |variation: &str| {
        flag.input(&json!({"flag": flag.name, "variation": variation, "prove": prove}))
    };
    let ctx = flag.context();
    for (variation, run) in [("on", "a"), ("off", "b")] {
        let input = more(variation);
        let set = FlagsForce::set();
        let prepared = set.prepare(&ctx, &input).await.unwrap();
        for effect in 0..2 {
            let mut made = call(&input, prepared.clone(), 1);
            made.effect = effect;
            made.key = EffectKey::from_text(&format!("{run}/s/1/{effect}"));
            let outcome = set.apply(&ctx, &made).await;
            assert!(matches!(outcome, Outcome::Done { .. }), "{variation} {effect}: {outcome:?}");
        }
        let prepared = FlagsAssert.prepare(&ctx, &input).await.unwrap();
        let outcome = FlagsAssert.apply(&ctx, &call(&input, prepared, 1)).await;
        let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
        let answers = &output["proof"]["endpoints"][0]["answers"][&flag.name];
        assert_eq!(answers[0]["variation"], variation, "{output}");
        assert_eq!(answers.as_array().unwrap().len(), 1);
    }
    let outcome = FlagsAssert
        .apply(&ctx, &call(&more("on"), FlagsAssert.prepare(&ctx, &more("on")).await.unwrap(), 1))
        .await;
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
}

#[tokio::test]
async fn refusals_say_why() {
    let Some(server) = server() else { return };
    let flag = Flag::new(&server.url()).await;
    let cases = [
        (json!({"flag": "not-there"}), "no feature named"),
        (
            json!({"flag": flag.name, "server": {"url": flag.url, "token": "env:OTHER",
            "environment": ENVIRONMENT}}),
            "401",
        ),
        (
            json!({"flag": flag.name, "server": {"url": flag.url, "token": "env:TOKEN",
            "environment": "nowhere"}}),
            "nowhere",
        ),
        (json!({"flag": flag.name, "off_variation": "blue"}), "`on` or `off`"),
    ];
    for (more, why) in cases {
        let failure = FlagsForce::off().prepare(&flag.context(), &flag.input(&more)).await;
        let failure = failure.unwrap_err();
        assert!(matches!(failure, PrepareFailure::Refused { .. }), "{failure:?}");
        assert!(failure.reason().contains(why), "{more}: {}", failure.reason());
    }
    let input = flag.input(&json!({"flag": flag.name, "known_flags": ["other"]}));
    let prepared = FlagsForce::off().prepare(&flag.context(), &input).await.unwrap();
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["unknown-to-release"]);
}
