//! The plan for Graphviz.

use std::fmt::Write;

use backout_core::plan::Plan;

use super::Label;

/// The plan in the DOT language.
pub fn dot(plan: &Plan) -> String {
    let mut out = format!(
        "digraph {} {{\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"monospace\"];\n",
        quote(&plan.name)
    );
    for step in &plan.steps {
        let label = Label::of(step);
        let lines = [vec![label.id, label.subtitle], label.marks].concat().join("\n");
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {} [label={}];", quote(step.id.as_str()), quote(&lines));
    }
    for step in &plan.steps {
        for need in &step.needs {
            let _ = writeln!(out, "  {} -> {};", quote(need.as_str()), quote(step.id.as_str()));
        }
    }
    out.push_str("}\n");
    out
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
