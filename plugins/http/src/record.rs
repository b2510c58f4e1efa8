//! What stands in the folder of one sending: its claim, and what came of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use backout_plugin_api::{Claim, Claimant, Claimed, Context, EffectKey, Take, folder_name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::Sent;

const SENT: &str = "sent.json";

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
    Came(Came),
    /// It was sent, or was about to be, and what came of it was not kept.
    Open,
}

/// What came of a sending, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Came {
    /// When it was over, milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) sent: Sent,
}

impl Folder {
    pub(crate) fn of(ctx: &Context, key: &EffectKey, dispatch: u32) -> Self {
        Self { dir: ctx.scratch.join("http").join(folder_name(key, dispatch)) }
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

    /// When an open sending was first looked at by one who settles, milliseconds since 1970. By
    /// then its sender was gone, so no byte of it was sent later.
    pub(crate) async fn first_settled_ms(&self, ctx: &Context) -> io::Result<i64> {
        match take(self.dir.join("settled"), Claimed::seal(ctx.now_ms)).await? {
            Take::Ours => Ok(ctx.now_ms),
            Take::Theirs(claimed) => Ok(claimed.at_ms),
        }
    }

    /// Keeps what came of it. Not synchronised: it serves the next engine after this one is killed;
    /// after a power cut the sending is settled without it.
    pub(crate) fn keep(&self, came: &Came) -> io::Result<()> {
        let temporary = self.dir.join(".sent.json");
        fs::write(&temporary, serde_json::to_vec(came)?)?;
        fs::rename(&temporary, self.dir.join(SENT))
    }

    pub(crate) fn look(&self) -> io::Result<Look> {
        let Some(claimed) = Claim::at(&self.dir).read()? else { return Ok(Look::Unclaimed) };
        if claimed.by == Claimant::Seal {
            return Ok(Look::Sealed);
        }
        // A record that a power cut tore is none.
        let came = fs::read(self.dir.join(SENT)).ok();
        let came = came.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(came.map_or(Look::Open, Look::Came))
    }
}

/// Takes a claim, on a thread that may wait for the disk.
async fn take(dir: PathBuf, wanted: Claimed) -> io::Result<Take> {
    let taking = tokio::task::spawn_blocking(move || Claim::at(dir).take(&wanted));
    taking.await.map_err(io::Error::other)?
}
