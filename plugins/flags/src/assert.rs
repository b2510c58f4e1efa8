//! `flags.assert`: says whether everybody gets one variation.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::by_hand;
use crate::change;
use crate::check::{self, Kind};
use crate::force::{expected_in_file, expected_on_server, plan_in_file, plan_on_server};
use crate::input::{AssertInput, Place, Server, Wish};
use crate::kept::{DATA_VERSION, DATA_VERSIONS};
use crate::proof::{self, Expected};

const DOCS: &str = include_str!("docs/assert.md");

/// The action `flags.assert`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlagsAssert;

#[async_trait]
impl Action for FlagsAssert {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("flags.assert"),
            summary: "Says whether everybody gets one variation of some flags.",
            docs: DOCS,
            input: || schema_for!(AssertInput),
            example: include_str!("docs/assert.ron"),
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        check::check(input, Kind::Assert)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand::assert(&Wish::guess(input))
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let wish = wish(input)?;
        let seen = see(ctx, &wish).await?;
        let variation = wish.variation.as_deref().unwrap_or_default();
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: format!("everybody gets {variation} of {}", wish.flags.join(", ")),
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
            seen: json!({ "differs": seen.differs }),
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let failed = |failure: PrepareFailure| Outcome::Failed {
            reason: failure.reason().to_owned(),
            output: Value::Null,
        };
        let wish = match wish(&call.input) {
            Ok(wish) => wish,
            Err(failure) => return failed(failure),
        };
        match see(ctx, &wish).await {
            Ok(seen) => asserted(ctx, &wish, seen).await,
            Err(failure) => failed(failure),
        }
    }

    /// A look leaves nothing behind to find; looking again is as good.
    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        settled_by_look(self.apply(ctx, call).await)
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn wish(input: &Value) -> Result<Wish, PrepareFailure> {
    check::check(input, Kind::Assert).accepted()?;
    parse_input::<AssertInput>(input).map(Wish::from)
}

/// What the file or the server says.
struct Seen {
    differs: Vec<String>,
    output: Map<String, Value>,
    expected: Vec<Expected>,
}

async fn see(ctx: &Context, wish: &Wish) -> Result<Seen, PrepareFailure> {
    match &wish.place {
        Place::File(_) => {
            let (wish, now_ms) = (wish.clone(), ctx.now_ms);
            change::blocking(move || look_in_file(&wish, now_ms)).await
        }
        Place::Server(server) => look_on_server(ctx, wish, server).await,
        Place::Nowhere => Ok(only_evaluation(wish)),
    }
}

fn look_in_file(wish: &Wish, now_ms: i64) -> Result<Seen, PrepareFailure> {
    let source = change::read(wish.system, wish.file())?;
    let planned = plan_in_file(&source, wish, now_ms)?;
    let holds = planned.iter().map(|flag| (flag.name.clone(), json!(flag.difference.is_empty())));
    let output = json!({ "file": source.path, "holds": holds.collect::<Map<_, _>>() });
    Ok(Seen {
        differs: planned.iter().flat_map(|flag| flag.difference.iter().cloned()).collect(),
        output: output.as_object().cloned().unwrap_or_default(),
        expected: planned.into_iter().map(expected_in_file).collect(),
    })
}

async fn look_on_server(
    ctx: &Context,
    wish: &Wish,
    server: &Server,
) -> Result<Seen, PrepareFailure> {
    let planned = plan_on_server(ctx, wish, server).await?;
    let holds =
        planned.iter().map(|plan| (plan.flag.clone(), json!(plan.wanted.difference.is_empty())));
    let output = json!({ "server": server.url, "holds": holds.collect::<Map<_, _>>() });
    Ok(Seen {
        differs: planned.iter().flat_map(|plan| plan.wanted.difference.iter().cloned()).collect(),
        output: output.as_object().cloned().unwrap_or_default(),
        expected: planned.iter().map(expected_on_server).collect(),
    })
}

fn only_evaluation(wish: &Wish) -> Seen {
    let expected = wish.flags.iter().map(|flag| Expected {
        flag: flag.clone(),
        variation: wish.variation.clone(),
        value: None,
    });
    Seen { differs: Vec::new(), output: Map::new(), expected: expected.collect() }
}

async fn asserted(ctx: &Context, wish: &Wish, seen: Seen) -> Outcome {
    let Seen { differs, mut output, expected } = seen;
    if !differs.is_empty() {
        return Outcome::Failed { reason: differs.join("; "), output: Value::Object(output) };
    }
    let Some(prove) = &wish.prove else {
        return Outcome::Done { output: Value::Object(output) };
    };
    let proven = proof::run(ctx, prove, &expected).await;
    let (reason, evidence) = match proven {
        Ok(evidence) => (None, evidence),
        Err((reason, evidence)) => (Some(reason), evidence),
    };
    output.insert("proof".to_owned(), evidence);
    let output = Value::Object(output);
    match reason {
        None => Outcome::Done { output },
        Some(reason) => Outcome::Failed { reason, output },
    }
}
