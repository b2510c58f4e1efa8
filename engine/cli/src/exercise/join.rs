//! An exercise that people are at: served where they join, led from this terminal or from a page, until
//! it is over and was talked about.

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backout_server::port::ServedPort;
use backout_server::socket::{self, Served};
use backout_server::{Face, Witness};
use backout_store::{EmbeddedStore, MemoryStore};
use backout_tabletop::discussion::Discussion;
use backout_tabletop::drill::{Broken, Setup};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::console::{self, Console};
use super::hotwash::{Prompt, Prompts};
use super::led::Led;
use super::{DrillDesk, Kept, Room, RoomDesk, TICK, Table, broken};
use crate::access::{self, AccessArgs};
use crate::app::App;
use crate::command::follow::Signals;
use crate::command::serve;
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

/// Where people may join.
#[derive(Clone, Copy)]
pub(crate) struct Joining<'a> {
    /// By a port, for pages and programs.
    pub(crate) listen: Option<SocketAddr>,
    /// Who is let in there.
    pub(crate) access: &'a AccessArgs,
}

/// Where people join.
struct Places {
    store: Option<Arc<EmbeddedStore>>,
    face: Face,
    socket: Option<Served>,
    port: Option<ServedPort>,
    scheme: &'static str,
}

/// Plays a drill until it is over, and was talked about.
pub(crate) fn drill(
    app: &App,
    joining: Joining<'_>,
    setup: Setup,
    speed: u32,
    kept: &Kept,
) -> Result<Arc<Table>, Failure> {
    app.block_on(async {
        let guarantees = setup.guarantees.clone();
        let (store, since) = kept.own()?;
        let witness = Witness::over(store.clone());
        let table = Table::begin(setup, &kept.folder, witness.clone(), speed).map_err(broken)?;
        let desk = DrillDesk::new(table.clone(), guarantees);
        let face = reach::face(&store, desk, witness, since).counting();
        // Without the socket it goes on; only others cannot join by it.
        let socket = socket::serve(&kept.store(), face.clone())
            .inspect_err(|error| app.ui.warn(&format!("no other terminal can join: {error}")))
            .ok();
        let places = Places { store: Some(store), face, socket, port: None, scheme: "http" };
        let join = kept.store();
        held(app, joining, table.clone(), places, &join).await.map(|()| table)
    })
}

/// Holds a discussion until it is over, and was talked about.
pub(crate) fn discussion(
    app: &App,
    joining: Joining<'_>,
    begin: impl FnOnce(backout_core::id::Timestamp) -> Discussion,
    kept: &Kept,
) -> Result<Arc<Room>, Failure> {
    app.block_on(async {
        let witness = Witness::over(Arc::new(MemoryStore::new()));
        let room = Room::open(begin, &kept.folder, witness.clone()).map_err(broken)?;
        let face = Face::new(RoomDesk::new(room.clone()), witness, String::new()).counting();
        let places = Places { store: None, face, socket: None, port: None, scheme: "http" };
        held(app, joining, room.clone(), places, &kept.folder).await.map(|()| room)
    })
}

/// Serves it, and leads it from this terminal.
async fn held(
    app: &App,
    joining: Joining<'_>,
    led: Arc<dyn Led>,
    mut places: Places,
    store: &Path,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    if let Some(listen) = joining.listen {
        places.listen(app, joining.access, listen).await?;
    }
    let kind = led.record().exercise;
    let mut lines = typed_lines();
    let mut console = Console::new(app, led, places.face.clone());
    console.welcome(&places.how(store), &console::help(kind));
    let others = joining.listen.is_some();
    let led = lead(others, &mut console, &mut lines, &mut signals).await;
    console.tell();
    let ended = match led {
        Ok(()) => talk(others, &mut console, &mut lines, &mut signals).await,
        Err(error) => Err(error),
    };
    places.close().await;
    ended
}

impl Places {
    /// By the rules of `serve`, with the people of the real store.
    async fn listen(
        &mut self,
        app: &App,
        access: &AccessArgs,
        listen: SocketAddr,
    ) -> Result<(), Failure> {
        let door = access::door(app, access, listen, &app.store()?)?;
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
            if self.socket.is_some() {
                lines.push(format!("join on a page:           {base}"));
            }
            lines.push(format!("take part or lead there:  {base}/exercise"));
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
        if let Some(Ok(store)) = store.map(Arc::try_unwrap) {
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
    others: bool,
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
                None if others => typed = false,
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
    others: bool,
    console: &mut Console<'_>,
    lines: &mut mpsc::Receiver<String>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    if console.shout_emergency() {
        last_look(signals).await;
        return Ok(());
    }
    console.over();
    if console.is_interactive() {
        asked(console, lines, signals).await?;
        console.close()?;
        if others {
            last_look(signals).await;
        }
        return Ok(());
    }
    if others {
        console.say("the hotwash is on the page at /exercise; to close it there writes the report");
        elsewhere(console, signals).await;
    }
    last_look(signals).await;
    Ok(())
}

/// The hotwash at this terminal, while others answer on their pages.
async fn asked(
    console: &mut Console<'_>,
    lines: &mut mpsc::Receiver<String>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut prompts = Prompts::of(&console.led().record());
    while let Some(prompt) = prompts.next(&console.led().record()) {
        let Some(line) = answered(console, &prompt, lines, signals).await else { break };
        let answer = prompts.answer(console.led(), prompt, &line, console.who());
        if let Some(answer) = answer.map_err(|error: Broken| broken(error))? {
            console.say(&answer);
        }
    }
    console.tell();
    Ok(())
}

/// The line that is typed to a prompt; nothing where the hotwash was closed or is left. What others
/// say meanwhile is told, and the prompt again.
async fn answered(
    console: &mut Console<'_>,
    prompt: &Prompt,
    lines: &mut mpsc::Receiver<String>,
    signals: &mut Signals,
) -> Option<String> {
    let mut changes = console.led().changes();
    let mut asks = true;
    loop {
        let told = console.tell();
        if console.is_closed() {
            return None;
        }
        if told || asks {
            console.say(&prompt.asks());
        }
        asks = false;
        tokio::select! {
            line = lines.recv() => return line,
            _ = signals.next() => return None,
            // The witness lives as long as the exercise that holds it.
            _ = changes.changed() => {}
        }
    }
}

/// The hotwash is held on the page alone, until it is closed there.
async fn elsewhere(console: &mut Console<'_>, signals: &mut Signals) {
    tokio::select! {
        () = closed(console) => {}
        () = tokio::time::sleep(HOTWASH_MAX) => {}
        _ = signals.next() => {}
    }
}

/// Until somebody closed the hotwash. What is said meanwhile is told.
async fn closed(console: &mut Console<'_>) {
    let mut changes = console.led().changes();
    loop {
        console.tell();
        // Without anybody who could close it nothing wakes any more.
        if console.is_closed() || changes.changed().await.is_err() {
            return;
        }
    }
}

/// Everybody sees how it ended.
async fn last_look(signals: &mut Signals) {
    tokio::select! {
        () = tokio::time::sleep(LAST_LOOK) => {}
        _ = signals.next() => {}
    }
}
