//! An action with IO that takes no time of its own: it only gives way once in each verb, as a real
//! one does, so that its prepare cannot join the append before it.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest, Outcome,
    PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
};
use serde_json::{Value, json};

/// The action `bench.io`.
pub(crate) struct Io;

#[async_trait]
impl Action for Io {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: "bench.io".into(),
            summary: "Gives way once.",
            docs: "",
            input: || schemars::Schema::default(),
            example: "()",
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[1],
        }
    }

    fn check(&self, _input: &Value) -> Checked {
        Checked::default()
    }

    fn by_hand(&self, _input: &Value) -> ByHand {
        ByHand::default()
    }

    async fn prepare(&self, _ctx: &Context, _input: &Value) -> Result<Prepared, PrepareFailure> {
        tokio::task::yield_now().await;
        Ok(Prepared {
            data_version: 1,
            guarantee: Guarantee::Conditional,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: "give way".into(),
                wave: 0,
                satisfied: Satisfied::CannotTell,
                before: Image::Absent,
                wanted: Image::Absent,
                difference: Vec::new(),
                reversibility: Reversibility::Exact,
                hazards: Vec::new(),
                data: Value::Null,
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: Value::Null,
        })
    }

    async fn apply(&self, _ctx: &Context, _call: &Call) -> Outcome {
        tokio::task::yield_now().await;
        Outcome::Done { output: json!({}) }
    }

    async fn settle(&self, _ctx: &Context, _call: &Call) -> Settled {
        Settled::Done { output: json!({}) }
    }

    async fn revert(&self, _ctx: &Context, _made: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}
