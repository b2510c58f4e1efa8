//! A record that may be shown to strangers: names, hosts and texts taken out by rule, structure and
//! times kept. It folds like the one it was made from; what the core decided cannot be decided anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::adopt::Adopted;
use crate::contract::{Gate, Hazard, Image, Prepared, PreparedEffect, Reverted, Settled};
use crate::event::{CLAIMED, Cause, Event, Recorded, StopCause, Wait};
use crate::id::{EffectKey, StepId, TargetId};
use crate::plan::{Plan, PlanStep, Role};
use crate::state::Made;

/// What stands in place of a text.
pub const REMOVED: &str = "[removed]";

/// What is taken out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Who: people, their groups, owners, channels, the runbook's own name. Each stands as a number
    /// that is the same wherever it occurs.
    Names,
    /// Where: targets, environments, engines, addresses.
    Hosts,
    /// What was written by somebody, or said by a target: titles, reasons, notes, evidence, the
    /// runbook's text, expressions.
    Texts,
    /// What was given and found: parameters, inputs, outputs, images of targets, items.
    Values,
    /// The names of steps too; they are structure, and stay unless this is asked for.
    Steps,
}

impl Rule {
    /// The rules that are followed where nobody says which.
    pub const USUAL: [Self; 4] = [Self::Names, Self::Hosts, Self::Texts, Self::Values];

    /// What it takes out, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Names => "names of people, groups, channels and the runbook",
            Self::Hosts => "targets, environments, engines and addresses",
            Self::Texts => "titles, reasons, notes, evidence and expressions",
            Self::Values => "parameters, inputs, outputs and images of targets",
            Self::Steps => "names of steps",
        }
    }
}

/// How much was taken out, by rule.
pub type Taken = BTreeMap<Rule, u64>;

/// Takes things out of the records of one run, the same way in all of them.
#[derive(Debug)]
pub struct Redactor {
    rules: BTreeSet<Rule>,
    names: Numbers,
    targets: Numbers,
    steps: Numbers,
    consents: Numbers,
    taken: Taken,
}

/// Numbers for texts, by the order in which they are met.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<String, usize>);

impl Numbers {
    fn of(&mut self, text: &str) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(text.to_owned()).or_insert(next)
    }
}

impl Redactor {
    /// Follows these rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self {
            rules: rules.into_iter().collect(),
            names: Numbers::default(),
            targets: Numbers::default(),
            steps: Numbers::default(),
            consents: Numbers::default(),
            taken: Taken::new(),
        }
    }

    /// What was taken out so far.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Takes out of a record what the rules say. Records are given in the order of the journal.
    pub fn redact(&mut self, mut recorded: Recorded) -> Recorded {
        self.cause(&mut recorded.cause);
        for grant in &mut recorded.grants {
            self.target(&mut grant.target);
        }
        self.event(&mut recorded.event);
        recorded
    }

    fn cause(&mut self, cause: &mut Cause) {
        if cause.actor != crate::event::Actor::engine() {
            let claimed = cause.actor.name.ends_with(CLAIMED);
            let mut person = cause.actor.person().to_owned();
            self.name(&mut person);
            cause.actor.name = if claimed { person + CLAIMED } else { person };
            self.all_names(&mut cause.actor.roles);
        }
        self.maybe_text(&mut cause.reason);
    }

    fn event(&mut self, event: &mut Event) {
        match event {
            Event::RunCreated { plan, text, run: _, core: _ } => {
                self.plan(plan);
                self.text(text);
            }
            Event::EngineAttached { engine } => self.host(engine),
            Event::EngineDetached { why } => self.text(why),
            Event::RunPaused
            | Event::RunResumed
            | Event::RunEnded { .. }
            | Event::RunClosed
            | Event::UndoBegun { .. }
            | Event::RunSuperseded { .. }
            | Event::CommandTaken => {}
            Event::RunStopping { why } => match why {
                StopCause::Halted { step } => self.step(step),
                StopCause::Aborted => {}
            },
            Event::StepsInserted { steps, before } => {
                for step in steps.iter_mut() {
                    self.plan_step(step);
                }
                self.all_steps(before);
            }
            Event::StepsHeld { steps } | Event::StepsFreed { steps } => self.all_steps(steps),
            Event::StepsAdopted { from: _, steps } => {
                for step in steps.iter_mut() {
                    self.adopted(step);
                }
            }
            Event::LocksYielded { targets } => self.all_targets(targets),
            Event::CommandOffered { to } => self.name(to),
            Event::NoteTaken { step, text } => {
                for step in step.iter_mut() {
                    self.step(step);
                }
                self.text(text);
            }
            other => self.step_event(other),
        }
    }

    fn step_event(&mut self, event: &mut Event) {
        match event {
            Event::StepStarted { step, input, .. } => {
                self.step(step);
                self.value(input);
            }
            Event::StepPrepared { step, prepared } => {
                self.step(step);
                self.prepared(prepared);
            }
            Event::StepLocked { step, targets } => {
                self.step(step);
                self.all_targets(targets);
            }
            Event::StepWaits { step, wait } => {
                self.step(step);
                self.wait(wait);
            }
            Event::StepApproved { step, consent } => {
                self.step(step);
                self.consent(consent);
            }
            Event::StepSucceeded { step, output, .. } => {
                self.step(step);
                self.value(output);
            }
            Event::StepLooked { step, difference, .. }
            | Event::StepUnverified { step, difference } => {
                self.step(step);
                self.all_texts(difference);
            }
            Event::StepFailed { step, reason, .. } => {
                self.step(step);
                self.text(reason);
            }
            Event::StepReopened { step, with } => {
                self.step(step);
                for with in with.iter_mut() {
                    self.value(with);
                }
            }
            Event::WatchAlarm { step, difference, by, unseen: _ } => {
                self.step(step);
                self.all_texts(difference);
                for by in by.iter_mut() {
                    self.name(by);
                }
            }
            Event::StepSkipped { step, .. }
            | Event::StepCancelled { step }
            | Event::StepUndone { step }
            | Event::WatchCalm { step }
            | Event::WatchHeld { step }
            | Event::WatchAccepted { step } => self.step(step),
            other => self.effect_event(other),
        }
    }

    fn effect_event(&mut self, event: &mut Event) {
        match event {
            Event::RevertPlanned { step, made: _, reverted } => {
                self.step(step);
                self.reverted(reverted);
            }
            Event::EffectIntended { sending } => self.step(&mut sending.step),
            Event::EffectDone { sending, output } => {
                self.step(&mut sending.step);
                self.value(output);
            }
            Event::EffectRefused { sending, reason }
            | Event::EffectUnclear { sending, reason }
            | Event::EffectInDoubt { sending, evidence: reason } => {
                self.step(&mut sending.step);
                self.text(reason);
            }
            Event::EffectFailed { sending, reason, output } => {
                self.step(&mut sending.step);
                self.text(reason);
                self.value(output);
            }
            Event::EffectSettled { sending, settled, due: _ } => {
                self.step(&mut sending.step);
                self.settled(settled);
            }
            // An event that nobody thought of here would be kept whole: the tests plant a word in
            // every event's every text, and fail.
            _ => {}
        }
    }

    fn plan(&mut self, plan: &mut Plan) {
        self.name(&mut plan.name);
        self.text(&mut plan.title);
        self.text(&mut plan.description);
        self.maybe_name(&mut plan.owner);
        if let Some(environment) = &mut plan.environment {
            self.host(&mut environment.name);
        }
        for label in plan.labels.values_mut() {
            self.text(label);
        }
        for param in plan.params.values_mut() {
            self.value(&mut param.value);
        }
        for step in &mut plan.steps {
            self.plan_step(step);
        }
        if let Some(success) = &mut plan.success {
            self.maybe_name(&mut success.validated_by);
        }
        if let Some(comms) = &mut plan.comms {
            self.name(&mut comms.channel);
        }
        for escalation in &mut plan.escalation {
            self.name(&mut escalation.to);
        }
    }

    fn plan_step(&mut self, step: &mut PlanStep) {
        self.step(&mut step.id);
        self.text(&mut step.title);
        if let Role::Undo { of, .. } = &mut step.role {
            self.step(of);
        }
        self.all_steps(&mut step.needs);
        self.maybe_text(&mut step.when);
        if let Some(item) = &mut step.item {
            self.value(item);
        }
        self.value(&mut step.with);
        if let Some(approval) = &mut step.approval {
            self.all_names(&mut approval.by);
        }
        self.all_targets(&mut step.locks);
        self.maybe_name(&mut step.owner);
        if let Some(url) = &mut step.runbook_url {
            self.host(url);
        }
        self.maybe_text(&mut step.note);
    }

    fn adopted(&mut self, adopted: &mut Adopted) {
        self.step(&mut adopted.step);
        if let Some(outcome) = &mut adopted.outcome {
            self.value(&mut outcome.input);
            self.value(&mut outcome.output);
        }
        for made in &mut adopted.made {
            self.made(made);
        }
    }

    fn made(&mut self, made: &mut Made) {
        self.key(&mut made.key);
        self.prepared(Arc::make_mut(&mut made.prepared));
        self.value(&mut made.input);
        self.value(&mut made.output);
        if let Some(reverted) = &mut made.reverted {
            self.reverted(reverted);
        }
    }

    /// A key holds the name of its step: `run/step/attempt/effect`.
    fn key(&mut self, key: &mut EffectKey) {
        let text = key.as_str().to_owned();
        let parts = text.split_once('/').and_then(|(run, rest)| {
            let mut parts = rest.rsplitn(3, '/');
            Some((run, parts.next()?, parts.next()?, parts.next()?))
        });
        *key = match parts {
            Some((run, effect, attempt, step)) => {
                let mut step = StepId::from(step);
                self.step(&mut step);
                EffectKey::from_text(&format!("{run}/{step}/{attempt}/{effect}"))
            }
            None => EffectKey::from_text(REMOVED),
        };
    }

    fn prepared(&mut self, prepared: &mut Prepared) {
        self.all_targets(&mut prepared.locks);
        for effect in &mut prepared.effects {
            self.prepared_effect(effect);
        }
        self.hazards(&mut prepared.hazards);
        if let Some(Gate::Approval { text }) = &mut prepared.gate {
            self.text(text);
        }
        self.value(&mut prepared.seen);
    }

    fn prepared_effect(&mut self, effect: &mut PreparedEffect) {
        self.text(&mut effect.title);
        self.image(&mut effect.before);
        self.image(&mut effect.wanted);
        self.all_texts(&mut effect.difference);
        self.hazards(&mut effect.hazards);
        self.value(&mut effect.data);
    }

    fn hazards(&mut self, hazards: &mut [Hazard]) {
        for hazard in hazards.iter_mut() {
            self.text(&mut hazard.text);
        }
    }

    fn image(&mut self, image: &mut Image) {
        if *image != Image::Absent && self.takes(Rule::Values) {
            *image = Image::Plain(Value::Null);
        }
    }

    fn settled(&mut self, settled: &mut Settled) {
        match settled {
            Settled::Done { output } => self.value(output),
            Settled::NotDone => {}
            Settled::Failed { reason, output } => {
                self.text(reason);
                self.value(output);
            }
            Settled::Running { evidence: text }
            | Settled::Unknown { evidence: text }
            | Settled::Unreachable { reason: text } => self.text(text),
        }
    }

    fn reverted(&mut self, reverted: &mut Reverted) {
        match reverted {
            Reverted::By { action: _, input } => self.value(input),
            Reverted::Nothing => {}
            Reverted::NotPossible { why } => self.text(why),
        }
    }

    fn wait(&mut self, wait: &mut Wait) {
        match wait {
            Wait::Approval { consent, why } => {
                self.consent(consent);
                self.text(why);
            }
            Wait::Retry { why, .. } | Wait::Person { why } => self.text(why),
            Wait::Soak { seen, .. } => self.value(seen),
            Wait::Lock { holders } => {
                for holder in holders.iter_mut() {
                    self.target(&mut holder.target);
                }
            }
            Wait::Timer { .. } => {}
            Wait::Output { from, name } => {
                self.step(from);
                self.text(name);
            }
        }
    }

    /// Counts what a rule takes out; false where it is not followed.
    fn takes(&mut self, rule: Rule) -> bool {
        let takes = self.rules.contains(&rule);
        if takes {
            *self.taken.entry(rule).or_default() += 1;
        }
        takes
    }

    fn name(&mut self, name: &mut String) {
        if !name.is_empty() && self.takes(Rule::Names) {
            *name = format!("name {}", self.names.of(name));
        }
    }

    fn maybe_name(&mut self, name: &mut Option<String>) {
        for name in name.iter_mut() {
            self.name(name);
        }
    }

    fn all_names(&mut self, names: &mut [String]) {
        for name in names.iter_mut() {
            self.name(name);
        }
    }

    fn host(&mut self, host: &mut String) {
        if !host.is_empty() && self.takes(Rule::Hosts) {
            REMOVED.clone_into(host);
        }
    }

    fn target(&mut self, target: &mut TargetId) {
        if self.takes(Rule::Hosts) {
            *target = format!("target {}", self.targets.of(target.as_str())).as_str().into();
        }
    }

    fn all_targets(&mut self, targets: &mut [TargetId]) {
        for target in targets.iter_mut() {
            self.target(target);
        }
    }

    fn text(&mut self, text: &mut String) {
        if !text.is_empty() && self.takes(Rule::Texts) {
            REMOVED.clone_into(text);
        }
    }

    fn maybe_text(&mut self, text: &mut Option<String>) {
        for text in text.iter_mut() {
            self.text(text);
        }
    }

    fn all_texts(&mut self, texts: &mut [String]) {
        for text in texts.iter_mut() {
            self.text(text);
        }
    }

    fn value(&mut self, value: &mut Value) {
        if !value.is_null() && self.takes(Rule::Values) {
            *value = Value::Null;
        }
    }

    /// What was consented to is a digest of what was prepared: who guesses that, knows it.
    fn consent(&mut self, consent: &mut String) {
        if self.takes(Rule::Values) {
            *consent = format!("consent {}", self.consents.of(consent));
        }
    }

    fn all_steps(&mut self, steps: &mut [StepId]) {
        for step in steps.iter_mut() {
            self.step(step);
        }
    }

    /// The item of a `for_each` stands in a step's name, and is a value.
    fn step(&mut self, step: &mut StepId) {
        let text = step.as_str().to_owned();
        if self.rules.contains(&Rule::Steps) {
            *step = format!("step_{}", self.steps.of(&text)).as_str().into();
            // They are named everywhere: it is counted how many there are.
            self.taken.insert(Rule::Steps, self.steps.0.len() as u64);
        } else if let Some((stem, _)) = text.split_once('[')
            && self.rules.contains(&Rule::Values)
        {
            *step = format!("{stem}[{}]", self.steps.of(&text)).as_str().into();
        }
    }
}
