//! `serve`: the engine as a long-lived process that owns a store.

use std::net::SocketAddr;
use std::path::PathBuf;

use backout_core::id::RunId;
use backout_page::Given;
use backout_server::books::Books;
use backout_server::guard::guarded;
use backout_server::port::{self, ServedPort};
use backout_server::view::{RunView, counted};
use backout_server::{Door, Face, router};
use tokio::net::TcpListener;

use super::follow::{GRACE_MS, Signals};
use super::preflight;
use super::resume::{imported, stale};
use crate::access::{self, AccessArgs};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::{Here, Reach};
use crate::reading::Reading;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// The folder of runbooks that can be started by name
    #[arg(long, value_name = "DIR", env = "BACKOUT_RUNBOOKS", hide_env_values = true)]
    runbooks: Option<PathBuf>,
    /// Take up nothing at the start: look first, then `backout resume RUN`
    #[arg(long)]
    no_resume: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Owns the store, takes up what was interrupted, and serves until it is told to end.
pub(crate) fn run(app: &App, args: &Args) -> Result<Exit, Failure> {
    let books = books(args)?;
    let folder = app.store()?;
    let door = access::door(app, &args.access, args.listen, &folder)?;
    app.block_on(async {
        let what = || format!("listening on {}", args.listen);
        let listener =
            TcpListener::bind(args.listen).await.map_err(|error| Failure::file(what(), error))?;
        let dress = move |face: Face| face.with_books(books.clone()).counting();
        let here = match Reach::open_as(&app.ui, &folder, app.host(), &dress).await? {
            Reach::Here(here) => here,
            Reach::There(_, owner) => {
                return Err(Failure::NeedsStore { pid: owner.pid, since: owner.since });
            }
        };
        let mut signals = Signals::new()?;
        let (scheme, port) = (door.scheme, serve(here.face(), listener, door)?);
        app.ui.data(&format!("serving {} on {scheme}://{}", folder.display(), port.address()))?;
        if !args.no_resume {
            take_up(app, &here).await?;
        }
        let why = signals.next().await;
        app.ui.say("letting go in order; a second signal leaves at once");
        tokio::select! {
            () = close(here, port, why.words()) => {}
            _ = signals.next() => app.ui.warn("left at once: what was in flight is settled on resume"),
        }
        Ok(Exit::Done)
    })
}

fn books(args: &Args) -> Result<Books, Failure> {
    let Some(folder) = &args.runbooks else { return Ok(Books::default()) };
    let what = || format!("runbooks {}", folder.display());
    let absolute = folder.canonicalize().map_err(|error| Failure::file(what(), error))?;
    if !absolute.is_dir() {
        return Err(Failure::file(what(), "it is not a folder"));
    }
    Ok(Books::of(absolute))
}

/// Serves the API and the page of a face on a port.
pub(crate) fn serve(
    face: &Face,
    listener: TcpListener,
    door: access::Door,
) -> Result<ServedPort, Failure> {
    let given = Given { clock: face.engine.clock(), ..Given::by_system(people::user()) };
    let page = backout_page::router(face.clone(), given);
    let routes = router(face.clone(), Door::Port).merge(page);
    let app = guarded(backout_access::guard(routes, door.guard));
    port::serve(listener, app, door.handshake).map_err(|error| Failure::file("the port", error))
}

async fn close(here: Box<Here>, port: ServedPort, why: &str) {
    here.face().closing.cancel();
    port.close().await;
    Reach::Here(here).close(why, GRACE_MS).await;
}

/// Takes up what did not come to rest and is not stale; says what it leaves.
async fn take_up(app: &App, here: &Here) -> Result<(), Failure> {
    let reading = Reading::open(app)?;
    let mut taken = 0;
    for run in here.unfinished() {
        match leave(app, &reading, run) {
            Some(why) => app.ui.say(&why),
            None => match here.engine().take_up(run).await {
                Ok(()) => taken += 1,
                Err(error) => app.ui.warn(&format!("run {run} was not taken up: {error}")),
            },
        }
    }
    if taken > 0 {
        app.ui.say(&format!("took up {}", counted(taken, "run")));
    }
    Ok(())
}

/// Why a run is left as it is, with what to type.
fn leave(app: &App, reading: &Reading, run: &RunId) -> Option<String> {
    let view = match reading.view(run, app.now_ms()) {
        Ok(view) => view,
        Err(failure) => return Some(format!("run {run} cannot be read: {failure}")),
    };
    if view.drill.is_some() {
        return Some(format!("run {run} is the record of a drill: nothing real is done for it"));
    }
    if view.stale {
        return Some(stale(&view, app.now_ms()));
    }
    if view.state == "paused" {
        return Some(format!("run {run} is left paused; to go on: backout resume {run}"));
    }
    imported(reading, run).or_else(|| secrets(app, reading, &view))
}

fn secrets(app: &App, reading: &Reading, view: &RunView) -> Option<String> {
    let run = RunId::from(view.run.as_str());
    let state = reading.state(&run).ok()?;
    let missing = preflight::secrets(&app.host(), &state.plan, preflight::left(&state)).err()?;
    Some(format!("run {run} is left: {missing}\nto go on: backout resume {run}"))
}
