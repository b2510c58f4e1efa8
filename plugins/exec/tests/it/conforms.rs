//! The conformance suite.

use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{self, Case, Verdict};
use backout_plugin_api::{Action, Guarantee};
use backout_plugin_exec::ExecRun;
use serde_json::{Value, json};

use crate::support::{World, action};

const SECRET: &str = "tr0ub4dor&3";

struct ExecCase {
    world: World,
    action: ExecRun,
    guarantee: Guarantee,
}

impl ExecCase {
    fn new(guarantee: Guarantee) -> Self {
        let world = World::new();
        std::fs::write(world.scratch().with_file_name("token"), SECRET).unwrap();
        Self { world, action: action(), guarantee }
    }

    fn token(&self) -> String {
        format!("file:{}", self.world.scratch().with_file_name("token").display())
    }
}

#[async_trait]
impl Case for ExecCase {
    fn action(&self) -> &dyn Action {
        &self.action
    }

    fn input(&self) -> Value {
        let mut input = self.world.sh("echo made >> log; echo $TOKEN; echo $TOKEN >&2");
        input["secret_env"] = json!({ "TOKEN": self.token() });
        input["revert"] = json!(["rm", "log"]);
        match self.guarantee {
            Guarantee::Probed => input["settle"] = json!(["test", "-s", "log"]),
            Guarantee::ReadOnly => {
                input = self.world.sh("echo $TOKEN");
                input["secret_env"] = json!({ "TOKEN": self.token() });
                input["read_only"] = json!(true);
            }
            _ => {}
        }
        input
    }

    fn scratch(&self) -> PathBuf {
        self.world.scratch()
    }

    async fn observe(&self) -> Value {
        json!(self.world.read("log"))
    }

    fn secret_values(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }

    fn unreachable(&self) -> Option<Value> {
        Some(json!({"command": ["/nowhere/at/all"]}))
    }

    fn silent(&self) -> Option<Value> {
        let mut input = self.input();
        input["command"] = json!(["sleep", "600"]);
        Some(input)
    }

    fn slow(&self) -> Option<Value> {
        let mut input = self.input();
        input["command"] = json!(["sh", "-c", "while sleep 0.1; do echo on; done"]);
        Some(input)
    }
}

async fn check(guarantee: Guarantee, target: &str) -> conformance::Report {
    let report = conformance::check(async || ExecCase::new(guarantee)).await;
    report.assert_kept_on(target);
    assert_eq!(report.guarantee, Some(guarantee));
    report
}

#[tokio::test]
async fn a_probed_command_conforms() {
    let report = check(Guarantee::Probed, "a command with `settle`").await;
    for part in ["never happened", "lost after", "one key", "restores", "no record"] {
        assert_eq!(report.verdict(part), Some(&Verdict::Kept), "{report}");
    }
}

#[tokio::test]
async fn a_manual_command_conforms() {
    check(Guarantee::Manual, "a command").await;
}

#[tokio::test]
async fn a_read_only_command_conforms() {
    check(Guarantee::ReadOnly, "a command that only reads").await;
}
