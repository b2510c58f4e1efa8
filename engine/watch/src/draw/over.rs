//! What lies over the screen: the commands, a form, the keys.

use backout_server::view::Offer;
use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use unicode_width::UnicodeWidthStr;

use super::Look;
use crate::form::{Form, Line as Field};
use crate::keys::{COMMANDS, key_of};
use crate::screen::{Over, Screen};

/// Columns of a box at the most.
const WIDTH_MAX: u16 = 100;
/// Lines of what a step changes, in a form.
const SHOWN_MAX: usize = 8;

pub(super) fn draw(screen: &Screen, frame: &mut Frame<'_>, area: Rect, look: Look) {
    match &screen.over {
        None => {}
        Some(Over::Help) => boxed(frame, area, "keys", help(look)),
        Some(Over::Menu { offers, at }) => menu(frame, area, offers, *at, look),
        Some(Over::Form(form)) => draw_form(frame, area, form, look),
    }
}

/// A box in the middle, as high as its text.
fn place(area: Rect, lines: usize) -> Rect {
    let width = area.width.min(WIDTH_MAX);
    let height = u16::try_from(lines + 2).unwrap_or(u16::MAX).min(area.height);
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}

fn boxed(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'static>>) {
    let place = place(area, lines.len());
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Paragraph::new(lines).block(block), place);
}

fn menu(frame: &mut Frame<'_>, area: Rect, offers: &[Offer], at: usize, look: Look) {
    let room = usize::from(area.height.saturating_sub(2)).max(1);
    let first = at.saturating_sub(room - 1);
    let lines: Vec<Line<'static>> = offers
        .iter()
        .enumerate()
        .skip(first)
        .take(room)
        .map(|(place, offer)| {
            let line = offer_line(offer, look);
            if place == at { line.style(look.chosen()) } else { line }
        })
        .collect();
    boxed(frame, area, "commands: enter or the key; esc closes", lines);
}

fn offer_line(offer: &Offer, look: Look) -> Line<'static> {
    let key = key_of(&offer.word).unwrap_or(' ');
    let label = offer.offered().map_or("", |offered| offered.label);
    let about = offer.step.as_deref().map(|step| format!(" {step}")).unwrap_or_default();
    match &offer.refused {
        None => {
            Line::from(vec![Span::styled(format!("{key}  {label}"), look.bold()), Span::raw(about)])
        }
        Some(why) => Line::styled(format!("-  {label}: not now: {why}"), look.dim()),
    }
}

fn help(look: Look) -> Vec<Line<'static>> {
    let mut lines = vec![
        Line::raw("up down j k g G   move          enter m   commands of the step and the run"),
        Line::raw("w   next that wants a person    space backspace   scroll the step"),
        Line::raw("l   log wide                    esc   back to the runs      q   quit"),
        Line::raw(""),
    ];
    let named = COMMANDS.iter().map(|(key, word)| format!("{key}  {}", super::plain(word)));
    let named: Vec<String> = named.collect();
    let rows = named.len().div_ceil(3);
    for row in 0..rows {
        let cells = named.iter().skip(row).step_by(rows).map(|cell| format!("{cell:22}"));
        lines.push(Line::styled(cells.collect::<String>(), look.bold()));
    }
    lines.push(Line::raw("every command asks for its reason before it is given"));
    lines
}

fn draw_form(frame: &mut Frame<'_>, area: Rect, form: &Form, look: Look) {
    let about = form.step.as_deref().map(|step| format!(" {step}")).unwrap_or_default();
    let mut lines = vec![Line::raw(form.offered.does)];
    for line in form.shown.iter().take(SHOWN_MAX) {
        lines.push(Line::styled(format!("  {line}"), look.bold()));
    }
    if form.shown.len() > SHOWN_MAX {
        let more = form.shown.len() - SHOWN_MAX;
        lines.push(Line::raw(format!("  and {more} more lines, beside it on the screen")));
    }
    lines.push(Line::raw(""));
    let fields_begin = lines.len();
    let width = usize::from(area.width.min(WIDTH_MAX).saturating_sub(4));
    for (at, field) in form.lines.iter().enumerate() {
        lines.push(field_line(field, at == form.focus, width, look));
    }
    lines.push(match &form.wrong {
        Some(wrong) => Line::styled(wrong.clone(), look.state("failed")),
        None => Line::styled("enter gives it, tab next field, esc gives nothing", look.dim()),
    });
    let place = place(area, lines.len() + 1);
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!("{}{about}", form.offered.label));
    let inner = block.inner(place);
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), place);
    // The first line may wrap on a narrow screen; the fields follow below it.
    let wrapped = form.offered.does.width().div_ceil(usize::from(inner.width).max(1)).max(1) - 1;
    let row = u16::try_from(fields_begin + wrapped + form.focus).unwrap_or(0);
    if let Some(field) = form.lines.get(form.focus) {
        let column = u16::try_from(column(field, width)).unwrap_or(0);
        frame.set_cursor_position(Position::new(inner.x + column, inner.y + row));
    }
}

/// The part of a field's text that is in sight, and where the cursor stands in it.
fn in_sight(field: &Field, width: usize) -> (String, usize) {
    let room = width.saturating_sub(field.label.width() + 3).max(8);
    let first = field.cursor.saturating_sub(room - 1);
    let text: String = field.text.chars().skip(first).take(room).collect();
    let before: String = field.text.chars().skip(first).take(field.cursor - first).collect();
    (text, before.width())
}

fn column(field: &Field, width: usize) -> usize {
    field.label.width() + 2 + in_sight(field, width).1
}

fn field_line(field: &Field, is_focus: bool, width: usize, look: Look) -> Line<'static> {
    let (text, _) = in_sight(field, width);
    let label = format!("{}: ", field.label);
    let label_style = if is_focus { look.bold() } else { look.dim() };
    Line::from(vec![Span::styled(label, label_style), Span::raw(text)])
}
