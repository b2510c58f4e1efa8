//! The picture as SVG: readable in light and dark, by shape and text as well as by colour.

use std::fmt::Write;

use backout_core::plan::{BY_HAND_ACTION, Order, Plan, PlanStep};

use super::Label;
use super::layout::{EdgeLine, Layout, NodeBox, layout};

/// How a step looks beyond its plan: its state in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLook {
    /// The word of its state, also the CSS class; empty in a plan without a run.
    pub state: String,
    /// One more line for the tooltip.
    pub note: String,
}

const STYLE: &str = "\
text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}\
.id{font-size:13.5px;font-weight:600;fill:#16202c}\
.sub{font-size:11px;fill:#52606d}\
.mark{font-size:10.5px;fill:#8a4b08}\
.box{fill:#ffffff;stroke:#8795a1;stroke-width:1.2}\
.edge{fill:none;stroke:#8795a1;stroke-width:1.4}\
.tip{fill:#8795a1}\
.paper{fill:#f7f9fb}\
.gate .box{stroke:#b7791f;stroke-width:1.8}\
.check .box{stroke-dasharray:5 3}\
.succeeded .box,.already-satisfied .box{fill:#e6f6ec;stroke:#2f855a}\
.running .box,.preparing .box{fill:#e8f1fd;stroke:#2b6cb0;stroke-width:2.2}\
.waiting .box{fill:#fff8e6;stroke:#b7791f;stroke-width:2.2}\
.in-doubt .box,.unverified .box{fill:#fdeaf3;stroke:#b83280;stroke-width:2.6}\
.failed .box{fill:#fdeaea;stroke:#c53030;stroke-width:2.6}\
.skipped .box,.cancelled .box,.undone .box{fill:#edf0f3;stroke-dasharray:4 3}\
@media (prefers-color-scheme:dark){\
.paper{fill:#10161d}.box{fill:#1b2530;stroke:#5f6f7f}.id{fill:#e6edf3}.sub{fill:#9fb0c0}\
.mark{fill:#f0b35a}.edge{stroke:#5f6f7f}.tip{fill:#5f6f7f}\
.succeeded .box,.already-satisfied .box{fill:#123322}.running .box,.preparing .box{fill:#12294a}\
.waiting .box{fill:#3a2d0c}.in-doubt .box,.unverified .box{fill:#3d1029}.failed .box{fill:#3f1414}\
.skipped .box,.cancelled .box,.undone .box{fill:#232c35}}";

/// Paints a plan. `look` says how each step looks; the default is a plan without a run.
pub fn svg(plan: &Plan, order: &Order, look: impl Fn(&PlanStep) -> NodeLook) -> String {
    let drawn = layout(plan, order);
    let mut out = String::with_capacity(2_048 + 700 * drawn.nodes.len());
    head(&mut out, plan, &drawn);
    for edge in &drawn.edges {
        out.push_str(&line(edge));
    }
    for (node, step) in drawn.nodes.iter().zip(&plan.steps) {
        out.push_str(&boxed(node, step, &look(step)));
    }
    out.push_str("</svg>\n");
    out
}

fn head(out: &mut String, plan: &Plan, drawn: &Layout) {
    let (w, h) = (drawn.width, drawn.height);
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" \
         viewBox=\"0 0 {w:.0} {h:.0}\" role=\"img\" aria-label=\"steps of {}\">\n\
         <style>{STYLE}</style>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path class=\"tip\" d=\"M0,0.8 L8,4 L0,7.2 z\"/></marker></defs>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>",
        escape(&plan.name)
    );
}

fn line(edge: &EdgeLine) -> String {
    format!("<path class=\"edge\" marker-end=\"url(#tip)\" d=\"{}\"/>\n", curve(&edge.points))
}

/// A smooth path: each stretch leaves and arrives vertically, a straight one stays straight.
fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    let mut before: Option<(f64, f64)> = None;
    for (x, y) in points.iter().copied() {
        let _ = match before {
            None => write!(path, "M{x:.1},{y:.1}"),
            Some((from_x, _)) if (from_x - x).abs() < 0.5 => write!(path, " L{x:.1},{y:.1}"),
            Some((from_x, from_y)) => {
                let middle = f64::midpoint(from_y, y);
                write!(path, " C{from_x:.1},{middle:.1} {x:.1},{middle:.1} {x:.1},{y:.1}")
            }
        };
        before = Some((x, y));
    }
    path
}

fn boxed(node: &NodeBox, step: &PlanStep, look: &NodeLook) -> String {
    let label = Label::of(step);
    let (x, y) = (node.x, node.y);
    let middle = x + node.w / 2.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<g class=\"{}\" data-step=\"{}\"><title>{}</title>\
         <rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>\
         <text class=\"id\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"sub\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
        class(step, look),
        escape(step.id.as_str()),
        escape(&tooltip(step, look)),
        node.w,
        node.h,
        y + 21.0,
        escape(&label.id),
        y + 37.0,
        escape(&label.subtitle),
    );
    if !label.marks.is_empty() {
        let marks = escape(&label.marks.join("  "));
        let _ = write!(
            out,
            "<text class=\"mark\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{marks}</text>",
            y + 54.0
        );
    }
    out.push_str("</g>\n");
    out
}

fn class(step: &PlanStep, look: &NodeLook) -> String {
    let mut classes = vec!["step"];
    if step.approval.is_some() || step.action.as_str() == BY_HAND_ACTION {
        classes.push("gate");
    }
    if step.role == backout_core::plan::Role::Success {
        classes.push("check");
    }
    if !look.state.is_empty() {
        classes.push(&look.state);
    }
    classes.join(" ")
}

fn tooltip(step: &PlanStep, look: &NodeLook) -> String {
    let mut text = format!("{}: {}", step.id, step.action);
    for more in [&step.title, &look.state, &look.note] {
        if !more.is_empty() {
            text.push('\n');
            text.push_str(more);
        }
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
