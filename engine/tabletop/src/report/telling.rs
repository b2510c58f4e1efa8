//! Which events of a run are told to people, one after the other: not each sample of a soak, and not
//! the same look twice.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::event::{Event, Wait};
use backout_core::id::StepId;

/// What was told so far, as far as the next event depends on it.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// By step that soaks, whether its last sample was good.
    soaks: BTreeMap<StepId, bool>,
    /// Steps whose look was told.
    looked: BTreeSet<StepId>,
}

impl Telling {
    /// Whether an event is told, after all those before it. Notes are told by what was said.
    pub fn tells(&mut self, event: &Event) -> bool {
        match event {
            Event::StepStarted { step, .. } => {
                self.soaks.remove(step);
                self.looked.remove(step);
                true
            }
            Event::StepWaits { step, wait: Wait::Soak { sampled, .. } } => {
                let good = sampled.is_some();
                self.soaks.insert(step.clone(), good) != Some(good)
            }
            Event::StepPrepared { step, .. } => self.looked.insert(step.clone()),
            Event::StepLocked { .. }
            | Event::StepLooked { .. }
            | Event::RevertPlanned { .. }
            | Event::NoteTaken { .. } => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backout_core::id::Timestamp;

    #[test]
    fn a_soak_is_told_once_and_again_where_it_changes() {
        let soak = |good: bool| Event::StepWaits {
            step: StepId::new("answers"),
            wait: Wait::Soak {
                covered_ms: 1,
                sampled: good.then_some(Timestamp(1)),
                due: Timestamp(2),
                seen: serde_json::Value::Null,
            },
        };
        let mut telling = Telling::default();
        let told: Vec<bool> =
            [true, true, false, false, true].map(|good| telling.tells(&soak(good))).to_vec();
        assert_eq!(told, [true, false, true, false, true]);
    }
}
