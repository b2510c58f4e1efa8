//! The conformance suite.

use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{self, Case, Verdict};
use backout_plugin_api::{Action, Guarantee};
use backout_test_targets::web::Trickle;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;
use crate::support::{HOOK_KEY, ROUTING_KEY, World, message, secret};

struct NotifyCase {
    server: Server,
    world: World,
    channel: &'static str,
    _slow: Trickle,
    _dir: TempDir,
}

impl NotifyCase {
    async fn new(channel: &'static str) -> Self {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let routing = secret(&dir, "routing", ROUTING_KEY);
        let hook = secret(&dir, "hook", HOOK_KEY);
        let slack = |name: &str, path: &str| {
            let url = secret(&dir, name, &server.url(path));
            format!("\"{name}\": Slack(url: \"{url}\"), ")
        };
        let (chat, silent) = (slack("slack", "/chat"), slack("silent", "/chat/silent"));
        let trickle = Trickle::start(b"HTTP/1.1 200 OK\r\nx-slow: ").unwrap();
        let slow = secret(&dir, "slow", &format!("http://{}/", trickle.address()));
        let wrong = secret(&dir, "wrong", "r0uting-k3y-of-another");
        let nowhere = secret(&dir, "nowhere", "http://127.0.0.1:1/");
        let (pager, url) = (server.url("/pager"), server.url("/hook"));
        let channels = format!(
            r#"{chat}{silent}"nowhere": Slack(url: "{nowhere}"), "slow": Slack(url: "{slow}"),
               "denied": PagerDuty(routing_key: "{wrong}", url: "{pager}"),
               "pager": PagerDuty(routing_key: "{routing}", url: "{pager}"),
               "hook": Webhook(url: "{url}", key: "{hook}", remembers: "24h")"#
        );
        Self { server, world: World::new(&channels), channel, _slow: trickle, _dir: dir }
    }
}

#[async_trait]
impl Case for NotifyCase {
    fn action(&self) -> &dyn Action {
        &self.world.action
    }

    fn input(&self) -> Value {
        message(self.channel, "escalation")
    }

    fn scratch(&self) -> PathBuf {
        self.world.scratch()
    }

    async fn observe(&self) -> Value {
        json!(self.server.shown())
    }

    /// A message cannot be unsaid: nothing that a rollback changes is changed by it.
    async fn image(&self) -> Value {
        Value::Null
    }

    fn secret_values(&self) -> Vec<String> {
        vec![ROUTING_KEY.to_owned(), HOOK_KEY.to_owned(), self.server.url("/chat")]
    }

    fn unreachable(&self) -> Option<Value> {
        Some(message("nowhere", "update"))
    }

    fn silent(&self) -> Option<Value> {
        Some(message("silent", "update"))
    }

    fn slow(&self) -> Option<Value> {
        Some(message("slow", "update"))
    }

    fn denied(&self) -> Option<Value> {
        Some(message("denied", "update"))
    }
}

#[tokio::test]
async fn each_kind_of_channel_conforms() {
    for (channel, guarantee, target) in [
        ("slack", Guarantee::Manual, "a chat"),
        ("pager", Guarantee::Keyed, "PagerDuty, by its documentation"),
        ("hook", Guarantee::Keyed, "a webhook with `remembers`"),
    ] {
        let report = conformance::check(async || NotifyCase::new(channel).await).await;
        report.assert_kept_on(target);
        assert_eq!(report.guarantee, Some(guarantee));
        let parts =
            ["never happened", "lost after", "one key", "no record", "does not answer", "cancel"];
        for part in parts {
            assert_eq!(report.verdict(part), Some(&Verdict::Kept), "{report}");
        }
    }
}
