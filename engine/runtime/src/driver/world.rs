//! What should be happening against what is: the calls that a driver has under way.

use std::collections::HashSet;

use backout_core::contract::Guarantee;
use backout_core::id::Timestamp;
use backout_core::{Name, Wanted, effects};
use backout_plugin_api::CancellationToken;
use futures::FutureExt;

use super::{Driver, End, Message};
use crate::crash::{CrashPoint, Window};

/// Ends a call that is no longer wanted.
pub(super) struct UnderWay {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

impl Driver {
    /// Starts what should be happening and is not, ends what is and should not. What answers at
    /// once is taken at once, so that its events join the same append.
    pub(super) async fn reconcile(&mut self) -> Result<(), End> {
        loop {
            let Some(state) = &self.run.state else { return Ok(()) };
            let wanted = effects(state);
            let names: HashSet<Name> = wanted.iter().map(Wanted::name).collect();
            self.progress.under_way.retain(|name, _| names.contains(name));
            self.progress.answered.retain(|name| names.contains(name));
            let now = self.clock.now();
            self.progress.later = None;
            let mut answers = Vec::new();
            for wanted in wanted {
                answers.extend(self.start(wanted, now));
            }
            if answers.is_empty() {
                return Ok(());
            }
            for message in answers {
                self.take(message).await?;
            }
        }
    }

    /// Starts one thing, unless it is under way, or its time or its intent has not come. The answer,
    /// where it is there at once.
    pub(super) fn start(&mut self, wanted: Wanted, now: Timestamp) -> Option<Message> {
        let name = wanted.name();
        if self.progress.under_way.contains_key(&name) || self.progress.answered.contains(&name) {
            return None;
        }
        let due = wanted.not_before();
        if due > now {
            self.progress.later = Some(self.progress.later.map_or(due, |later| later.min(due)));
            return None;
        }
        if self.progress.letting_go.is_some() || !self.is_durable(&wanted) {
            return None;
        }
        if let Wanted::Apply(dispatch) = &wanted {
            CrashPoint::at(self.crash.as_ref(), Window::AfterIntent, &dispatch.sending.step);
        }
        self.begin(name, wanted)
    }

    pub(super) fn begin(&mut self, name: Name, wanted: Wanted) -> Option<Message> {
        let inline = self.is_pure(&wanted);
        let mut started = self.calls.start(wanted);
        if inline && let Some(report) = (&mut started.answer).now_or_never() {
            return Some(Message::Answer { name, report });
        }
        let own = self.own.clone();
        let answer_name = name.clone();
        let task = tokio::spawn(async move {
            let report = started.answer.await;
            if let Some(own) = own.upgrade() {
                // A driver that is gone needs no answer: the journal says what was in flight.
                drop(own.send(Message::Answer { name: answer_name, report }).await);
            }
        });
        self.progress.under_way.insert(name, UnderWay { cancel: started.cancel, task });
        None
    }

    pub(super) fn is_pure(&self, wanted: &Wanted) -> bool {
        let step = match wanted {
            Wanted::Prepare { pure, .. } => return *pure,
            Wanted::Apply(dispatch) | Wanted::Settle(dispatch) => &dispatch.sending.step,
            Wanted::Watch(_) | Wanted::Revert { .. } => return false,
        };
        let state = self.run.state.as_ref();
        state.and_then(|state| state.find(step)).is_some_and(|(_, plan, _)| plan.pure)
    }

    /// An effect is sent only once its intent is durable; reads need none.
    pub(super) fn is_durable(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Apply(dispatch) => {
                let intent = self.progress.intents.get(&dispatch.sending);
                dispatch.prepared.guarantee == Guarantee::ReadOnly
                    || intent.is_none_or(|seq| *seq <= self.progress.durable)
            }
            Wanted::Prepare { .. }
            | Wanted::Watch(_)
            | Wanted::Settle(_)
            | Wanted::Revert { .. } => true,
        }
    }
}
