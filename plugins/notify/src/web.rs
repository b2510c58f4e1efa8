//! One message over HTTP. A receiver that says *too many* has not taken it, so it is asked again
//! within the time that there is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backout_plugin_api::{Context, Masker, SecretRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect, retry};
use serde_json::Value;
use sha2::Sha256;
use tokio::time::{Instant, sleep};

use crate::message::Message;
use crate::record::Sent;

/// How long a connection may take, its TLS included: beyond, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one answer may take: a receiver of messages answers at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is waited where a receiver is busy and does not say how long.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
/// Characters of an answer that a reason quotes.
const QUOTE_CHARS_MAX: usize = 200;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A request that can be sent more than once, with the same bytes.
pub(crate) struct Post {
    pub(crate) url: String,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: HeaderMap,
    /// What must not be repeated to anybody.
    pub(crate) secrets: Vec<String>,
}

impl Post {
    /// To a chat.
    pub(crate) async fn slack(
        ctx: &Context,
        url: &SecretRef,
        body: &Value,
    ) -> Result<Self, String> {
        let url = secret(ctx, url).await?;
        let secrets = vec![url.clone()];
        Ok(Self { url, body: bytes(body)?, headers: HeaderMap::new(), secrets })
    }

    /// To a pager.
    pub(crate) async fn pager(
        ctx: &Context,
        url: &str,
        routing_key: &SecretRef,
        message: &Message,
    ) -> Result<Self, String> {
        let key = secret(ctx, routing_key).await?;
        let body = bytes(&message.pager(&key))?;
        Ok(Self { url: url.to_owned(), body, headers: HeaderMap::new(), secrets: vec![key] })
    }

    /// To a receiver of Standard Webhooks.
    pub(crate) async fn webhook(
        ctx: &Context,
        url: &str,
        key: &SecretRef,
        message: &Message,
    ) -> Result<Self, String> {
        let key = secret(ctx, key).await?;
        let body = bytes(&serde_json::json!(message))?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = signature(&key, &message.id, seconds, &body)?;
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, text: &str| -> Result<(), String> {
            let value = HeaderValue::from_str(text).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static(name), value);
            Ok(())
        };
        put("webhook-id", &message.id)?;
        put("webhook-timestamp", &seconds.to_string())?;
        put("webhook-signature", &signature)?;
        put("idempotency-key", &message.id)?;
        Ok(Self { url: url.to_owned(), body, headers, secrets: vec![key] })
    }

    /// Sends it, again and again while that is proven to be harmless and there is time.
    pub(crate) async fn send(self, ctx: &Context, until: Instant) -> Sent {
        let client = match client(until) {
            Ok(client) => client,
            Err(why) => return Sent::Not(why),
        };
        loop {
            let (sent, pause) = self.once(ctx, &client).await;
            let (Sent::Not(_), Some(pause)) = (&sent, pause) else { return sent };
            if Instant::now() + pause >= until {
                return sent;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = ctx.cancel.cancelled() => return sent,
            }
        }
    }

    async fn once(&self, ctx: &Context, client: &Client) -> (Sent, Option<Duration>) {
        let mut request = client
            .post(&self.url)
            .header("content-type", "application/json")
            .headers(self.headers.clone())
            .body(self.body.clone());
        if let Some(trace) = &ctx.traceparent {
            request = request.header("traceparent", trace);
        }
        match request.send().await {
            Ok(response) => self.answer(response).await,
            Err(error) => failed(error),
        }
    }

    async fn answer(&self, mut response: Response) -> (Sent, Option<Duration>) {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let mut body = Vec::new();
        // The status is the answer; a body that does not come whole takes nothing from that.
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(&piece);
            if body.len() > ANSWER_BYTES_MAX {
                break;
            }
        }
        let said = Masker::text(&self.secrets, &String::from_utf8_lossy(&body));
        let line: String =
            said.trim().lines().next().unwrap_or_default().chars().take(QUOTE_CHARS_MAX).collect();
        let says = if line.is_empty() {
            format!("answered {status}")
        } else {
            format!("answered {status}: {line}")
        };
        if status.is_success() {
            return (Sent::Taken(says), None);
        }
        match status {
            StatusCode::TOO_MANY_REQUESTS => (Sent::Not(says), Some(wait.unwrap_or(BUSY_PAUSE))),
            // It may be the word of a gateway, while the receiver goes on working.
            StatusCode::REQUEST_TIMEOUT => (Sent::NoAnswer(says), None),
            _ if status.is_server_error() => (Sent::NoAnswer(says), None),
            _ => (Sent::Wrong(says), None),
        }
    }
}

/// Only an error in making the connection proves that nothing was sent.
fn failed(error: reqwest::Error) -> (Sent, Option<Duration>) {
    let (connecting, building, late) = (error.is_connect(), error.is_builder(), error.is_timeout());
    let why = chain(&error.without_url());
    match (connecting, building, late) {
        (true, ..) => (Sent::Not(format!("no connection: {why}")), Some(BUSY_PAUSE)),
        (_, true, _) => (Sent::Not("the URL cannot be used".to_owned()), None),
        (.., true) => (Sent::NoAnswer("no answer in time".to_owned()), None),
        _ => (Sent::NoAnswer(format!("no answer: {why}")), None),
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

fn client(until: Instant) -> Result<Client, String> {
    let left = until.saturating_duration_since(Instant::now()).min(ANSWER_TIMEOUT);
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(left / 2))
        .timeout(left)
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("cannot make a client: {error}"))
}

fn bytes(body: &Value) -> Result<Vec<u8>, String> {
    serde_json::to_vec(body).map_err(|error| error.to_string())
}

/// A secret's value, for the one request that is made of it.
pub(crate) async fn secret(ctx: &Context, reference: &SecretRef) -> Result<String, String> {
    let secret = ctx.secret(reference).await.map_err(|error| error.to_string())?;
    Ok(secret.expose().to_owned())
}

/// The signature of Standard Webhooks, version 1. A key that begins with `whsec_` is in base64.
fn signature(key: &str, id: &str, seconds: u64, body: &[u8]) -> Result<String, String> {
    let key = match key.strip_prefix("whsec_") {
        Some(text) => {
            STANDARD.decode(text).map_err(|_| "the key after `whsec_` is not base64".to_owned())?
        }
        None => key.as_bytes().to_vec(),
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::signature;

    /// The example of the specification and of every library for it.
    #[test]
    fn it_signs_as_standard_webhooks_do() {
        let signed = signature(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_repeated() {
        let error = signature("whsec_!s3cr3t", "id", 0, b"").unwrap_err();
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}
