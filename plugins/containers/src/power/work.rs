//! The work on one container: what it is, by when it started and ended, says what is left to do.

use std::time::Instant;

use backout_plugin_api::{Context, Emit, Outcome, Settled};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Data, HEALTHY_DEFAULT, HEALTHY_PERCENT, STABLE_DEFAULT, Verb};
use crate::faults::{Faults, Point};
use crate::host::{Container, Health, Host, HostError, Restart};
use crate::input::{PowerInput, duration, or};
use crate::wait::{Well, until_well};

/// One container under way.
pub(super) struct Work<'a> {
    pub(super) ctx: &'a Context,
    pub(super) host: &'a Host,
    pub(super) data: &'a Data,
    pub(super) input: &'a PowerInput,
    pub(super) faults: &'a Faults,
    pub(super) verb: Verb,
    pub(super) begun: Instant,
}

/// What a container's times tell of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing happened to it since it was prepared.
    Before,
    /// It ended since.
    Ended,
    /// It started since, and runs.
    Started,
    /// It started since, and ended again.
    EndedAgain,
}

fn look(verb: Verb, data: &Data, now: &Container) -> Look {
    if verb == Verb::Stop && now.is_up && is_by_its_policy(data, now) {
        return Look::Before;
    }
    let text = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
    let is_same_start = text(now.started_at) == data.started_at;
    match (is_same_start, now.is_up) {
        (true, false) if data.was_running => Look::Ended,
        (true, _) => Look::Before,
        (false, true) => Look::Started,
        (false, false) => Look::EndedAgain,
    }
}

/// Whether its policy started it again since, and nobody else: what is to end goes on. The engine
/// counts such a start when the container ends, before the pause, and begins anew at zero when
/// somebody starts it.
fn is_by_its_policy(data: &Data, now: &Container) -> bool {
    let is_the_start_it_waited_for = data.was_restarting && now.restarts == data.restarts;
    now.restarts > data.restarts || (is_the_start_it_waited_for && now.restarts > 0)
}

/// Read from the engine alone, so that it is the same after a crash.
fn output(verb: Verb, now: &Container) -> Value {
    let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
    match verb {
        Verb::Stop => json!({
            "container": now.name,
            "id": now.id,
            "ended_at": time(now.finished_at),
            "exit_code": now.exit_code,
        }),
        Verb::Start | Verb::Restart => json!({
            "container": now.name,
            "id": now.id,
            "started_at": time(now.started_at),
        }),
    }
}

/// A container that is removed when it ends leaves nothing to read.
fn gone(verb: Verb, data: &Data) -> Option<Value> {
    let is_end = verb == Verb::Stop && data.auto_remove;
    is_end.then(|| json!({ "container": data.name, "id": data.id }))
}

/// The policy that a stopped one needs so that it stays as it is left; nothing where it has that.
fn policy_when_stopped(input: &PowerInput, now: &Container) -> Option<Restart> {
    let given = input.restart_policy.clone().map(Restart::from);
    let quiet = now.restart.revives().then(Restart::never);
    given.or(quiet).filter(|policy| *policy != now.restart && !now.auto_remove)
}

/// What became of a sending: by its times, and, where the engine can change it, its policy.
pub(super) fn settled(
    verb: Verb,
    data: &Data,
    policy: Option<&PowerInput>,
    now: Option<&Container>,
) -> Settled {
    let name = &data.name;
    let Some(now) = now else {
        let evidence = format!("container {name} is gone");
        return gone(verb, data)
            .map_or(Settled::Unknown { evidence }, |output| Settled::Done { output });
    };
    let unknown = |what: &str| Settled::Unknown {
        evidence: format!("{name} {what} (status {}); sent again, it goes on", now.status),
    };
    match (verb, look(verb, data, now)) {
        (Verb::Stop, Look::Ended | Look::EndedAgain)
            if policy.is_some_and(|input| policy_when_stopped(input, now).is_some()) =>
        {
            unknown("ended, and its restart policy would start it again")
        }
        (Verb::Stop, Look::Ended | Look::EndedAgain) => Settled::Done { output: output(verb, now) },
        (Verb::Stop, Look::Before) => unknown("still runs"),
        (Verb::Stop, Look::Started) => unknown("was started again"),
        (Verb::Start | Verb::Restart, Look::Started) => match now.health {
            Health::Healthy | Health::NoCheck => Settled::Done { output: output(verb, now) },
            Health::Starting => unknown("was started and is not healthy yet"),
            Health::Unhealthy => unknown("was started and is not healthy"),
        },
        (Verb::Start | Verb::Restart, Look::EndedAgain) => Settled::Failed {
            reason: format!("{name} was started and ended with exit code {}", now.exit_code),
            output: output(verb, now),
        },
        (Verb::Start | Verb::Restart, Look::Before | Look::Ended) => unknown("was not started yet"),
    }
}

impl Work<'_> {
    pub(super) async fn run(&self) -> Result<Outcome, HostError> {
        let name = &self.data.name;
        if self.host.identity != self.data.engine {
            let reason = format!("{} leads to another engine now: plan again", self.host.address);
            return Ok(Outcome::Refused { reason });
        }
        let Some(now) = self.host.container(&self.data.id).await? else {
            let reason = format!("container {name} is gone");
            return Ok(gone(self.verb, self.data)
                .map_or(Outcome::Refused { reason }, |output| Outcome::Done { output }));
        };
        if self.faults.stops(Point::Looked) {
            return Ok(stopped(Point::Looked));
        }
        match (self.verb, look(self.verb, self.data, &now)) {
            (Verb::Stop, Look::Ended | Look::EndedAgain) => self.quiet(&now).await,
            (Verb::Stop, Look::Started) => Ok(Outcome::Refused {
                reason: format!("{name} was started again since it was looked at: plan again"),
            }),
            (Verb::Stop, Look::Before) => self.stop(&now).await,
            (Verb::Start | Verb::Restart, Look::Started) => self.wait(&now).await,
            (Verb::Start | Verb::Restart, Look::EndedAgain) => Ok(Outcome::Failed {
                reason: format!("{name} was started and ended with exit code {}", now.exit_code),
                output: output(self.verb, &now),
            }),
            (Verb::Restart, Look::Before) if now.is_up => self.restart(&now).await,
            (Verb::Start | Verb::Restart, Look::Before | Look::Ended) => self.start(&now).await,
        }
    }

    fn done(&self, now: &Container) -> Outcome {
        Outcome::Done { output: output(self.verb, now) }
    }

    fn say(&self, what: &str) {
        (self.ctx.emit)(Emit::Progress(format!("{}: {what}", self.data.name)));
    }

    async fn end(&self, now: &Container) -> Result<(), HostError> {
        let grace = self.input.grace.as_deref().and_then(|text| duration(text).ok());
        self.say("ending");
        match self.host.stop(&now.id, grace).await {
            Err(error) if error.is_not_found() => Ok(()),
            stopped => stopped,
        }
    }

    async fn stop(&self, now: &Container) -> Result<Outcome, HostError> {
        self.end(now).await?;
        if self.faults.stops(Point::Stopped) {
            return Ok(stopped(Point::Stopped));
        }
        match self.host.container(&now.id).await? {
            Some(now) => self.quiet(&now).await,
            None => Ok(Outcome::Done { output: json!({ "container": now.name, "id": now.id }) }),
        }
    }

    /// It ended: it is to stay so. The engine takes no change of one that it is about to start
    /// again, so this comes after its end.
    async fn quiet(&self, now: &Container) -> Result<Outcome, HostError> {
        if let Some(policy) = policy_when_stopped(self.input, now) {
            self.host.set_restart(&now.id, &policy).await?;
            if self.faults.stops(Point::Quieted) {
                return Ok(stopped(Point::Quieted));
            }
        }
        Ok(self.done(now))
    }

    async fn restart(&self, now: &Container) -> Result<Outcome, HostError> {
        if now.auto_remove {
            let reason = format!("{} is removed when it ends, so it cannot start again", now.name);
            return Ok(Outcome::Refused { reason });
        }
        self.end(now).await?;
        if self.faults.stops(Point::Stopped) {
            return Ok(stopped(Point::Stopped));
        }
        self.start(now).await
    }

    async fn start(&self, now: &Container) -> Result<Outcome, HostError> {
        if let Some(restart) = &self.input.restart_policy {
            self.host.set_restart(&now.id, &restart.clone().into()).await?;
            if self.faults.stops(Point::Revived) {
                return Ok(stopped(Point::Revived));
            }
        }
        self.say("starting");
        self.host.start(&now.id).await?;
        if self.faults.stops(Point::Started) {
            return Ok(stopped(Point::Started));
        }
        self.wait(now).await
    }

    async fn wait(&self, now: &Container) -> Result<Outcome, HostError> {
        let left = self.ctx.timeout * HEALTHY_PERCENT / 100;
        let wanted = or(&self.input.healthy_within, HEALTHY_DEFAULT);
        let well = Well {
            within: wanted.min(left.saturating_sub(self.begun.elapsed())),
            stable: or(&self.input.stable_for, STABLE_DEFAULT),
        };
        let end = until_well(self.host, &now.id, well).await?;
        if self.faults.stops(Point::Awaited) {
            return Ok(stopped(Point::Awaited));
        }
        Ok(match end {
            Ok(now) => self.done(&now),
            Err(why) => Outcome::Failed {
                reason: format!("{}: {why}; its log: docker logs {0}", now.name),
                output: json!({ "container": now.name, "id": now.id }),
            },
        })
    }
}

fn stopped(point: Point) -> Outcome {
    Outcome::Unclear { reason: format!("stopped by a test after `{point:?}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u32) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&format!("2026-11-22T10:00:{second:02}Z")).ok().map(Into::into)
    }

    fn data(was_running: bool) -> Data {
        Data {
            engine: "docker:X".into(),
            name: "web".into(),
            id: "a".into(),
            was_running,
            restarts: 0,
            was_restarting: false,
            started_at: at(1).map(|at| at.to_rfc3339()),
            finished_at: None,
            restart: Restart::never(),
            auto_remove: false,
        }
    }

    fn now(second: u32, is_running: bool) -> Container {
        Container { started_at: at(second), is_running, is_up: is_running, ..Container::default() }
    }

    #[test]
    fn the_time_of_its_start_tells_what_happened() {
        let look = |was_running, now: Container| look(Verb::Stop, &data(was_running), &now);
        assert_eq!(look(true, now(1, true)), Look::Before);
        assert_eq!(look(true, now(1, false)), Look::Ended);
        assert_eq!(look(false, now(1, false)), Look::Before);
        assert_eq!(look(true, now(2, true)), Look::Started);
        assert_eq!(look(false, now(2, true)), Look::Started);
        assert_eq!(look(true, now(2, false)), Look::EndedAgain);
        let by_its_policy = Container { restarts: 3, ..now(2, true) };
        assert_eq!(look(true, by_its_policy), Look::Before);
    }

    #[test]
    fn the_start_that_its_policy_was_about_to_make_is_told_from_a_persons() {
        let waiting = Data { restarts: 3, was_restarting: true, ..data(true) };
        let started = |restarts| Container { restarts, ..now(2, true) };
        assert_eq!(look(Verb::Stop, &waiting, &started(3)), Look::Before);
        assert_eq!(look(Verb::Stop, &waiting, &started(4)), Look::Before);
        assert_eq!(look(Verb::Stop, &waiting, &started(0)), Look::Started);
        let running = Data { restarts: 3, ..data(true) };
        assert_eq!(look(Verb::Stop, &running, &started(3)), Look::Started);
        let before_it_was_counted = Data { was_restarting: true, ..data(true) };
        assert_eq!(look(Verb::Stop, &before_it_was_counted, &started(0)), Look::Started);
    }

    #[test]
    fn what_is_not_seen_is_unknown_and_never_not_done() {
        for verb in [Verb::Stop, Verb::Start, Verb::Restart] {
            let running = verb != Verb::Start;
            let settled = settled(verb, &data(running), None, Some(&now(1, running)));
            assert!(matches!(settled, Settled::Unknown { .. }), "{verb:?}: {settled:?}");
        }
        let ended = settled(Verb::Stop, &data(true), None, Some(&now(1, false)));
        assert!(matches!(ended, Settled::Done { .. }), "{ended:?}");
        let removed = Data { auto_remove: true, ..data(true) };
        assert!(matches!(settled(Verb::Stop, &removed, None, None), Settled::Done { .. }));
        assert!(matches!(settled(Verb::Start, &removed, None, None), Settled::Unknown { .. }));
    }
}
