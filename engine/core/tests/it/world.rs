//! A small world for the core: targets that remember what was made under which key, and an engine
//! whose journal is a list.

use std::collections::{BTreeMap, BTreeSet};

use backout_core::command::{Ask, Report};
use backout_core::contract::{
    Guarantee, Image, Outcome, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied,
    Settled,
};
use backout_core::drive::{Run, TurnError};
use backout_core::event::{Actor, Cause, Event, Grant, Recorded};
use backout_core::id::{EffectKey, Epoch, LockToken, RunId, Timestamp};
use backout_core::plan::Plan;
use backout_core::watch::Found;
use backout_core::{Command, Wanted, claims, effects, invariant};
use serde_json::json;

/// What the targets remember: every key that was made, and how often.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) made: BTreeMap<EffectKey, u32>,
    pub(crate) targets: BTreeSet<(String, usize)>,
    pub(crate) guarantee: Option<Guarantee>,
    pub(crate) effects_per_step: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { effects_per_step: 1, ..Self::default() }
    }

    fn is_made(&self, target: &str, effect: usize) -> bool {
        self.targets.contains(&(target.to_owned(), effect))
    }

    fn prepare(&self, input: &serde_json::Value) -> Prepared {
        let target = input["target"].as_str().unwrap().to_owned();
        let effect = |at: usize| PreparedEffect {
            title: format!("make {target} {at}"),
            wave: u32::try_from(at).unwrap(),
            satisfied: if self.is_made(&target, at) { Satisfied::Yes } else { Satisfied::No },
            before: Image::Absent,
            wanted: Image::Plain(json!(at)),
            difference: vec![format!("+ {target} {at}")],
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
            data: json!(null),
        };
        Prepared {
            data_version: 1,
            guarantee: self.guarantee.unwrap_or(Guarantee::Conditional),
            remembered_ms: None,
            locks: vec![format!("fake:{target}").as_str().into()],
            effects: (0..self.effects_per_step).map(effect).collect(),
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: json!(null),
        }
    }

    /// Whether there is an answer: a watch says nothing while all is as it was.
    fn tells(&self, wanted: &Wanted, now: Timestamp) -> bool {
        match wanted {
            Wanted::Watch(watch) => {
                let found = Found::of(&Ok(Box::new(self.prepare(&watch.input))));
                watch.tells(&found, now, None)
            }
            _ => true,
        }
    }

    /// The world's answer to what is wanted.
    pub(crate) fn answer(&mut self, wanted: &Wanted) -> Report {
        match wanted {
            Wanted::Prepare { step, attempt, look, input, .. } => Report::Prepared {
                step: step.clone(),
                attempt: *attempt,
                look: *look,
                result: Ok(Box::new(self.prepare(input))),
            },
            Wanted::Watch(watch) => Report::Watched {
                step: watch.step.clone(),
                look: watch.look,
                found: Found::of(&Ok(Box::new(self.prepare(&watch.input)))),
            },
            Wanted::Apply(dispatch) => {
                *self.made.entry(dispatch.key.clone()).or_default() += 1;
                let target = dispatch.input["target"].as_str().unwrap().to_owned();
                self.targets.insert((target, dispatch.sending.effect));
                let output = json!({ "made": dispatch.key.as_str() });
                Report::Applied {
                    sending: dispatch.sending.clone(),
                    outcome: Outcome::Done { output },
                }
            }
            Wanted::Settle(dispatch) => Report::Settled {
                sending: dispatch.sending.clone(),
                settled: if self.made.contains_key(&dispatch.key) {
                    Settled::Done { output: json!({ "made": dispatch.key.as_str() }) }
                } else {
                    Settled::NotDone
                },
            },
            Wanted::Revert { step, made, .. } => Report::Reverted {
                step: step.clone(),
                made: *made,
                reverted: Reverted::By {
                    action: "fake.do".into(),
                    input: json!({ "target": format!("{step}-back") }),
                },
            },
        }
    }
}

/// An engine over a list.
pub(crate) struct Engine {
    pub(crate) journal: Vec<Recorded>,
    pub(crate) run: Run,
    pub(crate) now: Timestamp,
}

pub(crate) fn person(reason: &str) -> Cause {
    Cause {
        command: None,
        actor: Actor::unverified("ann"),
        reason: Some(reason.into()),
        break_glass: false,
    }
}

impl Engine {
    pub(crate) fn start(plan: Plan) -> Self {
        let create = Command::create(RunId::from("r0"), plan, String::new());
        Self::begin(&create)
    }

    pub(crate) fn begin(create: &Command) -> Self {
        let mut engine =
            Self { journal: Vec::new(), run: Run::new(Epoch(1)), now: Timestamp(1_000) };
        engine.give(&person("start"), create).unwrap();
        engine.give(&Cause::engine(), &Command::Attach { engine: "test".into() }).unwrap();
        engine
    }

    /// Dies and comes back with the first `kept` events.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.journal.truncate(kept.max(1));
        self.run = Run::new(Epoch(self.run.epoch.0 + 1));
        self.run.load(&self.journal).unwrap();
        self.give(&Cause::engine(), &Command::Attach { engine: "test".into() }).unwrap();
    }

    pub(crate) fn state(&self) -> &backout_core::state::RunState {
        self.run.state.as_ref().unwrap()
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Result<(), TurnError> {
        self.give(&person("because"), &Command::Ask(ask))
    }

    pub(crate) fn give(&mut self, cause: &Cause, command: &Command) -> Result<(), TurnError> {
        let mut turn = self.run.turn(self.now, cause, command)?;
        loop {
            self.journal.append(&mut turn.recorded);
            let Some((cause, event)) = turn.claiming else { break };
            let wanted = claims(self.run.state.as_ref(), std::slice::from_ref(&event));
            let token = LockToken(self.run.seq().0 + 1);
            let grants = wanted.into_iter().map(|target| Grant { target, token }).collect();
            let recorded = self.run.granted(self.now, &cause, event, grants)?;
            self.journal.push(recorded);
            turn = self.run.turn(self.now, &Cause::engine(), &Command::Advance)?;
        }
        assert_eq!(invariant::check(self.state()), Vec::<String>::new());
        Ok(())
    }

    /// Lets the world answer until nothing is wanted, at most `rounds` answers.
    pub(crate) fn live(&mut self, world: &mut World, rounds: usize) -> usize {
        for round in 0..rounds {
            let tells = |wanted: &Wanted| world.tells(wanted, self.now);
            let Some(wanted) = effects(self.state()).into_iter().find(tells) else { return round };
            let report = world.answer(&wanted);
            self.now = self.now.plus_ms(10);
            self.give(&Cause::engine(), &Command::Report(report)).unwrap();
        }
        rounds
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.journal.iter().map(|recorded| kind(&recorded.event)).collect()
    }
}

pub(crate) fn kind(event: &Event) -> String {
    serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned()
}
