//! A target that remembers what was made under which key, and an action that misbehaves on command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use backout_core::id::{RunId, StepId};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    Tidied,
};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What a sending does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Makes the effect and says so.
    Well,
    /// Waits until its step is let on, then makes it.
    Gated,
    /// Makes nothing and panics.
    Panics,
    /// Makes it and panics.
    MakesAndPanics,
    /// Makes nothing and never answers.
    Hangs,
    /// Makes it and never answers.
    MakesAndHangs,
}

type Choose = dyn Fn(&StepId, u32) -> How + Send + Sync;
type Look = dyn Fn(&Context, &Call) + Send + Sync;

/// The target.
pub(crate) struct World {
    /// How often each key was made.
    made: Mutex<BTreeMap<String, u32>>,
    /// What was made, in order.
    order: Mutex<Vec<(RunId, StepId)>>,
    /// Sendings that began.
    begun: watch::Sender<Vec<StepId>>,
    /// Steps that may go on.
    open: watch::Sender<BTreeSet<StepId>>,
    /// Keys whose remains were removed, and whether their effect is known to be made.
    tidied: Mutex<Vec<(String, bool)>>,
    how: Box<Choose>,
    /// Called at the begin of each sending.
    look: Box<Look>,
}

impl World {
    pub(crate) fn new(how: impl Fn(&StepId, u32) -> How + Send + Sync + 'static) -> Arc<Self> {
        Self::looking(how, |_, _| ())
    }

    pub(crate) fn looking(
        how: impl Fn(&StepId, u32) -> How + Send + Sync + 'static,
        look: impl Fn(&Context, &Call) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            made: Mutex::default(),
            order: Mutex::default(),
            begun: watch::channel(Vec::new()).0,
            open: watch::channel(BTreeSet::new()).0,
            tidied: Mutex::default(),
            how: Box::new(how),
            look: Box::new(look),
        })
    }

    pub(crate) fn action(self: &Arc<Self>) -> Arc<dyn Action> {
        self.action_as("count.do")
    }

    /// The same under another name.
    pub(crate) fn action_as(self: &Arc<Self>, name: &'static str) -> Arc<dyn Action> {
        Arc::new(Count(self.clone(), name))
    }

    /// Lets a gated step go on.
    pub(crate) fn let_on(&self, step: &str) {
        self.open.send_modify(|open| open.extend([StepId::from(step)]));
    }

    /// Waits until a sending of the step has begun.
    pub(crate) async fn until_begun(&self, step: &str) {
        let mut begun = self.begun.subscribe();
        begun.wait_for(|begun| begun.contains(&StepId::from(step))).await.unwrap();
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.borrow().len()
    }

    pub(crate) fn tidied(&self) -> Vec<(String, bool)> {
        self.tidied.lock().unwrap().clone()
    }

    pub(crate) fn order(&self) -> Vec<(RunId, StepId)> {
        self.order.lock().unwrap().clone()
    }

    /// Each of so many effects was made, and once.
    #[track_caller]
    pub(crate) fn assert_each_once(&self, effects: usize) {
        let made = self.made.lock().unwrap();
        assert!(made.values().all(|times| *times == 1), "{made:?}");
        assert_eq!(made.len(), effects, "{made:?}");
    }

    fn make(&self, ctx: &Context, call: &Call) -> Outcome {
        *self.made.lock().unwrap().entry(call.key.to_string()).or_default() += 1;
        self.order.lock().unwrap().push((ctx.run.clone(), ctx.step.clone()));
        Outcome::Done { output: json!({}) }
    }

    async fn pass_gate(&self, step: &StepId) {
        self.open.subscribe().wait_for(|open| open.contains(step)).await.unwrap();
    }
}

/// `count.do`: makes one effect on the target `with.target`.
struct Count(Arc<World>, &'static str);

#[async_trait]
impl Action for Count {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(self.1),
            summary: "Counts.",
            docs: "",
            input: || schemars::json_schema!({ "type": "object" }),
            example: "(target: \"t\")",
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[1],
        }
    }

    fn check(&self, _: &Value) -> Checked {
        Checked::default()
    }

    fn by_hand(&self, _: &Value) -> ByHand {
        ByHand { does: String::new(), commands: Vec::new(), verify: Vec::new() }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        assert_ne!(input["target"], "panic", "a plugin that panics while it prepares");
        let locks =
            input["target"].as_str().map(|target| format!("count:{target}").as_str().into());
        Ok(Prepared {
            data_version: 1,
            guarantee: Guarantee::Conditional,
            remembered_ms: None,
            locks: locks.into_iter().collect(),
            effects: vec![effect()],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: Value::Null,
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let world = &self.0;
        (world.look)(ctx, call);
        world.begun.send_modify(|begun| begun.push(ctx.step.clone()));
        match (world.how)(&ctx.step, call.fence.dispatch) {
            How::Well => world.make(ctx, call),
            How::Gated => {
                world.pass_gate(&ctx.step).await;
                world.make(ctx, call)
            }
            How::Panics => panic!("a plugin that panics"),
            How::MakesAndPanics => {
                drop(world.make(ctx, call));
                panic!("a plugin that panics")
            }
            How::Hangs => std::future::pending().await,
            How::MakesAndHangs => {
                drop(world.make(ctx, call));
                std::future::pending().await
            }
        }
    }

    async fn settle(&self, _: &Context, call: &Call) -> Settled {
        if self.0.made.lock().unwrap().contains_key(&call.key.to_string()) {
            Settled::Done { output: json!({}) }
        } else {
            Settled::NotDone
        }
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }

    async fn tidy(&self, ctx: &Context, made: &MadeEffect) -> Tidied {
        assert_ne!(ctx.step.as_str(), "broken", "a plugin that panics while it tidies");
        self.0.tidied.lock().unwrap().push((made.key.to_string(), made.whole));
        Tidied { removed: vec![made.key.to_string()], left: Vec::new() }
    }
}

fn effect() -> PreparedEffect {
    PreparedEffect {
        title: "count".into(),
        wave: 0,
        satisfied: Satisfied::CannotTell,
        before: Image::Absent,
        wanted: Image::Absent,
        difference: Vec::new(),
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    }
}
