//! `checks.grpc` against the health service of tonic.

use std::sync::Arc;
use std::time::Duration;

use backout_plugin_checks::{Gate, GrpcCheck};
use backout_test_targets::authority::Authority;
use backout_test_targets::web::{Silent, Web, closed};
use serde_json::json;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::{Secrets, look, look_with};

pub(crate) const CHECK: Gate<GrpcCheck> = Gate(GrpcCheck);

/// A server with the health service, and what changes its answers.
pub(crate) async fn server() -> (HealthReporter, String) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
    (reporter, url)
}

#[tokio::test]
async fn it_holds_while_the_service_says_that_it_serves() {
    let (reporter, url) = server().await;
    let input = json!({"url": url, "service": "shop.Cart"});
    assert_eq!(look(&CHECK, &input).await.holds()["status"], json!("SERVING"));
    look(&CHECK, &json!({"url": url})).await.holds();
    reporter.set_service_status("shop.Cart", ServingStatus::NotServing).await;
    look(&CHECK, &input).await.wrong("says NOT_SERVING");
    reporter.set_service_status("shop.Cart", ServingStatus::Unknown).await;
    look(&CHECK, &input).await.wrong("says UNKNOWN");
    look(&CHECK, &json!({"url": url, "service": "shop.Other"})).await.wrong("not known there");
}

#[tokio::test]
async fn what_does_not_speak_it_is_unknown() {
    look(&CHECK, &json!({"url": format!("http://{}", closed().unwrap())}))
        .await
        .unknown("no connection");
    let silent = Silent::start().unwrap();
    let input = json!({"url": format!("http://{}", silent.address())});
    let wait = Duration::from_secs(2);
    let said = look_with(&CHECK, &input, Arc::new(Secrets::default()), wait).await;
    said.unknown("no answer within");
    let web = Web::start().unwrap();
    look(&CHECK, &json!({"url": web.url("")})).await.unknown("");
    let (_, url) = server().await;
    let tls = url.replace("http://", "https://");
    look(&CHECK, &json!({"url": tls})).await.unknown("no connection");
}

/// The same by TLS, as `127.0.0.1` only.
fn server_by_tls(authority: &Authority) -> (HealthReporter, String) {
    // tonic's server asks for a default; the client that is tested does not.
    backout_plugin_api::tls::name_provider();
    let folder = tempfile::tempdir().unwrap();
    let own = authority.server(folder.path(), &["127.0.0.1"]).unwrap();
    let [certificate, key] = [own.certificate, own.key].map(|path| std::fs::read(path).unwrap());
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    let (reporter, service) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("https://{}", incoming.local_addr().unwrap());
    let server = tonic::transport::Server::builder().tls_config(tls).unwrap().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    (reporter, url)
}

#[tokio::test]
async fn by_tls_the_server_must_be_who_it_should_be() {
    let [ours, another] = ["ours", "another"].map(|name| Authority::new(name).unwrap());
    let (_reporter, url) = server_by_tls(&ours);
    look(&CHECK, &json!({"url": url, "ca": ours.certificate()})).await.holds();
    for input in [json!({"url": url, "ca": another.certificate()}), json!({"url": url})] {
        look(&CHECK, &input).await.unknown("name the PEM file of the one that did by `ca`");
    }
    let elsewhere = url.replace("127.0.0.1", "localhost");
    let input = json!({"url": elsewhere, "ca": ours.certificate()});
    look(&CHECK, &input).await.unknown("a name that stands in its certificate");
}
