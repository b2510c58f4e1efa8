//! `checks.http` against a server.

use std::sync::Arc;
use std::time::Duration;

use backout_plugin_checks::{Gate, HttpCheck};
use backout_test_targets::web::{Silent, Web, closed};
use serde_json::json;

use super::{Secrets, look, look_with};

const CHECK: Gate<HttpCheck> = Gate(HttpCheck);

#[tokio::test]
async fn an_answer_holds_or_not_and_silence_is_unknown() {
    let web = Web::start().unwrap();
    let input = json!({"url": web.url("/healthz"), "json": {"/version": "1.4.2"}});
    web.say(200, r#"{"version": "1.4.2"}"#);
    let seen = look(&CHECK, &input).await.holds();
    assert_eq!(seen["status"], json!(200));
    web.say(200, r#"{"version": "1.5.0"}"#);
    look(&CHECK, &input).await.wrong("/version is \"1.5.0\", not \"1.4.2\"");
    web.say(503, "going down");
    look(&CHECK, &input).await.wrong("answered 503: going down");
    let nobody = json!({"url": format!("http://{}/", closed().unwrap())});
    look(&CHECK, &nobody).await.unknown("no connection");
    let silent = Silent::start().unwrap();
    let input = json!({"url": format!("http://{}/", silent.address())});
    let wait = Duration::from_secs(2);
    let said = look_with(&CHECK, &input, Arc::new(Secrets::default()), wait).await;
    said.unknown("no whole answer");
}

#[tokio::test]
async fn a_slow_answer_does_not_hold_and_a_redirect_is_an_answer() {
    let web = Web::start().unwrap();
    web.wait(Duration::from_millis(60));
    let input = json!({"url": web.url("/"), "within": "50ms"});
    look(&CHECK, &input).await.wrong("longer than 50ms");
    web.say(302, "");
    web.header("Location: /elsewhere");
    let input = json!({"url": web.url("/"), "expect": [302]});
    look(&CHECK, &input).await.holds();
    assert!(web.requests().iter().all(|request| request.starts_with("GET / ")));
}

#[tokio::test]
async fn a_token_is_sent_and_never_told() {
    let web = Web::start().unwrap();
    web.say(401, "hunter2 is not welcome");
    let input = json!({"url": web.url("/"), "bearer": "env:TOKEN"});
    let secrets = Secrets::of("env:TOKEN", "hunter2");
    let said = look_with(&CHECK, &input, secrets, Duration::from_secs(30)).await;
    said.wrong("answered 401: *** is not welcome");
    let sent = web.requests().concat().to_ascii_lowercase();
    assert!(sent.contains("authorization: bearer hunter2"), "{sent}");
    look(&CHECK, &input).await.unknown("secret `env:TOKEN`: it is not set");
}
