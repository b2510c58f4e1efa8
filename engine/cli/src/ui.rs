//! The only place that prints: stdout is data, stderr the rest.

use std::io::{self, BufRead, IsTerminal, Write};

use anstream::AutoStream;
pub(crate) use anstream::ColorChoice;
use anstream::adapter::strip_str;
use anstream::stream::RawStream;
use serde::Serialize;

use crate::exit::Failure;
use crate::view::style::{BOLD, HELP, TROUBLE, WARN, paint};

/// Columns when nobody says how many there are.
const WIDTH_DEFAULT: usize = 80;

/// How much is shown, while a run goes on, of what commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nothing: nobody watches.
    Nothing,
    /// The last line, now and then.
    Last,
    /// Every line.
    All,
}

/// Standard output, standard error and the person, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    /// Whether a person reads and types: both input and error stream are terminals.
    pub(crate) interactive: bool,
    /// Columns of the terminal.
    pub(crate) width: usize,
    /// Columns of what is told on stderr: the terminal's, without one no limit.
    pub(crate) told_width: usize,
    /// How much is shown of what commands print.
    pub(crate) output: Output,
    color: ColorChoice,
}

impl Ui {
    /// Both streams; colours by terminal, `NO_COLOR` and `--color`.
    pub(crate) fn new(color: ColorChoice, verbose: bool) -> Self {
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let width = width.unwrap_or(WIDTH_DEFAULT).max(40);
        let is_seen = io::stderr().is_terminal();
        Self {
            interactive: io::stdin().is_terminal() && is_seen,
            width,
            told_width: if is_seen { width } else { usize::MAX },
            output: match (verbose, is_seen) {
                (true, _) => Output::All,
                (false, true) => Output::Last,
                (false, false) => Output::Nothing,
            },
            color,
        }
    }

    /// Whether stdout shows colours.
    pub(crate) fn colored(&self) -> bool {
        match self.color {
            ColorChoice::Auto => AutoStream::choice(&std::io::stdout()) != ColorChoice::Never,
            choice => choice != ColorChoice::Never,
        }
    }

    /// Data for a person or a program, to stdout. Colours are taken out where they do not belong.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut out = self.stream(io::stdout().lock());
        let written = out.write_all(text.as_bytes()).and_then(|()| {
            if text.ends_with('\n') {
                out.flush()
            } else {
                out.write_all(b"\n").and_then(|()| out.flush())
            }
        });
        written.map_err(output_failure)
    }

    /// A stream that takes colours out where they do not belong.
    fn stream<S: RawStream>(&self, raw: S) -> AutoStream<S> {
        match self.color {
            ColorChoice::Auto => AutoStream::auto(raw),
            chosen => AutoStream::new(raw, chosen),
        }
    }

    /// Bytes as they are, to stdout.
    #[expect(clippy::unused_self, reason = "whoever prints has the one thing that prints")]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(output_failure)
    }

    /// One JSON document, indented, to stdout.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::Internal(error.to_string()))?;
        self.data(&text)
    }

    /// One JSON document in one line, to stdout.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string(value).map_err(|error| Failure::Internal(error.to_string()))?;
        self.data(&text)
    }

    /// A line for the person, to stderr. Where stderr is gone, nobody is there to be told.
    pub(crate) fn say(&self, text: &str) {
        let mut err = io::stderr().lock();
        let colored = match self.color {
            ColorChoice::Auto => AutoStream::choice(&err) != ColorChoice::Never,
            choice => choice != ColorChoice::Never,
        };
        // In one write: what another process says there does not come between.
        let line = if colored { format!("{text}\n") } else { format!("{}\n", strip_str(text)) };
        let _ = err.write_all(line.as_bytes()).is_ok();
    }

    /// A warning, to stderr.
    pub(crate) fn warn(&self, text: &str) {
        self.say(&format!("{} {text}", paint(WARN, "warning:")));
    }

    /// A failure and what to do, to stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::BrokenPipe) {
            return;
        }
        self.say(&format!("{} {failure}", paint(TROUBLE, "error:")));
        if let Some(help) = failure.help() {
            self.say(&format!("{} {help}", paint(HELP, " help:")));
        }
    }

    /// Asks and waits for one line; `None` at the end of the input.
    pub(crate) fn ask(&self, question: &str) -> Option<String> {
        let mut err = self.stream(io::stderr().lock());
        let asked = write!(err, "{} ", paint(BOLD, question)).and_then(|()| err.flush());
        drop(err);
        asked.ok()?;
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim().to_owned())
    }
}

fn output_failure(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::BrokenPipe;
    }
    Failure::file("write to standard output", error)
}
