//! The table as an `OpenAPI` 3.1 document.

use std::collections::BTreeMap;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Answer, Head, Operation};
use crate::problem::Problem;

/// What every request may meet, whatever it asks.
const ALWAYS: [(u16, &str); 5] = [
    (401, "who asks must say who they are"),
    (403, "who asks may not do this, or the request comes from another site's page"),
    (429, "too many requests in a short time from this client"),
    (500, "the store or this release fails; what was acknowledged is safe"),
    (503, "the engine stops, is too busy, or took too long to answer"),
];
const SCHEMAS: &str = "/components/schemas";

/// The document of these operations.
pub(crate) fn document(operations: &[Operation]) -> Value {
    let mut shapes = Shapes::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let method = operation.method.as_str().to_ascii_lowercase();
        let described = described(operation, &mut shapes);
        paths.entry(operation.path).or_default().insert(method, described);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backout",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A durable workflow engine for rollback runbooks",
            "description": INTRODUCTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": shapes.all(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

const INTRODUCTION: &str = "\
The engine that owns a store. Every answer is a view of the same events; every command is one of the \
engine's own. Errors are problem details (RFC 9457): `type` is for programs, `detail` says what \
happened, `help` what to do next, `lines` what belongs to it.\n\n\
Moments are RFC 3339 in UTC. Fields are only ever added: ignore those that you do not know.\n\n\
A POST with an `Idempotency-Key` is followed once; repeated, it is answered as before. A command \
with `If-Match` and the `ETag` of the run as it was seen is refused with 412 where the run changed \
since, and is told what changed.\n\n\
Server-sent events carry the position of the event as their `id`: a client that lost its connection \
sends it as `Last-Event-ID` and misses nothing.";

fn described(operation: &Operation, shapes: &mut Shapes) -> Value {
    let mut fields = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(operation, shapes),
    });
    if !operation.details.is_empty() {
        fields["description"] = operation.details.into();
    }
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        fields["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        let schema = shapes.taken(body);
        fields["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    fields
}

fn responses(operation: &Operation, shapes: &mut Shapes) -> Value {
    let mut responses = BTreeMap::new();
    responses.insert("200".to_owned(), all_well(operation, shapes));
    if operation.heads.contains(&Head::IfNoneMatch) {
        let same = json!({ "description": "it is as the client has it already" });
        responses.insert("304".to_owned(), same);
    }
    if operation.heads.contains(&Head::IfMatch) {
        let why = "the run changed since; `lines` say what";
        responses.insert("412".to_owned(), problem(why, shapes));
    }
    for (status, why) in ALWAYS.iter().chain(&operation.problems) {
        responses.insert(status.to_string(), problem(why, shapes));
    }
    json!(responses)
}

fn all_well(operation: &Operation, shapes: &mut Shapes) -> Value {
    let (media, schema, description) = match operation.answer {
        Answer::Json(shape) => ("application/json", shapes.given(shape), "the answer"),
        Answer::Text(media) => (media, json!({ "type": "string" }), "the answer"),
        Answer::Events(shape) => {
            // OpenAPI 3.1 cannot describe the frames of a stream, so its events are described apart.
            let data = shapes.given(shape);
            let stream = json!({ "type": "string", "x-event-data": data });
            ("text/event-stream", stream, "events as they become durable, until the client goes")
        }
    };
    let mut answer =
        json!({ "description": description, "content": { media: { "schema": schema } } });
    if operation.heads.contains(&Head::IfNoneMatch) {
        answer["headers"] = json!({
            "ETag": { "description": "names this state of it", "schema": { "type": "string" } },
        });
    }
    answer
}

fn problem(why: &str, shapes: &mut Shapes) -> Value {
    let schema = shapes.given(SchemaGenerator::subschema_for::<Problem>);
    json!({ "description": why, "content": { "application/problem+json": { "schema": schema } } })
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let mut parameters: Vec<Value> = names(operation.path).map(in_path).collect();
    if let Some(query) = operation.query {
        parameters.extend(Shapes::fields(query).into_iter().map(in_query));
    }
    parameters.extend(operation.heads.iter().map(|head| in_head(*head)));
    parameters
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

fn in_path(name: &str) -> Value {
    let (description, schema) = match name {
        "run" => (
            "the run's whole name",
            json!({ "type": "string", "pattern": "^[0-9a-hjkmnp-tv-z]{10}$" }),
        ),
        "runbook" => (
            "the runbook's name in the list of runbooks; a `/` in it is sent as `%2F`",
            json!({ "type": "string", "minLength": 1 }),
        ),
        "sha256" => (
            "what the outcome that names the output says of it",
            json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        ),
        _ => ("its name", json!({ "type": "string", "minLength": 1 })),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description,
        "schema": schema })
}

fn in_query((name, mut schema, required): (String, Value, bool)) -> Value {
    let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
    let mut parameter =
        json!({ "name": name, "in": "query", "required": required, "schema": schema });
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

fn in_head(head: Head) -> Value {
    let (name, description, schema) = match head {
        Head::IfNoneMatch => (
            "If-None-Match",
            "the `ETag` that the client has: the same is answered with 304",
            json!({ "type": "string" }),
        ),
        Head::IfMatch => (
            "If-Match",
            "the `ETag` of the run as it was seen when this was decided",
            json!({ "type": "string" }),
        ),
        Head::IdempotencyKey => (
            "Idempotency-Key",
            "names this command: sent again with the same name it is followed once",
            json!({ "type": "string", "pattern": "^[0-9A-Za-z._-]{1,64}$" }),
        ),
        Head::LastEventId => (
            "Last-Event-ID",
            "the last event that the client has; goes before `from`",
            json!({ "type": "integer", "minimum": 0, "maximum": u64::from(u32::MAX) }),
        ),
    };
    json!({ "name": name, "in": "header", "required": false, "description": description,
        "schema": schema })
}

/// The shapes that are taken in and those that are given out: a field with a default may be left out
/// of the first, and stands in the second.
struct Shapes {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Shapes {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = SCHEMAS.into();
                settings.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }

    fn given(&mut self, shape: super::Shape) -> Value {
        shape(&mut self.given).to_value()
    }

    fn taken(&mut self, shape: super::Shape) -> Value {
        let mut schema = shape(&mut self.taken).to_value();
        rename(&mut schema);
        schema
    }

    /// The fields of an object: name, schema, and whether it must be there.
    fn fields(shape: super::Shape) -> Vec<(String, Value, bool)> {
        // Not among the shapes of the document: each field becomes a parameter of its own.
        let mut generator = SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        let object = shape(&mut generator).to_value();
        let required = |name: &String| {
            object["required"].as_array().is_some_and(|all| all.contains(&json!(name)))
        };
        let fields = object["properties"].as_object().cloned().unwrap_or_default();
        fields
            .into_iter()
            .map(|(name, schema)| {
                let must = required(&name);
                (name, schema, must)
            })
            .collect()
    }

    /// All of them by name. Shapes that are taken in have a name of their own.
    fn all(&mut self) -> BTreeMap<String, Value> {
        let given = self.given.take_definitions(true).into_iter();
        let taken = self.taken.take_definitions(true).into_iter().map(|(name, mut schema)| {
            rename(&mut schema);
            (input(&name), schema)
        });
        given.chain(taken).collect()
    }
}

fn input(name: &str) -> String {
    // What is only ever sent needs no other name.
    if name.ends_with("Request") { name.to_owned() } else { format!("{name}Input") }
}

/// Lets references lead to shapes that are taken in.
fn rename(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = input(reference);
            }
            fields.values_mut().for_each(rename);
        }
        Value::Array(items) => items.iter_mut().for_each(rename),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
