//! `notify.send`: one message to people outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::words::has_expression;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, InputProblem, Look,
    MadeEffect, Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Reverted, Satisfied, Settled, Take, parse_input,
};
use schemars::schema_for;
use serde_json::{Value, json};
use tokio::time::Instant;

mod channels;
mod command;
mod input;
mod mail;
mod message;
mod record;
mod web;

pub use channels::{CHANNELS_FORMAT, CHANNELS_VARIABLE, Channel, MailTls, place};
pub use input::{Input, Kind, TEXT_BYTES_MAX, TITLE_CHARS_MAX};

use message::Message;
use record::{Sent, folder};
use web::Post;

const NAME: &str = "notify.send";
/// Nothing is kept in the effect: the input and the channels file say all.
const DATA_VERSION: u32 = 1;
/// What is left of a verb's time to say what became of it.
const LAST_WORD: Duration = Duration::from_millis(500);
const SEALED: &str = "this sending was settled as not done before it was sent";

/// The action `notify.send`.
#[derive(Clone, Debug, Default)]
pub struct NotifySend {
    file: Option<PathBuf>,
}

/// The actions of this plugin, with the channels that the environment names.
pub fn actions() -> Vec<Arc<dyn Action>> {
    vec![Arc::new(NotifySend::default())]
}

impl NotifySend {
    /// With the channels of a file.
    pub fn with_channels(file: PathBuf) -> Self {
        Self { file: Some(file) }
    }

    fn channel(&self, input: &Input) -> Result<Channel, String> {
        let file = self.file.clone().or_else(channels::place).ok_or_else(|| {
            format!("no channels: neither {CHANNELS_VARIABLE} nor a home folder is set")
        })?;
        channels::find(&file, &input.channel)
    }

    fn read(&self, input: &Value) -> Result<(Input, Channel), String> {
        let input: Input = parse_input(input).map_err(|failure| failure.reason().to_owned())?;
        let channel = self.channel(&input)?;
        Ok((input, channel))
    }
}

#[async_trait]
impl Action for NotifySend {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "tells people outside",
            docs: include_str!("../notify.send.md"),
            input: || schema_for!(Input),
            example: include_str!("../notify.send.ron"),
            guarantee: Guarantee::Keyed,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        let mut checked = Checked::default();
        let title = input.get("title").and_then(Value::as_str).unwrap_or_default();
        let long = title.chars().count() > TITLE_CHARS_MAX;
        if title.trim().is_empty() || (long && !has_expression(title)) {
            checked.problems.push(InputProblem {
                at: "/title".to_owned(),
                message: format!("a title is one line of up to {TITLE_CHARS_MAX} characters"),
                help: Some("write the rest into `text`".to_owned()),
            });
        }
        checked
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let text = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default();
        ByHand {
            does: format!("tells {}: {}", text("channel"), text("title")),
            commands: vec![format!("# write to {}: {}", text("channel"), text("title"))],
            verify: vec![format!("# it stands in {}", text("channel"))],
        }
    }

    async fn prepare(&self, _: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let refused = |reason: String| PrepareFailure::Refused { reason };
        let (input, channel) = self.read(input).map_err(refused)?;
        self.check(&json!(input)).accepted()?;
        Ok(prepared(&input, &channel))
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let (input, channel) = match self.read(&call.input) {
            Ok(read) => read,
            Err(reason) => return Outcome::Refused { reason },
        };
        match may_send(ctx, call).await {
            Ok(None) => {}
            Ok(Some(outcome)) => return outcome,
            Err(error) => {
                let reason = format!("cannot record that it is sent: {error}");
                return Outcome::Refused { reason };
            }
        }
        let message = Message::new(&input, &call.key);
        let until = Instant::now() + ctx.timeout.saturating_sub(LAST_WORD);
        let sent = send(ctx, &channel, &message, until).await;
        let kept = folder(ctx, &call.key, call.fence.dispatch).keep(&sent);
        // The engine records the outcome itself: this record only serves the one after a crash.
        drop(kept);
        outcome(sent)
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let after = Unanswered::of(call);
        match folder(ctx, &call.key, call.fence.dispatch).look_or_seal(ctx).await {
            Err(error) => Settled::Unreachable { reason: unreadable(&error) },
            Ok(Look::Sealed) => settle_earlier(ctx, call, after),
            Ok(Look::Came(sent)) => settled(sent, after),
            Ok(Look::Open | Look::Unclaimed) => settled(cut_off(), after),
        }
    }

    /// A message cannot be unsaid, and nothing of what a rollback changes is changed by it.
    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn prepared(input: &Input, channel: &Channel) -> Prepared {
    let title = format!("tell {} ({}): {}", input.channel, channel.word(), input.title);
    let effect = PreparedEffect {
        title: title.clone(),
        wave: 0,
        satisfied: Satisfied::CannotTell,
        before: Image::Absent,
        wanted: Image::Plain(json!(input)),
        difference: vec![title],
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    };
    Prepared {
        data_version: DATA_VERSION,
        guarantee: channel.guarantee(),
        remembered_ms: channel.remembered_ms(),
        locks: Vec::new(),
        effects: vec![effect],
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen: Value::Null,
    }
}

/// Nothing where this sending may go out; else what stands in its way. Takes its claim.
async fn may_send(ctx: &Context, call: &Call) -> std::io::Result<Option<Outcome>> {
    for dispatch in 1..call.fence.dispatch {
        let look = folder(ctx, &call.key, dispatch).look()?;
        if let Look::Came(sent @ Sent::Taken(_)) = look {
            return Ok(Some(outcome(sent)));
        }
    }
    let kept = folder(ctx, &call.key, call.fence.dispatch);
    if kept.claim(ctx).await? == Take::Ours {
        return Ok(None);
    }
    Ok(match kept.look()? {
        Look::Sealed => Some(Outcome::Refused { reason: SEALED.to_owned() }),
        Look::Came(sent) => Some(outcome(sent)),
        // The receiver knows the key: it is the same message again.
        Look::Unclaimed | Look::Open if call.prepared.guarantee == Guarantee::Keyed => None,
        Look::Unclaimed | Look::Open => Some(outcome(cut_off())),
    })
}

async fn send(ctx: &Context, channel: &Channel, message: &Message, until: Instant) -> Sent {
    let post = match channel {
        Channel::Slack { url, template } => match message.slack(template.as_deref()) {
            Ok(body) => Post::slack(ctx, url, &body).await,
            Err(why) => Err(why),
        },
        Channel::PagerDuty { routing_key, url } => {
            Post::pager(ctx, url, routing_key, message).await
        }
        Channel::Webhook { url, key, .. } => Post::webhook(ctx, url, key, message).await,
        Channel::Mail { .. } => return mail(ctx, channel, message, until).await,
        Channel::Command { command } => return command::run(ctx, command, message, until).await,
    };
    match post {
        Ok(post) => tokio::select! {
            sent = post.send(ctx, until) => sent,
            () = ctx.cancel.cancelled() => {
                Sent::NoAnswer("it was ended on request, before an answer came".to_owned())
            }
        },
        Err(why) => Sent::Not(why),
    }
}

async fn mail(ctx: &Context, channel: &Channel, message: &Message, until: Instant) -> Sent {
    let Channel::Mail { server, tls, user, password, from, to, ca, template } = channel else {
        return Sent::Not("this channel is no mail".to_owned());
    };
    let mail = mail::Mail {
        server,
        tls: *tls,
        user: user.as_deref(),
        password: password.as_ref(),
        from,
        to,
        ca: ca.as_ref(),
        template: template.as_deref(),
    };
    mail.send(ctx, message, until).await
}

fn outcome(sent: Sent) -> Outcome {
    match sent {
        Sent::Taken(says) => Outcome::Done { output: json!({ "said": says }) },
        Sent::Not(reason) => Outcome::Refused { reason },
        Sent::Wrong(reason) => Outcome::Failed { reason, output: Value::Null },
        Sent::NoAnswer(reason) => Outcome::Unclear { reason },
    }
}

/// What becomes of a sending that nobody answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    /// The receiver knows the key: it is sent again under it.
    SentAgain,
    /// It has *failed*: it is sent again where the step's `retry` allows that, and may arrive twice.
    Failed,
    /// It counts as told, and is never sent again: the next one comes anyway.
    Told,
}

impl Unanswered {
    fn of(call: &Call) -> Self {
        if call.prepared.guarantee == Guarantee::Keyed {
            return Self::SentAgain;
        }
        let input: Result<Input, _> = parse_input(&call.input);
        if input.is_ok_and(|input| input.kind.is_urgent()) { Self::Failed } else { Self::Told }
    }
}

/// What is known of a sending. It is never *in doubt*: no message makes a person settle it.
fn settled(sent: Sent, after: Unanswered) -> Settled {
    match (sent, after) {
        (Sent::Taken(says), _) => Settled::Done { output: json!({ "said": says }) },
        (Sent::Not(_), _) => Settled::NotDone,
        (Sent::Wrong(reason), _) => Settled::Failed { reason, output: Value::Null },
        (Sent::NoAnswer(evidence), Unanswered::SentAgain) => Settled::Unknown { evidence },
        (Sent::NoAnswer(reason), Unanswered::Failed) => Settled::Failed {
            reason: format!("{reason}: it may have arrived"),
            output: Value::Null,
        },
        (Sent::NoAnswer(reason), Unanswered::Told) => {
            let unanswered = format!("{reason}: it may not have arrived, and is not sent again");
            Settled::Done { output: json!({ "unanswered": unanswered }) }
        }
    }
}

/// This sending was not made. An earlier one of the same key may have been.
fn settle_earlier(ctx: &Context, call: &Call, after: Unanswered) -> Settled {
    for dispatch in 1..call.fence.dispatch {
        match folder(ctx, &call.key, dispatch).look() {
            Err(error) => return Settled::Unreachable { reason: unreadable(&error) },
            Ok(Look::Came(Sent::Not(_)) | Look::Unclaimed | Look::Sealed) => {}
            Ok(Look::Came(sent)) => return settled(sent, after),
            Ok(Look::Open) => return settled(cut_off(), after),
        }
    }
    Settled::NotDone
}

fn cut_off() -> Sent {
    Sent::NoAnswer("it was sent, and no answer was kept".to_owned())
}

fn unreadable(error: &std::io::Error) -> String {
    format!("cannot read the records of the message: {error}")
}
