//! What stands in the folder of one sending: its claim, and what came of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use backout_plugin_api::{Claim, Claimant, Claimed, Context, EffectKey, Take, folder_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const SENT: &str = "sent.json";

/// What came of a sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sent {
    /// The receiver took it.
    Taken(String),
    /// Proven: it did not.
    Not(String),
    /// The receiver says that it never will.
    Wrong(String),
    /// Nobody knows.
    NoAnswer(String),
}

/// The folder of one sending.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
}

/// What a folder says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Look {
    /// Nobody has it.
    Unclaimed,
    /// It was sealed: it is never sent.
    Sealed,
    /// This came of it.
    Came(Sent),
    /// It was sent, or was about to be, and what came of it was not kept.
    Open,
}

impl Folder {
    pub(crate) fn of(ctx: &Context, key: &EffectKey, dispatch: u32) -> Self {
        Self { dir: ctx.scratch.join("notify").join(folder_name(key, dispatch)) }
    }

    /// Takes the claim for a sending.
    pub(crate) async fn claim(&self, ctx: &Context) -> io::Result<Take> {
        take(self.dir.clone(), Claimed::sender(ctx.now_ms, Value::Null)).await
    }

    /// What it says once nobody can send it any more, or it was sent.
    pub(crate) async fn look_or_seal(&self, ctx: &Context) -> io::Result<Look> {
        match self.look()? {
            Look::Unclaimed => match take(self.dir.clone(), Claimed::seal(ctx.now_ms)).await? {
                Take::Ours => Ok(Look::Sealed),
                Take::Theirs(_) => self.look(),
            },
            look => Ok(look),
        }
    }

    /// Keeps what came of it. Not synchronised: it serves the next engine after this one is killed;
    /// after a power cut the sending is settled without it.
    pub(crate) fn keep(&self, sent: &Sent) -> io::Result<()> {
        let temporary = self.dir.join(".sent.json");
        fs::write(&temporary, serde_json::to_vec(sent)?)?;
        fs::rename(&temporary, self.dir.join(SENT))
    }

    pub(crate) fn look(&self) -> io::Result<Look> {
        let Some(claimed) = Claim::at(&self.dir).read()? else { return Ok(Look::Unclaimed) };
        if claimed.by == Claimant::Seal {
            return Ok(Look::Sealed);
        }
        // A record that a power cut tore is none.
        let sent = fs::read(self.dir.join(SENT)).ok();
        let sent = sent.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(sent.map_or(Look::Open, Look::Came))
    }
}

/// Takes a claim, on a thread that may wait for the disk.
async fn take(dir: PathBuf, wanted: Claimed) -> io::Result<Take> {
    let taking = tokio::task::spawn_blocking(move || Claim::at(dir).take(&wanted));
    taking.await.map_err(io::Error::other)?
}
