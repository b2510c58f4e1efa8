//! One verb of one action, with a deadline, to its report.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backout_core::Dispatch;
use backout_core::Wanted;
use backout_core::command::Report;
use backout_core::contract::{Outcome, PrepareFailure, Prepared, Reverted, Settled};
use backout_core::event::Sending;
use backout_core::id::{ActionName, Epoch, Fence, RunId, StepId};
use backout_core::limits::OUTPUT_BYTES_MAX;
use backout_core::state::Made;
use backout_core::watch::{Found, Watch};
use backout_plugin_api::{Action, Call, CancellationToken, Context, Emit, MadeEffect};
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use serde_json::{Value, json};

use crate::capture::{Captures, Capturing};
use crate::host::missing;
use crate::{Clock, Host};

/// Milliseconds that a verb gets to end by itself after its time is over: a command that is asked
/// to end needs some to do so.
const GRACE_MS: u64 = 15_000;

/// Told of progress and output as they come; they are not recorded.
pub type Observer = Arc<dyn Fn(&RunId, &StepId, Emit) + Send + Sync>;

/// What every call of one run shares.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) host: Arc<Host>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store_id: String,
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) scratch: PathBuf,
    pub(crate) observer: Option<Observer>,
    pub(crate) captures: Option<Captures>,
}

/// A call under way: the answer, and the means to end it early.
pub(crate) struct Started {
    pub(crate) answer: BoxFuture<'static, Report>,
    pub(crate) cancel: CancellationToken,
}

impl Calls {
    /// Begins what is wanted. Nothing happens until the answer is polled.
    pub(crate) fn start(self: &Arc<Self>, wanted: Wanted) -> Started {
        let cancel = CancellationToken::new();
        let calls = self.clone();
        let token = cancel.clone();
        let answer = async move { calls.answer(wanted, token).await };
        Started { answer: answer.boxed(), cancel }
    }

    async fn answer(&self, wanted: Wanted, cancel: CancellationToken) -> Report {
        match wanted {
            Wanted::Prepare { step, attempt, look, action, input, timeout_ms, .. } => {
                let ctx = self.context(&step, attempt, timeout_ms, &cancel);
                let result = self.prepare(&action, &ctx, &input).await;
                Report::Prepared { step, attempt, look, result }
            }
            Wanted::Watch(watch) => self.watch(*watch, &cancel).await,
            Wanted::Apply(dispatch) => {
                let outcome = bounded(self.apply(&dispatch, &cancel).await);
                Report::Applied { sending: dispatch.sending, outcome }
            }
            Wanted::Settle(dispatch) => {
                let settled = self.settle(&dispatch, &cancel).await;
                Report::Settled { sending: dispatch.sending, settled }
            }
            Wanted::Revert { step, made, action, effect, timeout_ms } => {
                let ctx = self.context(&step, 1, timeout_ms, &cancel);
                let reverted = self.revert(&action, &ctx, *effect).await;
                Report::Reverted { step, made, reverted }
            }
        }
    }

    fn context(
        &self,
        step: &StepId,
        attempt: u32,
        timeout_ms: u64,
        cancel: &CancellationToken,
    ) -> Context {
        let (run, id, observer) = (self.run.clone(), step.clone(), self.observer.clone());
        let emit = move |said: Emit| {
            if let Some(observer) = &observer {
                observer(&run, &id, said);
            }
        };
        Context {
            run: self.run.clone(),
            step: step.clone(),
            attempt,
            epoch: self.epoch.0,
            timeout: Duration::from_millis(timeout_ms),
            cancel: cancel.clone(),
            emit: Arc::new(emit),
            secrets: self.host.secrets.clone(),
            scratch: self.scratch.clone(),
            traceparent: Some(backout_core::trace::traceparent(&self.run, step, attempt)),
            now_ms: self.clock.now().0,
        }
    }

    /// The context, with what it says also captured.
    fn capturing(&self, ctx: Context, sending: &Sending) -> (Context, Option<Capturing>) {
        let Some(captures) = &self.captures else { return (ctx, None) };
        let capturing = Capturing::new(captures, &self.run, sending);
        let (kept, shown) = (capturing.clone(), ctx.emit.clone());
        let emit = move |said: Emit| {
            if let Emit::Output(bytes) = &said {
                kept.push(bytes);
            }
            shown(said);
        };
        (Context { emit: Arc::new(emit), ..ctx }, Some(capturing))
    }

    async fn prepare(
        &self,
        action: &ActionName,
        ctx: &Context,
        input: &Value,
    ) -> Result<Box<Prepared>, PrepareFailure> {
        let Some(action) = self.host.find(action) else {
            return Err(PrepareFailure::Refused { reason: missing(action) });
        };
        match self.within(ctx, action.prepare(ctx, input)).await {
            Ok(prepared) => prepared.map(Box::new),
            Err(reason) => Err(PrepareFailure::Unreachable { reason }),
        }
    }

    /// Looks again and again, until there is something to tell.
    async fn watch(&self, watch: Watch, cancel: &CancellationToken) -> Report {
        let mut unseen = None;
        loop {
            let begun = self.clock.now();
            let ctx = self.context(&watch.step, watch.attempt, watch.timeout_ms, cancel);
            let found = Found::of(&self.prepare(&watch.action, &ctx, &watch.input).await);
            let blind = matches!(found, Found::Unseen { .. });
            unseen = blind.then(|| unseen.unwrap_or(begun));
            let now = self.clock.now();
            if watch.tells(&found, now, unseen) {
                return Report::Watched { step: watch.step, look: watch.look, found };
            }
            self.clock.sleep_until(now.plus_ms(Watch::wait_ms(&found))).await;
        }
    }

    async fn apply(&self, dispatch: &Dispatch, cancel: &CancellationToken) -> Outcome {
        let ctx = self.context_of(&dispatch.sending, dispatch.timeout_ms, cancel);
        match self.reads(&dispatch.action, &dispatch.prepared) {
            Ok(action) => {
                let call = self.call(dispatch);
                let (ctx, capturing) = self.capturing(ctx, &dispatch.sending);
                let outcome = self
                    .within(&ctx, action.apply(&ctx, &call))
                    .await
                    .unwrap_or_else(|reason| Outcome::Unclear { reason });
                match capturing {
                    Some(capturing) => capturing.finish(outcome).await,
                    None => outcome,
                }
            }
            Err(reason) => Outcome::Refused { reason },
        }
    }

    async fn settle(&self, dispatch: &Dispatch, cancel: &CancellationToken) -> Settled {
        let ctx = self.context_of(&dispatch.sending, dispatch.timeout_ms, cancel);
        match self.reads(&dispatch.action, &dispatch.prepared) {
            Ok(action) => {
                let call = self.call(dispatch);
                self.within(&ctx, action.settle(&ctx, &call))
                    .await
                    .unwrap_or_else(|reason| Settled::Unreachable { reason })
            }
            Err(reason) => Settled::Unreachable { reason },
        }
    }

    async fn revert(&self, action: &ActionName, ctx: &Context, made: Made) -> Reverted {
        match self.reads(action, &made.prepared) {
            Ok(action) => {
                let made = MadeEffect {
                    input: made.input,
                    prepared: made.prepared,
                    effect: made.effect,
                    key: made.key,
                    output: made.output,
                    whole: made.whole,
                };
                self.within(ctx, action.revert(ctx, &made))
                    .await
                    .unwrap_or_else(|why| Reverted::NotPossible { why })
            }
            Err(why) => Reverted::NotPossible { why },
        }
    }

    fn context_of(
        &self,
        sending: &Sending,
        timeout_ms: u64,
        cancel: &CancellationToken,
    ) -> Context {
        self.context(&sending.step, sending.attempt, timeout_ms, cancel)
    }

    fn reads(&self, action: &ActionName, prepared: &Prepared) -> Result<&Arc<dyn Action>, String> {
        self.host.reads(action, prepared.data_version)
    }

    fn call(&self, dispatch: &Dispatch) -> Call {
        Call {
            input: dispatch.input.clone(),
            prepared: dispatch.prepared.clone(),
            effect: dispatch.sending.effect,
            key: dispatch.key.clone(),
            fence: Fence {
                store: self.store_id.clone(),
                token: dispatch.token,
                dispatch: dispatch.sending.dispatch,
            },
        }
    }

    /// The answer, or in words why there is none: its time is over, or the plugin panicked.
    async fn within<T>(
        &self,
        ctx: &Context,
        verb: impl Future<Output = T> + Send,
    ) -> Result<T, String> {
        let ms = u64::try_from(ctx.timeout.as_millis()).unwrap_or(u64::MAX);
        let deadline = ctx_deadline(ctx, ms);
        let verb = std::pin::pin!(AssertUnwindSafe(verb).catch_unwind());
        let asked = self.clock.sleep_until(deadline);
        let answer = match futures::future::select(verb, asked).await {
            Either::Left((answer, _)) => answer,
            Either::Right(((), verb)) => {
                ctx.cancel.cancel();
                let late = self.clock.sleep_until(deadline.plus_ms(GRACE_MS));
                match futures::future::select(verb, late).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(((), _)) => return Err(format!("no answer within {ms} ms")),
                }
            }
        };
        answer.map_err(|_| "the action broke off: a bug in it, please report it".to_owned())
    }
}

fn ctx_deadline(ctx: &Context, ms: u64) -> backout_core::id::Timestamp {
    backout_core::id::Timestamp(ctx.now_ms).plus_ms(ms)
}

/// An output beyond the limit is replaced by its size: it is data for later steps, not a log.
fn bounded(outcome: Outcome) -> Outcome {
    let cut = |output: Value| {
        let bytes = output.to_string().len();
        if bytes <= OUTPUT_BYTES_MAX {
            return output;
        }
        json!({ "cut": format!("{bytes} bytes are more than OUTPUT_BYTES_MAX ({OUTPUT_BYTES_MAX})") })
    };
    match outcome {
        Outcome::Done { output } => Outcome::Done { output: cut(output) },
        Outcome::Failed { reason, output } => Outcome::Failed { reason, output: cut(output) },
        outcome @ (Outcome::Refused { .. } | Outcome::Unclear { .. }) => outcome,
    }
}
