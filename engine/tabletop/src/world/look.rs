//! What checks see: error rates and latencies that answer to what was rolled back, and assertions
//! about things.

use backout_core::contract::{
    Guarantee, Image, Prepared, PreparedEffect, Reversibility, Satisfied,
};
use serde_json::{Value, json};

use super::twin::{APPLIED, container_of, flags_of, schema_of, text_of};
use super::{Asked, DATA_VERSION, World};
use crate::scenario::{ServiceStart, Timed, Trouble};

/// How a service is right now.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The share of requests that fail, 0 to 1.
    pub errors: f64,
    /// Milliseconds.
    pub latency_ms: u64,
    /// What is beyond its limits, in words.
    pub wrong: Vec<String>,
}

impl World {
    /// How a service is; absent where there is none of this name.
    pub fn health(&self, name: &str) -> Option<Health> {
        let service = self.services.get(name)?;
        let so: Vec<&Trouble> = service.troubles.iter().filter(|one| self.is_so(one)).collect();
        let errors = (service.errors + so.iter().map(|one| one.errors).sum::<f64>()).min(1.0);
        let latency_ms = service.latency.ms() + so.iter().map(|one| one.latency.ms()).sum::<u64>();
        Some(Health { errors, latency_ms, wrong: wrong(name, service, errors, latency_ms) })
    }

    /// Every service and how it is.
    pub fn healths(&self) -> Vec<(String, Health)> {
        let of = |name: &String| Some((name.clone(), self.health(name)?));
        self.services.keys().filter_map(of).collect()
    }

    fn is_so(&self, trouble: &Trouble) -> bool {
        let not_yet = if trouble.thing.starts_with("step:") { "undone" } else { "" };
        self.value(&trouble.thing).unwrap_or(not_yet) == trouble.is
    }

    /// The look of an action that changes nothing.
    pub(super) fn look(&mut self, asked: &Asked<'_>) -> Prepared {
        let (wrong, seen) = self.sample(asked);
        let model = self.model(asked.step);
        let effect = PreparedEffect {
            title: format!("{} sees it (simulated)", asked.action),
            wave: 0,
            satisfied: if wrong.is_empty() { Satisfied::Yes } else { Satisfied::No },
            before: Image::Absent,
            wanted: Image::Plain(Value::Null),
            difference: wrong,
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
            data: Value::Null,
        };
        Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![effect],
            hazards: model.hazards,
            gate: None,
            converge_ms: 0,
            seen,
        }
    }

    fn sample(&self, asked: &Asked<'_>) -> (Vec<String>, Value) {
        match asked.action.as_str() {
            "flags.assert" => self.assert_flags(asked.input),
            "containers.assert" => self.assert_container(asked.input),
            "migrations.assert" => self.assert_schema(asked.input),
            name if name.ends_with(".assert") => (Vec::new(), json!({ "simulated": true })),
            _ => self.services_seen(asked),
        }
    }

    fn services_seen(&self, asked: &Asked<'_>) -> (Vec<String>, Value) {
        let service = self.model(asked.step).service;
        let chosen = |name: &str| service.as_deref().is_none_or(|service| service == name);
        let seen: Vec<_> = self.healths().into_iter().filter(|(name, _)| chosen(name)).collect();
        let wrong = seen.iter().flat_map(|(_, health)| health.wrong.clone()).collect();
        let samples: serde_json::Map<String, Value> = seen
            .into_iter()
            .map(|(name, health)| {
                (name, json!({ "errors": health.errors, "latency_ms": health.latency_ms }))
            })
            .collect();
        (wrong, Value::Object(samples))
    }

    fn assert_flags(&self, input: &Value) -> (Vec<String>, Value) {
        let wanted = text_of(input, "variation").unwrap_or_else(|| "off".to_owned());
        let is = |name: &String| self.value(&format!("flag:{name}")).unwrap_or("on").to_owned();
        let wrong = flags_of(input)
            .iter()
            .filter(|name| !same_variation(&is(name), &wanted))
            .map(|name| format!("flag {name} gives {}, not {wanted}", is(name)))
            .collect();
        (wrong, json!({ "variation": wanted }))
    }

    fn assert_container(&self, input: &Value) -> (Vec<String>, Value) {
        let name = container_of(input);
        let runs = self.value(&format!("container:{name}")).unwrap_or_default().to_owned();
        let wanted = text_of(input, "image").unwrap_or_else(|| runs.clone());
        let wrong = if runs == wanted {
            Vec::new()
        } else {
            vec![format!("{name} runs {runs}, not {wanted}")]
        };
        (wrong, json!({ "image": runs }))
    }

    fn assert_schema(&self, input: &Value) -> (Vec<String>, Value) {
        let Some((name, ledger)) = schema_of(&self.schemas, input) else {
            return (Vec::new(), json!({ "simulated": true }));
        };
        let applied =
            |version: &str| self.value(&format!("schema:{name}/{version}")) == Some(APPLIED);
        let at = ledger.iter().rev().find(|one| applied(&one.version));
        let at = at.map_or("0", |one| one.version.as_str());
        let wanted = text_of(input, "at").unwrap_or_else(|| at.to_owned());
        let wrong = if at == wanted {
            Vec::new()
        } else {
            vec![format!("the schema {name} is at {at}, not {wanted}")]
        };
        (wrong, json!({ "at": at }))
    }
}

/// Flag systems call their off variation by many words.
fn same_variation(is: &str, wanted: &str) -> bool {
    let off = |word: &str| matches!(word, "off" | "disabled" | "false" | "control" | "no");
    is == wanted || off(is) && off(wanted)
}

fn wrong(name: &str, service: &ServiceStart, errors: f64, latency_ms: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    if errors > service.errors_below {
        wrong.push(format!(
            "{name}: {:.1}% of requests fail, more than {:.1}%",
            errors * 100.0,
            service.errors_below * 100.0
        ));
    }
    let most = service.latency_below.ms();
    if latency_ms > most {
        wrong.push(format!("{name}: answers take {latency_ms}ms, more than {most}ms"));
    }
    wrong
}
