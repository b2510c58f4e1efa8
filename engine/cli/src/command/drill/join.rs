//! A drill that people decide: served where they join, led from this terminal, until it is over.

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backout_server::port::ServedPort;
use backout_server::socket::{self, Served};
use backout_server::{Face, Witness};
use backout_store::EmbeddedStore;
use backout_tabletop::drill::{Broken, Setup};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::console::Console;
use super::{Args, broken, hotwash};
use crate::access;
use crate::app::App;
use crate::command::follow::Signals;
use crate::command::serve;
use crate::exercise::{DrillDesk, Kept, TICK, Table};
use crate::exit::Failure;
use crate::reach;

/// Lines typed ahead; more are a paste by mistake.
const LINES_AHEAD_MAX: usize = 64;
/// How long all is still served when it is over: every page loads what changed, and every `watch`
/// asks again, within a second or two.
const LAST_LOOK: Duration = Duration::from_secs(3);

/// How long a hotwash on the page is waited for where nobody sits at this terminal: longer than
/// anybody talks.
const HOTWASH_MAX: Duration = Duration::from_hours(2);

/// Where people join.
struct Places {
    store: Arc<EmbeddedStore>,
    face: Face,
    socket: Option<Served>,
    port: Option<ServedPort>,
    scheme: &'static str,
}

/// Plays until it is over, and was talked about.
pub(super) fn play(
    app: &App,
    args: &Args,
    setup: Setup,
    kept: &Kept,
) -> Result<Arc<Table>, Failure> {
    app.block_on(async {
        let mut signals = Signals::new()?;
        let (table, places) = open(app, args, setup, kept).await?;
        let mut lines = typed_lines();
        let mut console = Console::new(app, table.clone(), places.face.clone());
        console.welcome(&places.how(&kept.store()));
        let led = lead(args, &mut console, &mut lines, &mut signals).await;
        console.tell();
        let ended = match led {
            Ok(()) => talk(args, &mut console, &mut lines, &mut signals).await,
            Err(error) => Err(error),
        };
        places.close().await;
        ended.map(|()| table)
    })
}

async fn open(
    app: &App,
    args: &Args,
    setup: Setup,
    kept: &Kept,
) -> Result<(Arc<Table>, Places), Failure> {
    let guarantees = setup.guarantees.clone();
    let (store, since) = kept.own()?;
    let witness = Witness::over(store.clone());
    let table = Table::begin(setup, witness.clone(), args.speed).map_err(broken)?;
    let desk = DrillDesk::new(table.clone(), guarantees);
    let face = reach::face(&store, desk, witness, since).counting();
    // Without the socket it goes on; only others cannot join by it.
    let socket = socket::serve(&kept.store(), face.clone())
        .inspect_err(|error| app.ui.warn(&format!("no other terminal can join: {error}")))
        .ok();
    let mut places = Places { store, face, socket, port: None, scheme: "http" };
    if let Some(listen) = args.listen {
        places.listen(app, args, listen).await?;
    }
    Ok((table, places))
}

impl Places {
    /// By the rules of `serve`, with the people of the real store.
    async fn listen(&mut self, app: &App, args: &Args, listen: SocketAddr) -> Result<(), Failure> {
        let door = access::door(app, &args.access, listen, &app.store()?)?;
        let failed = |error| Failure::file(format!("listening on {listen}"), error);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        self.scheme = door.scheme;
        self.port = Some(serve::serve(&self.face, listener, door)?);
        Ok(())
    }

    /// How to join, for people.
    fn how(&self, store: &Path) -> Vec<String> {
        let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
        let mut lines = Vec::new();
        if self.socket.is_some() {
            lines.push(format!(
                "join on another terminal: export BACKOUT_STORE={}",
                store.display()
            ));
            lines.push("then every command is there: backout watch latest".to_owned());
        }
        if let Some(port) = &self.port {
            let base = format!("{}://{}", self.scheme, port.address());
            lines.push(format!("join on a page:           {base}"));
            lines.push(format!("lead from a page:         {base}/exercise"));
        }
        lines
    }

    async fn close(self) {
        let Self { store, face, socket, port, .. } = self;
        face.closing.cancel();
        if let Some(port) = port {
            port.close().await;
        }
        if let Some(socket) = socket {
            socket.close().await;
        }
        drop(face);
        // Where a request is still being answered it stays open: what is acknowledged is safe.
        if let Ok(store) = Arc::try_unwrap(store) {
            store.close();
        }
    }
}

/// What is typed, line by line. The thread ends with the process.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Until it is over. Where people may join over a port, nobody need sit at this terminal.
async fn lead(
    args: &Args,
    console: &mut Console<'_>,
    lines: &mut mpsc::Receiver<String>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(TICK);
    let mut typed = true;
    while !console.is_over() {
        tokio::select! {
            line = lines.recv(), if typed => match line {
                Some(line) => console.typed(&line)?,
                None if args.listen.is_some() => typed = false,
                None => console.end("nobody types any more")?,
            },
            _ = tick.tick() => console.tick()?,
            why = signals.next() => console.end(why.words())?,
        }
        console.tell();
    }
    Ok(())
}

/// What is said when it is over: at once what is real, else the ratings and the hotwash.
async fn talk(
    args: &Args,
    console: &mut Console<'_>,
    lines: &mut mpsc::Receiver<String>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    if console.shout_emergency() {
        last_look(signals).await;
        return Ok(());
    }
    console.over();
    if !console.is_interactive() {
        if args.listen.is_some() {
            console.say(
                "the hotwash is on the page at /exercise; to close it there writes the report",
            );
            elsewhere(console, signals).await;
        }
        last_look(signals).await;
        return Ok(());
    }
    let mut prompts = hotwash::Prompts::of(console.table());
    while let Some(prompt) = prompts.next() {
        console.say(&prompt.asks());
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = signals.next() => None,
            () = closed(console) => None,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = prompts.answer(console.table(), prompt, &line, console.who());
        if let Some(answer) = answer.map_err(|error: Broken| broken(error))? {
            console.say(&answer);
        }
    }
    Ok(())
}

/// The hotwash is held on the page alone, until it is closed there.
async fn elsewhere(console: &Console<'_>, signals: &mut Signals) {
    tokio::select! {
        () = closed(console) => {}
        () = tokio::time::sleep(HOTWASH_MAX) => {}
        _ = signals.next() => {}
    }
}

/// Until somebody closed the hotwash.
async fn closed(console: &Console<'_>) {
    while !console.is_closed() {
        tokio::time::sleep(TICK).await;
    }
}

/// Everybody sees how it ended.
async fn last_look(signals: &mut Signals) {
    tokio::select! {
        () = tokio::time::sleep(LAST_LOOK) => {}
        _ = signals.next() => {}
    }
}
