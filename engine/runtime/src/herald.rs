//! People outside: updates on their cadence, escalations, reminders, and a notice at once of what
//! cannot wait.
//!
//! A message is a run of its own with one step, so that it is an effect with a key like any other:
//! journaled, retried, settled, and never in the way of the run that it is about. Its name follows
//! from that run and from what the message is, so that after a restart nothing is told twice. What is
//! due follows from the journal and the clock alone ([`message`]).

pub mod message;

use std::collections::BTreeMap;

use backout_core::event::{Actor, Cause, Recorded};
use backout_core::evolve;
use backout_core::id::{RunId, Seq, StepId};
use backout_core::plan::{OnExhausted, Plan, PlanStep, Retry};
use backout_core::state::{Phase, RunState};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::follow::Followed;
use crate::handle::EngineError;
use message::{Message, next_due, of_event, of_time};

/// The action that sends a message.
pub const SEND_ACTION: &str = "notify.send";
/// The label of a run that is a message; its value is the run that it is about.
pub const ABOUT_LABEL: &str = "backout-message-about";

/// Milliseconds after which an event is no news any more: a run that is taken up a week later does
/// not tell what it did then.
const NEWS_MS: u64 = 3_600_000;
/// Milliseconds that one sending may take: a receiver that hangs is tried again instead.
const SEND_TIMEOUT_MS: u64 = 20_000;
/// Sendings after the first: with their waits about half an hour, as long as most outages of a chat.
const SEND_RETRIES: u32 = 30;

/// Whether a plan is a message about another run.
pub fn is_message(plan: &Plan) -> bool {
    plan.labels.contains_key(ABOUT_LABEL)
}

/// The run that is this message about that run.
pub fn message_run(about: &RunId, name: &str) -> RunId {
    let digest = Sha256::digest(format!("backout message 1\n{about}\n{name}"));
    let bits = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    RunId::from_random(bits)
}

/// Tells what is to be told of one run, until this engine lets go of it.
pub(crate) struct Herald {
    followed: Followed,
    state: Option<RunState>,
}

impl Herald {
    pub(crate) fn new(followed: Followed) -> Self {
        Self { followed, state: None }
    }

    pub(crate) async fn tell(mut self) {
        let mut durable = self.followed.engine.store().watch(&self.followed.run);
        loop {
            let over = self.followed.is_over();
            if let Err(error) = self.look().await {
                tracing::warn!(run = %self.followed.run, %error, "nobody can be told");
                return;
            }
            if over || self.state.as_ref().is_some_and(|s| matches!(s.phase, Phase::Ended(_))) {
                return;
            }
            let clock = self.followed.engine.clock();
            let due = self.state.as_ref().and_then(|state| next_due(state, clock.now()));
            let due = due.map(|due| clock.sleep_until(due));
            tokio::select! {
                changed = durable.changed() => if changed.is_err() { return },
                () = self.followed.over() => {}
                () = async { if let Some(due) = due { due.await } }, if due.is_some() => {}
            }
        }
    }

    /// Reads what is new, and sends what follows from it or has come due.
    async fn look(&mut self) -> Result<(), EngineError> {
        let from = self.state.as_ref().map_or(Seq(1), |state| state.seq.next());
        for recorded in self.followed.news(from)? {
            self.hear(&recorded).await?;
        }
        let now = self.followed.engine.clock().now();
        let due = self.state.as_ref().map(|state| of_time(state, now)).unwrap_or_default();
        for message in due {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, recorded: &Recorded) -> Result<(), EngineError> {
        evolve(&mut self.state, recorded).map_err(|error| EngineError::Unreadable {
            run: self.followed.run.clone(),
            why: error.to_string(),
        })?;
        let is_news = self.followed.engine.clock().now().since_ms(recorded.at) < NEWS_MS;
        let message = self.state.as_ref().and_then(|state| of_event(state, recorded));
        match message.filter(|_| is_news) {
            Some(message) => self.send(message).await,
            None => Ok(()),
        }
    }

    /// Begins the run that sends it; one that is there was begun before.
    async fn send(&self, message: Message) -> Result<(), EngineError> {
        let (engine, about) = (&self.followed.engine, &self.followed.run);
        let run = message_run(about, &message.name);
        if engine.store().read(&run, Seq(1), 1).is_ok_and(|events| !events.is_empty()) {
            return Ok(());
        }
        let cause = Cause { actor: Actor::engine(), ..Cause::engine() };
        let plan = plan(about, &message);
        Box::pin(engine.start(run, plan, String::new(), cause)).await
    }
}

fn plan(about: &RunId, message: &Message) -> Plan {
    let labels = BTreeMap::from([(ABOUT_LABEL.to_owned(), about.to_string())]);
    Plan {
        title: message.title.clone(),
        labels,
        max_parallel: 1,
        stale_after_ms: NEWS_MS,
        ..Plan::new("message", vec![step(about, message)])
    }
}

fn step(about: &RunId, message: &Message) -> PlanStep {
    PlanStep {
        title: format!("tell {}", message.to.as_deref().unwrap_or(&message.channel)),
        timeout_ms: SEND_TIMEOUT_MS,
        retry: Retry { max: SEND_RETRIES, ..Retry::default() },
        on_exhausted: OnExhausted::Halt,
        ..PlanStep::new(
            StepId::from("send"),
            SEND_ACTION,
            backout_core::expr::literal(&input(about, message)),
        )
    }
}

fn input(about: &RunId, message: &Message) -> Value {
    let fields = [
        ("channel", Some(message.channel.clone())),
        ("kind", Some(message.kind.word().to_owned())),
        ("title", Some(message.title.clone())),
        ("text", Some(message.text.clone())),
        ("run", Some(about.to_string())),
        ("to", message.to.clone()),
    ];
    let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?.into()));
    Value::Object(fields.into_iter().filter_map(given).collect::<Map<_, _>>())
}
