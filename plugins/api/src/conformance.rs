//! What every action must keep, as checks that a plugin's own tests call with a real target.
//!
//! ```text
//! conformance::check(async || MyCase::new().await).await.assert_kept();
//! ```
//!
//! A [`Case`] is one fresh target with one input. Each check gets a case of its own, is one short
//! function, and answers kept, not applicable (and why), or broken (and how). The answers are plain
//! data: the table in the docs is made from them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Action, ActionName, Call, CancellationToken, Context, EffectKey, Emit, Fence, Guarantee,
    LockToken, Outcome, PrepareFailure, Prepared, RunId, Satisfied, SecretSource, StepId,
    SystemSecrets,
};

mod checks;
mod found;
#[cfg(test)]
mod own;
mod records;

pub use found::{Cut, Cuts, FOUND_FILE, Found, Suite};

/// How long one verb may take in a check.
pub const VERB_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a verb may take against a target that does not answer.
pub const SILENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one check may take in all: some verbs in a row, each within its time.
pub const CHECK_TIMEOUT: Duration = Duration::from_mins(5);
/// How much longer than its timeout a verb may take until it gives its answer, on a machine on which
/// everything else is tested at the same time.
pub const LATE: Duration = Duration::from_secs(8);

/// One fresh target and one input for it. Dropping it removes the target.
#[async_trait]
pub trait Case: Send + Sync {
    /// The action under check.
    fn action(&self) -> &dyn Action;

    /// The input: at least one effect that the target does not show yet.
    fn input(&self) -> Value;

    /// A folder on a disk for [`Context::scratch`]; it need not exist.
    fn scratch(&self) -> PathBuf;

    /// The target's own record, read without the action, in which an effect that is made twice
    /// shows: a ledger's rows, a file's bytes and its number of versions, a server's count.
    async fn observe(&self) -> Value;

    /// The part of the record that a revert brings back.
    async fn image(&self) -> Value {
        self.observe().await
    }

    /// Where secrets come from.
    fn secrets(&self) -> Arc<dyn SecretSource> {
        Arc::new(SystemSecrets::default())
    }

    /// Values of secrets that the input refers to; no record may hold one.
    fn secret_values(&self) -> Vec<String> {
        Vec::new()
    }

    /// An action that a revert may name; the action under check is found without this.
    fn find(&self, _name: &ActionName) -> Option<&dyn Action> {
        None
    }

    /// Somebody else changes the target now, so that it is no more as it was prepared. False where
    /// the case has no way to.
    async fn interfere(&self) -> bool {
        false
    }

    /// An input for a target that cannot be reached.
    fn unreachable(&self) -> Option<Value> {
        None
    }

    /// An input for a target that takes the request and never answers, as one does at the other end
    /// of a half-open connection, or a command that never ends.
    fn silent(&self) -> Option<Value> {
        None
    }

    /// An input for a target that answers byte by byte, and never comes to an end.
    fn slow(&self) -> Option<Value> {
        None
    }

    /// An input with credentials that the target refuses.
    fn denied(&self) -> Option<Value> {
        None
    }
}

/// What became of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was tried and holds.
    Kept,
    /// It says nothing about this action or this case.
    NotApplicable {
        /// Why.
        why: String,
    },
    /// It was tried and does not hold.
    Broken {
        /// How.
        how: String,
    },
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The check, as a sentence.
    pub check: String,
    /// What became of it.
    pub verdict: Verdict,
}

/// All checks of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The action.
    pub action: ActionName,
    /// The guarantee of its `prepare` for the case.
    pub guarantee: Option<Guarantee>,
    /// The checks.
    pub lines: Vec<Line>,
}

impl Report {
    /// Ends the test unless nothing is broken.
    #[track_caller]
    pub fn assert_kept(&self) {
        let broken = self.lines.iter().any(|line| matches!(line.verdict, Verdict::Broken { .. }));
        assert!(!broken, "{self}");
    }

    /// The same, and the report is the one that is kept beside the crate's tests under the name of
    /// the target; `BACKOUT_BLESS=1` keeps it anew.
    #[track_caller]
    pub fn assert_kept_on(&self, target: &str) {
        self.assert_kept();
        found::assert_same(Suite { target: target.to_owned(), report: self.clone() });
    }

    /// What became of the check whose sentence holds this text.
    pub fn verdict(&self, part: &str) -> Option<&Verdict> {
        self.lines.iter().find(|line| line.check.contains(part)).map(|line| &line.verdict)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guarantee = self.guarantee.map_or("no guarantee seen", Guarantee::word);
        writeln!(f, "{} ({guarantee})", self.action)?;
        for line in &self.lines {
            match &line.verdict {
                Verdict::Kept => writeln!(f, "  kept    {}", line.check)?,
                Verdict::NotApplicable { why } => writeln!(f, "  -       {}: {why}", line.check)?,
                Verdict::Broken { how } => writeln!(f, "  BROKEN  {}: {how}", line.check)?,
            }
        }
        Ok(())
    }
}

/// Runs every check, each on a case of its own.
pub async fn check<C: Case>(fresh: impl AsyncFn() -> C) -> Report {
    let first = fresh().await;
    let action = first.action().manifest().name;
    let guarantee =
        Bench::new(&first).prepare().await.ok().map(|prepared: Arc<Prepared>| prepared.guarantee);
    drop(first);
    let mut lines = Vec::new();
    for (sentence, run) in checks::ALL {
        let case = fresh().await;
        let verdict = match tokio::time::timeout(CHECK_TIMEOUT, run(&Bench::new(&case))).await {
            Ok(Ok(())) => Verdict::Kept,
            Ok(Err(Stop::NotApplicable(why))) => Verdict::NotApplicable { why },
            Ok(Err(Stop::Broken(how))) => Verdict::Broken { how },
            Err(_) => Verdict::Broken { how: format!("no end within {CHECK_TIMEOUT:?}") },
        };
        lines.push(Line { check: (*sentence).to_owned(), verdict });
    }
    Report { action, guarantee, lines }
}

/// Why a check ended before its end.
#[derive(Debug)]
enum Stop {
    NotApplicable(String),
    Broken(String),
}

impl From<String> for Stop {
    fn from(how: String) -> Self {
        Self::Broken(how)
    }
}

/// A check goes on while all is well.
type Checked = Result<(), Stop>;

fn not_applicable<T>(why: &str) -> Result<T, Stop> {
    Err(Stop::NotApplicable(why.to_owned()))
}

/// Goes on if so; else it is broken, and this is how.
fn expect(holds: bool, how: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Stop::Broken(how())) }
}

/// A case on the bench: its verbs, called as the engine calls them, and all that they said.
struct Bench<'a> {
    case: &'a dyn Case,
    said: Arc<Mutex<Vec<u8>>>,
    cancel: CancellationToken,
}

impl<'a> Bench<'a> {
    fn new(case: &'a dyn Case) -> Self {
        Self { case, said: Arc::default(), cancel: CancellationToken::new() }
    }

    fn context(&self, timeout: Duration) -> Context {
        let said = Arc::clone(&self.said);
        Context {
            run: RunId::new("conf0rmance"),
            step: StepId::new("step"),
            attempt: 1,
            epoch: 1,
            timeout,
            cancel: self.cancel.child_token(),
            emit: Arc::new(move |emit| {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                match emit {
                    Emit::Progress(line) => said.extend_from_slice(line.as_bytes()),
                    Emit::Output(bytes) => said.extend_from_slice(&bytes),
                }
            }),
            secrets: self.case.secrets(),
            scratch: self.case.scratch(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            now_ms: now_ms(),
        }
    }

    async fn prepare(&self) -> Result<Arc<Prepared>, Stop> {
        self.prepare_with(self.case.action(), &self.case.input()).await
    }

    async fn prepare_with(
        &self,
        action: &dyn Action,
        input: &Value,
    ) -> Result<Arc<Prepared>, Stop> {
        match action.prepare(&self.context(VERB_TIMEOUT), input).await {
            Ok(prepared) => Ok(Arc::new(prepared)),
            Err(failure) => Err(Stop::Broken(format!("prepare failed: {}", reason(&failure)))),
        }
    }

    /// The calls that make what is not there yet, in the order of their waves.
    fn calls(&self, prepared: &Arc<Prepared>, attempt: u32, dispatch: u32) -> Vec<Call> {
        calls(prepared, &self.case.input(), attempt, dispatch)
    }

    async fn apply(&self, call: &Call) -> Outcome {
        self.case.action().apply(&self.context(VERB_TIMEOUT), call).await
    }

    async fn apply_done(&self, call: &Call) -> Result<Value, Stop> {
        match self.apply(call).await {
            Outcome::Done { output } => Ok(output),
            other => Err(Stop::Broken(format!("apply of {} gave {other:?}", call.key))),
        }
    }

    /// Prepares, and makes everything.
    async fn make_all(&self) -> Result<(Arc<Prepared>, Vec<Call>, Vec<Value>), Stop> {
        let prepared = self.prepare().await?;
        let calls = self.calls(&prepared, 1, 1);
        expect(!calls.is_empty(), || "the case has nothing to make".to_owned())?;
        let mut outputs = Vec::new();
        for call in &calls {
            outputs.push(self.apply_done(call).await?);
        }
        Ok((prepared, calls, outputs))
    }

    fn action_of(&self, name: &ActionName) -> Result<&dyn Action, Stop> {
        if self.case.action().manifest().name == *name {
            return Ok(self.case.action());
        }
        let found = self.case.find(name);
        found.ok_or_else(|| Stop::Broken(format!("the case does not know the action {name}")))
    }
}

/// The calls for what is not satisfied, in the order of their waves. What only reads is called in
/// any case: it can be satisfied from the start.
fn calls(prepared: &Arc<Prepared>, input: &Value, attempt: u32, dispatch: u32) -> Vec<Call> {
    let mut wanted: Vec<_> = prepared
        .effects
        .iter()
        .enumerate()
        .filter(|(_, effect)| {
            effect.satisfied != Satisfied::Yes || prepared.guarantee == Guarantee::ReadOnly
        })
        .map(|(index, effect)| (effect.wave, index))
        .collect();
    wanted.sort_unstable();
    let call = |(_, effect)| Call {
        input: input.clone(),
        prepared: Arc::clone(prepared),
        effect,
        key: key(attempt, effect),
        fence: fence(7, dispatch),
    };
    wanted.into_iter().map(call).collect()
}

fn key(attempt: u32, effect: usize) -> EffectKey {
    EffectKey::new(&RunId::new("conf0rmance"), &StepId::new("step"), attempt, effect)
}

fn fence(token: u64, dispatch: u32) -> Fence {
    Fence { store: "conformance".into(), token: LockToken(token), dispatch }
}

fn reason(failure: &PrepareFailure) -> &str {
    failure.reason()
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Every file under a folder with its bytes, by path.
fn files_under(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_under(&path)),
            Ok(kind) if kind.is_file() => {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.push((path, bytes));
            }
            _ => {}
        }
    }
    found.sort();
    found
}
