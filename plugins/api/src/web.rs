//! Reading from HTTP(S) servers, shared by the actions that look or fetch (feature `web`).
//!
//! One request over one connection: never repeated, since a retry is the engine's decision, and
//! never longer than the verb may take. What it says of a failure holds no secret. An answer of
//! any status is an answer; only silence is a failure.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url, redirect, retry};
use sha2::{Digest, Sha256};

use crate::{
    Checked, Context, InputProblem, Masker, PrepareFailure, SecretRef, check_reference, hex,
};

/// How long a connection may take, its TLS included: beyond, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Redirects that a download follows: a store in front of a bucket needs one or two.
const REDIRECTS_MAX: usize = 4;
/// Characters of an answer that a reason quotes.
const QUOTE_CHARS_MAX: usize = 200;

/// What a request carries besides its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Plain headers, by name.
    pub headers: BTreeMap<String, String>,
    /// Headers whose values are secrets.
    pub secret_headers: BTreeMap<String, SecretRef>,
    /// A token, sent as `Authorization: Bearer …`.
    pub bearer: Option<SecretRef>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `GET` or `HEAD`; these change nothing.
    pub method: Method,
    /// `http://…` or `https://…`.
    pub url: String,
    /// Headers and secrets.
    pub access: Access,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text, without secrets of the request; cut at the caller's limit.
    pub body: String,
    /// Whether the body is whole.
    pub whole: bool,
    /// From the request to the end of the body.
    pub took: Duration,
    /// `Last-Modified`, as the server wrote it.
    pub last_modified: Option<String>,
    /// `Content-Length`, where it was given.
    pub length: Option<u64>,
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}

impl Ask {
    /// A plain GET.
    pub fn get(url: impl Into<String>, access: Access) -> Self {
        Self { method: Method::GET, url: url.into(), access }
    }

    /// A HEAD.
    pub fn head(url: impl Into<String>, access: Access) -> Self {
        Self { method: Method::HEAD, url: url.into(), access }
    }
}

impl Answer {
    /// The status and the first line of the body, for people.
    pub fn says(&self) -> String {
        let line = self.body.trim().lines().next().unwrap_or_default();
        let quote: String = line.chars().take(QUOTE_CHARS_MAX).collect();
        let separator = if quote.is_empty() { "" } else { ": " };
        format!("answered {}{separator}{quote}", self.status)
    }
}

/// Asks, and reads the answer up to `bytes_max`. Redirects are answers.
///
/// # Errors
/// Refused where the request cannot be made; unreachable where no answer came, or was cut off.
pub async fn read(ctx: &Context, ask: &Ask, bytes_max: usize) -> Result<Answer, PrepareFailure> {
    let begun = Instant::now();
    let (mut response, secrets) = send(ctx, ask, redirect::Policy::none()).await?;
    let (mut body, mut whole) = (Vec::new(), true);
    while whole {
        match unless_cancelled(ctx, &ask.url, response.chunk()).await? {
            Some(piece) if body.len() + piece.len() <= bytes_max => body.extend_from_slice(&piece),
            Some(_) => whole = false,
            None => break,
        }
    }
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    Ok(Answer {
        status: response.status().as_u16(),
        body: Masker::text(&secrets, &String::from_utf8_lossy(&body)),
        whole,
        took: begun.elapsed(),
        last_modified: header("last-modified"),
        length: header("content-length").and_then(|text| text.parse().ok()),
    })
}

/// Fetches a body whole into `file`, which is not synced. A request without secrets follows
/// redirects; one with secrets does not, since they would go to whoever is named.
///
/// # Errors
/// Refused where the server says no, or the body is longer than `bytes_max`; unreachable where it
/// did not come whole.
pub async fn download(
    ctx: &Context,
    ask: &Ask,
    file: &mut std::fs::File,
    bytes_max: u64,
) -> Result<Fetched, PrepareFailure> {
    let policy = if ask.access.has_secrets() {
        redirect::Policy::none()
    } else {
        redirect::Policy::limited(REDIRECTS_MAX)
    };
    let (mut response, _) = send(ctx, ask, policy).await?;
    let status = response.status();
    if !status.is_success() {
        return Err(refused(format!("{}: answered {}", shown(&ask.url), status.as_u16())));
    }
    let too_long = || refused(format!("{}: longer than {bytes_max} bytes", shown(&ask.url)));
    if response.content_length().is_some_and(|length| length > bytes_max) {
        return Err(too_long());
    }
    let (mut hasher, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(piece) = unless_cancelled(ctx, &ask.url, response.chunk()).await? {
        bytes = bytes.saturating_add(piece.len() as u64);
        if bytes > bytes_max {
            return Err(too_long());
        }
        hasher.update(&piece);
        file.write_all(&piece).map_err(|error| refused(format!("cannot keep it: {error}")))?;
    }
    Ok(Fetched { sha256: hex(&hasher.finalize()), bytes })
}

async fn send(
    ctx: &Context,
    ask: &Ask,
    policy: redirect::Policy,
) -> Result<(Response, Vec<String>), PrepareFailure> {
    let (headers, secrets) = headers(ctx, &ask.access).await?;
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(ctx.timeout / 2))
        .timeout(ctx.timeout)
        .pool_max_idle_per_host(0)
        .redirect(policy)
        .retry(retry::never())
        .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| refused(format!("cannot make a client: {}", chain(&error))))?;
    let request = client.request(ask.method.clone(), &ask.url).headers(headers);
    let response = unless_cancelled(ctx, &ask.url, request.send()).await?;
    Ok((response, secrets))
}

async fn unless_cancelled<T>(
    ctx: &Context,
    url: &str,
    work: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, PrepareFailure> {
    tokio::select! {
        done = work => done.map_err(|error| silence(url, error)),
        () = ctx.cancel.cancelled() => {
            Err(unreachable(format!("{}: ended on request, before an answer came", shown(url))))
        }
    }
}

fn silence(url: &str, error: reqwest::Error) -> PrepareFailure {
    let (connecting, late, wrong) = (error.is_connect(), error.is_timeout(), error.is_builder());
    let error = error.without_url();
    let what = match (connecting, late) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => format!("no connection: {}", chain(&error)),
        (false, true) => "connected, but no whole answer in time".to_owned(),
        (false, false) => format!("no answer: {}", chain(&error)),
    };
    let reason = format!("{}: {what}", shown(url));
    if wrong { refused(reason) } else { unreachable(reason) }
}

/// A URL as it may be shown: a signature often stands in the query.
pub fn shown(url: &str) -> &str {
    url.split_once('?').map_or(url, |(start, _)| start)
}

async fn headers(
    ctx: &Context,
    access: &Access,
) -> Result<(HeaderMap, Vec<String>), PrepareFailure> {
    let (mut headers, mut secrets) = (HeaderMap::new(), Vec::new());
    for (name, value) in &access.headers {
        let value = HeaderValue::from_str(value)
            .map_err(|_| refused(format!("the value of `{name}` cannot be sent")))?;
        headers.insert(header_name(name)?, value);
    }
    for (name, reference) in &access.secret_headers {
        let value = secret(ctx, reference, "", &mut secrets).await?;
        headers.insert(header_name(name)?, value);
    }
    if let Some(reference) = &access.bearer {
        headers.insert(AUTHORIZATION, secret(ctx, reference, "Bearer ", &mut secrets).await?);
    }
    if let Some(trace) =
        ctx.traceparent.as_deref().and_then(|text| HeaderValue::from_str(text).ok())
    {
        headers.insert("traceparent", trace);
    }
    Ok((headers, secrets))
}

async fn secret(
    ctx: &Context,
    reference: &SecretRef,
    before: &str,
    secrets: &mut Vec<String>,
) -> Result<HeaderValue, PrepareFailure> {
    let secret = ctx.secret(reference).await.map_err(|error| refused(error.to_string()))?;
    let mut value =
        HeaderValue::from_str(&format!("{before}{}", secret.expose())).map_err(|_| {
            refused(format!("secret `{}`: its value cannot stand in a header", reference.0))
        })?;
    value.set_sensitive(true);
    secrets.push(secret.expose().to_owned());
    Ok(value)
}

fn header_name(name: &str) -> Result<HeaderName, PrepareFailure> {
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| refused(format!("`{name}` cannot be a header")))
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

fn unreachable(reason: String) -> PrepareFailure {
    PrepareFailure::Unreachable { reason }
}

/// An error with all its causes, the last of which is the one that helps.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Access {
    fn has_secrets(&self) -> bool {
        self.bearer.is_some() || !self.secret_headers.is_empty()
    }

    /// What is wrong with it, and with the URL at `at` that it goes to.
    pub fn check(&self, checked: &mut Checked, at: &str, url: &str) {
        check_url(checked, at, url, self.has_secrets());
        for (name, value) in &self.headers {
            let at = format!("/headers/{name}");
            if header_name(name).is_err() || HeaderValue::from_str(value).is_err() {
                problem(checked, &at, "this cannot be a header", "one line of visible characters");
            }
            if name.eq_ignore_ascii_case("authorization") {
                let help = "name where the secret is by `bearer` or `secret_headers`";
                problem(checked, &at, "a secret's value never stands in a runbook", help);
            }
        }
        let named =
            self.secret_headers.iter().map(|(name, r)| (format!("/secret_headers/{name}"), r));
        for (at, reference) in named.chain(self.bearer.iter().map(|r| ("/bearer".to_owned(), r))) {
            check_secret(checked, &at, reference);
        }
    }
}

/// What is wrong with a secret's reference.
pub fn check_secret(checked: &mut Checked, at: &str, reference: &SecretRef) {
    if let Err(error) = check_reference(&reference.0) {
        let help = "name where the secret is; its value never stands in a runbook";
        problem(checked, at, &error.reason, help);
    }
}

fn check_url(checked: &mut Checked, at: &str, url: &str, has_secret: bool) {
    if url.replace("$${", "").contains("${") {
        return;
    }
    let Some(parsed) = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
    else {
        let message = "this is no URL of a web server";
        return problem(checked, at, message, "write it whole: https://host/path");
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let help = "use `bearer` or `secret_headers`, which take references";
        problem(checked, at, "a user or password stands in the URL", help);
    }
    let local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if has_secret && parsed.scheme() == "http" && !local {
        checked.warnings.push(InputProblem {
            at: at.to_owned(),
            message: "a secret is sent over an open line".to_owned(),
            help: Some("use https".to_owned()),
        });
    }
}

fn problem(checked: &mut Checked, at: &str, message: &str, help: &str) {
    checked.problems.push(InputProblem {
        at: at.to_owned(),
        message: message.to_owned(),
        help: Some(help.to_owned()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(access: &Access, url: &str) -> Vec<String> {
        let mut checked = Checked::default();
        access.check(&mut checked, "/url", url);
        checked.problems.into_iter().map(|problem| problem.at).collect()
    }

    #[test]
    fn what_cannot_be_asked_is_told() {
        let plain = Access::default();
        assert_eq!(problems(&plain, "https://shop.example/x"), Vec::<String>::new());
        assert_eq!(problems(&plain, "${params.url}/x"), Vec::<String>::new());
        for url in ["shop.example", "ftp://shop.example/", "https://me:pw@shop.example/"] {
            assert_eq!(problems(&plain, url), ["/url"], "{url}");
        }
        let access = Access {
            headers: [("authorization".to_owned(), "Bearer x".to_owned())].into(),
            bearer: Some(SecretRef("hunter2".to_owned())),
            ..Access::default()
        };
        assert_eq!(problems(&access, "https://x/"), ["/headers/authorization", "/bearer"]);
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        assert_eq!(shown("https://x/y?sig=abc"), "https://x/y");
        assert_eq!(shown("https://x/y"), "https://x/y");
    }
}
