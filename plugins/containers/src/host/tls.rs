//! TLS to a container engine, by rustls with a provider named here: nothing depends on what the
//! process installed. The key is a secret, so it never comes from a path that the client reads.

use std::path::Path;
use std::sync::Arc;

use backout_plugin_api::Secret;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::input::Tls;

/// A client over TLS.
///
/// # Errors
/// What is wrong with a certificate or the key; never their content.
pub(super) fn connect(
    host: &str,
    tls: &Tls,
    key: Option<&Secret>,
    timeout_s: u64,
) -> Result<Docker, String> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config(tls, key)?)
        .https_only()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let transport = move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(bollard::errors::Error::from) }
    };
    let address = format!("https://{}", host.trim_start_matches("tcp://"));
    Docker::connect_with_custom_transport(transport, Some(address), timeout_s, API_DEFAULT_VERSION)
        .map_err(|error| error.to_string())
}

fn config(tls: &Tls, key: Option<&Secret>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", tls.ca))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let (Some(cert), Some(key)) = (&tls.cert, key) else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "the key of the client's certificate is no PEM key".to_owned())?;
    builder
        .with_client_auth_cert(certificates(cert)?, key)
        .map_err(|error| format!("the client's certificate {cert} and its key: {error}"))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let said =
        |error: &dyn std::fmt::Display| format!("cannot read certificates in {path}: {error}");
    let bytes = std::fs::read(Path::new(path)).map_err(|error| said(&error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| said(&error))?;
    if found.is_empty() { Err(said(&"there is none")) } else { Ok(found) }
}
