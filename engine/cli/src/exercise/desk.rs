//! An exercise in the engine's place: every face works with it as with an engine, and it reaches
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::contract::Guarantee;
use backout_core::event::{Actor, Cause};
use backout_core::id::{RunId, StepId};
use backout_core::plan::PlanStep;
use backout_plugin_api::SystemSecrets;
use backout_runtime::{Answer, Clock, EngineError, Host, Start, SystemClock};
use backout_server::desk::{Desk, Exercise, ExerciseView, SeatView};
use backout_server::problem::Problem;
use backout_server::view::{Leading, drill_view, rfc3339};
use backout_tabletop::drill::Drill;
use backout_tabletop::log::Logged;
use backout_tabletop::scenario::Timed;

use super::led::Led;
use super::room::Room;
use super::seat;
use super::table::{Pace, Table};

/// No action at all: there is nothing in it that could reach anything.
fn no_host() -> Arc<Host> {
    Arc::new(Host::new(Vec::new(), Arc::new(SystemSecrets::default())))
}

/// A drill that takes commands.
pub(crate) struct DrillDesk {
    table: Arc<Table>,
    guarantees: BTreeMap<StepId, Guarantee>,
    host: Arc<Host>,
}

impl DrillDesk {
    /// A desk of a drill, with what the real actions of its steps would guarantee.
    pub(crate) fn new(table: Arc<Table>, guarantees: BTreeMap<StepId, Guarantee>) -> Self {
        Self { table, guarantees, host: no_host() }
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

    fn seat(&self, who: &Actor) -> SeatView {
        seat::seat(&*self.table, who)
    }

    fn line(&self, line: &str, who: &Actor) -> Result<Option<String>, Problem> {
        seat::say(&*self.table, line, who)
    }

    fn emergency(&self, who: &Actor, text: &str) -> Result<(), Problem> {
        seat::call(&*self.table, who, text)
    }
}

fn view(drill: &Drill, pace: Pace) -> ExerciseView {
    let scenario = drill.scenario();
    let called = drill.state().and_then(|state| drill_view(state, Leading::Somebody)?.emergency);
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
        told: seat::told(&drill.exercise()),
    }
}

/// A discussion: there is no run in it, and none can be begun.
pub(crate) struct RoomDesk {
    room: Arc<Room>,
    host: Arc<Host>,
}

impl RoomDesk {
    /// A desk of a discussion.
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self { room, host: no_host() }
    }
}

fn no_run() -> EngineError {
    EngineError::Rejected {
        message: "this is a discussion: there is no run in it".to_owned(),
        help: Some(
            "to operate one in a simulated world: backout drill FILE --scenario SCENARIO".into(),
        ),
    }
}

#[async_trait]
impl Desk for RoomDesk {
    async fn begin(&self, _: RunId, _: Start, _: Cause) -> Result<(), EngineError> {
        Err(no_run())
    }

    async fn resume(&self, _: &RunId, _: Cause) -> Result<(), EngineError> {
        Err(no_run())
    }

    async fn ask(&self, _: &RunId, _: Ask, _: Cause) -> Result<Answer, EngineError> {
        Err(no_run())
    }

    fn driven(&self) -> Vec<RunId> {
        Vec::new()
    }

    fn best_guarantee(&self, _: &PlanStep) -> Option<Guarantee> {
        None
    }

    fn host(&self) -> &Arc<Host> {
        &self.host
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    fn exercise(&self) -> Option<&dyn Exercise> {
        Some(self)
    }
}

impl Exercise for RoomDesk {
    fn view(&self) -> ExerciseView {
        let record = self.room.record();
        let now = record.end.unwrap_or_else(|| SystemClock.now());
        let called = record.log.iter().find_map(|entry| match &entry.what {
            Logged::Emergency { by, text } if text.is_empty() => Some(by.clone()),
            Logged::Emergency { by, text } => Some(format!("{by}: {text}")),
            _ => None,
        });
        ExerciseView {
            scenario: record.scenario.name.clone(),
            title: record.scenario.title.clone(),
            situation: record.scenario.situation.clone(),
            run: String::new(),
            now: rfc3339(now),
            lasted_ms: now.since_ms(record.begin),
            lasts_ms: record.scenario.lasts.ms(),
            stopped: false,
            speed: 1,
            over: record.over().map(str::to_owned),
            emergency: called,
            told: Vec::new(),
        }
    }

    fn seat(&self, who: &Actor) -> SeatView {
        seat::seat(&*self.room, who)
    }

    fn line(&self, line: &str, who: &Actor) -> Result<Option<String>, Problem> {
        seat::say(&*self.room, line, who)
    }

    fn emergency(&self, who: &Actor, text: &str) -> Result<(), Problem> {
        seat::call(&*self.room, who, text)
    }
}
