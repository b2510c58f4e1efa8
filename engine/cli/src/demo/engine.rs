//! Child engines: this binary again, as a person would start it.

use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{say, trouble};
use crate::ui::Ui;
use crate::view::style::{DIM, paint};

/// How long the run may take to get half way: a hundred times what it takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// Columns of the demo: what every terminal has.
const WIDTH: usize = 80;
/// Columns before a child's line.
const PREFIX: usize = 4;
/// Between two looks at the run.
const LOOK: Duration = Duration::from_millis(20);

/// How children are started.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    ui: Ui,
    program: PathBuf,
    folder: PathBuf,
}

/// A child that does not outlive this process's interest in it.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        let _ = self.0.kill().is_ok();
        let _ = self.0.wait().is_ok();
    }
}

impl Engine {
    pub(super) fn new(ui: &Ui, folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        Ok(Self { ui: ui.clone(), program, folder: folder.to_owned() })
    }

    /// Runs a command to its end, showing what it says.
    pub(super) fn run(&self, args: &[&str]) -> anyhow::Result<ExitStatus> {
        let (mut child, said) = self.start(args)?;
        self.show(said);
        Ok(child.0.wait()?)
    }

    /// Runs a command until a moment comes, then kills it with SIGKILL. Gives its process id.
    pub(super) fn run_until(
        &self,
        args: &[&str],
        mut moment: impl FnMut() -> bool,
    ) -> anyhow::Result<u32> {
        let (mut child, said) = self.start(args)?;
        let this = self.clone();
        let shown = thread::spawn(move || this.show(said));
        let deadline = Instant::now() + PATIENCE;
        while !moment() {
            if let Some(status) = child.0.try_wait()? {
                bail!("the run ended before it was half way: {status}");
            }
            if Instant::now() > deadline {
                bail!("the run did not come half way in {} s", PATIENCE.as_secs());
            }
            thread::sleep(LOOK);
        }
        child.0.kill()?;
        child.0.wait()?;
        if shown.join().is_err() {
            say(&self.ui, &trouble("  its output could not be shown"));
        }
        Ok(child.0.id())
    }

    /// Whether the latest run's journal holds the intent of a step's effect.
    pub(super) fn has_intent(&self, step: &str) -> bool {
        let Ok(said) = self.command(&["history", "latest", "--json"]).output() else {
            return false;
        };
        let text = String::from_utf8_lossy(&said.stdout);
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .any(|event| event["kind"] == "effect-intended" && event["step"] == step)
    }

    fn start(&self, args: &[&str]) -> anyhow::Result<(Guard, PipeReader)> {
        say(&self.ui, &format!("$ backout {}", args.join(" ")));
        let (said, says) = pipe()?;
        let mut command = self.command(args);
        command.stdout(says.try_clone()?).stderr(says);
        let child = command.spawn().context("starting a child of this program")?;
        Ok((Guard(child), said))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            // Colours are taken out again where they do not belong.
            .args(["--color", "always"])
            .current_dir(&self.folder)
            .env("BACKOUT_STORE", self.folder.join("store"))
            .stdin(Stdio::null());
        command
    }

    fn show(&self, said: PipeReader) {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            say(&self.ui, &format!("{} {}", paint(DIM, "  |"), cut(&line, WIDTH - PREFIX)));
        }
    }
}

/// The line, with no more than so many characters to see; colours take no room.
fn cut(line: &str, width: usize) -> String {
    if anstream::adapter::strip_str(line).to_string().chars().count() <= width {
        return line.to_owned();
    }
    let (mut seen, mut is_colour) = (0, false);
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        is_colour = is_colour || c == '\u{1b}';
        seen += usize::from(!is_colour);
        if seen == width {
            break;
        }
        text.push(c);
        is_colour = is_colour && c != 'm';
    }
    text.push_str("…\u{1b}[0m");
    text
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_long_line_is_cut_and_its_colours_are_not_counted() {
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(cut("abcde", 4), "abc…\u{1b}[0m");
        assert_eq!(cut("\u{1b}[1mabcd\u{1b}[0m", 4), "\u{1b}[1mabcd\u{1b}[0m");
        assert_eq!(cut("\u{1b}[1mabcde\u{1b}[0m", 4), "\u{1b}[1mabc…\u{1b}[0m");
    }
}
