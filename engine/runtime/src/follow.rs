//! Those who follow a run beside its driver: they read what is durable and are never waited for.

use std::sync::Arc;

use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq};
use backout_store::journal::StoreError;
use futures::future::BoxFuture;

use crate::Engine;
use crate::handle::Ended;

/// Events read at once.
const PAGE: usize = 500;

/// A run that this engine drives, to be followed until it lets go; or one that nobody drives and to
/// which it has just recorded a command: that one is over at once.
pub struct Followed {
    /// The engine.
    pub engine: Engine,
    /// The run.
    pub run: RunId,
    /// What stood in the journal before this engine came to it.
    pub since: Seq,
    pub(crate) ended: Ended,
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Follows one run to its end.
pub type Follow = Arc<dyn Fn(Followed) -> BoxFuture<'static, ()> + Send + Sync>;

impl Followed {
    /// Whether the engine has let go of the run: what is durable then is all.
    pub fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits until the engine lets go.
    pub async fn over(&mut self) {
        // A sender that is gone has let go too.
        let _ = self.ended.wait_for(Option::is_some).await.is_ok();
    }

    /// The durable events from a position on, all of them.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn news(&self, from: Seq) -> Result<Vec<Recorded>, StoreError> {
        let (mut all, mut next) = (Vec::new(), from);
        loop {
            let page = self.engine.store().read(&self.run, next, PAGE)?;
            let is_last = page.len() < PAGE;
            next = page.last().map_or(next, |last| last.seq.next());
            all.extend(page);
            if is_last {
                return Ok(all);
            }
        }
    }
}
