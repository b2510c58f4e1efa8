//! One file that comes to be where none is, or goes; once. The names, the mark and the lock are those
//! of a swap, and so is what `settle` says after a crash.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::place::{Mark, MarkState, Places, lock};
use super::target::{Identity, identity};
use super::{
    Deserialize, EffectKey, Faults, Fence, Kind, Outcome, Path, PathBuf, Patience, Point,
    SETTLE_WAIT, Seen, Serialize, Settled, Stamp, Stop, Value, Write, harmless, io, lock_for_apply,
    look, sha256_hex, sync_folder, unclear,
};

/// Who may read a file that is made: its owner and group.
const MODE_DEFAULT: u32 = 0o640;

/// What is to come or to go; part of an action's journaled data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "presence")]
pub enum PresencePlan {
    /// The file is not there, and shall be.
    Make {
        /// Its path, in a canonical folder.
        target: PathBuf,
        /// The SHA-256 of what it shall hold.
        wanted_sha256: String,
    },
    /// The file is there, and shall not be.
    Take {
        /// Its canonical path.
        target: PathBuf,
        /// How it was when it was prepared.
        before: Stamp,
    },
}

/// What a file that is made looks like to others.
#[derive(Clone, Copy, Debug)]
pub struct Guise {
    /// The bits of its mode below `0o777`.
    pub mode: u32,
    /// Its owner and group.
    pub owner: (u32, u32),
}

/// One coming or going under one key.
#[derive(Debug)]
pub struct Presence<'a> {
    /// What is to come or to go.
    pub plan: &'a PresencePlan,
    /// What it is marked with.
    pub key: &'a EffectKey,
    /// What `Done` gives.
    pub output: Value,
    /// How long a held lock is waited for.
    pub patience: &'a Patience,
    /// For tests.
    pub faults: &'a Faults,
}

impl PresencePlan {
    /// The file's path.
    pub fn target(&self) -> &Path {
        match self {
            Self::Make { target, .. } | Self::Take { target, .. } => target,
        }
    }
}

impl Guise {
    /// That of a file which is copied.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self { mode: found.mode() & 0o777, owner: (found.uid(), found.gid()) })
    }

    /// For a file that comes from elsewhere: readable to owner and group, who are the folder's.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn of_folder(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self { mode: MODE_DEFAULT, owner: (found.uid(), found.gid()) })
    }
}

impl Presence<'_> {
    /// Makes the file of `content`, or takes it away; nothing where others changed that meanwhile.
    /// Blocks; call it off the async threads.
    pub fn apply(&self, fence: &Fence, content: Option<(&[u8], Guise)>) -> Outcome {
        match self.try_apply(fence, content) {
            Ok(()) => Outcome::Done { output: self.output.clone() },
            Err(Stop::Refused(reason)) => Outcome::Refused { reason },
            Err(Stop::Unclear(reason)) => Outcome::Unclear { reason },
        }
    }

    /// Says what became of the sendings of this key up to `dispatch`, and seals it where it was not
    /// made. Blocks; call it off the async threads.
    pub fn settle(&self, dispatch: u32) -> Settled {
        match self.try_settle(dispatch) {
            Ok(settled) => settled,
            Err(error) => Settled::Unreachable {
                reason: format!("cannot look at {}: {error}", self.plan.target().display()),
            },
        }
    }

    fn try_apply(&self, fence: &Fence, content: Option<(&[u8], Guise)>) -> Result<(), Stop> {
        let target = self.plan.target();
        let places = Places::of(target, self.key).map_err(harmless("name the mark"))?;
        let mut lock = lock_for_apply(&places, self.patience)?;
        self.faults.pass(Point::Locked)?;
        if self.made_by_an_earlier_sending(&places, fence.dispatch)? {
            return Ok(());
        }
        lock.raise_token(fence)?;
        let moving = match self.plan {
            PresencePlan::Make { wanted_sha256, .. } => {
                self.check_absent()?;
                let (bytes, guise) = content
                    .filter(|(bytes, _)| sha256_hex(bytes) == *wanted_sha256)
                    .ok_or_else(|| {
                        Stop::Refused(
                            "what would be written is not what was prepared; nothing was changed"
                                .to_owned(),
                        )
                    })?;
                places.remove_staged().map_err(harmless("remove what was staged"))?;
                stage(&places.staged, bytes, guise).map_err(harmless("stage the new file"))?
            }
            PresencePlan::Take { before, .. } => self.check_there(before)?,
        };
        self.faults.pass(Point::Staged)?;
        self.mark(&places, fence.dispatch, MarkState::Begun { staged: moving })
            .map_err(harmless("write the mark"))?;
        self.faults.pass(Point::Begun)?;
        self.displace(&places, fence.dispatch)?;
        self.faults.pass(Point::Swapped)?;
        sync_folder(&places.folder).map_err(unclear("sync the folder"))?;
        self.mark(&places, fence.dispatch, MarkState::Done).map_err(unclear("mark it done"))?;
        self.faults.pass(Point::Marked)
    }

    fn check_absent(&self) -> Result<(), Stop> {
        let target = self.plan.target();
        match identity(target).map_err(harmless("look at the target"))? {
            None => Ok(()),
            Some(_) => Err(Stop::Refused(format!(
                "{} was made by somebody else since it was prepared; nothing was changed",
                target.display()
            ))),
        }
    }

    fn check_there(&self, before: &Stamp) -> Result<Identity, Stop> {
        let target = self.plan.target();
        let now = look(target, Kind::File).map_err(harmless("read the target"))?;
        if now.stamp.same_thing(before) {
            return Ok(now.stamp.identity());
        }
        Err(Stop::Refused(format!(
            "{} was changed by somebody else since it was prepared; nothing was changed",
            target.display()
        )))
    }

    /// One rename that replaces nothing.
    fn displace(&self, places: &Places, dispatch: u32) -> Result<(), Stop> {
        let target = self.plan.target();
        match self.plan {
            PresencePlan::Make { .. } => match move_to(&places.staged, target) {
                Err(Errno::EXIST) => {
                    self.mark(places, dispatch, MarkState::Sealed)
                        .map_err(unclear("seal the mark"))?;
                    places.remove_staged().map_err(unclear("remove the staged file"))?;
                    Err(Stop::Refused(format!(
                        "{} was made by somebody else in the last moment; theirs is in place",
                        target.display()
                    )))
                }
                moved => moved.map_err(|error| unclear("put it in place")(error.into())),
            },
            PresencePlan::Take { before, .. } => {
                move_to(target, &places.staged)
                    .map_err(|error| unclear("take it away")(error.into()))?;
                let taken = look(&places.staged, Kind::File).map_err(unclear("look back"))?;
                if taken.stamp.same_thing(before) {
                    return Ok(());
                }
                move_to(&places.staged, target)
                    .map_err(|error| unclear("put it back")(error.into()))?;
                self.mark(places, dispatch, MarkState::Sealed).map_err(unclear("seal the mark"))?;
                Err(Stop::Refused(format!(
                    "{} was changed by somebody else in the last moment; theirs is in place",
                    target.display()
                )))
            }
        }
    }

    fn made_by_an_earlier_sending(&self, places: &Places, dispatch: u32) -> Result<bool, Stop> {
        match places.read_mark(self.key).map_err(harmless("read the mark"))? {
            Some(Mark { state: MarkState::Done, .. }) => Ok(true),
            Some(Mark { state: MarkState::Sealed, dispatch: sealed, .. }) if dispatch <= sealed => {
                Err(Stop::Refused(format!(
                    "sending {dispatch} of {} came after sending {sealed} was settled as not done; \
                     nothing was changed",
                    self.key
                )))
            }
            None | Some(Mark { state: MarkState::Sealed, .. }) => Ok(false),
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

    fn try_settle(&self, dispatch: u32) -> io::Result<Settled> {
        let places = Places::of(self.plan.target(), self.key)?;
        let Some(_lock) = lock(&places.lock, SETTLE_WAIT, self.patience)? else {
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
        let untouched = match self.plan {
            PresencePlan::Make { target, .. } => identity(target)?.is_none(),
            PresencePlan::Take { target, before } => {
                look(target, Kind::File).is_ok_and(|now| now.stamp == *before)
            }
        };
        if untouched {
            return self.seal(places, dispatch);
        }
        Ok(Settled::Unknown {
            evidence: format!(
                "{} was touched since it was prepared; there is no mark {}",
                self.plan.target().display(),
                places.mark.display()
            ),
        })
    }

    /// Where the file that the mark names is now.
    fn seen_after_begun(&self, places: &Places, moved: Identity) -> io::Result<Seen> {
        let target = self.plan.target();
        let (from, to) = match self.plan {
            PresencePlan::Make { .. } => (places.staged.as_path(), target),
            PresencePlan::Take { .. } => (target, places.staged.as_path()),
        };
        if identity(to)? == Some(moved) {
            return Ok(Seen::Swapped);
        }
        if identity(from)? == Some(moved) {
            return Ok(Seen::NotSwapped);
        }
        let what = "the mark says that it began, but the file is in neither place";
        Ok(Seen::Odd(format!("{}: {what}", target.display())))
    }

    fn seal(&self, places: &Places, dispatch: u32) -> io::Result<Settled> {
        self.mark(places, dispatch, MarkState::Sealed)?;
        if matches!(self.plan, PresencePlan::Make { .. }) {
            places.remove_staged()?;
        }
        Ok(Settled::NotDone)
    }

    fn mark(&self, places: &Places, dispatch: u32, state: MarkState) -> io::Result<()> {
        places.write_mark(&Mark { key: self.key.clone(), dispatch, state })
    }

    fn done(&self) -> Settled {
        Settled::Done { output: self.output.clone() }
    }
}

fn move_to(from: &Path, to: &Path) -> Result<(), Errno> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
}

/// The new file, durable, under its hidden name.
fn stage(path: &Path, content: &[u8], guise: Guise) -> io::Result<Identity> {
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create_new(true).mode(guise.mode).open(path)?;
    file.write_all(content)?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != guise.owner {
        fchown(&file, Some(guise.owner.0), Some(guise.owner.1))?;
    }
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(guise.mode))?;
    file.sync_all()?;
    identity(path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}
