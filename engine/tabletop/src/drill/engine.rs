//! The engine is lost, and comes back.

use backout_core::command::Command;
use backout_core::drive::Run;
use backout_core::event::Cause;
use backout_core::id::Epoch;

use super::{Broken, Drill, Happening};
use crate::log::Logged;

impl Drill {
    /// Kills the engine for so long. What is in flight reaches its target all the same, unless it is
    /// `lost`.
    pub fn kill(&mut self, away_ms: u64, lost: bool) {
        if self.away.is_some() {
            return;
        }
        if lost {
            self.lose_in_flight();
        }
        self.go("the engine was killed", away_ms);
    }

    fn lose_in_flight(&mut self) {
        let landing = self.happenings.values().filter_map(|happening| match happening {
            Happening::Land { dispatch } => Some(dispatch.key.clone()),
            _ => None,
        });
        self.lost.extend(landing);
    }

    /// The engine's disk is full for so long: it lets go, with the reason in the record.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn fill_disk(&mut self, away_ms: u64) -> Result<(), Broken> {
        if self.away.is_some() {
            return Ok(());
        }
        let why = "the store has no room: no space left on device".to_owned();
        let detach = Command::Detach { why };
        let recorded = self.run.record(self.now, &Cause::engine(), &detach);
        self.push(recorded.map_err(|error| Broken(error.to_string()))?);
        self.go("the engine's disk is full; the run stands still", away_ms);
        Ok(())
    }

    fn go(&mut self, what: &str, away_ms: u64) {
        self.note(Logged::Engine { what: what.to_owned() });
        self.away = Some(what.to_owned());
        self.life += 1;
        self.under_way.clear();
        self.wakes = None;
        let life = self.life;
        self.after(away_ms, Happening::Back { life });
    }

    /// The engine comes back with what is durable, as it does from any crash.
    pub(super) fn back(&mut self, life: u64) -> Result<(), Broken> {
        if self.away.is_none() || self.life != life {
            return Ok(());
        }
        self.away = None;
        self.note(Logged::Engine { what: "an engine took the run up again".to_owned() });
        self.run = Run::new(Epoch(self.run.epoch.0 + 1));
        self.run.load(&self.journal).map_err(|error| Broken(error.to_string()))?;
        self.attach()
    }
}
