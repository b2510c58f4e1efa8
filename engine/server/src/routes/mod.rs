//! The routes under `/api/v1`. Each one calls the engine's handle; nothing is decided here.

mod books;
mod commands;
mod exercise;
mod list;
mod locks;
mod own;
mod runs;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router, middleware};
use backout_core::limits::{EVENT_BYTES_MAX, RUNBOOK_BYTES_MAX};
use serde_json::Value;

use crate::api::{self, Operation};
use crate::caller::Door;
use crate::face::Face;
use crate::once::once;
use crate::problem::Problem;

pub use books::{PlanAnswer, StartBookRequest};
pub use exercise::{EmergencyRequest, LineReply, LineRequest};

/// Bytes of a request's body: a plan as large as an event may be, with its text.
pub const BODY_BYTES_MAX: usize = EVENT_BYTES_MAX + RUNBOOK_BYTES_MAX;

/// The routes, ready to be served on the control socket or a port. What stands in front of them may
/// put a [`backout_access::Who`] into a request's extensions: then that is who asks.
pub fn router(face: Face, door: Door) -> Router {
    let mut router = Router::new();
    for operation in operations() {
        router = router.route(operation.path, operation.route);
    }
    router
        .route("/openapi.json", get(document))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state((face.clone(), BODY_BYTES_MAX), once))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(door))
        .with_state(face)
}

/// The `OpenAPI` document of the routes.
pub fn openapi() -> Value {
    api::document(&operations())
}

/// Everything that can be asked.
fn operations() -> Vec<Operation> {
    [
        own::operations(),
        list::operations(),
        locks::operations(),
        runs::operations(),
        commands::operations(),
        books::operations(),
        exercise::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn document() -> Json<Value> {
    Json(openapi())
}

async fn unknown_route() -> Problem {
    Problem::not_found("no such route", "this engine has no such route")
}

async fn unknown_method() -> Problem {
    let detail = "this route does not take that method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no such method", detail)
}
