//! Requests to flag servers and to those who evaluate: bounded in time and size, never repeated or
//! redirected, and with no secret in what is told of them.

use std::time::{Duration, Instant};

use backout_plugin_api::{Context, Masker, SecretRef};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url, redirect, retry};
use serde_json::Value;

/// How long a connection may take, its TLS included: beyond, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take: each is one small read or write of a flag.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What is kept of a verb's time for its own answer, of a verb that has so much.
const MARGIN: Duration = Duration::from_millis(250);
/// Bytes of an answer: one flag with its rules, or an Unleash project's playground.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Characters of an answer that a reason quotes.
const QUOTE_CHARS_MAX: usize = 200;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Proven: no byte of it was sent.
    Unsent(String),
    /// It may have been sent, and no whole answer came.
    NoAnswer(String),
    /// The answer has a status beyond 200 to 299.
    Status(u16, String),
}

impl Fault {
    /// What happened, for people.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Unsent(text) | Self::NoAnswer(text) | Self::Status(_, text) => text,
        }
    }
}

/// One verb's requests.
#[derive(Debug)]
pub(crate) struct Wire {
    client: Client,
    cancel: backout_plugin_api::CancellationToken,
    end: Instant,
    trace: Option<HeaderValue>,
}

/// The headers of one who is asked, with secrets in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    headers: HeaderMap,
    secrets: Vec<String>,
}

impl Credentials {
    /// Adds a secret, `before` written before its value.
    ///
    /// # Errors
    /// The reference gives no value, or one that cannot stand in a header.
    pub(crate) async fn add(
        &mut self,
        ctx: &Context,
        header: HeaderName,
        before: &str,
        reference: &SecretRef,
    ) -> Result<(), String> {
        let secret = ctx.secret(reference).await.map_err(|error| error.to_string())?;
        let mut value = HeaderValue::from_str(&format!("{before}{}", secret.expose()))
            .map_err(|_| format!("secret `{}`: its value cannot stand in a header", reference.0))?;
        value.set_sensitive(true);
        self.headers.insert(header, value);
        self.secrets.push(secret.expose().to_owned());
        Ok(())
    }

    /// A header that is no secret.
    pub(crate) fn plain(mut self, header: HeaderName, value: &'static str) -> Self {
        self.headers.insert(header, HeaderValue::from_static(value));
        self
    }
}

impl Wire {
    /// Requests that end with the verb's time.
    ///
    /// # Errors
    /// This machine cannot make a client.
    pub(crate) fn new(ctx: &Context) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("cannot make a client: {}", chain(&error.without_url())))?;
        let trace = ctx.traceparent.as_deref().and_then(|text| HeaderValue::from_str(text).ok());
        let time = ctx.timeout.saturating_sub(MARGIN.min(ctx.timeout / 4));
        Ok(Self { client, cancel: ctx.cancel.clone(), end: Instant::now() + time, trace })
    }

    /// When the verb's time is over.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }

    /// Fired when the verb should end early.
    pub(crate) fn cancel(&self) -> &backout_plugin_api::CancellationToken {
        &self.cancel
    }

    /// Sends one request and reads its answer as JSON; an empty answer is null.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: Url,
        credentials: &Credentials,
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let left = self.end.saturating_duration_since(Instant::now()).min(REQUEST_TIMEOUT);
        if left.is_zero() {
            return Err(Fault::Unsent("no time is left for it".to_owned()));
        }
        let what = format!("{method} {}{}", origin(&url), url.path());
        let mut request = self.client.request(method, url).timeout(left);
        request = request.headers(credentials.headers.clone());
        if let Some(trace) = &self.trace {
            request = request.header("traceparent", trace);
        }
        if let Some(body) = body {
            // A media type that a system wants is in its credentials.
            request = request.body(body.to_string());
        }
        let sent = tokio::select! {
            sent = exchange(request) => sent,
            () = self.cancel.cancelled() => {
                Err(Fault::NoAnswer("it was ended on request, before an answer came".to_owned()))
            }
        };
        sent.and_then(|(status, bytes)| read(status, &bytes, &credentials.secrets))
            .map_err(|fault| named(&what, fault))
    }
}

fn named(what: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Unsent(text) => Fault::Unsent(format!("{what}: {text}")),
        Fault::NoAnswer(text) => Fault::NoAnswer(format!("{what}: {text}")),
        Fault::Status(status, text) => Fault::Status(status, format!("{what}: {text}")),
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Fault> {
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(failed)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > ANSWER_BYTES_MAX {
            let text = format!("the answer is longer than ANSWER_BYTES_MAX ({ANSWER_BYTES_MAX})");
            return Err(Fault::NoAnswer(text));
        }
    }
    Ok((status, bytes))
}

/// Only an error in making the connection, or the request itself, proves that nothing was sent.
fn failed(error: reqwest::Error) -> Fault {
    let error = error.without_url();
    match (error.is_connect() || error.is_builder(), error.is_timeout()) {
        (true, true) => Fault::Unsent("no connection in time".to_owned()),
        (true, false) => Fault::Unsent(format!("no connection: {}", chain(&error))),
        (false, true) => Fault::NoAnswer("no answer in time".to_owned()),
        (false, false) => Fault::NoAnswer(format!("no answer: {}", chain(&error))),
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

fn read(status: u16, bytes: &[u8], secrets: &[String]) -> Result<Value, Fault> {
    let text = Masker::text(secrets, &String::from_utf8_lossy(bytes));
    if !(200..300).contains(&status) {
        let quote: String =
            text.trim().lines().next().unwrap_or_default().chars().take(QUOTE_CHARS_MAX).collect();
        let quote = if quote.is_empty() { quote } else { format!(": {quote}") };
        return Err(Fault::Status(status, format!("answered {status}{quote}")));
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text)
        .map_err(|error| Fault::NoAnswer(format!("answered {status}, but no JSON: {error}")))
}

/// A server's address with a path below it, each segment written as a path needs it.
///
/// # Errors
/// It is no address.
pub(crate) fn url(base: &str, segments: &[&str]) -> Result<Url, String> {
    let mut url = Url::parse(base).map_err(|error| format!("`{base}` is no URL: {error}"))?;
    url.path_segments_mut()
        .map_err(|()| format!("`{base}` is no address of a server"))?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::{Fault, read, url};

    #[test]
    fn a_name_stays_one_segment() {
        let url = url("https://x.example/base/", &["flags", "a/b c?d", ".."]).unwrap();
        assert_eq!(url.as_str(), "https://x.example/base/flags/a%2Fb%20c%3Fd");
    }

    #[test]
    fn what_is_told_holds_no_secret() {
        let fault = read(500, b"token hunter2 is bad", &["hunter2".to_owned()]).unwrap_err();
        assert_eq!(fault, Fault::Status(500, "answered 500: token *** is bad".to_owned()));
        assert!(matches!(read(200, b"<html>", &[]), Err(Fault::NoAnswer(_))));
    }
}
