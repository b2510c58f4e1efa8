//! Who is where: positions, epochs, locks and effects in flight of the runs that matter. A fold
//! over the heads of records, and the rules by which an append is let in. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use backout_core::contract::Settled;
use backout_core::event::{Event, Grant, Holder};
use backout_core::id::{CommandId, Epoch, LockToken, RunId, Seq, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::envelope::{Hash, Head};
use crate::journal::{Append, AppendResult};

/// Appends of a run that are known by name in memory; an older one is looked up in the journal.
const RECENT_MAX: usize = 64;

/// What is known of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunMeta {
    pub(crate) last: Seq,
    pub(crate) epoch: Epoch,
    /// The link that the next record carries; in text as hex.
    #[serde(with = "link_in_hex")]
    pub(crate) head: Hash,
    /// When it came to rest; absent while it is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended: Option<Timestamp>,
    /// Effects sent whose outcome is not recorded.
    #[serde(default)]
    pub(crate) flight: u64,
    #[serde(skip)]
    recent: VecDeque<Made>,
}

#[derive(Clone, Debug, PartialEq)]
struct Made {
    append: CommandId,
    last: Seq,
    grants: Vec<Grant>,
}

impl RunMeta {
    pub(crate) fn is_unfinished(&self) -> bool {
        self.ended.is_none()
    }

    /// Folds one record in. The head's own hash is the link to the next.
    pub(crate) fn apply(&mut self, head: &Head<'_>, link: &Hash) {
        self.last = head.seq;
        self.epoch = self.epoch.max(head.epoch);
        self.head = *link;
        self.flight = self.flight.saturating_add_signed(head.flight);
        match &*head.kind {
            "run-ended" | "run-closed" => {
                self.ended = self.ended.or(Some(head.at));
                self.flight = 0;
            }
            "run-resumed" | "undo-begun" | "step-reopened" => self.ended = None,
            _ => {}
        }
    }

    fn remember(&mut self, append: &CommandId, last: Seq, grants: &[Grant]) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        let (append, grants) = (append.clone(), grants.to_vec());
        self.recent.push_back(Made { append, last, grants });
    }
}

/// A link as text in hex.
mod link_in_hex {
    use backout_core::contract::hex;
    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::envelope::{GENESIS, Hash, unhex_hash};

    pub(super) fn serialize<S: Serializer>(link: &Hash, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hex(link))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(text: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(text)?;
        if text.is_empty() {
            return Ok(GENESIS);
        }
        unhex_hash(&text).ok_or_else(|| de::Error::custom("a link that is no SHA-256 in hex"))
    }
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lock {
    pub(crate) run: RunId,
    pub(crate) token: LockToken,
    pub(crate) since: Timestamp,
}

/// All that an append is judged by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) runs: HashMap<RunId, RunMeta>,
    pub(crate) locks: BTreeMap<TargetId, Lock>,
    /// The last lock token given out.
    pub(crate) token: LockToken,
}

/// Why an append is not made now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// This is the answer.
    Answer(AppendResult),
    /// The run is further than the append expects. Either somebody else was quicker, or this append
    /// was made before: the journal knows.
    Behind { actual: Seq },
}

impl Ledger {
    /// Effects in flight in all runs.
    pub(crate) fn in_flight(&self) -> u64 {
        self.runs.values().map(|run| run.flight).sum()
    }

    /// Lets an append in, or says why not. Gives the locks that are granted: those claimed, in
    /// their order, then those that the run held already and that get new tokens since its epoch
    /// rises.
    pub(crate) fn admit(&self, append: &Append) -> Result<Vec<Grant>, Refusal> {
        let unknown = RunMeta::default();
        let run = self.runs.get(&append.run).unwrap_or(&unknown);
        if let Some(made) = run.recent.iter().find(|made| made.append == append.append_id) {
            let (last, grants) = (made.last, made.grants.clone());
            return Err(Refusal::Answer(AppendResult::Committed { last, grants }));
        }
        if append.epoch < run.epoch {
            return Err(Refusal::Answer(AppendResult::Fenced { epoch: run.epoch }));
        }
        if append.expected_seq < run.last {
            return Err(Refusal::Behind { actual: run.last });
        }
        if append.expected_seq > run.last {
            return Err(Refusal::Answer(AppendResult::Conflict { actual: run.last }));
        }
        let holders = self.holders(append);
        if !holders.is_empty() {
            return Err(Refusal::Answer(AppendResult::Held { holders }));
        }
        Ok(self.grants(append, append.epoch > run.epoch))
    }

    /// Other runs that hold what is claimed.
    fn holders(&self, append: &Append) -> Vec<Holder> {
        append
            .claims
            .iter()
            .filter_map(|target| {
                let lock = self.locks.get(target).filter(|lock| lock.run != append.run)?;
                Some(Holder { target: target.clone(), run: lock.run.clone(), since: lock.since })
            })
            .collect()
    }

    fn grants(&self, append: &Append, renews: bool) -> Vec<Grant> {
        let mut token = self.token;
        let held = |target: &TargetId| self.locks.get(target).filter(|lock| lock.run == append.run);
        let mut grants: Vec<Grant> = Vec::with_capacity(append.claims.len());
        let renewed = renews
            .then(|| self.locks.iter().filter(|(_, lock)| lock.run == append.run))
            .into_iter()
            .flatten()
            .map(|(target, _)| target)
            .filter(|target| !append.claims.contains(target) && !append.releases.contains(target));
        for target in append.claims.iter().chain(renewed) {
            let known = grants.iter().find(|grant| grant.target == *target).map(|g| g.token);
            let kept = known.or_else(|| held(target).filter(|_| !renews).map(|lock| lock.token));
            let given = kept.unwrap_or_else(|| {
                token = LockToken(token.0 + 1);
                token
            });
            grants.push(Grant { target: target.clone(), token: given });
        }
        grants
    }

    /// Folds one record in.
    pub(crate) fn apply(&mut self, run: &RunId, head: &Head<'_>, link: &Hash) {
        self.runs.entry(run.clone()).or_default().apply(head, link);
        for grant in &head.grants {
            self.token = self.token.max(grant.token);
            let since = self
                .locks
                .get(&grant.target)
                .filter(|lock| lock.run == *run)
                .map_or(head.at, |lock| lock.since);
            let lock = Lock { run: run.clone(), token: grant.token, since };
            self.locks.insert(grant.target.clone(), lock);
        }
        for target in &head.releases {
            if self.locks.get(target).is_some_and(|lock| lock.run == *run) {
                self.locks.remove(target);
            }
        }
    }

    /// Remembers an append by its name.
    pub(crate) fn remember(&mut self, append: &Append, last: Seq, grants: &[Grant]) {
        if let Some(run) = self.runs.get_mut(&append.run) {
            run.remember(&append.append_id, last, grants);
        }
    }

    /// Forgets a run and its locks.
    pub(crate) fn forget(&mut self, run: &RunId) {
        self.runs.remove(run);
        self.locks.retain(|_, lock| lock.run != *run);
    }

    /// Whether a run must be known when the store is opened again.
    pub(crate) fn matters(&self, run: &RunId) -> bool {
        self.runs.get(run).is_some_and(RunMeta::is_unfinished)
            || self.locks.values().any(|lock| lock.run == *run)
    }
}

/// By how many an append changes the effects in flight.
pub(crate) fn flight_change(append: &Append) -> i64 {
    let ended = append.events.iter().filter(|new| is_outcome(&new.event)).count();
    i64::from(append.intends) - i64::try_from(ended).unwrap_or(i64::MAX)
}

/// Whether an event says what became of an effect, so that nothing more is owed for it.
fn is_outcome(event: &Event) -> bool {
    match event {
        Event::EffectDone { .. }
        | Event::EffectRefused { .. }
        | Event::EffectFailed { .. }
        | Event::EffectInDoubt { .. } => true,
        Event::EffectSettled { settled, .. } => {
            matches!(settled, Settled::Done { .. } | Settled::NotDone | Settled::Failed { .. })
        }
        _ => false,
    }
}

/// Whether an append may use the room that is left for outcomes: it says what became of something,
/// or how a run stops, and nothing new follows from it.
pub(crate) fn may_use_reserve(append: &Append) -> bool {
    append.intends == 0
        && append.events.iter().any(|new| {
            is_outcome(&new.event)
                || matches!(
                    new.event,
                    Event::EffectUnclear { .. }
                        | Event::EffectSettled { .. }
                        | Event::EngineDetached { .. }
                        | Event::RunPaused
                        | Event::RunStopping { .. }
                        | Event::RunEnded { .. }
                        | Event::RunSuperseded { .. }
                        | Event::LocksYielded { .. }
                )
        })
}
