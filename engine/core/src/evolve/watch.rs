//! What the looks at a watched step make of it.

use super::step::step_of;
use crate::event::{Event, Recorded};
use crate::state::RunState;
use crate::watch::{Alarm, EVERY_MS};

pub(super) fn fold(run: &mut RunState, recorded: &Recorded) -> Result<(), String> {
    let at = recorded.at;
    match &recorded.event {
        Event::WatchAlarm { step, difference, by, unseen } => {
            let (_, step) = step_of(run, step)?;
            let since = step.watched.alarm.as_ref().map_or(at, |alarm| alarm.since);
            let (difference, by, unseen) = (difference.clone(), by.clone(), *unseen);
            step.watched.alarm = Some(Box::new(Alarm { since, told: at, difference, by, unseen }));
            step.watched.looked = recorded.seq;
            step.watched.look += 1;
            step.watched.due = at.plus_ms(EVERY_MS);
        }
        Event::WatchCalm { step } | Event::WatchHeld { step } => {
            let (_, step) = step_of(run, step)?;
            step.watched.alarm = None;
            step.watched.looked = recorded.seq;
            step.watched.look += 1;
            step.watched.due = at.plus_ms(EVERY_MS);
        }
        Event::WatchAccepted { step } => {
            let (ix, step) = step_of(run, step)?;
            step.watched.alarm = None;
            step.watched.accepted = true;
            run.watched.remove(&ix);
        }
        _ => return Err("not an event of a watch".into()),
    }
    Ok(())
}
