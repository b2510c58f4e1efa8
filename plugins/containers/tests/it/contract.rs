//! The conformance suite on each action.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, Guarantee};
use serde_json::{Value, json};

use super::shop::{Shop, TOKEN, docker, podman};

struct ShopCase {
    shop: Shop,
    action: Arc<dyn Action>,
    all: Vec<Arc<dyn Action>>,
    input: Value,
}

impl ShopCase {
    fn new(shop: Shop, action: &str, mut input: Value) -> Self {
        input["engine"] = shop.host();
        let all = backout_plugin_containers::actions();
        let action = Arc::clone(find(&all, action).unwrap());
        Self { shop, action, all, input }
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
        vec![TOKEN.to_owned()]
    }

    fn unreachable(&self) -> Option<Value> {
        Some(self.at("unix:///nonexistent/docker.sock"))
    }

    /// It takes every connection and never answers.
    fn silent(&self) -> Option<Value> {
        let is_read_only = self.action.manifest().guarantee == Guarantee::ReadOnly;
        (!is_read_only).then(|| self.at(&self.shop.silent_host))
    }
}

fn rollback(shop: Shop, more: &[&str]) -> ShopCase {
    shop.run(&shop.name, "2", more);
    let input = json!({"container": shop.name, "image": shop.image("1"), "drain": "50ms"});
    ShopCase::new(shop, "containers.rollback", input)
}

#[tokio::test]
async fn rollback_side_by_side_conforms() {
    let Some(engine) = docker() else { return };
    let more = ["--network-alias", "shop", "-p", "8080", "--restart", "always"];
    check(async || rollback(Shop::new(engine), &more)).await.assert_kept();
}

#[tokio::test]
async fn rollback_one_after_the_other_conforms() {
    let Some(engine) = docker() else { return };
    check(async || {
        let port = backout_test_targets::free_port().unwrap();
        let publish = format!("127.0.0.1:{port}:8080");
        rollback(Shop::new(engine), &["--network-alias", "shop", "-p", &publish])
    })
    .await
    .assert_kept();
}

#[tokio::test]
async fn rollback_on_podman_conforms() {
    let Some(engine) = podman() else { return };
    check(async || rollback(Shop::new(engine), &["--network-alias", "shop"])).await.assert_kept();
}

fn power(shop: Shop, verb: &str) -> ShopCase {
    shop.run(&shop.name, "2", &["--restart", "always"]);
    if verb == "containers.start" {
        shop.docker(&["stop", &shop.name]);
    }
    let input = json!({ "container": shop.name });
    ShopCase::new(shop, verb, input)
}

#[tokio::test]
async fn stop_conforms() {
    let Some(engine) = docker() else { return };
    check(async || power(Shop::new(engine), "containers.stop")).await.assert_kept();
}

#[tokio::test]
async fn start_conforms() {
    let Some(engine) = docker() else { return };
    check(async || power(Shop::new(engine), "containers.start")).await.assert_kept();
}

#[tokio::test]
async fn restart_conforms() {
    let Some(engine) = docker() else { return };
    check(async || power(Shop::new(engine), "containers.restart")).await.assert_kept();
}

#[tokio::test]
async fn assert_conforms() {
    let Some(engine) = docker() else { return };
    check(async || {
        let shop = Shop::new(engine);
        shop.run(&shop.name, "1", &[]);
        let input = json!({"labels": shop.labels(), "image": shop.image("1"), "count": 1});
        ShopCase::new(shop, "containers.assert", input)
    })
    .await
    .assert_kept();
}
