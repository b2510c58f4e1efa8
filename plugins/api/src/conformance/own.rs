//! The suite itself: a good action passes, and each fault is found by the check that is for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use schemars::json_schema;
use serde_json::{Value, json};

use super::{Case, Verdict, check};
use crate::{
    Action, ActionName, ByHand, Call, Checked, Context, Emit, Guarantee, Image, MadeEffect,
    Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted,
    Satisfied, Settled, Tidied,
};

/// What is wrong with a register.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    PrepareWrites,
    NeverSatisfied,
    ForgetsKeys,
    IgnoresFence,
    IgnoresChange,
    LosesReplies,
    NeverSeals,
    RevertsToNothing,
    TidiesTooMuch,
    NeverTidy,
    TellsSecret,
    Hangs,
    LetsAnybodyIn,
}

/// A target in memory: a value with a version, the keys that were written, and the seals.
#[derive(Default)]
struct Target {
    value: Value,
    version: u64,
    done: BTreeMap<String, u64>,
    sealed: BTreeMap<String, u32>,
    token: u64,
}

/// An action on the target, and the case of itself.
struct Register {
    fault: Fault,
    target: Mutex<Target>,
}

impl Register {
    fn target(&self) -> MutexGuard<'_, Target> {
        self.target.lock().unwrap()
    }

    fn write(&self, call: &Call) -> Outcome {
        let refused = |reason: &str| Outcome::Refused { reason: reason.to_owned() };
        let (mut target, key) = (self.target(), call.key.to_string());
        let done = Outcome::Done { output: json!({}) };
        if target.done.contains_key(&key) && self.fault != Fault::ForgetsKeys {
            return done;
        }
        let sealed = target.sealed.get(&key).copied().unwrap_or(0);
        if call.fence.dispatch <= sealed && self.fault != Fault::NeverSeals {
            return refused("sealed");
        }
        if call.fence.token.0 < target.token && self.fault != Fault::IgnoresFence {
            return refused("an older holder");
        }
        let prepared = call.data::<u64>().unwrap();
        let changed = prepared != target.version;
        if changed
            && !matches!(
                self.fault,
                Fault::IgnoresChange | Fault::IgnoresFence | Fault::ForgetsKeys
            )
        {
            return refused("changed");
        }
        target.value = call.input["value"].clone();
        target.version += 1;
        target.token = call.fence.token.0;
        target.done.insert(key, prepared);
        done
    }
}

#[async_trait]
impl Action for Register {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("register.set"),
            summary: "sets",
            docs: "Sets.",
            input: || json_schema!({"properties": {"value": {"description": "what"}}}),
            example: "(value: 1)",
            guarantee: Guarantee::Transactional,
            pure: false,
            data_versions: &[1],
        }
    }

    fn check(&self, _: &Value) -> Checked {
        Checked { guarantee: Some(Guarantee::Transactional), ..Checked::default() }
    }

    fn by_hand(&self, _: &Value) -> ByHand {
        let words = vec!["set".to_owned()];
        ByHand { does: "sets".to_owned(), commands: words.clone(), verify: words }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let mut target = self.target();
        if self.fault == Fault::PrepareWrites {
            target.version += 1;
        }
        let same = target.value == input["value"] && self.fault != Fault::NeverSatisfied;
        Ok(Prepared {
            data_version: 1,
            guarantee: Guarantee::Transactional,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: "set".to_owned(),
                wave: 0,
                satisfied: if same { Satisfied::Yes } else { Satisfied::No },
                before: Image::Plain(target.value.clone()),
                wanted: Image::Plain(input["value"].clone()),
                difference: Vec::new(),
                reversibility: Reversibility::Exact,
                hazards: Vec::new(),
                data: json!(target.version),
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: Value::Null,
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        if call.input["value"] == json!("silence") {
            if self.fault == Fault::Hangs {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                () = tokio::time::sleep(ctx.timeout) => {}
                () = ctx.cancel.cancelled() => {}
            }
            return Outcome::Unclear { reason: "no answer".to_owned() };
        }
        if call.input["value"] == json!("denied") && self.fault != Fault::LetsAnybodyIn {
            let reason = "401".to_owned();
            return Outcome::Failed { reason, output: Value::Null };
        }
        if self.fault == Fault::TellsSecret {
            (ctx.emit)(Emit::Progress("with hunter2".to_owned()));
        }
        self.write(call)
    }

    async fn settle(&self, _: &Context, call: &Call) -> Settled {
        let mut target = self.target();
        let key = call.key.to_string();
        if target.done.contains_key(&key) && self.fault != Fault::LosesReplies {
            return Settled::Done { output: json!({}) };
        }
        target.sealed.insert(key, call.fence.dispatch);
        Settled::NotDone
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        match &made.prepared.effects[0].before {
            Image::Plain(value) if self.fault != Fault::RevertsToNothing => Reverted::By {
                action: ActionName::new("register.set"),
                input: json!({ "value": value }),
            },
            _ => Reverted::Nothing,
        }
    }

    async fn tidy(&self, _: &Context, made: &MadeEffect) -> Tidied {
        let (mut target, key) = (self.target(), made.key.to_string());
        if self.fault == Fault::TidiesTooMuch {
            target.value = Value::Null;
        }
        let found = self.fault == Fault::NeverTidy || target.done.remove(&key).is_some();
        Tidied { removed: found.then_some(key).into_iter().collect(), left: Vec::new() }
    }
}

#[async_trait]
impl Case for Register {
    fn action(&self) -> &dyn Action {
        self
    }

    fn input(&self) -> Value {
        json!({"value": "on"})
    }

    fn scratch(&self) -> PathBuf {
        PathBuf::from("/nonexistent")
    }

    async fn observe(&self) -> Value {
        let target = self.target();
        json!([target.value, target.version])
    }

    async fn image(&self) -> Value {
        self.target().value.clone()
    }

    fn secret_values(&self) -> Vec<String> {
        vec!["hunter2".to_owned()]
    }

    async fn interfere(&self) -> bool {
        let mut target = self.target();
        target.version += 1;
        target.value = json!("theirs");
        true
    }

    fn silent(&self) -> Option<Value> {
        Some(json!({"value": "silence"}))
    }

    fn slow(&self) -> Option<Value> {
        self.silent()
    }

    fn denied(&self) -> Option<Value> {
        Some(json!({"value": "denied"}))
    }
}

async fn broken_by(fault: Fault) -> Vec<String> {
    let fresh = async || Register { fault, target: Mutex::default() };
    let report = check(fresh).await;
    let broken = report.lines.iter().filter(|line| matches!(line.verdict, Verdict::Broken { .. }));
    broken.map(|line| line.check.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_good_action_passes() {
    assert_eq!(broken_by(Fault::None).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_found_by_its_check() {
    for (fault, part) in [
        (Fault::PrepareWrites, "reads only"),
        (Fault::NeverSatisfied, "then prepare: satisfied"),
        (Fault::ForgetsKeys, "one key makes one effect"),
        (Fault::IgnoresFence, "older fence"),
        (Fault::IgnoresChange, "changed by others"),
        (Fault::LosesReplies, "reply lost"),
        (Fault::NeverSeals, "late it does nothing"),
        (Fault::RevertsToNothing, "revert restores"),
        (Fault::TidiesTooMuch, "tidy leaves"),
        (Fault::NeverTidy, "tidy leaves"),
        (Fault::TellsSecret, "holds a secret"),
        (Fault::Hangs, "does not answer"),
        (Fault::Hangs, "byte by byte"),
        (Fault::LetsAnybodyIn, "credentials"),
    ] {
        let broken = broken_by(fault).await;
        assert!(broken.iter().any(|check| check.contains(part)), "{part}: {broken:?}");
    }
}
