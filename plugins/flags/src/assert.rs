//! `flags.assert`: says whether everybody gets one variation.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::change::{self, DATA_VERSION};
use crate::goff;
use crate::input::{self, SetInput, Wish};

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
            input: schema_for!(SetInput),
            example: r#"(file: "/etc/shop/flags.yaml", flags: ["new_checkout"], variation: "off")"#,
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, Guarantee::ReadOnly)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let wish = Wish::guess(input);
        let file = &wish.file;
        let variation = wish.variation.as_deref().unwrap_or("?");
        let show: Vec<_> =
            wish.flags.iter().map(|name| format!("yq '.[\"{name}\"]' '{file}'")).collect();
        ByHand {
            does: format!(
                "looks whether everybody gets `{variation}` of {}",
                wish.flags.join(", ")
            ),
            commands: show.clone(),
            verify: show
                .into_iter()
                .chain([format!(
                    "# defaultRule.variation is {variation}; no targeting, scheduledRollout, \
                     experimentation, disable or bucketingKey"
                )])
                .collect(),
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let seen = see(ctx, input).await?;
        let differs = seen.differs.clone();
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: seen.title,
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
            seen: json!({ "differs": differs }),
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match see(ctx, &call.input).await {
            Ok(seen) if seen.differs.is_empty() => Outcome::Done { output: seen.output },
            Ok(seen) => Outcome::Failed { reason: seen.differs.join("; "), output: seen.output },
            Err(failure) => {
                Outcome::Failed { reason: failure.reason().to_owned(), output: Value::Null }
            }
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

struct Seen {
    title: String,
    differs: Vec<String>,
    output: Value,
}

async fn see(ctx: &Context, input: &Value) -> Result<Seen, PrepareFailure> {
    let wish = Wish::from(parse_input::<SetInput>(input)?);
    let now_ms = ctx.now_ms;
    change::blocking(move || look(&wish, now_ms)).await
}

fn look(wish: &Wish, now_ms: i64) -> Result<Seen, PrepareFailure> {
    let refuse = |why: String| PrepareFailure::Refused { reason: format!("{}: {why}", wish.file) };
    let source = change::read(&wish.file)?;
    let mut differs = Vec::new();
    let mut flags = Map::new();
    for name in &wish.flags {
        let flag = source.document.flag(name).map_err(refuse)?;
        let change = goff::force(&source.document, flag, wish.variation.as_deref(), now_ms)
            .map_err(refuse)?;
        flags.insert(name.clone(), json!(change.difference.is_empty()));
        differs.extend(change.difference);
    }
    let variation = wish.variation.as_deref().unwrap_or_default();
    Ok(Seen {
        title: format!("everybody gets {variation} of {}", wish.flags.join(", ")),
        differs,
        output: json!({ "file": source.path, "holds": flags }),
    })
}
