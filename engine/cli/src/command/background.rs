//! `run --detach`: a run under an engine in the background, which ends with its runs.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backout_core::id::RunId;
use backout_runtime::Start;
use backout_server::client::Client;
use backout_server::wire::{By, StartRequest};

use super::follow::{GRACE_MS, Signals};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::reach::Reach;

/// How long the engine in the background may take until it answers.
const BEGINS_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it waits for its first run, and after the last one for another.
const IDLE: Duration = Duration::from_secs(5);
/// What it says, in the store's folder.
const LOG_FILE: &str = "background.log";

/// Starts a run under the engine that owns the store, or one in the background that then does.
pub(crate) fn start(
    app: &App,
    folder: &Path,
    run: &RunId,
    start: Start,
    by: By,
) -> Result<Exit, Failure> {
    let name = start.plan.name.clone();
    let pid = app.block_on(async {
        let (client, pid) = match Client::find(folder).await? {
            Some((client, owner)) => (client, owner.pid),
            None => begin(folder).await?,
        };
        let Start { plan, text, part, continues } = start;
        let request = StartRequest { run: run.clone(), plan, text, part, continues, by };
        client.start(&request).await?;
        Ok(pid)
    })?;
    app.ui.data(&format!("run {run} of {name}"))?;
    app.ui.say(&format!(
        "process {pid} drives it, also after you log out\nto see it: backout status {run}"
    ));
    Ok(Exit::Done)
}

async fn begin(folder: &Path) -> Result<(Client, u32), Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::file(what.to_owned(), error);
    std::fs::create_dir_all(folder).map_err(|error| failed("the store's folder", error))?;
    let log = folder.join(LOG_FILE);
    let log = File::options().create(true).append(true).open(&log);
    let log = log.map_err(|error| failed("the background engine's log", error))?;
    let own = std::env::current_exe().map_err(|error| failed("this program's own file", error))?;
    let errors = log.try_clone().map_err(|error| failed("the background engine's log", error))?;
    let mut child = Command::new(own)
        .arg("--store")
        .arg(folder)
        .arg("background")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed("starting the background engine", error))?;
    let deadline = Instant::now() + BEGINS_WITHIN;
    loop {
        match Client::find(folder).await {
            Ok(Some((client, owner))) => return Ok((client, owner.pid)),
            Ok(None) | Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(None) => break,
            Err(error) => return Err(error.into()),
        }
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
    }
    let place = folder.join(LOG_FILE);
    Err(Failure::usage(
        "the background engine did not begin; nothing was started",
        format!("see {}, or run without --detach", place.display()),
    ))
}

/// The engine itself: a session of its own, so that no terminal's end reaches it.
pub(crate) fn run(app: &App) -> Result<Exit, Failure> {
    // Where it leads a session already, as under a service manager, that is as good.
    let _ = rustix::process::setsid().is_ok();
    let folder = app.store()?;
    app.block_on(async {
        let reach = Reach::open(&app.ui, &folder, app.host()).await?;
        let mut signals = Signals::new()?;
        let why = tokio::select! {
            why = signals.next() => why.words(),
            () = idle(&reach) => "no run is left",
        };
        reach.close(why, GRACE_MS).await;
        Ok(Exit::Done)
    })
}

/// Waits until it has driven nothing for a while.
async fn idle(reach: &Reach) {
    let mut since = Instant::now();
    while since.elapsed() < IDLE {
        tokio::time::sleep(PAUSE).await;
        if reach.drives() {
            since = Instant::now();
        }
    }
}
