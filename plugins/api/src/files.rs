//! One file or symlink swapped for another, once: shared by the actions that work on files.
//!
//! Everything of ours stands beside the target, in its folder, under names that start with a dot:
//!
//! | name | what it is |
//! |---|---|
//! | `.NAME.backout-lock` | the advisory lock (`flock`); holds the highest lock token per store |
//! | `.NAME.backout-HASH` | before the swap what is wanted, after it what was displaced |
//! | `.NAME.backout-HASH.old` | what is displaced, where two names cannot be exchanged or should not be |
//! | `.NAME.backout-HASH.mark` | what became of this key: `begun`, `done` or `sealed` |
//!
//! `HASH` is the start of the SHA-256 of the effect's key. The mark `begun` is durable before the
//! swap and names the inode of the staged file. The swap moves that inode away from its name in
//! one atomic step, so afterwards the name alone tells whether the swap happened:
//!
//! | a crash | leaves | `settle` says |
//! |---|---|---|
//! | before the mark | target untouched (inode, change time, content) | `NotDone`, sealed |
//! | before the mark, and others changed the target since | no mark | `Unknown` |
//! | after `begun`, before the swap | the staged inode under its own name | `NotDone`, sealed |
//! | after the swap | another inode, or none, under that name | `Done` |
//! | after the swap of a target that others changed in the last moment | their content, displaced | `Unknown`, with the command that puts theirs back |
//! | after `done` | the mark | `Done` |
//!
//! A sending that comes late finds the seal under the same lock and is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backout_core::contract::{Outcome, Settled, hex};
use backout_core::id::{EffectKey, Fence};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::Context;

mod place;
mod presence;
mod target;
mod tidy;

pub use presence::{Guise, Presence, PresencePlan};
pub use target::{Kind, Look, Stamp, look};
pub use tidy::tidy;

use place::{Mark, MarkState, Places};
use target::{Identity, exchange, stage, sync_folder};

/// Bytes of a file that may be swapped: it is held in memory twice, and nobody edits more by hand.
pub const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How long a verb waits for the lock file before it says who may hold it: a swap takes
/// milliseconds, so a longer hold is a process that hangs.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long `settle` waits for the lock file before it answers that an earlier sending still runs.
pub const SETTLE_WAIT: Duration = Duration::from_millis(500);
/// How often a held lock is tried again.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Lower-case hex of the SHA-256 of some bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// What is to be swapped; part of an action's journaled data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapPlan {
    /// The target's canonical path (of a symlink: its own, not what it points at).
    pub target: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// How it was when it was prepared.
    pub before: Stamp,
    /// The SHA-256 of what is wanted.
    pub wanted_sha256: String,
}

/// Where a test stops or disturbs a verb. In production none is set.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<dyn Fn(Point) -> bool + Send + Sync>>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.is_some()).finish()
    }
}

impl Faults {
    /// Asked after each sub-step; true stops the verb there, as a crash would.
    pub fn at(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(fault)))
    }

    fn pass(&self, point: Point) -> Result<(), Stop> {
        match &self.0 {
            Some(fault) if fault(point) => {
                Err(Stop::Unclear(format!("stopped by a test after `{point:?}`")))
            }
            _ => Ok(()),
        }
    }
}

/// The sub-steps of a swap, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The lock is held, the precondition not checked yet.
    Locked,
    /// What is wanted is written and synced beside the target.
    Staged,
    /// The mark `begun` is durable.
    Begun,
    /// The names are exchanged; nothing is synced.
    Swapped,
    /// The mark `done` is durable.
    Marked,
}

impl Point {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Locked, Self::Staged, Self::Begun, Self::Swapped, Self::Marked];
}

/// How the names are exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `renameat2(RENAME_EXCHANGE)`, and where the file system has none, [`Method::LinkRename`].
    #[default]
    Exchange,
    /// A hard link to the target, then a rename over it, and of what was displaced a copy is kept.
    /// An editor who replaces the target between the two is overwritten; with `Exchange` that cannot
    /// happen. For a file whose reader watches the file and not its folder: it hears that what it
    /// watches is gone, where a file that was moved away would leave it deaf.
    LinkRename,
}

/// One swap under one key.
#[derive(Debug)]
pub struct Swap<'a> {
    /// What is to be swapped.
    pub plan: &'a SwapPlan,
    /// What it is marked with.
    pub key: &'a EffectKey,
    /// What `Done` gives.
    pub output: Value,
    /// How long a held lock is waited for.
    pub patience: &'a Patience,
    /// How the names are exchanged.
    pub method: Method,
    /// For tests.
    pub faults: &'a Faults,
}

/// How long a verb may wait for the lock file: the shortest of its own limit, the verb's timeout,
/// and a cancel.
#[derive(Clone, Debug)]
pub struct Patience {
    timeout: Duration,
    cancel: CancellationToken,
}

impl Patience {
    /// As a verb's context says.
    pub fn of(ctx: &Context) -> Self {
        Self { timeout: ctx.timeout, cancel: ctx.cancel.clone() }
    }
}

enum Stop {
    Refused(String),
    Unclear(String),
}

/// Nothing is at the target yet, so a failure proves that nothing was made.
fn harmless(what: &'static str) -> impl Fn(io::Error) -> Stop {
    move |error| Stop::Refused(format!("cannot {what}: {error}; nothing was changed"))
}

/// The target may be swapped already.
fn unclear(what: &'static str) -> impl Fn(io::Error) -> Stop {
    move |error| Stop::Unclear(format!("cannot {what}: {error}"))
}

impl Swap<'_> {
    /// Puts `wanted(before)` in the target's place, unless the target is no longer as prepared.
    /// Blocks; call it off the async threads.
    pub fn apply(
        &self,
        fence: &Fence,
        wanted: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Outcome {
        match self.try_apply(fence, wanted) {
            Ok(()) => Outcome::Done { output: self.output.clone() },
            Err(Stop::Refused(reason)) => Outcome::Refused { reason },
            Err(Stop::Unclear(reason)) => Outcome::Unclear { reason },
        }
    }

    /// Says what became of the sendings of this key up to `dispatch`, and seals it where it was
    /// not made. Blocks; call it off the async threads.
    pub fn settle(&self, dispatch: u32) -> Settled {
        match self.try_settle(dispatch) {
            Ok(settled) => settled,
            Err(error) => Settled::Unreachable {
                reason: format!("cannot look at {}: {error}", self.plan.target.display()),
            },
        }
    }

    fn try_apply(
        &self,
        fence: &Fence,
        wanted: impl FnOnce(&[u8]) -> Result<Vec<u8>, String>,
    ) -> Result<(), Stop> {
        let places = Places::of(&self.plan.target, self.key).map_err(harmless("name the mark"))?;
        let mut lock = lock_for_apply(&places, self.patience)?;
        self.faults.pass(Point::Locked)?;
        if self.made_by_an_earlier_sending(&places, fence.dispatch)? {
            return Ok(());
        }
        lock.raise_token(fence)?;
        let now = look(&self.plan.target, self.plan.kind).map_err(harmless("read the target"))?;
        self.check_precondition(&now.stamp)?;
        let bytes = wanted(&now.content).map_err(Stop::Refused)?;
        if sha256_hex(&bytes) != self.plan.wanted_sha256 {
            return Err(Stop::Refused(
                "what would be written is not what was prepared; nothing was changed".to_owned(),
            ));
        }
        places.remove_staged().map_err(harmless("remove what an earlier sending staged"))?;
        let staged = stage(&places.staged, &bytes, &now).map_err(harmless("stage the new file"))?;
        self.faults.pass(Point::Staged)?;
        self.mark(&places, fence.dispatch, MarkState::Begun { staged })
            .map_err(harmless("write the mark"))?;
        self.faults.pass(Point::Begun)?;
        self.swap(&places)?;
        self.faults.pass(Point::Swapped)?;
        self.check_displaced(&places, staged, fence.dispatch)?;
        self.mark(&places, fence.dispatch, MarkState::Done).map_err(unclear("mark it done"))?;
        self.faults.pass(Point::Marked)
    }

    /// True where it is made already; an error where this sending came too late.
    fn made_by_an_earlier_sending(&self, places: &Places, dispatch: u32) -> Result<bool, Stop> {
        let mark = places.read_mark(self.key).map_err(harmless("read the mark"))?;
        match mark {
            None => Ok(false),
            Some(Mark { state: MarkState::Done, .. }) => Ok(true),
            Some(Mark { state: MarkState::Sealed, dispatch: sealed, .. }) => {
                if dispatch <= sealed {
                    Err(Stop::Refused(format!(
                        "sending {dispatch} of {} came after sending {sealed} was settled as not \
                         done; nothing was changed",
                        self.key
                    )))
                } else {
                    Ok(false)
                }
            }
            Some(Mark { state: MarkState::Begun { staged }, .. }) => {
                match self.seen_after_begun(places, staged).map_err(unclear("look again"))? {
                    Seen::NotSwapped => Ok(false),
                    Seen::Swapped => {
                        self.mark(places, dispatch, MarkState::Done)
                            .map_err(unclear("mark it done"))?;
                        Ok(true)
                    }
                    Seen::Odd(evidence) => Err(Stop::Unclear(evidence)),
                }
            }
        }
    }

    fn check_precondition(&self, now: &Stamp) -> Result<(), Stop> {
        if now.same_thing(&self.plan.before) {
            return Ok(());
        }
        let what = if now.sha256 == self.plan.before.sha256 {
            "was replaced by another file of the same content"
        } else {
            "was changed by somebody else"
        };
        Err(Stop::Refused(format!(
            "{} {what} since it was prepared; nothing was changed",
            self.plan.target.display()
        )))
    }

    fn swap(&self, places: &Places) -> Result<(), Stop> {
        exchange(places, &self.plan.target, self.method).map_err(unclear("swap the target"))
    }

    /// What was displaced must be what was prepared: else somebody changed it between the check
    /// and the swap, and gets it back.
    fn check_displaced(
        &self,
        places: &Places,
        staged: Identity,
        dispatch: u32,
    ) -> Result<(), Stop> {
        sync_folder(&places.folder).map_err(unclear("sync the folder"))?;
        let displaced = look(places.displaced(), self.plan.kind).map_err(unclear("look back"))?;
        if displaced.stamp.same_thing(&self.plan.before) {
            return places.keep_copy(self.plan.kind).map_err(unclear("keep what was displaced"));
        }
        places.keep_aside().map_err(unclear("keep what was displaced"))?;
        self.swap(places)?;
        places.keep_aside().map_err(unclear("look back"))?;
        sync_folder(&places.folder).map_err(unclear("sync the folder"))?;
        let ours = look(&places.staged, self.plan.kind).map_err(unclear("look back"))?;
        if ours.stamp.identity() != staged || ours.stamp.sha256 != self.plan.wanted_sha256 {
            return Err(Stop::Unclear(format!(
                "two others changed {} at once; the later content is kept as {}",
                self.plan.target.display(),
                places.staged.display()
            )));
        }
        self.mark(places, dispatch, MarkState::Sealed).map_err(unclear("seal the mark"))?;
        places.remove_staged().map_err(unclear("remove the staged file"))?;
        Err(Stop::Refused(format!(
            "{} was changed by somebody else in the last moment; theirs is in place",
            self.plan.target.display()
        )))
    }

    fn try_settle(&self, dispatch: u32) -> io::Result<Settled> {
        let places = Places::of(&self.plan.target, self.key)?;
        let Some(_lock) = place::lock(&places.lock, SETTLE_WAIT, self.patience)? else {
            return Ok(Settled::Running {
                evidence: format!("{} is held by another process", places.lock.display()),
            });
        };
        match places.read_mark(self.key)? {
            None => self.settle_unmarked(&places, dispatch),
            Some(Mark { state: MarkState::Done, .. }) => Ok(self.done()),
            Some(Mark { state: MarkState::Sealed, dispatch: sealed, .. }) => {
                self.seal(&places, dispatch.max(sealed))
            }
            Some(Mark { state: MarkState::Begun { staged }, .. }) => {
                match self.seen_after_begun(&places, staged)? {
                    Seen::NotSwapped => self.seal(&places, dispatch),
                    Seen::Swapped => {
                        sync_folder(&places.folder)?;
                        self.mark(&places, dispatch, MarkState::Done)?;
                        Ok(self.done())
                    }
                    Seen::Odd(evidence) => Ok(Settled::Unknown { evidence }),
                }
            }
        }
    }

    fn settle_unmarked(&self, places: &Places, dispatch: u32) -> io::Result<Settled> {
        let now = match look(&self.plan.target, self.plan.kind) {
            Ok(now) => now.stamp,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let evidence = format!("{} is gone", self.plan.target.display());
                return Ok(Settled::Unknown { evidence });
            }
            Err(error) => return Err(error),
        };
        if now == self.plan.before {
            return self.seal(places, dispatch);
        }
        let content = match &now.sha256 {
            sha if *sha == self.plan.before.sha256 => "the content from before, written again",
            sha if *sha == self.plan.wanted_sha256 => "the wanted content, not swapped in by us",
            _ => "neither the content from before nor the wanted one",
        };
        Ok(Settled::Unknown {
            evidence: format!(
                "{} was touched since it was prepared and holds {content}; there is no mark {}",
                self.plan.target.display(),
                places.mark.display()
            ),
        })
    }

    fn seen_after_begun(&self, places: &Places, staged: Identity) -> io::Result<Seen> {
        match target::identity(&places.staged)? {
            Some(there) if there == staged => Ok(Seen::NotSwapped),
            Some(_) => self.seen_displaced(places),
            None if target::identity(&self.plan.target)? == Some(staged) => {
                self.seen_displaced(places)
            }
            None => Ok(Seen::Odd(format!(
                "the mark says that the swap of {} began, but {} is gone",
                self.plan.target.display(),
                places.staged.display()
            ))),
        }
    }

    fn seen_displaced(&self, places: &Places) -> io::Result<Seen> {
        let displaced = places.displaced();
        let there = match look(displaced, self.plan.kind) {
            Ok(there) => there,
            // What was swapped in is in place, and nobody needs what was there any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::Swapped),
            Err(error) => return Err(error),
        };
        // A copy is as good: it has their last word, and nothing of theirs is lost.
        if there.stamp.sha256 == self.plan.before.sha256 {
            places.keep_copy(self.plan.kind)?;
            return Ok(Seen::Swapped);
        }
        Ok(Seen::Odd(format!(
            "the swap of {target} displaced a change that somebody made in the last moment; it is \
             kept as {kept}; `mv {kept} {target}` puts theirs back",
            target = self.plan.target.display(),
            kept = displaced.display()
        )))
    }

    fn seal(&self, places: &Places, dispatch: u32) -> io::Result<Settled> {
        self.mark(places, dispatch, MarkState::Sealed)?;
        places.remove_staged()?;
        Ok(Settled::NotDone)
    }

    fn mark(&self, places: &Places, dispatch: u32, state: MarkState) -> io::Result<()> {
        places.write_mark(&Mark { key: self.key.clone(), dispatch, state })
    }

    fn done(&self) -> Settled {
        Settled::Done { output: self.output.clone() }
    }
}

fn lock_for_apply(places: &Places, patience: &Patience) -> Result<place::Lock, Stop> {
    let held =
        place::lock(&places.lock, LOCK_WAIT, patience).map_err(harmless("lock the target"))?;
    held.ok_or_else(|| {
        Stop::Refused(format!(
            "{} is held by another process (`fuser -v` on it names it); nothing was changed",
            places.lock.display()
        ))
    })
}

/// What the folder shows after a mark `begun`.
enum Seen {
    NotSwapped,
    Swapped,
    Odd(String),
}

/// The displaced file or link that the swap of this key keeps.
pub fn displaced_path(target: &Path, key: &EffectKey) -> io::Result<PathBuf> {
    Places::of(target, key).map(|places| places.staged)
}
