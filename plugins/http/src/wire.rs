//! One request over one connection: never pooled, never repeated, never redirected, so that what
//! is known of a sending is known of this one.

use std::time::Duration;

use backout_plugin_api::{Context, EffectKey, Masker, SecretRef, hex, limits};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, redirect, retry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::input::Input;

/// How long a connection may take, its TLS included: beyond, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read: it is data for a later step, not a download.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an answer's body that later steps may use as text.
const BODY_BYTES_MAX: usize = limits::OUTPUT_BYTES_MAX / 4;
/// Bytes of an answer, as JSON, that later steps may use as data.
const JSON_BYTES_MAX: usize = limits::OUTPUT_BYTES_MAX / 2;
/// Bytes of an `Idempotency-Key`: the limit that the best known service has.
const KEY_BYTES_MAX: usize = 255;
/// Bytes of an answer that a reason quotes.
const QUOTE_CHARS_MAX: usize = 200;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sent {
    /// The target answered.
    Answer(Answer),
    /// Proven: no byte of the request was sent.
    Unsent(String),
    /// It may have been sent, and no answer came.
    NoAnswer(String),
}

/// What the target answered, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What later steps may use.
    pub(crate) output: Value,
    /// The first line of the body, and `Retry-After`, for people.
    pub(crate) says: String,
}

/// A request with its secrets in it, ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    request: reqwest::RequestBuilder,
    secrets: Vec<String>,
}

impl Request {
    /// Fetches the secrets and puts all together. Nothing is sent.
    ///
    /// # Errors
    /// It cannot be sent, and why.
    pub(crate) async fn new(
        ctx: &Context,
        input: &Input,
        key: Option<&EffectKey>,
    ) -> Result<Self, String> {
        let mut secrets = Vec::new();
        let mut headers = HeaderMap::new();
        for (name, value) in &input.headers {
            headers.insert(header_name(name)?, header_value(name, value)?);
        }
        for (name, reference) in &input.secret_headers {
            let name = header_name(name)?;
            headers.insert(name, secret(ctx, reference, "", &mut secrets).await?);
        }
        if let Some(reference) = &input.bearer {
            let value = secret(ctx, reference, "Bearer ", &mut secrets).await?;
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(key) = key {
            headers.insert("idempotency-key", header_value("Idempotency-Key", &key_text(key))?);
        }
        if let Some(trace) = &ctx.traceparent {
            headers.insert("traceparent", header_value("traceparent", trace)?);
        }
        let request = builder(ctx.timeout, input)?.headers(headers);
        Ok(Self { request, secrets })
    }

    /// Sends it and reads the answer, within the time that `ctx` gives.
    pub(crate) async fn send(self, ctx: &Context) -> Sent {
        let Self { request, secrets } = self;
        tokio::select! {
            sent = exchange(request, &secrets) => sent,
            () = ctx.cancel.cancelled() => {
                Sent::NoAnswer("it was ended on request, before an answer came".to_owned())
            }
        }
    }
}

fn builder(timeout: Duration, input: &Input) -> Result<reqwest::RequestBuilder, String> {
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(timeout / 2))
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("cannot make a client: {}", chain(&error.without_url())))?;
    let method = reqwest::Method::from_bytes(input.method.word().as_bytes())
        .map_err(|error| error.to_string())?;
    let mut request = client.request(method, &input.url);
    if let Some(body) = &input.body {
        request = request.body(body.clone());
    }
    if let Some(json) = &input.json {
        request = request.json(json);
    }
    Ok(request)
}

async fn exchange(request: reqwest::RequestBuilder, secrets: &[String]) -> Sent {
    match request.send().await {
        Ok(response) => Sent::Answer(answer(response, secrets).await),
        Err(error) => failed(error.without_url()),
    }
}

/// Only an error in making the connection, or the request itself, proves that nothing was sent.
fn failed(error: reqwest::Error) -> Sent {
    let (is_unsent, is_late) = (error.is_connect() || error.is_builder(), error.is_timeout());
    let error = error.without_url();
    match (is_unsent, is_late) {
        (true, true) => Sent::Unsent("no connection in time".to_owned()),
        (true, false) => Sent::Unsent(format!("no connection: {}", chain(&error))),
        (false, true) => Sent::NoAnswer("no answer in time".to_owned()),
        (false, false) => Sent::NoAnswer(format!("no answer: {}", chain(&error))),
    }
}

/// An error with all its causes, the last of which is the one that helps.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The status is the answer; a body that does not come whole takes nothing from that.
async fn answer(mut response: Response, secrets: &[String]) -> Answer {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.map(|wait| format!(", asks to wait ({wait})")).unwrap_or_default();
    let (mut body, mut whole) = (Vec::new(), true);
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => break,
            Err(_) => whole = false,
        }
        if !whole || body.len() > ANSWER_BYTES_MAX {
            whole = false;
            break;
        }
    }
    let text = Masker::text(secrets, &String::from_utf8_lossy(&body));
    let quote: String =
        text.trim().lines().next().unwrap_or_default().chars().take(QUOTE_CHARS_MAX).collect();
    let quote = if quote.is_empty() { quote } else { format!(": {quote}") };
    Answer {
        status: status.as_u16(),
        says: format!("answered {status}{wait}{quote}"),
        output: output(status.as_u16(), &text, whole),
    }
}

/// What later steps may use; never longer than an output may be.
fn output(status: u16, text: &str, whole: bool) -> Value {
    let mut body = start_of(text, BODY_BYTES_MAX);
    // Control characters grow when they are written as JSON.
    while json!(body).to_string().len() > BODY_BYTES_MAX * 2 {
        body = start_of(body, body.len() / 2);
    }
    let mut output = json!({ "status": status, "body": body });
    if !whole || body.len() < text.len() {
        output["body_cut"] = json!(true);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(data) if whole && data.to_string().len() <= JSON_BYTES_MAX => output["json"] = data,
        Ok(_) | Err(_) => {}
    }
    if output.to_string().len() > limits::OUTPUT_BYTES_MAX {
        output["body"] = json!("");
        output["body_cut"] = json!(true);
    }
    output
}

fn start_of(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The key as a header's value: visible ASCII, and short enough for everybody.
fn key_text(key: &EffectKey) -> String {
    let mut text = String::new();
    for byte in key.as_str().bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex(&[byte]));
        }
    }
    if text.len() > KEY_BYTES_MAX {
        let digest = hex(&Sha256::digest(key.as_str()));
        text.truncate(KEY_BYTES_MAX - digest.len());
        text.push_str(&digest);
    }
    text
}

async fn secret(
    ctx: &Context,
    reference: &SecretRef,
    before: &str,
    secrets: &mut Vec<String>,
) -> Result<HeaderValue, String> {
    let secret = ctx.secret(reference).await.map_err(|error| error.to_string())?;
    let mut value = HeaderValue::from_str(&format!("{before}{}", secret.expose()))
        .map_err(|_| format!("secret `{}`: its value cannot stand in a header", reference.0))?;
    value.set_sensitive(true);
    secrets.push(secret.expose().to_owned());
    Ok(value)
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` cannot be a header"))
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("the value of `{name}` cannot be sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_always_a_header() {
        let text = |key: &str| key_text(&EffectKey::from_text(key));
        assert_eq!(text("run/step[eu-1]/1/0"), "run/step[eu-1]/1/0");
        assert_eq!(text("run/a b/1/0"), "run/a%20b/1/0");
        let long = "x".repeat(400);
        assert_eq!(text(&long).len(), KEY_BYTES_MAX);
        assert_ne!(text(&format!("{long}a")), text(&format!("{long}b")));
    }

    #[test]
    fn an_output_never_grows_beyond_its_limit() {
        for text in ["\u{1}".repeat(100_000), "é".repeat(100_000), "\"".repeat(40_000)] {
            let output = output(200, &text, true);
            assert!(output.to_string().len() <= limits::OUTPUT_BYTES_MAX);
            assert_eq!(output["body_cut"], json!(true));
        }
        let data = json!({"list": vec!["\u{1}"; 3_000]}).to_string();
        let output = output(200, &data, true);
        assert!(output.get("json").is_some());
        assert!(output.to_string().len() <= limits::OUTPUT_BYTES_MAX);
    }
}
