//! What stands in the scratch folder of one sending, for an action that has no record but its own: its
//! claim, and what came of it.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::claim::{Claim, Claimant, Claimed, Take, folder_name};
use crate::{Context, EffectKey};

const SENT: &str = "sent.json";

/// The folder of one sending, of which `T` came.
#[derive(Clone, Debug)]
pub struct Kept<T> {
    dir: PathBuf,
    came: PhantomData<T>,
}

/// What a folder says.
#[derive(Clone, Debug, PartialEq)]
pub enum Look<T> {
    /// Nobody has it.
    Unclaimed,
    /// It was sealed: it is never sent.
    Sealed,
    /// This came of it.
    Came(T),
    /// It was sent, or was about to be, and what came of it was not kept.
    Open,
}

impl<T: Serialize + DeserializeOwned> Kept<T> {
    /// The folder of a sending, among those of its plugin.
    pub fn of(ctx: &Context, plugin: &str, key: &EffectKey, dispatch: u32) -> Self {
        Self { dir: ctx.scratch.join(plugin).join(folder_name(key, dispatch)), came: PhantomData }
    }

    /// Takes the claim for a sending.
    ///
    /// # Errors
    /// The disk's.
    pub async fn claim(&self, ctx: &Context) -> io::Result<Take> {
        take(self.dir.clone(), Claimed::sender(ctx.now_ms, Value::Null)).await
    }

    /// What it says once nobody can send it any more, or it was sent.
    ///
    /// # Errors
    /// The disk's.
    pub async fn look_or_seal(&self, ctx: &Context) -> io::Result<Look<T>> {
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
    ///
    /// # Errors
    /// The disk's.
    pub async fn first_settled_ms(&self, ctx: &Context) -> io::Result<i64> {
        match take(self.dir.join("settled"), Claimed::seal(ctx.now_ms)).await? {
            Take::Ours => Ok(ctx.now_ms),
            Take::Theirs(claimed) => Ok(claimed.at_ms),
        }
    }

    /// Keeps what came of it. Not synchronised: it serves the next engine after this one is killed;
    /// after a power cut the sending is settled without it.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, came: &T) -> io::Result<()> {
        let temporary = self.dir.join(".sent.json");
        fs::write(&temporary, serde_json::to_vec(came)?)?;
        fs::rename(&temporary, self.dir.join(SENT))
    }

    /// What it says.
    ///
    /// # Errors
    /// The disk's.
    pub fn look(&self) -> io::Result<Look<T>> {
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
