//! Staying with a run: shows each event as it becomes durable, asks in place, and ends when the run
//! is at rest. The screen is a fold over the same events as every other view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backout_core::event::{Event, Recorded, Wait};
use backout_core::evolve;
use backout_core::id::{RunId, Seq, Timestamp};
use backout_core::state::{RunState, RunStatus, StepState};
use backout_runtime::Host;
use backout_server::client::ClientError;
use backout_server::view::{Leading, RunFacts, RunView, Want, counted, duration, run_view, wants};
use backout_server::wire::EventsPage;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use unicode_width::UnicodeWidthStr;

use super::prompt::{Answer, Prompt};
use crate::app::App;
use crate::exit::{Exit, Failure};
use crate::people;
use crate::reach::Reach;
use crate::reading::Reading;
use crate::view;
use crate::view::style::{BOLD, DIM, HELP, WARN, paint};

/// Milliseconds that what is in flight has to end when the command ends.
pub(crate) const GRACE_MS: u64 = 10_000;
/// Milliseconds of it after Ctrl-C: a person is there, and a second Ctrl-C ends it.
const GRACE_INTERRUPTED_MS: u64 = 600_000;
/// Milliseconds that one look for new events waits.
const WAIT_MS: u64 = 5_000;
/// Milliseconds between two looks: soon enough for an eye, and seldom enough that watching a fast run
/// does not slow it.
const LOOK_EVERY_MS: u64 = 25;
/// Lines typed ahead; more are a paste by mistake.
const LINES_AHEAD_MAX: usize = 16;

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether a person is asked in place; else it ends with 4.
    pub(crate) in_place: bool,
}

/// Follows a run until it is at rest. Events up to `seen` are folded silently.
pub(crate) async fn follow(
    app: &App,
    reach: &mut Reach,
    run: &RunId,
    seen: Seq,
    manner: Manner,
) -> Result<Exit, Failure> {
    let mut screen = Screen::new(app, run, seen, manner);
    let mut signals = Signals::new()?;
    let mut lines = if manner.in_place { Some(typed_lines()) } else { None };
    let mut next_look = Instant::now();
    loop {
        tokio::select! {
            page = look(reach, run, screen.next, next_look) => match page {
                Ok(page) => {
                    let caught_up = page.events.len() < backout_server::wire::EVENTS_PAGE_MAX;
                    screen.take(page.events)?;
                    if let Some(exit) = screen.at_rest(caught_up)? {
                        return Ok(exit);
                    }
                    if caught_up {
                        next_look = Instant::now() + Duration::from_millis(LOOK_EVERY_MS);
                    }
                }
                Err(ClientError::Unreachable { .. } | ClientError::Unreadable { .. }) => {
                    take_over(app, reach, run).await?;
                }
                Err(error) => return Err(error.into()),
            },
            why = signals.next() => return leave(app, reach, run, why, &mut signals).await,
            line = next_line(&mut lines) => screen.typed(reach, line).await?,
        }
    }
}

/// The events from a position on, not before a moment unless the run is over.
async fn look(
    reach: &Reach,
    run: &RunId,
    from: Seq,
    not_before: Instant,
) -> Result<EventsPage, ClientError> {
    tokio::select! {
        () = tokio::time::sleep_until(not_before) => {}
        () = reach.over(run) => {}
    }
    reach.events(run, from, WAIT_MS).await
}

/// The engine that drove the run is gone: this process goes on in its place.
async fn take_over(app: &App, reach: &mut Reach, run: &RunId) -> Result<(), Failure> {
    app.ui.warn("the engine that drove the run is gone; going on here");
    let host: Arc<Host> = app.host();
    *reach = Reach::open(&app.ui, &app.store()?, host).await?;
    reach.resume(run, people::by(None, false)?).await
}

/// Lets go in order; a second signal leaves at once.
async fn leave(
    app: &App,
    reach: &Reach,
    run: &RunId,
    why: Why,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    if let Some(pid) = reach.other() {
        app.ui.say(&format!("no longer watching; process {pid} goes on driving run {run}"));
        return Ok(Exit::Waiting);
    }
    if why == Why::Interrupt {
        app.ui.say("finishing what is in flight; Ctrl-C again leaves at once");
    }
    let grace_ms = if why == Why::Interrupt { GRACE_INTERRUPTED_MS } else { GRACE_MS };
    tokio::select! {
        () = reach.stop(why.words(), grace_ms) => {}
        _ = signals.next() => app.ui.warn("left at once: what was in flight is settled on resume"),
    }
    app.ui.say(&format!("to go on: {}", paint(HELP, &format!("backout resume {run}"))));
    Ok(Exit::Waiting)
}

/// Why the command was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Interrupt,
    Terminate,
    Hangup,
}

impl Why {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// The three signals that ask a command to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::Internal(error.to_string()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Why {
        tokio::select! {
            _ = self.interrupt.recv() => Why::Interrupt,
            _ = self.terminate.recv() => Why::Terminate,
            _ = self.hangup.recv() => Why::Hangup,
        }
    }
}

/// Lines that the person types. A thread of its own: reading a terminal cannot be cancelled.
fn typed_lines() -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { return };
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// The next line; never, where nobody types. `None` is the end of the input.
async fn next_line(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(receiver) => {
            let line = receiver.recv().await;
            if line.is_none() {
                *lines = None;
            }
            line
        }
        None => std::future::pending().await,
    }
}

/// What the person sees, and what is asked of them.
struct Screen<'a> {
    app: &'a App,
    run: &'a RunId,
    state: Option<RunState>,
    next: Seq,
    seen: Seq,
    in_place: bool,
    prompt: Option<Prompt>,
    /// Steps that the person answers later.
    later: BTreeSet<String>,
    /// The position up to which events must be seen before anything is asked: it is the answer's.
    answered: Seq,
    /// The last words shown for each step.
    shown: BTreeMap<String, String>,
    /// The circle of runs that was told.
    circle: Vec<RunId>,
}

impl<'a> Screen<'a> {
    fn new(app: &'a App, run: &'a RunId, seen: Seq, manner: Manner) -> Self {
        let in_place = manner.in_place;
        Self {
            app,
            run,
            state: None,
            next: Seq(1),
            seen,
            in_place,
            prompt: None,
            later: BTreeSet::new(),
            answered: Seq(0),
            shown: BTreeMap::new(),
            circle: Vec::new(),
        }
    }

    fn take(&mut self, events: Vec<Recorded>) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for recorded in events {
            evolve(&mut self.state, &recorded)
                .map_err(|error| Failure::Internal(format!("run {}: {error}", self.run)))?;
            self.next = recorded.seq.next();
            if recorded.seq > self.seen && is_news(&recorded.event) {
                lines.extend(self.line(&recorded));
            }
        }
        if !lines.is_empty() {
            self.app.ui.say(&lines.join("\n"));
        }
        Ok(())
    }

    /// One line, unless the same stood there for this step already: a step is looked at again once
    /// it holds its locks, and a soak is sampled many times.
    fn line(&mut self, recorded: &Recorded) -> Option<String> {
        let (step, words) = backout_server::view::sentence(&recorded.event);
        let words = match &recorded.event {
            Event::StepWaits { wait: Wait::Soak { sampled, .. }, .. } => {
                format!("soaks, well: {}", sampled.is_some())
            }
            _ => words,
        };
        let shown = self.shown.insert(step.unwrap_or_default(), words.clone());
        (shown.as_ref() != Some(&words)).then(|| progress(recorded, self.app.ui.told_width))
    }

    /// The exit, where nothing goes on by itself and nobody is asked here.
    fn at_rest(&mut self, caught_up: bool) -> Result<Option<Exit>, Failure> {
        let caught_up = caught_up && self.next > self.answered;
        let Some(state) = self.state.as_ref().filter(|_| caught_up) else { return Ok(None) };
        let status = state.status();
        if status.is_end() {
            let view = self.view(state);
            self.app.ui.data(&ended(&view))?;
            return Ok(Some(exit_of(status, state)));
        }
        if let Some(circle) = self.new_circle(state) {
            let view = self.view(state).in_circle(&circle);
            self.circle = circle;
            if !self.in_place {
                self.say_what_is_wanted(&view);
                return Ok(Some(Exit::Waiting));
            }
            let wants = view.wants.iter().filter(|want| want.what == "circle");
            wants
                .for_each(|w| self.app.ui.say(view::status::want(w, self.app.ui.width).trim_end()));
            return Ok(None);
        }
        let open: Vec<Want> = self.open_wants(state);
        if status == RunStatus::Paused && !state.paused {
            return self.part_done(state).map(Some);
        }
        if self.in_place && !open.is_empty() {
            self.ask_first(&open);
            return Ok(None);
        }
        let stuck = matches!(status, RunStatus::Waiting | RunStatus::Paused);
        if !stuck || (status == RunStatus::Paused && self.in_place) {
            return Ok(None);
        }
        self.say_what_is_wanted(&self.view(state));
        Ok(Some(Exit::Waiting))
    }

    /// The runs that wait for each other in a circle, where nothing else of this one is under way
    /// and they were not told yet.
    fn new_circle(&self, state: &RunState) -> Option<Vec<RunId>> {
        let only_locks = state.active.iter().all(|ix| {
            let step = state.step(*ix).map(|step| &step.state);
            matches!(step, Some(StepState::Waiting(Wait::Lock { .. })))
        });
        if state.active.is_empty() || !only_locks {
            return None;
        }
        let circle = Reading::open(self.app).ok()?.circle(state)?;
        (circle != self.circle).then_some(circle)
    }

    fn open_wants(&self, state: &RunState) -> Vec<Want> {
        wants(state).into_iter().filter(|want| !self.later.contains(&want.step)).collect()
    }

    fn view(&self, state: &RunState) -> RunView {
        let now = Timestamp(self.app.now_ms());
        run_view(
            state,
            &RunFacts {
                now,
                driven: true,
                leading: Leading::Unknown,
                head: None,
                best_guarantee: &|_| None,
            },
        )
    }

    fn ask_first(&mut self, open: &[Want]) {
        let still = |prompt: &Prompt| open.iter().any(|want| want.step == prompt.step());
        if self.prompt.as_ref().is_some_and(still) {
            return;
        }
        let Some(want) = open.first() else { return };
        self.app.ui.say(view::status::want(want, self.app.ui.width).trim_end());
        let prompt = Prompt::of(want, self.consent(&want.step));
        self.app.ui.say(&paint(BOLD, &prompt.question()));
        self.prompt = Some(prompt);
    }

    fn consent(&self, step: &str) -> Option<String> {
        let (_, _, step) = self.state.as_ref()?.find(&step.into())?;
        Some(step.prepared.as_ref()?.consent())
    }

    async fn typed(&mut self, reach: &Reach, line: Option<String>) -> Result<(), Failure> {
        let Some(line) = line else {
            // The terminal is gone: from here on as without one.
            self.in_place = false;
            return Ok(());
        };
        let Some(prompt) = self.prompt.take() else { return Ok(()) };
        let step = prompt.step().to_owned();
        match prompt.answer(&line) {
            Answer::Again(prompt) => {
                self.app.ui.say(&paint(BOLD, &prompt.question()));
                self.prompt = Some(prompt);
            }
            Answer::Later => {
                self.later.insert(step);
            }
            Answer::Do { ask, reason } => {
                let asked = reach.ask(self.run, ask, people::by(reason, false)?).await;
                match asked {
                    Ok(reply) => self.answered = Seq(reply.seq),
                    // Somebody else may have been faster, or the rules say no: asked again.
                    Err(failure) => {
                        self.app.ui.failure(&failure);
                        self.at_rest(true)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All that is not held back is done.
    fn part_done(&self, state: &RunState) -> Result<Exit, Failure> {
        let view = self.view(state);
        let held = counted(view.held.len(), "step");
        self.app.ui.data(&format!(
            "run {}: the part is done, {held} held back\nto go on with the rest: backout resume {}",
            view.run, view.run
        ))?;
        Ok(Exit::Done)
    }

    fn say_what_is_wanted(&self, view: &RunView) {
        let ui = &self.app.ui;
        if view.state == "paused" {
            ui.say(&paint(WARN, "the run is paused"));
        } else {
            ui.say(&paint(WARN, "nothing goes on without a person"));
        }
        for want in &view.wants {
            ui.say(view::status::want(want, ui.width).trim_end());
        }
        if let Some(command) = &view.go_on {
            ui.say(&format!("\n{} {}", paint(BOLD, "To go on:"), paint(HELP, command)));
        }
        if view.state != "paused" {
            ui.say(&format!("then {}", paint(HELP, &format!("backout resume {}", view.run))));
        }
    }
}

fn exit_of(status: RunStatus, state: &RunState) -> Exit {
    match status {
        RunStatus::Succeeded if state.recovered == Some(false) => Exit::RunFailed,
        // An undo that ended as asked is done; that the run did not stand says its state.
        RunStatus::Succeeded | RunStatus::Undone => Exit::Done,
        RunStatus::Failed
        | RunStatus::Aborted
        | RunStatus::Superseded
        | RunStatus::Running
        | RunStatus::Waiting
        | RunStatus::Paused => Exit::RunFailed,
    }
}

fn ended(view: &RunView) -> String {
    let state = paint(view::style::of_state(&view.state), &view.state);
    let took = duration(view.took_ms);
    let text = format!("run {} {state}: {}, {took}", view.run, view::status::summary(view));
    let alarms = view::status::alarms(&view.alarms, usize::MAX);
    let text = format!("{text}\n{alarms}").trim_end().to_owned();
    match &view.go_on {
        Some(command) => format!("{text}\nto go on: {command}"),
        None => text,
    }
}

/// Whether an event is worth a line while the run goes on; `history` has them all.
fn is_news(event: &Event) -> bool {
    let nothing_seen = matches!(
        event,
        Event::StepPrepared { prepared, .. } if prepared.difference().is_empty()
    );
    !nothing_seen
        && !matches!(
            event,
            Event::RunCreated { .. }
                | Event::StepStarted { .. }
                | Event::StepLocked { .. }
                | Event::StepLooked { .. }
                | Event::EffectIntended { .. }
                | Event::EffectDone { .. }
        )
}

/// One event in one line; more where the words need them.
fn progress(recorded: &Recorded, width: usize) -> String {
    const CLOCK_COLUMNS: usize = 8 + 2;
    let (step, words) = backout_server::view::sentence(&recorded.event);
    let at = backout_server::view::rfc3339(recorded.at);
    let clock = at.get(11..19).unwrap_or_default();
    let columns = step.as_ref().map_or(0, |step| step.width() + 2);
    let about = step.map(|step| format!("{}  ", paint(BOLD, &step))).unwrap_or_default();
    let words = view::text::wrapped(&words, CLOCK_COLUMNS + columns, width);
    let words = paint(view::history::style(recorded), words.trim());
    format!("{}  {about}{words}", paint(DIM, clock))
}
