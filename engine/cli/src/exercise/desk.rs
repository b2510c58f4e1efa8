//! A drill in the engine's place: every face works with it as with an engine, and it reaches nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use backout_core::command::Ask;
use backout_core::contract::Guarantee;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId};
use backout_core::plan::PlanStep;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Answer, Clock, EngineError, Host, Start};
use backout_server::desk::{
    Desk, Exercise, ExerciseView, HotwashQuestion, PlannedInject, RatedObjective, ScriptView, Told,
};
use backout_server::problem::Problem;
use backout_server::view::{drill_view, rfc3339};
use backout_tabletop::console::{self, Typed};
use backout_tabletop::drill::{Broken, Drill};
use backout_tabletop::log::{Entry, Logged};
use backout_tabletop::report::logged_words;
use backout_tabletop::scenario::{Inject, What, msel};

use super::table::{Pace, Table};

/// A drill that takes commands.
pub(crate) struct DrillDesk {
    table: Arc<Table>,
    guarantees: BTreeMap<StepId, Guarantee>,
    /// No action at all: there is nothing in it that could reach anything.
    host: Arc<Host>,
}

impl DrillDesk {
    /// A desk of a drill, with what the real actions of its steps would guarantee.
    pub(crate) fn new(table: Arc<Table>, guarantees: BTreeMap<StepId, Guarantee>) -> Self {
        let host = Arc::new(Host::new(Vec::new(), Arc::new(SystemSecrets::default())));
        Self { table, guarantees, host }
    }
}

#[async_trait]
impl Desk for DrillDesk {
    async fn begin(&self, _: RunId, _: Start, _: Cause) -> Result<(), EngineError> {
        Err(EngineError::Rejected {
            message: "this is a drill: its one run began with it".to_owned(),
            help: Some("start real runs in a store of their own, without this `--store`".into()),
        })
    }

    async fn resume(&self, run: &RunId, cause: Cause) -> Result<(), EngineError> {
        self.ask(run, Ask::Resume, cause).await.map(drop)
    }

    async fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError> {
        let (table, run) = (self.table.clone(), run.clone());
        let asked = tokio::task::spawn_blocking(move || table.ask(&run, ask, cause)).await;
        asked.unwrap_or_else(|error| Err(EngineError::Stopped { why: error.to_string() }))
    }

    fn driven(&self) -> Vec<RunId> {
        self.table.is_driven().then(|| self.table.run().clone()).into_iter().collect()
    }

    fn best_guarantee(&self, step: &PlanStep) -> Option<Guarantee> {
        self.guarantees.get(&step.id).copied()
    }

    fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.table.clock()
    }

    fn exercise(&self) -> Option<&dyn Exercise> {
        Some(self)
    }
}

impl Exercise for DrillDesk {
    fn view(&self) -> ExerciseView {
        self.table.look(view)
    }

    fn script(&self) -> ScriptView {
        self.table.look(|drill, _| script(drill))
    }

    fn line(&self, line: &str, who: &Actor) -> Result<Option<String>, Problem> {
        let typed = console::typed(line, &who.name).map_err(unfit)?;
        match typed {
            Typed::Decide(_) => {
                let help = "the run's own page and commands take it, under your own name";
                Err(unfit("this is a decision about the run".to_owned()).helped(help))
            }
            Typed::Status => Ok(Some("the run's page shows it, and so does `status`".to_owned())),
            Typed::Emergency(text) => self.emergency(who, &text).map(|()| None),
            typed => self.table.typed(&typed, &who.name).map_err(internal),
        }
    }

    fn emergency(&self, who: &Actor, text: &str) -> Result<(), Problem> {
        let cause = Cause { command: None, actor: who.clone(), reason: None, break_glass: false };
        self.table.emergency(&cause, text).map_err(internal)
    }
}

fn unfit(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not understood", detail)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn internal(error: Broken) -> Problem {
    Problem::internal(error.to_string())
}

fn view(drill: &Drill, pace: Pace) -> ExerciseView {
    let scenario = drill.scenario();
    let called = drill.state().and_then(|state| drill_view(state, true)?.emergency);
    ExerciseView {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        situation: scenario.situation.clone(),
        run: drill.run_id().to_string(),
        now: rfc3339(drill.now()),
        lasted_ms: drill.now().since_ms(drill.begin_at()),
        lasts_ms: drill.limit().since_ms(drill.begin_at()),
        stopped: pace.stopped,
        speed: pace.speed,
        over: drill.over().map(str::to_owned),
        emergency: called,
        told: drill.log().iter().filter_map(|entry| told(drill, entry)).collect(),
    }
}

fn told(drill: &Drill, entry: &Entry) -> Option<Told> {
    let Logged::Inject { from, to, by, text, .. } = &entry.what else { return None };
    let clock = drill.clock(entry.at);
    (!text.is_empty()).then(|| message(&clock, [from, to, by, text]))
}

fn message(clock: &str, [from, to, by, text]: [&String; 4]) -> Told {
    let from = if from.is_empty() { "facilitator".to_owned() } else { from.clone() };
    let (to, by, text) = (to.clone(), by.clone(), text.clone());
    Told { clock: clock.to_owned(), from, to, by, text }
}

fn script(drill: &Drill) -> ScriptView {
    let scenario = drill.scenario();
    let rows = msel(scenario);
    let when = |id: &str| rows.iter().find(|row| row.id == id).map(|row| row.time.clone());
    let inject = |inject: &Inject| PlannedInject {
        id: inject.id.clone(),
        when: when(&inject.id).unwrap_or_default(),
        message: message("", [&inject.from, &inject.to, &inject.by, &inject.text]),
        what: inject.what.as_ref().map(What::sentence).unwrap_or_default(),
        fired: fired(drill, &inject.id),
    };
    let expected = rows.iter().filter(|row| !row.expected.is_empty());
    ScriptView {
        injects: scenario.injects.iter().map(inject).collect(),
        objectives: objectives(drill),
        expected: expected.map(|row| format!("{}: {}", row.id, row.expected)).collect(),
        world: drill.world_lines(),
        hotwash: hotwash(drill),
        closed: drill.is_closed(),
        log: drill.log().iter().filter_map(|entry| line(drill, entry)).collect(),
    }
}

fn hotwash(drill: &Drill) -> Vec<HotwashQuestion> {
    let answers = |wanted: &str| {
        let entries = drill.log().iter().filter_map(|entry| match &entry.what {
            Logged::Answered { question, answer, by, .. } if question == wanted => {
                Some((by.clone(), answer.clone()))
            }
            _ => None,
        });
        entries.collect()
    };
    let questions = drill.scenario().hotwash().into_iter();
    questions.map(|question| HotwashQuestion { answers: answers(&question), question }).collect()
}

fn fired(drill: &Drill, wanted: &str) -> Option<String> {
    let is_it = |entry: &&Entry| matches!(&entry.what, Logged::Inject { id, .. } if id == wanted);
    drill.log().iter().rev().find(is_it).map(|entry| drill.clock(entry.at))
}

fn line(drill: &Drill, entry: &Entry) -> Option<(String, String, String)> {
    let (_, who, what) = logged_words(&entry.what)?;
    Some((drill.clock(entry.at), who, what))
}

fn objectives(drill: &Drill) -> Vec<RatedObjective> {
    let rated = |wanted: &str| {
        drill.log().iter().rev().find_map(|entry| match &entry.what {
            Logged::Rated { objective, rating, text, .. } if objective == wanted => {
                Some(format!("{rating:?} {text}").trim_end().to_owned())
            }
            _ => None,
        })
    };
    let all = drill.scenario().objectives.iter();
    let one = |objective: &backout_tabletop::scenario::Objective| RatedObjective {
        id: objective.id.clone(),
        text: objective.text.clone(),
        guide: objective.guide.clone(),
        rating: rated(&objective.id),
    };
    all.map(one).collect()
}
