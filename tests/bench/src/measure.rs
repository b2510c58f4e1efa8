//! Measurements of the engine inside this process.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use backout_core::command::{Ask, Command, Report};
use backout_core::contract::{
    Guarantee, Image, Outcome, Prepared, PreparedEffect, Reversibility, Satisfied,
};
use backout_core::drive::Run;
use backout_core::event::Cause;
use backout_core::id::{Epoch, RunId, Timestamp};
use backout_core::watch::Found;
use backout_core::{Wanted, effects};
use backout_store::journal::JournalStore;
use serde_json::Value;

use crate::{Line, raw, world};

/// How often each figure is taken; the median is shown.
const ROUNDS: usize = 5;

fn median(mut taken: Vec<(Duration, Duration)>) -> (Duration, Duration) {
    taken.sort_by(|a, b| ratio(*a).total_cmp(&ratio(*b)));
    taken.get(taken.len() / 2).copied().unwrap_or_default()
}

fn ratio((ours, raw): (Duration, Duration)) -> f64 {
    ours.as_secs_f64() / raw.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// Steps, and for the baseline the records of as many steps.
fn steps_per_second(count: usize, took: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    let rate = count as f64 / took.as_secs_f64();
    format!("{rate:.0} steps/s")
}

/// What one round of a measurement with many at once took, and what raw appends of as many records
/// of the same size took, as many outstanding.
struct Round {
    ours: Duration,
    /// A thread for each append that is outstanding.
    threads: Duration,
    /// One thread plays them all.
    disk: Duration,
}

impl Round {
    fn take(
        dir: &Path,
        ours: Duration,
        outstanding: usize,
        records: usize,
        bytes: usize,
    ) -> Result<Self> {
        let (each, size) = (records / outstanding, bytes / records);
        let threads = raw::threads(dir, outstanding, each, size)?;
        let disk = raw::group(dir, outstanding, each, size)?;
        Ok(Self { ours, threads, disk })
    }
}

/// Against both baselines: the first is what the goal speaks of, the second shows what is left.
fn against_raw(name: &str, steps: usize, rounds: &[Round]) -> Vec<Line> {
    let line = |name: String, goal, of: fn(&Round) -> Duration| {
        let (ours, raw) = median(rounds.iter().map(|round| (round.ours, of(round))).collect());
        let rate = 1.0 / ratio((ours, raw));
        Line {
            name,
            ours: steps_per_second(steps, ours),
            baseline: steps_per_second(steps, raw),
            ratio: format!("{rate:.2}"),
            goal,
            met: (!goal.is_empty()).then_some(rate >= 0.5),
        }
    };
    vec![
        line(name.into(), ">= 0.50 of the raw record rate", |round| round.threads),
        line("  the same, clients cost nothing".into(), "", |round| round.disk),
    ]
}

/// A chain of steps whose action does IO but takes no time of its own.
pub(crate) fn io_chain() -> Result<Vec<Line>> {
    const STEPS: usize = 500;
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(".")?;
        let runtime = tokio::runtime::Runtime::new()?;
        let store = world::store(&dir.path().join("store"))?;
        let engine = world::engine(&store);
        let run = world::run(7, 0);
        let mut plan = world::chain(None, STEPS);
        for step in &mut plan.steps {
            step.action = "bench.io".into();
            step.pure = false;
        }
        let started = Instant::now();
        runtime.block_on(async {
            engine.start(run.clone(), plan, String::new(), world::cause()).await?;
            engine.wait(&run).await
        })?;
        let ours = started.elapsed();
        let (_, bytes) = world::journal_size(store.as_ref(), std::slice::from_ref(&run))?;
        taken.push((ours, raw::chain(dir.path(), STEPS, bytes / STEPS)?));
    }
    let (ours, baseline) = median(taken);
    let ratio = ratio((ours, baseline));
    let each =
        |took: Duration| took.as_secs_f64() * 1e3 / f64::from(u32::try_from(STEPS).unwrap_or(1));
    let line = Line {
        name: "chain of 500 steps with IO, in the engine".into(),
        ours: format!("{:.3} ms/step", each(ours)),
        baseline: format!("{:.3} ms/append", each(baseline)),
        ratio: format!("{ratio:.2}"),
        goal: "<= 2.30",
        met: Some(ratio <= 2.3),
    };
    Ok(vec![line, Line::besides(each(ours) - 2.0 * each(baseline), "two appends")])
}

/// 200 runs of 10 steps each, all at once.
pub(crate) fn many_runs() -> Result<Vec<Line>> {
    const RUNS: usize = 200;
    const STEPS: usize = 10;
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(".")?;
        let runtime = tokio::runtime::Runtime::new()?;
        let store = world::store(&dir.path().join("store"))?;
        let engine = world::engine(&store);
        let runs: Vec<RunId> = (0..RUNS).map(|at| world::run(1, at)).collect();
        let started = Instant::now();
        runtime.block_on(async {
            let mut starts = Vec::new();
            for run in &runs {
                let (engine, run) = (engine.clone(), run.clone());
                starts.push(tokio::spawn(async move {
                    let plan = world::chain(None, STEPS);
                    engine.start(run.clone(), plan, String::new(), world::cause()).await?;
                    engine.wait(&run).await
                }));
            }
            for start in starts {
                start.await??;
            }
            anyhow::Ok(())
        })?;
        let ours = started.elapsed();
        let (records, bytes) = world::journal_size(store.as_ref(), &runs)?;
        taken.push(Round::take(dir.path(), ours, RUNS, records, bytes)?);
    }
    Ok(against_raw("200 runs x 10 noop steps", RUNS * STEPS, &taken))
}

/// One run of 1,000 parallel steps.
pub(crate) fn fan_out() -> Result<Vec<Line>> {
    const STEPS: usize = 1_000;
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(".")?;
        let runtime = tokio::runtime::Runtime::new()?;
        let store = world::store(&dir.path().join("store"))?;
        let engine = world::engine(&store);
        let run = world::run(2, 0);
        let ours = runtime.block_on(async {
            let plan = world::fan_out(Some(world::gate()), STEPS);
            engine.start(run.clone(), plan, String::new(), world::cause()).await?;
            while store.read(&run, backout_core::id::Seq(1), 10)?.len() < 5 {
                tokio::task::yield_now().await;
            }
            let started = Instant::now();
            let approve = Ask::Approve { step: "gate".into(), consent: None };
            engine.ask(&run, approve, world::cause()).await?;
            engine.wait(&run).await?;
            anyhow::Ok(started.elapsed())
        })?;
        let (records, bytes) = world::journal_size(store.as_ref(), std::slice::from_ref(&run))?;
        taken.push(Round::take(dir.path(), ours, STEPS, records, bytes)?);
    }
    Ok(against_raw("1 run of 1,000 parallel noop steps", STEPS, &taken))
}

/// What one event costs the core, in plans of two sizes.
pub(crate) fn cost_of_an_event() -> Result<Vec<Line>> {
    let small = core_chain(100)?;
    let large = core_chain(10_000)?;
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    Ok(vec![Line {
        name: "core: an event at 10,000 against 100 steps".into(),
        ours: format!("{:.2} us", large.as_secs_f64() * 1e6),
        baseline: format!("{:.2} us", small.as_secs_f64() * 1e6),
        ratio: format!("{ratio:.2}"),
        goal: "about 1: it does not grow with the plan",
        met: Some(ratio < 2.0),
    }])
}

/// The time of one event of a chain of `steps`, without any disk.
fn core_chain(steps: usize) -> Result<Duration> {
    let mut run = Run::new(Epoch(1));
    let plan = Box::new(world::chain(None, steps));
    let create = Command::create(world::run(3, 0), *plan, String::new());
    run.turn(Timestamp(1), &world::cause(), &create)?;
    let started = Instant::now();
    let mut events = 0;
    while let Some(wanted) = run.state.as_ref().and_then(|state| effects(state).into_iter().next())
    {
        let report = answer(wanted);
        let turn = run.turn(Timestamp(2), &Cause::engine(), &Command::Report(report))?;
        events += turn.recorded.len();
    }
    let events = u32::try_from(events.max(1))?;
    Ok(started.elapsed() / events)
}

fn answer(wanted: Wanted) -> Report {
    match wanted {
        Wanted::Prepare { step, attempt, look, .. } => {
            Report::Prepared { step, attempt, look, result: Ok(Box::new(prepared())) }
        }
        Wanted::Watch(watch) => {
            Report::Watched { step: watch.step, look: watch.look, found: Found::AsLeft }
        }
        Wanted::Apply(dispatch) | Wanted::Settle(dispatch) => Report::Applied {
            sending: dispatch.sending,
            outcome: Outcome::Done { output: Value::Null },
        },
        Wanted::Revert { step, made, .. } => {
            Report::Reverted { step, made, reverted: backout_core::contract::Reverted::Nothing }
        }
    }
}

fn prepared() -> Prepared {
    Prepared {
        data_version: 1,
        guarantee: Guarantee::Conditional,
        remembered_ms: None,
        locks: Vec::new(),
        effects: vec![PreparedEffect {
            title: "nothing".into(),
            wave: 0,
            satisfied: Satisfied::CannotTell,
            before: Image::Absent,
            wanted: Image::Absent,
            difference: Vec::new(),
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
            data: Value::Null,
        }],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: Value::Null,
    }
}
