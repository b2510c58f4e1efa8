//! What is asked of the process itself.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use backout_store::journal::JournalStore;

use crate::api::Operation;
use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::wire::{Health, Owner};

/// The media type of the figures.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("health", "/healthz", health)
            .says("Whether the process is well", "For whoever restarts it when it is not.")
            .json::<Health>(),
        Operation::get("owner", "/api/v1/owner", owner)
            .says("The process that owns the store, and the runs that it drives", "")
            .json::<Owner>(),
        Operation::get("metrics", "/metrics", metrics)
            .says(
                "Figures for a monitoring system",
                "As OpenMetrics text; `docs/reference/metrics.md` says what each one is.",
            )
            .text(METRICS),
    ]
}

async fn health(State(face): State<Face>) -> Json<Health> {
    Json(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        drives: face.engine.driven().len(),
    })
}

async fn owner(State(face): State<Face>) -> Json<Owner> {
    Json(Owner {
        pid: std::process::id(),
        since: face.since.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: face.witness.id(),
        drives: face.engine.driven(),
    })
}

async fn metrics(State(face): State<Face>) -> Result<Response, Problem> {
    let text = blocking(move || face.metrics.clone().text(&face)).await?;
    Ok(([(header::CONTENT_TYPE, METRICS)], text).into_response())
}
