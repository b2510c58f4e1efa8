//! One run: what now, the steps as a tree, the chosen step, and the log.

use backout_core::event::Recorded;
use backout_core::exercise::is_drilled;
use backout_server::view::{EMERGENCY, RunView, StepView, duration, rfc3339, sentence};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use super::{Look, clock, plain};
use crate::screen::{Followed, Screen};
use crate::tree::Branch;

/// Lines of "what now?" at the most; the tree marks the other steps.
const NOW_LINES_MAX: usize = 5;
/// Lines of the log beside tree and step.
const LOG_LINES: u16 = 4;
/// Columns of the tree at the most.
const TREE_COLUMNS_MAX: u16 = 46;

pub(super) fn draw(screen: &Screen, frame: &mut Frame<'_>, area: Rect, look: Look) {
    let Some(followed) = &screen.followed else { return };
    let Some(view) = &followed.view else {
        frame.render_widget(Paragraph::new("asking for its events"), area);
        return;
    };
    let now = now(view, look);
    let now_height = u16::try_from(now.len()).unwrap_or(1);
    let log = if screen.log_wide { Constraint::Min(3) } else { Constraint::Length(LOG_LINES + 1) };
    let middle = if screen.log_wide { Constraint::Length(0) } else { Constraint::Min(3) };
    let rows = [Constraint::Length(now_height), middle, log];
    let [top, middle, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Paragraph::new(now), top);
    if !screen.log_wide {
        let tree_width = (area.width * 2 / 5).min(TREE_COLUMNS_MAX);
        let columns = [Constraint::Length(tree_width), Constraint::Min(10)];
        let [left, right] = Layout::horizontal(columns).areas(middle);
        tree(followed, view, frame, left, look);
        step(followed, frame, right, look);
    }
    log_of(followed, frame, bottom, look);
}

/// What is in doubt, what waits for a person, what comes next: one line each.
fn now(view: &RunView, look: Look) -> Vec<Line<'static>> {
    // One who is called away needs nothing of the drill any more, and one screen is enough to see it.
    if let Some(called) = view.drill.as_ref().and_then(|drill| drill.emergency.as_ref()) {
        let loud = look.state("failed").add_modifier(Modifier::REVERSED);
        return vec![
            Line::styled(EMERGENCY, loud),
            Line::styled(format!("Called by {called}"), loud),
        ];
    }
    let mut wants: Vec<_> = view.wants.iter().collect();
    wants.sort_by_key(|want| want.what != "in-doubt");
    let mut lines: Vec<Line<'static>> = wants
        .iter()
        .take(NOW_LINES_MAX)
        .map(|want| {
            let kind = format!("{} {}: ", look.sign(&want.what), plain(&want.what));
            Line::from(vec![
                Span::styled(kind, look.state(&want.what)),
                Span::styled(format!("{} ", want.step), look.bold()),
                Span::raw(want.why.clone()),
            ])
        })
        .collect();
    if wants.len() > NOW_LINES_MAX {
        let more = wants.len() - NOW_LINES_MAX;
        lines.push(Line::raw(format!("  and {more} more; w goes from one to the next")));
    }
    let stands = matches!(view.state.as_str(), "interrupted" | "paused" | "aborted");
    if view.is_record() {
        let style = look.state("waiting");
        lines.push(Line::styled(
            "the exercise is over: nothing is asked of its run any more",
            style,
        ));
    } else if stands && !view.closed {
        let word = if view.driven { "it is held" } else { "no engine drives it" };
        lines.push(Line::styled(format!("! {word}: R resumes it"), look.state("interrupted")));
    }
    if lines.is_empty() || !view.next.is_empty() {
        lines.push(next(view, look));
    }
    lines
}

fn next(view: &RunView, look: Look) -> Line<'static> {
    let text = if view.next.is_empty() {
        match view.recovered {
            Some(true) => "nothing; it is recovered".to_owned(),
            Some(false) => "nothing; it is not recovered".to_owned(),
            None => "nothing".to_owned(),
        }
    } else {
        view.next.join(", ")
    };
    Line::from(vec![Span::styled("next by itself: ", look.dim()), Span::raw(text)])
}

fn tree(followed: &Followed, view: &RunView, frame: &mut Frame<'_>, area: Rect, look: Look) {
    let block = Block::new().borders(Borders::TOP).title("steps");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let height = usize::from(inner.height).max(1);
    // The chosen one stays in sight, with some of what follows it.
    let first = followed.chosen.saturating_sub(height.saturating_sub(1).saturating_sub(height / 3));
    let first = first.min(followed.tree.len().saturating_sub(height));
    let lines: Vec<Line<'static>> = followed
        .tree
        .iter()
        .enumerate()
        .skip(first)
        .take(height)
        .filter_map(|(at, branch)| {
            let line = branch_line(branch, view, look)?;
            Some(if at == followed.chosen { line.style(look.chosen()) } else { line })
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn branch_line(branch: &Branch, view: &RunView, look: Look) -> Option<Line<'static>> {
    let step = view.steps.get(branch.step.0)?;
    let also: Vec<&str> =
        branch.also.iter().filter_map(|ix| Some(view.steps.get(ix.0)?.id.as_str())).collect();
    let mut spans = vec![
        Span::raw("  ".repeat(branch.depth)),
        Span::styled(format!("{} ", look.sign(&step.state)), look.state(&step.state)),
        Span::raw(step.id.clone()),
    ];
    if !matches!(step.state.as_str(), "pending" | "succeeded") {
        spans.push(Span::styled(format!(" {}", plain(&step.state)), look.state(&step.state)));
    }
    if !also.is_empty() {
        spans.push(Span::styled(format!(" & {}", also.join(",")), look.dim()));
    }
    Some(Line::from(spans))
}

fn step(followed: &Followed, frame: &mut Frame<'_>, area: Rect, look: Look) {
    let Some(step) = followed.chosen_step() else { return };
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).title(step.id.clone());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let text = Paragraph::new(detail(step, look)).wrap(Wrap { trim: false });
    frame.render_widget(text.scroll((followed.scroll, 0)), inner);
}

fn detail(step: &StepView, look: Look) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if !step.title.is_empty() {
        lines.push(Line::styled(step.title.clone(), look.bold()));
    }
    lines.push(summary(step, look));
    let mut say = |style: Style, text: String| lines.push(Line::styled(text, style));
    if let Some(wait) = &step.wait {
        say(look.state("waiting"), format!("waits for {}: {}", wait.waits_for, wait.why));
    }
    if let Some(trouble) = &step.trouble {
        say(look.state("failed"), trouble.clone());
    }
    for difference in &step.difference {
        say(Style::new(), format!("  {difference}"));
    }
    for hazard in &step.hazards {
        say(look.state("failed"), format!("! hazard {}: {}", hazard.code, hazard.text));
    }
    for effect in &step.effects {
        let known =
            effect.evidence.as_deref().map(|known| format!(": {known}")).unwrap_or_default();
        say(look.state(&effect.state), format!("{} {}{known}", plain(&effect.state), effect.title));
        say(look.dim(), format!("  key {}", effect.key));
    }
    if !step.approved_by.is_empty() {
        say(Style::new(), format!("approved by {}", step.approved_by.join(", ")));
    }
    if let Some(note) = &step.note {
        say(Style::new(), format!("note: {note}"));
    }
    if step.output.as_object().is_some_and(|fields| !fields.is_empty()) {
        say(look.dim(), format!("output {}", step.output));
    }
    if let Some(owner) = &step.owner {
        say(look.dim(), format!("who knows: {owner}"));
    }
    lines
}

/// State, action, guarantee, attempts and times in one line.
fn summary(step: &StepView, look: Look) -> Line<'static> {
    let mut words = vec![step.action.clone()];
    words.extend(step.guarantee.clone());
    if let Some(reversibility) = &step.reversibility {
        words.push(format!("undo gives {}", plain(reversibility)));
    }
    if step.attempts > 1 {
        words.push(format!("attempt {}", step.attempts));
    }
    if let Some(took) = step.took_ms {
        words.push(duration(took / 1_000 * 1_000));
    }
    if let Some(late) = step.overdue_ms {
        words.push(format!("{} over", duration(late)));
    }
    let state = format!("{} {}  ", look.sign(&step.state), plain(&step.state));
    Line::from(vec![
        Span::styled(state, look.state(&step.state)),
        Span::styled(words.join(", "), look.dim()),
    ])
}

fn log_of(followed: &Followed, frame: &mut Frame<'_>, area: Rect, look: Look) {
    let block = Block::new().borders(Borders::TOP).title("log, the newest last");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let height = usize::from(inner.height);
    let first = followed.log.len().saturating_sub(height);
    let lines: Vec<Line<'static>> =
        followed.log.iter().skip(first).map(|recorded| event(recorded, look)).collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn event(recorded: &Recorded, look: Look) -> Line<'static> {
    let (step, what) = sentence(&recorded.event);
    let cause = &recorded.cause;
    let at = rfc3339(recorded.at);
    let mut spans = vec![Span::styled(format!("{} ", clock(&at)), look.dim())];
    if is_drilled(recorded) {
        spans.push(Span::styled("DRILL ", look.dim()));
    }
    if cause.actor.name != "engine" {
        let glass = if cause.break_glass { " BREAKING THE GLASS" } else { "" };
        spans.push(Span::styled(format!("{}{glass}: ", cause.actor.name), look.bold()));
    }
    spans.extend(step.map(|step| Span::styled(format!("{step} "), look.bold())));
    spans.push(Span::raw(what));
    if let Some(reason) = &cause.reason {
        spans.push(Span::styled(format!(" ({reason})"), look.dim()));
    }
    Line::from(spans)
}
