//! `checks.sql`: one value of a database, held against a bound.

use std::time::Duration;

use async_trait::async_trait;
use backout_plugin_api::look::{Check, Sample, Told, refused, unreachable};
use backout_plugin_api::web::check_secret;
use backout_plugin_api::words::{fetched, has_expression, problem, quoted};
use backout_plugin_api::{ByHand, Checked, Context, Masker, PrepareFailure, Secret, SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bound::Bound;

mod database;
mod mariadb;
mod postgres;
mod sqlite;

/// Characters of a text that the record keeps: the value is an answer, not a document.
const VALUE_CHARS_MAX: usize = 200;
/// Bytes of a query.
const QUERY_BYTES_MAX: usize = 16 * 1024;

/// What `checks.sql` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlInput {
    /// Where the database's URL stands: `postgres://user:password@host/name`, `mysql://…`,
    /// `mariadb://…` or `sqlite:///path`.
    url: SecretRef,
    /// One query that gives one row with one value. It runs in a transaction that only reads.
    query: String,
    /// The value must be this or less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// The value must be this or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// The value must be this: a number, a text or a boolean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    equals: Option<Value>,
}

/// The check `checks.sql`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlCheck;

/// Why a database gave no value.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The database said no, or the query is not what is wanted.
    Refused(String),
    /// It did not answer.
    Silent(String),
}

impl Trouble {
    /// The same with more words behind it.
    fn with(self, more: &str) -> Self {
        match self {
            Self::Refused(why) => Self::Refused(why + more),
            Self::Silent(why) => Self::Silent(why + more),
        }
    }
}

#[async_trait]
impl Check for SqlCheck {
    type Input = SqlInput;

    fn told(&self) -> Told {
        Told {
            name: "checks.sql",
            summary: "Holds one value of a database against a bound.",
            docs: include_str!("docs/sql.md"),
            example: concat!(
                r#"(url: "env:SHOP_DATABASE_URL", query: "SELECT count(*) FROM orders "#,
                r#"WHERE state = 'stuck'", at_most: 0)"#
            ),
        }
    }

    fn title(&self, input: &SqlInput) -> String {
        let line = input.query.split_whitespace().collect::<Vec<_>>().join(" ");
        let short: String = line.chars().take(80).collect();
        let dots = if short.len() < line.len() { "…" } else { "" };
        format!("{short}{dots}")
    }

    fn check(&self, input: &SqlInput, checked: &mut Checked) {
        check_secret(checked, "/url", &input.url);
        let bound = input.bound();
        bound.check(checked);
        if bound.is_empty() {
            let help = "give `at_most`, `at_least` or `equals`";
            problem(checked, "/query", "its value is held against nothing", help);
        }
        if input.query.len() > QUERY_BYTES_MAX {
            let message = format!("longer than QUERY_BYTES_MAX ({QUERY_BYTES_MAX} bytes)");
            problem(checked, "/query", message, "make a view of it");
        }
        if !has_expression(&input.query) && bare(&input.query).is_empty() {
            problem(checked, "/query", "there is no query", "write a SELECT");
        }
        if bare(&input.query).contains(';') {
            let help = "leave out `;`; in a text write char(59) or chr(59)";
            problem(checked, "/query", "this may be more than one statement", help);
        }
    }

    fn by_hand(&self, input: &SqlInput) -> ByHand {
        let (url, query) = (fetched(&input.url), quoted(&input.query));
        ByHand {
            does: "looks at one value of a database".to_owned(),
            commands: vec![
                format!("psql \"{url}\" -c 'BEGIN READ ONLY' -Atc {query}"),
                format!("# or: mariadb … -e {query}; sqlite3 -readonly FILE {query}"),
            ],
            verify: vec![format!("# the value is {}", input.wanted())],
        }
    }

    async fn look(&self, ctx: &Context, input: &SqlInput) -> Result<Sample, PrepareFailure> {
        let secret = ctx.secret(&input.url).await.map_err(|error| refused(error.to_string()))?;
        let found = database::ask(&secret, bare(&input.query), ctx.timeout).await;
        let value = found.map_err(|trouble| told(&secret, &input.url, trouble))?;
        let Some(value) = value else {
            return Err(refused(format!(
                "{}: there is no value (no row, or NULL)",
                self.title(input)
            )));
        };
        // A number that is none is no data; a text that looks so is a text.
        let is_text = input.equals.as_ref().is_some_and(Value::is_string);
        if !is_text && value.trim().parse::<f64>().is_ok_and(|number| !number.is_finite()) {
            return Err(refused(format!("{}: its value is {value}", self.title(input))));
        }
        Ok(sample(input, &value))
    }
}

impl SqlInput {
    fn bound(&self) -> Bound<'_> {
        Bound { at_most: self.at_most, at_least: self.at_least, equals: self.equals.as_ref() }
    }

    fn wanted(&self) -> String {
        let most = self.at_most.map(|most| format!("at most {most}"));
        let least = self.at_least.map(|least| format!("at least {least}"));
        let equals = self.equals.as_ref().map(ToString::to_string);
        let all: Vec<_> = most.into_iter().chain(least).chain(equals).collect();
        all.join(", ")
    }
}

/// The query without the `;` that ends it in a shell.
fn bare(query: &str) -> &str {
    query.trim().trim_end_matches([';', ' ', '\n', '\t', '\r'])
}

fn sample(input: &SqlInput, value: &str) -> Sample {
    let kept: String = value.chars().take(VALUE_CHARS_MAX).collect();
    let wrong = input.bound().wrong_text("the value", value);
    let wrong = wrong.map(|line| line.chars().take(2 * VALUE_CHARS_MAX).collect());
    let seen = match kept.parse::<f64>() {
        Ok(number) if number.is_finite() => json!({ "value": number }),
        _ => json!({ "value": kept }),
    };
    Sample { wrong: wrong.into_iter().collect(), seen }
}

/// In words, without the URL and the password in it.
fn told(url: &Secret, reference: &SecretRef, trouble: Trouble) -> PrepareFailure {
    let secrets = database::secrets(url);
    let said =
        |text: String| format!("database of `{}`: {}", reference.0, Masker::text(&secrets, &text));
    match trouble {
        Trouble::Refused(text) => refused(said(text)),
        Trouble::Silent(text) => unreachable(said(text)),
    }
}

/// How long a connection may take: half of the verb's time, so that what hangs later is told apart.
fn connect_within(timeout: Duration) -> Duration {
    timeout / 2
}

/// How long the query may take on the server: the verb's time is over soon after.
fn query_within(timeout: Duration) -> Duration {
    timeout.saturating_sub(timeout / 10)
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_query_is_taken_without_its_end() {
        assert_eq!(bare(" SELECT 1;\n ; "), "SELECT 1");
        assert_eq!(bare(";"), "");
    }
}
