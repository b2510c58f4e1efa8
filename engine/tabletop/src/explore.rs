//! Many drills of one runbook with trouble by chance: where it is weak.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use backout_core::contract::Reversibility;
use backout_core::event::{Event, RunEnd, Wait};
use backout_core::id::{EffectKey, StepIx, Timestamp};
use backout_core::state::{EffectRun, EffectState, Phase, RunState, RunStatus, StepState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decisions::Decision;
use crate::drill::{Broken, Drill, Setup};
use crate::judge::end_word;
use crate::rng::Rng;
use crate::scenario::Timed;

/// How many of a thousand sendings meet trouble.
const CHAOS: u64 = 40;
/// How often an engine is lost in one drill, at the most.
const KILLS_MAX: u64 = 2;
/// Milliseconds within which a person decides who is there.
const DECIDES_MS: (u64, u64) = (5_000, 180_000);
/// Drills of a thousand in which nobody is there who may approve.
const ABSENT: u64 = 100;
/// How long one drill may last.
const LASTS: &str = "6h";
/// Milliseconds a run may stand still half rolled back before that is counted.
const HALF_MS: u64 = 60_000;

/// A way in which a runbook is weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weakness {
    /// The step can end in doubt: only a person can say what became of it.
    Doubt,
    /// The step can be done and not be seen as wanted.
    Unverified,
    /// Its approval can stall everything: nothing else goes on meanwhile.
    Stall,
    /// The run can stand still here while users are on a half rolled-back system.
    Half,
    /// It can stand still behind what cannot be brought back.
    NoReturn,
    /// The run did not come to an end.
    Endless,
    /// An effect was made twice: a mistake in this program.
    Twice,
}

impl Weakness {
    /// What it means.
    pub fn words(self) -> &'static str {
        match self {
            Self::Doubt => "can end in doubt",
            Self::Unverified => "can be done and not be seen as wanted",
            Self::Stall => "its approval can stall everything",
            Self::Half => "can stand still with users on a half rolled-back system",
            Self::NoReturn => "can stand still behind the point of no return",
            Self::Endless => "the run does not come to an end",
            Self::Twice => "an effect is made twice",
        }
    }
}

/// A weak point, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeakPoint {
    /// What it is.
    pub weakness: Weakness,
    /// The step.
    pub step: String,
    /// In how many drills it was seen.
    pub seeds: u64,
    /// The first seed that shows it: `--seed N` plays it again.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explored {
    /// How many drills.
    pub seeds: u64,
    /// How they ended.
    pub ends: BTreeMap<String, u64>,
    /// The weak points, the most frequent first.
    pub weak: Vec<WeakPoint>,
}

type Seen = BTreeMap<(Weakness, String), (u64, u64)>;

/// Plays the seeds from `first` on, on so many threads. The order of threads does not show in what
/// is found.
///
/// # Errors
/// A drill cannot go on.
pub fn explore(setup: &Setup, first: u64, seeds: u64, threads: usize) -> Result<Explored, Broken> {
    let next = AtomicU64::new(first);
    let end = first.saturating_add(seeds);
    let work = || -> Result<(Seen, BTreeMap<String, u64>), Broken> {
        let (mut seen, mut ends) = (Seen::new(), BTreeMap::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok((seen, ends));
            }
            let one = Explorer::new(setup, number)?.play()?;
            *ends.entry(one.end).or_default() += 1;
            for point in one.seen {
                let (count, least) = seen.entry(point).or_insert((0, number));
                *count += 1;
                *least = number.min(*least);
            }
        }
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    let mut whole = Explored { seeds, ..Explored::default() };
    let mut seen = Seen::new();
    for one in found {
        let (part, ends) = one.map_err(|_| Broken("a thread of the exploration died".into()))??;
        for (end, count) in ends {
            *whole.ends.entry(end).or_default() += count;
        }
        for (point, (count, seed)) in part {
            let (all, least) = seen.entry(point).or_insert((0, seed));
            *all += count;
            *least = seed.min(*least);
        }
    }
    whole.weak = weak_points(seen);
    Ok(whole)
}

fn weak_points(seen: Seen) -> Vec<WeakPoint> {
    let point = |((weakness, step), (seeds, seed))| WeakPoint { weakness, step, seeds, seed };
    let mut weak: Vec<WeakPoint> = seen.into_iter().map(point).collect();
    weak.sort_by(|a, b| b.seeds.cmp(&a.seeds).then_with(|| a.step.cmp(&b.step)));
    weak
}

/// The drill of one seed, played as the exploration played it, for a closer look.
///
/// # Errors
/// The drill cannot go on.
pub fn play_seed(setup: &Setup, seed: u64) -> Result<Drill, Broken> {
    let mut explorer = Explorer::new(setup, seed)?;
    explorer.run()?;
    Ok(explorer.drill)
}

struct Explorer {
    drill: Drill,
    rng: Rng,
    kills: Vec<Timestamp>,
    /// When somebody decides next.
    decides: Option<Timestamp>,
    absent: bool,
    looked: usize,
    /// Since when the run stands still.
    still: Option<Timestamp>,
    seen: std::collections::BTreeSet<(Weakness, String)>,
}

struct Played {
    seen: std::collections::BTreeSet<(Weakness, String)>,
    end: String,
}

impl Explorer {
    fn new(setup: &Setup, seed: u64) -> Result<Self, Broken> {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut setup = Setup { seed, chaos: CHAOS, decisions: Vec::new(), ..setup.clone() };
        setup.scenario.injects.clear();
        LASTS.clone_into(&mut setup.scenario.lasts);
        let begin = setup.begin;
        let usual = setup.plan.steps.iter().map(|step| step.expect_ms.unwrap_or(2_000)).sum();
        let kills = rng.below(KILLS_MAX + 1);
        let kills = (0..kills).map(|_| begin.plus_ms(rng.below(usual))).collect();
        let absent = rng.chance(ABSENT);
        Ok(Self {
            drill: Drill::begin(setup)?,
            rng,
            kills,
            decides: None,
            absent,
            looked: 0,
            still: None,
            seen: std::collections::BTreeSet::new(),
        })
    }

    fn play(mut self) -> Result<Played, Broken> {
        self.run()?;
        let phase = self.drill.state().map(|state| state.phase.clone());
        let end = match phase {
            Some(Phase::Ended(end)) => end_word(end).to_owned(),
            _ => "not over".to_owned(),
        };
        Ok(Played { seen: self.seen, end })
    }

    fn run(&mut self) -> Result<(), Broken> {
        let limit = self.drill.now().plus_ms(LASTS.ms());
        while !self.drill.is_over() {
            let due = [self.drill.next_due(), self.decides, self.kills.iter().min().copied()];
            let at = due.into_iter().flatten().min().unwrap_or(limit);
            if at >= limit {
                // A run that a last decision ended needs no more time.
                let ended = |state: &RunState| matches!(state.phase, Phase::Ended(_));
                if !self.absent && !self.drill.state().is_some_and(ended) {
                    self.seen.insert((Weakness::Endless, String::new()));
                }
                break;
            }
            self.drill.advance_to(at)?;
            self.kill_now(at);
            self.decide_now(at)?;
            self.look();
        }
        self.look();
        if !self.drill.broken().is_empty() {
            self.seen.insert((Weakness::Twice, String::new()));
        }
        Ok(())
    }

    fn kill_now(&mut self, at: Timestamp) {
        if self.kills.iter().any(|kill| *kill <= at) {
            self.kills.retain(|kill| *kill > at);
            let (away, lost) = (self.rng.between(1_000, 120_000), self.rng.chance(500));
            self.drill.kill(away, lost);
        }
    }

    fn decide_now(&mut self, at: Timestamp) -> Result<(), Broken> {
        let asks =
            self.drill.state().is_some_and(|state| !state.asking.is_empty() || alarmed(state));
        if self.decides.is_none() && asks && !self.drill.is_over() {
            self.decides = Some(at.plus_ms(self.rng.between(DECIDES_MS.0, DECIDES_MS.1)));
        }
        if self.decides.is_none_or(|decides| decides > at) {
            return Ok(());
        }
        self.decides = None;
        self.look_closely();
        if let Some(decision) = self.decision() {
            // What is not possible is tried another way the next time.
            drop(self.drill.decide(&decision)?);
        }
        Ok(())
    }

    /// Who says what became of something has looked so closely that it stays true.
    fn look_closely(&mut self) {
        let Some(state) = self.drill.state() else { return };
        let keys: Vec<EffectKey> =
            state.asking.iter().flat_map(|ix| in_doubt(state, *ix)).collect();
        for key in keys {
            self.drill.seal(&key);
        }
    }

    fn decision(&mut self) -> Option<Decision> {
        let state = self.drill.state()?;
        let asking: Vec<StepIx> = state.asking.iter().copied().collect();
        let Some(ix) = self.rng.pick(&asking).copied() else {
            let alarm = state.alarms().next()?.0.id.to_string();
            return Some(by_chance(json!({ "ask": "retry", "step": alarm })));
        };
        let (planned, step) = (state.plan_step(ix)?, state.step(ix)?);
        let id = planned.id.to_string();
        let chance = self.rng.below(10);
        let ask = match &step.state {
            StepState::InDoubt => {
                let key = in_doubt(state, ix).next()?;
                let made = self.drill.world().is_made(&key);
                let verdict = if made { "done" } else { "not-done" };
                let effect = step.effects.iter().position(is_doubtful)?;
                json!({
                    "ask": "settle", "step": id, "effect": effect, "verdict": verdict,
                    "evidence": "looked",
                })
            }
            StepState::Waiting(Wait::Approval { .. }) if self.absent => return None,
            StepState::Waiting(Wait::Approval { .. }) if chance == 0 => {
                json!({ "ask": "reject", "step": id })
            }
            StepState::Waiting(Wait::Approval { .. }) => json!({ "ask": "approve", "step": id }),
            StepState::Unverified if chance < 5 => {
                json!({ "ask": "settle", "step": id, "verdict": "done" })
            }
            _ => match chance {
                0 => json!({ "ask": "abort" }),
                1 => json!({ "ask": "undo" }),
                2 | 3 => json!({ "ask": "skip", "step": id }),
                _ => json!({ "ask": "retry", "step": id }),
            },
        };
        Some(Decision { by: self.somebody(ix), ..by_chance(ask) })
    }

    /// One of those who may approve; where anybody may, one of three.
    fn somebody(&mut self, ix: StepIx) -> String {
        let planned = self.drill.state().and_then(|state| state.plan_step(ix));
        let by = planned.and_then(|step| Some(step.approval.as_ref()?.by.clone()));
        let by = by.filter(|by| !by.is_empty());
        let anybody = || ["one", "two", "three"].map(str::to_owned).to_vec();
        self.rng.pick(&by.unwrap_or_else(anybody)).cloned().unwrap_or_default()
    }

    /// What the new part of the journal and the state show.
    fn look(&mut self) {
        let Self { drill, looked, seen, .. } = self;
        for recorded in drill.journal().iter().skip(*looked) {
            match &recorded.event {
                Event::EffectInDoubt { sending, .. } => {
                    seen.insert((Weakness::Doubt, sending.step.to_string()));
                }
                Event::StepUnverified { step, .. } => {
                    seen.insert((Weakness::Unverified, step.to_string()));
                }
                Event::RunEnded { end: RunEnd::Failed | RunEnd::Aborted, .. } => {
                    if let Some(step) = drill.state().and_then(half) {
                        seen.insert((Weakness::Half, step));
                    }
                }
                _ => {}
            }
        }
        *looked = drill.journal().len();
        self.look_at_standstill();
    }

    fn look_at_standstill(&mut self) {
        let now = self.drill.now();
        let Some(state) = self.drill.state().filter(|s| s.status() == RunStatus::Waiting) else {
            self.still = None;
            return;
        };
        let since = *self.still.get_or_insert(now);
        let wrong = self.drill.world().healths();
        let well = !wrong.is_empty() && wrong.iter().all(|(_, health)| health.wrong.is_empty());
        let long = now.since_ms(since) >= HALF_MS && !well;
        for ix in &state.asking {
            let (Some(planned), Some(step)) = (state.plan_step(*ix), state.step(*ix)) else {
                continue;
            };
            let id = planned.id.to_string();
            if matches!(step.state, StepState::Waiting(Wait::Approval { .. })) {
                self.seen.insert((Weakness::Stall, id.clone()));
            }
            if long && half(state).is_some() {
                self.seen.insert((Weakness::Half, id.clone()));
            }
            if long && past_return(state) {
                self.seen.insert((Weakness::NoReturn, id));
            }
        }
    }
}

fn by_chance(ask: Value) -> Decision {
    Decision {
        by: "chance".to_owned(),
        ask,
        reason: Some("by chance".to_owned()),
        ..Decision::default()
    }
}

fn is_doubtful(effect: &EffectRun) -> bool {
    matches!(effect.state, EffectState::InDoubt { .. })
}

/// The keys of a step's effects that are in doubt.
fn in_doubt(state: &RunState, ix: StepIx) -> impl Iterator<Item = EffectKey> {
    let found = state.plan_step(ix).zip(state.step(ix));
    found.into_iter().flat_map(move |(planned, step)| {
        let doubtful = step.effects.iter().enumerate().filter(|(_, effect)| is_doubtful(effect));
        doubtful.map(move |(at, _)| EffectKey::new(&state.run, &planned.id, step.attempt, at))
    })
}

fn alarmed(state: &RunState) -> bool {
    state.alarms().next().is_some()
}

/// The first step that is not done, where others have made something.
fn half(state: &RunState) -> Option<String> {
    let made = state.steps.iter().any(|step| !step.made.is_empty());
    let undone =
        state.plan.steps.iter().zip(&state.steps).find(|(_, step)| !step.state.meets_need());
    undone.filter(|_| made).map(|(planned, _)| planned.id.to_string())
}

fn past_return(state: &RunState) -> bool {
    let made = state.steps.iter().flat_map(|step| &step.made);
    made.filter_map(|made| made.effect()).any(|e| e.reversibility != Reversibility::Exact)
}
