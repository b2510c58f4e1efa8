//! Colours by meaning. Every view says the same in words.

use anstyle::{AnsiColor, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BUSY: Style = AnsiColor::Blue.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const DOUBT: Style = AnsiColor::Magenta.on_default().bold();
pub(crate) const TROUBLE: Style = AnsiColor::Red.on_default().bold();
pub(crate) const HELP: Style = AnsiColor::Cyan.on_default();

/// The text in a colour; the terminal's writer takes it out where colours do not belong.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The colour of a run's or a step's state.
pub(crate) fn of_state(word: &str) -> Style {
    match word {
        "succeeded" | "already-satisfied" => GOOD,
        "running" | "preparing" => BUSY,
        "waiting" | "paused" | "interrupted" => WARN,
        "in-doubt" | "unverified" => DOUBT,
        "failed" | "aborted" => TROUBLE,
        _ => DIM,
    }
}
