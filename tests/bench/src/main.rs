//! Measures the engine, and prints ratios against raw synced appends of the same bytes with the
//! same number outstanding, on the same disk and in the same run. Machines are shared and noisy:
//! the ratios are what counts.
//!
//! ```text
//! cargo build --release -p backout-cli && cargo run --release -p backout-bench
//! ```

#![allow(clippy::print_stdout, reason = "a report on stdout is what it is for")]

mod drills;
mod io;
mod measure;
mod process;
mod raw;
mod served;
mod world;

use anyhow::Result;

/// One line of the report.
pub(crate) struct Line {
    /// What was measured.
    pub(crate) name: String,
    /// The figure.
    pub(crate) ours: String,
    /// The baseline of the same run.
    pub(crate) baseline: String,
    /// The ratio, or the figure itself.
    pub(crate) ratio: String,
    /// What it should be.
    pub(crate) goal: &'static str,
    /// Whether it is.
    pub(crate) met: Option<bool>,
}

impl Line {
    /// What a step takes besides what the disk does: the ratio above hangs on how fast that is, this
    /// does not. Milliseconds.
    pub(crate) fn besides(ms: f64, what: &str) -> Self {
        Self {
            name: format!("  besides {what} of the baseline"),
            ours: format!("{ms:.3} ms/step"),
            baseline: String::new(),
            ratio: String::new(),
            goal: "",
            met: None,
        }
    }
}

type Measurement = fn() -> Result<Vec<Line>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, count, dir] = args.as_slice()
        && word == "live"
    {
        return process::live(count.parse()?, dir.as_ref());
    }
    // For looking into a restart by hand: `interrupted 1000 100 0 DIR` makes such a store.
    if let [word, finished, steps, notes, dir] = args.as_slice()
        && word == "interrupted"
    {
        let dir = dir.as_ref();
        return process::interrupted(dir, finished.parse()?, steps.parse()?, notes.parse()?);
    }
    let wanted = |name: &str| args.is_empty() || args.iter().any(|arg| arg == name);
    let all: [(&str, Measurement); 11] = [
        ("chain", process::chain),
        ("io", measure::io_chain),
        ("runs", measure::many_runs),
        ("fan-out", measure::fan_out),
        ("restart", process::restart),
        ("check", process::check),
        ("event", measure::cost_of_an_event),
        ("memory", process::memory),
        ("serve", served::served),
        ("drill", drills::hour),
        ("explore", drills::explored),
    ];
    println!("{:<44} {:>14} {:>14} {:>8}  goal", "", "ours", "raw", "ratio");
    for (name, measurement) in all {
        if wanted(name) {
            for line in measurement()? {
                print(&line);
            }
        }
    }
    Ok(())
}

fn print(line: &Line) {
    let met = match line.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "",
    };
    println!(
        "{:<44} {:>14} {:>14} {:>8}  {} {met}",
        line.name, line.ours, line.baseline, line.ratio, line.goal
    );
}
