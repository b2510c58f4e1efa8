//! How long something takes, and how the twins of a scenario's steps behave.

use std::collections::BTreeMap;

use backout_core::contract::{Guarantee, Hazard, Reversibility};
use backout_core::id::StepId;
use backout_core::plan::{Plan, PlanStep};

use super::Model;
use crate::rng::Rng;
use crate::scenario::{Scenario, StepModel, Timed};

/// Milliseconds that an effect takes where nobody says anything.
const USUAL_MS: u64 = 2_000;

/// A distribution of durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// The least, the usual and the most, in milliseconds.
    Triangle(u64, u64, u64),
    /// What was seen in the past; one of them is drawn.
    Recorded(Vec<u64>),
}

impl Default for Takes {
    fn default() -> Self {
        Self::about(USUAL_MS)
    }
}

impl Takes {
    /// About so long: from a half to the double.
    pub fn about(usual_ms: u64) -> Self {
        Self::Triangle(usual_ms / 2, usual_ms, usual_ms.saturating_mul(2))
    }

    /// One duration, in milliseconds.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        match self {
            Self::Triangle(least, usual, most) => {
                // The mean of two even draws on either side of the usual one.
                let low = rng.between(*least, *usual);
                let high = rng.between(*usual, *most);
                low.midpoint(high)
            }
            Self::Recorded(all) => rng.pick(all).copied().unwrap_or(USUAL_MS),
        }
    }
}

/// How each step's twin behaves.
pub(super) fn models(
    scenario: &Scenario,
    plan: &Plan,
    guarantees: &BTreeMap<StepId, Guarantee>,
) -> BTreeMap<StepId, Model> {
    let model = |step: &PlanStep| {
        // The items of a `for_each` behave like their step.
        let bare = step.id.as_str().split('[').next().unwrap_or_default();
        let declared = scenario.steps.get(step.id.as_str()).or_else(|| scenario.steps.get(bare));
        let guarantee = guarantees.get(&step.id).copied();
        let none = StepModel::default();
        (step.id.clone(), of_step(declared.unwrap_or(&none), step, guarantee))
    };
    plan.steps.iter().map(model).collect()
}

fn of_step(declared: &StepModel, step: &PlanStep, guarantee: Option<Guarantee>) -> Model {
    let hazard =
        |(code, text): (&String, &String)| Hazard { code: code.clone(), text: text.clone() };
    Model {
        takes: takes(declared, step),
        guarantee: declared.guarantee.as_deref().and_then(word).or(guarantee),
        reversibility: declared.reversibility.as_deref().and_then(word::<Reversibility>),
        hazards: declared.hazards.iter().map(hazard).collect(),
        output: declared.output.clone(),
        service: declared.service.clone(),
    }
}

/// A word as the enum that it names.
fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(text.into()).ok()
}

fn takes(declared: &StepModel, step: &PlanStep) -> Takes {
    let ms = |all: &[String]| -> Vec<u64> { all.iter().map(|text| text.ms()).collect() };
    if !declared.took.is_empty() {
        return Takes::Recorded(ms(&declared.took));
    }
    match ms(&declared.takes).as_slice() {
        [] => step.expect_ms.map_or_else(Takes::default, Takes::about),
        [one] => Takes::Triangle(*one, *one, *one),
        [least, most] => Takes::Triangle(*least, least.midpoint(*most), *most),
        [least, usual, most, ..] => Takes::Triangle(*least, *usual, *most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_stays_within_its_bounds_and_is_the_same_for_the_same_seed() {
        let takes = Takes::Triangle(10, 20, 90);
        let draws = |seed| -> Vec<u64> {
            let mut rng = Rng::new(seed);
            (0..200).map(|_| takes.draw(&mut rng)).collect()
        };
        assert!(draws(1).iter().all(|ms| (10..=90).contains(ms)));
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
