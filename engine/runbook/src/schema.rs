//! An action's input against its JSON schema, with places in the file.

use std::collections::HashMap;

use jsonschema::Validator;
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use serde_json::Value;

use crate::catalogue::{ActionInfo, Catalogue};
use crate::codes;
use crate::fields::listed;
use crate::problem::{Problem, advice, nearest};
use crate::tree::{Node, Span, unescape};
use backout_core::expr::Template;

/// An action, and its schema made ready.
pub(crate) struct Action<'c> {
    pub(crate) info: ActionInfo<'c>,
    /// Nothing where the schema itself is wrong: then only the action's own check speaks.
    validator: Option<Validator>,
}

/// The actions asked for so far.
pub(crate) struct Actions<'c> {
    catalogue: &'c dyn Catalogue,
    found: HashMap<String, Option<Action<'c>>>,
}

impl<'c> Actions<'c> {
    pub(crate) fn new(catalogue: &'c dyn Catalogue) -> Self {
        Self { catalogue, found: HashMap::new() }
    }

    pub(crate) fn find(&mut self, name: &str) -> Option<&Action<'c>> {
        if !self.found.contains_key(name) {
            let action = self.catalogue.find(name).map(Action::of);
            self.found.insert(name.to_owned(), action);
        }
        self.found.get(name)?.as_ref()
    }

    /// Advice for a name that is no action.
    pub(crate) fn advice(&self, name: &str) -> Option<String> {
        let actions = self.catalogue.actions();
        let names: Vec<&str> = actions.iter().map(String::as_str).collect();
        advice(name, "the actions are", &names)
    }
}

/// Where an input stands: its node, and the place to point at where there is none.
#[derive(Clone, Copy)]
pub(crate) struct Place<'n, 'a> {
    pub(crate) node: Option<&'n Node<'a>>,
    pub(crate) or: Span,
}

impl Place<'_, '_> {
    /// The value at a JSON pointer.
    pub(crate) fn value(&self, pointer: &str) -> Span {
        self.node.map_or(self.or, |node| node.locate(pointer).span)
    }

    fn name(&self, pointer: &str) -> Span {
        self.node.map_or(self.or, |node| node.locate_name(pointer))
    }
}

impl<'c> Action<'c> {
    pub(crate) fn of(info: ActionInfo<'c>) -> Self {
        let validator = jsonschema::validator_for(&info.input_schema).ok();
        Self { info, validator }
    }
}

impl Action<'_> {
    /// What the schema says against an input. Texts that hold `${…}` may still become anything.
    pub(crate) fn check(&self, name: &str, input: &Value, place: Place<'_, '_>) -> Vec<Problem> {
        let Some(validator) = &self.validator else { return Vec::new() };
        if validator.is_valid(input) {
            return Vec::new();
        }
        let teller = Teller { name, schema: &self.info.input_schema, input, place };
        let mut problems = Vec::new();
        for error in validator.iter_errors(input) {
            teller.tell(&error, &mut problems);
        }
        problems
    }

    /// Whether the field at a JSON pointer takes a secret's reference.
    pub(crate) fn takes_secret(&self, pointer: &str) -> bool {
        let tokens: Vec<&str> = pointer.split('/').skip(1).collect();
        let root = &self.info.input_schema;
        takes_secret(root, root, &tokens, 0)
    }
}

/// Turns errors of the schema into problems.
struct Teller<'t> {
    name: &'t str,
    schema: &'t Value,
    input: &'t Value,
    place: Place<'t, 't>,
}

impl Teller<'_> {
    fn tell(&self, error: &ValidationError<'_>, problems: &mut Vec<Problem>) {
        let pointer = error.instance_path().as_str();
        let value = self.input.pointer(pointer);
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                let known = self.properties(error.schema_path().as_str());
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                for field in unexpected {
                    problems.push(self.unknown_field(pointer, field, &known));
                }
            }
            ValidationErrorKind::Required { property } => {
                let field = property.as_str().unwrap_or("");
                if self.is_misspelt(value, field, error.schema_path().as_str()) {
                    return;
                }
                problems.push(self.missing_field(pointer, field, error.schema_path().as_str()));
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => {
                if !value.is_some_and(holds_template) {
                    self.tell_best(pointer, context, problems);
                }
            }
            kind => {
                let exempt = value.and_then(Value::as_str).is_some_and(|text| is_open(text, kind));
                if !exempt {
                    problems.push(self.wrong_value(pointer, value, error));
                }
            }
        }
    }

    fn unknown_field(&self, pointer: &str, field: &str, known: &[&str]) -> Problem {
        let escaped = field.replace('~', "~0").replace('/', "~1");
        let help = if known.is_empty() {
            Some("it takes no fields".to_owned())
        } else {
            let near = nearest(field, known.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            Some(format!("{near}its fields are {}", listed(known)))
        };
        Problem::new(
            codes::INPUT_FIELD,
            format!("`{}` has no field `{field}`{}", self.name, within(pointer)),
        )
        .at(self.place.name(&format!("{pointer}/{escaped}")), "no such field")
        .help(help)
    }

    /// Whether a missing field stands there under a name that does not exist but is near: then
    /// that name is told, and this is not.
    fn is_misspelt(&self, value: Option<&Value>, field: &str, schema_path: &str) -> bool {
        let known = self.properties(schema_path);
        let written = value.and_then(Value::as_object);
        written.into_iter().flat_map(|fields| fields.keys()).any(|name| {
            !known.contains(name) && nearest(name, known.iter().map(String::as_str)) == Some(field)
        })
    }

    fn missing_field(&self, pointer: &str, field: &str, schema_path: &str) -> Problem {
        let parent = parent_of(schema_path);
        let described = self
            .schema_at(parent)
            .and_then(|schema| schema.get("properties")?.get(field)?.get("description")?.as_str())
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        let message = format!("`{}` needs the field `{field}`{}", self.name, within(pointer));
        Problem::new(codes::INPUT_MISSING, message)
            .at(self.place.value(pointer), format!("`{field}` is missing"))
            .help(format!("add `{field}`{described}"))
    }

    fn wrong_value(
        &self,
        pointer: &str,
        value: Option<&Value>,
        error: &ValidationError<'_>,
    ) -> Problem {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        let field = if field.is_empty() { "the input".to_owned() } else { format!("`{field}`") };
        let (reason, help) = match error.kind() {
            ValidationErrorKind::Type { kind } => {
                let found = value.map_or("nothing", json_type);
                (format!("is {found}, not {}", wanted_types(kind)), None)
            }
            ValidationErrorKind::Enum { options } => {
                let words: Vec<String> = options
                    .as_array()
                    .map(|options| options.iter().map(plain).collect())
                    .unwrap_or_default();
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let written = value.map(plain).unwrap_or_default();
                ("is not one of those allowed".to_owned(), advice(&written, "write one of", &words))
            }
            ValidationErrorKind::Constant { expected_value } => {
                (format!("is not {}", plain(expected_value)), None)
            }
            ValidationErrorKind::Pattern { pattern } => {
                (format!("does not match `{pattern}`"), None)
            }
            _ => (error.masked_with("the value").to_string(), None),
        };
        let described = self.description(error.schema_path().as_str());
        Problem::new(codes::INPUT_VALUE, format!("{field} of `{}` {reason}", self.name))
            .at(self.place.value(pointer), "does not fit")
            .help(help.or(described))
    }

    /// Of several forms that do not fit, tells about the one that fits best.
    fn tell_best(
        &self,
        pointer: &str,
        context: &[Vec<ValidationError<'static>>],
        problems: &mut Vec<Problem>,
    ) {
        let depth = |errors: &[ValidationError<'_>]| {
            errors.iter().map(|e| e.instance_path().as_str().len()).max().unwrap_or(0)
        };
        let is_shape = |error: &ValidationError<'_>| {
            !matches!(
                error.kind(),
                ValidationErrorKind::Type { .. } | ValidationErrorKind::Constant { .. }
            )
        };
        let best = context
            .iter()
            .filter(|errors| depth(errors) > pointer.len() || errors.iter().any(is_shape))
            .max_by_key(|errors| (depth(errors), usize::MAX - errors.len()));
        if let Some(errors) = best {
            for error in errors {
                self.tell(error, problems);
            }
            return;
        }
        let forms: Vec<String> =
            context.iter().flatten().filter_map(|error| form(error.kind())).collect();
        let field = pointer.trim_start_matches('/').replace('/', ".");
        let message = format!("`{field}` of `{}` has none of the forms allowed", self.name);
        problems.push(
            Problem::new(codes::INPUT_VALUE, message)
                .at(self.place.value(pointer), "does not fit")
                .help((!forms.is_empty()).then(|| format!("it takes {}", forms.join(" or ")))),
        );
    }

    fn properties(&self, schema_path: &str) -> Vec<String> {
        let schema = self.schema_at(parent_of(schema_path));
        let fields = schema.and_then(|schema| schema.get("properties")?.as_object());
        fields.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    }

    fn description(&self, schema_path: &str) -> Option<String> {
        let schema = self.schema_at(parent_of(schema_path))?;
        schema.get("description")?.as_str().map(str::to_owned)
    }

    /// The part of the schema at a path that may pass through `$ref`.
    fn schema_at(&self, path: &str) -> Option<&Value> {
        let mut schema = self.schema;
        for token in path.split('/').skip(1) {
            schema = match token {
                "$ref" => self.schema.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)?,
                token => match schema {
                    Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
                    _ => schema.get(&*unescape(token))?,
                },
            };
        }
        Some(schema)
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn within(pointer: &str) -> String {
    let inner = pointer.trim_start_matches('/').replace('/', ".");
    if inner.is_empty() { String::new() } else { format!(" in `{inner}`") }
}

/// Whether a text with `${…}` in it may still become what is wanted.
fn is_open(text: &str, kind: &ValidationErrorKind) -> bool {
    if !Template::is_needed(text) {
        return false;
    }
    match kind {
        // Text around the expression makes it a text for ever.
        ValidationErrorKind::Type { kind } if !wanted_types(kind).contains("text") => {
            Template::parse(text).map_or(true, |template| template.is_whole())
        }
        _ => true,
    }
}

fn holds_template(value: &Value) -> bool {
    match value {
        Value::String(text) => Template::is_needed(text),
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(fields) => fields.values().any(holds_template),
        _ => false,
    }
}

fn takes_secret(root: &Value, schema: &Value, tokens: &[&str], depth: usize) -> bool {
    /// References followed before a schema is taken to be circular.
    const DEPTH_MAX: usize = 32;
    if depth > DEPTH_MAX {
        return false;
    }
    let referred =
        schema.get("$ref").and_then(|target| root.pointer(target.as_str()?.strip_prefix('#')?));
    if referred.is_some_and(|schema| takes_secret(root, schema, tokens, depth + 1)) {
        return true;
    }
    let branches =
        ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    if branches.flatten().any(|schema| takes_secret(root, schema, tokens, depth + 1)) {
        return true;
    }
    let Some((token, rest)) = tokens.split_first() else {
        return schema.get("format").and_then(Value::as_str) == Some("secret-ref");
    };
    let property = schema.get("properties").and_then(|fields| fields.get(&*unescape(token)));
    let inner =
        property.or_else(|| schema.get("additionalProperties")).or_else(|| schema.get("items"));
    inner.is_some_and(|schema| takes_secret(root, schema, rest, depth + 1))
}

fn form(kind: &ValidationErrorKind) -> Option<String> {
    match kind {
        ValidationErrorKind::Type { kind } => Some(wanted_types(kind)),
        ValidationErrorKind::Constant { expected_value } => {
            Some(format!("`{}`", plain(expected_value)))
        }
        _ => None,
    }
}

fn wanted_types(kind: &TypeKind) -> String {
    let names: Vec<String> = match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
    };
    let names: Vec<&str> =
        names.iter().filter(|name| *name != "null").map(|name| word(name)).collect();
    names.join(" or ")
}

/// The words of the runbook for the types of JSON.
fn word(json: &str) -> &'static str {
    match json {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a struct",
        _ => "nothing",
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a struct",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
