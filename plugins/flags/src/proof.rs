//! The proof by evaluation: every endpoint, every context, several times in a row.
//!
//! It is an effect of its own after the change. It changes nothing but what a relay holds in
//! memory, so it may be made again at any time: `settle` makes it again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backout_plugin_api::{
    Context, Image, Outcome, PreparedEffect, Reversibility, Satisfied, Settled,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::check::duration;
use crate::evaluate::{Asked, Said};
use crate::input::Prove;
use crate::kept::Kept;
use crate::wire::Wire;

/// How long the one look of `prepare` may take: the rest of its time is the target's own.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Answers that a reason names; the evidence has them all.
const TOLD_MAX: usize = 5;

/// What an effect of proof keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) expected: Vec<Expected>,
    /// The variation that all endpoints gave to all contexts before, by flag; what an undo expects.
    pub(crate) before: BTreeMap<String, String>,
}

/// What is wanted of one flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) flag: String,
    /// Absent is not judged, only recorded.
    pub(crate) variation: Option<String>,
    /// That variation's value, where it is known.
    pub(crate) value: Option<Value>,
}

impl Expected {
    /// Why an answer is not the wanted one.
    fn judge(&self, said: &Said) -> Result<(), String> {
        let Some(wanted) = &self.variation else { return Ok(()) };
        let right = match said {
            Said::Variation { variation: Some(variation), value, .. } => {
                variation == wanted && self.value.as_ref().is_none_or(|v| same_value(v, value))
            }
            Said::Variation { variation: None, value, .. } => {
                self.value.as_ref().is_some_and(|wanted| same_value(wanted, value))
            }
            Said::CodeDefault { .. }
            | Said::UnknownFlag
            | Said::Unknown { .. }
            | Said::NotAsked { .. } => false,
        };
        if right { Ok(()) } else { Err(format!("{} {}", self.flag, said.text())) }
    }
}

/// 1 and 1.0 are one number in one system's file and another's answer.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * a.abs().max(1.0),
        _ => a == b,
    }
}

/// Every answer of one round, in the order of endpoints, flags and contexts.
type Round = Vec<Vec<Vec<Said>>>;

/// One proof under way.
struct Proof<'a> {
    prove: &'a Prove,
    expected: &'a [Expected],
    asked: Vec<Asked<'a>>,
    wire: &'a Wire,
}

impl<'a> Proof<'a> {
    async fn new(
        ctx: &Context,
        wire: &'a Wire,
        prove: &'a Prove,
        expected: &'a [Expected],
    ) -> Result<Self, String> {
        let mut asked = Vec::new();
        for endpoint in &prove.endpoints {
            asked.push(Asked::new(ctx, endpoint).await?);
        }
        Ok(Self { prove, expected, asked, wire })
    }

    async fn round(&self) -> Round {
        join_all(self.asked.iter().map(|asked| async move {
            let mut flags = Vec::new();
            for expected in self.expected {
                let mut answers = Vec::new();
                for context in &self.prove.contexts {
                    answers.push(asked.ask(self.wire, &expected.flag, context).await);
                }
                flags.push(answers);
            }
            flags
        }))
        .await
    }

    /// What is wrong in a round, one line each.
    fn wrong(&self, round: &Round) -> Vec<String> {
        let mut wrong: Vec<String> = Vec::new();
        for (asked, flags) in self.asked.iter().zip(round) {
            for (expected, answers) in self.expected.iter().zip(flags) {
                for (context, said) in self.prove.contexts.iter().zip(answers) {
                    if let Err(why) = expected.judge(said) {
                        let name = &asked.endpoint.name;
                        wrong.push(format!("{name}: {why}, for {}", who(context)));
                    }
                }
            }
        }
        wrong
    }

    async fn refresh(&self) -> Vec<Value> {
        join_all(self.asked.iter().map(|asked| async move {
            if !asked.endpoint.refresh {
                return Value::Null;
            }
            match asked.refresh(self.wire).await {
                Ok(()) => json!(true),
                Err(why) => json!(why),
            }
        }))
        .await
    }

    /// Who answered, and what; never more, and no time of day, so that it can be made again.
    fn evidence(&self, round: &Round, refreshed: &[Value], polls: u32) -> Value {
        let endpoints = self.asked.iter().zip(round).zip(refreshed);
        let endpoints = endpoints.map(|((asked, flags), refreshed)| {
            let flags = self.expected.iter().zip(flags);
            let flags: Map<String, Value> = flags
                .map(|(expected, answers)| (expected.flag.clone(), distinct(answers)))
                .collect();
            let (name, url) = (&asked.endpoint.name, &asked.endpoint.url);
            let mut said = json!({ "name": name, "url": url, "answers": flags });
            if !refreshed.is_null() {
                said["refreshed"] = refreshed.clone();
            }
            said
        });
        let not_judged = self.expected.iter().filter(|e| e.variation.is_none());
        let not_judged: Vec<_> = not_judged.map(|expected| &expected.flag).collect();
        json!({
            "endpoints": endpoints.collect::<Vec<_>>(),
            "contexts": self.prove.contexts.len(),
            "polls": polls,
            "not_judged": not_judged,
        })
    }
}

fn who(context: &Map<String, Value>) -> String {
    context.get("targetingKey").map(ToString::to_string).unwrap_or_default()
}

fn distinct(answers: &[Said]) -> Value {
    let mut all: Vec<Value> = Vec::new();
    for answer in answers.iter().map(Said::evidence) {
        if !all.contains(&answer) {
            all.push(answer);
        }
    }
    Value::Array(all)
}

/// The whole proof: refreshes, then asks until every answer was right `polls` times in a row.
///
/// # Errors
/// Why it is not proven, and the last answers.
pub(crate) async fn run(
    ctx: &Context,
    prove: &Prove,
    expected: &[Expected],
) -> Result<Value, (String, Value)> {
    let failed = |why: String| (why, Value::Null);
    let wire = Wire::new(ctx).map_err(failed)?;
    let proof = Proof::new(ctx, &wire, prove, expected).await.map_err(failed)?;
    let every = duration(&prove.every).map_err(failed)?;
    let converge = duration(&prove.converge).map_err(failed)?;
    let end = wire.end().min(Instant::now() + converge);
    let refreshed = proof.refresh().await;
    let mut in_a_row = 0;
    loop {
        let round = proof.round().await;
        let wrong = proof.wrong(&round);
        in_a_row = if wrong.is_empty() { in_a_row + 1 } else { 0 };
        if in_a_row >= prove.polls {
            return Ok(proof.evidence(&round, &refreshed, in_a_row));
        }
        if Instant::now() + every >= end || wire.cancel().is_cancelled() {
            let evidence = proof.evidence(&round, &refreshed, in_a_row);
            return Err((not_proven(&wrong, &refreshed, in_a_row, prove), evidence));
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = wire.cancel().cancelled() => {}
        }
    }
}

fn not_proven(wrong: &[String], refreshed: &[Value], in_a_row: u32, prove: &Prove) -> String {
    let mut text = format!(
        "not proven within {}: {in_a_row} of {} polls in a row were right",
        prove.converge, prove.polls
    );
    let told = wrong.iter().take(TOLD_MAX);
    for line in told {
        text = format!("{text}; {line}");
    }
    if wrong.len() > TOLD_MAX {
        text = format!("{text}; and {} more", wrong.len() - TOLD_MAX);
    }
    let unread = prove.endpoints.iter().zip(refreshed);
    for (endpoint, why) in unread.filter_map(|(e, said)| Some((e, said.as_str()?))) {
        text = format!("{text}; {} was not refreshed: {why}", endpoint.name);
    }
    text
}

/// Proof as the outcome of `apply`.
pub(crate) async fn apply(ctx: &Context, prove: &Prove, expected: &[Expected]) -> Outcome {
    match run(ctx, prove, expected).await {
        Ok(output) => Outcome::Done { output },
        Err((reason, output)) => Outcome::Failed { reason, output },
    }
}

/// Proof once more: an earlier one left nothing behind.
pub(crate) async fn settle(ctx: &Context, prove: &Prove, expected: &[Expected]) -> Settled {
    backout_plugin_api::settled_by_look(apply(ctx, prove, expected).await)
}

/// The effect of proof, with one look at what is answered now.
///
/// It is never *satisfied*: one look is no proof. Where the look is right it cannot be told;
/// where it is wrong it is not so. What is wrong is a difference only once the change itself is
/// made: before, it says nothing new.
pub(crate) async fn effect(
    ctx: &Context,
    prove: &Prove,
    expected: Vec<Expected>,
    config_is_there: bool,
    wave: u32,
) -> Result<PreparedEffect, String> {
    let mut short = ctx.clone();
    short.timeout = LOOK_TIMEOUT.min(ctx.timeout / 2);
    let wire = Wire::new(&short)?;
    let proof = Proof::new(ctx, &wire, prove, &expected).await?;
    let round = proof.round().await;
    let mut wrong = proof.wrong(&round);
    let before = agreed(&expected, &round);
    let satisfied = if wrong.is_empty() { Satisfied::CannotTell } else { Satisfied::No };
    if !config_is_there {
        wrong.clear();
    }
    let title = title(prove, &expected);
    Ok(PreparedEffect {
        title,
        wave,
        satisfied,
        before: Image::Absent,
        wanted: Image::Absent,
        difference: wrong,
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Kept::Proof(Data { expected, before }).to_value()?,
    })
}

fn title(prove: &Prove, expected: &[Expected]) -> String {
    let flags = expected.iter().map(|expected| {
        let wanted = expected.variation.as_deref().map(|name| format!(" is {name}"));
        format!("{}{}", expected.flag, wanted.unwrap_or_default())
    });
    let names: Vec<_> = prove.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    format!(
        "proof: {} for {} contexts at {}",
        flags.collect::<Vec<_>>().join(", "),
        prove.contexts.len(),
        names.join(", ")
    )
}

/// The variation that every endpoint gives to every context, by flag.
fn agreed(expected: &[Expected], round: &Round) -> BTreeMap<String, String> {
    let mut agreed = BTreeMap::new();
    for (at, expected) in expected.iter().enumerate() {
        let answers = round.iter().filter_map(|flags| flags.get(at)).flatten();
        let names: Vec<_> = answers
            .map(|said| match said {
                Said::Variation { variation, .. } => variation.as_ref(),
                _ => None,
            })
            .collect();
        if let Some(Some(first)) = names.first()
            && names.iter().all(|name| *name == Some(*first))
        {
            agreed.insert(expected.flag.clone(), (*first).clone());
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variation: Option<&str>, value: Value) -> Said {
        let variation = variation.map(str::to_owned);
        Said::Variation { variation, value, reason: "STATIC".to_owned() }
    }

    #[test]
    fn only_the_wanted_variation_is_right() {
        let expected =
            |value| Expected { flag: "f".to_owned(), variation: Some("off".to_owned()), value };
        let known = expected(Some(json!(false)));
        assert!(known.judge(&said(Some("off"), json!(false))).is_ok());
        assert!(known.judge(&said(None, json!(false))).is_ok());
        assert!(known.judge(&said(Some("off"), json!(true))).is_err());
        assert!(known.judge(&said(Some("on"), json!(false))).is_err());
        let unknown = expected(None);
        assert!(unknown.judge(&said(Some("off"), json!("x"))).is_ok());
        assert!(unknown.judge(&said(None, json!(false))).is_err());
        let none = [
            Said::CodeDefault { reason: "DISABLED".to_owned() },
            Said::UnknownFlag,
            Said::Unknown { why: "?".to_owned() },
            Said::NotAsked { why: "?".to_owned() },
        ];
        for said in none {
            assert!(known.judge(&said).is_err() && unknown.judge(&said).is_err(), "{said:?}");
        }
        assert!(same_value(&json!(1), &json!(1.0)) && !same_value(&json!(1), &json!("1")));
    }
}
