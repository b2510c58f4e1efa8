//! `checks.tcp`: whether something listens.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused, unreachable};
use backout_plugin_api::words::{has_expression, problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, PrepareFailure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::words::{check_duration, duration, millis};

/// Bytes of a banner that are read: servers introduce themselves in a line.
const BANNER_BYTES_MAX: usize = 4 * 1024;
/// Characters of a banner that the record keeps.
const QUOTE_CHARS_MAX: usize = 100;

/// What `checks.tcp` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpInput {
    /// Host and port: `"db.internal:5432"`, `"[::1]:22"`.
    address: String,
    /// Whether nothing must listen there, for a service that should be gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
    /// A text to send first, for servers that wait to be spoken to: `"PING\r\n"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    send: Option<String>,
    /// A text that must stand in what the server says: `"SSH-2.0"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expect: Option<String>,
    /// The longest time that a right answer may take: `"500ms"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<String>,
}

/// The check `checks.tcp`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpCheck;

#[async_trait]
impl Check for TcpCheck {
    type Input = TcpInput;

    fn told(&self) -> Told {
        Told {
            name: "checks.tcp",
            summary: "Says whether something listens on a port, or nothing does.",
            docs: include_str!("docs/tcp.md"),
            example: r#"(address: "db.internal:5432", within: "500ms")"#,
        }
    }

    fn title(&self, input: &TcpInput) -> String {
        let what = if input.closed { "nothing listens" } else { "something listens" };
        format!("{what} on {}", input.address)
    }

    fn check(&self, input: &TcpInput, checked: &mut Checked) {
        check_duration(checked, "/within", input.within.as_ref());
        if !has_expression(&input.address) && !is_address(&input.address) {
            let help = "write host and port: \"db.internal:5432\"";
            problem(checked, "/address", "this is no address", help);
        }
        if input.closed && (input.send.is_some() || input.expect.is_some()) {
            let message = "nobody speaks on a port that is closed";
            problem(checked, "/closed", message, "leave out `send` and `expect`");
        }
        if input.expect.as_ref().is_some_and(String::is_empty) {
            problem(checked, "/expect", "an empty text stands in any", "write what must be said");
        }
    }

    fn by_hand(&self, input: &TcpInput) -> ByHand {
        let (host, port) = input.address.rsplit_once(':').unwrap_or((&input.address, "?"));
        let host = host.trim_matches(['[', ']']);
        let said = input.send.as_ref().map(|send| format!("printf %s {} | ", quoted(send)));
        let said = said.unwrap_or_default();
        let scan = if input.expect.is_some() { "-v -w 5" } else { "-vz -w 5" };
        let wanted = match (&input.expect, input.closed) {
            (Some(text), _) => format!("# it says {text}"),
            (None, true) => "# Connection refused".to_owned(),
            (None, false) => "# succeeded".to_owned(),
        };
        ByHand {
            does: format!("looks whether {}", self.title(input)),
            commands: vec![format!("{said}nc {scan} {} {port}", quoted(host))],
            verify: vec![wanted],
        }
    }

    async fn look(&self, ctx: &Context, input: &TcpInput) -> Result<Sample, PrepareFailure> {
        let begun = Instant::now();
        let stream = match connect(ctx, &input.address).await? {
            Some(stream) => stream,
            None if input.closed => return Ok(holds(json!({ "open": false }))),
            None => {
                let line = format!("{}: connection refused, nothing listens", input.address);
                return Ok(Sample { wrong: vec![line], seen: json!({ "open": false }) });
            }
        };
        if input.closed {
            let line = format!("{}: something listens still", input.address);
            return Ok(Sample { wrong: vec![line], seen: json!({ "open": true }) });
        }
        let said = converse(ctx, input, stream).await?;
        sample(input, &said, begun.elapsed())
    }
}

fn holds(seen: Value) -> Sample {
    Sample { wrong: Vec::new(), seen }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && bare && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// `None` where the host answered that nothing listens.
async fn connect(ctx: &Context, address: &str) -> Result<Option<TcpStream>, PrepareFailure> {
    // Half of the time, so that silence after it can be told apart.
    let wait = ctx.timeout / 2;
    match tokio::time::timeout(wait, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(Some(stream)),
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
        Ok(Err(error)) => Err(unreachable(format!("{address}: no connection: {error}"))),
        Err(_) => Err(unreachable(format!("{address}: no connection within {wait:?}"))),
    }
}

async fn converse(
    ctx: &Context,
    input: &TcpInput,
    mut stream: TcpStream,
) -> Result<String, PrepareFailure> {
    let lost = |error: std::io::Error| {
        unreachable(format!("{}: the connection broke: {error}", input.address))
    };
    if let Some(send) = &input.send {
        stream.write_all(send.as_bytes()).await.map_err(lost)?;
    }
    let Some(expect) = &input.expect else { return Ok(String::new()) };
    let wait = ctx.timeout / 3;
    match tokio::time::timeout(wait, listen(&mut stream, expect)).await {
        Ok(said) => said.map_err(lost),
        Err(_) => Err(unreachable(format!(
            "{}: connected, but it did not say `{expect}` within {wait:?}",
            input.address
        ))),
    }
}

/// What it says until the wanted text is there, it ends, or it says too much.
async fn listen(stream: &mut TcpStream, expect: &str) -> std::io::Result<String> {
    let mut said = Vec::new();
    let mut piece = [0; 512];
    loop {
        let read = stream.read(&mut piece).await?;
        said.extend_from_slice(piece.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&said).into_owned();
        if read == 0 || text.contains(expect) || said.len() >= BANNER_BYTES_MAX {
            return Ok(text);
        }
    }
}

fn sample(input: &TcpInput, said: &str, took: Duration) -> Result<Sample, PrepareFailure> {
    let mut wrong = Vec::new();
    let banner: String = said.chars().take(QUOTE_CHARS_MAX).collect();
    if input.expect.as_ref().is_some_and(|expect| !said.contains(expect.as_str())) {
        let expect = input.expect.as_deref().unwrap_or_default();
        wrong.push(format!("{} said {banner:?}, not `{expect}`", input.address));
    }
    let within = input.within.as_deref().map(duration).transpose().map_err(refused)?;
    if let Some(within) = within.filter(|within| took > *within) {
        wrong.push(format!("it took {} ms, longer than {within:?}", millis(took)));
    }
    let mut seen = json!({ "open": true, "took_ms": millis(took) });
    if input.expect.is_some() {
        seen["said"] = json!(banner);
    }
    Ok(Sample { wrong, seen })
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for text in ["db:1", "127.0.0.1:65535", "[::1]:22", "db.internal:5432"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["", "db", ":80", "db:0", "db:http", "::1:22", "db:70000"] {
            assert!(!is_address(text), "{text}");
        }
    }
}
