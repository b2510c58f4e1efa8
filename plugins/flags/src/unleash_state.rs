//! What a flag of Unleash is in one environment, what is wanted of it, and when two states are one.

use backout_plugin_api::Hazard;
use serde_json::{Map, Value, json};

use crate::api::{Seen, Wanted};

/// The state's part that says whether the flag is on in the environment.
pub(crate) const ENABLED: &str = "enabled";
/// The state's part with the strategies, in their order.
pub(crate) const STRATEGIES: &str = "strategies";
/// A strategy's fields that are written; `id` is the server's own.
const FIELDS: [&str; 8] =
    ["name", "title", "disabled", "sortOrder", "constraints", "segments", "parameters", "variants"];
pub(crate) fn id_of(strategy: &Value) -> &str {
    strategy.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// For each wanted strategy the place of the one that is it: by its id, else one of the same
/// content, which the server gave a new id when we made it again.
pub(crate) fn matched(wanted: &[Value], there: &[Value]) -> Vec<Option<usize>> {
    let by_id = |strategy: &Value| there.iter().position(|other| id_of(other) == id_of(strategy));
    let mut matched: Vec<Option<usize>> = wanted.iter().map(by_id).collect();
    for (strategy, found) in wanted.iter().zip(0..) {
        if matched.get(found) == Some(&None) {
            let same = there
                .iter()
                .enumerate()
                .find(|(at, other)| !matched.contains(&Some(*at)) && body(other) == body(strategy));
            matched[found] = same.map(|(at, _)| at);
        }
    }
    matched
}

/// A strategy as it is written.
pub(crate) fn body(strategy: &Value) -> Value {
    let fields = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), strategy.get(*name)?)));
    Value::Object(fields.map(|(name, value)| (name, value.clone())).collect())
}

/// A strategy as it is kept: every field that is written, its absent ones as the server means them.
pub(crate) fn kept_strategy(strategy: &Value) -> Value {
    let mut kept = Map::new();
    if let Some(id) = strategy.get("id") {
        kept.insert("id".to_owned(), id.clone());
    }
    for name in FIELDS {
        let absent = match name {
            "title" => Value::Null,
            "disabled" => json!(false),
            "sortOrder" => json!(0),
            "parameters" => json!({}),
            _ => json!([]),
        };
        kept.insert(name.to_owned(), strategy.get(name).cloned().unwrap_or(absent));
    }
    Value::Object(kept)
}

/// Two lists of strategies that do the same; ids are the server's own.
pub(crate) fn same_strategies(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return a == b };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| body(a) == body(b))
}

/// What changes the flag later by itself.
pub(crate) fn hazards(flag: &str, raw: &Value) -> Vec<Hazard> {
    let strategies = raw.get(STRATEGIES).and_then(Value::as_array);
    let plans = raw.get("releasePlans").and_then(Value::as_array);
    let in_plan = strategies
        .into_iter()
        .flatten()
        .any(|strategy| strategy.get("milestoneId").is_some_and(|id| !id.is_null()));
    if !in_plan && plans.is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    vec![Hazard {
        code: "release-plan".to_owned(),
        text: format!("flag `{flag}` follows a release plan, which may change it again by itself"),
    }]
}

fn switch(flag: &str, seen: &Seen, on: bool) -> Vec<String> {
    let word = |on: bool| if on { "on" } else { "off" };
    match seen.state.get(ENABLED).and_then(Value::as_bool) {
        Some(now) if now != on => vec![format!("{flag}: {} -> {}", word(now), word(on))],
        _ => Vec::new(),
    }
}

/// Whether a strategy gives the flag to everybody.
fn is_for_everybody(strategy: &Value) -> bool {
    let empty = |name: &str| strategy.get(name).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let whole = match strategy.get("name").and_then(Value::as_str) {
        Some("default") => true,
        Some("flexibleRollout") => {
            strategy.pointer("/parameters/rollout").and_then(Value::as_str) == Some("100")
        }
        _ => false,
    };
    let enabled = strategy.get("disabled").and_then(Value::as_bool) != Some(true);
    whole && enabled && empty("constraints") && empty("segments")
}

/// Off leaves the strategies alone; on adds one for everybody where none is.
pub(crate) fn forced(flag: &str, seen: &Seen, variation: Option<&str>) -> Wanted {
    let on = variation == Some("on");
    let mut difference = switch(flag, seen, on);
    let mut state = Map::new();
    state.insert(ENABLED.to_owned(), Value::Bool(on));
    let none = Vec::new();
    let strategies = seen.state.get(STRATEGIES).and_then(Value::as_array).unwrap_or(&none);
    if on && !strategies.iter().any(is_for_everybody) {
        let mut all = strategies.clone();
        all.push(kept_strategy(&json!({
            "name": "flexibleRollout",
            "title": "everybody",
            "sortOrder": strategies.len(),
            "parameters": { "rollout": "100", "stickiness": "default", "groupId": flag },
        })));
        state.insert(STRATEGIES.to_owned(), Value::Array(all));
        difference.push(format!("{flag}: a strategy for everybody is added"));
    }
    Wanted {
        state,
        what: if on { "on for everybody" } else { "off" }.to_owned(),
        variation: Some(if on { "on" } else { "off" }.to_owned()),
        value: Some(Value::Bool(on)),
        difference,
        hazards: Vec::new(),
    }
}

/// The switch and the strategies as they were.
pub(crate) fn restored(
    flag: &str,
    seen: &Seen,
    state: &Map<String, Value>,
) -> Result<Wanted, String> {
    let on = state.get(ENABLED).and_then(Value::as_bool);
    let strategies = state.get(STRATEGIES).and_then(Value::as_array);
    let (Some(on), true) = (on, state.len() <= 2) else {
        return Err(format!(
            "the state given for `{flag}` has no `{ENABLED}`, or more than it knows"
        ));
    };
    let active = |strategy: &Value| strategy.get("disabled") != Some(&Value::Bool(true));
    if on && strategies.is_some_and(|all| !all.iter().any(active)) {
        return Err(format!(
            "the state given for `{flag}` is on without an active strategy: Unleash would add one \
             for everybody"
        ));
    }
    let mut wanted = Map::new();
    wanted.insert(ENABLED.to_owned(), Value::Bool(on));
    let mut difference = switch(flag, seen, on);
    if let Some(strategies) = strategies {
        let strategies = Value::Array(strategies.iter().map(kept_strategy).collect());
        let now = seen.state.get(STRATEGIES).unwrap_or(&Value::Null);
        if !same_strategies(&strategies, now) {
            difference.push(format!("{flag}: strategies as before"));
        }
        wanted.insert(STRATEGIES.to_owned(), strategies);
    }
    Ok(Wanted {
        state: wanted,
        what: "as before".to_owned(),
        variation: None,
        value: None,
        difference,
        hazards: Vec::new(),
    })
}
