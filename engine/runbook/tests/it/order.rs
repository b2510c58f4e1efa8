//! Needs, waves and circles.

use backout_core::plan::Order;
use proptest::prelude::*;

use crate::actions::{check, runbook};

fn steps(count: usize, needs: &[Vec<usize>]) -> String {
    let step = |at: usize| {
        let needs: Vec<String> = needs[at].iter().map(|need| format!("\"s{need}\"")).collect();
        format!("(id: \"s{at}\", action: \"noop.run\", needs: [{}])", needs.join(", "))
    };
    runbook(&format!("steps: [{}]", (0..count).map(step).collect::<Vec<_>>().join(", ")))
}

proptest! {
    /// The reader and the core agree on which needs form an order.
    #[test]
    fn circles_are_found_where_the_core_finds_them(
        needs in prop::collection::vec(prop::collection::vec(0_usize..12, 0..3), 12)
    ) {
        let needs: Vec<Vec<usize>> = needs
            .iter()
            .enumerate()
            .map(|(at, needs)| needs.iter().copied().filter(|need| *need != at).collect())
            .collect();
        let compiled = check(&steps(12, &needs));
        let acyclic = {
            let mut left: Vec<usize> = (0..12).collect();
            while let Some(place) =
                left.iter().position(|at| needs[*at].iter().all(|need| !left.contains(need)))
            {
                left.remove(place);
            }
            left.is_empty()
        };
        prop_assert_eq!(compiled.plan.is_some(), acyclic);
        match compiled.plan {
            Some(plan) => prop_assert!(Order::of(&plan.steps).is_ok()),
            None => prop_assert!(compiled.problems.iter().all(|p| p.code == "BO0304")),
        }
    }
}

#[test]
fn a_circle_is_shown_as_a_path() {
    let compiled = check(&steps(3, &[vec![2], vec![0], vec![1]]));
    let messages: Vec<&str> = compiled.problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(messages, ["steps need each other in a circle: s0 -> s2 -> s1 -> s0"]);
    assert_eq!(compiled.problems[0].labels.len(), 3);
}

#[test]
fn long_chains_do_not_recurse() {
    let needs: Vec<Vec<usize>> =
        (0..10_000).map(|at: usize| at.checked_sub(1).into_iter().collect()).collect();
    let plan = check(&steps(10_000, &needs)).plan.unwrap();
    assert_eq!(Order::of(&plan.steps).unwrap().wave[9_999], 9_999);
}
