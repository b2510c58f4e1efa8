//! The terminal of whoever leads an exercise: lines in, what happens out. The clock of a drill follows
//! the real one, as fast as was said, until somebody stops it.

use std::sync::Arc;

use backout_core::event::Recorded;
use backout_core::id::Timestamp;
use backout_server::Face;
use backout_server::view::{EMERGENCY, RunView, counted, sentence};
use backout_tabletop::console::{Line, Typed, drill_help, parse, talk_help};
use backout_tabletop::log::{Entry, Exercise, Kind, Logged};
use backout_tabletop::report::{Telling, logged_words};
use backout_tabletop::scenario::Question;

use super::broken;
use super::led::Led;
use crate::app::App;
use crate::exit::Failure;
use crate::people;
use crate::view::style::{BOLD, DIM, HELP as HELP_STYLE, TROUBLE, WARN, paint};
use crate::view::{status, text};

/// The terminal of an exercise.
pub(crate) struct Console<'a> {
    app: &'a App,
    led: Arc<dyn Led>,
    face: Face,
    /// Who is at the keyboard.
    who: String,
    /// How much of the journal and of the log is told.
    told: (usize, usize),
    telling: Telling,
    /// What asks for a person, as it was last told.
    wants: Vec<String>,
}

impl<'a> Console<'a> {
    pub(crate) fn new(app: &'a App, led: Arc<dyn Led>, face: Face) -> Self {
        let telling = Telling::default();
        Self { app, led, face, who: people::user(), told: (0, 0), telling, wants: Vec::new() }
    }

    pub(super) fn led(&self) -> &dyn Led {
        &*self.led
    }

    pub(super) fn who(&self) -> &str {
        &self.who
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.app.ui.interactive
    }

    pub(crate) fn is_over(&self) -> bool {
        self.led.record().end.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.led.record().is_closed()
    }

    pub(crate) fn say(&self, text: &str) {
        self.app.ui.say(text);
    }

    /// What it is and is not, what it is about, who takes part, how to join, what can be typed.
    pub(crate) fn welcome(&self, join: &[String], help: &str) {
        let record = self.led.record();
        let mut lines =
            vec![paint(WARN, nothing_real(record.exercise)), paint(BOLD, &record.scenario.title)];
        if !record.scenario.situation.is_empty() {
            lines.push(self.wrapped(&record.scenario.situation));
        }
        let roles = record.scenario.roles.iter();
        lines.extend(roles.map(|role| {
            format!("  {:<14} {} {}", role.role, role.who.as_deref().unwrap_or("-"), role.does)
        }));
        self.say(&lines.join("\n"));
        for line in join {
            self.say(&paint(BOLD, line));
        }
        self.say(&paint(HELP_STYLE, help));
    }

    fn wrapped(&self, paragraph: &str) -> String {
        let width = self.app.ui.told_width.min(100);
        text::wrapped(paragraph, 0, width).trim_end().to_owned()
    }

    pub(super) fn tick(&self) -> Result<(), Failure> {
        self.led.tick().map_err(broken)
    }

    pub(crate) fn end(&self, why: &str) -> Result<(), Failure> {
        self.led.end(why).map_err(broken)
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
        if let Some(answer) = self.led.typed(&typed, &who).map_err(broken)? {
            self.say(&answer);
        }
        Ok(())
    }

    /// The hotwash is over: every page says so.
    pub(super) fn close(&self) -> Result<(), Failure> {
        if self.is_closed() {
            return Ok(());
        }
        self.led.typed(&Typed::Finish, &self.who).map(drop).map_err(broken)
    }

    /// Tells what is new: what happened in the run, what was said, what asks for a person. Whether
    /// there was anything.
    pub(crate) fn tell(&mut self) -> bool {
        let (record, journal) = (self.led.record(), self.led.journal(self.told.0));
        let told = (self.told.0 + journal.len(), record.log.len());
        if told == self.told {
            return false;
        }
        for line in self.news(&record, &journal) {
            self.say(&line);
        }
        self.told = told;
        self.tell_wants();
        true
    }

    /// What happened since so much was told, in order.
    fn news(&mut self, record: &Exercise, journal: &[Recorded]) -> Vec<String> {
        let width = self.app.ui.told_width;
        let events: Vec<&Recorded> =
            journal.iter().filter(|one| self.telling.tells(&one.event)).collect();
        let events = events.into_iter().map(|one| {
            let (step, what) = sentence(&one.event);
            let what = step.map_or(what.clone(), |step| format!("{step}: {what}"));
            let line = format!("{} {what}", clock(record, one.at));
            // What was said at an event was said after it.
            ((one.at, one.seq, false), text::cut(&line, width))
        });
        let said = record.log.iter().skip(self.told.1);
        let said =
            said.filter_map(|entry| Some(((entry.at, entry.seq, true), self.said(record, entry)?)));
        let mut lines: Vec<_> = events.chain(said).collect();
        lines.sort_by_key(|(place, _)| *place);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Something of the log; nothing where it is told otherwise.
    fn said(&self, record: &Exercise, entry: &Entry) -> Option<String> {
        let find = |id: &str| {
            let all = record.scenario.questions.iter().zip(1..);
            all.into_iter().find(|(question, _)| question.id == id)
        };
        match &entry.what {
            Logged::Ended { .. } => return None,
            // What the team said at this terminal stands there already.
            Logged::Answered { by, .. } if by.is_empty() => return None,
            Logged::Asked { question } => {
                let (question, number) = find(question)?;
                return Some(self.asked(question, number));
            }
            Logged::Shown { question, plan } => {
                let (question, _) = find(question)?;
                return Some(self.shown(question, plan.as_deref()));
            }
            _ => {}
        }
        let (kind, who, what) = logged_words(&record.scenario, &entry.what)?;
        let line = self.wrapped(&format!("{} {who}: {what}", clock(record, entry.at)));
        Some(if kind == "inject" { paint(WARN, &line) } else { line })
    }

    fn asked(&self, question: &Question, number: usize) -> String {
        let mut lines = vec![String::new()];
        if !question.situation.is_empty() {
            lines.push(self.wrapped(&question.situation));
        }
        lines.push(format!("{number}. {}", paint(BOLD, &question.ask)));
        let choices = question.choices.iter().enumerate();
        lines.extend(choices.map(|(at, choice)| format!("   {}) {choice}", at + 1)));
        lines.join("\n")
    }

    fn shown(&self, question: &Question, plan: Option<&str>) -> String {
        let plan = plan.unwrap_or("it has no say here");
        let told = |what: &str, text: &str| {
            let whole = self.wrapped(&format!("{what} {text}"));
            whole.replacen(what, &paint(HELP_STYLE, what), 1)
        };
        let mut lines = vec![told("the plan:", plan)];
        if !question.look_for.is_empty() {
            lines.push(told("look for:", &question.look_for.join("; ")));
        }
        lines.join("\n")
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
        self.face.view(self.led.run()?).ok()
    }

    fn show_status(&self) {
        match self.view() {
            Some(view) => self.say(&status::run(&view, self.face.now().0, self.app.ui.width)),
            None => self.show_talk(),
        }
        if let Some(away) = self.led.away() {
            self.say(&paint(DIM, &away));
        }
    }

    fn show_talk(&self) {
        let Some(talk) = self.led.talk(true) else { return };
        for one in talk.asked {
            self.say(&format!("{}. {}", one.number, one.ask));
            for (by, answer) in one.answers {
                let by = if by.is_empty() { "the team" } else { &by };
                self.say(&format!("   {by}: {answer}"));
            }
        }
        self.say(&format!("to come: {}", counted(talk.to_come, "question")));
    }

    /// Says so that nobody overlooks it that it is real now; false where it is not.
    pub(crate) fn shout_emergency(&self) -> bool {
        let record = self.led.record();
        let called = record.log.iter().find_map(|entry| match &entry.what {
            Logged::Emergency { by, text } if text.is_empty() => Some(by.clone()),
            Logged::Emergency { by, text } => Some(format!("{by}: {text}")),
            _ => None,
        });
        let Some(called) = called else { return false };
        let bar = "!".repeat(self.app.ui.width.min(100));
        for line in [&bar, EMERGENCY, &format!("Called by {called}"), &bar] {
            self.say(&paint(TROUBLE, line));
        }
        true
    }

    /// It is over, and why.
    pub(crate) fn over(&self) {
        let record = self.led.record();
        let word = paint(WARN, word(record.exercise));
        self.say(&format!("{word} the exercise is over: {}", record.over().unwrap_or_default()));
    }
}

/// What can be typed.
pub(super) fn help(kind: Kind) -> String {
    if kind == Kind::Discussion { talk_help() } else { drill_help() }
}

fn word(kind: Kind) -> &'static str {
    if kind == Kind::Discussion { "DISCUSSION" } else { "DRILL" }
}

fn nothing_real(kind: Kind) -> &'static str {
    match kind {
        Kind::Discussion => "DISCUSSION: nothing is run",
        Kind::Drill | Kind::WhatIf => {
            "DRILL: everything here is simulated; nothing real can be reached"
        }
    }
}

fn clock(record: &Exercise, at: Timestamp) -> String {
    format!("{} {}", word(record.exercise), record.clock(at))
}
