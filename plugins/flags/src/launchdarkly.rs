//! LaunchDarkly's REST API: one JSON patch, refused by the service unless the environment's version
//! is still the one that was prepared.
//!
//! Written from the service's documentation and tested against exchanges of that format; it was
//! never run against the service. What is taken from there: `PATCH /api/v2/flags/PROJECT/FLAG` takes
//! `{"comment": …, "patch": […]}` with media type `application/json` as a JSON patch, which is all or
//! nothing and may hold `test`; a flag has `environments.KEY.version`, which every change of the
//! flag in that environment raises; the audit log has the comment.

use backout_plugin_api::{Context, Hazard};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use crate::api::{Found, Seen, Sign, Wanted, WriteFault};
use crate::input::Server;
use crate::server::{ServerPoint, Work};
use crate::variation;
use crate::wire::{Credentials, Fault, Wire, url};

/// The parts of a flag's state in an environment that are kept and written.
const PARTS: [&str; 7] =
    ["on", "offVariation", "fallthrough", "rules", "targets", "contextTargets", "prerequisites"];
/// Entries of the audit log that are looked through for our own.
const AUDIT_MAX: &str = "20";

/// The service and one environment of it.
#[derive(Debug)]
pub(crate) struct LaunchDarkly {
    wire: Wire,
    credentials: Credentials,
    server: Server,
}

impl LaunchDarkly {
    pub(crate) async fn new(ctx: &Context, server: &Server) -> Result<Self, String> {
        let mut credentials = Credentials::default().plain(CONTENT_TYPE, "application/json");
        credentials.add(ctx, AUTHORIZATION, "", &server.token).await?;
        Ok(Self { wire: Wire::new(ctx)?, credentials, server: server.clone() })
    }

    async fn ask(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Fault> {
        let path: Vec<&str> = ["api", "v2"].iter().chain(segments).copied().collect();
        let mut url = url(&self.server.url, &path).map_err(Fault::Unsent)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.wire.ask(method, url, &self.credentials, body).await.map_err(with_advice)
    }

    pub(crate) async fn look(&self, flag: &str) -> Result<Seen, Fault> {
        let Server { project, environment, .. } = &self.server;
        let query = [("env", environment.as_str())];
        let raw = self.ask(Method::GET, &["flags", project, flag], &query, None).await?;
        let here = raw.get("environments").and_then(|all| all.get(environment));
        let version = here.and_then(|here| here.get("version")?.as_i64());
        let (Some(here), Some(version)) = (here, version) else {
            let text = format!("flag `{flag}` has no environment `{environment}` with a version");
            return Err(Fault::NoAnswer(text));
        };
        let parts = PARTS.iter().map(|name| {
            let absent = match *name {
                "rules" | "targets" | "contextTargets" | "prerequisites" => json!([]),
                _ => Value::Null,
            };
            ((*name).to_owned(), here.get(*name).cloned().unwrap_or(absent))
        });
        let state = parts.collect();
        let hazards = self.hazards(flag, here).await?;
        Ok(Seen { state, version, hazards, raw })
    }

    /// What changes the flag later by itself.
    async fn hazards(&self, flag: &str, here: &Value) -> Result<Vec<Hazard>, Fault> {
        let Server { project, environment, .. } = &self.server;
        let path =
            ["projects", project, "flags", flag, "environments", environment, "scheduled-changes"];
        let scheduled = match self.ask(Method::GET, &path, &[], None).await {
            Ok(said) => said.get("items").and_then(Value::as_array).map_or(0, Vec::len),
            // A plan without scheduled changes does not have this path.
            Err(Fault::Status(403 | 404, _)) => 0,
            Err(fault) => return Err(fault),
        };
        let mut hazards = Vec::new();
        let mut say = |code: &str, text: String| {
            hazards.push(Hazard { code: code.to_owned(), text: format!("flag `{flag}` {text}") });
        };
        if scheduled > 0 {
            let text = format!(
                "has {scheduled} scheduled changes, which stay and may change it again; delete \
                 them there first"
            );
            say("future-schedule", text);
        }
        let rollout = here.pointer("/fallthrough/rollout");
        if rollout.is_some_and(|rollout| rollout.get("experimentAllocation").is_some()) {
            say("experimentation", "has an experiment, whose figures end here".to_owned());
        }
        Ok(hazards)
    }

    pub(crate) async fn write(&self, work: &Work<'_>) -> Result<(), WriteFault> {
        let Server { project, environment, .. } = &self.server;
        let body = json!({ "comment": comment(work), "patch": patch(work, environment) });
        let path = ["flags", project, work.data.flag.as_str()];
        match self.ask(Method::PATCH, &path, &[], Some(&body)).await {
            Ok(_) => work.stops.pass(ServerPoint::Written(1)),
            Err(Fault::Status(409, text)) => Err(WriteFault::Refused(format!(
                "flag {} was changed by somebody since it was prepared; nothing was changed: {text}",
                work.data.flag
            ))),
            // All or nothing, and the service says no.
            Err(Fault::Status(status, text)) if status < 500 => Err(WriteFault::Refused(text)),
            Err(Fault::Unsent(text)) => Err(WriteFault::Refused(text)),
            Err(fault) => Err(WriteFault::Unclear(fault.text().to_owned())),
        }
    }

    /// The newest entries of the flag's audit log in this environment.
    async fn audit_log(&self, flag: &str) -> Result<Vec<Value>, Fault> {
        let Server { project, environment, .. } = &self.server;
        let spec = format!("proj/{project}:env/{environment}:flag/{flag}");
        let query = [("spec", spec.as_str()), ("limit", AUDIT_MAX)];
        let log = self.ask(Method::GET, &["auditlog"], &query, None).await?;
        Ok(log.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// The member of the newest entry, or the token that an application used.
    pub(crate) async fn last_change(&self, flag: &str) -> Result<Option<String>, Fault> {
        let log = self.audit_log(flag).await?;
        Ok(log.first().and_then(|entry| {
            let member = entry.pointer("/member/email").or_else(|| entry.pointer("/token/name"));
            let what = entry.get("titleVerb").and_then(Value::as_str).unwrap_or("changed it");
            Some(format!("{} ({what})", member?.as_str()?))
        }))
    }

    /// Looks for our comment in the audit log where the version moved.
    pub(crate) async fn changes(&self, work: &Work<'_>) -> Result<Found, Fault> {
        let now = self.look(&work.data.flag).await?;
        if now.version == work.data.version {
            return Ok(Found::default());
        }
        let (log, mark) = (self.audit_log(&work.data.flag).await?, comment(work));
        let comment = |entry: &Value| entry.get("comment")?.as_str().map(str::to_owned);
        let ours = log.iter().any(|entry| comment(entry).as_ref() == Some(&mark));
        let moved = now.version.saturating_sub(work.data.version).saturating_sub(i64::from(ours));
        let others = match moved {
            ..=0 => Vec::new(),
            count => vec![format!("{count} changes by others up to version {}", now.version)],
        };
        Ok(Found {
            ours,
            others,
            sign: match (ours, work.is_made(&now)) {
                (true, true) => Sign::Nothing,
                (true, false) => Sign::MadeThenChanged,
                (false, _) => Sign::NeverLands,
            },
        })
    }
}

/// # Errors
/// The flag has no such variation, or none to be off with.
pub(crate) fn forced(flag: &str, seen: &Seen, wanted: Option<&str>) -> Result<Wanted, String> {
    let refuse = |why: String| format!("flag `{flag}`: {why}");
    let variations = seen.raw.get("variations").and_then(Value::as_array);
    let variations = variations.map_or(&[][..], Vec::as_slice);
    let off = seen.state.get("offVariation").and_then(Value::as_u64);
    let place = match wanted {
        Some(name) => position(variations, name).map_err(refuse)?,
        None => off.ok_or_else(|| {
            refuse(
                "it has no off variation here: off would give users the code's own default; \
                 say `off_variation`"
                    .to_owned(),
            )
        })?,
    };
    let mut state = Map::new();
    if wanted.is_none() || off == Some(place) {
        state.insert("on".to_owned(), json!(false));
    } else {
        state.insert("on".to_owned(), json!(true));
        state.insert("fallthrough".to_owned(), json!({ "variation": place }));
        for part in ["rules", "targets", "contextTargets", "prerequisites"] {
            state.insert(part.to_owned(), json!([]));
        }
    }
    let at = usize::try_from(place).ok().and_then(|place| variations.get(place));
    let name = at.map(|variation| variation_name(variation, place));
    let value = at.and_then(|variation| variation.get("value").cloned());
    Ok(Wanted {
        difference: difference(flag, &seen.state, &state),
        what: format!("{} for everybody", name.as_deref().unwrap_or("the off variation")),
        variation: name,
        value,
        hazards: Vec::new(),
        state,
    })
}

/// # Errors
/// The state given is none.
pub(crate) fn restored(
    flag: &str,
    seen: &Seen,
    state: &Map<String, Value>,
) -> Result<Wanted, String> {
    if let Some(odd) = state.keys().find(|part| !PARTS.contains(&part.as_str())) {
        return Err(format!("the state given for `{flag}` has `{odd}`, which is not written"));
    }
    if !state.get("on").is_some_and(Value::is_boolean) {
        return Err(format!("the state given for `{flag}` does not say whether it is `on`"));
    }
    Ok(Wanted {
        state: state.clone(),
        what: "as before".to_owned(),
        variation: None,
        value: None,
        difference: difference(flag, &seen.state, state),
        hazards: Vec::new(),
    })
}

/// What marks our change in the audit log.
fn comment(work: &Work<'_>) -> String {
    format!("backout {}", work.call.key)
}

/// The test of the version, then each part that differs.
fn patch(work: &Work<'_>, environment: &str) -> Value {
    let at = |part: &str| {
        let environment = environment.replace('~', "~0").replace('/', "~1");
        format!("/environments/{environment}/{part}")
    };
    let mut patch =
        vec![json!({ "op": "test", "path": at("version"), "value": work.data.version })];
    for (part, wanted) in &work.data.wanted {
        if work.data.before.get(part) != Some(wanted) {
            patch.push(json!({ "op": "replace", "path": at(part), "value": wanted }));
        }
    }
    Value::Array(patch)
}

fn variation_name(variation: &Value, place: u64) -> String {
    match (variation.get("name").and_then(Value::as_str), variation.get("value")) {
        (Some(name), _) if !name.is_empty() => name.to_owned(),
        (_, Some(value)) => value.to_string(),
        _ => place.to_string(),
    }
}

/// The place of a variation, by its name or by its value.
fn position(variations: &[Value], name: &str) -> Result<u64, String> {
    let names: Vec<String> =
        variations.iter().zip(0..).map(|(found, place)| variation_name(found, place)).collect();
    let by_value = |found: &Value| match found.get("value") {
        Some(Value::String(text)) => text == name,
        Some(value) => name.parse::<Value>().is_ok_and(|name| name == *value),
        None => false,
    };
    let found = names
        .iter()
        .position(|other| other == name)
        .or_else(|| variations.iter().position(by_value));
    let place = found.and_then(|place| u64::try_from(place).ok());
    place.ok_or_else(|| variation::no_such(name, &names.join(", ")))
}

fn difference(flag: &str, now: &Map<String, Value>, wanted: &Map<String, Value>) -> Vec<String> {
    let changed = wanted.iter().filter(|(part, value)| now.get(*part) != Some(*value));
    changed
        .map(|(part, value)| {
            let now = now.get(part).unwrap_or(&Value::Null);
            format!("{flag}: {part}: {} -> {}", short(now), short(value))
        })
        .collect()
}

/// A value in a line for people.
fn short(value: &Value) -> String {
    match value {
        Value::Array(items) if !items.is_empty() => format!("{} entries", items.len()),
        Value::Array(_) => "none".to_owned(),
        other => other.to_string(),
    }
}

fn with_advice(fault: Fault) -> Fault {
    match fault {
        Fault::Status(405, text) => Fault::Status(
            405,
            format!("{text}; this environment wants an approval: ask for it there"),
        ),
        Fault::Status(429, text) => {
            Fault::Status(429, format!("{text}; too many requests: let the step try again later"))
        }
        other => other,
    }
}
