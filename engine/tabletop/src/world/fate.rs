//! What becomes of one sending: whether and when it reaches its target, and what is answered.

use backout_core::Dispatch;
use backout_core::contract::Guarantee;
use backout_core::id::{StepId, Timestamp};

use super::{World, change};

/// What is answered to a sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What is so.
    Truth,
    /// That it is done, whether or not it is.
    Lie,
    /// That it ended and failed.
    Failed(String),
    /// That it was not made.
    Refused(String),
    /// Nothing that can be used.
    Lost(String),
}

/// What becomes of a sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// When it reaches its target, milliseconds after it was sent; absent is never.
    pub lands_ms: Option<u64>,
    /// When it is answered, and what.
    pub replies: (u64, Reply),
}

/// Trouble that the next sendings of a step meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is.
    pub kind: Kind,
    /// How many sendings it meets.
    pub times: u32,
}

/// A kind of trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It ends and fails.
    Fail(String),
    /// It takes so many milliseconds.
    Slow(u64),
    /// It is not made and says that it is.
    Lie,
    /// It is made and the reply is lost.
    LoseReply,
    /// Until then statements wait behind a transaction and give up.
    Behind(Timestamp, String),
}

impl Trouble {
    /// Trouble for so many sendings.
    pub fn new(kind: Kind, times: u32) -> Self {
        Self { kind, times }
    }
}

impl World {
    /// The next sendings of a step meet trouble.
    pub fn trouble(&mut self, step: &StepId, trouble: Trouble) {
        self.troubles.entry(step.clone()).or_default().push(trouble);
    }

    /// A sending begins its way: what becomes of it is decided now.
    pub fn depart(&mut self, dispatch: &Dispatch, now: Timestamp) -> Fate {
        *self.flying.entry(dispatch.key.clone()).or_default() += 1;
        let sent = self.sent.entry(dispatch.key.clone()).or_default();
        *sent = dispatch.sending.dispatch.max(*sent);
        let takes = self.model(&dispatch.sending.step).takes;
        let ms = takes.draw(&mut self.rng).max(1);
        let fate = match self.next_trouble(dispatch, now) {
            Some(kind) => under(&kind, ms),
            None => self.ordinary(dispatch, ms),
        };
        if fate.lands_ms.is_none() {
            self.vanish(&dispatch.key);
        }
        fate
    }

    fn next_trouble(&mut self, dispatch: &Dispatch, now: Timestamp) -> Option<Kind> {
        let troubles = self.troubles.get_mut(&dispatch.sending.step)?;
        troubles.retain(|trouble| match trouble.kind {
            Kind::Behind(until, _) => now < until,
            _ => trouble.times > 0,
        });
        let first = troubles.first_mut()?;
        first.times = first.times.saturating_sub(1);
        Some(first.kind.clone())
    }

    /// No trouble was declared: all goes well, unless chance or a sick image says otherwise.
    fn ordinary(&mut self, dispatch: &Dispatch, ms: u64) -> Fate {
        let changed = change(&dispatch.prepared, dispatch.sending.effect);
        if let Some(change) = changed
            && self.sick.contains(&(change.thing, change.to.clone()))
        {
            let why = format!("{} did not become healthy; the other one goes on", change.to);
            return Fate { lands_ms: None, replies: (ms, Reply::Refused(why)) };
        }
        if dispatch.prepared.guarantee != Guarantee::ReadOnly && self.rng.chance(self.chaos) {
            return self.by_chance(ms);
        }
        Fate { lands_ms: Some(ms), replies: (ms, Reply::Truth) }
    }

    fn by_chance(&mut self, ms: u64) -> Fate {
        let kinds = [
            Kind::Fail("it failed by chance".to_owned()),
            Kind::Slow(ms.saturating_mul(50)),
            Kind::Lie,
            Kind::LoseReply,
        ];
        let kind = self.rng.pick(&kinds).cloned().unwrap_or(Kind::LoseReply);
        under(&kind, ms)
    }
}

fn under(kind: &Kind, ms: u64) -> Fate {
    let lost = || Reply::Lost("the connection was reset before a reply came".to_owned());
    match kind {
        Kind::Fail(says) => Fate { lands_ms: None, replies: (ms, Reply::Failed(says.clone())) },
        Kind::Slow(slow) => Fate { lands_ms: Some(*slow), replies: (*slow, Reply::Truth) },
        Kind::Lie => Fate { lands_ms: None, replies: (ms, Reply::Lie) },
        Kind::LoseReply => Fate { lands_ms: Some(ms), replies: (ms, lost()) },
        Kind::Behind(_, says) => {
            Fate { lands_ms: None, replies: (ms, Reply::Refused(says.clone())) }
        }
    }
}
