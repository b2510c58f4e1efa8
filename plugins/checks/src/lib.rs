//! Looks that change nothing: `checks.http`, `checks.tcp`, `checks.grpc`, `checks.sql` and
//! `checks.prometheus`.
//!
//! A look says one of three things: it holds, it does not, or nothing could be seen. As a step, as
//! a soak and as a runbook's `success` only the first one lets a run go on.

use std::sync::Arc;

use backout_plugin_api::Action;

mod bound;
mod grpc;
mod http;
mod prometheus;
mod sql;
mod tcp;
mod words;

pub use backout_plugin_api::look::Gate;
pub use grpc::GrpcCheck;
pub use http::HttpCheck;
pub use prometheus::PrometheusCheck;
pub use sql::SqlCheck;
pub use tcp::TcpCheck;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(Gate(HttpCheck)),
        Arc::new(Gate(TcpCheck)),
        Arc::new(Gate(GrpcCheck)),
        Arc::new(Gate(SqlCheck)),
        Arc::new(Gate(PrometheusCheck)),
    ]
}
