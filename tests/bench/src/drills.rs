//! Exercises played by the real binary, without anybody at it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::Line;
use crate::process::{backout, median};

/// How often a figure is taken; the median is shown.
const ROUNDS: usize = 3;

/// An exercise of an hour: 200 steps one after the other, and a message every 36 seconds.
pub(crate) fn hour() -> Result<Vec<Line>> {
    const STEPS: usize = 200;
    const INJECTS: usize = 100;
    let dir = tempfile::tempdir_in(".")?;
    let (book, scenario) = (dir.path().join("book.ron"), dir.path().join("scenario.ron"));
    std::fs::write(&book, runbook(STEPS))?;
    std::fs::write(&scenario, messages(INJECTS))?;
    let decisions = dir.path().join("decisions.ron");
    std::fs::write(&decisions, "Decisions(format: 1, decisions: [])")?;
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        let record = dir.path().join(format!("record-{round}"));
        let auto = ["--auto".as_ref(), decisions.as_os_str(), "--record".as_ref(), record.as_ref()];
        taken.push(drill(dir.path(), &book, &scenario, &auto)?);
        let journal = std::fs::read_to_string(record.join("exercise.json"))?;
        let told = journal.matches("message ").count();
        ensure!(told >= INJECTS, "{told} of {INJECTS} messages were told");
    }
    let seconds = median(taken);
    Ok(vec![Line {
        name: format!("a drill of an hour, {STEPS} steps, {INJECTS} injects"),
        ours: format!("{seconds:.2} s"),
        baseline: "3600 s".into(),
        ratio: format!("{:.5}", seconds / 3_600.0),
        goal: "< 2 s",
        met: Some(seconds < 2.0),
    }])
}

/// 10,000 drills of a runbook of 50 steps, each with other troubles and decisions.
pub(crate) fn explored() -> Result<Vec<Line>> {
    const STEPS: usize = 50;
    const SEEDS: &str = "10000";
    let dir = tempfile::tempdir_in(".")?;
    let (book, scenario) = (dir.path().join("book.ron"), dir.path().join("scenario.ron"));
    std::fs::write(&book, runbook(STEPS))?;
    std::fs::write(&scenario, messages(0))?;
    let seconds = drill(dir.path(), &book, &scenario, &["--explore".as_ref(), SEEDS.as_ref()])?;
    Ok(vec![Line {
        name: format!("{SEEDS} explored drills of {STEPS} steps"),
        ours: format!("{seconds:.1} s"),
        baseline: String::new(),
        ratio: String::new(),
        goal: "< 60 s on two cores",
        met: Some(seconds < 60.0),
    }])
}

/// Seconds that a drill took, the whole process.
fn drill(dir: &Path, book: &Path, scenario: &Path, how: &[&std::ffi::OsStr]) -> Result<f64> {
    let began = Instant::now();
    let mut command = backout(&dir.join("store"))?;
    command.arg("drill").arg(book).arg("--scenario").arg(scenario).args(how);
    let said = command.stderr(Stdio::piped()).output()?;
    let took = began.elapsed().as_secs_f64();
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    Ok(took)
}

/// Commands that say what became of them and commands that do not, looks, and a gate in the middle.
fn runbook(steps: usize) -> String {
    let mut text = String::from("Runbook(format: 1, name: \"bench\", steps: [\n");
    for at in 0..steps {
        let action = match at % 5 {
            0 => r#""exec.run", with: (command: ["true"], settle: ["true"])"#,
            1 => r#""exec.run", with: (command: ["true"])"#,
            2 => r#""flags.off", with: (file: "/srv/flags.yaml", flag: "checkout")"#,
            3 => r#""checks.tcp", with: (address: "127.0.0.1:1")"#,
            _ => r#""noop.run""#,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  (id: \"s{at}\", action: {action}),");
    }
    text + "])\n"
}

fn messages(count: usize) -> String {
    let mut text = String::from(
        "Scenario(format: 1, name: \"bench\", title: \"An hour\", runbook: \"book.ron\", \
         lasts: \"1h\", objectives: [], injects: [\n",
    );
    for at in 0..count {
        let _ = writeln!(
            text,
            "  (id: \"m{at}\", at: \"{}s\", from: \"support\", to: \"commander\", by: \"chat\", \
             text: \"message {at}\"),",
            at * 36
        );
    }
    text + "])\n"
}
