//! The terminal of whoever leads a drill: lines in, what happens out. The clock of the exercise follows
//! the real one, as fast as was said, until somebody stops it.

use std::sync::Arc;

use backout_core::event::Event;
use backout_core::id::Timestamp;
use backout_server::Face;
use backout_server::view::{EMERGENCY, RunView, sentence};
use backout_tabletop::console::{HELP, Line, Typed, parse};
use backout_tabletop::drill::Drill;
use backout_tabletop::log::Logged;
use backout_tabletop::report::logged_words;

use super::broken;
use crate::app::App;
use crate::exercise::Table;
use crate::exit::Failure;
use crate::people;
use crate::view::style::{BOLD, DIM, HELP as HELP_STYLE, TROUBLE, WARN, paint};
use crate::view::{status, text};

/// The terminal of a drill.
pub(super) struct Console<'a> {
    app: &'a App,
    table: Arc<Table>,
    face: Face,
    /// Who is at the keyboard.
    who: String,
    /// How much of the journal and of the log is told.
    told: (usize, usize),
    /// What asks for a person, as it was last told.
    wants: Vec<String>,
}

impl<'a> Console<'a> {
    pub(super) fn new(app: &'a App, table: Arc<Table>, face: Face) -> Self {
        Self { app, table, face, who: people::user(), told: (0, 0), wants: Vec::new() }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn who(&self) -> &str {
        &self.who
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.app.ui.interactive
    }

    pub(super) fn is_over(&self) -> bool {
        self.table.look(|drill, _| drill.is_over())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.table.look(|drill, _| drill.is_closed())
    }

    pub(super) fn say(&self, text: &str) {
        self.app.ui.say(text);
    }

    /// What is simulated, what it is about, who takes part, how to join, what can be typed.
    pub(super) fn welcome(&self, join: &[String]) {
        let lines = self.table.look(|drill, _| {
            let scenario = drill.scenario();
            let mut lines = vec![
                paint(WARN, "DRILL: everything here is simulated; nothing real can be reached"),
                paint(BOLD, &scenario.title),
            ];
            if !scenario.situation.is_empty() {
                let width = self.app.ui.told_width.min(100);
                lines.push(text::wrapped(&scenario.situation, 0, width).trim_end().to_owned());
            }
            let roles = scenario.roles.iter();
            lines.extend(roles.map(|role| {
                format!("  {:<14} {} {}", role.role, role.who.as_deref().unwrap_or("-"), role.does)
            }));
            lines
        });
        self.say(&lines.join("\n"));
        for line in join {
            self.say(&paint(BOLD, line));
        }
        self.say(&paint(HELP_STYLE, HELP));
    }

    pub(super) fn tick(&self) -> Result<(), Failure> {
        self.table.tick().map_err(broken)
    }

    pub(super) fn end(&self, why: &str) -> Result<(), Failure> {
        self.table.end(why).map_err(broken)
    }

    pub(super) fn typed(&self, line: &str) -> Result<(), Failure> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let Line { who, typed } = match parse(line, &self.who) {
            Ok(line) => line,
            Err(error) => {
                self.say(&error);
                return Ok(());
            }
        };
        if typed == Typed::Status {
            self.show_status();
        }
        if let Some(answer) = self.table.typed(&typed, &who).map_err(broken)? {
            self.say(&answer);
        }
        Ok(())
    }

    /// Tells what is new: what happened in the run, what was said, what asks for a person.
    pub(super) fn tell(&mut self) {
        let width = self.app.ui.told_width;
        let (lines, told) = self.table.look(|drill, _| {
            let told = (drill.journal().len(), drill.log().len());
            (news(drill, self.told, width), told)
        });
        for line in &lines {
            self.say(line);
        }
        if told != self.told {
            self.told = told;
            self.tell_wants();
        }
    }

    fn tell_wants(&mut self) {
        let Some(view) = self.view().filter(|view| view.driven) else { return };
        let wants: Vec<String> = view
            .wants
            .iter()
            .map(|want| format!("{} {}: {}", want.step, want.what, want.why))
            .collect();
        for want in wants.iter().filter(|want| !self.wants.contains(want)) {
            self.say(&paint(BOLD, &format!("  asks for a person: {want}")));
        }
        self.wants = wants;
    }

    fn view(&self) -> Option<RunView> {
        self.face.view(self.table.run()).ok()
    }

    fn show_status(&self) {
        if let Some(view) = self.view() {
            self.say(&status::run(&view, self.face.now().0, self.app.ui.width));
        }
        if let Some(away) = self.table.look(|drill, _| drill.away().map(str::to_owned)) {
            self.say(&paint(DIM, &away));
        }
    }

    /// Says so that nobody overlooks it that it is real now; false where it is not.
    pub(super) fn shout_emergency(&self) -> bool {
        let called = self.view().and_then(|view| view.drill).and_then(|drill| drill.emergency);
        let Some(called) = called else { return false };
        let bar = "!".repeat(self.app.ui.width.min(100));
        for line in [&bar, EMERGENCY, &format!("Called by {called}"), &bar] {
            self.say(&paint(TROUBLE, line));
        }
        true
    }

    /// It is over, and why.
    pub(super) fn over(&self) {
        let over = self.table.look(|drill, _| drill.over().unwrap_or_default().to_owned());
        self.say(&format!("{} the exercise is over: {over}", paint(WARN, "DRILL")));
    }
}

/// What happened since so much was told, in order. Notes of the run are told by what was said.
fn news(drill: &Drill, told: (usize, usize), width: usize) -> Vec<String> {
    let since = drill.journal().iter().skip(told.0);
    let since = since.filter(|recorded| !matches!(recorded.event, Event::NoteTaken { .. }));
    let events = since.map(|recorded| {
        let (step, what) = sentence(&recorded.event);
        let what = step.map_or(what.clone(), |step| format!("{step}: {what}"));
        (recorded.at, text::cut(&format!("{} {what}", clock(drill, recorded.at)), width))
    });
    let said = drill.log().iter().skip(told.1).filter_map(|entry| {
        let (kind, who, what) = logged_words(&entry.what)?;
        let line = format!("{} {who}: {what}", clock(drill, entry.at));
        let line = if kind == "inject" { paint(WARN, &line) } else { line };
        (!matches!(entry.what, Logged::Ended { .. })).then_some((entry.at, line))
    });
    let mut lines: Vec<(Timestamp, String)> = events.chain(said).collect();
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn clock(drill: &Drill, at: Timestamp) -> String {
    format!("DRILL {}", drill.clock(at))
}
