//! `flags.off` and `flags.set`: everybody gets one variation.

use async_trait::async_trait;
use backout_plugin_api::files::{Method, Point};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, MadeEffect, Manifest, Outcome,
    PrepareFailure, Prepared, Reverted, Satisfied, Settled, parse_input,
};
use schemars::schema_for;
use serde_json::{Value, json};

use crate::change::{self, Changer, DATA_VERSION, Data, Planned};
use crate::goff;
use crate::input::{self, OffInput, SetInput, Wish, format_of};
use crate::tree::Format;

const OFF_DOCS: &str = include_str!("docs/off.md");
const SET_DOCS: &str = include_str!("docs/set.md");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Off,
    Set,
}

/// The actions `flags.off` and `flags.set`.
#[derive(Clone, Debug)]
pub struct FlagsForce {
    verb: Verb,
    changer: Changer,
}

impl FlagsForce {
    /// `flags.off`.
    pub fn off() -> Self {
        Self { verb: Verb::Off, changer: Changer::default() }
    }

    /// `flags.set`.
    pub fn set() -> Self {
        Self { verb: Verb::Set, changer: Changer::default() }
    }

    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(mut self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        self.changer = Changer { method: self.changer.method, ..Changer::at(fault) };
        self
    }

    /// The same with another way to exchange the names; for tests.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        self.changer.method = method;
        self
    }

    fn wish(&self, input: &Value) -> Result<Wish, PrepareFailure> {
        match self.verb {
            Verb::Off => parse_input::<OffInput>(input).map(Wish::from),
            Verb::Set => parse_input::<SetInput>(input).map(Wish::from),
        }
    }
}

#[async_trait]
impl Action for FlagsForce {
    fn manifest(&self) -> Manifest {
        let (name, summary, docs, example) = match self.verb {
            Verb::Off => (
                "flags.off",
                "Gives everybody the off variation of some flags.",
                OFF_DOCS,
                r#"(file: "/etc/shop/flags.yaml", flags: ["new_checkout", "fast_pay"])"#,
            ),
            Verb::Set => (
                "flags.set",
                "Gives everybody one variation of some flags.",
                SET_DOCS,
                r#"(file: "/etc/shop/flags.yaml", flag: "checkout_flow", variation: "classic")"#,
            ),
        };
        Manifest {
            name: ActionName::new(name),
            summary,
            docs,
            input: match self.verb {
                Verb::Off => schema_for!(OffInput),
                Verb::Set => schema_for!(SetInput),
            },
            example,
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, Guarantee::Conditional)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand(&Wish::guess(input))
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let wish = self.wish(input)?;
        let now_ms = ctx.now_ms;
        change::blocking(move || prepare(&wish, now_ms)).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        self.changer.apply(ctx, call).await
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        self.changer.settle(ctx, call).await
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }
}

fn prepare(wish: &Wish, now_ms: i64) -> Result<Prepared, PrepareFailure> {
    let refuse = |reason: String| PrepareFailure::Refused { reason };
    if wish.flags.is_empty() {
        return Err(refuse("no flag is named".to_owned()));
    }
    let source = change::read(&wish.file)?;
    let in_file = |why: String| refuse(format!("{}: {why}", wish.file));
    let mut planned = Vec::new();
    let mut variations: Vec<String> = Vec::new();
    for name in &wish.flags {
        let flag = source.document.flag(name).map_err(in_file)?;
        let change = goff::force(&source.document, flag, wish.variation.as_deref(), now_ms)
            .map_err(in_file)?;
        if !variations.contains(&change.variation) {
            variations.push(change.variation.clone());
        }
        planned.push(Planned {
            name: name.clone(),
            edits: change.edits,
            difference: change.difference,
            hazards: change.hazards,
            wanted: change.wanted,
        });
    }
    change::prepared(&source, planned, &format!("{} for everybody", variations.join(" or ")))
}

/// The flags' own text from before, put back by `flags.restore`.
pub(crate) fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let Ok(data) = serde_json::from_value::<Data>(effect.data.clone()) else {
        let why = "the record of what was there is not readable by this release".to_owned();
        return Reverted::NotPossible { why };
    };
    let texts = |text: fn(&change::Block) -> &String| -> Value {
        data.flags.iter().map(|flag| (flag.name.clone(), json!(text(flag)))).collect()
    };
    Reverted::By {
        action: ActionName::new("flags.restore"),
        input: json!({
            "file": data.swap.target,
            "blocks": texts(|block| &block.before),
            "left": texts(|block| &block.after),
        }),
    }
}

fn by_hand(wish: &Wish) -> ByHand {
    let file = &wish.file;
    let (yq, show) = match format_of(file) {
        Ok(Format::Json) => ("yq -i -o=json", "yq -o=json"),
        _ => ("yq -i", "yq"),
    };
    let variation = wish.variation.as_deref().unwrap_or("off");
    let edit = |name: &String| {
        format!(
            "{yq} '.[\"{name}\"] |= (.defaultRule = {{\"variation\": \"{variation}\"}} | \
             del(.targeting, .scheduledRollout, .experimentation, .disable, .bucketingKey))' \
             '{file}'"
        )
    };
    let mut commands = vec![format!("cp -p '{file}' '{file}.before'")];
    if wish.variation.is_none() {
        commands.push(format!(
            "{show} '.[] | .variations' '{file}'  # if no variation is named off, use its own name"
        ));
    }
    commands.extend(wish.flags.iter().map(edit));
    let names = wish.flags.join(", ");
    ByHand {
        does: format!(
            "gives everybody the variation `{variation}` of {names} in {file}; never by \
             `disable: true`, which gives the code's own default"
        ),
        commands,
        verify: wish
            .flags
            .iter()
            .map(|name| format!("{show} '.[\"{name}\"]' '{file}'"))
            .chain([format!("diff '{file}.before' '{file}'")])
            .collect(),
    }
}
