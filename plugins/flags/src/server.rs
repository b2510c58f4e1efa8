//! Flags on a server: one effect for each flag, under a claim of our own.
//!
//! Neither server remembers our key as a name of the effect. So before the first request that
//! writes, a claim on this sending is written to disk; one who settles and finds none seals it, and
//! the sending never happens. For one that did happen the server is looked at.

use std::path::PathBuf;
use std::time::Duration;

use backout_plugin_api::{
    Call, Claim, Claimant, Claimed, Context, Emit, Hazard, Image, Outcome, PrepareFailure,
    Prepared, PreparedEffect, Reversibility, Satisfied, Settled, Take, folder_name,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api::{Api, Found, Seen, Sign, Wanted, WriteFault};
use crate::check;
use crate::input::{Server, System};
use crate::kept::{self, Kept};
use crate::wire::{Fault, REQUEST_TIMEOUT};

/// After a sending whose answer is not known, how long its request may still take effect. Longer
/// than any request of ours lives; a server works on one for milliseconds.
pub(crate) const LANDS_WITHIN: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(5));
/// How long the server may take to show what was written: it is read back from the same place.
const CONVERGE: Duration = Duration::from_secs(5);

/// What an effect on a server keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) flag: String,
    /// The flag's whole state in its environment.
    pub(crate) before: Map<String, Value>,
    /// The parts of it that are written.
    pub(crate) wanted: Map<String, Value>,
    /// The server's own count of changes, by which somebody else's are known.
    pub(crate) version: i64,
}

/// Where a test stops an effect, as a crash would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPoint {
    /// The claim is on disk; nothing is sent.
    Claimed,
    /// So many requests that write were answered.
    Written(u32),
}

/// A test's hook after each sub-step; in production there is none.
#[derive(Clone, Default)]
pub(crate) struct Stops(Option<std::sync::Arc<dyn Fn(ServerPoint) -> bool + Send + Sync>>);

impl std::fmt::Debug for Stops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stops").field(&self.0.is_some()).finish()
    }
}

impl Stops {
    pub(crate) fn at(stop: impl Fn(ServerPoint) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(std::sync::Arc::new(stop)))
    }

    pub(crate) fn pass(&self, point: ServerPoint) -> Result<(), WriteFault> {
        match &self.0 {
            Some(stop) if stop(point) => {
                Err(WriteFault::Unclear(format!("stopped by a test after `{point:?}`")))
            }
            _ => Ok(()),
        }
    }
}

fn refused(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

/// A look that failed: a server that says no is a refusal, one that says nothing is not there.
pub(crate) fn not_seen(fault: Fault) -> PrepareFailure {
    match fault {
        Fault::Status(status, reason) if status < 500 && status != 429 => refused(reason),
        Fault::Status(_, reason) | Fault::Unsent(reason) | Fault::NoAnswer(reason) => {
            PrepareFailure::Unreachable { reason }
        }
    }
}

/// One flag as it is and as it shall be.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) flag: String,
    pub(crate) seen: Seen,
    pub(crate) wanted: Wanted,
    /// Who changed it last, where it is not as wanted and the server tells.
    changed_by: Option<String>,
}

impl Planned {
    pub(crate) async fn new(api: &Api, flag: &str, seen: Seen, wanted: Wanted) -> Self {
        let is_there = is_there(api.system(), &wanted.state, &seen.state);
        let changed_by = if is_there { None } else { api.last_change(flag).await };
        Self { flag: flag.to_owned(), seen, wanted, changed_by }
    }
}

/// Who changed what, of those flags that are not as wanted.
fn changed_by(planned: &[Planned]) -> Option<String> {
    let told = |plan: &Planned| {
        let by = plan.changed_by.as_ref()?;
        Some(if planned.len() == 1 { by.clone() } else { format!("{}: {by}", plan.flag) })
    };
    let told: Vec<String> = planned.iter().filter_map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What `prepare` says of some flags.
pub(crate) fn prepared(
    system: System,
    server: &Server,
    planned: Vec<Planned>,
) -> Result<Prepared, PrepareFailure> {
    let locks = planned.iter().map(|plan| check::server_target(system, server, &plan.flag));
    let locks = locks.collect();
    let versions: Map<String, Value> =
        planned.iter().map(|plan| (plan.flag.clone(), json!(plan.seen.version))).collect();
    let by = changed_by(&planned);
    let effects = planned.into_iter().map(|plan| effect(system, server, plan));
    Ok(Prepared {
        data_version: kept::DATA_VERSION,
        guarantee: check::guarantee(system),
        remembered_ms: None,
        locks,
        effects: effects.collect::<Result<_, _>>()?,
        hazards: Vec::new(),
        gate: None,
        converge_ms: u64::try_from(CONVERGE.as_millis()).unwrap_or(0),
        seen: json!({ "server": server.url, "versions": versions, "changed_by": by }),
    })
}

fn effect(
    system: System,
    server: &Server,
    plan: Planned,
) -> Result<PreparedEffect, PrepareFailure> {
    let Planned { flag, seen, wanted, .. } = plan;
    let satisfied = is_there(system, &wanted.state, &seen.state);
    let mut hazards: Vec<Hazard> = if satisfied { Vec::new() } else { seen.hazards };
    hazards.extend(wanted.hazards);
    let before = part(&seen.state, &wanted.state);
    let title = format!("flag {flag} in {}: {}", server.environment, wanted.what);
    let data = Data { flag, before: seen.state, wanted: wanted.state, version: seen.version };
    Ok(PreparedEffect {
        title,
        wave: 0,
        satisfied: if satisfied { Satisfied::Yes } else { Satisfied::No },
        before: Image::Plain(Value::Object(before)),
        wanted: Image::Plain(Value::Object(data.wanted.clone())),
        difference: if satisfied { Vec::new() } else { wanted.difference },
        reversibility: Reversibility::Exact,
        hazards,
        data: Kept::Server(data).to_value().map_err(refused)?,
    })
}

/// The parts of a state that another one names.
fn part(state: &Map<String, Value>, of: &Map<String, Value>) -> Map<String, Value> {
    of.keys().filter_map(|key| Some((key.clone(), state.get(key)?.clone()))).collect()
}

/// Whether every part that is wanted is there.
fn is_there(system: System, wanted: &Map<String, Value>, state: &Map<String, Value>) -> bool {
    wanted.iter().all(|(part, wanted)| {
        let now = state.get(part).unwrap_or(&Value::Null);
        Api::same(system, part, wanted, now)
    })
}

/// One effect being made or settled.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) ctx: &'a Context,
    pub(crate) call: &'a Call,
    pub(crate) system: System,
    pub(crate) server: &'a Server,
    pub(crate) data: &'a Data,
    pub(crate) stops: &'a Stops,
}

impl Work<'_> {
    pub(crate) async fn apply(&self) -> Outcome {
        match self.try_apply().await {
            Ok(output) => Outcome::Done { output },
            Err(WriteFault::Refused(reason)) => Outcome::Refused { reason },
            Err(WriteFault::Failed(reason)) => Outcome::Failed { reason, output: self.output(&[]) },
            Err(WriteFault::Unclear(reason)) => Outcome::Unclear { reason },
        }
    }

    async fn try_apply(&self) -> Result<Value, WriteFault> {
        let api = self.api().await.map_err(WriteFault::Refused)?;
        let harmless =
            |fault: Fault| WriteFault::Refused(format!("{}; nothing was changed", fault.text()));
        let now = api.look(&self.data.flag).await.map_err(harmless)?;
        let sent_before = self.was_sent_before();
        self.claim().await?;
        if !(sent_before && self.is_made(&now)) {
            self.check_unchanged(&api, &now, sent_before).await?;
            self.stops.pass(ServerPoint::Claimed)?;
            api.write(self, &now).await?;
        }
        let unclear = |fault: Fault| WriteFault::Unclear(fault.text().to_owned());
        let after = api.look(&self.data.flag).await.map_err(unclear)?;
        if !self.is_made(&after) {
            let text = format!("{} was written, but does not show it", self.data.flag);
            return Err(WriteFault::Unclear(text));
        }
        let found = api.others(self).await.map_err(unclear)?;
        self.check_nothing_lost(&found)?;
        Ok(self.output(&found.others))
    }

    async fn api(&self) -> Result<Api, String> {
        Api::new(self.ctx, self.system, self.server).await
    }

    /// Whether the wanted parts are there.
    pub(crate) fn is_made(&self, now: &Seen) -> bool {
        is_there(self.system, &self.data.wanted, &now.state)
    }

    fn is_as_before(&self, now: &Seen) -> bool {
        let before = part(&self.data.before, &self.data.wanted);
        is_there(self.system, &before, &now.state)
    }

    /// What is there must be what was prepared, or what an earlier sending of ours left half made.
    async fn check_unchanged(
        &self,
        api: &Api,
        now: &Seen,
        sent_before: bool,
    ) -> Result<(), WriteFault> {
        if self.is_as_before(now) {
            return Ok(());
        }
        let found = api.changes(self).await;
        let found = found.map_err(|fault| WriteFault::Refused(fault.text().to_owned()))?;
        if found.ours && found.others.is_empty() && sent_before {
            return Ok(());
        }
        Err(WriteFault::Refused(format!(
            "flag {} was changed by somebody since it was prepared{}; nothing was changed",
            self.data.flag,
            told(&found.others)
        )))
    }

    /// Somebody's change between our look and our writing that we wrote over.
    fn check_nothing_lost(&self, found: &Found) -> Result<(), WriteFault> {
        for line in &found.others {
            (self.ctx.emit)(Emit::Progress(format!("changed by others meanwhile: {line}")));
        }
        if found.sign != Sign::Overwrote {
            return Ok(());
        }
        Err(WriteFault::Failed(format!(
            "flag {} is as wanted, but somebody changed it in the same moment{}; what they wrote is \
             kept in those events: look, and set it again where it is wanted",
            self.data.flag,
            told(&found.others)
        )))
    }

    pub(crate) fn output(&self, others: &[String]) -> Value {
        let mut output = json!({
            "flag": self.data.flag,
            "environment": self.server.environment,
            "written": self.data.wanted.keys().collect::<Vec<_>>(),
        });
        if !others.is_empty() {
            output["changed_by_others"] = json!(others);
        }
        output
    }

    fn claim_at(&self, dispatch: u32) -> Claim {
        Claim::at(self.folder(dispatch))
    }

    fn folder(&self, dispatch: u32) -> PathBuf {
        self.ctx.scratch.join("flags").join(folder_name(&self.call.key, dispatch))
    }

    async fn take(&self, wanted: Claimed) -> Result<Take, String> {
        let claim = self.claim_at(self.call.fence.dispatch);
        let taken = tokio::task::spawn_blocking(move || claim.take(&wanted)).await;
        let taken = taken.map_err(|error| error.to_string())?;
        taken.map_err(|error| format!("cannot write the claim on this sending: {error}"))
    }

    async fn claim(&self) -> Result<(), WriteFault> {
        let wanted = Claimed::sender(self.ctx.now_ms, Value::Null);
        match self.take(wanted).await.map_err(WriteFault::Refused)? {
            Take::Ours | Take::Theirs(Claimed { by: Claimant::Sender, .. }) => Ok(()),
            Take::Theirs(_) => Err(WriteFault::Refused(format!(
                "sending {} of {} was settled as not done before it was sent; nothing was changed",
                self.call.fence.dispatch, self.call.key
            ))),
        }
    }

    /// Whether this or an earlier sending of this key may have written something.
    fn was_sent_before(&self) -> bool {
        (1..=self.call.fence.dispatch).any(|dispatch| {
            let claimed = self.claim_at(dispatch).read().ok().flatten();
            claimed.is_some_and(|claimed| claimed.by == Claimant::Sender)
        })
    }

    pub(crate) async fn settle(&self) -> Settled {
        let unreachable = |reason: String| Settled::Unreachable { reason };
        let claimed = match self.take(Claimed::seal(self.ctx.now_ms)).await {
            Ok(Take::Ours | Take::Theirs(Claimed { by: Claimant::Seal, .. })) => {
                return Settled::NotDone;
            }
            Ok(Take::Theirs(claimed)) => claimed,
            Err(reason) => return unreachable(reason),
        };
        let api = match self.api().await {
            Ok(api) => api,
            Err(reason) => return unreachable(reason),
        };
        let now = api.look(&self.data.flag).await;
        let found = api.changes(self).await;
        match (now, found) {
            (Ok(now), Ok(found)) => self.judge(&now, &found, claimed.at_ms),
            (Err(fault), _) | (_, Err(fault)) => unreachable(fault.text().to_owned()),
        }
    }

    /// What the server shows of a sending that was made at `sent_ms`.
    fn judge(&self, now: &Seen, found: &Found, sent_ms: i64) -> Settled {
        let made = self.is_made(now);
        if made && found.ours {
            return match self.check_nothing_lost(found) {
                Ok(()) => Settled::Done { output: self.output(&found.others) },
                Err(fault) => Settled::Failed {
                    reason: fault.into_text(),
                    output: self.output(&found.others),
                },
            };
        }
        if found.sign == Sign::MadeThenChanged {
            return Settled::Done { output: self.output(&found.others) };
        }
        if found.sign == Sign::NeverLands && !made {
            return Settled::NotDone;
        }
        let lands_ms = i64::try_from(LANDS_WITHIN.as_millis()).unwrap_or(i64::MAX);
        let quiet = self.ctx.now_ms.saturating_sub(sent_ms) >= lands_ms;
        if !quiet {
            let flag = &self.data.flag;
            return Settled::Running {
                evidence: format!("the request for {flag} may still take effect; it was just sent"),
            };
        }
        let ours_alone = found.ours && found.others.is_empty();
        if !made && (ours_alone || !found.ours && self.is_as_before(now)) {
            return Settled::NotDone;
        }
        let state = if made {
            "as wanted, without a sign of ours"
        } else {
            "neither as before nor as wanted"
        };
        Settled::Unknown {
            evidence: format!("flag {} is {state}{}", self.data.flag, told(&found.others)),
        }
    }
}

fn told(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) }
}
