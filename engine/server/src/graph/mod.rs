//! A plan as a picture: a layered drawing with the waves from top to bottom.
//!
//! [`layout`] is pure and knows nothing of how it is painted; [`svg`], [`dot`] and [`mermaid`] paint.

mod dot;
mod layout;
mod mermaid;
mod place;
mod rank;
mod svg;

pub use dot::dot;
pub use layout::{EdgeLine, Layout, NodeBox, layout};
pub use mermaid::mermaid;
pub use svg::{NodeLook, drawing, state_sign, svg};

use backout_core::plan::{BY_HAND_ACTION, PlanStep, Role};

/// Characters of a node's second line; longer is cut, the whole stands in the tooltip.
const SUBTITLE_CHARS_MAX: usize = 34;

/// The texts inside a node: its id, what it does, and what makes it special.
pub(crate) struct Label {
    pub(crate) id: String,
    pub(crate) subtitle: String,
    pub(crate) marks: Vec<String>,
}

impl Label {
    pub(crate) fn of(step: &PlanStep) -> Self {
        let subtitle = if step.title.is_empty() { step.action.as_str() } else { &step.title };
        Self {
            id: step.id.to_string(),
            subtitle: shorten(subtitle, SUBTITLE_CHARS_MAX),
            marks: marks(step),
        }
    }
}

fn marks(step: &PlanStep) -> Vec<String> {
    let mut marks = Vec::new();
    if let Some(approval) = &step.approval {
        marks.push(match approval.count {
            1 => "approval".to_owned(),
            count => format!("{count} approvals"),
        });
    }
    if step.when.is_some() {
        marks.push("conditional".to_owned());
    }
    if let Some(soak_ms) = step.soak_ms {
        marks.push(format!("soak {}", crate::view::duration(soak_ms)));
    }
    if step.action.as_str() == BY_HAND_ACTION {
        marks.push("by hand".to_owned());
    }
    match &step.role {
        Role::Step => {}
        Role::Success => marks.push("success check".to_owned()),
        Role::Undo { of, .. } => marks.push(format!("undoes {of}")),
    }
    marks
}

/// The text, cut to so many characters with a mark.
pub(crate) fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backout_core::plan::{ApprovalPolicy, Order, Plan};

    fn plan(steps: &[(&str, &str, &str, &[&str])]) -> Plan {
        let steps: Vec<serde_json::Value> = steps
            .iter()
            .map(|(id, title, action, needs)| {
                serde_json::json!({ "id": id, "title": title, "action": action, "needs": needs,
                    "timeout_ms": 1000 })
            })
            .collect();
        serde_json::from_value(serde_json::json!({ "format": 1, "name": "checkout",
            "max_parallel": 4, "stale_after_ms": 1, "steps": steps }))
        .unwrap()
    }

    pub(crate) fn sample() -> Plan {
        let mut plan = plan(&[
            ("announce", "Tell the incident channel", "exec.run", &[]),
            ("flag_checkout_off", "Turn the new checkout off", "flags.off", &["announce"]),
            ("flag_pricing_off", "Turn dynamic pricing off", "flags.off", &["announce"]),
            (
                "checkout_old",
                "Old checkout in, new one out",
                "releases.activate",
                &["flag_checkout_off"],
            ),
            ("pricing_old", "", "releases.activate", &["flag_pricing_off"]),
            ("cache_flush", "Flush the price cache", "exec.run", &["flag_pricing_off"]),
            ("smoke", "Buy one thing", "http.request", &["checkout_old", "pricing_old"]),
            ("schema_down", "Schema back to 41", "migrations.down", &["smoke", "cache_flush"]),
            ("close_incident", "Say that it is over", "exec.run", &["schema_down", "announce"]),
        ]);
        plan.steps[7].approval = Some(ApprovalPolicy::default());
        plan.steps[6].soak_ms = Some(300_000);
        plan
    }

    #[test]
    fn boxes_of_a_row_do_not_touch_and_lines_go_down() {
        let plan = sample();
        let drawn = layout(&plan, &Order::of(&plan.steps).unwrap());
        for (at, a) in drawn.nodes.iter().enumerate() {
            for b in &drawn.nodes[at + 1..] {
                let apart =
                    a.x + a.w < b.x || b.x + b.w < a.x || a.y + a.h < b.y || b.y + b.h < a.y;
                assert!(apart, "{a:?} touches {b:?}");
            }
        }
        for edge in &drawn.edges {
            assert!(edge.points.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{edge:?}");
        }
        assert_eq!(drawn.edges.len(), 11);
    }

    #[test]
    fn the_largest_plan_is_drawn() {
        let ids: Vec<String> = (0..10_000).map(|n| format!("s{n}")).collect();
        let needs: Vec<Vec<&str>> = (0..10_000_usize)
            .map(
                |n| if n < 100 { vec![] } else { vec![ids[n - 100].as_str(), ids[n / 2].as_str()] },
            )
            .collect();
        let steps: Vec<_> = ids
            .iter()
            .zip(&needs)
            .map(|(id, needs)| (id.as_str(), "", "noop.run", needs.as_slice()))
            .collect();
        let plan = plan(&steps);
        let drawn = layout(&plan, &Order::of(&plan.steps).unwrap());
        assert_eq!(drawn.nodes.len(), 10_000);
    }

    #[test]
    fn the_picture_of_a_runbook() {
        let plan = sample();
        let text = svg(&plan, &Order::of(&plan.steps).unwrap(), |_| NodeLook::default());
        assert_eq!(text.matches("<rect class=\"box\"").count(), 9);
        assert!(text.contains("marker-end"));
        if let Ok(path) = std::env::var("BACKOUT_SVG") {
            std::fs::write(path, &text).unwrap();
        }
        let text = mermaid(&plan);
        assert!(
            text.contains("s1[\"<b>flag_checkout_off</b><br/>Turn the new checkout off\"]"),
            "{text}"
        );
        assert!(text.contains("  s0 --> s1\n"), "{text}");
        let text = dot(&plan);
        assert!(text.contains("\"smoke\" [label=\"smoke\\nBuy one thing\\nsoak 5m\"];"), "{text}");
        assert!(text.contains("  \"announce\" -> \"close_incident\";\n"), "{text}");
    }
}
