//! The screen as lines. Meaning is told by words and signs; colour only repeats it.

mod list;
mod over;
mod run;

use backout_server::graph::state_sign;
use backout_server::view::{duration, left_words, rfc3339};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::screen::Screen;

/// Milliseconds without a word after which the screen says that it is stale: the engine answers a
/// wait for events within ten seconds.
const STALE_AFTER_MS: u64 = 20_000;

/// How the terminal can show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether it has colours.
    pub color: bool,
    /// Whether it shows more than ASCII.
    pub unicode: bool,
}

impl Look {
    fn fg(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// How a state looks.
    pub(crate) fn state(self, word: &str) -> Style {
        match word {
            "succeeded" | "already-satisfied" | "done" | "satisfied" => self.fg(Color::Green),
            "running" | "preparing" | "in-flight" => self.fg(Color::Blue),
            "waiting" | "paused" | "interrupted" | "approval" | "person" | "output" => {
                self.fg(Color::Yellow).add_modifier(Modifier::BOLD)
            }
            "in-doubt" | "unverified" | "unclear" => {
                self.fg(Color::Magenta).add_modifier(Modifier::BOLD)
            }
            "failed" | "aborted" | "alarm" | "refused" | "circle" => {
                self.fg(Color::Red).add_modifier(Modifier::BOLD)
            }
            _ => self.dim(),
        }
    }

    #[expect(clippy::unused_self, reason = "how it is shown is asked of one thing")]
    pub(crate) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    #[expect(clippy::unused_self, reason = "how it is shown is asked of one thing")]
    pub(crate) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    #[expect(clippy::unused_self, reason = "how it is shown is asked of one thing")]
    pub(crate) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The sign of a state.
    pub(crate) fn sign(self, state: &str) -> &'static str {
        if self.unicode {
            return match state {
                "interrupted" | "alarm" | "circle" => "!",
                "paused" => "\u{2016}",
                "aborted" => "\u{25a0}",
                "approval" | "person" | "output" => "\u{2026}",
                other => state_sign(other),
            };
        }
        match state {
            "succeeded" => "+",
            "already-satisfied" => "=",
            "running" | "preparing" => ">",
            "waiting" | "approval" | "person" | "output" | "paused" => "~",
            "in-doubt" | "unverified" => "?",
            "failed" => "x",
            "interrupted" | "alarm" | "circle" => "!",
            "skipped" | "cancelled" | "aborted" => "-",
            "undone" => "u",
            _ => ".",
        }
    }
}

/// `in-doubt` as `in doubt`.
pub(crate) fn plain(word: &str) -> String {
    word.replace('-', " ")
}

/// `02:58:01`.
pub(crate) fn clock(rfc3339: &str) -> &str {
    let time = rfc3339.split_once('T').map_or(rfc3339, |(_, time)| time);
    time.split(['.', 'Z']).next().unwrap_or(time)
}

impl Screen {
    /// Draws it.
    pub fn draw(&self, frame: &mut Frame<'_>, look: Look) {
        let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
        let [top, middle, bottom] = Layout::vertical(rows).areas(frame.area());
        self.top(frame, top, look);
        if self.followed.is_some() {
            run::draw(self, frame, middle, look);
        } else {
            list::draw(self, frame, middle, look);
        }
        self.bottom(frame, bottom, look);
        over::draw(self, frame, middle, look);
    }

    /// Whether the engine was silent for too long.
    fn is_stale(&self) -> bool {
        let quiet = self.heard.map_or(u64::MAX, |heard| self.now.since_ms(heard));
        self.silent.is_some() || quiet > STALE_AFTER_MS
    }

    fn top(&self, frame: &mut Frame<'_>, area: Rect, look: Look) {
        let line = self.line(look);
        let width = u16::try_from(line.width()).unwrap_or(u16::MAX);
        let columns = [Constraint::Min(1), Constraint::Length(width)];
        let [left, right] = Layout::horizontal(columns).spacing(1).areas(area);
        frame.render_widget(Paragraph::new(self.title(look, left.width.into())), left);
        frame.render_widget(Paragraph::new(line), right);
    }

    fn title(&self, look: Look, room: usize) -> Line<'static> {
        let view = self.followed.as_ref().and_then(|followed| followed.view.as_ref());
        if let Some(drill) = view.and_then(|view| view.drill.as_ref())
            && drill.emergency.is_some()
        {
            let style = look.state("failed").add_modifier(Modifier::REVERSED);
            return Line::styled(format!(" {} ", drill.line()), style);
        }
        let Some(view) = view else {
            let what = match &self.followed {
                Some(followed) => format!("run {}", followed.run),
                None => format!("runs of {}", self.place),
            };
            return Line::from(vec![Span::styled("backout ", look.bold()), Span::raw(what)]);
        };
        let mut spans = Vec::new();
        if view.drill.is_some() {
            let style = look.state("waiting").add_modifier(Modifier::REVERSED);
            spans.extend([Span::styled(" DRILL ", style), Span::raw(" ")]);
        }
        spans.extend([
            Span::styled(format!("{} ", view.run), look.bold()),
            Span::raw(format!("{} ", view.runbook)),
            Span::styled(
                format!("{} {}", look.sign(&view.state), plain(&view.state)),
                look.state(&view.state),
            ),
        ]);
        if view.undoing {
            spans.push(Span::raw(" UNDOING"));
        }
        if view.break_glass {
            spans.push(Span::styled(" BREAK GLASS", look.state("failed")));
        }
        let done = view.listed().done;
        let took = duration(view.took_ms / 1_000 * 1_000);
        spans.push(Span::raw(format!(" {done}/{} done, {took}", view.steps.len())));
        let time = view.time.as_ref().filter(|_| view.ended.is_none());
        if let Some(left) = time.and_then(left_words) {
            let left = Span::styled(format!(", {left}"), look.dim());
            let taken: usize = spans.iter().map(Span::width).sum();
            // Half a figure would be a wrong one.
            spans.extend(Some(left).filter(|left| taken + left.width() <= room));
        }
        Line::from(spans)
    }

    /// How fresh it is.
    fn line(&self, look: Look) -> Line<'static> {
        let heard = self.heard.map(rfc3339);
        let at = heard.as_deref().map_or("never", clock).to_owned();
        if self.is_stale() {
            let style = look.state("failed").add_modifier(Modifier::REVERSED);
            return Line::styled(format!(" STALE since {at} "), style);
        }
        Line::styled(format!("live {}", clock(&rfc3339(self.now))), look.state("succeeded"))
    }

    /// What became of the last command, what is wrong, or the keys.
    fn bottom(&self, frame: &mut Frame<'_>, area: Rect, look: Look) {
        let line = match (&self.said, &self.silent) {
            (Some((true, said)), _) => Line::styled(said.clone(), look.state("succeeded")),
            (Some((false, why)), _) => Line::styled(format!("no: {why}"), look.state("failed")),
            (None, Some(why)) => Line::styled(format!("{why}; trying again"), look.state("failed")),
            (None, None) if self.followed.is_some() => Line::styled(
                "up/down step  enter commands  w next want  l log  esc runs  ? keys  q quit",
                look.dim(),
            ),
            (None, None) => Line::styled("up/down  enter open  ? keys  q quit", look.dim()),
        };
        frame.render_widget(Paragraph::new(line), area);
    }
}
