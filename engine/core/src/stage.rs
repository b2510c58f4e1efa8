//! What a running step's effects call for.

use crate::id::Timestamp;
use crate::state::{EffectRun, EffectState, StepRun};

/// Where the effects of a running step are.
#[derive(Debug, PartialEq)]
pub(crate) enum Stage {
    /// Some sending has no final answer.
    Busy,
    /// These may be made already, and only their own key can tell: sent again, or in doubt, before
    /// anything else.
    Ask(Vec<usize>),
    /// Some effect was refused or failed, and nothing is under way.
    Fallen,
    /// All are made.
    Made,
    /// These are sent next.
    Send(Vec<usize>),
}

impl StepRun {
    /// Where its effects are.
    pub(crate) fn stage(&self) -> Stage {
        let is = |test: fn(&EffectState) -> bool| self.effects.iter().any(|e| test(&e.state));
        if self.is_busy() || is(|state| matches!(state, EffectState::InDoubt { .. })) {
            return Stage::Busy;
        }
        let ask = self.effects_that(|effect| effect.doubtful && effect.is_again());
        if !ask.is_empty() {
            return Stage::Ask(ask);
        }
        if is(|state| matches!(state, EffectState::Refused | EffectState::Failed)) {
            return Stage::Fallen;
        }
        if self.effects.iter().all(EffectRun::is_made) {
            return Stage::Made;
        }
        Stage::Send(self.next_wave())
    }

    /// Whether a sending has still to answer.
    pub(crate) fn is_busy(&self) -> bool {
        let busy = |effect: &EffectRun| {
            matches!(effect.state, EffectState::InFlight | EffectState::Unclear { .. })
        };
        self.effects.iter().any(busy)
    }

    /// When its effects call for something without an answer; absent where one is awaited.
    pub(crate) fn effects_due(&self) -> Option<Timestamp> {
        match self.stage() {
            Stage::Busy => None,
            Stage::Made => (!self.is_verifying()).then(Timestamp::default),
            Stage::Fallen => Some(Timestamp::default()),
            Stage::Ask(effects) | Stage::Send(effects) => {
                effects.iter().filter_map(|at| self.effects.get(*at)).map(EffectRun::due).min()
            }
        }
    }

    /// The effects to send next: those of the lowest wave that has any.
    fn next_wave(&self) -> Vec<usize> {
        let wave = |at: &usize| {
            let prepared = self.prepared.as_ref();
            prepared.and_then(|p| p.effects.get(*at)).map_or(0, |effect| effect.wave)
        };
        let mut open = self.effects_that(|effect| !effect.is_made());
        let first = open.iter().map(wave).min();
        open.retain(|at| Some(wave(at)) == first);
        open
    }

    fn effects_that(&self, test: impl Fn(&EffectRun) -> bool) -> Vec<usize> {
        self.effects.iter().enumerate().filter(|(_, e)| test(e)).map(|(at, _)| at).collect()
    }
}

impl EffectRun {
    /// Whether it is to be sent again under the same key.
    pub(crate) fn is_again(&self) -> bool {
        matches!(self.state, EffectState::Again { .. })
    }

    fn due(&self) -> Timestamp {
        match &self.state {
            EffectState::Again { due, .. } => *due,
            EffectState::Pending
            | EffectState::Satisfied
            | EffectState::InFlight
            | EffectState::Unclear { .. }
            | EffectState::Done
            | EffectState::Refused
            | EffectState::Failed
            | EffectState::InDoubt { .. } => Timestamp::default(),
        }
    }
}
