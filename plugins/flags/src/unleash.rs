//! Unleash's admin API: a flag's environment is switched, its strategies are kept.
//!
//! Seen on Unleash 7.5.1. There is no compare-and-swap anywhere in that API. Every change is an
//! event with a growing number, who made it, and the data from before and after; so a change by
//! somebody else cannot be prevented, but it is always seen, and what it wrote is kept there.
//!
//! `/on` adds a strategy for everybody where a flag has none, or only disabled ones.

use backout_plugin_api::Context;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value};

use crate::api::{Found, Seen, Sign, WriteFault};
use crate::input::Server;
use crate::server::{ServerPoint, Work};
use crate::unleash_state::{ENABLED, STRATEGIES, body, hazards, id_of, kept_strategy, matched};
use crate::wire::{Credentials, Fault, Wire, url};

/// Events looked at: more changes of one flag during one rollback are no coincidence.
const EVENTS_MAX: usize = 100;
/// Events that are looked through for the last one of our environment: it is one of the newest.
const LAST_MAX: usize = 20;
/// Strategies of one flag in one environment; Unleash's own limit is 30.
const STRATEGIES_MAX: usize = 200;

/// A server and one environment of it.
#[derive(Debug)]
pub(crate) struct Unleash {
    wire: Wire,
    credentials: Credentials,
    server: Server,
}

impl Unleash {
    pub(crate) async fn new(ctx: &Context, server: &Server) -> Result<Self, String> {
        let mut credentials = Credentials::default().plain(CONTENT_TYPE, "application/json");
        credentials.add(ctx, AUTHORIZATION, "", &server.token).await?;
        Ok(Self { wire: Wire::new(ctx)?, credentials, server: server.clone() })
    }

    async fn ask(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let path: Vec<&str> = ["api", "admin"].iter().chain(segments).copied().collect();
        let url = url(&self.server.url, &path).map_err(Fault::Unsent)?;
        self.wire.ask(method, url, &self.credentials, body).await.map_err(with_advice)
    }

    /// A path below the flag's environment.
    async fn on_flag(
        &self,
        method: Method,
        flag: &str,
        segments: &[&str],
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let Server { project, environment, .. } = &self.server;
        let head = ["projects", project, "features", flag, "environments", environment];
        let path: Vec<&str> = head.iter().chain(segments).copied().collect();
        self.ask(method, &path, body).await
    }

    pub(crate) async fn look(&self, flag: &str) -> Result<Seen, Fault> {
        // The number first: a change after it is then always seen as one.
        let version = self.last_event(flag).await?;
        let raw = self.on_flag(Method::GET, flag, &[], None).await?;
        let strategies = raw.get(STRATEGIES).and_then(Value::as_array).cloned();
        let (Some(enabled), Some(mut strategies)) =
            (raw.get(ENABLED).and_then(Value::as_bool), strategies)
        else {
            return Err(Fault::NoAnswer(format!("what it says of flag `{flag}` is no flag")));
        };
        if strategies.len() > STRATEGIES_MAX {
            let text = format!("flag `{flag}` has more than {STRATEGIES_MAX} strategies");
            return Err(Fault::NoAnswer(text));
        }
        strategies.sort_by_key(|strategy| strategy.get("sortOrder").and_then(Value::as_i64));
        let strategies = strategies.iter().map(kept_strategy).collect();
        let mut state = Map::new();
        state.insert(ENABLED.to_owned(), Value::Bool(enabled));
        state.insert(STRATEGIES.to_owned(), Value::Array(strategies));
        Ok(Seen { state, version, hazards: hazards(flag, &raw), raw })
    }

    async fn events(&self, flag: &str, limit: usize) -> Result<Vec<Value>, Fault> {
        let mut url =
            url(&self.server.url, &["api", "admin", "search", "events"]).map_err(Fault::Unsent)?;
        url.query_pairs_mut()
            .append_pair("feature", &format!("IS:{flag}"))
            .append_pair("limit", &limit.to_string());
        let said = self.wire.ask(Method::GET, url, &self.credentials, None).await;
        let said = said.map_err(with_advice)?;
        let events = said.get("events").and_then(Value::as_array).cloned();
        events.ok_or_else(|| Fault::NoAnswer("its event log cannot be read".to_owned()))
    }

    async fn last_event(&self, flag: &str) -> Result<i64, Fault> {
        let events = self.events(flag, 1).await?;
        Ok(events.first().and_then(|event| event.get("id")?.as_i64()).unwrap_or(0))
    }

    /// Who made the newest event of the flag in our environment, or of the flag itself.
    pub(crate) async fn last_change(&self, flag: &str) -> Result<Option<String>, Fault> {
        let events = self.events(flag, LAST_MAX).await?;
        let text = |event: &Value, field: &str| Some(event.get(field)?.as_str()?.to_owned());
        let is_here = |event: &&Value| match text(event, "environment") {
            Some(environment) => environment.is_empty() || environment == self.server.environment,
            None => true,
        };
        Ok(events.iter().find(is_here).and_then(|event| {
            let (by, kind) = (text(event, "createdBy")?, text(event, "type")?);
            let at = text(event, "createdAt").map(|at| format!(" at {at}")).unwrap_or_default();
            Some(format!("{by} ({kind}{at})"))
        }))
    }

    /// Our own name in the event log. The answer holds the token itself, and is dropped here.
    async fn own_name(&self) -> Result<String, Fault> {
        let said = self.ask(Method::GET, &["user"], None).await?;
        let user = said.get("user");
        let name = |field: &str| user.and_then(|user| user.get(field)).and_then(Value::as_str);
        let name = name("username").or_else(|| name("email"));
        name.map(str::to_owned).ok_or_else(|| Fault::NoAnswer("it does not say who we are".into()))
    }

    pub(crate) async fn changes(&self, work: &Work<'_>) -> Result<Found, Fault> {
        let me = self.own_name().await?;
        let text = |event: &Value, field: &str| {
            event.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let mut found = Found::default();
        let mut theirs_on_strategies = Vec::new();
        let mut ours_on_strategies = Vec::new();
        for event in self.events(&work.data.flag, EVENTS_MAX).await? {
            let id = event.get("id").and_then(Value::as_i64).unwrap_or(0);
            let environment = text(&event, "environment");
            let elsewhere = !environment.is_empty() && environment != self.server.environment;
            if id <= work.data.version || elsewhere {
                continue;
            }
            let (kind, by) = (text(&event, "type"), text(&event, "createdBy"));
            let on_strategies = kind.contains("strategy");
            if by == me {
                found.ours = true;
                ours_on_strategies.extend(on_strategies.then_some(id));
            } else {
                theirs_on_strategies.extend(on_strategies.then_some(id));
                found.others.push(format!("event {id}: {kind} by {by}"));
            }
        }
        let last_of_ours = ours_on_strategies.iter().max();
        if theirs_on_strategies.iter().any(|theirs| Some(theirs) < last_of_ours) {
            found.sign = Sign::Overwrote;
        }
        Ok(found)
    }

    /// Strategies first, then the switch on; the switch off before all.
    pub(crate) async fn write(&self, work: &Work<'_>, now: &Seen) -> Result<(), WriteFault> {
        let flag = &work.data.flag;
        let enable = work.data.wanted.get(ENABLED).and_then(Value::as_bool);
        let is_on = now.state.get(ENABLED).and_then(Value::as_bool).unwrap_or_default();
        let mut steps = Steps { api: self, work, sent: 0 };
        if enable == Some(false) && is_on {
            steps.send(Method::POST, &["off"], None).await?;
        }
        if let Some(wanted) = work.data.wanted.get(STRATEGIES) {
            steps.strategies(wanted, &now.state).await?;
        }
        if enable == Some(true) && !is_on {
            steps.send(Method::POST, &["on"], None).await?;
            if let Some(wanted) = work.data.wanted.get(STRATEGIES) {
                let after = self.look(flag).await;
                let after = after.map_err(|fault| WriteFault::Unclear(fault.text().to_owned()))?;
                steps.strategies(wanted, &after.state).await?;
            }
        }
        Ok(())
    }
}

/// The requests of one write.
struct Steps<'a> {
    api: &'a Unleash,
    work: &'a Work<'a>,
    sent: u32,
}

impl Steps<'_> {
    async fn send(
        &mut self,
        method: Method,
        segments: &[&str],
        body: Option<&Value>,
    ) -> Result<(), WriteFault> {
        let sent = self.api.on_flag(method, &self.work.data.flag, segments, body).await;
        match sent {
            Ok(_) => {}
            // The first request: nothing was written before it, nor by it.
            Err(Fault::Unsent(text)) if self.sent == 0 => return Err(WriteFault::Refused(text)),
            Err(Fault::Status(status, text)) if self.sent == 0 && status < 500 => {
                return Err(WriteFault::Refused(text));
            }
            Err(fault) => return Err(WriteFault::Unclear(fault.text().to_owned())),
        }
        self.sent += 1;
        self.work.stops.pass(ServerPoint::Written(self.sent))
    }

    /// Makes the strategies as wanted, each by one request: those that are there by their ids, then
    /// new ones, then those that are too many.
    async fn strategies(
        &mut self,
        wanted: &Value,
        now: &Map<String, Value>,
    ) -> Result<(), WriteFault> {
        let none = Vec::new();
        let wanted = wanted.as_array().unwrap_or(&none);
        let there = now.get(STRATEGIES).and_then(Value::as_array).unwrap_or(&none);
        let matched = matched(wanted, there);
        for (strategy, found) in wanted.iter().zip(&matched) {
            let Some(found) = found.and_then(|at| there.get(at)) else { continue };
            if body(strategy) != body(found) {
                let id = id_of(found);
                self.send(Method::PUT, &["strategies", id], Some(&body(strategy))).await?;
            }
        }
        for (strategy, _) in wanted.iter().zip(&matched).filter(|(_, found)| found.is_none()) {
            self.send(Method::POST, &["strategies"], Some(&body(strategy))).await?;
        }
        for (at, strategy) in there.iter().enumerate() {
            if !matched.contains(&Some(at)) {
                self.send(Method::DELETE, &["strategies", id_of(strategy)], None).await?;
            }
        }
        Ok(())
    }
}

fn with_advice(fault: Fault) -> Fault {
    match fault {
        Fault::Status(401, text) => {
            Fault::Status(401, format!("{text}; an admin or personal access token is needed"))
        }
        Fault::Status(403, text) => Fault::Status(
            403,
            format!(
                "{text}; the token may not do this: where change requests are on, it needs the \
                 permission to skip them, or the change is asked for there"
            ),
        ),
        other => other,
    }
}
