//! The twins of the real actions, by name: which things an input means, and what they become.

use std::collections::BTreeMap;

use backout_core::contract::{
    Gate, Guarantee, Hazard, Image, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Satisfied,
};
use backout_core::id::TargetId;
use serde_json::{Value, json};

use super::{Asked, Change, DATA_VERSION, PUT_BACK, World};
use crate::scenario::{Migration, Timed};

/// A migration that is in the ledger.
pub(super) const APPLIED: &str = "applied";
/// One that is not.
const ABSENT: &str = "absent";
/// Milliseconds that a target remembers a key where its input does not say.
const REMEMBERED_MS: u64 = 24 * 3_600 * 1_000;
/// Milliseconds that a target may take to look as wanted.
const CONVERGE_MS: u64 = 30_000;

/// What a twin would do to one thing.
struct Would {
    title: String,
    thing: String,
    to: String,
    /// What the thing is where nothing gave it a value yet.
    otherwise: &'static str,
    wave: u32,
    reversibility: Reversibility,
    hazards: Vec<Hazard>,
}

impl Would {
    fn new(title: impl Into<String>, thing: String, to: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            thing,
            to: to.into(),
            otherwise: "as it was",
            wave: 0,
            reversibility: Reversibility::Exact,
            hazards: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn twin(&mut self, asked: &Asked<'_>) -> Result<Prepared, PrepareFailure> {
        if let Some(prepared) = self.as_recorded(asked.step, asked.now) {
            return Ok(prepared);
        }
        if let Some(gate) = gate(asked) {
            return Ok(self.whole(asked, Vec::new(), Vec::new(), Some(gate)));
        }
        if self.is_look(asked) {
            return Ok(self.look(asked));
        }
        let (locks, would) = self.would(asked)?;
        Ok(self.whole(asked, locks, would, None))
    }

    fn is_look(&self, asked: &Asked<'_>) -> bool {
        let name = asked.action.as_str();
        name.starts_with("checks.")
            || name.ends_with(".assert")
            || asked.input.get("read_only").and_then(Value::as_bool) == Some(true)
            || self.model(asked.step).guarantee == Some(Guarantee::ReadOnly)
    }

    fn would(&self, asked: &Asked<'_>) -> Result<(Vec<TargetId>, Vec<Would>), PrepareFailure> {
        if let Some(back) = asked.input.get(PUT_BACK) {
            let thing = text_of(back, "thing").unwrap_or_default();
            let value = text_of(back, "value").unwrap_or_default();
            let title = format!("{thing}: back to {value}");
            return Ok((vec![lock(&thing)], vec![Would::new(title, thing, value)]));
        }
        match asked.action.as_str().split_once('.') {
            Some(("flags", verb)) => Ok(self.flags(verb, asked.input)),
            Some(("containers", verb)) => Ok(Self::container(verb, asked.input)),
            Some(("migrations", verb)) => self.migrations(verb, asked),
            Some(_) | None => Ok(generic(asked)),
        }
    }

    fn flags(&self, verb: &str, input: &Value) -> (Vec<TargetId>, Vec<Would>) {
        let file = ["file", "system"].iter().find_map(|field| text_of(input, field));
        let server = input.get("server").and_then(|server| text_of(server, "url"));
        let place = server.or(file).unwrap_or_else(|| "flags".to_owned());
        let wanted = |name: &String| match verb {
            "off" => "off".to_owned(),
            _ => text_of(input, "variation")
                .or_else(|| self.flags.get(name).map(|flag| flag.value.clone()))
                .unwrap_or_else(|| "on".to_owned()),
        };
        let would = |name: &String| {
            let to = wanted(name);
            let thing = format!("flag:{name}");
            let is = self.value(&thing).unwrap_or("on");
            let title = format!("flag {name}: {is} -> {to}");
            Would { otherwise: "on", ..Would::new(title, thing, to) }
        };
        (vec![TargetId::new(format!("flags:{place}"))], flags_of(input).iter().map(would).collect())
    }

    fn container(verb: &str, input: &Value) -> (Vec<TargetId>, Vec<Would>) {
        let name = container_of(input);
        let thing = format!("container:{name}");
        let locks = vec![lock(&thing)];
        let would = match verb {
            "rollback" => {
                let image = text_of(input, "image").unwrap_or_else(|| "the image before".into());
                let title = format!("{name} runs {image}");
                Would { otherwise: "the newer image", ..Would::new(title, thing, image) }
            }
            "stop" => Would::new(format!("{name} stopped"), format!("power:{name}"), "stopped"),
            "start" => Would::new(format!("{name} started"), format!("power:{name}"), "running"),
            _ => Would::new(format!("{name}: {verb}"), format!("{verb}:{name}"), "done"),
        };
        (locks, vec![would])
    }

    fn migrations(
        &self,
        verb: &str,
        asked: &Asked<'_>,
    ) -> Result<(Vec<TargetId>, Vec<Would>), PrepareFailure> {
        let Some((name, ledger)) = schema_of(&self.schemas, asked.input) else {
            return Ok(generic(asked));
        };
        let to = text_of(asked.input, "to").unwrap_or_default();
        let known = ledger.iter().position(|one| one.version == to);
        let kept = match known {
            Some(at) => at + 1,
            None if to == "0" => 0,
            None => {
                let reason = format!("the ledger of {name} has no version {to} (simulated)");
                return Err(PrepareFailure::Refused { reason });
            }
        };
        let would = if verb == "down" {
            let newer = ledger.iter().skip(kept).rev();
            newer.zip(0..).map(|(one, wave)| down(name, one, wave)).collect()
        } else {
            ledger.iter().take(kept).zip(0..).map(|(one, wave)| up(name, one, wave)).collect()
        };
        Ok((vec![TargetId::new(format!("schema:{name}"))], would))
    }

    fn whole(
        &mut self,
        asked: &Asked<'_>,
        locks: Vec<TargetId>,
        would: Vec<Would>,
        gate: Option<Gate>,
    ) -> Prepared {
        let model = self.model(asked.step);
        let effects: Vec<PreparedEffect> =
            would.into_iter().map(|one| self.effect(one, model.reversibility)).collect();
        let guarantee = match gate {
            Some(_) => Guarantee::ReadOnly,
            None => model.guarantee.unwrap_or_else(|| usual(asked.action.as_str())),
        };
        let seen = self.seen(&effects, asked);
        Prepared {
            data_version: DATA_VERSION,
            guarantee,
            remembered_ms: (guarantee == Guarantee::Keyed).then_some(REMEMBERED_MS),
            locks,
            effects,
            hazards: model.hazards,
            gate,
            converge_ms: CONVERGE_MS,
            seen,
        }
    }

    fn effect(&self, would: Would, declared: Option<Reversibility>) -> PreparedEffect {
        let thing = self.things.get(&would.thing);
        let is = thing.map_or(would.otherwise, |thing| thing.value.as_str()).to_owned();
        let satisfied = if is == would.to { Satisfied::Yes } else { Satisfied::No };
        let version = thing.map_or(0, |thing| thing.version);
        let difference = match satisfied {
            Satisfied::Yes => Vec::new(),
            Satisfied::No | Satisfied::CannotTell => {
                vec![format!("{}: {is} -> {}", would.thing, would.to)]
            }
        };
        PreparedEffect {
            title: would.title,
            wave: would.wave,
            satisfied,
            before: Image::Plain(Value::String(is)),
            wanted: Image::Plain(Value::String(would.to.clone())),
            difference,
            reversibility: declared.unwrap_or(would.reversibility),
            hazards: would.hazards,
            data: json!(Change { thing: would.thing, to: would.to, version }),
        }
    }

    /// Who changed it last, and for a flag how often it was evaluated since.
    fn seen(&self, effects: &[PreparedEffect], asked: &Asked<'_>) -> Value {
        let things = effects.iter().filter_map(|effect| text_of(&effect.data, "thing"));
        let mut seen = json!({ "simulated": true });
        for name in things {
            let Some(thing) = self.things.get(&name) else { continue };
            if let Some(by) = &thing.by {
                seen["changed_by"] = json!(by);
            }
            let flag = name.strip_prefix("flag:").and_then(|flag| self.flags.get(flag));
            if let Some(flag) = flag {
                let minutes = asked.now.since_ms(thing.since) / 60_000;
                let count = flag.evaluations_per_minute.saturating_mul(minutes);
                seen["evaluations"][name.trim_start_matches("flag:")] =
                    json!({ "variation": thing.value, "count": count });
            }
        }
        seen
    }
}

fn lock(thing: &str) -> TargetId {
    TargetId::new(thing)
}

fn gate(asked: &Asked<'_>) -> Option<Gate> {
    match asked.action.as_str() {
        "wait.for" => Some(Gate::Timer { ms: text_of(asked.input, "time").ms() }),
        "wait.approval" => {
            Some(Gate::Approval { text: text_of(asked.input, "text").unwrap_or_default() })
        }
        _ => None,
    }
}

/// An action without a model of its own: one effect that is there or not.
fn generic(asked: &Asked<'_>) -> (Vec<TargetId>, Vec<Would>) {
    let thing = format!("twin:{}", asked.step);
    let one_way = matches!(asked.action.as_str(), "exec.run" | "http.request")
        && asked.input.get("revert").is_none();
    let would = Would {
        otherwise: "not done",
        reversibility: if one_way { Reversibility::None } else { Reversibility::Exact },
        ..Would::new(format!("{} of {}", asked.action, asked.step), thing.clone(), "done")
    };
    (vec![lock(&thing)], vec![would])
}

fn down(schema: &str, migration: &Migration, wave: u32) -> Would {
    let title = format!("{schema}: {} {} taken back", migration.version, migration.name);
    let thing = format!("schema:{schema}/{}", migration.version);
    let hazards: Vec<Hazard> = migration.drops.iter().map(|what| drops(what, migration)).collect();
    Would {
        wave,
        otherwise: ABSENT,
        reversibility: if hazards.is_empty() {
            Reversibility::Exact
        } else {
            Reversibility::ShapeOnly
        },
        hazards,
        ..Would::new(title.trim().to_owned(), thing, ABSENT)
    }
}

fn drops(what: &str, migration: &Migration) -> Hazard {
    let code = if what.contains('.') { "drops-column" } else { "drops-table" };
    let text = format!("{what} goes, and with it {} rows", migration.rows);
    Hazard { code: code.to_owned(), text }
}

fn up(schema: &str, migration: &Migration, wave: u32) -> Would {
    let title = format!("{schema}: {} {} applied", migration.version, migration.name);
    let thing = format!("schema:{schema}/{}", migration.version);
    Would { wave, otherwise: ABSENT, ..Would::new(title, thing, APPLIED) }
}

/// The guarantee of a real action where nothing is known of its input.
fn usual(action: &str) -> Guarantee {
    match action.split('.').next() {
        Some("migrations") => Guarantee::Transactional,
        Some("containers") => Guarantee::Keyed,
        Some("exec" | "http") => Guarantee::Manual,
        _ => Guarantee::Conditional,
    }
}

/// A field as text, numbers too.
pub(super) fn text_of(value: &Value, field: &str) -> Option<String> {
    match value.get(field)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The flags that an input names.
pub(super) fn flags_of(input: &Value) -> Vec<String> {
    let many = input.get("flags").and_then(Value::as_array).into_iter().flatten();
    let many = many.filter_map(|flag| flag.as_str().map(str::to_owned));
    many.chain(text_of(input, "flag")).collect()
}

/// The container that an input names: `project/service`, a name, or its labels.
pub(super) fn container_of(input: &Value) -> String {
    let compose = input.get("compose").and_then(|compose| {
        Some(format!("{}/{}", text_of(compose, "project")?, text_of(compose, "service")?))
    });
    let labels = || input.get("labels").map(ToString::to_string);
    compose
        .or_else(|| text_of(input, "container"))
        .or_else(|| text_of(input, "name"))
        .or_else(labels)
        .unwrap_or_else(|| "container".to_owned())
}

/// The schema that an input names; the only one where there is only one.
pub(super) fn schema_of<'w>(
    schemas: &'w BTreeMap<String, Vec<Migration>>,
    input: &Value,
) -> Option<(&'w str, &'w [Migration])> {
    let named = ["database", "path"].iter().find_map(|field| text_of(input, field));
    let found = named.and_then(|name| schemas.get_key_value(&name));
    let only = || schemas.first_key_value().filter(|_| schemas.len() == 1);
    found.or_else(only).map(|(name, ledger)| (name.as_str(), ledger.as_slice()))
}
