//! A drill that people decide, at this terminal: lines in, what happens out. The clock of the exercise
//! follows the real one, as fast as was said, until somebody stops it.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use backout_core::id::Timestamp;
use backout_server::view::{RunFacts, RunView, duration, run_view, sentence};
use backout_tabletop::console::{HELP, Typed, parse};
use backout_tabletop::drill::Drill;
use backout_tabletop::log::Logged;
use backout_tabletop::report::logged_words;
use backout_tabletop::scenario::{msel, table};

use super::broken;
use crate::app::App;
use crate::exercise::Kept;
use crate::exit::Failure;
use crate::people;
use crate::view::style::{BOLD, DIM, HELP as HELP_STYLE, WARN, paint};
use crate::view::{status, text};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(200);

/// Plays until it is over.
pub(super) fn play(app: &App, drill: Drill, kept: &mut Kept, speed: u32) -> Result<Drill, Failure> {
    let mut table = Table {
        app,
        begin: drill.now(),
        drill,
        who: people::user(),
        speed,
        stopped: speed == 0,
        ticked: Instant::now(),
        told: (0, 0),
        wants: Vec::new(),
    };
    table.welcome();
    let lines = lines();
    while !table.drill.is_over() {
        match lines.recv_timeout(TICK) {
            Ok(line) => table.typed(&line)?,
            Err(RecvTimeoutError::Timeout) => table.tick()?,
            Err(RecvTimeoutError::Disconnected) => table.drill.end("nobody types any more"),
        }
        kept.record(&table.drill)?;
        table.tell();
    }
    table.hotwash();
    Ok(table.drill)
}

/// What is typed, line by line. The thread ends with the process.
fn lines() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Table<'a> {
    app: &'a App,
    drill: Drill,
    begin: Timestamp,
    /// Who is at the keyboard.
    who: String,
    speed: u32,
    stopped: bool,
    ticked: Instant,
    /// How much of the journal and of the log is told.
    told: (usize, usize),
    /// What asks for a person, as it was last told.
    wants: Vec<String>,
}

impl Table<'_> {
    fn welcome(&self) {
        let scenario = self.drill.scenario();
        let mut lines = vec![
            paint(WARN, "DRILL: everything here is simulated; nothing real can be reached"),
            paint(BOLD, &scenario.title),
        ];
        lines.extend((!scenario.situation.is_empty()).then(|| scenario.situation.clone()));
        let roles = scenario.roles.iter();
        lines.extend(roles.map(|role| {
            format!("  {:<14} {} {}", role.role, role.who.as_deref().unwrap_or("-"), role.does)
        }));
        lines.push(paint(HELP_STYLE, HELP));
        self.app.ui.say(&lines.join("\n"));
    }

    /// The clock goes on as the real one did.
    fn tick(&mut self) -> Result<(), Failure> {
        let passed = u64::try_from(self.ticked.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ticked = Instant::now();
        if self.stopped {
            return Ok(());
        }
        let until = self.drill.now().plus_ms(passed.saturating_mul(u64::from(self.speed)));
        self.drill.advance_to(until.min(self.drill.limit())).map_err(broken)?;
        if until >= self.drill.limit() {
            self.drill.end("its time is over");
        }
        Ok(())
    }

    fn typed(&mut self, line: &str) -> Result<(), Failure> {
        if line.trim().is_empty() {
            return Ok(());
        }
        // What was typed happens now, not at the last tick.
        self.tick()?;
        let typed = match parse(line, &self.who) {
            Ok(typed) => typed,
            Err(error) => {
                self.app.ui.say(&error);
                return Ok(());
            }
        };
        match &typed {
            Typed::Stop => self.stopped = true,
            Typed::Go => self.stopped = false,
            Typed::Speed(speed) => self.speed = *speed,
            Typed::Help => self.app.ui.say(HELP),
            Typed::Status => self.show_status(),
            Typed::Plan => self.app.ui.say(&table(&msel(self.drill.scenario()))),
            Typed::World => self.app.ui.say(&self.drill.world_lines().join("\n")),
            _ => {}
        }
        if let Some(answer) = self.drill.do_typed(&typed, &self.who).map_err(broken)? {
            self.app.ui.say(&answer);
        }
        Ok(())
    }

    fn clock(&self, at: Timestamp) -> String {
        format!("DRILL +{}", duration(at.since_ms(self.begin) / 1_000 * 1_000))
    }

    /// Tells what is new: what happened in the run, what was said, what asks for a person.
    fn tell(&mut self) {
        let width = self.app.ui.told_width;
        let events = self.drill.journal().iter().skip(self.told.0).map(|recorded| {
            let (step, what) = sentence(&recorded.event);
            let what = step.map_or(what.clone(), |step| format!("{step}: {what}"));
            (recorded.at, text::cut(&format!("{} {what}", self.clock(recorded.at)), width))
        });
        let said = self.drill.log().iter().skip(self.told.1).filter_map(|entry| {
            let (kind, who, what) = logged_words(&entry.what)?;
            let line = format!("{} {who}: {what}", self.clock(entry.at));
            let line = if kind == "inject" { paint(WARN, &line) } else { line };
            (!matches!(entry.what, Logged::Ended { .. })).then_some((entry.at, line))
        });
        let mut lines: Vec<(Timestamp, String)> = events.chain(said).collect();
        lines.sort_by_key(|(at, _)| *at);
        for (_, line) in &lines {
            self.app.ui.say(line);
        }
        self.told = (self.drill.journal().len(), self.drill.log().len());
        self.tell_wants();
    }

    fn tell_wants(&mut self) {
        let Some(view) = self.view() else { return };
        let wants: Vec<String> = view
            .wants
            .iter()
            .map(|want| format!("{} {}: {}", want.step, want.what, want.why))
            .collect();
        for want in wants.iter().filter(|want| !self.wants.contains(want)) {
            self.app.ui.say(&paint(BOLD, &format!("  asks for a person: {want}")));
        }
        self.wants = wants;
    }

    fn view(&self) -> Option<RunView> {
        let best = |_: &backout_core::plan::PlanStep| None;
        let facts = RunFacts {
            now: self.drill.now(),
            driven: self.drill.away().is_none(),
            head: None,
            best_guarantee: &best,
        };
        Some(run_view(self.drill.state()?, &facts))
    }

    fn show_status(&self) {
        if let Some(view) = self.view() {
            let shown = status::run(&view, self.drill.now().0, self.app.ui.width);
            self.app.ui.say(&format!("{}\n{shown}", paint(WARN, "DRILL")));
        }
        if let Some(away) = self.drill.away() {
            self.app.ui.say(&paint(DIM, away));
        }
    }

    fn hotwash(&self) {
        let over = self.drill.log().iter().rev().find_map(|entry| match &entry.what {
            Logged::Ended { why } => Some(why.clone()),
            _ => None,
        });
        let mut lines = vec![format!(
            "{} the exercise is over: {}",
            paint(WARN, "DRILL"),
            over.unwrap_or_default()
        )];
        lines.extend(self.drill.scenario().hotwash().iter().map(|one| format!("  {one}")));
        self.app.ui.say(&lines.join("\n"));
    }
}
