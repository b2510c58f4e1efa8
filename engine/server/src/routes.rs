//! The routes under `/api/v1`. Each one calls the engine's handle; nothing is decided here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use backout_core::id::{RunId, Seq};
use backout_runtime::Engine;
use backout_store::journal::JournalStore;
use serde::Deserialize;

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
        .with_state(face)
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such route", "this engine has no such route")
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
    Json(request): Json<StartRequest>,
) -> Result<Json<RunReply>, Problem> {
    let StartRequest { run, plan, text, by } = request;
    let run = known_shape(run.as_str())?;
    face.engine.start(run.clone(), plan, text, by.cause()).await?;
    Ok(Json(RunReply { run }))
}

async fn resume(
    State(face): State<Face>,
    Path(run): Path<String>,
    Json(request): Json<ResumeRequest>,
) -> Result<Json<RunReply>, Problem> {
    let run = known_shape(&run)?;
    face.engine.resume(&run, request.by.cause()).await?;
    Ok(Json(RunReply { run }))
}

async fn ask(
    State(face): State<Face>,
    Path(run): Path<String>,
    Json(request): Json<AskRequest>,
) -> Result<Json<AskReply>, Problem> {
    let run = known_shape(&run)?;
    let answer = face.engine.ask(&run, request.ask, request.by.cause()).await?;
    Ok(Json(AskReply { seq: answer.seq.0, driven: answer.driven }))
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
    Path(run): Path<String>,
    Query(query): Query<From>,
) -> Result<Json<EventsPage>, Problem> {
    let run = known_shape(&run)?;
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

    use super::known_shape;

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
