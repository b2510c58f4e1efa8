//! Exit codes, which are part of the interface, and the failures that lead to them.

use std::process::ExitCode;

use backout_runtime::EngineError;
use backout_server::client::ClientError;
use backout_store::journal::StoreError;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked is done.
    Done,
    /// The run failed, was aborted or was undone; or what was checked does not hold.
    RunFailed,
    /// The command line is wrong, or what it asks is not possible now.
    Usage,
    /// The runbook has problems.
    InvalidRunbook,
    /// The run waits for a person.
    Waiting,
    /// There is no such run.
    NoSuchRun,
    /// The store is locked or cannot be used, or the engine is unreachable.
    Unreachable,
    /// `ready`: something would be refused.
    Refused,
    /// `ready`: something could not be looked at.
    NotSeen,
    /// A mistake in this program.
    Internal,
}

impl Exit {
    /// Every way to end, for the reference page.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 10] = [
        Self::Done,
        Self::RunFailed,
        Self::Usage,
        Self::InvalidRunbook,
        Self::Waiting,
        Self::NoSuchRun,
        Self::Unreachable,
        Self::Refused,
        Self::NotSeen,
        Self::Internal,
    ];

    /// The process's exit code.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::RunFailed => 1,
            Self::Usage => 2,
            Self::InvalidRunbook => 3,
            Self::Waiting => 4,
            Self::NoSuchRun => 5,
            Self::Unreachable => 6,
            Self::Refused => 7,
            Self::NotSeen => 8,
            Self::Internal => 70,
        }
    }

    /// What it means, for the reference page.
    #[cfg(test)]
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::RunFailed => {
                "the run failed, was aborted or undone; `verify`: the record is damaged"
            }
            Self::Usage => "wrong usage, or what was asked is not possible now",
            Self::InvalidRunbook => "the runbook is not valid",
            Self::Waiting => "the run waits for a person",
            Self::NoSuchRun => "there is no such run",
            Self::Unreachable => {
                "the store is locked or cannot be used, or its engine does not answer"
            }
            Self::Refused => "`ready`: something would be refused",
            Self::NotSeen => "`ready`: something could not be looked at",
            Self::Internal => "a mistake in backout itself",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not end as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type instead.
        help: Option<String>,
    },
    /// The runbook has problems; they were shown already.
    #[error("{count} in {file}")]
    InvalidRunbook {
        /// `2 problems`.
        count: String,
        /// The file.
        file: String,
    },
    /// No run has that name.
    #[error("{message}")]
    NoSuchRun {
        /// What was looked for, and where.
        message: String,
        /// What to type to see what there is.
        help: Option<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked needs the store for itself, and another process owns it.
    #[error("this needs the store for itself, and process {pid} owns it since {since}")]
    NeedsStore {
        /// Its process id.
        pid: u32,
        /// When it opened the store, RFC 3339.
        since: String,
    },
    /// The engine in this process said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine that owns the store said no, or does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file could not be read or written.
    #[error("{what}: {why}")]
    File {
        /// What was tried, on which path.
        what: String,
        /// What the system said.
        why: String,
    },
    /// Whoever read our output went away: no failure of ours, and nothing to say.
    #[error("the reader of the output is gone")]
    BrokenPipe,
    /// A mistake in this program.
    #[error("internal: {0}")]
    Internal(String),
}

impl Failure {
    /// A usage failure with something to type.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// A file that could not be read or written.
    pub(crate) fn file(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::File { what: what.into(), why: why.to_string() }
    }

    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::File { .. } => Exit::Usage,
            Self::InvalidRunbook { .. } => Exit::InvalidRunbook,
            Self::NoSuchRun { .. } => Exit::NoSuchRun,
            Self::NeedsStore { .. } => Exit::Unreachable,
            Self::Store(error) => store_exit(error),
            Self::Engine(error) => engine_exit(error),
            Self::Client(error) => client_exit(error),
            Self::BrokenPipe => Exit::Done,
            Self::Internal(_) => Exit::Internal,
        }
    }

    /// What to type next, where that is known.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Usage { help, .. }
            | Self::NoSuchRun { help, .. }
            | Self::Engine(EngineError::Rejected { help, .. }) => help.clone(),
            Self::Client(ClientError::Problem(problem)) => problem.help.clone(),
            Self::NeedsStore { .. } => {
                Some("nothing was changed; try again when that process has ended".to_owned())
            }
            Self::Store(StoreError::Owned { .. }) => {
                Some("reading works meanwhile: `backout status`, `backout by-hand RUN`".to_owned())
            }
            Self::Store(StoreError::Damaged { .. }) => Some(
                "`backout verify` lists all damage; `backout by-hand RUN` shows what is readable"
                    .to_owned(),
            ),
            Self::Store(_)
            | Self::Engine(_)
            | Self::Client(_)
            | Self::InvalidRunbook { .. }
            | Self::File { .. }
            | Self::BrokenPipe
            | Self::Internal(_) => None,
        }
    }
}

fn store_exit(error: &StoreError) -> Exit {
    match error {
        StoreError::NoSuchRun(_) => Exit::NoSuchRun,
        StoreError::Owned { .. }
        | StoreError::Damaged { .. }
        | StoreError::Newer { .. }
        | StoreError::Io { .. } => Exit::Unreachable,
    }
}

fn engine_exit(error: &EngineError) -> Exit {
    match error {
        EngineError::Rejected { .. } | EngineError::Changed { .. } => Exit::Usage,
        EngineError::Store(error) => store_exit(error),
        EngineError::Unreadable { .. } | EngineError::Stopped { .. } => Exit::Unreachable,
    }
}

fn client_exit(error: &ClientError) -> Exit {
    match error {
        ClientError::Problem(problem) if problem.is_no_such_run() => Exit::NoSuchRun,
        ClientError::Problem(problem) if problem.status < 500 => Exit::Usage,
        ClientError::Problem(_)
        | ClientError::Unreachable { .. }
        | ClientError::Unreadable { .. } => Exit::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_scripts_rely_on() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 70]);
    }
}
