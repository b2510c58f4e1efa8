//! Scenario text to a scenario, with every problem at its line.

use std::collections::BTreeMap;

use backout_core::plan::Plan;
use backout_runbook::document::{Document, advice, milliseconds};
use backout_runbook::{Problem, codes};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::Value;

use super::{Expected, Inject, On, SCENARIO_FORMAT, Scenario, StepModel, What};

/// A scenario as JSON schema.
pub fn schema() -> Value {
    schema_for!(Scenario).to_value()
}

/// Words for the state of a step.
const STATES: &[&str] = &[
    "preparing",
    "running",
    "waiting",
    "approval",
    "person",
    "lock",
    "retry",
    "soak",
    "timer",
    "output",
    "in-doubt",
    "unverified",
    "succeeded",
    "already-satisfied",
    "failed",
    "skipped",
    "undone",
];
/// Words for what a person asks.
const ASKS: &[&str] = &[
    "pause",
    "resume",
    "hold",
    "free",
    "part",
    "approve",
    "reject",
    "retry",
    "skip",
    "settle",
    "abort",
    "undo",
    "note",
    "close",
    "insert",
    "yield",
    "hand-over",
    "take-command",
    "supersede",
];
/// Words for the end of a run.
const ENDS: &[&str] = &["succeeded", "failed", "aborted", "undone"];
/// Words for a guarantee.
const GUARANTEES: &[&str] =
    &["manual", "probed", "keyed", "conditional", "transactional", "read-only"];
/// Words for what can be brought back.
const REVERSIBILITIES: &[&str] = &["none", "shape-only", "exact"];

/// Reads a scenario. With the plan of its runbook, what it names there is checked too.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn read(text: &str, plan: Option<&Plan>) -> Result<Scenario, Vec<Problem>> {
    let mut document = Document::read(text, "Scenario", &schema());
    let read = document.value().map(Scenario::deserialize);
    let Some(Ok(scenario)) = read else {
        if let Some(Err(error)) = read {
            let problem = Problem::new(codes::WRONG_TYPE, error.to_string());
            document.wrong("", problem, "in this scenario");
        }
        return Err(document.problems());
    };
    let steps: Option<Vec<&str>> =
        plan.map(|plan| plan.steps.iter().map(|step| step.id.as_str()).collect());
    let mut checker = Checker { document, scenario: &scenario, steps };
    checker.whole();
    let problems = checker.document.problems();
    if problems.is_empty() { Ok(scenario) } else { Err(problems) }
}

struct Checker<'s, 't> {
    document: Document<'t>,
    scenario: &'s Scenario,
    steps: Option<Vec<&'s str>>,
}

impl Checker<'_, '_> {
    fn whole(&mut self) {
        if self.scenario.format != SCENARIO_FORMAT {
            let message = format!("format {} is not known", self.scenario.format);
            let problem = Problem::new(codes::FORMAT, message);
            let help = format!("this release reads format {SCENARIO_FORMAT}");
            self.document.wrong("/format", problem.help(help), "here");
        }
        self.name();
        self.time("/lasts", Some(&self.scenario.lasts));
        self.time("/updates", self.scenario.updates.as_ref());
        self.world();
        for (step, model) in &self.scenario.steps {
            self.model(step, model);
        }
        self.unique("injects", self.scenario.injects.iter().map(|inject| inject.id.as_str()));
        self.unique("expected", self.scenario.expected.iter().map(|one| one.id.as_str()));
        self.unique("objectives", self.scenario.objectives.iter().map(|one| one.id.as_str()));
        for (at, inject) in self.scenario.injects.iter().enumerate() {
            self.inject(&format!("/injects/{at}"), inject);
        }
        for (at, expected) in self.scenario.expected.iter().enumerate() {
            self.expected(&format!("/expected/{at}"), expected);
        }
        for (at, question) in self.scenario.questions.iter().enumerate() {
            let at = format!("/questions/{at}");
            self.step(&format!("{at}/step"), question.step.as_deref());
            self.objective(&at, question.objective.as_deref());
        }
    }

    fn name(&mut self) {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name = &self.scenario.name;
        if name.is_empty() || !name.chars().all(fits) {
            let problem = Problem::new(codes::BAD_NAME, format!("`{name}` cannot be a name"));
            let problem = problem.advise("letters, digits, `-` and `_`: it names a folder");
            self.document.wrong("/name", problem, "not allowed");
        }
    }

    fn world(&mut self) {
        for (name, service) in &self.scenario.world.services {
            let at = format!("/world/services/{}", escaped(name));
            self.time(&format!("{at}/latency"), Some(&service.latency));
            self.time(&format!("{at}/latency_below"), Some(&service.latency_below));
            for (index, trouble) in service.troubles.iter().enumerate() {
                let at = format!("{at}/troubles/{index}");
                self.time(&format!("{at}/latency"), trouble.latency.as_ref());
                self.thing(&format!("{at}/thing"), &trouble.thing);
            }
        }
    }

    fn thing(&mut self, at: &str, thing: &str) {
        match thing.split_once(':') {
            Some(("step", step)) => self.step(at, Some(step)),
            Some(("flag" | "container" | "schema", _)) => {}
            Some(_) | None => {
                let problem = Problem::new(codes::BAD_WORD, format!("`{thing}` is no thing"));
                let help =
                    "write `flag:NAME`, `container:NAME`, `schema:NAME/VERSION` or `step:ID`";
                self.document.wrong(at, problem.advise(help), "not known");
            }
        }
    }

    fn model(&mut self, step: &str, model: &StepModel) {
        let at = format!("/steps/{}", escaped(step));
        self.step(&at, Some(step));
        for (index, time) in model.takes.iter().enumerate() {
            self.time(&format!("{at}/takes/{index}"), Some(time));
        }
        for (index, time) in model.took.iter().enumerate() {
            self.time(&format!("{at}/took/{index}"), Some(time));
        }
        if model.takes.len() > 3 {
            let message = "more than three durations are no distribution";
            let problem = Problem::new(codes::SCENARIO_SHAPE, message);
            let help = "write the least, the usual and the most; past durations go into `took`";
            self.document.wrong(&format!("{at}/takes"), problem.advise(help), "too many");
        }
        self.word(&format!("{at}/guarantee"), model.guarantee.as_deref(), GUARANTEES);
        self.word(&format!("{at}/reversibility"), model.reversibility.as_deref(), REVERSIBILITIES);
        let services: Vec<&str> = self.scenario.world.services.keys().map(String::as_str).collect();
        self.known(&format!("{at}/service"), model.service.as_deref(), "service", &services);
    }

    fn inject(&mut self, at: &str, inject: &Inject) {
        self.time(&format!("{at}/at"), inject.at.as_ref());
        if inject.at.is_some() && inject.on.is_some() {
            let problem = Problem::new(codes::SCENARIO_SHAPE, "`at` and `on` are two moments");
            let help = "keep one of them; without both the facilitator fires it by hand";
            self.document.wrong(&format!("{at}/on"), problem.advise(help), "besides `at`");
        }
        if inject.text.is_empty() && inject.what.is_none() {
            let message = format!("inject `{}` says nothing and does nothing", inject.id);
            let problem = Problem::new(codes::SCENARIO_SHAPE, message);
            self.document.wrong(at, problem.advise("add `text` or `what`"), "empty");
        }
        self.on(&format!("{at}/on"), inject.on.as_ref());
        self.objective(at, inject.objective.as_deref());
        let Some(what) = &inject.what else { return };
        let word = what.word();
        let at = format!("{at}/what/{word}");
        match what {
            What::KillEngine(away) | What::FullDisk(away) => {
                self.time(&format!("{at}/lasts"), Some(&away.lasts));
            }
            What::Silent(silent) => self.time(&format!("{at}/lasts"), Some(&silent.lasts)),
            What::Flag(_) => {}
            What::Fail(trouble)
            | What::Slow(trouble)
            | What::Lie(trouble)
            | What::LoseReply(trouble)
            | What::Unreachable(trouble)
            | What::SecondRollback(trouble)
            | What::LongTransaction(trouble) => {
                self.step(&format!("{at}/step"), Some(&trouble.step));
                self.time(&format!("{at}/lasts"), trouble.lasts.as_ref());
                if what.needs_time() && trouble.lasts.is_none() {
                    let message = format!("`{word}` needs the field `lasts`");
                    let problem = Problem::new(codes::MISSING_FIELD, message);
                    self.document.wrong(&at, problem.advise("add `lasts: \"10m\"`"), "here");
                }
            }
        }
    }

    fn expected(&mut self, at: &str, expected: &Expected) {
        self.time(&format!("{at}/within"), expected.within.as_ref());
        self.on(&format!("{at}/on"), expected.on.as_ref());
        self.step(&format!("{at}/step"), expected.step.as_deref());
        self.objective(at, expected.objective.as_deref());
        self.word(&format!("{at}/ask"), expected.ask.as_deref(), ASKS);
        self.word(&format!("{at}/end"), expected.end.as_deref(), ENDS);
        if expected.ask.is_some() == expected.end.is_some() {
            let message = format!("`{}` expects one of `ask` and `end`", expected.id);
            let problem = Problem::new(codes::SCENARIO_SHAPE, message);
            self.document.wrong(at, problem.advise("keep one of them"), "here");
        }
    }

    fn on(&mut self, at: &str, on: Option<&On>) {
        let Some(on) = on else { return };
        self.step(&format!("{at}/step"), on.step.as_deref());
        self.word(&format!("{at}/is"), on.is.as_deref(), STATES);
        self.word(&format!("{at}/decision"), on.decision.as_deref(), ASKS);
        self.time(&format!("{at}/after"), on.after.as_ref());
        let injects: Vec<&str> = self.scenario.injects.iter().map(|one| one.id.as_str()).collect();
        self.known(&format!("{at}/inject"), on.inject.as_deref(), "inject", &injects);
        if on.step.is_none() && on.decision.is_none() && on.inject.is_none() {
            let problem = Problem::new(codes::SCENARIO_SHAPE, "`on` names no moment");
            self.document.wrong(at, problem.advise("add `step`, `decision` or `inject`"), "empty");
        }
    }

    fn objective(&mut self, at: &str, objective: Option<&str>) {
        let names: Vec<&str> = self.scenario.objectives.iter().map(|one| one.id.as_str()).collect();
        self.known(&format!("{at}/objective"), objective, "objective", &names);
    }

    fn step(&mut self, at: &str, step: Option<&str>) {
        let Some(steps) = self.steps.clone() else { return };
        self.known(at, step, "step", &steps);
    }

    fn known(&mut self, at: &str, name: Option<&str>, kind: &str, names: &[&str]) {
        let Some(name) = name.filter(|name| !names.contains(name)) else { return };
        let problem = Problem::new(codes::SCENARIO_NAME, format!("there is no {kind} `{name}`"));
        let help = advice(name, &format!("the {kind}s are"), names);
        self.document.wrong(at, problem.help(help), &format!("no such {kind}"));
    }

    fn word(&mut self, at: &str, word: Option<&str>, words: &[&str]) {
        let Some(word) = word.filter(|word| !words.contains(word)) else { return };
        let problem = Problem::new(codes::BAD_WORD, format!("`{word}` is not a word for this"));
        self.document.wrong(at, problem.help(advice(word, "write one of", words)), "not known");
    }

    fn time(&mut self, at: &str, text: Option<&String>) {
        if let Some(text) = text {
            self.document.duration(at, text);
        }
    }

    fn unique<'i>(&mut self, list: &str, ids: impl Iterator<Item = &'i str>) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, id) in ids.enumerate() {
            if let Some(first) = seen.insert(id, at) {
                let message =
                    format!("two of `{list}` are called `{id}`, numbers {first} and {at}");
                let problem = Problem::new(codes::DUPLICATE_ID, message);
                self.document.wrong(&format!("/{list}/{at}/id"), problem, "again here");
            }
        }
    }
}

fn escaped(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

impl What {
    /// The word in a scenario.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fail(_) => "fail",
            Self::Slow(_) => "slow",
            Self::Lie(_) => "lie",
            Self::LoseReply(_) => "lose_reply",
            Self::Unreachable(_) => "unreachable",
            Self::KillEngine(_) => "kill_engine",
            Self::FullDisk(_) => "full_disk",
            Self::SecondRollback(_) => "second_rollback",
            Self::Silent(_) => "silent",
            Self::Flag(_) => "flag",
            Self::LongTransaction(_) => "long_transaction",
        }
    }

    fn needs_time(&self) -> bool {
        matches!(
            self,
            Self::Slow(_)
                | Self::Unreachable(_)
                | Self::SecondRollback(_)
                | Self::LongTransaction(_)
        )
    }
}

/// A duration of a scenario that was read, in milliseconds.
pub trait Timed {
    /// The milliseconds; 0 where it is none, which a scenario that was read does not hold.
    fn ms(&self) -> u64;
}

impl Timed for str {
    fn ms(&self) -> u64 {
        milliseconds(self).unwrap_or_default()
    }
}

impl Timed for Option<String> {
    fn ms(&self) -> u64 {
        self.as_deref().map_or(0, Timed::ms)
    }
}
