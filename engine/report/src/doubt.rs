//! What was not known for a time, and how it was settled.

use backout_core::contract::Settled;
use backout_core::event::{Event, Recorded, Sending};
use backout_core::state::RunState;
use backout_server::view::rfc3339;

use crate::Doubt;
use crate::gather::is_persons;

/// One that is followed through the events.
struct Open<'a> {
    sending: &'a Sending,
    since: &'a Recorded,
    doubt: Doubt,
}

/// Every effect whose outcome was unclear, the first one first.
pub(crate) fn doubts(events: &[Recorded], state: &RunState) -> Vec<Doubt> {
    let mut all: Vec<Open<'_>> = Vec::new();
    for recorded in events {
        match &recorded.event {
            Event::EffectUnclear { sending, reason } => {
                open(&mut all, recorded, sending, reason, state);
            }
            Event::EffectInDoubt { sending, evidence } => {
                // One that was in flight when an engine died was never told to be unclear.
                open(&mut all, recorded, sending, evidence, state);
                if let Some(known) = find(&mut all, sending) {
                    known.doubt.asked = true;
                    known.doubt.why.clone_from(evidence);
                }
            }
            Event::EffectSettled { sending, settled, .. } => {
                if let (Some(known), Some(words)) = (find(&mut all, sending), words(settled)) {
                    close(known, recorded, words);
                }
            }
            Event::EffectDone { sending, .. } => {
                if let Some(known) = find(&mut all, sending) {
                    close(known, recorded, "it was made");
                }
            }
            _ => {}
        }
    }
    all.into_iter().map(|open| open.doubt).collect()
}

fn open<'a>(
    all: &mut Vec<Open<'a>>,
    recorded: &'a Recorded,
    sending: &'a Sending,
    why: &str,
    state: &RunState,
) {
    if find(all, sending).is_some() {
        return;
    }
    let doubt = Doubt {
        step: sending.step.to_string(),
        key: state.key(sending).to_string(),
        since: rfc3339(recorded.at),
        why: why.to_owned(),
        asked: false,
        settled: None,
        by: None,
        reason: None,
        took_ms: None,
    };
    all.push(Open { sending, since: recorded, doubt });
}

/// The one of this effect that is not settled yet.
fn find<'b, 'a>(all: &'b mut [Open<'a>], sending: &Sending) -> Option<&'b mut Open<'a>> {
    let same = |open: &&mut Open<'_>| {
        let one = open.sending;
        (&one.step, one.attempt, one.effect) == (&sending.step, sending.attempt, sending.effect)
            && open.doubt.settled.is_none()
    };
    all.iter_mut().rfind(same)
}

fn close(open: &mut Open<'_>, recorded: &Recorded, words: &str) {
    let by = if is_persons(recorded) { &recorded.cause.actor.name } else { "the target" };
    open.doubt.settled = Some(words.to_owned());
    open.doubt.by = Some(by.to_owned());
    open.doubt.reason.clone_from(&recorded.cause.reason);
    open.doubt.took_ms = Some(recorded.at.since_ms(open.since.at));
}

/// What settled it; nothing where it stayed open.
fn words(settled: &Settled) -> Option<&'static str> {
    match settled {
        Settled::Done { .. } => Some("it was made"),
        Settled::NotDone => Some("it was not made"),
        Settled::Failed { .. } => Some("it failed"),
        Settled::Running { .. } | Settled::Unknown { .. } | Settled::Unreachable { .. } => None,
    }
}
