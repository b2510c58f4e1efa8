//! The picture as SVG: readable in light and dark, by shape and text as well as by colour.

use std::fmt::Write;

use backout_core::plan::{BY_HAND_ACTION, Order, Plan, PlanStep};

use super::Label;
use super::layout::{EdgeLine, Layout, NodeBox, layout};

/// How a step looks beyond its plan: its state in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLook {
    /// The word of its state, also the CSS class; empty in a plan without a run. More classes may
    /// follow it.
    pub state: String,
    /// One more line for the tooltip.
    pub note: String,
}

impl NodeLook {
    /// The word of the state alone.
    fn word(&self) -> &str {
        self.state.split(' ').next().unwrap_or_default()
    }
}

const STYLE: &str = "\
text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}\
.id{font-size:13.5px;font-weight:600;fill:#16202c}\
.sub{font-size:11px;fill:#52606d}\
.mark{font-size:10.5px;fill:#8a4b08}\
.sign{font-size:13px;font-weight:700;fill:#16202c}\
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
.mark{fill:#f0b35a}.sign{fill:#e6edf3}.edge{stroke:#5f6f7f}.tip{fill:#5f6f7f}\
.succeeded .box,.already-satisfied .box{fill:#123322}.running .box,.preparing .box{fill:#12294a}\
.waiting .box{fill:#3a2d0c}.in-doubt .box,.unverified .box{fill:#3d1029}.failed .box{fill:#3f1414}\
.skipped .box,.cancelled .box,.undone .box{fill:#232c35}}";

/// Paints a plan as a picture of its own. `look` says how each step looks; the default is a plan
/// without a run.
pub fn svg(plan: &Plan, order: &Order, look: impl Fn(&PlanStep) -> NodeLook) -> String {
    let inside = format!("<style>{STYLE}</style>\n");
    painted(plan, order, ("img", &inside), |step| boxed(step, &look(step)))
}

/// Paints a plan as a part of a page that has a style of its own for the classes that stand here:
/// each box is a link to what `link` says.
pub fn drawing(
    plan: &Plan,
    order: &Order,
    look: impl Fn(&PlanStep) -> NodeLook,
    link: impl Fn(&PlanStep) -> String,
) -> String {
    painted(plan, order, ("group", ""), |step| {
        let (href, inner) = (escape(&link(step)), boxed(step, &look(step)));
        move |node: &NodeBox| format!("<a href=\"{href}\">{}</a>", inner(node))
    })
}

fn painted<Paint: Fn(&NodeBox) -> String>(
    plan: &Plan,
    order: &Order,
    (role, inside): (&str, &str),
    paint: impl Fn(&PlanStep) -> Paint,
) -> String {
    let drawn = layout(plan, order);
    let mut out = String::with_capacity(2_048 + 700 * drawn.nodes.len());
    head(&mut out, plan, &drawn, (role, inside));
    for edge in &drawn.edges {
        out.push_str(&line(edge));
    }
    for (node, step) in drawn.nodes.iter().zip(&plan.steps) {
        out.push_str(&paint(step)(node));
        out.push('\n');
    }
    out.push_str("</svg>\n");
    out
}

fn head(out: &mut String, plan: &Plan, drawn: &Layout, (role, inside): (&str, &str)) {
    let (w, h) = (drawn.width, drawn.height);
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" \
         viewBox=\"0 0 {w:.0} {h:.0}\" role=\"{role}\" aria-label=\"steps of {}\">\n\
         {inside}\
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

fn boxed(step: &PlanStep, look: &NodeLook) -> impl Fn(&NodeBox) -> String + use<> {
    let (label, class) = (Label::of(step), class(step, look));
    let (name, tooltip) = (escape(step.id.as_str()), escape(&tooltip(step, look)));
    let sign = state_sign(look.word());
    move |node| boxed_at(node, &label, sign, [&class, &name, &tooltip])
}

fn boxed_at(
    node: &NodeBox,
    label: &Label,
    sign: &str,
    [class, name, tooltip]: [&str; 3],
) -> String {
    let (x, y) = (node.x, node.y);
    let middle = x + node.w / 2.0;
    let mut out = String::new();
    let _ = write!(
        out,
        "<g class=\"{class}\" data-step=\"{name}\"><title>{tooltip}</title>\
         <rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"7\"/>\
         <text class=\"id\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"sub\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
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
    if !sign.is_empty() {
        let (x, y) = (x + 11.0, y + 20.0);
        let _ = write!(
            out,
            "<text class=\"sign\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{sign}</text>"
        );
    }
    out.push_str("</g>");
    out
}

/// The sign of a step's state, so that no state is told by its colour alone; empty for none.
pub fn state_sign(state: &str) -> &'static str {
    match state {
        "succeeded" => "\u{2713}",
        "already-satisfied" => "=",
        "preparing" | "running" => "\u{25b6}",
        "waiting" => "\u{2026}",
        "in-doubt" | "unverified" => "?",
        "failed" => "\u{2717}",
        "skipped" => "\u{00bb}",
        "cancelled" => "\u{2013}",
        "undone" => "\u{21b6}",
        "pending" => "\u{25cb}",
        _ => "",
    }
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
    for more in [&step.title, look.word(), &look.note] {
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
