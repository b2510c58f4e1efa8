//! Errors on the wire: problem details, RFC 9457.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use backout_access::Refusal;
use backout_runtime::EngineError;
use backout_store::journal::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What went wrong, for a program by `kind` and for a person by the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// `about:blank`, or a page about this kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// What to do or type next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What belongs to it, one thing each: what changed meanwhile, or what is wrong with a runbook.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub lines: Box<[String]>,
}

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:backout:{}", title.replace(' ', "-")),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            help: None,
            lines: Box::default(),
        }
    }

    /// There is nothing of that name.
    pub fn not_found(title: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, detail)
    }

    /// The request can be read, and makes no sense.
    pub fn unfit(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unfit request", detail)
    }

    /// A mistake in this program.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", detail)
    }

    /// With what to do next.
    #[must_use]
    pub fn helped(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With what belongs to it.
    #[must_use]
    pub fn listing(self, lines: Vec<String>) -> Self {
        Self { lines: lines.into(), ..self }
    }

    /// Whether it says that there is no such run.
    pub fn is_no_such_run(&self) -> bool {
        self.status == StatusCode::NOT_FOUND.as_u16()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::Rejected { help, .. } => {
                Self { help, ..Self::new(StatusCode::CONFLICT, "not possible now", detail) }
            }
            EngineError::Changed { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "changed meanwhile", detail)
                    .helped("look at it again, then decide")
            }
            EngineError::Store(error) => error.into(),
            EngineError::Unreadable { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable run", detail)
            }
            EngineError::Stopped { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine stopped", detail)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, title, detail, help } = refusal;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        Self { help, ..Self::new(status, title, detail) }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (status, title) = match &error {
            StoreError::NoSuchRun(_) => (StatusCode::NOT_FOUND, "no such run"),
            StoreError::Owned { .. } => (StatusCode::CONFLICT, "store owned"),
            StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Io { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store failed")
            }
        };
        Self::new(status, title, error.to_string())
    }
}
