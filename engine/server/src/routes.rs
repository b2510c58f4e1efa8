//! The routes under `/api/v1`. Each one calls the engine's handle; nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router};
use backout_core::id::{RunId, Seq};
use backout_runtime::Engine;
use backout_store::journal::JournalStore;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::problem::Problem;
use crate::wire::{
    AskReply, AskRequest, EVENTS_PAGE_MAX, EVENTS_WAIT_MS_MAX, EventsPage, Owner, ResumeRequest,
    RunReply, StartRequest,
};

/// What the routes act on.
#[derive(Clone)]
pub struct Face {
    /// The engine.
    pub engine: Engine,
    /// The store that it owns.
    pub store: Arc<dyn JournalStore>,
    /// Since when this process owns the store, RFC 3339.
    pub since: String,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("since", &self.since).finish_non_exhaustive()
    }
}

/// The routes, ready to be served on a socket or a port.
pub fn router(face: Face) -> Router {
    Router::new()
        .route("/api/v1/owner", get(owner))
        .route("/api/v1/runs", post(start))
        .route("/api/v1/runs/{run}/resume", post(resume))
        .route("/api/v1/runs/{run}/ask", post(ask))
        .route("/api/v1/runs/{run}/events", get(events))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .with_state(face)
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such route", "this engine has no such route")
}

async fn unknown_method() -> Problem {
    let detail = "this route does not take that method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no such method", detail)
}

async fn owner(State(face): State<Face>) -> Json<Owner> {
    Json(Owner {
        pid: std::process::id(),
        since: face.since.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: face.store.id(),
        drives: face.engine.driven(),
    })
}

async fn start(
    State(face): State<Face>,
    Asked(request): Asked<StartRequest>,
) -> Result<Json<RunReply>, Problem> {
    let (run, start, by) = request.parts();
    let run = known_shape(run.as_str())?;
    face.engine.begin(run.clone(), start, by.cause()).await?;
    Ok(Json(RunReply { run }))
}

async fn resume(
    State(face): State<Face>,
    Named(run): Named,
    Asked(request): Asked<ResumeRequest>,
) -> Result<Json<RunReply>, Problem> {
    face.engine.resume(&run, request.by.cause()).await?;
    Ok(Json(RunReply { run }))
}

async fn ask(
    State(face): State<Face>,
    Named(run): Named,
    Asked(request): Asked<AskRequest>,
) -> Result<Json<AskReply>, Problem> {
    let answer = face.engine.ask(&run, request.ask, request.by.cause()).await?;
    Ok(Json(AskReply { seq: answer.seq.0, driven: answer.driven }))
}

/// The body of a request.
struct Asked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(asked)| Self(asked))
            .map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

/// The run that a path names.
struct Named(RunId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) =
            read.map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))?;
        known_shape(&name).map(Self)
    }
}

/// The query of a path with events.
struct Range(From);

impl<S: Send + Sync> FromRequestParts<S> for Range {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<From>::from_request_parts(parts, state).await;
        read.map(|Query(query)| Self(query))
            .map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

/// What could not be read of a request is answered like every other problem.
fn unreadable(status: StatusCode, why: String) -> Problem {
    let help =
        "the command and the engine may be of different releases: compare `backout --version`";
    Problem { help: Some(help.to_owned()), ..Problem::new(status, "unreadable request", why) }
}

/// From where on, and how long to wait for the first one.
#[derive(Debug, Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
    #[serde(default)]
    wait_ms: u64,
}

async fn events(
    State(face): State<Face>,
    Named(run): Named,
    Range(query): Range,
) -> Result<Json<EventsPage>, Problem> {
    let from = Seq(query.from.max(1));
    let mut watch = face.store.watch(&run);
    let arrived = watch.wait_for(|last| *last >= from);
    let patience = Duration::from_millis(query.wait_ms.min(EVENTS_WAIT_MS_MAX));
    // Whether it came or the time passed, what is durable is read and answered.
    let _ = tokio::time::timeout(patience, arrived).await.is_ok();
    let events = face.store.read(&run, from, EVENTS_PAGE_MAX)?;
    Ok(Json(EventsPage { events, driven: face.engine.driven().contains(&run) }))
}

/// Only a text of a run's shape may become a path on disk.
fn known_shape(text: &str) -> Result<RunId, Problem> {
    if RunId::is_valid(text) {
        return Ok(RunId::new(text));
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "no such run", format!("`{text}` is not a run's name")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use axum::body::Body;
    use axum::extract::{FromRequest, FromRequestParts};
    use axum::http::{Request, header};

    use super::{Asked, Range, known_shape};
    use crate::problem::Problem;
    use crate::wire::AskRequest;

    async fn refused(kind: &str, body: &str) -> Problem {
        let request = Request::post("/").header(header::CONTENT_TYPE, kind);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Asked::<AskRequest>::from_request(request, &()).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_a_problem() {
        for (kind, body, status) in [
            ("application/json", "{", 400),
            ("application/json", "{}", 422),
            ("text/plain", "{}", 415),
        ] {
            let problem = refused(kind, body).await;
            assert_eq!(problem.status, status, "{problem:?}");
            assert_eq!(problem.kind, "urn:backout:unreadable-request");
            assert!(!problem.detail.is_empty() && problem.help.is_some());
        }
    }

    #[tokio::test]
    async fn a_query_that_cannot_be_read_is_a_problem() {
        let request = Request::get("/?from=minus").body(Body::empty()).unwrap();
        let (mut parts, _) = request.into_parts();
        let problem = Range::from_request_parts(&mut parts, &()).await.err().unwrap();
        assert_eq!((problem.status, problem.title.as_str()), (400, "unreadable request"));
    }

    proptest! {
        #[test]
        fn only_a_name_gets_near_a_path(text in ".{0,20}|[0-9a-z]{8,12}|[./]{1,4}[a-z]*") {
            match known_shape(&text) {
                Ok(run) => prop_assert!(run.as_str().bytes().all(|b| b.is_ascii_alphanumeric())),
                Err(problem) => prop_assert!(problem.is_no_such_run()),
            }
        }
    }
}
