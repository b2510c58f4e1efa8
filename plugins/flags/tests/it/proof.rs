//! The proof by evaluation, by the flag systems' own servers.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{
    Action, ActionName, Call, EffectKey, MadeEffect, Outcome, Prepared, Reverted, Satisfied,
    SecretError, SecretRef, SecretSource, Settled,
};
use backout_plugin_flags::{FlagsAssert, FlagsForce, FlagsRestore};
use backout_test_targets::flags::{Relay, RelayOptions, System};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::fake::Fake;
use super::{Folder, JSON, TOML, YAML, action, call, context, prepare};

const KEY: &str = "s3cret-evaluation-key";
const ADMIN: &str = "s3cret-admin-key";

/// Gives the two keys by name.
#[derive(Debug)]
struct Keys;

impl SecretSource for Keys {
    fn resolve(&self, reference: &SecretRef) -> Result<backout_plugin_api::Secret, SecretError> {
        let value = match reference.0.as_str() {
            "env:KEY" => KEY,
            "env:ADMIN" => ADMIN,
            _ => "wrong-key",
        };
        Ok(backout_plugin_api::Secret::new(value.to_owned()))
    }
}

fn with_keys(folder: &Folder) -> backout_plugin_api::Context {
    backout_plugin_api::Context { secrets: Arc::new(Keys), ..context(folder.dir.path()) }
}

fn relay(folder: &Folder, system: System, poll_seconds: u32) -> Relay {
    let options = RelayOptions { poll_seconds, key: KEY, admin_key: ADMIN };
    Relay::start(system, &folder.file(), options).unwrap()
}

fn endpoint(name: &str, url: &str, refresh: bool) -> Value {
    json!({"name": name, "url": url, "api_key": "env:KEY", "admin_key": "env:ADMIN",
        "refresh": refresh})
}

fn prove(endpoints: &[Value]) -> Value {
    json!({
        "endpoints": endpoints,
        "contexts": [{"targetingKey": "u1", "teamId": "t"}, {"targetingKey": "beta", "beta": true}],
        "polls": 2,
        "every": "20ms",
        "converge": "5s",
    })
}

async fn ask(relay: &Relay, flag: &str, user: &str) -> (u16, Value) {
    let url = format!("{}/ofrep/v1/evaluate/flags/{flag}", relay.url());
    let body = json!({"context": {"targetingKey": user}}).to_string();
    let client = reqwest::Client::new();
    let said = client.post(url).header("x-api-key", KEY).body(body).send().await.unwrap();
    let status = said.status().as_u16();
    (status, serde_json::from_str(&said.text().await.unwrap()).unwrap())
}

/// Makes every effect of a step in order.
async fn make(
    action: &dyn Action,
    ctx: &backout_plugin_api::Context,
    input: &Value,
    run: &str,
) -> (Arc<Prepared>, Vec<Outcome>) {
    let prepared = Arc::new(action.prepare(ctx, input).await.unwrap());
    let mut outcomes = Vec::new();
    for (at, effect) in prepared.effects.iter().enumerate() {
        if effect.satisfied != Satisfied::Yes {
            let call = Call {
                effect: at,
                prepared: Arc::clone(&prepared),
                key: EffectKey::from_text(&format!("{run}/s/1/{at}")),
                ..call(input, (*prepared).clone(), 1)
            };
            outcomes.push(action.apply(ctx, &call).await);
        }
    }
    (prepared, outcomes)
}

#[track_caller]
fn output(outcome: &Outcome) -> &Value {
    let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
    output
}

/// Every file format, at a relay that reads its file only when it is asked to: off is proven, and
/// an undo is proven to give what was given before.
#[tokio::test]
async fn off_is_proven_by_the_evaluator_and_so_is_its_undo() {
    if !Relay::is_here() {
        return;
    }
    let on = |text: &str| text.replace("\"disable\": true", "\"trackEvents\": true");
    for (name, text) in [
        ("flags.json", on(JSON)),
        ("flags.toml", TOML.replace("disable = true", "trackEvents = true")),
        ("flags.yaml", YAML.replace("  disable: true\n  bucketingKey: teamId\n", "")),
    ] {
        let folder = Folder::new(name, &text);
        let (one, two) =
            (relay(&folder, System::GoFeatureFlag, 0), relay(&folder, System::GoFeatureFlag, 0));
        let endpoints =
            [endpoint("relay-1", &one.url(), true), endpoint("relay-2", &two.url(), true)];
        let mut input = folder.off();
        input["prove"] = prove(&endpoints);
        let (ctx, off) = (with_keys(&folder), FlagsForce::off());
        let before = ask(&one, "new_checkout", "u1").await;
        let (prepared, outcomes) = make(&off, &ctx, &input, "0123456789").await;
        assert_eq!(prepared.effects.len(), 2, "{name}");
        let evidence = output(&outcomes[1]);
        for (at, name) in ["relay-1", "relay-2"].into_iter().enumerate() {
            let said = &evidence["endpoints"][at];
            assert_eq!((&said["name"], &said["refreshed"]), (&json!(name), &json!(true)));
            let answers = json!([{"variation": "off", "value": false, "reason": "STATIC"}]);
            assert_eq!(said["answers"]["new_checkout"], answers, "{name}: {evidence}");
        }
        assert_eq!((&evidence["polls"], &evidence["contexts"]), (&json!(2), &json!(2)));
        let again = off.prepare(&ctx, &input).await.unwrap();
        assert_eq!(again.effects[0].satisfied, Satisfied::Yes);
        assert_eq!(again.effects[1].satisfied, Satisfied::CannotTell);

        let made = MadeEffect {
            input,
            effect: 0,
            key: EffectKey::from_text("0123456789/s/1/0"),
            prepared,
            output: Value::Null,
            whole: true,
        };
        let Reverted::By { input, .. } = off.revert(&ctx, &made).await else { panic!("{name}") };
        let (_, outcomes) = make(&FlagsRestore::default(), &ctx, &input, "9876543210").await;
        output(&outcomes[1]);
        assert_eq!(folder.text(), text, "{name}");
        assert_eq!(ask(&one, "new_checkout", "u1").await, before, "{name}");
    }
}

/// The traps, as the servers themselves spring them: each is off for nobody, and said so.
#[tokio::test]
async fn no_value_is_never_off() {
    if !Relay::is_here() {
        return;
    }
    let goff = |more: &str| {
        format!(
            "f:\n  variations: {{on: true, off: false}}\n  defaultRule: {{variation: off}}\n{more}"
        )
    };
    let flagd = |state: &str, more: &str| {
        format!(
            "{{\"flags\": {{\"f\": {{\"state\": \"{state}\", \"variants\": {{\"on\": true, \
             \"off\": false}}{more}}}}}}}"
        )
    };
    let (relayed, flagd_) = (System::GoFeatureFlag, System::Flagd);
    let cases = [
        (relayed, "flags.yaml", goff("  disable: true\n"), "code's own default (DISABLED)"),
        (relayed, "flags.yaml", goff("  bucketingKey: teamId\n"), "TARGETING_KEY_MISSING"),
        (relayed, "flags.yaml", goff("").replace("f:", "g:"), "f is not known there"),
        (
            relayed,
            "flags.yaml",
            goff("  experimentation: {start: 2099-01-01T00:00:00Z, end: 2099-02-01T00:00:00Z}\n"),
            "code's own default (DISABLED)",
        ),
        (
            relayed,
            "flags.yaml",
            goff(
                "  scheduledRollout: [{date: 2020-01-01T00:00:00Z, defaultRule: {variation: on}}]\n",
            ),
            "f is on",
        ),
        (
            flagd_,
            "flags.json",
            flagd("DISABLED", ", \"defaultVariant\": \"off\""),
            "code's own default (FLAG_DISABLED)",
        ),
        // A later one serves the code's own default.
        (flagd_, "flags.json", flagd("ENABLED", ""), "f is not known there"),
    ];
    for (system, name, text, why) in cases {
        let folder = Folder::new(name, &text);
        let relay = relay(&folder, system, 0);
        let mut prove = prove(&[endpoint("it", &relay.url(), false)]);
        prove["contexts"] = json!([{"targetingKey": "u1"}]);
        prove["converge"] = json!("100ms");
        let input = json!({"flag": "f", "variation": "off", "prove": prove});
        let (_, outcomes) = make(&FlagsAssert, &with_keys(&folder), &input, "0123456789").await;
        let Outcome::Failed { reason, .. } = &outcomes[0] else { panic!("{text}: {outcomes:?}") };
        assert!(reason.contains(why), "{text}: {reason}");
        assert!(reason.contains("it: ") && reason.contains("0 of 2 polls"), "{reason}");
    }
}

/// What `flags.off` leaves of each trap is off for the server.
#[tokio::test]
async fn off_takes_every_trap_out() {
    if !Relay::is_here() {
        return;
    }
    for (system, name, text) in [
        (System::GoFeatureFlag, "flags.yaml", YAML),
        (System::GoFeatureFlag, "flags.toml", TOML),
        (System::GoFeatureFlag, "flags.json", JSON),
        (System::Flagd, "flags.json", super::FLAGD),
    ] {
        let folder = Folder::new(name, text);
        let relay = relay(&folder, system, 1);
        let mut input = folder.off();
        input["prove"] = prove(&[endpoint("polling", &relay.url(), false)]);
        if system == System::Flagd {
            input["system"] = json!("flagd");
        }
        let (_, outcomes) =
            make(&FlagsForce::off(), &with_keys(&folder), &input, "0123456789").await;
        output(&outcomes[1]);
    }
}

#[tokio::test]
async fn one_endpoint_that_says_otherwise_is_no_proof_and_is_named() {
    if !Relay::is_here() {
        return;
    }
    let folder = Folder::new("flags.json", JSON);
    let (stale, fresh) =
        (relay(&folder, System::GoFeatureFlag, 0), relay(&folder, System::GoFeatureFlag, 0));
    let nobody = format!("http://127.0.0.1:{}", backout_test_targets::free_port().unwrap());
    let mut input = folder.off();
    let mut wrong_key = endpoint("wrong-key", &fresh.url(), true);
    wrong_key["admin_key"] = json!("env:OTHER");
    wrong_key["api_key"] = json!("env:OTHER");
    let endpoints = [
        endpoint("fresh", &fresh.url(), true),
        endpoint("stale", &stale.url(), false),
        endpoint("nobody", &nobody, false),
        wrong_key,
    ];
    input["flags"] = json!(["first"]);
    input["prove"] = prove(&endpoints);
    input["prove"]["converge"] = json!("300ms");
    let (prepared, outcomes) =
        make(&FlagsForce::off(), &with_keys(&folder), &input, "0123456789").await;
    assert_eq!(prepared.effects[1].satisfied, Satisfied::No);
    let Outcome::Failed { reason, output } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.contains("stale: first is on (STATIC)"), "{reason}");
    assert!(
        reason.contains("nobody: first could not be asked for") && reason.contains("no connection"),
        "{reason}"
    );
    assert!(reason.contains("wrong-key was not refreshed") && reason.contains("401"), "{reason}");
    assert!(!reason.contains("; fresh: "), "{reason}");
    assert!(!format!("{reason}{output}").contains("s3cret"), "{reason}");
    assert_eq!(output["endpoints"][0]["answers"]["first"][0]["variation"], "off");
}

#[tokio::test]
async fn a_silent_endpoint_ends_within_the_time() {
    let folder = Folder::new("flags.json", JSON);
    let silent = Fake::silent().await;
    let mut prove = prove(&[endpoint("silent", &silent.url, true)]);
    prove["converge"] = json!("200ms");
    let input = json!({"flag": "first", "variation": "on", "prove": prove});
    let mut ctx = with_keys(&folder);
    ctx.timeout = std::time::Duration::from_millis(600);
    let begun = std::time::Instant::now();
    let (_, outcomes) = make(&FlagsAssert, &ctx, &input, "0123456789").await;
    assert!(matches!(&outcomes[0], Outcome::Failed { .. }), "{outcomes:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    let settled = FlagsAssert
        .settle(&ctx, &call(&input, prepare(&FlagsAssert, &input).await.unwrap(), 1))
        .await;
    assert!(matches!(settled, Settled::Failed { .. }), "{settled:?}");
}

#[tokio::test]
async fn answers_that_are_none_are_never_right() {
    let folder = Folder::new("flags.json", JSON);
    let answers = [
        (200, json!({})),
        (200, json!([1])),
        (200, json!("off")),
        (200, json!({"variant": "off", "reason": "DISABLED", "value": false})),
        (200, json!({"variant": "off", "reason": "ERROR", "errorCode": "GENERAL", "value": false})),
        (204, Value::Null),
        (302, json!({"variant": "off", "value": false})),
        (404, json!({"message": "Not Found"})),
        (429, json!({"variant": "off", "value": false})),
        (500, json!({"variant": "off", "value": false})),
    ];
    for (status, body) in answers {
        let fake = Fake::start(move |_| (status, body.clone())).await;
        let mut prove = prove(&[endpoint("odd", &fake.url, false)]);
        prove["converge"] = json!("50ms");
        let input = json!({"flag": "first", "variation": "off", "prove": prove});
        let (_, outcomes) = make(&FlagsAssert, &with_keys(&folder), &input, "0123456789").await;
        assert!(matches!(&outcomes[0], Outcome::Failed { .. }), "{status}: {outcomes:?}");
        let asked = fake.requests();
        assert_eq!(asked[0].headers["x-api-key"], KEY);
        assert_eq!(asked[0].path, "/ofrep/v1/evaluate/flags/first");
        assert_eq!(asked[0].body["context"]["targetingKey"], "u1");
    }
}

/// A relay that serves one case's file after another's: it reads a link.
struct Served {
    link: PathBuf,
    relay: Relay,
    _dir: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("flags.json");
        std::fs::write(&link, JSON).unwrap();
        let options = RelayOptions { poll_seconds: 0, key: KEY, admin_key: ADMIN };
        let relay = Relay::start(System::GoFeatureFlag, &link, options).unwrap();
        Self { link, relay, _dir: dir }
    }

    async fn serve(&self, folder: &Folder) {
        std::fs::remove_file(&self.link).unwrap();
        std::os::unix::fs::symlink(folder.file(), &self.link).unwrap();
        let url = format!("{}/admin/v1/retriever/refresh", self.relay.url());
        let asked = reqwest::Client::new().post(url).header("x-api-key", ADMIN).send().await;
        assert!(asked.unwrap().status().is_success());
    }
}

/// A step that changes a file and proves it, whole.
struct ProvenCase<'a> {
    folder: Folder,
    relay: &'a Relay,
    action: Box<dyn Action>,
    restore: FlagsRestore,
    input: Value,
    silent: Option<Fake>,
    slow: Trickle,
    strict: Fake,
}

impl<'a> ProvenCase<'a> {
    async fn new(served: &'a Served, action: impl Action + 'static, more: &Value) -> Self {
        let folder = Folder::new("flags.json", JSON);
        served.serve(&folder).await;
        let relay = &served.relay;
        let mut input = json!({"flag": "first"});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        if input.get("variation").is_none() {
            input["file"] = json!(folder.file());
        }
        input["prove"] = prove(&[endpoint("relay-1", &relay.url(), true)]);
        let silent = Some(Fake::silent().await);
        let restore = FlagsRestore::default();
        let (slow, strict) = (Trickle::web().unwrap(), Fake::strict().await);
        Self { folder, relay, action: Box::new(action), restore, input, silent, slow, strict }
    }

    fn with_url(&self, url: &str) -> Value {
        let mut input = self.input.clone();
        input["prove"]["endpoints"][0]["url"] = json!(url);
        if self.action.manifest().name.as_str() != "flags.assert" {
            // Only the proof is left to do.
            input["flag"] = json!("last");
            input["off_variation"] = json!("on");
        }
        input
    }
}

#[async_trait]
impl Case for ProvenCase<'_> {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.folder.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        json!([self.folder.text(), ask(self.relay, "first", "u1").await.1])
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Keys)
    }

    fn secret_values(&self) -> Vec<String> {
        vec![KEY.to_owned(), ADMIN.to_owned()]
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        (name.as_str() == "flags.restore").then_some(&self.restore as &dyn Action)
    }

    fn unreachable(&self) -> Option<Value> {
        let port = backout_test_targets::free_port().unwrap();
        Some(self.with_url(&format!("http://127.0.0.1:{port}")))
    }

    fn silent(&self) -> Option<Value> {
        self.silent.as_ref().map(|silent| self.with_url(&silent.url))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.with_url(&format!("http://{}", self.slow.address())))
    }

    fn denied(&self) -> Option<Value> {
        Some(self.with_url(&self.strict.url))
    }
}

#[tokio::test]
async fn off_with_its_proof_conforms() {
    if Relay::is_here() {
        let served = Served::new();
        let case = async || ProvenCase::new(&served, FlagsForce::off(), &json!({})).await;
        check(case).await.assert_kept_on("a file, proven by a relay");
    }
}

#[tokio::test]
async fn assert_by_evaluation_conforms() {
    if Relay::is_here() {
        let served = Served::new();
        let more = json!({"variation": "on"});
        check(async || ProvenCase::new(&served, FlagsAssert, &more).await)
            .await
            .assert_kept_on("a relay, by evaluation");
    }
}

#[tokio::test]
async fn what_cannot_be_a_proof_is_a_problem_of_the_input() {
    let off = action("flags.off");
    let endpoint = json!({"name": "a", "url": "http://a"});
    let user = json!({"targetingKey": "u"});
    let cases = [
        (json!({"endpoints": [], "contexts": [user]}), "/prove/endpoints"),
        (json!({"endpoints": [endpoint], "contexts": []}), "/prove/contexts"),
        (json!({"endpoints": [endpoint], "contexts": [{"a": 1}]}), "/prove/contexts/0"),
        (json!({"endpoints": [endpoint, endpoint], "contexts": [user]}), "/prove/endpoints/1/name"),
        (json!({"endpoints": [endpoint], "contexts": [user], "polls": 0}), "/prove/polls"),
        (json!({"endpoints": [endpoint], "contexts": [user], "every": "soon"}), "/prove/every"),
        (
            json!({"endpoints": [{"name": "a", "url": "http://me:pw@a"}], "contexts": [user]}),
            "/prove/endpoints/0/url",
        ),
        (
            json!({"endpoints": [{"name": "a", "url": "http://a", "bearer": "hunter2"}],
                "contexts": [user]}),
            "/prove/endpoints/0/bearer",
        ),
        (
            json!({"endpoints": [{"name": "a", "url": "http://a", "kind": "unleash"}],
                "contexts": [user]}),
            "/prove/endpoints/0/environment",
        ),
    ];
    for (prove, at) in cases {
        let input = json!({"file": "/f.yaml", "flag": "f", "prove": prove});
        let problems = off.check(&input).problems;
        assert!(problems.iter().any(|problem| problem.at == at), "{prove}: {problems:?}");
    }
    let refreshed = json!({"endpoints": [{"name": "a", "url": "http://127.0.0.1", "refresh": true}],
        "contexts": [user]});
    let input = json!({"file": "/f.yaml", "flag": "f", "prove": refreshed});
    let warnings = off.check(&input).warnings;
    assert_eq!(warnings[0].at, "/prove/endpoints/0/refresh", "{warnings:?}");
}
