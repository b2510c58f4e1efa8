//! Tidying: what was kept for the undo of a run goes, once nothing can ask for one any more.
//!
//! A courtesy: nothing depends on it, it writes no event, and it may be cut short and repeated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_core::contract::{Guarantee, Settled};
use backout_core::event::{Event, Recorded, RunEnd, Sending};
use backout_core::evolve;
use backout_core::exercise::is_drill;
use backout_core::id::{ActionName, RunId, StepId};
use backout_core::state::{Phase, RunState};
use backout_plugin_api::{CancellationToken, Context, MadeEffect, Tidied};
use futures::FutureExt;
use serde_json::Value;

use crate::{Clock, Host};

/// Milliseconds that the remains of one key may take to be removed: a container that hangs is left.
const TIDY_MS: u64 = 30_000;

/// Whether a run ended so that what it kept for an undo is of no more use: it succeeded, or it was
/// undone. After any other end what was kept is the way back by hand. A drill kept nothing at any target.
pub fn ended_well(run: &RunState) -> bool {
    !is_drill(&run.plan) && matches!(run.phase, Phase::Ended(RunEnd::Succeeded | RunEnd::Undone))
}

/// One key that was sent, whatever became of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The step.
    pub step: StepId,
    attempt: u32,
    action: ActionName,
    made: MadeEffect,
}

/// Every key that a run ever sent, in the order of the first sending. Reads have none.
pub fn sent(events: &[Recorded]) -> Vec<Sent> {
    let (mut state, mut all) = (None, Vec::new());
    for recorded in events {
        if evolve(&mut state, recorded).is_err() {
            break;
        }
        let Some(run) = &state else { continue };
        match &recorded.event {
            Event::EffectIntended { sending } if sending.dispatch == 1 => {
                all.extend(first_sending(run, sending));
            }
            Event::EffectDone { sending, output }
            | Event::EffectSettled { sending, settled: Settled::Done { output }, .. } => {
                told(run, sending, output, &mut all);
            }
            _ => {}
        }
    }
    all
}

fn first_sending(run: &RunState, sending: &Sending) -> Option<Sent> {
    let (_, plan, step) = run.find(&sending.step)?;
    let prepared = step.prepared.clone()?;
    let made = MadeEffect {
        input: step.input.clone(),
        effect: sending.effect,
        key: run.key(sending),
        output: Value::Null,
        whole: false,
        prepared,
    };
    let read_only = made.prepared.guarantee == Guarantee::ReadOnly;
    let sent = || Sent {
        step: plan.id.clone(),
        attempt: sending.attempt,
        action: plan.action.clone(),
        made,
    };
    (!read_only).then(sent)
}

fn told(run: &RunState, sending: &Sending, output: &Value, all: &mut [Sent]) {
    let key = run.key(sending);
    if let Some(sent) = all.iter_mut().rev().find(|sent| sent.made.key == key) {
        sent.made.output = output.clone();
        sent.made.whole = true;
    }
}

/// Removes what these keys left, one after the other, the last one first. What cannot be removed is
/// said in [`Tidied::left`].
pub async fn tidy(
    host: &Host,
    clock: &dyn Clock,
    run: &RunId,
    scratch: PathBuf,
    sent: Vec<Sent>,
) -> Vec<(StepId, Tidied)> {
    let mut all = Vec::new();
    for sent in sent.into_iter().rev() {
        let tidied = one(host, clock, run, scratch.clone(), &sent).await;
        if tidied != Tidied::default() {
            all.push((sent.step, tidied));
        }
    }
    all
}

async fn one(host: &Host, clock: &dyn Clock, run: &RunId, scratch: PathBuf, sent: &Sent) -> Tidied {
    let left = |why: String| Tidied { left: vec![why], ..Tidied::default() };
    let action = match host.reads(&sent.action, sent.made.prepared.data_version) {
        Ok(action) => action,
        Err(why) => return left(why),
    };
    let ctx = context(host, clock, run, scratch, sent);
    let verb = std::panic::AssertUnwindSafe(action.tidy(&ctx, &sent.made)).catch_unwind();
    let late = clock.sleep_until(clock.now().plus_ms(TIDY_MS));
    tokio::select! {
        answer = verb => {
            answer.unwrap_or_else(|_| left(format!("{} broke off: a bug in it", sent.action)))
        }
        () = late => left(format!("{} took longer than {TIDY_MS} ms", sent.made.key)),
    }
}

fn context(host: &Host, clock: &dyn Clock, run: &RunId, scratch: PathBuf, sent: &Sent) -> Context {
    Context {
        run: run.clone(),
        step: sent.step.clone(),
        attempt: sent.attempt,
        epoch: 0,
        timeout: Duration::from_millis(TIDY_MS),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| {}),
        secrets: host.secrets.clone(),
        scratch,
        traceparent: None,
        now_ms: clock.now().0,
    }
}
