//! The conformance suite on Unleash.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, SecretSource};
use backout_plugin_flags::{FlagsForce, FlagsRestore};
use backout_test_targets::flags::OUR_TOKEN;
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};

use super::{Flag, Tokens, server, strategy};
use crate::fake::Fake;

struct UnleashCase {
    flag: Flag,
    action: Box<dyn Action>,
    restore: FlagsRestore,
    input: Value,
    silent: Fake,
    slow: Trickle,
}

impl UnleashCase {
    async fn new(action: impl Action + 'static, input: impl AsyncFnOnce(&Flag) -> Value) -> Self {
        let flag = Flag::new(&server().unwrap().url()).await;
        let (silent, input) = (Fake::silent().await, input(&flag).await);
        let (action, restore) = (Box::new(action), FlagsRestore::default());
        Self { flag, action, restore, input, silent, slow: Trickle::web().unwrap() }
    }

    fn at(&self, url: &str) -> Value {
        let mut input = self.input.clone();
        input["server"]["url"] = json!(url);
        input
    }
}

#[async_trait]
impl Case for UnleashCase {
    fn action(&self) -> &dyn Action {
        &*self.action
    }

    fn input(&self) -> Value {
        self.input.clone()
    }

    fn scratch(&self) -> PathBuf {
        self.flag.scratch.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        json!([self.flag.state().await, self.flag.events().await])
    }

    async fn image(&self) -> Value {
        self.flag.state().await
    }

    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(Tokens)
    }

    fn secret_values(&self) -> Vec<String> {
        vec![OUR_TOKEN.to_owned()]
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        (name.as_str() == "flags.restore").then_some(&self.restore as &dyn Action)
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
        let mut input = self.input.clone();
        input["server"]["token"] = json!("env:WRONG");
        Some(input)
    }
}

#[tokio::test]
async fn off_on_unleash_conforms() {
    if server().is_some() {
        let case = async || UnleashCase::new(FlagsForce::off(), async |flag| flag.off()).await;
        check(case).await.assert_kept_on("Unleash");
    }
}

#[tokio::test]
async fn set_on_unleash_conforms() {
    if server().is_some() {
        let input = async |flag: &Flag| flag.input(&json!({"flag": flag.name, "variation": "on"}));
        check(async || UnleashCase::new(FlagsForce::set(), input).await)
            .await
            .assert_kept_on("Unleash");
    }
}

/// Off, one strategy changed, one gone, one more.
#[tokio::test]
async fn restore_on_unleash_conforms() {
    if server().is_none() {
        return;
    }
    let input = async |flag: &Flag| {
        let mut strategies = flag.ask("GET", "", None).await["strategies"].clone();
        strategies[0]["parameters"]["rollout"] = json!("12");
        strategies[1] = strategy("34", &["u5"]);
        strategies[1]["sortOrder"] = json!(1);
        let state = json!({"enabled": false, "strategies": strategies});
        flag.input(&json!({"states": {flag.name.clone(): state}}))
    };
    check(async || UnleashCase::new(FlagsRestore::default(), input).await)
        .await
        .assert_kept_on("Unleash");
}
