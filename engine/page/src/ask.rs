//! A form becomes a command. It was decided on what its page showed: where somebody else decided since,
//! whoever sent it is told first what changed.

use backout_core::command::Ask;
use backout_core::event::{Cause, Event, Recorded};
use backout_core::id::{RunId, Seq, StepId};
use backout_runtime::{EngineError, Seen};
use backout_server::problem::Problem;

use crate::form::Sent;
use crate::routes::{Page, Refused, rendered};
use crate::show::Frame;

/// Events after a form was shown that are looked through: a second click comes within moments.
const SINCE_EVENTS_MAX: usize = 1_000;
/// Looks at a run that goes on while it is asked: each meets new events of the engine at the most.
const LOOKS_MAX: usize = 5;

/// Gives the command to the engine; answers the run's last event after it.
pub(crate) async fn given(
    page: &Page,
    frame: &Frame,
    id: &RunId,
    sent: &Sent,
) -> Result<Seq, Problem> {
    let ask = sent.ask()?;
    let cause = frame.sender.cause(&sent.by(&page.given.person)?)?;
    let (face, run) = (page.book.face.clone(), id.clone());
    let state = rendered(move || face.state(&run)).await.map_err(|Refused(problem)| problem)?;
    if let Some(seq) = followed(page, id, sent, &cause)? {
        return Ok(seq);
    }
    if is_resumed(page, id, &ask) {
        frame.sender.may_resume(&state, &cause)?;
    } else {
        frame.sender.may_ask(&ask, &state, &cause)?;
    }
    let mut looks = 1;
    loop {
        let seen = unmoved(page, id, sent, &ask, &cause)?;
        match follow(page, id, &ask, cause.clone(), seen).await {
            Ok(seq) => return Ok(seq),
            // The engine itself was faster: that is looked at again.
            Err(EngineError::Changed { .. }) if looks < LOOKS_MAX => looks += 1,
            // The same form may have been faster.
            Err(error) => return followed(page, id, sent, &cause)?.ok_or_else(|| error.into()),
        }
    }
}

/// To resume a run that nobody drives is to take it up.
fn is_resumed(page: &Page, id: &RunId, ask: &Ask) -> bool {
    *ask == Ask::Resume && !page.book.face.engine.is_driven(id)
}

async fn follow(
    page: &Page,
    id: &RunId,
    ask: &Ask,
    cause: Cause,
    seen: Seen,
) -> Result<Seq, EngineError> {
    let engine = &page.book.face.engine;
    if is_resumed(page, id, ask) {
        engine.resume_seen(id, cause, seen).await?;
        return Ok(page.book.last(id));
    }
    Ok(engine.ask_seen(id, ask.clone(), cause, seen).await?.seq)
}

/// The position at which the command still means what was meant, so that whoever decides for the run
/// compares it in one go; a problem where somebody decided since the form was shown. What the engine
/// did meanwhile changes no mind, and a note takes nothing back.
fn unmoved(
    page: &Page,
    id: &RunId,
    sent: &Sent,
    ask: &Ask,
    cause: &Cause,
) -> Result<Seen, Problem> {
    if sent.seen == 0 || matches!(ask, Ask::Note { .. }) {
        return Ok(None);
    }
    let since = page.book.events(id, Seq(sent.seen).next(), SINCE_EVENTS_MAX)?;
    let last = since.last().map_or(Seq(sent.seen), |last| last.seq);
    if since.iter().any(|recorded| crosses(recorded, sent, cause)) {
        return Err(EngineError::Changed { run: id.clone(), last }.into());
    }
    Ok(Some(vec![last]))
}

/// Whether an event is a decision that whoever sent the form cannot have known: one of somebody else,
/// or one about the same step.
fn crosses(recorded: &Recorded, sent: &Sent, cause: &Cause) -> bool {
    let other = recorded.cause.actor.name != cause.actor.name;
    let same = match &recorded.event {
        Event::StepsHeld { steps } | Event::StepsFreed { steps } => is_among(steps, sent),
        event => event.step().is_some_and(|step| step.as_str() == sent.step),
    };
    recorded.is_decision() && (other || same)
}

fn is_among(steps: &[StepId], sent: &Sent) -> bool {
    steps.iter().any(|step| step.as_str() == sent.step)
}

/// The event that a form became already: an impatient finger sends it twice.
fn followed(page: &Page, id: &RunId, sent: &Sent, cause: &Cause) -> Result<Option<Seq>, Problem> {
    let since = page.book.events(id, Seq(sent.seen).next(), SINCE_EVENTS_MAX)?;
    let is_it =
        |recorded: &&Recorded| cause.command.is_some() && recorded.cause.command == cause.command;
    Ok(since.iter().find(is_it).map(|recorded| recorded.seq))
}

#[cfg(test)]
mod tests {
    use backout_core::event::Actor;
    use backout_core::id::{Epoch, Timestamp};

    use super::*;

    fn by(name: &str) -> Cause {
        Cause { actor: Actor::unverified(name), ..Cause::engine() }
    }

    #[test]
    fn what_somebody_else_decided_crosses_and_what_the_engine_did_does_not() {
        let event = |cause: Cause, step: Option<&str>| {
            let event = match step {
                Some(step) => Event::StepCancelled { step: step.into() },
                None => Event::RunPaused,
            };
            let (seq, epoch, at) = (Seq(7), Epoch(1), Timestamp(0));
            Recorded { seq, epoch, at, cause, grants: Vec::new(), event }
        };
        let sent = Sent { step: "a".to_owned(), ..Sent::default() };
        let crosses = |cause, step| crosses(&event(cause, step), &sent, &by("ann"));
        assert!(crosses(by("bea"), None) && crosses(by("ann"), Some("a")));
        assert!(!crosses(by("ann"), Some("b")) && !crosses(Cause::engine(), Some("a")));
    }
}
