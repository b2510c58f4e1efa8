//! A store as the engine knows it: what is durable, what still floats, and who holds which target.

use std::collections::BTreeMap;

use backout_core::event::{Event, Grant, Holder, Recorded};
use backout_core::id::{LockToken, RunId, TargetId, Timestamp};

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) journals: BTreeMap<RunId, Vec<Recorded>>,
    locks: BTreeMap<TargetId, (RunId, LockToken, Timestamp)>,
    counter: u64,
    /// Rises whenever a target is let go.
    pub(crate) releases: u64,
}

impl Store {
    /// Makes a batch durable. The end of a run lets go of what it held.
    pub(crate) fn append(&mut self, run: &RunId, batch: Vec<Recorded>) {
        let before = self.locks.len();
        for recorded in &batch {
            match &recorded.event {
                Event::RunEnded { .. } | Event::RunSuperseded { .. } => {
                    self.locks.retain(|_, (holder, ..)| holder != run);
                }
                Event::LocksYielded { targets } => self
                    .locks
                    .retain(|target, (holder, ..)| holder != run || !targets.contains(target)),
                _ => {}
            }
        }
        self.releases += u64::from(self.locks.len() < before);
        self.journals.entry(run.clone()).or_default().extend(batch);
    }

    /// All, or none and who holds them. `renew` gives new tokens for what the run holds already.
    pub(crate) fn claim(
        &mut self,
        run: &RunId,
        targets: &[TargetId],
        renew: bool,
        now: Timestamp,
    ) -> Result<Vec<Grant>, Vec<Holder>> {
        let held = |target: &TargetId| {
            let (holder, _, since) = self.locks.get(target)?;
            let other = Holder { target: target.clone(), run: holder.clone(), since: *since };
            (holder != run).then_some(other)
        };
        let holders: Vec<Holder> = targets.iter().filter_map(held).collect();
        if !holders.is_empty() {
            return Err(holders);
        }
        Ok(targets.iter().map(|target| self.grant(run, target, renew, now)).collect())
    }

    fn grant(&mut self, run: &RunId, target: &TargetId, renew: bool, now: Timestamp) -> Grant {
        self.counter += 1;
        let new = (run.clone(), LockToken(self.counter), now);
        let lock = self.locks.entry(target.clone()).or_insert_with(|| new.clone());
        if renew {
            *lock = new;
        }
        Grant { target: target.clone(), token: lock.1 }
    }

    pub(crate) fn holds(&self, run: &RunId, target: &TargetId) -> bool {
        self.locks.get(target).is_some_and(|(holder, ..)| holder == run)
    }
}
