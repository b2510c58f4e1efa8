//! Database migrations by the ledgers of their tools: `migrations.down`, `migrations.up`,
//! `migrations.assert`.
//!
//! `tool` holds what each tool's files and ledger mean, `db` how one migration is made in each
//! database; `plan` joins the two.

use std::sync::Arc;

use backout_plugin_api::Action;

mod assert;
mod db;
mod hazard;
mod input;
mod plan;
mod shift;
mod sql;
mod tool;

pub use assert::MigrationsAssert;
pub use db::Point;
pub use db::sqlite::{EFFECT_TABLE, KEPT_TABLE};
pub use shift::MigrationsShift;

/// Every action of this crate.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![
        Arc::new(MigrationsShift::down()),
        Arc::new(MigrationsShift::up()),
        Arc::new(MigrationsAssert),
    ]
}
