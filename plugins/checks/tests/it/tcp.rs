//! `checks.tcp` against ports.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use backout_plugin_checks::{Gate, TcpCheck};
use backout_test_targets::web::{Silent, Web, closed};
use serde_json::json;

use super::{Secrets, look, look_with};

const CHECK: Gate<TcpCheck> = Gate(TcpCheck);

#[tokio::test]
async fn open_closed_and_silent_are_told_apart() {
    let silent = Silent::start().unwrap();
    look(&CHECK, &json!({"address": silent.address()})).await.holds();
    look(&CHECK, &json!({"address": silent.address(), "closed": true}))
        .await
        .wrong("something listens still");
    let nobody = closed().unwrap();
    look(&CHECK, &json!({"address": nobody, "closed": true})).await.holds();
    look(&CHECK, &json!({"address": nobody})).await.wrong("connection refused");
    look(&CHECK, &json!({"address": "no.such.name.invalid:1"})).await.unknown("no connection");
    let input = json!({"address": silent.address(), "expect": "220"});
    let wait = Duration::from_secs(2);
    look_with(&CHECK, &input, Arc::new(Secrets::default()), wait)
        .await
        .unknown("connected, but it did not say `220`");
}

#[tokio::test]
async fn a_banner_and_an_answer_are_read() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.write_all(b"220 mail").unwrap();
        }
    });
    look(&CHECK, &json!({"address": address, "expect": "220"})).await.holds();
    look(&CHECK, &json!({"address": address, "expect": "SSH"})).await.wrong("said \"220 mail\"");
    let web = Web::start().unwrap();
    let input =
        json!({"address": web.address(), "send": "GET / HTTP/1.0\r\n\r\n", "expect": "200 Said"});
    look(&CHECK, &input).await.holds();
}
