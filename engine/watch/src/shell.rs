//! The terminal, the clock and the line to the engine, around a [`Screen`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backout_core::event::Actor;
use backout_core::id::{RunId, Timestamp};
use backout_server::wire::By;
use crossterm::event::{
    DisableBracketedPaste, EnableBracketedPaste, Event, KeyEventKind, poll, read,
};
use crossterm::execute;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use ratatui::DefaultTerminal;
use tokio::sync::mpsc::{
    Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel,
};
use tokio::sync::watch;

use crate::draw::Look;
use crate::screen::{Ask, News, Screen, Wish};
use crate::source::{Source, SourceError};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// How long the keyboard's thread waits before it looks whether the program ended.
const KEYBOARD_WAIT: Duration = Duration::from_millis(100);
/// Keys that wait to be taken: more are typed ahead by nobody.
const KEYS_MAX: usize = 256;
/// Milliseconds that the engine may wait for the next event before it answers with none.
const EVENTS_WAIT_MS: u64 = 8_000;
/// Between two looks at the list of runs.
const LIST_EVERY: Duration = Duration::from_secs(2);
/// Before the engine is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Why the program ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The terminal failed.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// How it is set up.
#[derive(Clone)]
pub struct Setting {
    /// The run to begin with; none is the list.
    pub run: Option<RunId>,
    /// How the terminal can show it.
    pub look: Look,
    /// Who acts.
    pub actor: Actor,
    /// The time now.
    pub now: Arc<dyn Fn() -> Timestamp>,
    /// Names a new command, with its reason and whether it breaks the glass.
    pub by: Arc<dyn Fn(Option<String>, bool) -> Result<By, String>>,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Shows runs on this terminal until the person ends it.
pub async fn watch(source: &dyn Source, setting: &Setting) -> Result<(), WatchError> {
    let mut terminal = ratatui::try_init()?;
    // One that does not know it says nothing about it.
    let _ = execute!(io::stdout(), EnableBracketedPaste).is_ok();
    let ended = Arc::new(AtomicBool::new(false));
    let keyboard = keyboard(ended.clone());
    let result = run(&mut terminal, source, setting, keyboard).await;
    ended.store(true, Ordering::Relaxed);
    let _ = execute!(io::stdout(), DisableBracketedPaste).is_ok();
    ratatui::try_restore()?;
    result
}

/// Reads keys in a thread of its own: a terminal is read by blocking.
fn keyboard(ended: Arc<AtomicBool>) -> Receiver<io::Result<Event>> {
    let (sender, receiver) = channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            let event = match poll(KEYBOARD_WAIT) {
                Ok(false) => continue,
                Ok(true) => read(),
                Err(error) => Err(error),
            };
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

/// What goes to the line, and comes from it.
struct Line {
    follow: watch::Sender<Option<RunId>>,
    asks: UnboundedSender<Ask>,
    news: Receiver<News>,
}

async fn run(
    terminal: &mut DefaultTerminal,
    source: &dyn Source,
    setting: &Setting,
    keys: Receiver<io::Result<Event>>,
) -> Result<(), WatchError> {
    let (follow, followed) = watch::channel(setting.run.clone());
    let (asks, asked) = unbounded_channel();
    let (sender, news) = channel(KEYS_MAX);
    let line = Line { follow, asks, news };
    tokio::select! {
        ended = show(terminal, source.place(), setting, keys, line) => ended,
        () = read_on(source, followed, &sender) => Ok(()),
        () = give(source, setting, asked, &sender) => Ok(()),
    }
}

/// The screen, until the person ends it.
async fn show(
    terminal: &mut DefaultTerminal,
    place: String,
    setting: &Setting,
    mut keys: Receiver<io::Result<Event>>,
    mut line: Line,
) -> Result<(), WatchError> {
    let mut screen = Screen::new(place, setting.actor.clone(), (setting.now)());
    if let Some(run) = &setting.run {
        screen.follow(run.clone());
    }
    let mut tick = tokio::time::interval(TICK);
    let mut clock = Ahead::default();
    loop {
        draw(terminal, &screen, setting.look)?;
        let wish = tokio::select! {
            key = keys.recv() => match key {
                Some(event) => taken(&mut screen, event?),
                None => Some(Wish::Quit),
            },
            Some(news) = line.news.recv() => {
                let local = (setting.now)();
                // What came meanwhile is drawn together.
                let mut came = Some(news);
                while let Some(news) = came {
                    clock.hear(&news, local);
                    screen.tick(clock.now(local));
                    screen.news(news);
                    came = line.news.try_recv().ok();
                }
                None
            }
            _ = tick.tick() => {
                screen.tick(clock.now((setting.now)()));
                None
            }
        };
        match wish {
            None => {}
            Some(Wish::Quit) => return Ok(()),
            Some(Wish::Follow(run)) => drop(line.follow.send_replace(run)),
            // The line lives as long as the screen.
            Some(Wish::Ask(ask)) => drop(line.asks.send(*ask)),
        }
    }
}

/// How far the engine's clock is ahead of this machine's: an exercise has a clock of its own.
#[derive(Default)]
struct Ahead(i64);

impl Ahead {
    fn hear(&mut self, news: &News, local: Timestamp) {
        if let News::Events(_, page) = news
            && let Some(at) = page.now
        {
            self.0 = at.0 - local.0;
        }
    }

    fn now(&self, local: Timestamp) -> Timestamp {
        Timestamp(local.0 + self.0)
    }
}

fn draw(terminal: &mut DefaultTerminal, screen: &Screen, look: Look) -> io::Result<()> {
    execute!(io::stdout(), BeginSynchronizedUpdate)?;
    terminal.draw(|frame| screen.draw(frame, look))?;
    execute!(io::stdout(), EndSynchronizedUpdate)
}

fn taken(screen: &mut Screen, event: Event) -> Option<Wish> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => screen.key(key),
        Event::Paste(text) => {
            screen.paste(&text);
            None
        }
        _ => None,
    }
}

/// Reads the followed run, or the list, for ever.
async fn read_on(
    source: &dyn Source,
    mut followed: watch::Receiver<Option<RunId>>,
    news: &Sender<News>,
) {
    loop {
        let run = followed.borrow_and_update().clone();
        let reading = async {
            match &run {
                Some(run) => read_run(source, run, news).await,
                None => read_list(source, news).await,
            }
        };
        tokio::select! {
            () = reading => return,
            changed = followed.changed() => if changed.is_err() { return },
        }
    }
}

/// Ends when nobody listens any more.
async fn read_run(source: &dyn Source, run: &RunId, news: &Sender<News>) {
    let mut from = 1;
    loop {
        let came = match source.events(run, from, EVENTS_WAIT_MS).await {
            Ok(page) => {
                from = page.events.last().map_or(from, |last| last.seq.0 + 1);
                News::Events(run.clone(), Box::new(page))
            }
            Err(error) => News::Silent(error.to_string()),
        };
        let is_silent = matches!(came, News::Silent(_));
        if news.send(came).await.is_err() {
            return;
        }
        if is_silent {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn read_list(source: &dyn Source, news: &Sender<News>) {
    loop {
        let came = match source.runs().await {
            Ok(runs) => News::Runs(runs),
            Err(error) => News::Silent(error.to_string()),
        };
        if news.send(came).await.is_err() {
            return;
        }
        tokio::time::sleep(LIST_EVERY).await;
    }
}

/// Gives commands, one after the other.
async fn give(
    source: &dyn Source,
    setting: &Setting,
    mut asked: UnboundedReceiver<Ask>,
    news: &Sender<News>,
) {
    while let Some(ask) = asked.recv().await {
        let came = match given(source, setting, ask).await {
            Ok((seq, driven)) => News::Recorded { seq, driven },
            Err(SourceError::Refused { message, help: Some(help) }) => {
                News::Refused(format!("{message}; {help}"))
            }
            Err(error) => News::Refused(error.to_string()),
        };
        if news.send(came).await.is_err() {
            return;
        }
    }
}

async fn given(
    source: &dyn Source,
    setting: &Setting,
    ask: Ask,
) -> Result<(u64, bool), SourceError> {
    let by = (setting.by)(ask.reason, ask.break_glass)
        .map_err(|message| SourceError::Refused { message, help: None })?;
    if ask.ask == backout_core::command::Ask::Resume {
        source.resume(&ask.run, by).await?;
        return Ok((0, true));
    }
    let reply = source.ask(&ask.run, ask.ask, by).await?;
    Ok((reply.seq, reply.driven))
}
