//! Runs that wait for each other's locks in a circle: none of them goes on until a person ends one.

use std::collections::BTreeSet;

use backout_core::event::Wait;
use backout_core::id::RunId;
use backout_core::state::{RunState, StepState};

use super::run::{RunView, Want};

/// Runs of a circle that are looked for: a longer one is found by its shorter ways, or by eye.
const CIRCLE_MAX: usize = 16;

/// The runs whose locks a run waits for.
pub fn waits_for(state: &RunState) -> BTreeSet<RunId> {
    let steps = state.active.iter().filter_map(|ix| state.step(*ix));
    let holders = steps.filter_map(|step| match &step.state {
        StepState::Waiting(Wait::Lock { holders }) => Some(holders),
        _ => None,
    });
    holders.flatten().map(|holder| holder.run.clone()).collect()
}

/// The shortest circle of runs that each wait for the next one, beginning with `run`; nothing where
/// there is none. `waits` says whose locks another run waits for.
pub fn circle(
    run: &RunId,
    own: &BTreeSet<RunId>,
    waits: &dyn Fn(&RunId) -> BTreeSet<RunId>,
) -> Option<Vec<RunId>> {
    let mut seen: BTreeSet<RunId> = BTreeSet::new();
    let mut ways: Vec<Vec<RunId>> = own.iter().map(|next| vec![next.clone()]).collect();
    for _ in 0..CIRCLE_MAX {
        let mut longer = Vec::new();
        for way in ways {
            let Some(last) = way.last().filter(|last| seen.insert((*last).clone())) else {
                continue;
            };
            for next in waits(last) {
                if next == *run {
                    return Some(std::iter::once(run.clone()).chain(way).collect());
                }
                longer.push(way.iter().cloned().chain([next]).collect());
            }
        }
        ways = longer;
    }
    None
}

/// The circle in words.
pub fn circle_words(circle: &[String]) -> String {
    let first = circle.first().map_or("", String::as_str);
    let way = circle.join(", which waits for ");
    format!("run {way}, which waits for {first}: none of them goes on until one is ended")
}

impl RunView {
    /// The same, known to wait in a circle of runs: it waits for a person, who ends one of them.
    #[must_use]
    pub fn in_circle(mut self, circle: &[RunId]) -> Self {
        self.circle = circle.iter().map(ToString::to_string).collect();
        let waits = |step: &&super::StepView| {
            step.wait.as_ref().is_some_and(|wait| wait.waits_for == "lock")
        };
        let step = self.steps.iter().find(waits).map(|step| step.id.clone());
        self.wants.push(Want {
            step: step.unwrap_or_default(),
            what: "circle".to_owned(),
            why: circle_words(&self.circle),
            who: Vec::new(),
            commands: self.circle.iter().map(|run| format!("backout abort {run}")).collect(),
        });
        if self.state == "running" {
            "waiting".clone_into(&mut self.state);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn found(arrows: &[(&str, &str)], run: &str) -> Option<Vec<String>> {
        let mut all: BTreeMap<RunId, BTreeSet<RunId>> = BTreeMap::new();
        for (from, to) in arrows {
            all.entry(RunId::from(*from)).or_default().insert(RunId::from(*to));
        }
        let waits = |run: &RunId| all.get(run).cloned().unwrap_or_default();
        let run = RunId::from(run);
        circle(&run, &waits(&run), &waits).map(|c| c.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_circle_is_found_from_each_of_its_runs_and_from_no_other() {
        let two = [("a", "b"), ("b", "a"), ("c", "a")];
        assert_eq!(found(&two, "a").unwrap(), ["a", "b"]);
        assert_eq!(found(&two, "b").unwrap(), ["b", "a"]);
        assert_eq!(found(&two, "c"), None);
        assert_eq!(found(&[("a", "b"), ("b", "c"), ("c", "a")], "b").unwrap(), ["b", "c", "a"]);
        assert_eq!(found(&[("a", "b"), ("b", "c")], "a"), None);
    }

    #[test]
    fn the_shortest_one_is_named() {
        let arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("d", "a")];
        assert_eq!(found(&arrows, "a").unwrap(), ["a", "d"]);
    }

    #[test]
    fn it_is_told_with_the_commands_that_end_it() {
        let words = circle_words(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            words,
            "run a, which waits for b, which waits for a: none of them goes on until one is ended"
        );
    }
}
