//! The conformance suite.

use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{self, Case, Verdict};
use backout_plugin_api::{Action, Guarantee};
use backout_plugin_http::HttpRequest;
use serde_json::{Value, json};

use crate::support::World;

const SECRET: &str = "tr0ub4dor-and-3";

struct HttpCase {
    world: World,
    guarantee: Guarantee,
}

#[async_trait]
impl Case for HttpCase {
    fn action(&self) -> &dyn Action {
        &HttpRequest
    }

    fn input(&self) -> Value {
        let server = &self.world.server;
        let mut input = json!({
            "method": "POST", "url": server.url("/make"), "body": "x",
            "bearer": self.world.secret(SECRET),
            "revert": {"method": "DELETE", "url": server.url("/make")},
        });
        match self.guarantee {
            Guarantee::Keyed => {
                input["url"] = json!(server.url("/keyed"));
                input["keyed"] = json!("24h");
            }
            Guarantee::Probed => {
                input["probe"] = json!({"url": server.url("/made"), "settles_within": "0s"});
            }
            Guarantee::ReadOnly => {
                input = json!({
                    "method": "GET", "url": server.url("/echo"), "read_only": true,
                    "bearer": self.world.secret(SECRET),
                });
            }
            _ => {}
        }
        input
    }

    fn scratch(&self) -> PathBuf {
        self.world.scratch()
    }

    async fn observe(&self) -> Value {
        self.world.server.record()
    }

    fn secret_values(&self) -> Vec<String> {
        vec![SECRET.to_owned()]
    }

    fn unreachable(&self) -> Option<Value> {
        let mut input = self.input();
        input["url"] = json!("http://127.0.0.1:1/");
        Some(input)
    }

    fn silent(&self) -> Option<Value> {
        let mut input = self.input();
        input["url"] = json!(self.world.server.url("/never"));
        Some(input)
    }

    fn slow(&self) -> Option<Value> {
        let mut input = self.input();
        input["url"] = json!(self.world.server.url("/drip"));
        Some(input)
    }

    fn denied(&self) -> Option<Value> {
        let mut input = self.input();
        input["url"] = json!(self.world.server.url("/401"));
        Some(input)
    }
}

async fn check(guarantee: Guarantee) -> conformance::Report {
    let fresh = async || HttpCase { world: World::new().await, guarantee };
    let report = conformance::check(fresh).await;
    report.assert_kept_on(&format!("a web server, {}", guarantee.word()));
    assert_eq!(report.guarantee, Some(guarantee));
    for part in ["no record", "does not answer", "cannot be reached", "restores", "cancel"] {
        assert_eq!(report.verdict(part), Some(&Verdict::Kept), "{report}");
    }
    report
}

#[tokio::test]
async fn each_guarantee_conforms() {
    for guarantee in [Guarantee::Manual, Guarantee::Probed, Guarantee::Keyed] {
        let report = check(guarantee).await;
        for part in ["never happened", "lost after", "one key"] {
            assert_eq!(report.verdict(part), Some(&Verdict::Kept), "{report}");
        }
    }
    check(Guarantee::ReadOnly).await;
}
