//! A plan as a tree for a narrow screen: each step stands below the last of the steps that it needs.
//! A chain stays on one level, only a fork indents; what else a step needs is named beside it.

use backout_core::id::StepIx;
use backout_core::plan::Order;

/// Levels that are shown; deeper ones stand on the last.
const DEPTH_MAX: usize = 8;

/// One line of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    /// The step.
    pub(crate) step: StepIx,
    /// Its level, from 0 on.
    pub(crate) depth: usize,
    /// The steps that it needs beside the one above it.
    pub(crate) also: Vec<StepIx>,
}

/// The lines of a plan, each step once.
pub(crate) fn tree(order: &Order) -> Vec<Branch> {
    let count = order.needs.len();
    let parent: Vec<Option<StepIx>> = (0..count).map(|at| parent(order, StepIx(at))).collect();
    let mut children: Vec<Vec<StepIx>> = vec![Vec::new(); count];
    let mut roots = Vec::new();
    for (at, parent) in parent.iter().enumerate() {
        match parent.and_then(|parent| children.get_mut(parent.0)) {
            Some(siblings) => siblings.push(StepIx(at)),
            None => roots.push(StepIx(at)),
        }
    }
    let mut lines = Vec::with_capacity(count);
    // A stack and no recursion: a plan may be a chain of ten thousand.
    let mut open: Vec<(StepIx, usize)> = roots.into_iter().rev().map(|root| (root, 0)).collect();
    while let Some((step, depth)) = open.pop() {
        let above = parent.get(step.0).copied().flatten();
        let needs = order.needs.get(step.0).into_iter().flatten();
        let also = needs.filter(|need| Some(**need) != above).copied().collect();
        lines.push(Branch { step, depth: depth.min(DEPTH_MAX), also });
        let below = children.get(step.0).map_or(&[][..], Vec::as_slice);
        let deeper = depth + usize::from(below.len() > 1);
        open.extend(below.iter().rev().map(|child| (*child, deeper)));
    }
    lines
}

/// The last of the steps that it needs: the one of the highest wave.
fn parent(order: &Order, step: StepIx) -> Option<StepIx> {
    let needs = order.needs.get(step.0)?;
    needs.iter().copied().max_by_key(|need| (order.wave.get(need.0).copied(), need.0))
}

#[cfg(test)]
mod tests {
    use backout_core::plan::{Order, PlanStep};

    use super::*;

    fn shown(steps: &[(&str, &[&str])]) -> Vec<String> {
        let plan: Vec<PlanStep> = steps
            .iter()
            .map(|(id, needs)| {
                serde_json::from_value(serde_json::json!({
                    "id": id, "needs": needs, "action": "noop.run", "timeout_ms": 1,
                }))
                .unwrap()
            })
            .collect();
        let line = |branch: Branch| {
            let also: Vec<&str> = branch.also.iter().map(|step| steps[step.0].0).collect();
            format!("{}{} {}", "  ".repeat(branch.depth), steps[branch.step.0].0, also.join(","))
                .trim_end()
                .to_owned()
        };
        tree(&Order::of(&plan).unwrap()).into_iter().map(line).collect()
    }

    #[test]
    fn a_chain_stays_on_one_level_and_a_fork_indents() {
        assert_eq!(shown(&[("a", &[]), ("b", &["a"]), ("c", &["b"])]), ["a", "b", "c"]);
        let fork = [("a", &[][..]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])];
        assert_eq!(shown(&fork), ["a", "  b", "  c", "  d b"]);
    }

    #[test]
    fn a_chain_of_ten_thousand_is_shown() {
        let ids: Vec<String> = (0..10_000).map(|at| format!("s{at}")).collect();
        let needs: Vec<Vec<&str>> = (0..10_000_usize)
            .map(|at| at.checked_sub(1).map(|b| ids[b].as_str()).into_iter().collect())
            .collect();
        let steps: Vec<_> =
            ids.iter().zip(&needs).map(|(id, needs)| (id.as_str(), needs.as_slice())).collect();
        assert_eq!(shown(&steps).len(), 10_000);
    }
}
