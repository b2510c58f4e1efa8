//! `checks.http`: whether a service answers as it should.

use std::collections::BTreeMap;

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused};
use backout_plugin_api::web::{self, Access, Answer, Ask};
use backout_plugin_api::words::{fetched, has_expression, problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, PrepareFailure, SecretRef};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::words::{check_duration, duration, millis};

/// Bytes of an answer that are read: what a health page says is short, and all of it is searched.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that a compiled pattern may take: patterns here are short, and memory is not theirs.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// A method that changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    /// With a body.
    #[default]
    Get,
    /// Without one.
    Head,
}

/// What `checks.http` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpInput {
    /// Where: `http://…` or `https://…`. Redirects are not followed: they are answers.
    url: String,
    /// `GET` or `HEAD`.
    #[serde(default)]
    method: Method,
    /// Headers, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// Headers whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secret_headers: BTreeMap<String, SecretRef>,
    /// A secret token, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<SecretRef>,
    /// The statuses that are right. Without it, all from 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expect: Vec<u16>,
    /// A text that the body must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    contains: Option<String>,
    /// A regular expression that must be found in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    matches: Option<String>,
    /// For a body of JSON: what must stand at each JSON pointer, `{ "/version": "1.4.2" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    json: BTreeMap<String, Value>,
    /// The longest time that a right answer may take, its body included: `"500ms"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    within: Option<String>,
}

/// The check `checks.http`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpCheck;

#[async_trait]
impl Check for HttpCheck {
    type Input = HttpInput;

    fn told(&self) -> Told {
        Told {
            name: "checks.http",
            summary: "Says whether a service answers as it should.",
            docs: include_str!("docs/http.md"),
            example: concat!(
                r#"(url: "https://shop.example/healthz", expect: [200], "#,
                r#"json: { "/version": "1.4.2" }, within: "500ms")"#
            ),
        }
    }

    fn title(&self, input: &HttpInput) -> String {
        format!("{} {}", input.method.word(), web::shown(&input.url))
    }

    fn check(&self, input: &HttpInput, checked: &mut Checked) {
        input.access().check(checked, "/url", &input.url);
        check_duration(checked, "/within", input.within.as_ref());
        for (at, status) in input.expect.iter().enumerate() {
            if !(100..=599).contains(status) {
                let at = format!("/expect/{at}");
                problem(checked, &at, format!("{status} is no status"), "from 100 to 599");
            }
        }
        if let Some(pattern) = input.matches.as_ref().filter(|pattern| !has_expression(pattern))
            && let Err(error) = compiled(pattern)
        {
            problem(checked, "/matches", error, "test it with `grep -E`");
        }
        for pointer in input.json.keys().filter(|pointer| !has_expression(pointer)) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                let at = format!("/json/{pointer}");
                problem(checked, &at, "this is no JSON pointer", "begin it with `/`: \"/version\"");
            }
        }
        let wants_body =
            input.contains.is_some() || input.matches.is_some() || !input.json.is_empty();
        if input.method == Method::Head && wants_body {
            problem(checked, "/method", "the answer to a HEAD has no body", "use GET");
        }
    }

    fn by_hand(&self, input: &HttpInput) -> ByHand {
        ByHand {
            does: format!("looks whether {} answers as it should", web::shown(&input.url)),
            commands: vec![input.curl()],
            verify: vec![input.wanted()],
        }
    }

    async fn look(&self, ctx: &Context, input: &HttpInput) -> Result<Sample, PrepareFailure> {
        let ask = match input.method {
            Method::Get => Ask::get(&input.url, input.access()),
            Method::Head => Ask::head(&input.url, input.access()),
        };
        let answer = web::read(ctx, &ask, ANSWER_BYTES_MAX).await?;
        sample(input, &answer)
    }
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

impl HttpInput {
    fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
        }
    }

    fn expects(&self, status: u16) -> bool {
        if self.expect.is_empty() {
            (200..=299).contains(&status)
        } else {
            self.expect.contains(&status)
        }
    }

    fn statuses(&self) -> String {
        let words: Vec<_> = self.expect.iter().map(u16::to_string).collect();
        if words.is_empty() { "200 to 299".to_owned() } else { words.join(" or ") }
    }

    fn curl(&self) -> String {
        let mut words = vec![r"curl -sS -w '\n%{http_code} in %{time_total} s\n'".to_owned()];
        if self.method == Method::Head {
            words.push("-I".to_owned());
        }
        for (name, value) in &self.headers {
            words.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
        }
        for (name, reference) in &self.secret_headers {
            words.push(format!("-H \"{name}: {}\"", fetched(reference)));
        }
        if let Some(reference) = &self.bearer {
            words.push(format!("-H \"Authorization: Bearer {}\"", fetched(reference)));
        }
        words.push(quoted(&self.url));
        words.join(" ")
    }

    fn wanted(&self) -> String {
        let mut wanted = vec![format!("# status {}", self.statuses())];
        wanted.extend(self.contains.iter().map(|text| format!("the body holds `{text}`")));
        wanted.extend(self.matches.iter().map(|text| format!("the body matches `{text}`")));
        wanted.extend(self.json.iter().map(|(at, value)| format!("{at} is {value}")));
        wanted.extend(self.within.iter().map(|time| format!("within {time}")));
        wanted.join(", ")
    }
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| format!("this is no regular expression: {error}"))
}

fn sample(input: &HttpInput, answer: &Answer) -> Result<Sample, PrepareFailure> {
    let mut wrong = Vec::new();
    let mut seen = Map::new();
    seen.insert("status".to_owned(), json!(answer.status));
    seen.insert("took_ms".to_owned(), json!(millis(answer.took)));
    if input.expects(answer.status) {
        wrong.extend(wrong_body(input, answer, &mut seen)?);
    } else {
        wrong.push(format!("{}, not {}", answer.says(), input.statuses()));
    }
    let within = input.within.as_deref().map(duration).transpose().map_err(refused)?;
    if let Some(within) = within.filter(|within| answer.took > *within) {
        wrong.push(format!("it took {} ms, longer than {within:?}", millis(answer.took)));
    }
    Ok(Sample { wrong, seen: Value::Object(seen) })
}

fn wrong_body(
    input: &HttpInput,
    answer: &Answer,
    seen: &mut Map<String, Value>,
) -> Result<Vec<String>, PrepareFailure> {
    let mut wrong = Vec::new();
    if let Some(text) = &input.contains
        && !answer.body.contains(text.as_str())
    {
        wrong.push(format!("the body does not hold `{text}`"));
    }
    if let Some(pattern) = &input.matches
        && !compiled(pattern).map_err(refused)?.is_match(&answer.body)
    {
        wrong.push(format!("the body does not match `{pattern}`"));
    }
    if input.json.is_empty() {
        return Ok(wrong);
    }
    match serde_json::from_str::<Value>(&answer.body) {
        Ok(body) => wrong.extend(wrong_fields(input, &body, seen)),
        Err(error) => wrong.push(format!("the body is no JSON: {error}")),
    }
    Ok(wrong)
}

fn wrong_fields(input: &HttpInput, body: &Value, seen: &mut Map<String, Value>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (pointer, wanted) in &input.json {
        let found = body.pointer(pointer);
        if found != Some(wanted) {
            let found = found.map_or_else(|| "not there".to_owned(), short);
            wrong.push(format!("{pointer} is {found}, not {wanted}"));
        }
    }
    let holds = wrong.is_empty();
    seen.insert("json".to_owned(), if holds { json!(input.json) } else { Value::Null });
    wrong
}

/// Characters of a value that a reason quotes.
const QUOTE_CHARS_MAX: usize = 100;

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.to_owned(),
            whole: true,
            took: Duration::from_millis(20),
            last_modified: None,
            length: None,
        }
    }

    fn wrong(input: Value, status: u16, body: &str) -> Vec<String> {
        let mut input = input;
        input["url"] = json!("http://x/");
        let input: HttpInput = serde_json::from_value(input).unwrap();
        sample(&input, &answer(status, body)).unwrap().wrong
    }

    #[test]
    fn an_answer_is_held_against_all_that_is_asked() {
        let none = Vec::<String>::new();
        assert_eq!(wrong(json!({}), 204, ""), none);
        assert_eq!(wrong(json!({}), 503, "down\nx"), ["answered 503: down, not 200 to 299"]);
        assert_eq!(wrong(json!({"expect": [404]}), 404, ""), none);
        assert_eq!(wrong(json!({"contains": "ok"}), 200, "all ok"), none);
        assert_eq!(wrong(json!({"contains": "ok"}), 200, "no"), ["the body does not hold `ok`"]);
        assert_eq!(wrong(json!({"matches": "v1\\.[0-9]+"}), 200, "v1.4"), none);
        assert_eq!(wrong(json!({"within": "20ms"}), 200, ""), none);
        assert_eq!(wrong(json!({"within": "19ms"}), 200, ""), ["it took 20 ms, longer than 19ms"]);
        let fields = json!({"json": {"/v": "1.4.2", "/deep/0": 1}});
        assert_eq!(wrong(fields.clone(), 200, r#"{"v":"1.4.2","deep":[1]}"#), none);
        assert_eq!(
            wrong(fields.clone(), 200, r#"{"v":"1.5.0"}"#),
            ["/deep/0 is not there, not 1", "/v is \"1.5.0\", not \"1.4.2\""]
        );
        assert!(wrong(fields, 200, "<html>")[0].starts_with("the body is no JSON"));
    }

    proptest! {
        #[test]
        fn any_answer_is_held_against_something(
            status in 0_u16..1000,
            body in ".{0,200}",
            pointer in "(/[a-z0-9~]{0,3}){0,4}",
        ) {
            let said = wrong(json!({"json": {pointer: 1}, "contains": "x"}), status, &body);
            prop_assert!((200..=299).contains(&status) || !said.is_empty());
        }
    }
}
