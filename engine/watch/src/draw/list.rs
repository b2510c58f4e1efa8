//! All runs.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Look, clock, plain};
use crate::screen::Screen;

pub(super) fn draw(screen: &Screen, frame: &mut Frame<'_>, area: Rect, look: Look) {
    if screen.runs.is_empty() {
        let text = if screen.heard.is_some() {
            "no runs yet; `backout run FILE` starts one"
        } else {
            "asking for the runs"
        };
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let height = usize::from(area.height.saturating_sub(1)).max(1);
    let first = screen.at.saturating_sub(height - 1);
    let head =
        format!("  {:10}  {:13}  {:>7}  {:8}  {}", "RUN", "STATE", "DONE", "STARTED", "RUNBOOK");
    let mut lines = vec![Line::styled(head, look.dim())];
    for (at, listed) in screen.runs.iter().enumerate().skip(first).take(height) {
        let mark = if at == screen.at { "> " } else { "  " };
        let done = format!("{}/{}", listed.done, listed.steps);
        let mut spans = vec![
            Span::raw(format!("{mark}{:10}  ", listed.run)),
            Span::styled(
                format!("{} {:11}", look.sign(&listed.state), plain(&listed.state)),
                look.state(&listed.state),
            ),
            Span::raw(format!("  {done:>7}  {:8}  {}", clock(&listed.created), listed.runbook)),
        ];
        if listed.drill {
            spans.push(Span::styled(" DRILL", look.state("waiting")));
        }
        if listed.stale {
            spans.push(Span::styled(" STALE", look.state("waiting")));
        }
        if listed.break_glass {
            spans.push(Span::styled(" BREAK GLASS", look.state("failed")));
        }
        let line = Line::from(spans);
        lines.push(if at == screen.at { line.style(look.chosen()) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), area);
}
