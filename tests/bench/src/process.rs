//! Measurements of the real binary as a process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use backout_core::command::Ask;
use backout_core::event::Event;
use backout_core::id::{RunId, Seq};
use backout_store::Reader;

use crate::{Line, raw, world};

/// How often each figure is taken; the median is shown.
const ROUNDS: usize = 5;

fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("no folder")?.join("backout");
    ensure!(path.exists(), "build it first: cargo build --release -p backout-cli");
    Ok(path)
}

pub(crate) fn backout(store: &Path) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("--store").arg(store).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null());
    Ok(command)
}

fn runbook(steps: usize) -> String {
    let mut text = String::from("Runbook(\n  format: 1,\n  name: \"bench\",\n  steps: [\n");
    for at in 0..steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    (id: \"s{at}\", action: \"noop.run\"),");
    }
    text.push_str("  ],\n)\n");
    text
}

pub(crate) fn median(mut taken: Vec<f64>) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken.get(taken.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A chain of 1,000 noop steps, the whole process.
pub(crate) fn chain() -> Result<Vec<Line>> {
    const STEPS: usize = 1_000;
    let (mut ours, mut raws, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let dir = tempfile::tempdir_in(".")?;
        let file = dir.path().join("chain.ron");
        std::fs::write(&file, runbook(STEPS))?;
        let store = dir.path().join("store");
        let started = Instant::now();
        let status = backout(&store)?.arg("run").arg(&file).arg("--yes").status()?;
        let took = started.elapsed();
        ensure!(status.success(), "the run ended with {status}");
        let reader = Reader::open(&store)?;
        let run = reader.list()?.pop().context("no run")?;
        let mut bytes = 0;
        for recorded in reader.read(&run, Seq(1), usize::MAX)? {
            bytes += serde_json::to_vec(&recorded)?.len();
        }
        let baseline = raw::chain(dir.path(), STEPS, bytes / STEPS)?;
        ours.push(took.as_secs_f64() / 1e3 * 1e3);
        raws.push(baseline.as_secs_f64());
        ratios.push(took.as_secs_f64() / baseline.as_secs_f64());
    }
    let ratio = median(ratios);
    let (ours, raw) = (median(ours), median(raws));
    let line = Line {
        name: "chain of 1,000 noop steps, whole process".into(),
        ours: format!("{ours:.3} ms/step"),
        baseline: format!("{raw:.3} ms/append"),
        ratio: format!("{ratio:.2}"),
        goal: "<= 1.30",
        met: Some(ratio <= 1.3),
    };
    Ok(vec![line, Line::besides(ours - raw, "one append")])
}

/// `check` of 10,000 steps.
pub(crate) fn check() -> Result<Vec<Line>> {
    let dir = tempfile::tempdir_in(".")?;
    let file = dir.path().join("large.ron");
    std::fs::write(&file, runbook(10_000))?;
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let status = backout(&dir.path().join("store"))?.arg("check").arg(&file).status()?;
        ensure!(status.success(), "check ended with {status}");
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let ms = median(taken);
    Ok(vec![Line {
        name: "check of 10,000 steps, whole process".into(),
        ours: format!("{ms:.0} ms"),
        baseline: String::new(),
        ratio: String::new(),
        goal: "<= 150 ms",
        met: Some(ms <= 150.0),
    }])
}

/// From the start of the process to the first effect of an interrupted run.
pub(crate) fn restart() -> Result<Vec<Line>> {
    let many = || -> Result<f64> {
        let dir = tempfile::tempdir_in(".")?;
        let store = dir.path().join("store");
        interrupted(&store, 1_000, 100, 0)?;
        first_effect(&store)
    };
    let long = || -> Result<f64> {
        let dir = tempfile::tempdir_in(".")?;
        let store = dir.path().join("store");
        interrupted(&store, 0, 100, 100_000)?;
        first_effect(&store)
    };
    let line = |name: &str, ms: f64| Line {
        name: name.into(),
        ours: format!("{ms:.0} ms"),
        baseline: String::new(),
        ratio: String::new(),
        goal: "<= 50 ms",
        met: Some(ms <= 50.0),
    };
    let many = median((0..3).map(|_| many()).collect::<Result<_>>()?);
    let long = median((0..3).map(|_| long()).collect::<Result<_>>()?);
    Ok(vec![
        line("first effect after a kill, 1,000 runs beside", many),
        line("first effect after a kill, 100k events", long),
    ])
}

/// A store with finished runs of about 100 events each, and one run of `steps` steps that waits
/// behind an approved gate with `notes` notes, and no engine.
pub(crate) fn interrupted(dir: &Path, finished: usize, steps: usize, notes: usize) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let store = world::store(dir)?;
    let engine = world::engine(&store);
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for at in 0..finished {
            let (engine, run) = (engine.clone(), world::run(4, at));
            tasks.push(tokio::spawn(async move {
                let plan = world::chain(None, 19);
                engine.start(run.clone(), plan, String::new(), world::cause()).await?;
                engine.wait(&run).await
            }));
        }
        for task in tasks {
            task.await??;
        }
        let run = world::run(5, 0);
        let plan = world::chain(Some(world::gate()), steps);
        engine.start(run.clone(), plan, String::new(), world::cause()).await?;
        note(&engine, &run, notes).await?;
        engine.stop("the engine is about to die", 1_000).await;
        let approve = Ask::Approve { step: "gate".into(), consent: None };
        engine.ask(&run, approve, world::cause()).await?;
        anyhow::Ok(())
    })
}

async fn note(engine: &backout_runtime::Engine, run: &RunId, notes: usize) -> Result<()> {
    const AT_ONCE: usize = 500;
    for at in (0..notes).step_by(AT_ONCE) {
        let mut asks = Vec::new();
        for at in at..(at + AT_ONCE).min(notes) {
            let (engine, run) = (engine.clone(), run.clone());
            asks.push(tokio::spawn(async move {
                let ask = Ask::Note { step: None, text: format!("note {at} of many") };
                engine.ask(&run, ask, world::cause()).await
            }));
        }
        for ask in asks {
            ask.await??;
        }
    }
    Ok(())
}

/// Milliseconds from the start of `resume` to the first effect that it made.
fn first_effect(store: &Path) -> Result<f64> {
    let run = world::run(5, 0);
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let status = backout(store)?.arg("resume").arg(run.as_str()).arg("--no-wait").status()?;
    ensure!(status.success(), "resume ended with {status}");
    let reader = Reader::open(store)?;
    let recorded = reader.read(&run, Seq(1), usize::MAX)?;
    let first = recorded
        .iter()
        .find(|recorded| matches!(recorded.event, Event::EffectDone { .. }))
        .context("no effect")?;
    let at = Duration::from_millis(u64::try_from(first.at.0)?);
    Ok(at.saturating_sub(began).as_secs_f64() * 1e3)
}

/// Memory of an idle owner, and with 1,000 live runs.
pub(crate) fn memory() -> Result<Vec<Line>> {
    let dir = tempfile::tempdir_in(".")?;
    let file = dir.path().join("idle.ron");
    let idle = "Runbook(format: 1, name: \"idle\", steps: [\
                (id: \"wait\", action: \"wait.for\", with: (time: \"1h\"))])";
    std::fs::write(&file, idle)?;
    let mut owner =
        backout(&dir.path().join("store"))?.arg("run").arg(&file).arg("--yes").spawn()?;
    let idle = resident_when(&mut owner, || dir.path().join("store/control.sock").exists())?;
    let mut runner = Command::new(std::env::current_exe()?)
        .args(["live", "1000"])
        .arg(dir.path().join("live"))
        .stdout(Stdio::null())
        .spawn()?;
    let ready = dir.path().join("live/ready");
    let busy = resident_when(&mut runner, || ready.exists())?;
    let line = |name: &str, mb: f64, goal, met| Line {
        name: name.into(),
        ours: format!("{mb:.1} MB"),
        baseline: String::new(),
        ratio: String::new(),
        goal,
        met,
    };
    Ok(vec![
        line("memory of an idle owner", idle.resident, "< 25 MB", Some(idle.resident < 25.0)),
        line("  its own, without what is mapped of its file", idle.own, "", None),
        line("memory with 1,000 live runs", busy.resident, "", None),
    ])
}

/// Memory of a process, MB.
struct Memory {
    /// All that is in memory of it, its program's file among it.
    resident: f64,
    /// What nobody else has, and no file.
    own: f64,
}

/// The memory of a child once it is ready; ends the child.
fn resident_when(child: &mut Child, ready: impl Fn() -> bool) -> Result<Memory> {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !ready() {
        if Instant::now() > deadline {
            child.kill()?;
            bail!("the process was not ready in time");
        }
        std::thread::yield_now();
    }
    let (resident, own) = (resident_mb(child.id()), status_mb(child.id(), "RssAnon:"));
    child.kill()?;
    child.wait()?;
    Ok(Memory { resident: resident?, own: own? })
}

/// The resident memory of a process, MB.
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    status_mb(pid, "VmRSS:")
}

/// A field of a process's status, MB.
fn status_mb(pid: u32, field: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field)).context("no such field")?;
    let kb: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kb / 1024.0)
}

/// The child of [`memory`]: `count` runs that wait, and then nothing.
pub(crate) fn live(count: usize, dir: &Path) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = world::store(dir)?;
    let engine = world::engine(&store);
    runtime.block_on(async {
        for at in 0..count {
            let plan = world::chain(Some(world::gate()), 10);
            engine.start(world::run(6, at), plan, String::new(), world::cause()).await?;
        }
        std::fs::write(dir.join("ready"), "")?;
        std::future::pending::<()>().await;
        anyhow::Ok(())
    })
}
