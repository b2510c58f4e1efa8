//! LaunchDarkly by exchanges written from its documentation; nothing here ran against the service.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{
    Action, ActionName, Context, Guarantee, MadeEffect, Outcome, PrepareFailure, Reverted,
    SecretError, SecretRef, SecretSource, Settled,
};
use backout_plugin_flags::{FlagsForce, FlagsRestore, ServerPoint};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::fake::{Answer, Fake, Request};
use super::{NOW_MS, call, context};

const TOKEN: &str = "api-s3cret-0000";
const LATER_MS: i64 = 60_000;

#[derive(Debug)]
struct Tokens;

impl SecretSource for Tokens {
    fn resolve(&self, _: &SecretRef) -> Result<backout_plugin_api::Secret, SecretError> {
        Ok(backout_plugin_api::Secret::new(TOKEN.to_owned()))
    }
}

/// What the service knows of one flag.
#[derive(Debug)]
struct Service {
    environment: Value,
    audit: Vec<Value>,
    scheduled: Vec<Value>,
    /// Takes the next patch and loses the reply.
    loses_reply: bool,
}

impl Service {
    fn new() -> Self {
        let environment = json!({
            "on": true, "version": 10, "offVariation": 1, "archived": false, "salt": "x",
            "fallthrough": {"rollout": {"variations": [{"variation": 0, "weight": 60000},
                {"variation": 1, "weight": 40000}]}},
            "rules": [{"_id": "r1", "variation": 0, "clauses": [{"attribute": "beta", "op": "in",
                "values": [true], "negate": false}]}],
            "targets": [], "contextTargets": [], "prerequisites": [],
        });
        Self { environment, audit: Vec::new(), scheduled: Vec::new(), loses_reply: false }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        if request.headers.get("authorization").map(String::as_str) != Some(TOKEN) {
            return (401, json!({"code": "unauthorized", "message": "invalid credentials"}));
        }
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/api/v2/flags/shop/new-checkout?env=production") => (200, self.flag()),
            ("PATCH", "/api/v2/flags/shop/new-checkout") => self.patch(&request.body),
            (
                "GET",
                "/api/v2/projects/shop/flags/new-checkout/environments/production/scheduled-changes",
            ) => (200, json!({"items": self.scheduled})),
            (
                "GET",
                "/api/v2/auditlog?spec=proj%2Fshop%3Aenv%2Fproduction%3Aflag%2Fnew-checkout&limit=20",
            ) => (200, json!({"items": self.audit})),
            _ => (404, json!({"code": "not_found", "message": "unknown resource"})),
        }
    }

    fn flag(&self) -> Value {
        json!({
            "key": "new-checkout", "kind": "boolean", "_version": 3,
            "variations": [{"_id": "a", "value": true, "name": "shiny"}, {"_id": "b", "value": false}],
            "environments": {"production": self.environment},
        })
    }

    /// A JSON patch is all or nothing; a failed `test` is a conflict.
    fn patch(&mut self, body: &Value) -> Answer {
        let mut next = self.environment.clone();
        for operation in body["patch"].as_array().unwrap() {
            let path = operation["path"].as_str().unwrap();
            let part = path.strip_prefix("/environments/production/").unwrap();
            match operation["op"].as_str().unwrap() {
                "test" if next[part] == operation["value"] => {}
                "test" => return (409, json!({"code": "optimistic_locking_error"})),
                "replace" => next[part] = operation["value"].clone(),
                other => panic!("{other}"),
            }
        }
        next["version"] = json!(next["version"].as_i64().unwrap() + 1);
        self.environment = next;
        self.audit.insert(0, json!({"comment": body["comment"], "kind": "flag"}));
        if std::mem::take(&mut self.loses_reply) { (0, Value::Null) } else { (200, self.flag()) }
    }

    fn by_somebody(&mut self, part: &str, value: Value) {
        self.environment[part] = value;
        self.environment["version"] = json!(self.environment["version"].as_i64().unwrap() + 1);
        self.audit.insert(
            0,
            json!({"comment": "mine", "kind": "flag", "titleVerb": "changed the targeting of",
                "member": {"email": "alice@shop.example"}}),
        );
    }
}

struct World {
    service: Arc<Mutex<Service>>,
    fake: Fake,
    scratch: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let service = Arc::new(Mutex::new(Service::new()));
        let answering = Arc::clone(&service);
        let fake = Fake::start(move |request| answering.lock().unwrap().answer(request)).await;
        Self { service, fake, scratch: tempfile::tempdir().unwrap() }
    }

    fn input(&self, more: &Value) -> Value {
        let mut input = json!({
            "system": "launchdarkly",
            "server": {"url": self.fake.url, "token": "env:LD", "project": "shop",
                "environment": "production"},
        });
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    }

    fn off(&self) -> Value {
        self.input(&json!({"flag": "new-checkout"}))
    }

    fn context(&self) -> Context {
        let scratch = self.scratch.path().join("scratch");
        Context { secrets: Arc::new(Tokens), scratch, ..context(self.scratch.path()) }
    }

    fn environment(&self) -> Value {
        self.service.lock().unwrap().environment.clone()
    }
}

#[tokio::test]
async fn off_is_one_patch_that_tests_the_version() {
    let world = World::new().await;
    let (ctx, off, input) = (world.context(), FlagsForce::off(), world.off());
    let prepared = off.prepare(&ctx, &input).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Conditional);
    assert_eq!(prepared.difference(), ["new-checkout: on: true -> false"]);
    let made = call(&input, prepared, 1);
    let outcome = off.apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let patches: Vec<_> =
        world.fake.requests().into_iter().filter(|request| request.method == "PATCH").collect();
    assert_eq!(patches.len(), 1);
    assert_eq!(patches[0].headers["content-type"], "application/json");
    assert_eq!(
        patches[0].body,
        json!({
            "comment": "backout 0123456789/s/1/0",
            "patch": [
                {"op": "test", "path": "/environments/production/version", "value": 10},
                {"op": "replace", "path": "/environments/production/on", "value": false},
            ],
        })
    );
    assert!(matches!(off.settle(&ctx, &made).await, Settled::Done { .. }));
}

#[tokio::test]
async fn set_and_restore_write_what_differs() {
    let world = World::new().await;
    let (ctx, set) = (world.context(), FlagsForce::set());
    let input = world.input(&json!({"flag": "new-checkout", "variation": "shiny"}));
    let before = world.environment();
    let made = call(&input, set.prepare(&ctx, &input).await.unwrap(), 1);
    let outcome = set.apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let now = world.environment();
    assert_eq!((&now["fallthrough"], &now["rules"]), (&json!({"variation": 0}), &json!([])));
    let made = MadeEffect {
        input,
        prepared: made.prepared,
        effect: 0,
        key: made.key,
        output: Value::Null,
        whole: true,
    };
    let Reverted::By { input, .. } = set.revert(&ctx, &made).await else { panic!() };
    let restore = FlagsRestore::default();
    let mut back = call(&input, restore.prepare(&ctx, &input).await.unwrap(), 1);
    back.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
    let outcome = restore.apply(&ctx, &back).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let mut now = world.environment();
    assert_eq!(now["version"], 12);
    now["version"] = json!(10);
    assert_eq!(now, before);
}

#[tokio::test]
async fn a_lost_reply_a_late_one_and_a_strangers_change_are_told_apart() {
    // The reply is lost: the audit log has our mark.
    let world = World::new().await;
    let (off, input) = (FlagsForce::off(), world.off());
    let mut ctx = world.context();
    ctx.timeout = std::time::Duration::from_secs(3);
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    world.service.lock().unwrap().loses_reply = true;
    let outcome = off.apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Unclear { .. }), "{outcome:?}");
    assert!(matches!(off.settle(&ctx, &made).await, Settled::Done { .. }));

    // It was never sent, and the version stands: it may land until it no longer can.
    let world = World::new().await;
    let (ctx, input) = (world.context(), world.off());
    let off = FlagsForce::off().with_server_fault(|point| point == ServerPoint::Claimed);
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    off.apply(&ctx, &made).await;
    assert!(matches!(off.settle(&ctx, &made).await, Settled::Running { .. }));
    let later = Context { now_ms: NOW_MS + LATER_MS, ..ctx.clone() };
    assert_eq!(off.settle(&later, &made).await, Settled::NotDone);
    // Somebody's change moves the version: ours is refused for ever, at once.
    world.service.lock().unwrap().by_somebody("offVariation", json!(0));
    assert_eq!(off.settle(&ctx, &made).await, Settled::NotDone);
    let by = off.prepare(&ctx, &input).await.unwrap();
    let by = by.changed_by().unwrap().to_owned();
    assert_eq!(by, "alice@shop.example (changed the targeting of)");
    world.service.lock().unwrap().by_somebody("on", json!(false));
    let settled = off.settle(&later, &made).await;
    assert!(matches!(settled, Settled::Unknown { .. }), "{settled:?}");
}

#[tokio::test]
async fn somebody_in_the_last_moment_keeps_what_they_wrote() {
    let world = World::new().await;
    let (ctx, input) = (world.context(), world.off());
    let service = Arc::clone(&world.service);
    let off = FlagsForce::off().with_server_fault(move |point| {
        if point == ServerPoint::Claimed {
            service.lock().unwrap().by_somebody("rules", json!([]));
        }
        false
    });
    let made = call(&input, off.prepare(&ctx, &input).await.unwrap(), 1);
    let Outcome::Refused { reason } = off.apply(&ctx, &made).await else { panic!() };
    assert!(reason.contains("changed by somebody"), "{reason}");
    let now = world.environment();
    assert_eq!((&now["on"], &now["rules"]), (&json!(true), &json!([])));
}

#[tokio::test]
async fn traps_are_hazards_or_refusals() {
    let world = World::new().await;
    let (ctx, off) = (world.context(), FlagsForce::off());
    world.service.lock().unwrap().scheduled.push(json!({"_id": "s"}));
    let prepared = off.prepare(&ctx, &world.off()).await.unwrap();
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["future-schedule"]);
    world.service.lock().unwrap().environment["offVariation"] = Value::Null;
    let failure = off.prepare(&ctx, &world.off()).await.unwrap_err();
    assert!(failure.reason().contains("code's own default"), "{}", failure.reason());
    let named = world.input(&json!({"flag": "new-checkout", "off_variation": "false"}));
    let prepared = off.prepare(&ctx, &named).await.unwrap();
    assert!(prepared.difference().iter().any(|line| line.contains("fallthrough")));
    for (status, body, why) in [
        (405, json!({"code": "approval_required"}), "approval"),
        (429, json!({"code": "rate_limited"}), "too many requests"),
        (403, json!({"code": "forbidden"}), "403"),
    ] {
        let fake = Fake::start(move |_| (status, body.clone())).await;
        let mut input = world.off();
        input["server"]["url"] = json!(fake.url);
        let failure = off.prepare(&ctx, &input).await.unwrap_err();
        assert!(failure.reason().contains(why), "{}", failure.reason());
        let unreachable = matches!(failure, PrepareFailure::Unreachable { .. });
        assert_eq!(unreachable, status == 429, "{failure:?}");
    }
}

struct DarklyCase {
    world: World,
    off: FlagsForce,
    restore: FlagsRestore,
    silent: Fake,
    slow: Trickle,
    strict: Fake,
}

impl DarklyCase {
    fn at(&self, url: &str) -> Value {
        let mut input = self.world.off();
        input["server"]["url"] = json!(url);
        input
    }
}

#[async_trait]
impl Case for DarklyCase {
    fn action(&self) -> &dyn Action {
        &self.off
    }

    fn input(&self) -> Value {
        self.world.off()
    }

    fn scratch(&self) -> PathBuf {
        self.world.scratch.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        self.world.environment()
    }

    async fn image(&self) -> Value {
        let mut environment = self.world.environment();
        environment["version"] = Value::Null;
        environment
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Tokens)
    }

    fn secret_values(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        (name.as_str() == "flags.restore").then_some(&self.restore as &dyn Action)
    }

    async fn interfere(&self) -> bool {
        self.world.service.lock().unwrap().by_somebody("on", json!(true));
        true
    }

    fn unreachable(&self) -> Option<Value> {
        let port = backout_test_targets::free_port().unwrap();
        Some(self.at(&format!("http://127.0.0.1:{port}")))
    }

    fn silent(&self) -> Option<Value> {
        Some(self.at(&self.silent.url))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.at(&format!("http://{}", self.slow.address())))
    }

    fn denied(&self) -> Option<Value> {
        Some(self.at(&self.strict.url))
    }
}

#[tokio::test]
async fn off_on_launchdarkly_conforms() {
    check(async || DarklyCase {
        world: World::new().await,
        off: FlagsForce::off(),
        restore: FlagsRestore::default(),
        silent: Fake::silent().await,
        slow: Trickle::web().unwrap(),
        strict: Fake::strict().await,
    })
    .await
    .assert_kept_on("LaunchDarkly, by its documentation");
}
