//! A store without room: the run stands still, and is taken up again when there is room.

use std::sync::Arc;

use backout_core::Command;
use backout_core::command::Ask;
use backout_core::event::{Cause, Recorded};
use backout_core::id::Epoch;
use backout_store::journal::{AppendResult, NewEvent};
use futures::stream::FuturesOrdered;

use super::{Driver, End, LettingGo, Message, Name, failed, load};
use crate::handle::EngineError;

/// Milliseconds between two attempts to go on after the store had no room.
const ROOM_POLL_MS: u64 = 2_000;

impl Driver {
    /// The store has no room. What is in flight is answered and recorded (room for outcomes is
    /// kept), the engine lets go with the reason, and takes the run up again when there is room.
    /// False where the engine was to stop before there was.
    pub(super) async fn wait_for_room(&mut self, why: &str) -> Result<bool, EngineError> {
        tracing::warn!(run = %self.id, why, "the store has no room; the run stands still");
        for (_, reply) in self.progress.acks.drain(..) {
            drop(reply.send(Err(EngineError::Stopped { why: why.to_owned() })));
        }
        self.reload(self.run.epoch)?;
        if self.finish_in_flight(why).await.is_ok() {
            // Where even this has no room the journal simply ends here.
            drop(self.record_detach(format!("the store has no room: {why}")).await);
        }
        self.progress.under_way.clear();
        while self.progress.letting_go.is_none() {
            let poll = self.clock.sleep_until(self.clock.now().plus_ms(ROOM_POLL_MS));
            tokio::select! {
                message = self.inbox.recv() => match message {
                    None => return Ok(false),
                    Some(Message::Stop { why, deadline }) => {
                        self.progress.letting_go = Some(LettingGo { why, deadline });
                    }
                    // A command is recorded by the asker where there is room for that much, as of
                    // a run that nobody drives; what is answered late is settled.
                    Some(Message::Ask { .. } | Message::Answer { .. }) => {}
                },
                () = poll => if self.has_room().await? {
                    let epoch = self.store.next_epoch(&self.id)?;
                    return self.reload(epoch).map(|()| true);
                },
            }
        }
        Ok(false)
    }

    pub(super) async fn finish_in_flight(&mut self, why: &str) -> Result<(), End> {
        while self.progress.under_way.keys().any(|name| matches!(name, Name::Apply(_))) {
            let deadline = self.progress.letting_go.as_ref().map(|letting_go| letting_go.deadline);
            let sleep = deadline.map(|deadline| self.clock.sleep_until(deadline));
            let message = tokio::select! {
                message = self.inbox.recv() => message,
                () = async { if let Some(sleep) = sleep { sleep.await } }, if deadline.is_some() => None,
            };
            match message {
                None => return Ok(()),
                Some(Message::Stop { why, deadline }) => {
                    self.progress.letting_go = Some(LettingGo { why, deadline });
                }
                Some(Message::Ask { reply, .. }) => {
                    drop(reply.send(Err(EngineError::Stopped { why: why.to_owned() })));
                }
                Some(Message::Answer { name, report }) => {
                    self.progress.under_way.remove(&name);
                    self.record_only(&Command::Report(report)).await?;
                }
            }
        }
        Ok(())
    }

    /// A note that intends an effect is admitted only where there is room for the effect's outcome.
    ///
    /// # Errors
    /// The store stopped, or another engine drives the run: waiting would not help.
    pub(super) async fn has_room(&mut self) -> Result<bool, EngineError> {
        self.reload(self.run.epoch)?;
        let ask = Ask::Note { step: None, text: "the store has room again".into() };
        let recorded = self.run.record(self.clock.now(), &Cause::engine(), &Command::Ask(ask));
        let Ok(recorded) = recorded else { return Ok(false) };
        let new = |r: Recorded| NewEvent { at: r.at, cause: r.cause, event: r.event };
        let events = recorded.into_iter().map(new).collect();
        let append = self.append(events, Vec::new(), Vec::new(), 1);
        match self.store.append(append).await {
            AppendResult::Committed { .. } => Ok(true),
            // A person's command was recorded meanwhile.
            AppendResult::Full { .. } | AppendResult::Conflict { .. } => Ok(false),
            other => match failed(&self.id, &other) {
                End::Stopped(error) => Err(error),
                End::Done | End::Full(_) => Ok(false),
            },
        }
    }

    pub(super) fn reload(&mut self, epoch: Epoch) -> Result<(), EngineError> {
        self.run = load(self.store.as_ref(), &self.id, epoch)?;
        Arc::make_mut(&mut self.calls).epoch = epoch;
        let progress = &mut self.progress;
        progress.batch.clear();
        progress.appends = FuturesOrdered::new();
        progress.appended.clear();
        progress.answered.clear();
        progress.intents.clear();
        progress.durable = self.run.seq();
        Ok(())
    }
}
