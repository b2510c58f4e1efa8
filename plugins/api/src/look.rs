//! One look as an action, for all that reads only: checks, assertions.
//!
//! | a look | `prepare` answers | a soak | a step |
//! |---|---|---|---|
//! | holds | satisfied | counts the time | is done |
//! | does not hold | not satisfied, and why | ends and asks a person | is looked at again by `retry`, then asks a person |
//! | sees nothing | unreachable or refused | counts nothing and goes on looking | is looked at again by `retry`, then asks a person |

use crate::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use async_trait::async_trait;
use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Nothing is kept in an effect: the input says all.
const DATA_VERSION: u32 = 1;

/// The part of its time after which a look gives up by itself: its own words tell more than "ended on
/// request", which is all that it can say once the engine has ended it.
const PATIENCE: f64 = 0.95;

/// What one look saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What does not hold, in lines; none where all holds.
    pub wrong: Vec<String>,
    /// The evidence: what later steps may use and what the record keeps.
    pub seen: Value,
}

/// What a check tells about itself.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// `checks.http`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Markdown.
    pub docs: &'static str,
    /// RON.
    pub example: &'static str,
}

/// A way to look at something.
#[async_trait]
pub trait Check: Send + Sync + 'static {
    /// What it takes.
    type Input: DeserializeOwned + Serialize + JsonSchema + Send + Sync;

    /// What it tells about itself.
    fn told(&self) -> Told;

    /// One line for people, without a secret.
    fn title(&self, input: &Self::Input) -> String;

    /// What is wrong with an input, told without looking.
    fn check(&self, input: &Self::Input, checked: &mut Checked);

    /// The look as a person makes it.
    fn by_hand(&self, input: &Self::Input) -> ByHand;

    /// Looks once. It need not keep the time: it is dropped when that is over.
    ///
    /// # Errors
    /// Nothing was seen: no answer, no data, no right to look.
    async fn look(&self, ctx: &Context, input: &Self::Input) -> Result<Sample, PrepareFailure>;
}

/// A check as an action.
#[derive(Clone, Copy, Debug)]
pub struct Gate<C>(pub C);

/// Nothing was seen, since nobody answered.
pub fn unreachable(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Unreachable { reason: reason.into() }
}

/// Nothing was seen, and looking again will not help by itself.
pub fn refused(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

#[async_trait]
impl<C: Check> Action for Gate<C> {
    fn manifest(&self) -> Manifest {
        let told = self.0.told();
        Manifest {
            name: ActionName::new(told.name),
            summary: told.summary,
            docs: told.docs,
            input: || schema_for!(C::Input),
            example: told.example,
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        let mut checked = Checked { guarantee: Some(Guarantee::ReadOnly), ..Checked::default() };
        // An input that does not parse yet, for an expression in the place of a number, is not
        // spoken of.
        if let Ok(input) = C::Input::deserialize(input) {
            self.0.check(&input, &mut checked);
        }
        checked
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        parse_input(input).map_or_else(
            |failure| ByHand { does: failure.reason().to_owned(), ..ByHand::default() },
            |input: C::Input| self.0.by_hand(&input),
        )
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let (title, sample) = self.look(ctx, input).await?;
        Ok(prepared(title, input, sample))
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match self.look(ctx, &call.input).await {
            Ok((_, sample)) if sample.wrong.is_empty() => Outcome::Done { output: sample.seen },
            Ok((_, sample)) => {
                Outcome::Failed { reason: sample.wrong.join("; "), output: sample.seen }
            }
            // Nothing was seen and nothing was made: it is looked at again.
            Err(failure) => Outcome::Refused { reason: failure.reason().to_owned() },
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

impl<C: Check> Gate<C> {
    async fn look(&self, ctx: &Context, input: &Value) -> Result<(String, Sample), PrepareFailure> {
        let parsed: C::Input = parse_input(input)?;
        Action::check(self, input).accepted()?;
        let title = self.0.title(&parsed);
        let waited = ctx.timeout.mul_f64(PATIENCE);
        // In this order: where time is over and the engine has ended the look for it, time is the
        // reason to tell.
        let sample = tokio::select! {
            biased;
            () = tokio::time::sleep(waited) => {
                return Err(unreachable(format!("{title}: no whole answer within {waited:?}")));
            }
            seen = self.0.look(ctx, &parsed) => seen?,
            () = ctx.cancel.cancelled() => {
                return Err(unreachable(format!("{title}: ended on request, nothing was seen")));
            }
        };
        Ok((title, sample))
    }
}

fn prepared(title: String, input: &Value, sample: Sample) -> Prepared {
    let holds = sample.wrong.is_empty();
    let effect = PreparedEffect {
        title,
        wave: 0,
        satisfied: if holds { Satisfied::Yes } else { Satisfied::No },
        before: Image::Absent,
        wanted: Image::Plain(input.clone()),
        difference: sample.wrong,
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    };
    Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::ReadOnly,
        remembered_ms: None,
        locks: Vec::new(),
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: if sample.seen.is_object() { sample.seen } else { json!({ "seen": sample.seen }) },
    }
}
