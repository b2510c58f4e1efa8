//! A seeded simulator: two runs, shared targets, faults, deaths and people, on a virtual clock.
//!
//! `SIM_SEEDS=N` runs so many seeds, `SIM_SEED=x` one alone.

mod monitor;
mod people;
mod rng;
mod scenario;
mod shell;
mod store;
mod world;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use backout_core::command::{Command, Report};
use backout_core::contract::{Guarantee, Outcome};
use backout_core::event::Cause;
use backout_core::id::{RunId, Timestamp};
use backout_core::state::{Phase, RunState};
use backout_core::watch::{Found, Watch};
use backout_core::{Dispatch, Wanted, next_due};
use serde_json::json;

use monitor::Coverage;
use rng::Rng;
use shell::{Name, Shell};
use store::Store;
use world::{Answer, World};

/// Seeds of an ordinary test run: some ten seconds on one core without optimisation.
const SEEDS: u64 = 2_500;
/// When all trouble ends, milliseconds of the virtual clock.
const CALM_MS: u64 = 30_000;
/// Happenings by which everything must be over.
const HAPPENINGS_MAX: usize = 20_000;

/// Events of each run that a failure shows.
const LAST_EVENTS: usize = 30;

enum Happening {
    Answer { run: usize, life: u64, name: Name, report: Box<Report> },
    Look { run: usize, life: u64, name: Name, watch: Box<Watch>, unseen: Option<Timestamp> },
    Land { dispatch: Box<Dispatch> },
    Reply { run: usize, life: u64, name: Name, dispatch: Box<Dispatch>, answer: Answer },
    Durable { run: usize, life: u64 },
    Wake { run: usize, life: u64 },
    Die { run: usize },
    Revive { run: usize },
    Whim { run: usize },
    Drift,
    Calm,
    Help { run: usize },
}

pub(crate) struct Sim {
    rng: Rng,
    now: Timestamp,
    order: u64,
    /// Due, then the order in which it was said.
    queue: BinaryHeap<Reverse<(i64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    world: World,
    store: Store,
    shells: Vec<Shell>,
    releases_seen: u64,
    seen: Coverage,
}

/// What a seed gave: the bytes of all journals, and what was seen.
fn simulate(seed: u64) -> Result<(Vec<u8>, Coverage), String> {
    let mut sim = Sim::new(seed);
    sim.begin();
    for _ in 0..HAPPENINGS_MAX {
        let Some(Reverse((due, order))) = sim.queue.pop() else { return sim.finish() };
        sim.now = Timestamp(due);
        let happening = sim.happenings.remove(&order).unwrap();
        sim.happen(happening).map_err(|error| sim.fault(&error))?;
        if let Some(broken) = sim.world.broken.first().cloned() {
            return Err(sim.fault(&broken));
        }
    }
    Err(sim.fault("it does not come to an end"))
}

impl Sim {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            now: Timestamp(1_000),
            order: 0,
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            world: World::default(),
            store: Store::default(),
            shells: Vec::new(),
            releases_seen: 0,
            seen: Coverage::default(),
        }
    }

    fn after(&mut self, ms: u64, happening: Happening) {
        self.order += 1;
        self.queue.push(Reverse((self.now.plus_ms(ms).0, self.order)));
        self.happenings.insert(self.order, happening);
    }

    fn begin(&mut self) {
        for run in 0..2 {
            let id = RunId::new(format!("r{run}"));
            let plan = Box::new(scenario::random_plan(&mut self.rng, id.as_str()));
            self.shells.push(Shell::new(id, plan));
            self.after(0, Happening::Revive { run });
            for _ in 0..self.rng.below(12) {
                let ms = self.rng.below(20_000);
                self.after(ms, Happening::Whim { run });
            }
            for _ in 0..self.rng.below(4) {
                let ms = self.rng.below(20_000);
                self.after(ms, Happening::Die { run });
            }
        }
        for _ in 0..self.rng.below(3) {
            let ms = self.rng.below(20_000);
            self.after(ms, Happening::Drift);
        }
        self.after(CALM_MS, Happening::Calm);
    }

    /// The engine may die in any of its windows.
    fn dies(&mut self, run: usize) -> bool {
        let dies = !self.world.calm && self.rng.chance(8);
        if dies {
            self.die(run);
        }
        dies
    }

    fn die(&mut self, run: usize) {
        if !self.shells[run].alive {
            return;
        }
        let floating = u64::try_from(self.shells[run].floating.len()).unwrap();
        let reached = usize::try_from(self.rng.between(0, floating)).unwrap();
        self.shells[run].die(&mut self.store, reached);
        let away_ms = if self.rng.chance(150) { 90_000 } else { 2_000 };
        let ms = self.rng.below(away_ms);
        self.after(ms, Happening::Revive { run });
    }

    /// Dies, or lets go in order: then nothing is lost.
    fn leave(&mut self, run: usize) -> Result<(), String> {
        if self.shells[run].alive && self.rng.chance(400) {
            self.shells[run].let_go(&mut self.store, self.now)?;
        }
        self.die(run);
        Ok(())
    }

    fn give(&mut self, run: usize, cause: &Cause, command: &Command) -> Result<bool, String> {
        let shell = &mut self.shells[run];
        if !shell.alive {
            return Ok(false);
        }
        let taken = shell.give(&mut self.store, self.now, cause, command);
        let taken = taken.map_err(|error| format!("{} on {command:?}: {error}", shell.id))?;
        self.follow(run)?;
        Ok(taken)
    }

    /// What comes after any turn: the disk, the wanted, the timers, and the locks let go.
    fn follow(&mut self, run: usize) -> Result<(), String> {
        if self.dies(run) {
            return Ok(());
        }
        let life = self.shells[run].life;
        if self.shells[run].float() {
            if self.dies(run) {
                return Ok(());
            }
            let ms = self.rng.between(1, 5);
            self.after(ms, Happening::Durable { run, life });
        }
        let stops = |state: &RunState| matches!(state.phase, Phase::Stopping(_));
        if self.shells[run].run.state.as_ref().is_some_and(stops) && self.rng.chance(250) {
            let ms = self.rng.below(30);
            let leaves = !self.world.calm && self.rng.chance(500);
            let next = if leaves { Happening::Die { run } } else { Happening::Whim { run } };
            self.after(ms, next);
        }
        self.reconcile(run)?;
        self.tell_releases()
    }

    fn tell_releases(&mut self) -> Result<(), String> {
        if self.releases_seen == self.store.releases {
            return Ok(());
        }
        self.releases_seen = self.store.releases;
        for run in 0..self.shells.len() {
            for report in self.shells[run].lock_waits() {
                if self.shells[run].alive {
                    self.give(run, &Cause::engine(), &Command::Report(report))?;
                }
            }
        }
        Ok(())
    }

    fn reconcile(&mut self, run: usize) -> Result<(), String> {
        let life = self.shells[run].life;
        let wanted = self.shells[run].wanted()?;
        let names: Vec<Name> = wanted.iter().map(shell::name).collect();
        let gone: Vec<Name> = self.shells[run]
            .under_way
            .keys()
            .filter(|name| !names.contains(name))
            .cloned()
            .collect();
        for name in gone {
            if name.starts_with("apply") {
                return Err(format!("{name} is no longer wanted while it is in flight"));
            }
            self.shells[run].under_way.remove(&name);
        }
        let mut later: Option<Timestamp> = None;
        for (name, wanted) in names.into_iter().zip(wanted) {
            if self.shells[run].under_way.contains_key(&name) {
                continue;
            }
            if wanted.not_before() > self.now {
                later = Some(later.map_or(wanted.not_before(), |l| l.min(wanted.not_before())));
                continue;
            }
            if self.shells[run].is_durable(&wanted) {
                if matches!(wanted, Wanted::Apply(_)) && self.dies(run) {
                    return Ok(());
                }
                self.start(run, name, wanted);
            }
        }
        let timer = self.shells[run].run.state.as_ref().and_then(next_due);
        if let Some(due) = [timer, later].into_iter().flatten().min() {
            self.after(due.since_ms(self.now), Happening::Wake { run, life });
        }
        Ok(())
    }

    fn start(&mut self, run: usize, name: Name, wanted: Wanted) {
        let life = self.shells[run].life;
        *self.seen.wanted.entry(name.split(' ').next().unwrap().into()).or_default() += 1;
        self.shells[run].under_way.insert(name.clone(), wanted.clone());
        let (report, ms) = match wanted {
            Wanted::Apply(dispatch) => return self.send(run, name, dispatch),
            Wanted::Prepare { step, attempt, look, action, input, .. } => {
                let result = self.world.prepare(&mut self.rng, action.as_str(), &input);
                (Report::Prepared { step, attempt, look, result }, self.rng.between(1, 80))
            }
            Wanted::Watch(watch) => return self.look(run, life, name, watch, None),
            Wanted::Settle(dispatch) => {
                let settled = self.world.settle(&mut self.rng, &dispatch);
                *self
                    .seen
                    .wanted
                    .entry(format!(
                        "settle {} {}",
                        dispatch.prepared.guarantee.word(),
                        crate::words::settled_word(&settled)
                    ))
                    .or_default() += 1;
                let ms = self.rng.between(1, 80);
                (Report::Settled { sending: dispatch.sending, settled }, ms)
            }
            Wanted::Revert { step, made, effect, .. } => {
                let reverted = World::revert(&mut self.rng, &effect);
                (Report::Reverted { step, made, reverted }, self.rng.between(1, 20))
            }
        };
        self.after(ms, Happening::Answer { run, life, name, report: Box::new(report) });
    }

    /// One look of a watch; the next one, where it has nothing to tell.
    fn look(
        &mut self,
        run: usize,
        life: u64,
        name: Name,
        watch: Box<Watch>,
        unseen: Option<Timestamp>,
    ) {
        let seen = self.world.prepare(&mut self.rng, watch.action.as_str(), &watch.input);
        let found = Found::of(&seen);
        let blind = matches!(found, Found::Unseen { .. });
        let unseen = blind.then(|| unseen.unwrap_or(self.now));
        if watch.tells(&found, self.now, unseen) {
            let report = Report::Watched { step: watch.step, look: watch.look, found };
            let ms = self.rng.between(1, 80);
            self.after(ms, Happening::Answer { run, life, name, report: Box::new(report) });
        } else {
            self.after(Watch::wait_ms(&found), Happening::Look { run, life, name, watch, unseen });
        }
    }

    fn send(&mut self, run: usize, name: Name, dispatch: Box<Dispatch>) {
        let life = self.shells[run].life;
        if dispatch.prepared.guarantee != Guarantee::ReadOnly {
            let locks = dispatch.prepared.locks.iter();
            for lock in locks.filter(|lock| !self.store.holds(&self.shells[run].id, lock)) {
                self.world.broken.push(format!("{} is sent without {lock}", dispatch.key));
            }
        }
        let mut fate = self.world.fate(&mut self.rng, dispatch.timeout_ms);
        if dispatch.prepared.guarantee == Guarantee::Keyed {
            // A target that remembers keys for a time is also one that a sending reaches in time.
            fate.lands = fate.lands.map(|ms| ms.min(dispatch.timeout_ms));
        }
        self.world.depart(&dispatch);
        if let Some(ms) = fate.lands {
            self.after(ms, Happening::Land { dispatch: dispatch.clone() });
        } else {
            self.world.vanish(&dispatch.key);
        }
        let (ms, answer) = fate.answers.unwrap_or((dispatch.timeout_ms, Answer::Unclear));
        let (ms, answer) = if ms > dispatch.timeout_ms {
            (dispatch.timeout_ms, Answer::Unclear)
        } else {
            (ms, answer)
        };
        self.after(ms, Happening::Reply { run, life, name, dispatch, answer });
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Answer { run, life, name, report } => self.answer(run, life, &name, *report),
            Happening::Look { run, life, name, watch, unseen } => {
                if self.lives(run, life) && self.shells[run].under_way.contains_key(&name) {
                    self.look(run, life, name, watch, unseen);
                }
                Ok(())
            }
            Happening::Land { dispatch } => {
                self.world.land(&dispatch, self.now);
                Ok(())
            }
            Happening::Reply { run, life, name, dispatch, answer } => {
                let outcome = self.outcome(&dispatch, answer);
                let report = Report::Applied { sending: dispatch.sending, outcome };
                self.answer(run, life, &name, report)
            }
            Happening::Durable { run, life } => self.durable(run, life),
            Happening::Wake { run, life } if self.lives(run, life) => self.wake(run),
            Happening::Wake { .. } => Ok(()),
            Happening::Die { run } => self.leave(run),
            Happening::Revive { run } => self.revive(run),
            Happening::Whim { run } => self.whim(run),
            Happening::Drift => {
                self.world.drift(&mut self.rng);
                Ok(())
            }
            Happening::Calm => {
                self.world.calm = true;
                (0..self.shells.len()).for_each(|run| self.after(0, Happening::Help { run }));
                Ok(())
            }
            Happening::Help { run } => self.help(run),
        }
    }

    /// Time has come; what was due must not be due any more.
    fn wake(&mut self, run: usize) -> Result<(), String> {
        self.give(run, &Cause::engine(), &Command::Advance)?;
        let due = self.shells[run].run.state.as_ref().and_then(next_due);
        match due.filter(|due| self.shells[run].alive && *due <= self.now) {
            Some(due) => Err(format!("{} was due, and an advance gave nothing", due.0)),
            None => Ok(()),
        }
    }

    fn lives(&self, run: usize, life: u64) -> bool {
        self.shells[run].alive && self.shells[run].life == life
    }

    fn outcome(&mut self, dispatch: &Dispatch, answer: Answer) -> Outcome {
        let reason = || "so it says".to_owned();
        match answer {
            Answer::Truth if self.world.is_there(dispatch) => {
                Outcome::Done { output: json!({ "k": dispatch.key.as_str() }) }
            }
            Answer::Lie => Outcome::Done { output: json!({ "k": "lie" }) },
            Answer::Truth | Answer::Refused => Outcome::Refused { reason: reason() },
            Answer::Failed => Outcome::Failed { reason: reason(), output: json!(1) },
            Answer::Unclear => Outcome::Unclear { reason: reason() },
        }
    }

    fn answer(&mut self, run: usize, life: u64, name: &str, report: Report) -> Result<(), String> {
        if !self.lives(run, life) || self.shells[run].under_way.remove(name).is_none() {
            return Ok(());
        }
        if self.dies(run) {
            return Ok(());
        }
        self.give(run, &Cause::engine(), &Command::Report(report))?;
        let again = self.shells[run].under_way.contains_key(name);
        if again { Err(format!("{name} was answered and is wanted again")) } else { Ok(()) }
    }

    fn durable(&mut self, run: usize, life: u64) -> Result<(), String> {
        if !self.lives(run, life) {
            return Ok(());
        }
        self.shells[run].reach_disk(&mut self.store);
        self.reconcile(run)?;
        self.tell_releases()
    }

    fn revive(&mut self, run: usize) -> Result<(), String> {
        if self.shells[run].alive {
            return Ok(());
        }
        self.shells[run].revive(&mut self.store, self.now)?;
        self.follow(run)
    }

    fn whim(&mut self, run: usize) -> Result<(), String> {
        let Some(state) = self.shells[run].run.state.as_ref().filter(|_| self.shells[run].alive)
        else {
            return Ok(());
        };
        let ask = people::whim(&mut self.rng, state, &mut self.world);
        self.ask(run, ask)
    }

    fn ask(&mut self, run: usize, ask: backout_core::command::Ask) -> Result<(), String> {
        let word = serde_json::to_value(&ask).unwrap()["ask"].as_str().unwrap().to_owned();
        let cause = people::somebody(&mut self.rng);
        let taken = self.give(run, &cause, &Command::Ask(ask))?;
        let word = if taken { word } else { format!("{word} refused") };
        *self.seen.asks.entry(word).or_default() += 1;
        Ok(())
    }

    fn help(&mut self, run: usize) -> Result<(), String> {
        let shell = &self.shells[run];
        let over = shell.run.state.as_ref().is_some_and(|s| matches!(s.phase, Phase::Ended(_)));
        if over && shell.alive {
            return Ok(());
        }
        self.after(500, Happening::Help { run });
        let Some(state) = self.shells[run].run.state.as_ref().filter(|_| self.shells[run].alive)
        else {
            return Ok(());
        };
        match people::help(&mut self.rng, state, &mut self.world) {
            Some(ask) => self.ask(run, ask),
            None => Ok(()),
        }
    }

    /// What is wrong, with where the runs are and what happened last.
    fn fault(&self, error: &str) -> String {
        let last = |shell: &Shell| {
            let durable = self.store.journals.get(&shell.id).into_iter().flatten();
            let all: Vec<_> =
                durable.chain(shell.floating.iter().flatten()).chain(&shell.batch).collect();
            let from = all.len().saturating_sub(LAST_EVENTS);
            let line = |r: &&backout_core::event::Recorded| {
                let text = serde_json::to_string(&r.event).unwrap();
                format!("{} {} {}", shell.id, r.at.0, text.chars().take(300).collect::<String>())
            };
            all[from..].iter().map(line).collect::<Vec<_>>().join("\n")
        };
        let events: Vec<String> = self.shells.iter().map(last).collect();
        format!("at {}: {error}\n{}\n{}", self.now.0, self.standing(), events.join("\n"))
    }

    fn standing(&self) -> String {
        let of = |shell: &Shell| {
            let state = shell.run.state.as_ref()?;
            let steps: Vec<String> = state
                .plan
                .steps
                .iter()
                .zip(&state.steps)
                .map(|(plan, step)| {
                    let effects: Vec<_> = step
                        .effects
                        .iter()
                        .map(|e| format!("{:?}.{}", e.state, e.dispatch))
                        .collect();
                    format!("{}={:?} {effects:?}", plan.id, step.state)
                })
                .collect();
            Some(format!(
                "{} {:?} paused {}\n  {}",
                shell.id,
                state.phase,
                state.paused,
                steps.join("\n  ")
            ))
        };
        self.shells.iter().filter_map(of).collect::<Vec<_>>().join("\n")
    }

    /// All is quiet: every run is over, and its journal alone gives its state.
    fn finish(mut self) -> Result<(Vec<u8>, Coverage), String> {
        let mut bytes = Vec::new();
        for shell in &self.shells {
            let journal = self.store.journals.get(&shell.id).cloned().unwrap_or_default();
            let folded = monitor::watch(&journal, &mut self.seen)
                .map_err(|error| self.fault(&format!("{}: {error}", shell.id)))?;
            if folded != shell.run.state {
                return Err(format!("{}: its journal does not give its state", shell.id));
            }
            let end = match folded.as_ref().map(|state| &state.phase) {
                Some(Phase::Ended(end)) => crate::words::end_word(*end),
                _ => return Err(self.fault("a run stands still")),
            };
            *self.seen.ends.entry(end.into()).or_default() += 1;
            bytes.extend(serde_json::to_vec(&journal).unwrap());
        }
        Ok((bytes, self.seen))
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn check(seed: u64) -> (Vec<u8>, Coverage) {
    simulate(seed).unwrap_or_else(|error| {
        panic!(
            "seed {seed}: {error}\nagain: SIM_SEED={seed} cargo test -p backout-core --test it sim"
        )
    })
}

#[test]
fn whatever_happens_each_effect_is_made_once_and_every_run_ends() {
    if let Some(seed) = number("SIM_SEED") {
        check(seed);
        return;
    }
    let mut seen = Coverage::default();
    for seed in 0..number("SIM_SEEDS").unwrap_or(SEEDS) {
        seen.add(check(seed).1);
    }
    report(&seen);
}

#[expect(clippy::print_stdout, reason = "what was seen is for a person who asks for it")]
fn report(seen: &Coverage) {
    for (name, words) in [("wanted", &seen.wanted), ("asked", &seen.asks), ("ended", &seen.ends)] {
        println!("{name}: {words:?}");
    }
    for ((state, event), count) in seen.steps.iter().chain(&seen.runs) {
        println!("{state} | {event} | {count}");
    }
    let never = crate::rules::never_taken(&seen.steps, &seen.runs);
    println!("never taken: {never:#?}");
    assert!(never.is_empty() || number("SIM_SEEDS").is_some_and(|n| n < SEEDS), "{never:#?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [1, 2, 3, 77, 1_234] {
        assert!(check(seed).0 == check(seed).0, "seed {seed}");
    }
}
