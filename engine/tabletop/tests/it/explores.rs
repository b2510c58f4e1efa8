//! Many drills with trouble by chance.

use backout_tabletop::explore::{Weakness, explore, play_seed};

use crate::support::{APPROVED, RUNBOOK, setup, shop};

#[test]
fn weak_points_are_found_with_a_seed_that_shows_them_again() {
    let mut setup = setup(RUNBOOK, &shop(""), APPROVED);
    setup.guarantees.insert("cart_back".into(), backout_core::contract::Guarantee::Manual);
    let found = explore(&setup, 0, 60, 2).unwrap();
    assert_eq!(found.ends.values().sum::<u64>(), 60);
    assert!(found.ends["succeeded"] > 20, "{found:#?}");
    let has =
        |weakness, step: &str| found.weak.iter().find(|w| w.weakness == weakness && w.step == step);
    assert!(has(Weakness::Stall, "schema_down").is_some(), "{found:#?}");
    let doubt = has(Weakness::Doubt, "cart_back").unwrap_or_else(|| panic!("{found:#?}"));
    assert!(!found.weak.iter().any(|w| w.weakness == Weakness::Twice), "{found:#?}");
    let again = play_seed(&setup, doubt.seed).unwrap();
    let doubted = |r: &backout_core::event::Recorded| matches!(&r.event, backout_core::event::Event::EffectInDoubt { sending, .. } if sending.step.as_str() == "cart_back");
    assert!(again.journal().iter().any(doubted));
}

#[test]
fn what_is_found_does_not_depend_on_threads() {
    let setup = setup(RUNBOOK, &shop(""), APPROVED);
    assert_eq!(explore(&setup, 5, 20, 1).unwrap(), explore(&setup, 5, 20, 3).unwrap());
}

/// The promise is ten thousand drills of fifty steps in a minute on two cores, optimised: twelve
/// milliseconds for each on one core. Without optimisation a tenth of that speed is enough.
#[test]
fn a_drill_of_fifty_steps_is_explored_in_no_time() {
    let steps: Vec<String> = (0..50)
        .map(|at| {
            let approval = if at % 10 == 9 { "approval: (count: 1)," } else { "" };
            format!("(id: \"s{at}\", action: \"noop.run\", {approval} retry: (max: 1)),")
        })
        .collect();
    let runbook = format!("Runbook(format: 1, name: \"fifty\", steps: [{}])", steps.join("\n"));
    let scenario = "Scenario(format: 1, name: \"fifty\", title: \"fifty\")";
    let setup = setup(&runbook, scenario, "Decisions(format: 1, decisions: [])");
    let began = std::time::Instant::now();
    let found = explore(&setup, 0, 100, 2).unwrap();
    let each_ms = began.elapsed().as_millis() * 2 / 100;
    assert_eq!(found.ends.values().sum::<u64>(), 100);
    assert!(each_ms < 120, "{each_ms}ms for each drill on one core");
}
