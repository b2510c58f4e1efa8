//! How long it has taken and will take: by what earlier runs of the runbook took, else by what its
//! author expects.

use std::collections::BTreeMap;

use backout_core::id::{StepId, StepIx, Timestamp};
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepState};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{counted, duration};

/// An expectation of the author alone is a guess: between half and twice of it.
const GUESS: u64 = 2;
/// Earlier runs that are looked at: more would tell of a system that is no more.
pub const EARLIER_RUNS_MAX: usize = 20;

/// What a step took in earlier runs, milliseconds: the shortest and the longest.
pub type Earlier = BTreeMap<StepId, (u64, u64)>;

/// How long it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeView {
    /// Milliseconds since it began, or how long it lasted.
    pub spent_ms: u64,
    /// Milliseconds left along the longest chain, at best.
    pub left_min_ms: u64,
    /// The same at worst.
    pub left_max_ms: u64,
    /// The chain of steps that takes longest, in order.
    pub longest: Vec<String>,
    /// Steps left that nobody has an expectation of; they are not in the figures.
    pub unknown: usize,
    /// Earlier runs that the figures rest on.
    pub earlier_runs: usize,
    /// Exercises that they rest on, where no earlier run is known. Without either it is the runbook's
    /// own expectation.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drills: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes one")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// How long the steps of a runbook took in earlier runs; where there are none, in exercises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierView {
    /// How many runs that is known from.
    pub runs: usize,
    /// How many exercises, where no run is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drills: usize,
    /// By step the shortest and the longest time, milliseconds.
    pub took: Earlier,
}

impl EarlierView {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.runs == 0 && self.drills == 0
    }
}

/// Steps of the longest chain that are named in a line.
const CHAIN_NAMED_MAX: usize = 12;

/// The time in words: spent, left as a range, the longest chain.
pub fn time_words(time: &TimeView) -> String {
    let mut text = format!("{} so far", duration(whole_seconds(time.spent_ms)));
    if let Some(left) = left_words(time) {
        text.extend([", ", &left]);
        text.extend(["; longest: ", &chain_words(&time.longest)]);
    }
    if time.unknown > 0 {
        text.extend(["; ", &counted(time.unknown, "step"), " without an expectation"]);
    }
    text
}

/// What is left as a range, and by what that is known; nothing where nothing is known to be left.
pub fn left_words(time: &TimeView) -> Option<String> {
    let (min, max) = (whole_seconds(time.left_min_ms), whole_seconds(time.left_max_ms));
    let by = match (time.earlier_runs, time.drills) {
        (0, 0) => "the runbook".to_owned(),
        (0, drills) => counted(drills, "drill"),
        (runs, _) => counted(runs, "earlier run"),
    };
    let range = match max {
        0 => "less than 1s".to_owned(),
        max if min == max => duration(max),
        max => format!("{} to {}", duration(min), duration(max)),
    };
    (time.left_max_ms > 0).then(|| format!("{range} left by {by}"))
}

/// A long chain is told by its ends.
fn chain_words(chain: &[String]) -> String {
    let Some(cut) = chain.len().checked_sub(CHAIN_NAMED_MAX).filter(|cut| *cut > 0) else {
        return chain.join(" > ");
    };
    let half = CHAIN_NAMED_MAX / 2;
    let (begin, end) = (&chain[..half], &chain[chain.len() - half..]);
    format!("{} > ({cut} more) > {}", begin.join(" > "), end.join(" > "))
}

fn whole_seconds(ms: u64) -> u64 {
    if ms < 1_000 { ms } else { ms / 1_000 * 1_000 }
}

/// What each step took that a run did and did not adopt, milliseconds.
pub(crate) fn took(state: &RunState) -> impl Iterator<Item = (StepId, u64)> {
    state.plan.steps.iter().zip(&state.steps).filter_map(|(planned, step)| {
        let done = matches!(step.state, StepState::Succeeded { .. }) && !step.adopted;
        let (started, ended) = step.started.zip(step.ended).filter(|_| done)?;
        Some((planned.id.clone(), ended.since_ms(started)))
    })
}

/// What steps took in one more run, added to what is known.
pub(crate) fn add_took(earlier: &mut Earlier, took: impl Iterator<Item = (StepId, u64)>) {
    for (step, took) in took {
        let known = earlier.entry(step).or_insert((took, took));
        *known = (known.0.min(took), known.1.max(took));
    }
}

/// What each step took in a run that is over, added to what is known.
pub fn add_earlier(earlier: &mut Earlier, state: &RunState) {
    add_took(earlier, took(state));
}

/// How long a run has taken and will take.
pub fn time_view(state: &RunState, now: Timestamp, earlier: &EarlierView) -> TimeView {
    let spent_ms = state.ended.unwrap_or(now).since_ms(state.created);
    let mut unknown = 0;
    let mut ways: Vec<Way> = vec![Way::default(); state.steps.len()];
    let mut by_wave: Vec<usize> = (0..state.steps.len()).collect();
    by_wave.sort_by_key(|at| (state.order.wave.get(*at).copied(), *at));
    for at in by_wave {
        let needs = state.order.needs.get(at).into_iter().flatten();
        let before = needs.filter_map(|need| Some((ways.get(need.0)?, need.0)));
        let before = before.max_by_key(|(way, _)| way.max).map(|(way, need)| (*way, need));
        ways[at] = Way::behind(before, left(state, at, now, &earlier.took, &mut unknown));
    }
    let last = (0..ways.len()).max_by_key(|at| ways[*at].max);
    let longest = last.map(|at| ways[at]).unwrap_or_default();
    TimeView {
        spent_ms,
        left_min_ms: longest.min,
        left_max_ms: longest.max,
        longest: last.map(|at| chain(state, &ways, at)).unwrap_or_default(),
        unknown,
        earlier_runs: earlier.runs,
        drills: earlier.drills,
    }
}

/// The longest way to a step's end, and the step that it comes from.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    min: u64,
    max: u64,
    from: Option<usize>,
    /// Whether the step itself takes any of it.
    takes: bool,
}

impl Way {
    fn behind(before: Option<(Self, usize)>, (min, max): (u64, u64)) -> Self {
        let (way, from) = before.map_or((Self::default(), None), |(way, at)| (way, Some(at)));
        Self {
            min: way.min.saturating_add(min),
            max: way.max.saturating_add(max),
            from,
            takes: max > 0,
        }
    }
}

/// The steps of a way that take time, the first one first.
fn chain(state: &RunState, ways: &[Way], last: usize) -> Vec<String> {
    let mut steps = Vec::new();
    let mut at = Some(last);
    while let Some(way) = at.and_then(|at| ways.get(at)) {
        let step = at.and_then(|at| state.plan_step(StepIx(at)));
        steps.extend(step.filter(|_| way.takes).map(|step| step.id.to_string()));
        at = way.from;
    }
    steps.reverse();
    steps
}

/// What is left of one step; nothing where it is at rest or held back.
fn left(
    state: &RunState,
    at: usize,
    now: Timestamp,
    earlier: &Earlier,
    unknown: &mut usize,
) -> (u64, u64) {
    let (Some(planned), Some(step)) = (state.plan.steps.get(at), state.steps.get(at)) else {
        return (0, 0);
    };
    if step.state.is_rest() || state.status().is_end() {
        return (0, 0);
    }
    let Some((min, max)) = expected(planned, earlier) else {
        *unknown += 1;
        return (0, 0);
    };
    let begun = step.state != StepState::Pending;
    let spent = step.started.filter(|_| begun).map_or(0, |started| now.since_ms(started));
    (min.saturating_sub(spent), max.saturating_sub(spent))
}

fn expected(planned: &PlanStep, earlier: &Earlier) -> Option<(u64, u64)> {
    let guess = |ms: u64| (ms / GUESS, ms.saturating_mul(GUESS));
    // What must hold for a time takes that time at least.
    let soak = planned.soak_ms.unwrap_or(0);
    let known = earlier.get(&planned.id).copied().or(planned.expect_ms.map(guess));
    let (min, max) = match (known, soak) {
        (None, 0) => return None,
        (known, _) => known.unwrap_or_default(),
    };
    Some((min.max(soak), max.max(soak)))
}

#[cfg(test)]
mod tests {
    use backout_core::event::{Cause, Event, Recorded};
    use backout_core::evolve;
    use backout_core::id::{Epoch, Seq};
    use backout_core::plan::Plan;
    use serde_json::{Value, json};

    use super::*;

    fn plan() -> Plan {
        let step = |id: &str, needs: Value, expect_ms: Value| {
            json!({ "id": id, "action": "noop.run", "needs": needs, "timeout_ms": 1,
                "expect_ms": expect_ms })
        };
        let steps = [
            step("a", json!([]), json!(60_000)),
            step("b", json!(["a"]), json!(10_000)),
            step("c", json!(["a"]), json!(100_000)),
            step("d", json!(["b", "c"]), Value::Null),
        ];
        serde_json::from_value(json!({ "format": 1, "name": "t", "max_parallel": 4,
            "stale_after_ms": 1, "steps": steps }))
        .unwrap()
    }

    fn folded(events: Vec<(i64, Event)>) -> RunState {
        let (run, plan) = ("r000000000".into(), Box::new(plan()));
        let created = Event::RunCreated { run, plan, text: String::new(), core: 1 };
        let mut state = None;
        for (seq, (at, event)) in (1..).zip([(0, created)].into_iter().chain(events)) {
            let (cause, grants) = (Cause::engine(), Vec::new());
            let at = Timestamp(at);
            let recorded = Recorded { seq: Seq(seq), epoch: Epoch(1), at, cause, grants, event };
            evolve(&mut state, &recorded).unwrap();
        }
        state.unwrap()
    }

    fn done(step: &str, from: i64, to: i64) -> Vec<(i64, Event)> {
        let (step, input) = (StepId::from(step), json!({}));
        let started = Event::StepStarted { step: step.clone(), attempt: 1, input };
        let ended = Event::StepSucceeded { step, changed: true, output: Value::Null };
        vec![(from, started), (to, ended)]
    }

    #[test]
    fn the_longest_chain_is_what_is_left_and_what_nobody_knows_is_counted() {
        let time = time_view(&folded(Vec::new()), Timestamp(5_000), &EarlierView::default());
        assert_eq!(time.longest, ["a", "c"]);
        assert_eq!((time.spent_ms, time.left_min_ms, time.left_max_ms), (5_000, 80_000, 320_000));
        assert_eq!(time.unknown, 1);
    }

    #[test]
    fn the_time_is_told_in_one_line() {
        let chain: Vec<String> = (0..40).map(|at| format!("s{at}")).collect();
        let time = TimeView {
            spent_ms: 61_500,
            left_min_ms: 4_200,
            left_max_ms: 9_000,
            longest: chain,
            unknown: 2,
            earlier_runs: 3,
            drills: 0,
        };
        assert_eq!(
            time_words(&time),
            "1m 1s so far, 4s to 9s left by 3 earlier runs; longest: s0 > s1 > \
            s2 > s3 > s4 > s5 > (28 more) > s34 > s35 > s36 > s37 > s38 > s39; 2 steps without an expectation"
        );
        let over = TimeView { left_max_ms: 0, left_min_ms: 0, unknown: 0, ..time.clone() };
        assert_eq!((time_words(&over), left_words(&over)), ("1m 1s so far".to_owned(), None));
        let rehearsed = TimeView { earlier_runs: 0, drills: 2, ..time };
        assert!(left_words(&rehearsed).unwrap().ends_with("left by 2 drills"));
    }

    #[test]
    fn what_earlier_runs_took_counts_more_than_an_expectation() {
        let mut earlier = EarlierView { runs: 2, ..EarlierView::default() };
        for took in [20_000, 30_000] {
            add_earlier(&mut earlier.took, &folded(done("a", 1_000, 1_000 + took)));
        }
        let now = Timestamp(1_000);
        let state = folded(Vec::new());
        let time = time_view(&state, now, &earlier);
        assert_eq!((time.left_min_ms, time.left_max_ms), (70_000, 230_000));
        let begun = folded(done("a", 0, 25_000));
        let time = time_view(&begun, Timestamp(25_000), &earlier);
        assert_eq!((time.left_min_ms, time.left_max_ms), (50_000, 200_000), "a is done");
    }
}
