//! Database migrations by the ledgers of their tools: `migrations.down`, `migrations.up`,
//! `migrations.assert`.
//!
//! So far goose on SQLite. `goose` holds what that tool's files and ledger mean, `sqlite` how
//! one migration is made in one transaction; `plan` joins the two.

use std::sync::Arc;

use backout_plugin_api::Action;

mod assert;
mod files;
mod goose;
mod hazard;
mod input;
mod plan;
mod shift;
mod sql;
mod sqlite;

pub use assert::MigrationsAssert;
pub use shift::MigrationsShift;
pub use sqlite::{EFFECT_TABLE, Point};

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(MigrationsShift::down()),
        Arc::new(MigrationsShift::up()),
        Arc::new(MigrationsAssert),
    ]
}
