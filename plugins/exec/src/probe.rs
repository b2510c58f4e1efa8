//! The author's probe: a command that tells whether the effect is made.

use std::time::Duration;

use backout_plugin_api::{Context, EffectKey};

use crate::direct::{self, Show};
use crate::environment::environment;
use crate::input::Input;
use crate::record::{Folder, How};

/// How long a probe waits for what the command started to be gone, before it asks: the shim itself
/// needs a moment to end after its last record.
const OVER_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at that.
const OVER_POLL: Duration = Duration::from_millis(10);

/// What a probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    NotDone,
    /// It was asked and does not tell.
    Unknown(String),
    /// It could not be asked.
    NotAsked(String),
}

/// Asks the probe.
pub(crate) async fn ask(
    ctx: &Context,
    key: &EffectKey,
    input: &Input,
    settle: &[String],
) -> Answer {
    let environment = match environment(ctx, key, input).await {
        Ok(environment) => environment,
        Err(error) => return Answer::NotAsked(error.to_string()),
    };
    let ran = direct::run(ctx, settle, input.cwd.as_deref(), &environment, Show::No).await;
    match ran.map(|exit| (exit.how.clone(), exit)) {
        Ok((How::Status(0), _)) => Answer::Done,
        Ok((How::Status(1), _)) => Answer::NotDone,
        Ok((How::Status(_) | How::Signal(_), exit)) => {
            Answer::Unknown(format!("asked by the settle command: {}", exit.says()))
        }
        Ok((How::Ended(_) | How::NeverBegan(_), exit)) => {
            Answer::NotAsked(format!("the settle command gave no answer: {}", exit.says()))
        }
        Err(reason) => Answer::NotAsked(format!("the settle command: {reason}")),
    }
}

/// Whether all that a sending started is over, or is so within a moment.
pub(crate) async fn wait_until_over(folder: &Folder) -> bool {
    let is_over = async {
        while !folder.is_over().unwrap_or(false) {
            tokio::time::sleep(OVER_POLL).await;
        }
    };
    tokio::time::timeout(OVER_WAIT, is_over).await.is_ok()
}
