//! The conformance suite on each action.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, Guarantee, SecretSource};
use backout_test_targets::docker::Engine;
use backout_test_targets::registry::{Registry, USER};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::images::Fixed;
use super::shop::{Shop, TOKEN, docker, podman};
use super::{at_once, one_by_one};

const WRONG_PASSWORD: &str = "wrong-pass-2";

fn strict_registry() -> Option<&'static Registry> {
    static REGISTRY: LazyLock<Option<Registry>> = LazyLock::new(|| Registry::start(true).unwrap());
    REGISTRY.as_ref()
}

struct ShopCase {
    shop: Shop,
    action: Arc<dyn Action>,
    all: Vec<Arc<dyn Action>>,
    input: Value,
    target: &'static str,
    slow: Trickle,
}

impl ShopCase {
    fn new(shop: Shop, action: &str, target: &'static str, mut input: Value) -> Self {
        input["engine"] = shop.host();
        let all = backout_plugin_containers::actions();
        let action = Arc::clone(find(&all, action).unwrap());
        Self { shop, action, all, input, target, slow: Trickle::web().unwrap() }
    }

    fn at(&self, host: &str) -> Value {
        let mut input = self.input.clone();
        input["engine"] = json!({ "host": host });
        input
    }
}

fn find<'a>(all: &'a [Arc<dyn Action>], name: &str) -> Option<&'a Arc<dyn Action>> {
    all.iter().find(|action| action.manifest().name.as_str() == name)
}

#[async_trait]
impl Case for ShopCase {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        PathBuf::from("/nonexistent/scratch")
    }

    async fn observe(&self) -> Value {
        json!(self.shop.record())
    }

    async fn image(&self) -> Value {
        self.shop.serving(&self.shop.name)
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        find(&self.all, name.as_str()).map(|action| &**action)
    }

    fn secret_values(&self) -> Vec<String> {
        vec![TOKEN.to_owned(), WRONG_PASSWORD.to_owned()]
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.at("unix:///nonexistent/docker.sock"))
    }

    /// It takes every connection and never answers.
    fn silent(&self) -> Option<Value> {
        let is_read_only = self.action.manifest().guarantee == Guarantee::ReadOnly;
        (!is_read_only).then(|| self.at(&self.shop.silent_host))
    }

    fn slow(&self) -> Option<Value> {
        Some(self.at(&format!("tcp://{}", self.slow.address())))
    }

    /// The registry knows another password. Podman in its network of its own does not reach it.
    fn denied(&self) -> Option<Value> {
        let is_rollback = self.action.manifest().name.as_str() == "containers.rollback";
        let can_ask = is_rollback && self.target != "Podman";
        let registry = strict_registry().filter(|_| can_ask)?;
        let mut input = self.input.clone();
        input["image"] = json!(format!("{}/web@sha256:{}", registry.name(), "0".repeat(64)));
        input["registry"] = json!({"username": USER, "password": "env:REGISTRY_PASSWORD"});
        Some(input)
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Fixed(WRONG_PASSWORD))
    }
}

fn rollback(shop: Shop, target: &'static str, more: &[&str]) -> ShopCase {
    shop.run(&shop.name, "2", more);
    let input = json!({"container": shop.name, "image": shop.image("1"), "drain": "50ms"});
    ShopCase::new(shop, "containers.rollback", target, input)
}

/// Where a replica can stand beside the other, and where it cannot.
fn rollback_side_by_side(engine: &'static dyn Engine) -> ShopCase {
    let more = ["--network-alias", "shop", "-p", "8080", "--restart", "always"];
    rollback(Shop::new(engine), "Docker, side by side", &more)
}

fn rollback_one_after_the_other(engine: &'static dyn Engine) -> ShopCase {
    let port = backout_test_targets::free_port().unwrap();
    let publish = format!("127.0.0.1:{port}:8080");
    // Seldom, so that the engine still knows the first check when the reply is lost.
    let more = ["--network-alias", "shop", "-p", &publish, "--health-interval", "1s"];
    rollback(Shop::new(engine), "Docker, one after the other", &more)
}

fn rollback_on_podman(engine: &'static dyn Engine) -> ShopCase {
    rollback(Shop::new(engine), "Podman", &["--network-alias", "shop"])
}

fn on(engine: &dyn Engine) -> &'static str {
    if engine.host().contains("podman") { "Podman" } else { "Docker" }
}

fn power(shop: Shop, verb: &str) -> ShopCase {
    shop.run(&shop.name, "2", &["--restart", "always"]);
    if verb == "containers.start" {
        shop.docker(&["stop", &shop.name]);
    }
    let input = json!({ "container": shop.name });
    let target = on(shop.engine);
    ShopCase::new(shop, verb, target, input)
}

fn stop(engine: &'static dyn Engine) -> ShopCase {
    power(Shop::new(engine), "containers.stop")
}

fn start(engine: &'static dyn Engine) -> ShopCase {
    power(Shop::new(engine), "containers.start")
}

fn restart(engine: &'static dyn Engine) -> ShopCase {
    power(Shop::new(engine), "containers.restart")
}

fn assert(engine: &'static dyn Engine) -> ShopCase {
    let shop = Shop::new(engine);
    shop.run(&shop.name, "1", &[]);
    let input = json!({"labels": shop.labels(), "image": shop.image("1"), "count": 1});
    let target = on(shop.engine);
    ShopCase::new(shop, "containers.assert", target, input)
}

type MakeCase = fn(&'static dyn Engine) -> ShopCase;

async fn check_one(engine: &'static dyn Engine, case: MakeCase) {
    let report = check(async || case(engine)).await;
    report.assert_kept_on(case(engine).target);
}

#[test]
fn every_action_conforms_on_docker() {
    let Some(engine) = docker() else { return };
    let cases: [MakeCase; 6] =
        [rollback_side_by_side, rollback_one_after_the_other, stop, start, restart, assert];
    at_once(&cases, async |case| check_one(engine, case).await);
}

#[test]
fn every_action_conforms_on_podman() {
    let Some(engine) = podman() else { return };
    let cases: [MakeCase; 5] = [rollback_on_podman, stop, start, restart, assert];
    one_by_one(&cases, async |case| check_one(engine, case).await);
}
