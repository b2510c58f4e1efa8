//! A small real deployment in a folder: rolled back by a child engine that is killed half way,
//! resumed by a second one, and then asked what really happened to it.

mod engine;
mod proof;
pub(crate) mod service;
mod shop;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};

use crate::app::App;
use crate::command::follow::Signals;
use crate::exit::{Exit, Failure};
use crate::ui::Ui;
use crate::view::style::{BOLD, DIM, TROUBLE, WARN, paint};
use engine::Engine;
use shop::{FROM, Shop, TO};

/// The runbook that is run, as it stands in the repository.
const RUNBOOK: &str = include_str!("../../../../runbooks/rollback.ron");
/// The step in the middle of which the engine is killed.
const KILLED_IN: &str = "switch";

/// Tells the whole story.
pub(crate) fn run(app: &App, folder: Option<&Path>, keep: bool) -> Result<Exit, Failure> {
    let failed = |error: anyhow::Error| Failure::file("the demo", format!("{error:#}"));
    let folder = empty_folder(folder).map_err(failed)?;
    let shop = Shop::at(&folder);
    let interrupted = Arc::new(AtomicBool::new(false));
    let told = app.block_on(async {
        let (ui, shop, stopped) = (app.ui.clone(), shop.clone(), interrupted.clone());
        let mut signals = Signals::new()?;
        let mut story = tokio::task::spawn_blocking(move || story(&ui, &shop, stopped, keep));
        let told = tokio::select! {
            told = &mut story => told,
            _ = signals.next() => {
                interrupted.store(true, Ordering::Relaxed);
                story.await
            }
        };
        told.map_err(|error| Failure::Internal(error.to_string()))
    });
    // On every way out, also where the story could not be told.
    let cleaned = clean_up(&app.ui, &shop, keep);
    let exit = told?.map_err(failed)?;
    cleaned.map_err(failed)?;
    Ok(exit)
}

fn story(ui: &Ui, shop: &Shop, interrupted: Arc<AtomicBool>, keep: bool) -> anyhow::Result<Exit> {
    let _alive = shop.hold()?;
    let exit = told(ui, shop, interrupted);
    let kept = if keep { shop.keep() } else { Ok(()) };
    let exit = exit?;
    kept?;
    Ok(exit)
}

fn told(ui: &Ui, shop: &Shop, interrupted: Arc<AtomicBool>) -> anyhow::Result<Exit> {
    shop.make()?;
    fs::write(shop.folder.join("rollback.ron"), RUNBOOK)?;
    fs::write(shop.folder.join("params.ron"), shop.params()?)?;
    let engine = Engine::new(ui, &shop.folder, interrupted)?;
    before(ui, shop)?;
    heading(ui, "1", "Roll back, and pull the plug half way");
    say(ui, &format!("$ cd {}; export BACKOUT_STORE=$PWD/store", shop.folder.display()));
    let pid = engine
        .run_until(&["run", "rollback.ron", "--params", "params.ron", "--yes"], || {
            shop.is_started_again() && engine.has_intent(KILLED_IN)
        })?;
    let going = format!(" and {FROM} was on its way out");
    let going = if shop.is_going() { going.as_str() } else { "" };
    say(ui, &format!("$ kill -9 {pid}"));
    note(ui, &format!("The engine died when {TO} had been started{going}."));
    heading(ui, "2", "What is known now");
    engine.run(&["status", "latest"])?;
    heading(ui, "3", "Go on");
    let exit = engine.run(&["resume", "latest", "--no-wait"])?;
    ensure!(exit.success(), "the rollback did not finish: {exit}");
    heading(ui, "4", "The proof, from the targets' own records");
    let holds = proof::show(ui, shop)?;
    say(ui, "");
    engine.run(&["verify"])?;
    Ok(if holds { Exit::Done } else { Exit::RunFailed })
}

fn before(ui: &Ui, shop: &Shop) -> anyhow::Result<()> {
    say(ui, &format!("{} {}", paint(BOLD, "A small shop in"), shop.folder.display()));
    note(ui, "SQLite with a goose ledger, a go-feature-flag file, two releases behind a");
    note(ui, &format!("symlink, and a service on {}. Release {FROM} hurts:", shop.url()?));
    proof::answers(ui, shop, &["/", "/checkout"])
}

fn heading(ui: &Ui, number: &str, text: &str) {
    say(ui, "");
    say(ui, &paint(BOLD, &format!("{number}. {text}")));
}

fn note(ui: &Ui, text: &str) {
    say(ui, &paint(DIM, &format!("  {text}")));
}

/// The story is what the demo is for; where nobody reads it, it goes on.
fn say(ui: &Ui, text: &str) {
    let _ = ui.data(&format!("{text}\n")).is_ok();
}

/// A folder that is there and has nothing in it.
fn empty_folder(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(asked) = asked else { return new_folder() };
    fs::create_dir_all(asked).with_context(|| format!("making {}", asked.display()))?;
    let is_empty = fs::read_dir(asked)?.next().is_none();
    ensure!(is_empty, "{} is not empty; name a folder that is", asked.display());
    Ok(asked.canonicalize()?)
}

fn new_folder() -> anyhow::Result<PathBuf> {
    let bits = u64::from_le_bytes(crate::people::random::<8>().map_err(anyhow::Error::new)?);
    let folder = std::env::temp_dir().join(format!("backout-demo-{:06x}", bits >> 40));
    fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

fn clean_up(ui: &Ui, shop: &Shop, keep: bool) -> anyhow::Result<()> {
    if keep {
        heading(ui, "Kept", &shop.folder.display().to_string());
        say(ui, "  $ BACKOUT_STORE=store backout history latest");
        say(ui, "  $ shop/bin/shopctl stop    # then remove the folder");
        return Ok(());
    }
    let stopped = shop.stop();
    match fs::remove_dir_all(&shop.folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => stopped?,
    }
    say(ui, "");
    note(ui, "The shop is stopped and its folder removed; --keep leaves both.");
    Ok(())
}

/// A line that tells of something bad that is meant to happen.
fn alarm(text: &str) -> String {
    paint(WARN, text)
}

/// A line that tells of something bad that is not.
fn trouble(text: &str) -> String {
    paint(TROUBLE, text)
}
