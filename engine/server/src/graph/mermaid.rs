//! The plan for Mermaid, as code hosts render it inside Markdown.

use std::collections::BTreeMap;
use std::fmt::Write;

use backout_core::id::StepId;
use backout_core::plan::Plan;

use super::Label;

/// The plan as a Mermaid flowchart. Nodes are numbered: ids with brackets are not Mermaid names.
pub fn mermaid(plan: &Plan) -> String {
    let number: BTreeMap<&StepId, usize> =
        plan.steps.iter().enumerate().map(|(at, step)| (&step.id, at)).collect();
    let mut out = "flowchart TD\n".to_owned();
    for (at, step) in plan.steps.iter().enumerate() {
        let label = Label::of(step);
        let id = format!("<b>{}</b>", escape(&label.id));
        let rest = [vec![escape(&label.subtitle)], label.marks].concat();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  s{at}[\"{id}<br/>{}\"]", rest.join("<br/>"));
    }
    for (at, step) in plan.steps.iter().enumerate() {
        for before in step.needs.iter().filter_map(|need| number.get(need)) {
            let _ = writeln!(out, "  s{before} --> s{at}");
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "#quot;")
}
