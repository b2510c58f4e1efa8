//! A drill: a runbook, the same core as ever, a simulated world, and a clock of its own.
//!
//! Everything that will happen stands in one queue by its moment. Nothing waits: the clock jumps to
//! the next happening, or goes as far as somebody lets it ([`Drill::advance_to`]).

mod ask;
mod engine;
mod inject;
mod planned;
mod shell;
mod told;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use backout_core::command::Report;
use backout_core::contract::Guarantee;
use backout_core::drive::Run;
use backout_core::event::{Actor, Cause, Event, Recorded};
pub use backout_core::exercise::DRILL_LABEL;
use backout_core::exercise::{DRILL_TITLE_LABEL, has_mark};
use backout_core::id::{EffectKey, Epoch, LockToken, RunId, StepId, TargetId, Timestamp};
use backout_core::plan::{Environment, Plan};
use backout_core::state::{Phase, RunState};
use backout_core::watch::Watch;
use backout_core::{Dispatch, Name};

use crate::decisions::Decision;
use crate::log::{EXERCISE_FORMAT, Entry, Exercise, Kind, Logged};
use crate::scenario::{Scenario, Timed};
use crate::world::{Reply, World};
pub use ask::decision_words;
use planned::Planned;

/// Happenings of one exercise: an hour of 200 steps has some ten thousand. Beyond, something goes
/// round and round.
const HAPPENINGS_MAX: u64 = 5_000_000;

/// The exercise cannot go on: a mistake in this program, or a record that does not fold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the exercise cannot go on: {0}")]
pub struct Broken(pub String);

/// What an exercise begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The run's name.
    pub run: RunId,
    /// What the runbook would do.
    pub plan: Plan,
    /// The runbook's text.
    pub text: String,
    /// The scenario.
    pub scenario: Scenario,
    /// By step, the best guarantee that the real action gives for its input.
    pub guarantees: BTreeMap<StepId, Guarantee>,
    /// What decides every chance.
    pub seed: u64,
    /// When the exercise begins, by its own clock.
    pub begin: Timestamp,
    /// Decisions that come by themselves.
    pub decisions: Vec<Decision>,
    /// How many of a thousand sendings meet trouble by chance.
    pub chaos: u64,
}

#[derive(Debug)]
enum Happening {
    Answer { life: u64, name: Name, report: Box<Report> },
    Look { life: u64, name: Name, watch: Box<Watch>, unseen: Option<Timestamp> },
    Land { dispatch: Box<Dispatch> },
    Reply { life: u64, name: Name, dispatch: Box<Dispatch>, reply: Reply },
    Wake { life: u64 },
    Planned { at: usize },
    Back { life: u64 },
    TryLocks { step: StepId },
}

/// Who holds which target, and the counter of tokens.
#[derive(Debug, Default)]
struct Locks {
    held: BTreeMap<TargetId, LockToken>,
    counter: u64,
    /// Steps whose targets another rollback holds, and until when.
    foreign: BTreeMap<StepId, (String, Timestamp, Timestamp)>,
}

/// A drill under way.
#[derive(Debug)]
pub struct Drill {
    setup: Setup,
    now: Timestamp,
    order: u64,
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    /// When the next [`Happening::Wake`] stands in the queue.
    wakes: Option<Timestamp>,
    world: World,
    run: Run,
    journal: Vec<Recorded>,
    /// Why no engine drives the run; absent while one does.
    away: Option<String>,
    /// Rises with each loss of the engine: what was asked by an earlier one is not answered.
    life: u64,
    under_way: BTreeSet<Name>,
    lost: BTreeSet<EffectKey>,
    locks: Locks,
    planned: Vec<Planned>,
    fired: BTreeSet<String>,
    silent: BTreeMap<String, Timestamp>,
    log: Vec<Entry>,
    ended: Option<Timestamp>,
    kind: Kind,
}

impl Drill {
    /// Begins a drill: its run is created and an engine drives it.
    ///
    /// # Errors
    /// The core did not take the plan.
    pub fn begin(mut setup: Setup) -> Result<Self, Broken> {
        mark(&mut setup.plan, &setup.scenario);
        let mut drill = Self::empty(setup, Kind::Drill);
        drill.create()?;
        drill.attach()?;
        Ok(drill)
    }

    fn empty(setup: Setup, kind: Kind) -> Self {
        let Setup { scenario, plan, guarantees, seed, begin, decisions, .. } = &setup;
        let mut world = World::new(scenario, plan, guarantees, *seed, *begin);
        world.chaos = setup.chaos;
        let planned = Planned::all(scenario, decisions);
        let mut drill = Self {
            now: *begin,
            order: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            wakes: None,
            world,
            run: Run::new(Epoch(1)),
            journal: Vec::new(),
            away: None,
            life: 0,
            under_way: BTreeSet::new(),
            lost: BTreeSet::new(),
            locks: Locks::default(),
            planned,
            fired: BTreeSet::new(),
            silent: BTreeMap::new(),
            log: Vec::new(),
            ended: None,
            kind,
            setup,
        };
        drill.schedule_planned();
        drill
    }

    /// Goes on from a record: its journal up to a position, in a world that starts from what it
    /// shows. The rest of the record only tells what was under way then.
    ///
    /// # Errors
    /// The record does not fold.
    pub fn leave(
        mut setup: Setup,
        record: &[Recorded],
        at: backout_core::id::Seq,
    ) -> Result<Self, Broken> {
        mark(&mut setup.plan, &setup.scenario);
        let kept = record.iter().filter(|r| r.seq <= at).cloned();
        let kept: Vec<Recorded> = kept.map(|r| simulated(r, &setup.scenario)).collect();
        let last = kept.last().ok_or_else(|| Broken("the record is empty there".into()))?;
        setup.begin = last.at;
        let epoch = last.epoch;
        let mut drill = Self::empty(setup, Kind::WhatIf);
        drill.run = Run::new(epoch);
        drill.run.load(&kept).map_err(|error| Broken(error.to_string()))?;
        drill.journal = kept;
        if let Some(state) = &drill.run.state {
            drill.world.take_record(record, state, &drill.setup.scenario.steps);
            drill.locks.held.clone_from(&state.locks);
            drill.locks.counter = state.locks.values().map(|token| token.0).max().unwrap_or(0);
        }
        drill.run.epoch = Epoch(epoch.0 + 1);
        drill.attach()?;
        Ok(drill)
    }

    /// The time, by the clock of the exercise.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When the exercise is over at the latest.
    pub fn limit(&self) -> Timestamp {
        self.setup.begin.plus_ms(self.setup.scenario.lasts.ms())
    }

    /// The state of the run.
    pub fn state(&self) -> Option<&RunState> {
        self.run.state.as_ref()
    }

    /// All that the run's journal holds.
    pub fn journal(&self) -> &[Recorded] {
        &self.journal
    }

    /// All that was done besides.
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// The world, for those who look.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.setup.scenario
    }

    /// Why no engine drives the run now; absent while one does.
    pub fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    /// Whether the exercise is over.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// What must never be and was, an effect made twice for instance.
    pub fn broken(&self) -> &[String] {
        &self.world.broken
    }

    /// Somebody has looked so closely at the target that a sending which has not arrived by now never
    /// will.
    pub(crate) fn seal(&mut self, key: &EffectKey) {
        self.world.seal(key);
    }

    /// When something happens next.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((due, _))| Timestamp(*due))
    }

    /// Plays to the end.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn play(&mut self) -> Result<(), Broken> {
        while !self.is_over() {
            match self.next_due() {
                Some(due) if due <= self.limit() => self.advance_to(due)?,
                Some(_) | None => {
                    let limit = self.limit();
                    self.now = self.now.max(limit);
                    self.end("its time is over");
                }
            }
        }
        Ok(())
    }

    /// Lets all happen that happens until then. The clock then stands there.
    ///
    /// # Errors
    /// The exercise cannot go on.
    pub fn advance_to(&mut self, until: Timestamp) -> Result<(), Broken> {
        while !self.is_over()
            && let Some(Reverse((due, order))) = self.queue.peek().copied()
            && due <= until.0
        {
            self.queue.pop();
            let Some(happening) = self.happenings.remove(&order) else { continue };
            self.now = Timestamp(due).max(self.now);
            if order > HAPPENINGS_MAX {
                return Err(Broken("it does not come to an end".into()));
            }
            self.happen(happening)?;
            self.end_with_the_run();
        }
        if !self.is_over() {
            self.now = self.now.max(until);
        }
        Ok(())
    }

    /// The run is over and nothing is planned any more: so is the exercise.
    fn end_with_the_run(&mut self) {
        let over = self.state().is_some_and(|state| matches!(state.phase, Phase::Ended(_)));
        let waits = || self.happenings.values().any(|one| matches!(one, Happening::Planned { .. }));
        if over && self.kind != Kind::Discussion && !waits() {
            self.end("the run is over");
        }
    }

    /// Ends the exercise. A run that is not over is let go, so that every screen says why.
    pub fn end(&mut self, why: &str) {
        if self.ended.is_none() {
            self.note(Logged::Ended { why: why.to_owned() });
            self.tell_over(why);
            self.let_go(why);
            self.ended = Some(self.now);
        }
    }

    /// Why the exercise is over; absent while it is not.
    pub fn over(&self) -> Option<&str> {
        self.log.iter().rev().find_map(|entry| match &entry.what {
            Logged::Ended { why } => Some(why.as_str()),
            _ => None,
        })
    }

    /// Since the start, by the clock of the exercise: `+03:20`.
    pub fn clock(&self, at: Timestamp) -> String {
        crate::scenario::clock(at.since_ms(self.setup.begin))
    }

    /// When it began.
    pub fn begin_at(&self) -> Timestamp {
        self.setup.begin
    }

    /// The run's name.
    pub fn run_id(&self) -> &RunId {
        &self.setup.run
    }

    /// Writes something into the record.
    pub fn note(&mut self, what: Logged) {
        let entry = Entry { at: self.now, seq: self.run.seq(), what };
        self.log.push(entry);
    }

    /// The record as it is now.
    pub fn exercise(&self) -> Exercise {
        let plan = &self.setup.plan;
        let scenario = &self.setup.scenario;
        let cadence = plan.comms.as_ref().map(|comms| comms.cadence_ms);
        Exercise {
            format: EXERCISE_FORMAT,
            exercise: self.kind,
            scenario: scenario.clone(),
            runbook: plan.name.clone(),
            run: Some(self.setup.run.clone()),
            seed: self.setup.seed,
            begin: self.setup.begin,
            end: self.ended,
            updates_ms: scenario.updates.as_deref().map_or(cadence.unwrap_or(0), Timed::ms),
            log: self.log.clone(),
        }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((self.now.plus_ms(ms).0, self.order)));
        self.happenings.insert(self.order, happening);
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        match happening {
            Happening::Answer { life, name, report } => self.answer(life, &name, *report),
            Happening::Look { life, name, watch, unseen } => {
                if self.lives(life) && self.under_way.contains(&name) {
                    self.look(name, watch, unseen);
                }
                Ok(())
            }
            Happening::Land { dispatch } => {
                if self.lost.remove(&dispatch.key) {
                    self.world.vanish(&dispatch.key);
                } else {
                    self.land(&dispatch);
                }
                Ok(())
            }
            Happening::Reply { life, name, dispatch, reply } => {
                let outcome = self.world.outcome(&dispatch, &reply);
                let report = Report::Applied { sending: dispatch.sending, outcome };
                self.answer(life, &name, report)
            }
            Happening::Wake { life } => self.wake(life),
            Happening::Planned { at } => self.planned_now(at),
            Happening::Back { life } => self.back(life),
            Happening::TryLocks { step } => self.try_locks(step),
        }
    }

    fn land(&mut self, dispatch: &Dispatch) {
        let before = self.world.broken.len();
        self.world.land(dispatch, self.now);
        if let Some(twice) = self.world.broken.get(before).cloned() {
            self.note(Logged::Engine { what: twice });
        }
    }

    fn lives(&self, life: u64) -> bool {
        self.away.is_none() && self.life == life
    }
}

/// Who starts a drill's run: the commander, by name where the scenario says one.
pub(crate) fn starter(scenario: &Scenario) -> Cause {
    let commander = scenario.roles.iter().find(|role| role.role == "commander");
    let name = commander.and_then(|role| role.who.clone()).unwrap_or_else(|| "commander".into());
    person(&name, &[])
}

/// A person who takes part. Every word of theirs in the record bears the mark of the exercise.
pub fn person(name: &str, roles: &[String]) -> Cause {
    let roles = roles.iter().cloned().chain([DRILL_LABEL.to_owned()]).collect();
    let actor = Actor { roles, ..Actor::unverified(name) };
    Cause { command: None, actor, reason: None, break_glass: false }
}

/// An event with the mark of the exercise: each line of the record bears it, also the engine's.
fn marked(mut recorded: Recorded) -> Recorded {
    if !has_mark(&recorded.cause.actor) {
        recorded.cause.actor.roles.push(DRILL_LABEL.to_owned());
    }
    recorded
}

/// An event of a real record, as it begins one that is simulated: nobody takes that for the real one.
fn simulated(mut recorded: Recorded, scenario: &Scenario) -> Recorded {
    if let Event::RunCreated { plan, .. } = &mut recorded.event {
        mark(plan, scenario);
    }
    marked(recorded)
}

/// Marks a plan, so that every view of its run says that it is an exercise.
fn mark(plan: &mut Plan, scenario: &Scenario) {
    plan.labels.insert(DRILL_LABEL.to_owned(), scenario.name.clone());
    plan.labels.insert(DRILL_TITLE_LABEL.to_owned(), scenario.title.clone());
    let title = if plan.title.is_empty() { plan.name.clone() } else { plan.title.clone() };
    if !title.starts_with("DRILL") {
        plan.title = format!("DRILL: {title}");
    }
    let name = plan.environment.as_ref().map_or("simulated", |real| real.name.as_str());
    if !name.starts_with("drill") {
        let name = format!("drill of {name}");
        plan.environment = Some(Environment { name, protected: false });
    }
}
