//! What is left of a record that was redacted: its structure, and no word of anybody.

use backout_core::command::Ask;
use backout_core::event::Recorded;
use backout_core::evolve;
use backout_core::redact::{Redactor, Rule};
use backout_core::state::RunState;
use schemars::schema_for;
use serde_json::{Map, Value, json};

use crate::plans::{plan, step};
use crate::world::{Engine, World};

/// A word that stands wherever a text may stand.
const PLANTED: &str = "planted";
/// What is kept, by the name of its type or field: made-up names of runs and commands, and words
/// that Backout and its actions define.
const KEPT: [&str; 7] =
    ["RunId", "CommandId", "ActionName", "code", "accept", "reviewed", "review_by"];
/// How many ways through nested choices are tried: more than any has.
const WAYS: usize = 8;

fn all_rules() -> [Rule; 5] {
    [Rule::Names, Rule::Hosts, Rule::Texts, Rule::Values, Rule::Steps]
}

/// Makes values that fit a schema, with everything that may be there.
struct Maker {
    defs: Value,
    way: usize,
}

impl Maker {
    fn make(&self, schema: &Value, name: &str) -> Value {
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(word) = schema.get("enum").and_then(|words| words.get(0)) {
            return word.clone();
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap();
            return self.with_properties(schema, self.make(&self.defs[name], name));
        }
        for choice in ["oneOf", "anyOf"] {
            if let Some(ways) = schema.get(choice).and_then(Value::as_array) {
                let ways: Vec<&Value> = ways.iter().filter(|way| way["type"] != "null").collect();
                let way = self.make(ways[self.way % ways.len()], name);
                return self.with_properties(schema, way);
            }
        }
        self.plain(schema, name)
    }

    fn plain(&self, schema: &Value, name: &str) -> Value {
        match kind(schema) {
            "object" => self.with_properties(schema, Value::Object(Map::new())),
            "array" => json!([self.make(&schema["items"], name)]),
            "integer" | "number" => json!(1),
            "boolean" => json!(true),
            "string" if KEPT.contains(&name) => json!("kept"),
            // An empty schema takes anything.
            "string" | "" => json!(format!("{PLANTED} {name}")),
            other => panic!("a schema of type {other}"),
        }
    }

    /// Adds the properties that stand beside a choice or a reference.
    fn with_properties(&self, schema: &Value, base: Value) -> Value {
        let Value::Object(mut object) = base else { return base };
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            object.insert(name.clone(), self.make(schema, name));
        }
        if let Some(of_all) = schema.get("additionalProperties").filter(|of| of.is_object()) {
            object.insert("key".into(), self.make(of_all, "key"));
        }
        Value::Object(object)
    }
}

fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds[0].as_str().unwrap(),
        _ if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

#[test]
fn no_word_of_anybody_is_left_in_any_event() {
    let schema = serde_json::to_value(schema_for!(Recorded)).unwrap();
    let events = schema["$defs"]["Event"]["oneOf"].as_array().unwrap().clone();
    assert!(events.len() > 40, "{} kinds", events.len());
    let mut planted = 0;
    for (event, way) in events.iter().flat_map(|event| (0..WAYS).map(move |way| (event, way))) {
        let maker = Maker { defs: schema["$defs"].clone(), way };
        let mut one = maker.make(&schema, "Recorded");
        one["event"] = maker.make(event, "Event");
        let recorded: Recorded =
            serde_json::from_value(one.clone()).unwrap_or_else(|error| panic!("{error}: {one:#}"));
        planted += serde_json::to_string(&recorded).unwrap().matches(PLANTED).count();
        let left = serde_json::to_value(Redactor::new(all_rules()).redact(recorded)).unwrap();
        assert!(!left.to_string().contains(PLANTED), "{left:#}");
    }
    assert!(planted > 1_000, "{planted} words were planted");
}

fn life() -> Vec<Recorded> {
    let mut steps = vec![step("a", &[]), step("b", &["a"]), step("c[db-7]", &["b"])];
    steps[1].title = "tell the owner".into();
    let mut engine = Engine::start(plan(steps));
    let mut world = World::new();
    engine.live(&mut world, 1_000);
    engine.ask(Ask::Note { step: Some("b".into()), text: "somebody was here".into() }).unwrap();
    engine.ask(Ask::Undo).unwrap();
    engine.live(&mut world, 1_000);
    engine.journal
}

fn fold(journal: &[Recorded]) -> RunState {
    let mut state = None;
    for recorded in journal {
        evolve(&mut state, recorded).unwrap();
    }
    state.unwrap()
}

#[test]
fn the_structure_and_the_times_are_as_they_were() {
    let journal = life();
    for rules in [&all_rules()[..], &Rule::USUAL, &[]] {
        let mut redactor = Redactor::new(rules.iter().copied());
        let left: Vec<Recorded> =
            journal.iter().cloned().map(|recorded| redactor.redact(recorded)).collect();
        let (before, after) = (fold(&journal), fold(&left));
        assert_eq!(after.status(), before.status());
        let states =
            |run: &RunState| run.steps.iter().map(|step| step.state.word()).collect::<Vec<_>>();
        assert_eq!(states(&after), states(&before));
        assert_eq!(after.order.needs, before.order.needs);
        let times = |all: &[Recorded]| all.iter().map(|one| (one.seq, one.at)).collect::<Vec<_>>();
        assert_eq!(times(&left), times(&journal));
        assert_eq!(left == journal, rules.is_empty(), "without rules nothing is taken out");
        assert_eq!(redactor.taken().len(), rules.len(), "{:?}", redactor.taken());
    }
}

#[test]
fn steps_keep_their_names_without_their_items() {
    let mut redactor = Redactor::new(Rule::USUAL);
    let left: Vec<Recorded> = life().into_iter().map(|one| redactor.redact(one)).collect();
    let names: Vec<String> =
        fold(&left).plan.steps.iter().map(|step| step.id.to_string()).take(3).collect();
    assert_eq!(names, ["a", "b", "c[1]"]);
}
