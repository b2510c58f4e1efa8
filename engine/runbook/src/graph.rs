//! The order of steps as written: needs, circles, ancestors.

use std::collections::HashMap;

use backout_core::limits::NEEDS_MAX;

use crate::codes;
use crate::draft::DraftStep;
use crate::problem::{Problem, advice};
use crate::tree::Span;

/// Circles reported for one file: after so many the rest hardly tells more.
const CYCLES_MAX: usize = 10;

/// Problems after which wrong names get no advice: looking for the nearest name costs time, and
/// whoever has so many does not read the last.
pub(crate) const ADVISED_MAX: usize = 100;

/// The ids of all steps, sorted.
pub(crate) fn sorted<'n>(index: &HashMap<&'n str, usize>) -> Vec<&'n str> {
    let mut names: Vec<&str> = index.keys().copied().collect();
    names.sort_unstable();
    names
}

/// For each step the steps that it needs, by their place in the file.
pub(crate) struct Graph {
    pub(crate) needs: Vec<Vec<usize>>,
}

/// Where each id stands; reports those that are there twice.
pub(crate) fn index<'n>(
    steps: &[DraftStep<'n, '_>],
    problems: &mut Vec<Problem>,
) -> HashMap<&'n str, usize> {
    let mut index: HashMap<&str, usize> = HashMap::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        let Some(id) = step.id else { continue };
        let first = index.get(id.value).and_then(|first| steps.get(*first)?.id);
        match first {
            Some(first) => problems.push(
                Problem::new(codes::DUPLICATE_ID, format!("two steps are called `{}`", id.value))
                    .at(id.span, "again here")
                    .at(first.span, "first here")
                    .advise("give one of them another id"),
            ),
            None => {
                index.insert(id.value, at);
            }
        }
    }
    index
}

impl Graph {
    /// Resolves `needs`, and reports what does not resolve.
    pub(crate) fn of(
        steps: &[DraftStep<'_, '_>],
        index: &HashMap<&str, usize>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let needs = steps
            .iter()
            .enumerate()
            .map(|(at, step)| match &step.needs {
                None => at.checked_sub(1).into_iter().collect(),
                Some(_) => written(at, step, index, problems),
            })
            .collect();
        let graph = Self { needs };
        graph.report_cycles(steps, problems);
        graph
    }

    fn report_cycles(&self, steps: &[DraftStep<'_, '_>], problems: &mut Vec<Problem>) {
        for cycle in self.cycles() {
            let id_of = |at: &usize| steps.get(*at).and_then(|step| step.id);
            let names: Vec<&str> = cycle.iter().filter_map(id_of).map(|id| id.value).collect();
            let first = names.first().copied().unwrap_or("");
            let message =
                format!("steps need each other in a circle: {} -> {first}", names.join(" -> "));
            let mut problem = Problem::new(codes::CYCLE, message);
            for (at, next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
                if let (Some(step), Some(need)) = (steps.get(*at), id_of(next)) {
                    let text = format!("needs `{}`", need.value);
                    problem = problem.at(need_span(step, need.value), text);
                }
            }
            problems.push(problem.advise("remove one of these needs"));
        }
    }

    /// Circles, each as the steps along it. Walks without recursion: a chain may have
    /// thousands of steps.
    fn cycles(&self) -> Vec<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.needs.len()];
        let mut found = Vec::new();
        for root in 0..self.needs.len() {
            if marks[root] != Mark::New {
                continue;
            }
            let mut path = vec![(root, 0)];
            marks[root] = Mark::Open;
            while let Some((at, next)) = path.last_mut() {
                let Some(need) = self.needs[*at].get(*next).copied() else {
                    marks[*at] = Mark::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                match marks[need] {
                    Mark::New => {
                        marks[need] = Mark::Open;
                        path.push((need, 0));
                    }
                    Mark::Open if found.len() < CYCLES_MAX => {
                        let steps = path.iter().map(|(at, _)| *at);
                        found.push(steps.skip_while(|at| *at != need).collect());
                    }
                    Mark::Open | Mark::Done => {}
                }
            }
        }
        found
    }

    /// The steps, each after those that it needs; nothing where there is a circle.
    pub(crate) fn order(&self) -> Option<Vec<usize>> {
        let mut waiting: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut dependents = vec![Vec::new(); self.needs.len()];
        for (at, needs) in self.needs.iter().enumerate() {
            for need in needs {
                dependents[*need].push(at);
            }
        }
        let mut order: Vec<usize> = (0..waiting.len()).filter(|at| waiting[*at] == 0).collect();
        let mut next = 0;
        while let Some(at) = order.get(next).copied() {
            next += 1;
            for dependent in &dependents[at] {
                waiting[*dependent] -= 1;
                if waiting[*dependent] == 0 {
                    order.push(*dependent);
                }
            }
        }
        (order.len() == self.needs.len()).then_some(order)
    }

    /// The wave of each step, from 0 on.
    pub(crate) fn waves(&self, order: &[usize]) -> Vec<usize> {
        let mut waves = vec![0; self.needs.len()];
        for at in order {
            waves[*at] = self.needs[*at].iter().map(|need| waves[*need] + 1).max().unwrap_or(0);
        }
        waves
    }

    /// The steps that no other step needs.
    pub(crate) fn leaves(&self) -> Vec<usize> {
        let mut needed = vec![false; self.needs.len()];
        for need in self.needs.iter().flatten() {
            needed[*need] = true;
        }
        (0..needed.len()).filter(|at| !needed[*at]).collect()
    }

    /// The ancestors of every step.
    pub(crate) fn ancestors(&self, order: &[usize]) -> Ancestors {
        let words = self.needs.len().div_ceil(64);
        let mut bits = vec![0_u64; words * self.needs.len()];
        for at in order {
            for need in &self.needs[*at] {
                for word in 0..words {
                    let inherited = bits[need * words + word];
                    bits[at * words + word] |= inherited;
                }
                bits[at * words + need / 64] |= 1 << (need % 64);
            }
        }
        Ancestors { words, bits }
    }
}

/// Which steps come before which.
pub(crate) struct Ancestors {
    words: usize,
    bits: Vec<u64>,
}

impl Ancestors {
    /// Whether `before` is done when `at` begins.
    pub(crate) fn contains(&self, at: usize, before: usize) -> bool {
        let word = self.bits.get(at * self.words + before / 64).copied().unwrap_or(0);
        word & (1 << (before % 64)) != 0
    }
}

fn written(
    at: usize,
    step: &DraftStep<'_, '_>,
    index: &HashMap<&str, usize>,
    problems: &mut Vec<Problem>,
) -> Vec<usize> {
    let needs = step.needs.as_deref().unwrap_or_default();
    if needs.len() > NEEDS_MAX {
        let message = format!("{} needs are more than NEEDS_MAX ({NEEDS_MAX})", needs.len());
        let span = Span::new(
            needs.first().map_or(0, |need| need.span.start),
            needs.last().map_or(0, |need| need.span.end),
        );
        problems.push(
            Problem::new(codes::LIMIT, message)
                .at(span, "too many")
                .advise("let one step need them all, and need that step: `noop.run` does nothing"),
        );
        return Vec::new();
    }
    let mut found = Vec::with_capacity(needs.len());
    for need in needs {
        match index.get(need.value) {
            Some(before) if *before == at => problems.push(
                Problem::new(codes::SELF_NEED, format!("step `{}` needs itself", need.value))
                    .at(need.span, "this is the step itself")
                    .advise("remove it from `needs`"),
            ),
            Some(before) if found.contains(before) => {}
            Some(before) => found.push(*before),
            None => {
                let names = if problems.len() < ADVISED_MAX { sorted(index) } else { Vec::new() };
                problems.push(
                    Problem::new(codes::UNKNOWN_NEED, format!("there is no step `{}`", need.value))
                        .at(need.span, "no such step")
                        .help(advice(need.value, "the steps are", &names)),
                );
            }
        }
    }
    found
}

fn need_span(step: &DraftStep<'_, '_>, need: &str) -> Span {
    let written = step.needs.iter().flatten().find(|written| written.value == need);
    written.map(|need| need.span).or(step.id.map(|id| id.span)).unwrap_or(step.span)
}
