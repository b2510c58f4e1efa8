//! `checks.grpc`: whether a gRPC service says that it serves, by the protocol `grpc.health.v1`
//! (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>).

use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused, unreachable};
use backout_plugin_api::web::{self, Access};
use backout_plugin_api::words::{fetched, problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, Masker, PrepareFailure, SecretRef, tls};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Bytes of an answer that are taken: the protocol's own has two.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// How the files of TLS are named.
const TLS: tls::Options = tls::Options { authority: "`ca`", certificate: None };
/// Bytes of a file with certificates.
const CA_BYTES_MAX: u64 = 1024 * 1024;

/// What `checks.grpc` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcInput {
    /// Where: `http://host:port`, or `https://host:port` for TLS.
    url: String,
    /// The service that is asked for; empty is the server as a whole.
    #[serde(default)]
    service: String,
    /// A secret token, sent as `authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<SecretRef>,
    /// A PEM file with the certificates to trust, in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
}

/// The check `checks.grpc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcCheck;

#[async_trait]
impl Check for GrpcCheck {
    type Input = GrpcInput;

    fn told(&self) -> Told {
        Told {
            name: "checks.grpc",
            summary: "Says whether a gRPC service says that it serves.",
            docs: include_str!("docs/grpc.md"),
            example: r#"(url: "http://cart.internal:50051", service: "shop.Cart")"#,
        }
    }

    fn title(&self, input: &GrpcInput) -> String {
        format!("{} serves at {}", input.what(), web::shown(&input.url))
    }

    fn check(&self, input: &GrpcInput, checked: &mut Checked) {
        let access = Access { bearer: input.bearer.clone(), ..Access::default() };
        access.check(checked, "/url", &input.url);
        if input.ca.is_some() && input.url.starts_with("http://") {
            problem(checked, "/ca", "there is no TLS to trust", "write `https://` in `url`");
        }
    }

    fn by_hand(&self, input: &GrpcInput) -> ByHand {
        let address = input.url.split_once("://").map_or(input.url.as_str(), |(_, rest)| rest);
        let mut words = vec![format!("grpc_health_probe -addr={}", quoted(address))];
        if input.url.starts_with("https://") {
            words.push("-tls".to_owned());
        }
        if let Some(ca) = &input.ca {
            words.push(format!("-tls-ca-cert={}", quoted(ca)));
        }
        if !input.service.is_empty() {
            words.push(format!("-service={}", quoted(&input.service)));
        }
        if let Some(bearer) = &input.bearer {
            words.push(format!("-rpc-header=\"authorization: Bearer {}\"", fetched(bearer)));
        }
        ByHand {
            does: format!("looks whether {}", self.title(input)),
            commands: vec![words.join(" ")],
            verify: vec!["# status: SERVING".to_owned()],
        }
    }

    async fn look(&self, ctx: &Context, input: &GrpcInput) -> Result<Sample, PrepareFailure> {
        let (mut request, secrets) = request(ctx, input).await?;
        request.set_timeout(ctx.timeout);
        let channel = connect(ctx, input).await?;
        let client = HealthClient::new(channel);
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let wait = ctx.timeout / 3;
        let Ok(answer) = tokio::time::timeout(wait, client.check(request)).await else {
            let reason = format!("{}: connected, but no answer within {wait:?}", input.url);
            return Err(unreachable(reason));
        };
        match answer {
            Ok(answer) => Ok(sample(input, answer.get_ref().status)),
            Err(status) => said_no(input, &status, &secrets),
        }
    }
}

impl GrpcInput {
    fn what(&self) -> String {
        match self.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("the service `{service}`"),
        }
    }
}

async fn request(
    ctx: &Context,
    input: &GrpcInput,
) -> Result<(Request<HealthCheckRequest>, Vec<String>), PrepareFailure> {
    let mut request = Request::new(HealthCheckRequest { service: input.service.clone() });
    let Some(reference) = &input.bearer else { return Ok((request, Vec::new())) };
    let secret = ctx.secret(reference).await.map_err(|error| refused(error.to_string()))?;
    let value = format!("Bearer {}", secret.expose());
    let mut value: MetadataValue<Ascii> = value.parse().map_err(|_| {
        refused(format!("secret `{}`: its value cannot stand in a header", reference.0))
    })?;
    value.set_sensitive(true);
    request.metadata_mut().insert("authorization", value);
    Ok((request, vec![secret.expose().to_owned()]))
}

async fn connect(ctx: &Context, input: &GrpcInput) -> Result<Channel, PrepareFailure> {
    let wait = ctx.timeout / 2;
    let endpoint = endpoint(input, wait)?;
    match tokio::time::timeout(wait, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => {
            let (why, advice) = (web::chain(&error), tls::advice(&error, TLS));
            Err(unreachable(format!("{}: no connection: {why}{advice}", input.url)))
        }
        Err(_) => Err(unreachable(format!("{}: no connection within {wait:?}", input.url))),
    }
}

fn endpoint(input: &GrpcInput, wait: Duration) -> Result<Endpoint, PrepareFailure> {
    let wrong =
        |error: tonic::transport::Error| refused(format!("{}: {}", input.url, web::chain(&error)));
    let endpoint = Endpoint::from_shared(input.url.clone()).map_err(wrong)?.connect_timeout(wait);
    if !input.url.starts_with("https://") {
        return Ok(endpoint);
    }
    let tls = match &input.ca {
        Some(path) => ClientTlsConfig::new().ca_certificate(certificates(path)?),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(wrong)
}

fn certificates(path: &str) -> Result<Certificate, PrepareFailure> {
    use std::io::Read;
    let mut pem = Vec::new();
    let file = std::fs::File::open(path);
    file.and_then(|file| file.take(CA_BYTES_MAX).read_to_end(&mut pem))
        .map_err(|error| refused(format!("cannot read {path}: {error}")))?;
    Ok(Certificate::from_pem(pem))
}

fn sample(input: &GrpcInput, status: i32) -> Sample {
    let word = match status {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("status {other}"),
    };
    let holds = status == 1;
    let line = format!("{} at {} says {word}", input.what(), input.url);
    Sample {
        wrong: if holds { Vec::new() } else { vec![line] },
        seen: json!({ "service": input.service, "status": word }),
    }
}

/// A status in place of an answer. That a service is not known is the server's word that it does
/// not serve it; all else tells nothing of the service.
fn said_no(
    input: &GrpcInput,
    status: &Status,
    secrets: &[String],
) -> Result<Sample, PrepareFailure> {
    let message = Masker::text(secrets, status.message());
    let said = format!("{}: {}: {message}", input.url, status.code());
    match status.code() {
        Code::NotFound => Ok(Sample {
            wrong: vec![format!("{} at {} is not known there", input.what(), input.url)],
            seen: json!({ "service": input.service, "status": "NOT_FOUND" }),
        }),
        Code::Unimplemented => {
            Err(refused(format!("{}: it has no health service (grpc.health.v1)", input.url)))
        }
        Code::Unauthenticated | Code::PermissionDenied => Err(refused(said)),
        _ => Err(unreachable(said)),
    }
}
