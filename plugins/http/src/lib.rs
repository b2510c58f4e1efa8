//! `http.request`: one request, and what became of it.

use std::time::Instant;

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Emit, Guarantee, Image, Look, MadeEffect,
    Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted,
    Satisfied, Settled, Take, parse_input,
};
use schemars::schema_for;
use serde_json::{Value, json};

mod by_hand;
mod check;
mod input;
mod record;
mod wire;

pub use input::{Input, Method, Probe, Revert};

use record::{Came, folder};
use wire::{Answer, Request, Sent};

const NAME: &str = "http.request";
/// Nothing of it is kept in the effect: the input says all.
const DATA_VERSION: u32 = 1;
const SEALED: &str = "this sending was settled as not done before it was sent";

/// The action `http.request`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpRequest;

#[async_trait]
impl Action for HttpRequest {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "sends an HTTP request",
            docs: include_str!("../http.request.md"),
            input: || schema_for!(Input),
            example: include_str!("../http.request.ron"),
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        check::check(input)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        parse_input(input).map_or_else(
            |failure| ByHand { does: failure.reason().to_owned(), ..ByHand::default() },
            |input: Input| by_hand::by_hand(&input),
        )
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: Input = parse_input(input)?;
        check::check(&json!(input)).accepted()?;
        let satisfied = match &input.probe {
            Some(probe) => satisfied(ctx, &input, probe).await?,
            None => Satisfied::CannotTell,
        };
        Ok(prepared(&input, satisfied))
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let input: Input = match parse_input(&call.input) {
            Ok(input) => input,
            Err(failure) => return refused(failure.reason()),
        };
        let key = (!input.read_only).then_some(&call.key);
        let request = match Request::new(ctx, &input, key).await {
            Ok(request) => request,
            Err(reason) => return refused(&reason),
        };
        if input.read_only {
            return outcome(&input, request.send(ctx).await);
        }
        match may_send(ctx, call, &input).await {
            Ok(None) => send(ctx, call, &input, request).await,
            Ok(Some(outcome)) => outcome,
            Err(error) => refused(&format!("cannot record that it is sent: {error}")),
        }
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let input: Input = match parse_input(&call.input) {
            Ok(input) => input,
            Err(failure) => return Settled::Unknown { evidence: failure.reason().to_owned() },
        };
        if input.read_only {
            return Settled::NotDone;
        }
        match settle_this(ctx, call, &input).await {
            Settled::NotDone => settle_earlier(ctx, call, &input),
            settled => settled,
        }
    }

    async fn revert(&self, _ctx: &Context, made: &MadeEffect) -> Reverted {
        let input: Input = match parse_input(&made.input) {
            Ok(input) => input,
            Err(failure) => return Reverted::NotPossible { why: failure.reason().to_owned() },
        };
        if input.read_only {
            return Reverted::Nothing;
        }
        match input.reverted() {
            Some(revert) => Reverted::By { action: ActionName::new(NAME), input: json!(revert) },
            None => Reverted::NotPossible {
                why: format!("no `revert` is given: put back by hand what {} did", input.title()),
            },
        }
    }
}

/// Sends a request whose claim is ours, and keeps what came of it.
async fn send(ctx: &Context, call: &Call, input: &Input, request: Request) -> Outcome {
    (ctx.emit)(Emit::Progress(format!("{}: sent, waits for an answer", input.title())));
    let begun = Instant::now();
    let sent = request.send(ctx).await;
    let took_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let came = Came { at_ms: ctx.now_ms.saturating_add(took_ms), sent };
    // The engine records the outcome itself: this record only serves the one after a crash.
    if let Err(error) = folder(ctx, &call.key, call.fence.dispatch).keep(&came) {
        (ctx.emit)(Emit::Progress(format!("what came of it could not be kept: {error}")));
    }
    outcome(input, came.sent)
}

/// Whether this sending may go out; else what stands in its way. Takes its claim.
async fn may_send(ctx: &Context, call: &Call, input: &Input) -> std::io::Result<Option<Outcome>> {
    for dispatch in 1..call.fence.dispatch {
        match folder(ctx, &call.key, dispatch).look()? {
            Look::Came(came) if is_done(input, &came.sent) => {
                return Ok(Some(outcome(input, came.sent)));
            }
            Look::Came(_) | Look::Unclaimed | Look::Sealed | Look::Open => {}
        }
    }
    let kept = folder(ctx, &call.key, call.fence.dispatch);
    if kept.claim(ctx).await? == Take::Ours {
        return Ok(None);
    }
    Ok(match kept.look()? {
        Look::Sealed => Some(refused(SEALED)),
        Look::Came(came) => Some(outcome(input, came.sent)),
        // The target knows the key: it is the same request again.
        Look::Unclaimed | Look::Open if input.keyed.is_some() => None,
        Look::Unclaimed | Look::Open => {
            Some(Outcome::Unclear { reason: "this sending was made before".to_owned() })
        }
    })
}

fn is_done(input: &Input, sent: &Sent) -> bool {
    matches!(sent, Sent::Answer(answer) if input.expects(answer.status))
}

/// What an exchange proves.
///
/// An answer below 500 that is not expected is the target's word that it did not do it as asked:
/// *failed*. One of 500 and above may come from a gateway in front of a target that goes on working:
/// *unclear*. Where the same key, or a probe, can tell more, so can a conflict (409: the same key is
/// at work) and a target that is busy (408, 425, 429).
fn outcome(input: &Input, sent: Sent) -> Outcome {
    match sent {
        Sent::Unsent(reason) => refused(&reason),
        Sent::NoAnswer(reason) if input.read_only => {
            Outcome::Failed { reason, output: Value::Null }
        }
        Sent::NoAnswer(reason) => Outcome::Unclear { reason },
        Sent::Answer(Answer { status, output, .. }) if input.expects(status) => {
            Outcome::Done { output }
        }
        Sent::Answer(answer) if is_final(input, answer.status) => {
            Outcome::Failed { reason: answer.says, output: answer.output }
        }
        Sent::Answer(answer) => Outcome::Unclear { reason: answer.says },
    }
}

fn is_final(input: &Input, status: u16) -> bool {
    match input.guarantee() {
        Guarantee::ReadOnly => true,
        Guarantee::Manual => status < 500,
        Guarantee::Probed
        | Guarantee::Keyed
        | Guarantee::Conditional
        | Guarantee::Transactional => status < 500 && !matches!(status, 408 | 409 | 425 | 429),
    }
}

/// What became of this sending: by its records, then by what the author promised.
async fn settle_this(ctx: &Context, call: &Call, input: &Input) -> Settled {
    let kept = folder(ctx, &call.key, call.fence.dispatch);
    let doubt = match kept.look_or_seal(ctx).await {
        Err(error) => return unreadable(&error),
        Ok(Look::Sealed) => return Settled::NotDone,
        Ok(Look::Came(came)) => match by_record(input, came) {
            Ok(settled) => return settled,
            Err(doubt) => doubt,
        },
        Ok(Look::Open | Look::Unclaimed) => match kept.first_settled_ms(ctx).await {
            Err(error) => return unreadable(&error),
            Ok(over_ms) => {
                Doubt { evidence: "it was sent, and no answer was kept".to_owned(), over_ms }
            }
        },
    };
    match &input.probe {
        Some(probe) => settle_by_probe(ctx, input, probe, doubt).await,
        None => Settled::Unknown { evidence: doubt.evidence },
    }
}

/// A sending whose records do not tell what became of it.
struct Doubt {
    evidence: String,
    /// From when on nothing of it was sent any more, milliseconds since 1970.
    over_ms: i64,
}

fn by_record(input: &Input, came: Came) -> Result<Settled, Doubt> {
    match outcome(input, came.sent) {
        Outcome::Done { output } => Ok(Settled::Done { output }),
        Outcome::Failed { reason, output } => Ok(Settled::Failed { reason, output }),
        Outcome::Refused { .. } => Ok(Settled::NotDone),
        Outcome::Unclear { reason } => Err(Doubt { evidence: reason, over_ms: came.at_ms }),
    }
}

/// This sending was not made. That says all, but where the same key was sent before without an
/// answer: those sendings the target may still take up. A step that is not keyed is sent again only
/// after the sending before was settled.
fn settle_earlier(ctx: &Context, call: &Call, input: &Input) -> Settled {
    for dispatch in 1..call.fence.dispatch {
        match folder(ctx, &call.key, dispatch).look() {
            Err(error) => return unreadable(&error),
            Ok(Look::Came(came)) => match by_record(input, came) {
                Ok(Settled::Done { output }) => return Settled::Done { output },
                Err(doubt) if input.keyed.is_some() => {
                    return Settled::Unknown { evidence: doubt.evidence };
                }
                Ok(_) | Err(_) => {}
            },
            Ok(Look::Open) if input.keyed.is_some() => {
                let evidence = format!("sending {dispatch} was sent, and no answer was kept");
                return Settled::Unknown { evidence };
            }
            Ok(Look::Open | Look::Unclaimed | Look::Sealed) => {}
        }
    }
    Settled::NotDone
}

/// The probe's *not done* is final only when the time has passed in which, by the author's word,
/// the target makes the effect or never does.
async fn settle_by_probe(ctx: &Context, input: &Input, probe: &Probe, doubt: Doubt) -> Settled {
    let final_ms = doubt.over_ms.saturating_add_unsigned(probe.settles_within_ms());
    match ask(ctx, input, probe).await {
        Asked::Done { status } => {
            Settled::Done { output: json!({ "status": null, "probe": status }) }
        }
        Asked::NotDone if ctx.now_ms >= final_ms => Settled::NotDone,
        Asked::NotDone => Settled::Running {
            evidence: format!(
                "{}; not done yet, which is final in {} s",
                doubt.evidence,
                (final_ms - ctx.now_ms) / 1_000 + 1
            ),
        },
        Asked::Unknown(said) => {
            Settled::Unknown { evidence: format!("{}; the probe {said}", doubt.evidence) }
        }
        Asked::NoAnswer(reason) => Settled::Unreachable { reason },
    }
}

/// What a probe says.
enum Asked {
    Done { status: u16 },
    NotDone,
    Unknown(String),
    NoAnswer(String),
}

async fn ask(ctx: &Context, input: &Input, probe: &Probe) -> Asked {
    let request = match Request::new(ctx, &probe.request(input), None).await {
        Ok(request) => request,
        Err(reason) => return Asked::NoAnswer(reason),
    };
    match request.send(ctx).await {
        Sent::Answer(Answer { status, .. }) if probe.done.contains(&status) => {
            Asked::Done { status }
        }
        Sent::Answer(answer) if probe.not_done.contains(&answer.status) => Asked::NotDone,
        Sent::Answer(answer) if answer.status >= 500 => {
            Asked::NoAnswer(format!("{}: {}", probe.url, answer.says))
        }
        Sent::Answer(answer) => Asked::Unknown(answer.says),
        Sent::Unsent(reason) | Sent::NoAnswer(reason) => {
            Asked::NoAnswer(format!("{}: {reason}", probe.url))
        }
    }
}

async fn satisfied(
    ctx: &Context,
    input: &Input,
    probe: &Probe,
) -> Result<Satisfied, PrepareFailure> {
    match ask(ctx, input, probe).await {
        Asked::Done { .. } => Ok(Satisfied::Yes),
        Asked::NotDone => Ok(Satisfied::No),
        Asked::Unknown(said) => {
            let reason =
                format!("the probe {}: {said}, which is neither done nor not done", probe.url);
            Err(PrepareFailure::Refused { reason })
        }
        Asked::NoAnswer(reason) => Err(PrepareFailure::Unreachable { reason }),
    }
}

fn prepared(input: &Input, satisfied: Satisfied) -> Prepared {
    let reversibility = match (input.read_only, &input.revert) {
        (false, None) => Reversibility::None,
        (true, _) | (false, Some(_)) => Reversibility::Exact,
    };
    let effect = PreparedEffect {
        title: input.title(),
        wave: 0,
        satisfied,
        before: Image::Absent,
        wanted: Image::Plain(json!(input)),
        difference: match satisfied {
            Satisfied::Yes => Vec::new(),
            Satisfied::No | Satisfied::CannotTell => vec![format!("send {}", input.title())],
        },
        reversibility,
        hazards: Vec::new(),
        data: Value::Null,
    };
    Prepared {
        data_version: DATA_VERSION,
        guarantee: input.guarantee(),
        remembered_ms: input.remembered_ms(),
        locks: Vec::new(),
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: input.probe.as_ref().map_or(0, Probe::settles_within_ms),
        seen: Value::Null,
    }
}

fn refused(reason: &str) -> Outcome {
    Outcome::Refused { reason: reason.to_owned() }
}

fn unreadable(error: &std::io::Error) -> Settled {
    Settled::Unreachable { reason: format!("cannot read the records of the request: {error}") }
}
