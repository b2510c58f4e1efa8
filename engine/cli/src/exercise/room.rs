//! A discussion that several people are at: one at this terminal, others on the page.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backout_core::event::Cause;
use backout_core::id::Timestamp;
use backout_runtime::{Clock, SystemClock};
use backout_server::Witness;
use backout_server::desk::{AskedView, TalkView};
use backout_tabletop::console::{Typed, talk_help};
use backout_tabletop::discussion::{Discussion, Standing};
use backout_tabletop::drill::Broken;
use backout_tabletop::log::{Exercise, Logged};
use tokio::sync::watch;

use super::led::{Keeper, Led};

/// A discussion, and all that leads to it.
pub(crate) struct Room {
    talk: Mutex<(Discussion, Keeper)>,
    witness: Arc<Witness>,
}

impl Room {
    /// A discussion that is kept in this folder; the witness wakes those who look.
    pub(crate) fn open(
        begin: impl FnOnce(Timestamp) -> Discussion,
        folder: &Path,
        witness: Arc<Witness>,
    ) -> Result<Arc<Self>, Broken> {
        let talk = Mutex::new((begin(now()), Keeper::of(folder)?));
        let room = Self { talk, witness };
        room.act(|_, _| ())?;
        Ok(Arc::new(room))
    }

    fn act<T>(&self, act: impl FnOnce(&mut Discussion, Timestamp) -> T) -> Result<T, Broken> {
        let mut talk = self.lock();
        let (discussion, keeper) = &mut *talk;
        let said = discussion.record().log.len();
        let done = act(discussion, now());
        keeper.keep(discussion.record().log.len(), || discussion.record().clone())?;
        if discussion.record().log.len() > said {
            self.witness.stir();
        }
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, (Discussion, Keeper)> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Led for Room {
    fn record(&self) -> Exercise {
        self.lock().0.record().clone()
    }

    fn typed(&self, typed: &Typed, who: &str) -> Result<Option<String>, Broken> {
        if *typed == Typed::Help {
            return Ok(Some(talk_help()));
        }
        self.act(|talk, now| talk.do_typed(typed, who, now))
    }

    fn tick(&self) -> Result<(), Broken> {
        Ok(())
    }

    fn end(&self, why: &str) -> Result<(), Broken> {
        self.act(|talk, now| talk.end(why, now))
    }

    fn emergency(&self, who: &Cause, text: &str) -> Result<(), Broken> {
        self.act(|talk, now| talk.emergency(&who.actor.name, text, now))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.witness.changes()
    }

    fn talk(&self, script: bool) -> Option<TalkView> {
        let talk = self.lock();
        let (talk, _) = &*talk;
        let asked = talk.asked().map(|one| asked(talk, one, script)).collect();
        Some(TalkView { asked, to_come: talk.to_come().len() })
    }
}

fn asked(talk: &Discussion, standing: Standing<'_>, script: bool) -> AskedView {
    let Standing { number, question, plan, shown } = standing;
    let over = talk.record().end.is_some();
    let answers = talk.record().log.iter().filter_map(|entry| match &entry.what {
        Logged::Answered { question: to, answer, by, .. } if *to == question.id => {
            Some((by.clone(), answer.clone()))
        }
        _ => None,
    });
    AskedView {
        number,
        situation: question.situation.clone(),
        ask: question.ask.clone(),
        choices: question.choices.clone(),
        answers: answers.collect(),
        plan: plan.filter(|_| shown || over).map(str::to_owned),
        hidden: plan.is_some() && !shown && !over,
        look_for: if script { question.look_for.clone() } else { Vec::new() },
    }
}

/// The time: a discussion has no other than those who talk.
fn now() -> Timestamp {
    SystemClock.now()
}
