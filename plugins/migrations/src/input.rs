//! What the actions take, and what can be said of it without looking.

use std::path::PathBuf;

use backout_plugin_api::{
    Checked, Context, Guarantee, InputProblem, PrepareFailure, SecretRef, TargetId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which migration tool's files and ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// goose, with migrations in SQL.
    #[default]
    Goose,
}

/// A version: a number, or a text that holds one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum VersionText {
    /// As a number.
    Number(i64),
    /// As a text.
    Text(String),
}

impl VersionText {
    pub(crate) fn number(&self) -> Result<i64, String> {
        let number = match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        };
        number.filter(|number| *number >= 0).ok_or_else(|| {
            "a version is a whole number: that of a migration file, or 0 for an empty schema"
                .to_owned()
        })
    }
}

fn default_dir() -> String {
    "migrations".to_owned()
}

fn default_table() -> String {
    "goose_db_version".to_owned()
}

/// What `migrations.down` and `migrations.up` take.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShiftInput {
    /// The tool that made the ledger.
    #[serde(default)]
    pub(crate) tool: Tool,
    /// A secret whose value names the database: a path or `sqlite:PATH`, options after `?`.
    #[serde(default)]
    pub(crate) database: Option<SecretRef>,
    /// The database file's path, where that is no secret; instead of `database`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// The folder of migration files.
    #[serde(default = "default_dir")]
    pub(crate) dir: String,
    /// The version that the schema is at afterwards; 0 is before the first migration.
    pub(crate) to: VersionText,
    /// The ledger's table.
    #[serde(default = "default_table")]
    pub(crate) table: String,
    /// Whether foreign keys are enforced while it runs. By default as the database's options say,
    /// and without any as the tool: they are not.
    #[serde(default)]
    pub(crate) foreign_keys: Option<bool>,
}

/// What `migrations.assert` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssertInput {
    /// The tool that made the ledger.
    #[serde(default)]
    pub(crate) tool: Tool,
    /// A secret whose value names the database: a path or `sqlite:PATH`, options after `?`.
    #[serde(default)]
    pub(crate) database: Option<SecretRef>,
    /// The database file's path, where that is no secret; instead of `database`.
    #[serde(default)]
    pub(crate) path: Option<String>,
    /// The version that the schema should be at.
    pub(crate) at: VersionText,
    /// The ledger's table.
    #[serde(default = "default_table")]
    pub(crate) table: String,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) foreign_keys: Option<bool>,
}

/// Resolves the database of an input.
pub(crate) async fn place(
    ctx: &Context,
    database: Option<&SecretRef>,
    path: Option<&String>,
) -> Result<Place, PrepareFailure> {
    match (database, path) {
        (None, Some(path)) => Ok(Place { path: PathBuf::from(path), foreign_keys: None }),
        (Some(reference), None) => {
            let (secrets, reference) = (ctx.secrets.clone(), reference.clone());
            let secret = tokio::task::spawn_blocking(move || secrets.resolve(&reference)).await;
            let secret = match secret {
                Ok(Ok(secret)) => secret,
                Ok(Err(error)) => return Err(unreachable(error.to_string())),
                Err(error) => return Err(unreachable(error.to_string())),
            };
            Ok(parse_url(secret.expose().trim()))
        }
        _ => {
            let reason = "name the database by either `database` or `path`".to_owned();
            Err(PrepareFailure::Refused { reason })
        }
    }
}

fn unreachable(reason: String) -> PrepareFailure {
    PrepareFailure::Unreachable { reason }
}

/// A path, or a URL as goose and its SQLite drivers take them.
fn parse_url(url: &str) -> Place {
    let (place, options) = url.split_once('?').unwrap_or((url, ""));
    let schemes = ["sqlite3://", "sqlite://", "sqlite3:", "sqlite:", "file:"];
    let path = schemes.iter().find_map(|scheme| place.strip_prefix(scheme)).unwrap_or(place);
    let foreign_keys = options.split('&').find_map(|option| {
        let value = option
            .strip_prefix("_pragma=foreign_keys(")
            .map(|value| value.trim_end_matches(')'))
            .or_else(|| option.strip_prefix("_pragma=foreign_keys="))
            .or_else(|| option.strip_prefix("_foreign_keys="))
            .or_else(|| option.strip_prefix("_fk="))?;
        Some(matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "true" | "yes"))
    });
    Place { path: PathBuf::from(path), foreign_keys }
}

/// Checks what both inputs share; `version` is the name of the version's field.
pub(crate) fn check(input: &Value, version: &str, guarantee: Guarantee) -> Checked {
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
        problem("table", message, "letters, digits and `_` only, as in `goose_db_version`");
    }
    let wanted = input.get(version).cloned().unwrap_or_default();
    if !wanted.as_str().is_some_and(open)
        && let Some(Err(message)) =
            VersionText::deserialize(&wanted).ok().map(|version| version.number())
    {
        problem(version, message, "write the number at the start of the file's name");
    }
    let target = text("path").filter(|path| !open(path));
    Checked {
        problems,
        warnings: Vec::new(),
        guarantee: Some(guarantee),
        targets: target.map(|path| TargetId::new(format!("sqlite:{path}"))).into_iter().collect(),
    }
}

/// Whether a table's name can stand in a statement as it is.
pub(crate) fn is_table_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Place, VersionText, parse_url};

    #[test]
    fn urls_are_read_as_the_tools_write_them() {
        for (url, path, foreign_keys) in [
            ("./shop.db", "./shop.db", None),
            ("sqlite:///var/shop.db?mode=rw", "/var/shop.db", None),
            ("file:shop.db?_pragma=foreign_keys(1)&x=y", "shop.db", Some(true)),
            ("shop.db?_fk=0", "shop.db", Some(false)),
        ] {
            assert_eq!(parse_url(url), Place { path: path.into(), foreign_keys }, "{url}");
        }
    }

    #[test]
    fn versions_are_numbers() {
        assert_eq!(VersionText::Text("00003".to_owned()).number(), Ok(3));
        assert_eq!(VersionText::Number(0).number(), Ok(0));
        assert!(VersionText::Text("1.4".to_owned()).number().is_err());
        assert!(VersionText::Number(-1).number().is_err());
    }
}
