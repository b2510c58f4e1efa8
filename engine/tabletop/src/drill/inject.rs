//! What injects do.

use backout_core::id::{RunId, StepId, Timestamp};

use super::{Broken, Drill, Happening};
use crate::log::Logged;
use crate::rng::digest;
use crate::scenario::{Inject, StepTrouble, Timed, What};
use crate::world::{Kind, Trouble};

impl Drill {
    /// Fires an inject by its name; false where there is none.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn fire(&mut self, id: &str) -> Result<bool, Broken> {
        let found = self.setup.scenario.injects.iter().find(|inject| inject.id == id).cloned();
        match found {
            Some(inject) => self.inject(&inject).map(|()| true),
            None => Ok(false),
        }
    }

    /// Fires an inject; also one that was typed live.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn inject(&mut self, inject: &Inject) -> Result<(), Broken> {
        self.fired.insert(inject.id.clone());
        self.note(Logged::Inject {
            id: inject.id.clone(),
            from: inject.from.clone(),
            to: inject.to.clone(),
            by: inject.by.clone(),
            text: inject.text.clone(),
            what: inject.what.as_ref().map(What::sentence).unwrap_or_default(),
        });
        self.tell_message(inject)?;
        if let Some(what) = &inject.what {
            self.happens(what)?;
        }
        self.look_at_planned();
        Ok(())
    }

    fn happens(&mut self, what: &What) -> Result<(), Broken> {
        match what {
            What::Fail(one) => self.meets(one, Kind::Fail(says(one, "it failed (simulated)"))),
            What::Slow(one) => self.meets(one, Kind::Slow(one.lasts.ms())),
            What::Lie(one) => self.meets(one, Kind::Lie),
            What::LoseReply(one) => self.meets(one, Kind::LoseReply),
            What::LongTransaction(one) => {
                let text = "lock timeout: a transaction of another session holds the table";
                let kind = Kind::Behind(self.until(one), says(one, text));
                self.meets(one, kind);
            }
            What::Unreachable(one) => {
                let until = self.until(one);
                self.world.unreachable_until(&StepId::new(one.step.as_str()), until);
            }
            What::KillEngine(away) => self.kill(away.lasts.ms(), away.lost),
            What::FullDisk(away) => return self.fill_disk(away.lasts.ms()),
            What::SecondRollback(one) => self.second_rollback(one),
            What::Silent(silent) => {
                let until = self.now.plus_ms(silent.lasts.ms());
                self.silent.insert(silent.who.clone(), until);
            }
            What::Flag(change) => {
                let thing = format!("flag:{}", change.flag);
                self.world.put(&thing, &change.value, change.by.as_deref(), self.now);
            }
        }
        Ok(())
    }

    fn meets(&mut self, one: &StepTrouble, kind: Kind) {
        self.world.trouble(&StepId::new(one.step.as_str()), Trouble::new(kind, one.times));
    }

    fn until(&self, one: &StepTrouble) -> Timestamp {
        self.now.plus_ms(one.lasts.ms())
    }

    fn second_rollback(&mut self, one: &StepTrouble) {
        let step = StepId::new(one.step.as_str());
        let other = RunId::from_random(digest(&format!("other {}", one.step)));
        let until = self.until(one);
        self.locks.foreign.insert(step.clone(), (other.to_string(), self.now, until));
        self.after(one.lasts.ms(), Happening::TryLocks { step });
    }
}

fn says(one: &StepTrouble, otherwise: &str) -> String {
    one.says.clone().unwrap_or_else(|| otherwise.to_owned())
}
