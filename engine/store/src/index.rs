//! The index: a projection of the runs for lists and search, kept in sled behind the journal.

use backout_core::event::Event;
use backout_core::id::{RunId, Seq, Timestamp};

use crate::journal::Append;
use crate::summary::RunSummary;

/// An event that changes what a list shows; it is durable.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) run: RunId,
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    pub(crate) event: Event,
}

impl Change {
    /// The changes in an append whose last record is `last`.
    pub(crate) fn of(append: &Append, last: Seq) -> Vec<Self> {
        let first = last.0 + 1 - append.events.len() as u64;
        let change = |(seq, new): (u64, &crate::journal::NewEvent)| {
            RunSummary::is_changed_by(&new.event).then(|| Self {
                run: append.run.clone(),
                seq: Seq(seq),
                at: new.at,
                event: new.event.clone(),
            })
        };
        (first..).zip(&append.events).filter_map(change).collect()
    }
}
