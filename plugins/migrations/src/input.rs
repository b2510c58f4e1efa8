//! What the actions take, and what can be said of it without looking.

use std::time::Duration;

use backout_plugin_api::{Checked, Guarantee, InputProblem, PrepareFailure, SecretRef, TargetId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tool::Tool;

/// A version as its tool writes it: a number or a text.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum VersionText {
    /// As a number.
    Number(u64),
    /// As a text.
    Text(String),
}

impl VersionText {
    /// As a text, as it was written.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.trim().to_owned(),
        }
    }
}

fn default_dir() -> String {
    "migrations".to_owned()
}

/// What `migrations.down` and `migrations.up` take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShiftInput {
    /// The tool that made the ledger.
    #[serde(default)]
    pub(crate) tool: Tool,
    /// A secret whose value names the database: a URL, or for SQLite a path.
    #[serde(default)]
    pub(crate) database: Option<SecretRef>,
    /// A SQLite file's path, where that is no secret; instead of `database`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// The folder of migration files.
    #[serde(default = "default_dir")]
    pub(crate) dir: String,
    /// The version that the schema is at afterwards; 0 is before the first migration.
    pub(crate) to: VersionText,
    /// The ledger's table; by default the tool's own. `schema.table` names both.
    #[serde(default)]
    pub(crate) table: Option<String>,
    /// SQLite: whether foreign keys are enforced while it runs. By default as the database's
    /// options say, and without any as the tool: they are not.
    #[serde(default)]
    pub(crate) foreign_keys: Option<bool>,
    /// How long a statement waits for a lock, `1s` by default: everybody who comes meanwhile waits
    /// behind it. It is tried again until the step's timeout.
    #[serde(default)]
    pub(crate) lock_timeout: Option<String>,
    /// How long one statement may run, `30s` by default.
    #[serde(default)]
    pub(crate) statement_timeout: Option<String>,
    /// `migrations.down`: whether dropped tables and columns are copied, so that an undo puts them
    /// back; or up to which size, `64MiB` by default.
    #[serde(default)]
    pub(crate) keep_data: Option<KeepData>,
    /// `migrations.up`, as an undo calls it: the keys of the effects whose copies are put back.
    #[serde(default)]
    pub(crate) put_back: Option<Vec<String>>,
}

/// What of the data that goes is kept.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum KeepData {
    /// Up to the default size, or nothing.
    Whether(bool),
    /// Up to this size: `10GiB`.
    UpTo(String),
}

/// Bytes of dropped tables and columns that are kept by default: copied in about a second, while
/// nobody reads the table.
const KEEP_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes to keep; nothing where nothing is kept.
pub(crate) fn keep(wanted: Option<&KeepData>) -> Result<Option<u64>, PrepareFailure> {
    match wanted {
        None | Some(KeepData::Whether(true)) => Ok(Some(KEEP_BYTES)),
        Some(KeepData::Whether(false)) => Ok(None),
        Some(KeepData::UpTo(size)) => bytes(size).map(Some).ok_or_else(|| {
            let reason = format!("`{size}` is no size; write it as in `64MiB` or `10GiB`");
            PrepareFailure::Refused { reason }
        }),
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// How long a statement waits for a lock by default: users notice more than a second.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a statement may run by default: it holds its locks that long.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time for either: a day.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// A time in milliseconds; zero would mean for ever, and is refused.
pub(crate) fn millis(text: Option<&String>, default: Duration) -> Result<u64, PrepareFailure> {
    let time = text.map_or(Ok(default), |text| humantime::parse_duration(text));
    let time = time.ok().filter(|time| time.as_millis() > 0 && *time <= TIMEOUT_MAX);
    let time = time.ok_or_else(|| PrepareFailure::Refused {
        reason: format!(
            "`{}` is no time from 1ms to 24h; write it as in `2s`",
            text.map_or("", String::as_str)
        ),
    })?;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What `migrations.assert` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssertInput {
    /// The tool that made the ledger.
    #[serde(default)]
    pub(crate) tool: Tool,
    /// A secret whose value names the database: a URL, or for SQLite a path.
    #[serde(default)]
    pub(crate) database: Option<SecretRef>,
    /// A SQLite file's path, where that is no secret; instead of `database`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// The version that the schema should be at.
    pub(crate) at: VersionText,
    /// The ledger's table; by default the tool's own. `schema.table` names both.
    #[serde(default)]
    pub(crate) table: Option<String>,
}

/// The ledger's table, checked.
pub(crate) fn table(tool: Tool, named: Option<&String>) -> Result<String, PrepareFailure> {
    let table = named.map_or(tool.driver().table(), String::as_str);
    if is_table_name(table) {
        return Ok(table.to_owned());
    }
    let reason = format!("`{table}` is no plain table name");
    Err(PrepareFailure::Refused { reason })
}

/// Checks what both inputs share.
pub(crate) fn check(input: &Value, guarantee: Guarantee) -> Checked {
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let open = |text: &str| text.contains("${");
    let mut problems = Vec::new();
    let mut problem = |at: &str, message: String, help: &str| {
        let help = Some(help.to_owned());
        problems.push(InputProblem { at: format!("/{at}"), message, help });
    };
    match (text("database"), text("path")) {
        (None, None) => problem(
            "database",
            "no database is named".to_owned(),
            "give `database: \"env:DATABASE_URL\"`, or `path` for a plain path",
        ),
        (Some(_), Some(_)) => {
            problem("path", "`database` and `path` name two".to_owned(), "keep one of them");
        }
        _ => {}
    }
    if let Some(table) = text("table")
        && !open(table)
        && !is_table_name(table)
    {
        let message = format!("`{table}` is no plain table name");
        let help = "letters, digits and `_` only, as in `goose_db_version` or `ops.ledger`";
        problem("table", message, help);
    }
    if let Some(size) = text("keep_data").filter(|size| !open(size))
        && bytes(size).is_none()
    {
        let help = "a number and a unit, as in `64MiB`; or true, or false";
        problem("keep_data", format!("`{size}` is no size"), help);
    }
    for name in ["lock_timeout", "statement_timeout"] {
        let written = text(name).filter(|text| !open(text)).map(str::to_owned);
        if let Some(Err(failure)) = written.map(|text| millis(Some(&text), LOCK_TIMEOUT)) {
            problem(name, failure.reason().to_owned(), "a number and a unit, as in `500ms`");
        }
    }
    let target = text("path").filter(|path| !open(path));
    Checked {
        problems,
        warnings: Vec::new(),
        guarantee: Some(guarantee),
        targets: target.map(|path| TargetId::new(format!("sqlite:{path}"))).into_iter().collect(),
    }
}

/// Whether a table's name, perhaps after a schema's, has nothing in it that needs quotes.
pub(crate) fn is_table_name(name: &str) -> bool {
    let is_plain = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.split('.').count() <= 2 && name.split('.').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::{VersionText, bytes, is_table_name};

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("7", Some(7)),
            ("64 MiB", Some(67_108_864)),
            ("1gb", Some(1_000_000_000)),
            ("x", None),
        ] {
            assert_eq!(bytes(text), size, "{text}");
        }
    }

    #[test]
    fn versions_are_texts() {
        for (version, text) in [
            (VersionText::Number(3), "3"),
            (VersionText::Text(" 00003".to_owned()), "00003"),
            (VersionText::Text("000".to_owned()), "000"),
            (VersionText::Text("1_a.sql".to_owned()), "1_a.sql"),
        ] {
            assert_eq!(version.text(), text);
        }
    }

    #[test]
    fn tables_are_plain_names() {
        for (name, is) in [
            ("a_1", true),
            ("s.a", true),
            ("a.b.c", false),
            ("1a", false),
            ("a\"", false),
            ("", false),
        ] {
            assert_eq!(is_table_name(name), is, "{name}");
        }
    }
}
