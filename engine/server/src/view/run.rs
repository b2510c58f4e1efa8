//! A run as a whole, for every face.

use std::collections::BTreeSet;

use backout_core::contract::Reversibility;
use backout_core::id::{StepId, StepIx, Timestamp};
use backout_core::plan::{Comms, Environment, Escalation, PlanStep};
use backout_core::state::{Phase, RunState, RunStatus, StepRun, StepState};
use backout_core::watch::Alarm;
use backout_runtime::herald::ABOUT_LABEL;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exercise::{DrillView, Leading, drill_view};
use super::replay::ReplayView;
use super::rfc3339;
use super::step::{StepView, step_view};
use super::time::{EarlierView, TimeView, time_view};

/// What a view needs to know that does not stand in the run's own events.
pub struct RunFacts<'a> {
    /// The time now.
    pub now: Timestamp,
    /// Whether an engine drives the run at this moment.
    pub driven: bool,
    /// Whether anybody leads the exercise that it is of, where it is of one.
    pub leading: Leading,
    /// The head of the run's hash chain, hex.
    pub head: Option<String>,
    /// The best guarantee that a step's action and input allow, for steps not yet prepared.
    pub best_guarantee: &'a dyn Fn(&PlanStep) -> Option<String>,
}

impl std::fmt::Debug for RunFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunFacts").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The first step after which not everything can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoReturn {
    /// The step.
    pub step: String,
    /// `shape-only` or `none`.
    pub reversibility: String,
    /// Whether the run is past it.
    pub passed: bool,
}

/// Something that only a person can move on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Want {
    /// The step.
    pub step: String,
    /// `approval`, `in-doubt`, `unverified`, `failed`, `output`, `alarm`, `circle` or `person`.
    pub what: String,
    /// In words: the question, the evidence, the difference.
    pub why: String,
    /// Who may or should, where the runbook says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<String>,
    /// The commands that answer it, the likeliest first.
    pub commands: Vec<String>,
}

/// What a watched step has made is not as it was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlarmView {
    /// The step.
    pub step: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What differs; where the target does not answer, why.
    pub difference: Vec<String>,
    /// Who changed it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether the target does not answer, so that nobody knows how it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
    /// The commands that answer it: have it made again, or take it as it is.
    pub commands: Vec<String>,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// The run.
    pub run: String,
    /// Its runbook.
    pub runbook: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Who keeps the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The word of its state.
    pub state: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// When the last event happened, RFC 3339.
    pub last: String,
    /// Who started it.
    pub starter: String,
    /// The run that it is a message about, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_about: Option<String>,
    /// Whether it is one of an exercise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// Steps at rest that count as done, and all.
    pub done: usize,
    /// All steps.
    pub steps: usize,
    /// Whether it stood still for so long that it goes on only when named.
    pub stale: bool,
    /// Whether the ordinary rules were ever set aside.
    pub break_glass: bool,
}

/// A run.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and a field of JSON")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    /// The run.
    pub run: String,
    /// Its runbook's name.
    pub runbook: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// The exercise that it is of; absent where it is real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillView>,
    /// `running`, `waiting`, `paused`, `succeeded`, `failed`, `aborted`, `undone`, `superseded`, or `interrupted`:
    /// unfinished, and no engine drives it.
    pub state: String,
    /// Whether an engine drives it now.
    pub driven: bool,
    /// Where the engine runs that drives it, or last did.
    pub engine: String,
    /// Whether it is undoing what it did.
    pub undoing: bool,
    /// Whether it stood still for so long that it goes on only when named.
    pub stale: bool,
    /// Whether a person closed it.
    pub closed: bool,
    /// Whether its `success` held; absent where it has none or is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Whether the ordinary rules were ever set aside.
    pub break_glass: bool,
    /// Where it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Who keeps the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Who started it.
    pub starter: String,
    /// The run that it is a message about, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_about: Option<String>,
    /// Who commands it.
    #[serde(default)]
    pub commander: String,
    /// Who is offered the command and has not taken it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_to: Option<String>,
    /// The run in whose place it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The run that goes on in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// The steps that are held back and have still something to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// When it was created, RFC 3339.
    pub created: String,
    /// When the last event happened, RFC 3339.
    pub last: String,
    /// When it came to rest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How long it has lasted, milliseconds.
    pub took_ms: u64,
    /// How long it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeView>,
    /// The last event's position.
    pub seq: u64,
    /// Where in the record it stands, where it is a view of an earlier moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplayView>,
    /// The head of its hash chain: kept elsewhere, it proves that the record was not changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The first step after which not everything can be brought back, as far as it was looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<NoReturn>,
    /// The targets it holds.
    pub locks: Vec<String>,
    /// The runs that wait for each other's locks in a circle, this one first; each waits for the
    /// next one, the last one for the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub circle: Vec<String>,
    /// What only a person can move on.
    pub wants: Vec<Want>,
    /// What watched steps have made and is not as they left it. They stop no step; one that stands
    /// when all is done keeps the run from its end, and is then among `wants` too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<AlarmView>,
    /// The steps that come next by themselves.
    pub next: Vec<String>,
    /// The one command that lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_on: Option<String>,
    /// Who is told, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comms: Option<Comms>,
    /// Who is called when it takes too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<Escalation>,
    /// The last notes, `name: text`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The steps, in plan order.
    pub steps: Vec<StepView>,
}

impl RunView {
    /// Whether nothing can be asked of it here: it is a moment of a replay, or the record of an
    /// exercise that is over.
    pub fn is_record(&self) -> bool {
        self.replay.is_some() || self.drill.as_ref().is_some_and(|drill| drill.over)
    }

    /// It without the commands that nobody would follow.
    #[must_use]
    pub fn as_record(mut self) -> Self {
        self.go_on = None;
        self.wants.iter_mut().for_each(|want| want.commands.clear());
        self.alarms.iter_mut().for_each(|alarm| alarm.commands.clear());
        self
    }

    /// It without its steps, for a list.
    pub fn listed(&self) -> Listed {
        Listed {
            run: self.run.clone(),
            runbook: self.runbook.clone(),
            title: self.title.clone(),
            owner: self.owner.clone(),
            state: self.state.clone(),
            created: self.created.clone(),
            last: self.last.clone(),
            starter: self.starter.clone(),
            message_about: self.message_about.clone(),
            drill: self.drill.is_some(),
            done: self.steps.iter().filter(|step| is_done(&step.state)).count(),
            steps: self.steps.len(),
            stale: self.stale,
            break_glass: self.break_glass,
        }
    }
}

/// Whether a step's word says that nothing is left to do for it.
pub(super) fn is_done(word: &str) -> bool {
    matches!(word, "succeeded" | "already-satisfied" | "skipped" | "undone")
}

/// The view of a run.
pub fn run_view(state: &RunState, facts: &RunFacts<'_>) -> RunView {
    let view = as_of_now(state, facts);
    if view.is_record() { view.as_record() } else { view }
}

fn as_of_now(state: &RunState, facts: &RunFacts<'_>) -> RunView {
    let word = word_of(state.status(), facts.driven, state.attached);
    let wants = wants(state);
    RunView {
        run: state.run.to_string(),
        runbook: state.plan.name.clone(),
        title: state.plan.title.clone(),
        drill: drill_view(state, facts.leading),
        driven: facts.driven,
        engine: state.engine.clone(),
        undoing: matches!(state.phase, Phase::Undoing(_)),
        stale: is_stale(state, facts),
        closed: state.closed,
        recovered: state.recovered,
        break_glass: state.break_glass,
        environment: state.plan.environment.clone(),
        owner: state.plan.owner.clone(),
        starter: state.starter.name.clone(),
        message_about: state.plan.labels.get(ABOUT_LABEL).cloned(),
        commander: state.commander.name.clone(),
        offered_to: state.offer.as_ref().map(|offer| offer.to.clone()),
        continues: state.continues.as_ref().map(ToString::to_string),
        superseded_by: state.superseded_by.as_ref().map(ToString::to_string),
        held: held(state),
        created: rfc3339(state.created),
        last: rfc3339(state.last),
        ended: state.ended.map(rfc3339),
        took_ms: state.ended.unwrap_or(facts.now).since_ms(state.created),
        time: Some(time_view(state, facts.now, &EarlierView::default())),
        seq: state.seq.0,
        replay: None,
        head: facts.head.clone(),
        point_of_no_return: point_of_no_return(state),
        circle: Vec::new(),
        locks: state.locks.keys().map(ToString::to_string).collect(),
        next: next(state),
        alarms: alarms(state),
        go_on: go_on(state, word, &wants),
        comms: state.plan.comms.clone(),
        escalation: state.plan.escalation.clone(),
        notes: state.notes.iter().map(|note| format!("{}: {}", note.by.name, note.text)).collect(),
        steps: steps(state, facts),
        state: word.to_owned(),
        wants,
    }
}

fn steps(state: &RunState, facts: &RunFacts<'_>) -> Vec<StepView> {
    (0..state.steps.len())
        .filter_map(|at| step_view(state, StepIx(at), facts.now, facts.best_guarantee))
        .collect()
}

/// The run's word. A run that waits for a person and whose engine let go in order is still
/// `waiting`: an engine would do nothing for it either.
pub(super) fn word_of(status: RunStatus, driven: bool, attached: bool) -> &'static str {
    match status {
        RunStatus::Running if !driven => "interrupted",
        RunStatus::Waiting if !driven && attached => "interrupted",
        status => status.word(),
    }
}

fn is_stale(state: &RunState, facts: &RunFacts<'_>) -> bool {
    let unfinished = !state.status().is_end();
    unfinished && !facts.driven && facts.now.since_ms(state.last) > state.plan.stale_after_ms
}

fn point_of_no_return(state: &RunState) -> Option<NoReturn> {
    let mut by_wave: Vec<usize> = (0..state.steps.len()).collect();
    by_wave.sort_by_key(|at| (state.order.wave.get(*at).copied(), *at));
    by_wave.into_iter().find_map(|at| {
        let (step, planned) = (state.steps.get(at)?, state.plan.steps.get(at)?);
        let weakest = weakest(step)?;
        (weakest != Reversibility::Exact).then(|| NoReturn {
            step: planned.id.to_string(),
            reversibility: weakest.word().to_owned(),
            passed: !step.made.is_empty(),
        })
    })
}

/// What was made counts before what is only prepared.
fn weakest(step: &StepRun) -> Option<Reversibility> {
    let made = step.made.iter().filter_map(|made| Some(made.effect()?.reversibility)).min();
    made.or_else(|| step.prepared.as_ref().map(|prepared| prepared.reversibility()))
}

fn held(state: &RunState) -> Vec<String> {
    let open = |ix: &&StepIx| state.step(**ix).is_some_and(|step| !step.state.is_rest());
    let name = |ix: &StepIx| state.plan_step(*ix).map(|step| step.id.to_string());
    state.held.iter().filter(open).filter_map(name).collect()
}

/// What goes on by itself: what is under way, else what is ready, else what waits for answers alone.
fn next(state: &RunState) -> Vec<String> {
    let name = |ix: &StepIx| state.plan_step(*ix).map(|step| step.id.to_string());
    let free = state.ready.difference(&state.held).copied().collect();
    let under_way: Vec<String> = state.active.union(&free).filter_map(name).collect();
    if !under_way.is_empty() || state.status().is_end() {
        return under_way;
    }
    let dependents = |ix: &StepIx| state.order.dependents.get(ix.0).into_iter().flatten();
    let after_asking: BTreeSet<StepIx> =
        state.asking.iter().flat_map(dependents).copied().collect();
    let only_asked = |ix: &&StepIx| {
        let needs = state.order.needs.get(ix.0).into_iter().flatten();
        let is_met = |need: &StepIx| state.step(*need).is_some_and(|step| step.state.meets_need());
        needs.clone().all(|need| is_met(need) || state.asking.contains(need))
    };
    after_asking.iter().filter(only_asked).filter_map(name).collect()
}

/// What only a person can move on.
pub fn wants(state: &RunState) -> Vec<Want> {
    let mut wants: Vec<Want> = state.asking.iter().filter_map(|ix| want(state, *ix)).collect();
    if state.status() == RunStatus::Failed && !state.closed {
        let failed = |at: usize| want(state, StepIx(at));
        wants.extend((0..state.steps.len()).filter_map(failed).filter(|w| w.what == "failed"));
    }
    if state.waits_for_alarm() {
        wants.extend(state.alarms().map(|(planned, alarm)| alarm_want(state, planned, alarm)));
    }
    wants
}

/// An alarm that stands when all else is done.
fn alarm_want(state: &RunState, planned: &PlanStep, alarm: &Alarm) -> Want {
    Want {
        step: planned.id.to_string(),
        what: "alarm".to_owned(),
        why: alarm_words(&alarm.difference, alarm.by.as_deref(), alarm.unseen),
        who: who(planned),
        commands: ALARM.iter().map(|command| fill(command, state, planned)).collect(),
    }
}

fn alarms(state: &RunState) -> Vec<AlarmView> {
    if matches!(state.phase, Phase::Undoing(_)) || state.undos > 0 {
        return Vec::new();
    }
    let view = |(planned, alarm): (&PlanStep, &Alarm)| AlarmView {
        step: planned.id.to_string(),
        since: rfc3339(alarm.since),
        difference: alarm.difference.clone(),
        by: alarm.by.clone(),
        unseen: alarm.unseen,
        commands: if state.phase == Phase::Forward {
            ALARM.iter().map(|command| fill(command, state, planned)).collect()
        } else {
            Vec::new()
        },
    };
    state.alarms().map(view).collect()
}

/// An alarm in words.
pub fn alarm_words(difference: &[String], by: Option<&str>, unseen: bool) -> String {
    let what = difference.join("; ");
    if unseen {
        return format!("its target does not answer, so nobody knows how it is: {what}");
    }
    let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
    format!("what it made was changed{by}: {what}")
}

fn want(state: &RunState, ix: StepIx) -> Option<Want> {
    use backout_core::event::Wait;
    let (planned, step) = (state.plan_step(ix)?, state.step(ix)?);
    let (what, why, commands) = match &step.state {
        StepState::InDoubt => ("in-doubt", evidence(step), &SETTLE[..]),
        StepState::Unverified => ("unverified", unverified(step), &UNVERIFIED[..]),
        StepState::Failed { reason, met: false } => ("failed", reason.clone(), &TRY[..]),
        StepState::Waiting(Wait::Approval { why, .. }) => ("approval", why.clone(), &APPROVE[..]),
        StepState::Waiting(Wait::Person { why }) => ("person", why.clone(), &TRY[..]),
        StepState::Waiting(Wait::Output { from, name }) => {
            return Some(output(state, planned, from, name));
        }
        StepState::Pending
        | StepState::Preparing
        | StepState::Waiting(_)
        | StepState::Running
        | StepState::Succeeded { .. }
        | StepState::Failed { met: true, .. }
        | StepState::Skipped(_)
        | StepState::Cancelled
        | StepState::Undone => return None,
    };
    Some(Want {
        step: planned.id.to_string(),
        what: what.to_owned(),
        why,
        who: who(planned),
        commands: commands.iter().map(|command| fill(command, state, planned)).collect(),
    })
}

/// An output that an earlier step should have given: a person supplies it there.
fn output(state: &RunState, planned: &PlanStep, from: &StepId, name: &str) -> Want {
    let field = name.rsplit('.').next().unwrap_or(name);
    let from = shell_word(from.as_str());
    Want {
        step: planned.id.to_string(),
        what: "output".to_owned(),
        why: format!("`{name}` is not there; supply what {from} should have given"),
        who: who(planned),
        commands: vec![
            format!(
                "backout settle {} {from} --done --output {field}=VALUE --reason TEXT",
                state.run
            ),
            fill(TRY[1], state, planned),
        ],
    }
}

const APPROVE: [&str; 2] = ["backout approve RUN STEP", "backout reject RUN STEP"];
const SETTLE: [&str; 2] = [
    "backout settle RUN STEP --done --reason TEXT",
    "backout settle RUN STEP --not-done --reason TEXT",
];
const UNVERIFIED: [&str; 2] =
    ["backout settle RUN STEP --done --reason TEXT", "backout retry RUN STEP"];
const ALARM: [&str; 2] = ["backout retry RUN STEP", "backout settle RUN STEP --done --reason TEXT"];
const TRY: [&str; 2] = ["backout retry RUN STEP", "backout skip RUN STEP --reason TEXT"];

fn fill(command: &str, state: &RunState, planned: &PlanStep) -> String {
    let step = shell_word(planned.id.as_str());
    command.replace("RUN", state.run.as_str()).replace("STEP", &step)
}

/// A step's name as a shell takes it: `id[key]` needs quotes.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn who(planned: &PlanStep) -> Vec<String> {
    let named = planned.approval.iter().flat_map(|approval| approval.by.iter().cloned());
    let named: Vec<String> = named.collect();
    if named.is_empty() { planned.owner.iter().cloned().collect() } else { named }
}

fn unverified(step: &StepRun) -> String {
    let differs = step.trouble.as_deref().unwrap_or("nothing is known");
    format!("its effects are made, but the target does not look as wanted: {differs}")
}

fn evidence(step: &StepRun) -> String {
    use backout_core::state::EffectState;
    let known = step.effects.iter().filter_map(|effect| match &effect.state {
        EffectState::InDoubt { evidence } => Some(evidence.as_str()),
        EffectState::Pending
        | EffectState::Satisfied
        | EffectState::InFlight
        | EffectState::Unclear { .. }
        | EffectState::Again { .. }
        | EffectState::Done
        | EffectState::Refused
        | EffectState::Failed => None,
    });
    known.collect::<Vec<_>>().join("; ")
}

/// One command: the engine first, since what is in flight is only known once one looked.
fn go_on(state: &RunState, word: &str, wants: &[Want]) -> Option<String> {
    let resume = || format!("backout resume {}", state.run);
    match word {
        "succeeded" | "undone" | "superseded" | "running" if wants.is_empty() => None,
        _ if state.closed => None,
        "interrupted" | "paused" | "aborted" => Some(resume()),
        _ => wants.first().and_then(|want| want.commands.first().cloned()),
    }
}
