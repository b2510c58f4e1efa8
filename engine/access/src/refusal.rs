//! What is answered to somebody who may not: problem details, RFC 9457.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why somebody is not let through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// 401 where nobody knows who asks, else 403.
    pub status: u16,
    /// The kind in words.
    pub title: &'static str,
    /// What happened; a stranger is told nothing of what is here.
    pub detail: String,
    /// Who may, or what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Refusal {
    /// Nobody knows who asks.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            title: "not authenticated",
            detail: detail.into(),
            help: Some(
                "send `Authorization: Bearer TOKEN`; an admin makes one: `backout token new`"
                    .into(),
            ),
        }
    }

    /// Who asks is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN.as_u16(),
            title: "not allowed",
            detail: detail.into(),
            help: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// As it goes over the wire.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    refusal: &'a Refusal,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::FORBIDDEN);
        let kind = format!("urn:backout:{}", self.title.replace(' ', "-"));
        let body = serde_json::to_vec(&Problem { kind, refusal: &self }).unwrap_or_default();
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut response = (status, headers, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"backout\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
