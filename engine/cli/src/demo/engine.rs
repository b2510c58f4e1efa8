//! Child engines: this binary again, as a person would start it.

use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::say;
use crate::ui::Ui;
use crate::view::style::{DIM, paint};

/// How long the run may take to get half way: a hundred times what it takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a child may take to finish what it has begun when the demo is ended.
const GRACE: Duration = Duration::from_secs(20);
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
    stop: Arc<AtomicBool>,
}

/// A child and the thread that shows what it says. It does not outlive the interest in it.
struct Running {
    child: Child,
    shown: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        let _ = self.child.kill().is_ok();
        let _ = self.child.wait().is_ok();
    }
}

impl Running {
    /// Its exit, where it has ended.
    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        self.all_is_shown();
        Ok(Some(status))
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.all_is_shown();
        Ok(())
    }

    /// Lets it finish what it has begun.
    fn end_in_order(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + GRACE;
        while self.ended()?.is_none() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn all_is_shown(&mut self) {
        // A line that was not shown is no reason to stop.
        let _ = self.shown.take().map(JoinHandle::join).is_none();
    }
}

impl Engine {
    /// Children in this folder, until `stop` is set.
    pub(super) fn new(ui: &Ui, folder: &Path, stop: Arc<AtomicBool>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        Ok(Self { ui: ui.clone(), program, folder: folder.to_owned(), stop })
    }

    /// Runs a command to its end, showing what it says.
    pub(super) fn run(&self, args: &[&str]) -> anyhow::Result<ExitStatus> {
        let mut running = self.start(args)?;
        loop {
            if let Some(status) = running.ended()? {
                return Ok(status);
            }
            self.wait(&mut running)?;
        }
    }

    /// Runs a command until a moment comes, then kills it with SIGKILL. Gives its process id.
    pub(super) fn run_until(
        &self,
        args: &[&str],
        mut moment: impl FnMut() -> bool,
    ) -> anyhow::Result<u32> {
        let mut running = self.start(args)?;
        let deadline = Instant::now() + PATIENCE;
        while !moment() {
            if let Some(status) = running.ended()? {
                bail!("the run ended before it was half way: {status}");
            }
            if Instant::now() > deadline {
                bail!("the run did not come half way in {} s", PATIENCE.as_secs());
            }
            self.wait(&mut running)?;
        }
        running.kill()?;
        Ok(running.child.id())
    }

    /// Waits a moment, or ends the child where nobody wants it any more.
    fn wait(&self, running: &mut Running) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            running.end_in_order()?;
            bail!("ended by Ctrl-C or another signal");
        }
        thread::sleep(LOOK);
        Ok(())
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

    fn start(&self, args: &[&str]) -> anyhow::Result<Running> {
        say(&self.ui, &format!("$ backout {}", args.join(" ")));
        let (said, says) = pipe()?;
        let mut command = self.command(args);
        command.stdout(says.try_clone()?).stderr(says);
        let child = command.spawn().context("starting a child of this program")?;
        let this = self.clone();
        let shown = Some(thread::spawn(move || this.show(said)));
        Ok(Running { child, shown })
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
