//! One migration at work, whatever the database: its ends, and where tests disturb it.

use std::fmt;
use std::sync::Arc;

use backout_plugin_api::{Call, Context, Outcome};

use serde_json::json;

use super::{Data, Database};

/// The sub-steps of a migration, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The transaction is open.
    Begun,
    /// The effect row is written.
    Recorded,
    /// What goes is copied.
    Kept,
    /// Every statement ran, and what was kept is put back.
    Migrated,
    /// The ledger is written.
    Ledgered,
    /// It is committed.
    Committed,
    /// Statement by statement: it is written down that one begins which nothing takes back.
    Announced,
    /// Statement by statement: such a one ran, and is not counted yet.
    Ran,
    /// Statement by statement: one is counted.
    Counted,
}

impl Point {
    /// Those of a migration in one transaction.
    pub const ALL: [Self; 6] =
        [Self::Begun, Self::Recorded, Self::Kept, Self::Migrated, Self::Ledgered, Self::Committed];

    /// Those that a migration has besides where it is made statement by statement.
    pub const STEPS: [Self; 3] = [Self::Announced, Self::Ran, Self::Counted];
}

/// Disturbs a migration after its sub-steps; tests only.
#[derive(Clone, Default)]
pub(crate) struct Fault(Option<Arc<dyn Fn(Point) -> bool + Send + Sync>>);

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fault").field(&self.0.is_some()).finish()
    }
}

impl Fault {
    pub(crate) fn at(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(fault)))
    }

    pub(crate) fn pass(&self, point: Point) -> Result<(), Stop> {
        match &self.0 {
            Some(fault) if fault(point) => {
                Err(Stop::Unclear(format!("stopped by a test after `{point:?}`")))
            }
            _ => Ok(()),
        }
    }
}

/// Why a migration ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Rolled back, or never begun.
    Refused(String),
    /// Nobody knows.
    Unclear(String),
    /// An earlier sending of the same key made it.
    Made,
    /// So many statements are made and stay, the next one was refused.
    Failed { reason: String, done: usize },
}

/// One sending of one migration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) call: &'a Call,
    pub(crate) data: &'a Data,
    pub(crate) fault: &'a Fault,
}

/// Makes one migration.
pub(crate) async fn apply(work: Work<'_>) -> Outcome {
    let (ctx, data) = (work.ctx, work.data);
    let making = async {
        match &data.database {
            Database::Sqlite(file) => super::sqlite::apply(work, file).await,
            Database::Postgres(server) if data.transactional => {
                super::postgres::apply(work, server).await
            }
            Database::Postgres(_) | Database::Mysql(_) => super::steps::apply(work).await,
        }
    };
    let ended = tokio::select! {
        ended = making => ended,
        () = tokio::time::sleep(ctx.timeout) => {
            Err(Stop::Unclear(format!("it took longer than {:?}", ctx.timeout)))
        }
        () = ctx.cancel.cancelled() => Err(Stop::Unclear("it was cancelled".to_owned())),
    };
    match ended {
        Ok(()) | Err(Stop::Made) => Outcome::Done { output: data.output() },
        Err(Stop::Refused(reason)) => Outcome::Refused { reason },
        Err(Stop::Unclear(reason)) => Outcome::Unclear { reason },
        Err(Stop::Failed { reason, done }) => {
            Outcome::Failed { reason, output: json!({ "statements": done }) }
        }
    }
}
