//! What a plan would do, for people: waves, differences, hazards, and where the way back ends.

use std::fmt::Write;

use backout_core::contract::{Gate, Reversibility, Satisfied};
use backout_core::plan::Role;
use backout_runtime::survey::{EffectReport, Looked, PlanReport, StepReport};
use backout_server::view::{counted, duration};
use unicode_width::UnicodeWidthStr;

use super::style::{BOLD, DIM, GOOD, TROUBLE, WARN, paint};
use super::text::{cut, wrapped};

/// Lines of one effect's difference that are shown; the rest is counted.
const DIFFERENCE_LINES_MAX: usize = 20;

/// The whole report.
pub(crate) fn report(report: &PlanReport, width: usize) -> String {
    let mut out = head(report);
    let mut by_wave: Vec<&StepReport> = report.steps.iter().collect();
    by_wave.sort_by_key(|step| step.wave);
    let mut wave = 0;
    for step in by_wave {
        if step.wave != wave {
            wave = step.wave;
            let _ = writeln!(out, "\n{}", paint(BOLD, &format!("wave {wave}")));
        }
        if report.point_of_no_return.as_ref() == Some(&step.id) {
            let _ = writeln!(out, "  {}", paint(WARN, &point_line(step, width)));
        }
        out.push_str(&self::step(step, width));
    }
    let _ = write!(out, "\n{}", summary(report, width));
    out
}

fn head(report: &PlanReport) -> String {
    let place = report.environment.as_ref().map(|environment| {
        let protected = if environment.protected { ", protected" } else { "" };
        format!("  ({}{protected})", environment.name)
    });
    let title = if report.title.is_empty() { String::new() } else { format!(": {}", report.title) };
    format!("{}{title}{}\n", paint(BOLD, &report.runbook), place.unwrap_or_default())
}

fn point_line(step: &StepReport, width: usize) -> String {
    let what = match step.reversibility {
        Some(Reversibility::ShapeOnly) => "structure comes back, data does not,",
        Some(Reversibility::None) => "nothing comes back",
        Some(Reversibility::Exact) | None => "",
    };
    let text = format!("--- point of no return: {what} after {} ", step.id);
    let fill = width.min(78).saturating_sub(text.len() + 2);
    format!("{text}{}", "-".repeat(fill))
}

fn step(step: &StepReport, width: usize) -> String {
    let mut out = String::new();
    let title = if step.title.is_empty() { String::new() } else { format!("  {}", step.title) };
    let facts = format!("{}, {}", step.action, step.guarantee.word());
    let room = width.saturating_sub(4 + step.id.width() + facts.width());
    // Where there is no room for some of it, it is left out.
    let title = if room < 8 { String::new() } else { cut(&title, room) };
    let _ = writeln!(out, "  {}{title}  {}", paint(BOLD, &step.id), paint(DIM, &facts));
    out.push_str(&seen(step, width));
    for line in conditions(step) {
        out.push_str(&wrapped(&line, 6, width));
    }
    for hazard in &step.hazards {
        let accepted =
            if hazard.accepted { "accepted in the file" } else { "a person will be asked" };
        let text =
            wrapped(&format!("hazard {}: {} ({accepted})", hazard.code, hazard.text), 6, width);
        out.push_str(&if hazard.accepted { text } else { paint(WARN, &text) });
    }
    out
}

fn seen(step: &StepReport, width: usize) -> String {
    let reason = step.reason.as_deref().unwrap_or_default();
    let said = |style, label: &str| paint(style, &wrapped(&format!("{label}: {reason}"), 6, width));
    match step.looked {
        Looked::Seen if step.satisfied == Some(true) => {
            let what =
                if step.effects.is_empty() { "nothing to change" } else { "already as wanted" };
            format!("      {}\n", paint(GOOD, what))
        }
        Looked::Seen => step.effects.iter().map(|effect| self::effect(effect, width)).collect(),
        Looked::Refused => said(TROUBLE, "refused"),
        Looked::NotSeen => said(WARN, "not seen"),
        Looked::NotYet => said(DIM, "cannot be known yet"),
        Looked::Skipped => said(DIM, "left out"),
    }
}

fn effect(effect: &EffectReport, width: usize) -> String {
    let state = match effect.satisfied {
        Satisfied::Yes => paint(GOOD, "  already"),
        Satisfied::No | Satisfied::CannotTell => String::new(),
    };
    let back = match effect.reversibility {
        Reversibility::Exact => String::new(),
        Reversibility::ShapeOnly | Reversibility::None => {
            paint(WARN, &format!("  back: {}", effect.reversibility.word()))
        }
    };
    // As much as the widest of what may stand behind it.
    let room = width.saturating_sub(8 + "  already  back: shape-only".len());
    let mut out = format!("      {}{state}{back}\n", cut(&effect.title, room));
    for line in effect.difference.iter().take(DIFFERENCE_LINES_MAX) {
        let _ = writeln!(out, "        {}", cut(line, width.saturating_sub(8)));
    }
    if effect.difference.len() > DIFFERENCE_LINES_MAX {
        let _ = writeln!(
            out,
            "        and {} more lines",
            effect.difference.len() - DIFFERENCE_LINES_MAX
        );
    }
    out
}

fn conditions(step: &StepReport) -> Vec<String> {
    let mut lines = Vec::new();
    match &step.gate {
        Some(Gate::Timer { ms }) => lines.push(format!("waits {}", duration(*ms))),
        Some(Gate::Approval { text }) => lines.push(format!("asks a person: {text}")),
        None => {}
    }
    if let Some(approval) = &step.approval {
        let by = if approval.by.is_empty() { "anyone".to_owned() } else { approval.by.join(", ") };
        let starter =
            if approval.starter_may { "" } else { ", not by the one who started the run" };
        lines.push(format!(
            "needs {} by {by}{starter}",
            counted(approval.count as usize, "approval")
        ));
    }
    if let Some(ms) = step.soak_ms {
        lines.push(format!("then must hold for {}", duration(ms)));
    }
    if step.conditional {
        lines.push("may be left out: its `when` depends on earlier steps".to_owned());
    }
    if !step.locks.is_empty() {
        let locks = step.locks.iter().map(ToString::to_string).collect::<Vec<_>>();
        lines.push(format!("locks {}", locks.join(", ")));
    }
    if !step.seen_before.is_empty() {
        lines.push(format!(
            "seen as it is now, before {} acts on the same target",
            step.seen_before.join(", ")
        ));
    }
    match &step.role {
        Role::Success => lines.push("a success check".to_owned()),
        Role::Step | Role::Undo { .. } => {}
    }
    lines
}

/// The last lines: how many steps of which kind, and whether something stands in the way.
pub(crate) fn summary(report: &PlanReport, width: usize) -> String {
    let waves = report.steps.iter().map(|step| step.wave).max().unwrap_or(0);
    let satisfied = report.steps.iter().filter(|step| step.satisfied == Some(true)).count();
    let mut parts =
        vec![format!("{} in {}", counted(report.steps.len(), "step"), counted(waves, "wave"))];
    let mut part = |count: usize, text: &str| {
        if count > 0 {
            parts.push(format!("{count} {text}"));
        }
    };
    part(satisfied, "already as wanted");
    part(report.count(Looked::Refused), "refused");
    part(report.count(Looked::NotSeen), "not seen");
    part(report.count(Looked::NotYet), "not known yet");
    part(report.count(Looked::Skipped), "left out");
    let asks = report.steps.iter().filter(|step| asks_person(step)).count();
    part(asks, "will ask a person");
    let mut out = wrapped(&parts.join(", "), 0, width);
    if let Some(point) = &report.point_of_no_return {
        let _ = writeln!(out, "point of no return: {point}");
    }
    out
}

fn asks_person(step: &StepReport) -> bool {
    let hazards = step.hazards.iter().any(|hazard| !hazard.accepted);
    step.approval.is_some() || hazards || matches!(step.gate, Some(Gate::Approval { .. }))
}
