//! Plans that an engine makes by itself: a step that a person does by hand, and a run that only holds
//! targets.

use backout_core::id::{StepId, TargetId, Timestamp};
use backout_core::limits::ID_CHARS_MAX;
use backout_core::plan::{BY_HAND_ACTION, Plan, PlanStep};
use serde_json::json;

use crate::view::rfc3339;

/// Whether a text can be a new step's name.
///
/// # Errors
/// What a name is.
pub fn step_name(name: &str) -> Result<(), String> {
    let mut letters = name.bytes();
    let begins = letters.next().is_some_and(|byte| byte.is_ascii_lowercase());
    let plain = letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if begins && plain && name.len() <= ID_CHARS_MAX {
        return Ok(());
    }
    Err(format!("`{name}` is no name for a step: small letters, digits and `_`, a letter first"))
}

/// A step that a person does and then approves.
pub fn by_hand_step(name: &str, text: &str, needs: Vec<StepId>) -> PlanStep {
    PlanStep {
        title: text.to_owned(),
        needs,
        ..PlanStep::new(name, BY_HAND_ACTION, json!({ "text": text.replace("${", "$${") }))
    }
}

/// A run that locks targets and waits until a person approves its step `release`: it is seen, recorded
/// and fenced like any other.
pub fn hold_plan(targets: &[TargetId], reason: &str, now: Timestamp) -> Plan {
    let names: Vec<&str> = targets.iter().map(TargetId::as_str).collect();
    let lock = PlanStep {
        action: "noop.run".into(),
        with: json!({}),
        title: "hold the targets".into(),
        locks: targets.to_vec(),
        ..by_hand_step("lock", reason, Vec::new())
    };
    let text = format!("held since {}: {reason}", rfc3339(now));
    let release = by_hand_step("release", &text, vec![StepId::from("lock")]);
    Plan {
        title: format!("hold {}", names.join(", ")),
        max_parallel: 1,
        ..Plan::new("hold", vec![lock, release])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_runbook_could_call_it() {
        assert!(["a", "call_bank", "x9"].map(step_name).iter().all(Result::is_ok));
        for bad in ["", "9a", "Call", "a b", "_a", &"a".repeat(ID_CHARS_MAX + 1)] {
            assert!(step_name(bad).unwrap_err().contains("small letters"), "{bad}");
        }
    }

    #[test]
    fn a_hold_locks_first_and_lets_go_by_a_person() {
        let plan = hold_plan(&["shop:db".into()], "the vendor looks", Timestamp(0));
        assert!(backout_core::plan::Order::of(&plan.steps).is_ok());
        assert_eq!(plan.steps[0].locks, [TargetId::from("shop:db")]);
        assert_eq!(plan.steps[1].action.as_str(), BY_HAND_ACTION);
        assert!(plan.steps[1].title.ends_with("the vendor looks"));
    }
}
