//! The input of `http.request`.

use std::collections::BTreeMap;
use std::time::Duration;

use backout_plugin_api::{Guarantee, SecretRef, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a target may take, after a sending, until a probe's *not done* is final, where the
/// author does not say: longer than the ordinary timeouts of gateways and application servers.
pub(crate) const SETTLES_WITHIN_DEFAULT: Duration = Duration::from_mins(1);

/// A request to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The method.
    pub method: Method,

    /// Where to: `http://…` or `https://…`, without a user's name or password in it. Redirects are
    /// not followed.
    pub url: String,

    /// Headers, by name. `Idempotency-Key` and `traceparent` are set by the engine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// Headers whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_headers: BTreeMap<String, SecretRef>,

    /// A secret token, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretRef>,

    /// The body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,

    /// The body as data, sent as JSON with its content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,

    /// The statuses that mean that it is done. Without it, all from 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<u16>,

    /// How long the target remembers an `Idempotency-Key`, `"24h"` for instance: your word that
    /// within this time it answers the same key without making the effect again. With it the step
    /// is `keyed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed: Option<String>,

    /// A GET that tells whether the effect is made. With it the step is `probed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,

    /// Whether the request changes nothing; only for GET and HEAD. Then it may be repeated freely.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,

    /// The request that puts back what this one did. With it the step's reversibility is `exact`,
    /// by the author's word; without it there is no way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
}

/// A GET that tells whether the effect is made. It gets the headers of the request, secret ones
/// too, besides its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Probe {
    /// Where to ask.
    pub url: String,

    /// More headers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// The statuses that mean that it is done.
    #[serde(default = "done_default")]
    pub done: Vec<u16>,

    /// The statuses that mean that it is not done. Any other is unknown.
    #[serde(default = "not_done_default")]
    pub not_done: Vec<u16>,

    /// How long after a sending the target may still make the effect, `"1m"` where it is not given.
    /// Before that time *not done* is not final, and the step waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles_within: Option<String>,
}

/// The request that puts back what another one did. It gets that one's headers, secret ones too,
/// besides its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct Revert {
    /// The method.
    pub method: Method,

    /// Where to.
    pub url: String,

    /// More headers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,

    /// The body as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,

    /// The body as data, sent as JSON with its content type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,

    /// The statuses that mean that it is done. Without it, all from 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<u16>,

    /// How long the target remembers this request's `Idempotency-Key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed: Option<String>,

    /// A GET that tells whether this request's effect is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
#[expect(missing_docs, reason = "they are what they say")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As it is sent.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub(crate) fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

impl Input {
    /// What holds for it.
    pub(crate) fn guarantee(&self) -> Guarantee {
        match (self.read_only, &self.keyed, &self.probe) {
            (true, ..) => Guarantee::ReadOnly,
            (false, Some(_), _) => Guarantee::Keyed,
            (false, None, Some(_)) => Guarantee::Probed,
            (false, None, None) => Guarantee::Manual,
        }
    }

    /// Whether a status means that it is done.
    pub(crate) fn expects(&self, status: u16) -> bool {
        if self.expect.is_empty() {
            return (200..300).contains(&status);
        }
        self.expect.contains(&status)
    }

    /// One line for people.
    pub(crate) fn title(&self) -> String {
        format!("{} {}", self.method.word(), self.url)
    }

    /// How long the target remembers a key, milliseconds.
    pub(crate) fn remembered_ms(&self) -> Option<u64> {
        self.keyed.as_deref().and_then(|text| duration(text).ok()).map(as_ms)
    }

    /// The request that puts back what this one did.
    pub(crate) fn reverted(&self) -> Option<Self> {
        let revert = self.revert.clone()?;
        let mut headers = self.headers.clone();
        headers.extend(revert.headers);
        Some(Self {
            method: revert.method,
            url: revert.url,
            headers,
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
            body: revert.body,
            json: revert.json,
            expect: revert.expect,
            keyed: revert.keyed,
            probe: revert.probe,
            read_only: false,
            revert: None,
        })
    }
}

impl Probe {
    /// The GET itself.
    pub(crate) fn request(&self, of: &Input) -> Input {
        let mut headers = of.headers.clone();
        headers.extend(self.headers.clone());
        Input {
            method: Method::Get,
            url: self.url.clone(),
            headers,
            secret_headers: of.secret_headers.clone(),
            bearer: of.bearer.clone(),
            body: None,
            json: None,
            expect: Vec::new(),
            keyed: None,
            probe: None,
            read_only: true,
            revert: None,
        }
    }

    /// How long after a sending *not done* is not final, milliseconds.
    pub(crate) fn settles_within_ms(&self) -> u64 {
        let given = self.settles_within.as_deref().and_then(|text| duration(text).ok());
        as_ms(given.unwrap_or(SETTLES_WITHIN_DEFAULT))
    }
}

/// A duration as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration: {error}"))?;
    if as_ms(parsed) > limits::DURATION_MS_MAX {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(parsed)
}

pub(crate) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn done_default() -> Vec<u16> {
    vec![200]
}

fn not_done_default() -> Vec<u16> {
    vec![404]
}
