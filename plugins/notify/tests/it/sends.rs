//! What receivers get, and what becomes of a message that nobody answers for.

use std::time::Duration;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Guarantee, Outcome, PrepareFailure, Settled};
use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tempfile::TempDir;

use crate::server::Server;
use crate::support::{HOOK_KEY, ROUTING_KEY, World, message, secret};

/// One server, and the channels `slack`, `pager` and `hook` to a path of it.
async fn world(path: &str) -> (Server, World, TempDir) {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let slack = secret(&dir, "slack", &server.url(path));
    let routing = secret(&dir, "routing", ROUTING_KEY);
    let hook = secret(&dir, "hook", HOOK_KEY);
    let url = server.url(path);
    let channels = format!(
        r#""slack": Slack(url: "{slack}"), "pager": PagerDuty(routing_key: "{routing}", url: "{url}"),
           "hook": Webhook(url: "{url}", key: "{hook}", remembers: "24h"),
           "plain": Webhook(url: "{url}", key: "{hook}")"#
    );
    (server, World::new(&channels), dir)
}

#[tokio::test]
async fn a_chat_gets_text() {
    let (server, world, _dir) = world("/chat").await;
    let input = message("slack", "update");
    let prepared = world.prepare(&input).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Manual);
    assert!(matches!(world.apply(&input, 1).await, Outcome::Done { .. }));
    let text =
        "*checkout is being rolled back*\nThe flag is off.\nNext: the release.\n(run testrun000)";
    assert_eq!(server.shown(), [json!({ "text": text })]);
}

#[tokio::test]
async fn a_pager_gets_an_event_with_the_key() {
    let (server, world, _dir) = world("/pager").await;
    let mut input = message("pager", "escalation");
    input["to"] = json!("ann");
    let prepared = world.prepare(&input).await.unwrap();
    assert_eq!((prepared.guarantee, prepared.remembered_ms), (Guarantee::Keyed, Some(3_600_000)));
    assert!(matches!(world.apply(&input, 1).await, Outcome::Done { .. }));
    let shown = &server.shown()[0];
    assert_eq!(shown["event_action"], "trigger");
    assert_eq!(shown["dedup_key"], "testrun000/tell/1/0");
    assert_eq!(shown["payload"]["severity"], "critical");
    assert_eq!(shown["payload"]["source"], "testrun000");
    assert_eq!(shown["payload"]["custom_details"]["to"], "ann");
}

#[tokio::test]
async fn a_webhook_is_signed_over_id_time_and_body() {
    let (server, world, _dir) = world("/hook").await;
    assert!(matches!(world.apply(&message("hook", "ended"), 1).await, Outcome::Done { .. }));
    let request = server.last();
    let header = |name: &str| request.headers[name].clone();
    assert_eq!(header("webhook-id"), "testrun000/tell/1/0");
    assert_eq!(header("idempotency-key"), "testrun000/tell/1/0");
    let mut mac = Hmac::<Sha256>::new_from_slice(HOOK_KEY.as_bytes()).unwrap();
    mac.update(b"testrun000/tell/1/0.");
    mac.update(header("webhook-timestamp").as_bytes());
    mac.update(b".");
    mac.update(request.body.as_bytes());
    let expected = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(header("webhook-signature"), format!("v1,{expected}"));
    assert_eq!(header("traceparent").len(), 55);
    let body = request.json();
    assert_eq!((&body["format"], &body["kind"]), (&json!(1), &json!("ended")));
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_with_the_same_bytes() {
    let (server, world, _dir) = world("/busy").await;
    assert!(matches!(world.apply(&message("slack", "update"), 1).await, Outcome::Done { .. }));
    assert_eq!((server.count(), server.shown().len()), (3, 1));
    let known = server.known.lock().unwrap();
    assert_eq!(known.requests[0].body, known.requests[2].body);
}

#[tokio::test]
async fn one_that_stays_busy_has_proven_nothing_to_have() {
    let (server, world, _dir) = world("/always-busy").await;
    let outcome = world.apply(&message("slack", "update"), 1).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("429")),
        "{outcome:?}"
    );
    assert_eq!(server.count(), 1, "a minute is more than there is");
    assert_eq!(world.settle(&message("slack", "update"), 1).await, Settled::NotDone);
}

#[tokio::test]
async fn a_no_is_a_failure_and_repeats_no_secret() {
    let (_server, world, _dir) = world("/wrong").await;
    let outcome = world.apply(&message("pager", "alarm"), 1).await;
    let Outcome::Failed { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("400") && reason.contains("***"), "{reason}");
    assert!(!reason.contains(ROUTING_KEY), "{reason}");
}

#[tokio::test]
async fn nobody_there_is_tried_until_the_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let slack = secret(&dir, "slack", "http://127.0.0.1:1/hooks/s3cr3t");
    let mut world = World::new(&format!("\"slack\": Slack(url: \"{slack}\")"));
    world.timeout = Duration::from_secs(2);
    let outcome = world.apply(&message("slack", "update"), 1).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("no connection") && !reason.contains("s3cr3t"), "{reason}");
}

#[tokio::test]
async fn a_lost_answer_is_sent_again_only_where_the_receiver_knows_the_key() {
    let (server, world, _dir) = world("/pager/lost").await;
    let input = message("pager", "escalation");
    assert!(matches!(world.apply(&input, 1).await, Outcome::Unclear { .. }));
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
    assert!(matches!(world.apply(&input, 2).await, Outcome::Done { .. }));
    assert_eq!((server.count(), server.shown().len()), (2, 1), "sent twice, shown once");
}

#[tokio::test]
async fn a_lost_answer_of_a_chat_holds_nobody_up() {
    for (kind, word) in [("update", "may not have arrived"), ("escalation", "it may have arrived")]
    {
        let (server, world, _dir) = world("/lost").await;
        let input = message("slack", kind);
        assert!(matches!(world.apply(&input, 1).await, Outcome::Unclear { .. }));
        let said = match world.settle(&input, 1).await {
            Settled::Done { output } if kind == "update" => output.to_string(),
            Settled::Failed { reason, .. } if kind == "escalation" => reason,
            other => panic!("{kind}: {other:?}"),
        };
        assert!(said.contains(word), "{said}");
        assert_eq!(server.shown().len(), 1);
    }
}

#[tokio::test]
async fn after_a_crash_a_message_is_not_doubled() {
    for channel in ["slack", "plain"] {
        let (server, world, _dir) = world("/chat").await;
        let input = message(channel, "reminder");
        world.claim_as_a_killed_engine(1);
        assert!(matches!(world.settle(&input, 1).await, Settled::Done { .. }), "{channel}");
        let input = message(channel, "alarm");
        assert!(matches!(world.settle(&input, 1).await, Settled::Failed { .. }), "{channel}");
        assert_eq!(server.count(), 0);
        let target = if channel == "slack" { "a chat" } else { "a webhook" };
        let mut cuts = Cuts::new("notify.send", target, "an engine that was killed");
        cuts.add(&format_args!("claimed, a reminder"), "may be lost, never twice; nobody waits");
        cuts.add(&format_args!("claimed, an alarm"), "may be lost, never twice; the step says so");
        cuts.assert_kept();
    }
    let (server, world, _dir) = world("/pager").await;
    let input = message("pager", "reminder");
    world.claim_as_a_killed_engine(1);
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
    assert!(matches!(world.apply(&input, 2).await, Outcome::Done { .. }));
    assert!(matches!(world.apply(&input, 3).await, Outcome::Done { .. }));
    assert_eq!(server.count(), 1, "its answer was kept");
    let mut cuts = Cuts::new("notify.send", "PagerDuty", "an engine that was killed");
    cuts.add(&format_args!("claimed"), Cuts::ONCE);
    cuts.assert_kept();
}

#[tokio::test]
async fn a_gateways_word_is_no_proof() {
    let (_server, world, _dir) = world("/gateway").await;
    assert!(matches!(world.apply(&message("hook", "update"), 1).await, Outcome::Unclear { .. }));
}

#[tokio::test]
async fn a_command_gets_the_message_and_its_exit_decides() {
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("got");
    let world = World::new(&format!(
        r#""good": Command(command: ["sh", "-c", "cat > {0}; printenv BACKOUT_KEY >> {0}"]),
           "bad": Command(command: ["sh", "-c", "echo no paper >&2; exit 3"]),
           "none": Command(command: ["/nonexistent/program"]),
           "long": Command(command: ["sleep", "60"])"#,
        file.display()
    ));
    assert!(matches!(world.apply(&message("good", "update"), 1).await, Outcome::Done { .. }));
    let got = std::fs::read_to_string(file).unwrap();
    let (body, key) = got.trim_end().rsplit_once('}').unwrap();
    assert_eq!(key, "testrun000/tell/1/0");
    assert!(body.contains(r#""kind":"update""#), "{body}");
    let outcome = world.apply(&message("bad", "update"), 1).await;
    // The record of this key is there already: the same message is not sent by another channel.
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

#[tokio::test]
async fn how_a_command_ends_is_told() {
    let cases = [
        (r#"["sh", "-c", "echo no paper >&2; exit 3"]"#, "no paper"),
        (r#"["/nonexistent/program"]"#, "cannot be started"),
        (r#"["sleep", "60"]"#, "did not end in time"),
    ];
    for (command, part) in cases {
        let mut world = World::new(&format!("\"it\": Command(command: {command})"));
        world.timeout = Duration::from_secs(1);
        let reason = match world.apply(&message("it", "update"), 1).await {
            Outcome::Failed { reason, .. } if part == "no paper" => reason,
            Outcome::Refused { reason } if part == "cannot be started" => reason,
            Outcome::Unclear { reason } if part == "did not end in time" => reason,
            other => panic!("{command}: {other:?}"),
        };
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_named_with_those_that_are() {
    let (_server, world, _dir) = world("/chat").await;
    let failure = world.prepare(&message("opps", "update")).await.unwrap_err();
    let PrepareFailure::Refused { reason } = failure else { panic!("{failure:?}") };
    assert!(reason.contains("no channel `opps`; it has hook, pager, plain, slack"), "{reason}");
}
