//! What is asked of the process itself.

use axum::Json;
use axum::extract::State;
use backout_store::journal::JournalStore;

use crate::api::Operation;
use crate::face::Face;
use crate::wire::{Health, Owner};

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("health", "/healthz", health)
            .says("Whether the process is well", "For whoever restarts it when it is not.")
            .json::<Health>(),
        Operation::get("owner", "/api/v1/owner", owner)
            .says("The process that owns the store, and the runs that it drives", "")
            .json::<Owner>(),
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
