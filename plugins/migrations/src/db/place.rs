//! Where a database is: a path or a URL, read for one use.

use std::path::PathBuf;
use std::str::FromStr;

use backout_plugin_api::postgres::takes;
use backout_plugin_api::{Context, PrepareFailure, SecretRef};
use serde_json::Value;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;

/// Where a database is. It may hold a password, so it has no `Debug`.
#[derive(Clone)]
pub(crate) enum Place {
    /// A file.
    Sqlite {
        path: PathBuf,
        /// Whether the URL's options say that foreign keys are enforced.
        foreign_keys: Option<bool>,
    },
    /// PostgreSQL.
    Postgres(Box<PgConnectOptions>),
    /// MariaDB or MySQL.
    Mysql(Box<MySqlConnectOptions>),
}

/// Resolves the database of an input.
pub(crate) async fn place(
    ctx: &Context,
    database: Option<&SecretRef>,
    path: Option<&String>,
) -> Result<Place, PrepareFailure> {
    match (database, path) {
        (None, Some(path)) => Ok(Place::Sqlite { path: PathBuf::from(path), foreign_keys: None }),
        (Some(reference), None) => {
            let secret = ctx.secret(reference).await;
            let secret = secret
                .map_err(|error| PrepareFailure::Unreachable { reason: error.to_string() })?;
            parse_url(secret.expose().trim()).ok_or_else(|| PrepareFailure::Refused {
                reason: format!(
                    "the value of {} is no URL of a database; write it as \
                     postgres://USER:PASSWORD@HOST:5432/NAME?sslmode=verify-full, or mysql://, or \
                     sqlite:PATH",
                    reference.0
                ),
            })
        }
        _ => {
            let reason = "name the database by either `database` or `path`".to_owned();
            Err(PrepareFailure::Refused { reason })
        }
    }
}

/// Where the database of a step is now, by its input.
pub(crate) async fn place_of(ctx: &Context, input: &Value) -> Result<Place, PrepareFailure> {
    let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
    place(ctx, text("database").map(SecretRef).as_ref(), text("path").as_ref()).await
}

/// A path, or a URL as the tools and their drivers take them. Nothing where it cannot be read: an
/// error's own text might hold a part of it.
fn parse_url(url: &str) -> Option<Place> {
    if ["sqlite:", "sqlite3:", "file:"].iter().any(|scheme| url.starts_with(scheme)) {
        return Some(parse_sqlite(url));
    }
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => {
            let options = PgConnectOptions::from_str(&postgres_url(url)).ok()?;
            Some(Place::Postgres(Box::new(options)))
        }
        Some(("mysql" | "mariadb", rest)) => {
            let options = MySqlConnectOptions::from_str(&mysql_url(rest)).ok()?;
            // The session is as the tool's own: the server's defaults.
            let options = options.pipes_as_concat(false).no_engine_substitution(false);
            Some(Place::Mysql(Box::new(options.timezone(None))))
        }
        // Whatever it is, its text may hold a password, which no error may show as a path.
        Some(_) => None,
        None if url.contains('@') => go_url(url).and_then(|url| parse_url(&url)),
        None => Some(parse_sqlite(url)),
    }
}

/// `user:password@tcp(host:3306)/name`, as Go's driver of MariaDB writes it.
fn go_url(text: &str) -> Option<String> {
    let (user, rest) = text.rsplit_once("@tcp(")?;
    let (place, name) = rest.split_once(")/")?;
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (user, password) = (escaped(user), escaped(password));
    Some(format!("mysql://{user}:{password}@{place}/{name}"))
}

/// As a part of a URL.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let sign = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(sign).collect()
}

/// Only what is known here: what is not would stand in a log.
const MYSQL_OPTIONS: [&str; 8] =
    ["ssl-mode", "sslmode", "ssl-ca", "ssl-cert", "ssl-key", "charset", "collation", "socket"];

fn postgres_url(url: &str) -> String {
    // Go's drivers take a run-time parameter by its own name.
    let (place, options) = url.split_once('?').unwrap_or((url, ""));
    let path = options.split('&').find_map(|option| option.strip_prefix("search_path="));
    let path = path.map(|path| format!("options[search_path]={path}"));
    let known = options.split('&').filter(|option| takes(option));
    let kept = known.map(str::to_owned).chain(path);
    format!("{place}?{}", kept.collect::<Vec<_>>().join("&"))
}

fn mysql_url(rest: &str) -> String {
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let keep =
        |option: &&str| MYSQL_OPTIONS.contains(&option.split('=').next().unwrap_or_default());
    let kept: Vec<_> = options.split('&').filter(keep).collect();
    format!("mysql://{place}?{}", kept.join("&"))
}

fn parse_sqlite(url: &str) -> Place {
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
    Place::Sqlite { path: PathBuf::from(path), foreign_keys }
}

#[cfg(test)]
mod tests {
    use super::{Place, parse_url};

    #[test]
    fn files_are_read_as_the_tools_write_them() {
        for (url, wanted, keys) in [
            ("./shop.db", "./shop.db", None),
            ("sqlite:///var/shop.db?mode=rw", "/var/shop.db", None),
            ("file:shop.db?_pragma=foreign_keys(1)&x=y", "shop.db", Some(true)),
            ("shop.db?_fk=0", "shop.db", Some(false)),
            ("file:shop.db?_auth_pass=a@b", "shop.db", None),
        ] {
            let Some(Place::Sqlite { path, foreign_keys }) = parse_url(url) else {
                panic!("{url}")
            };
            assert_eq!((path.to_str(), foreign_keys), (Some(wanted), keys), "{url}");
        }
    }

    #[test]
    fn servers_are_read_as_the_tools_write_them() {
        let url = "postgresql://u:p%2f@h:5433/shop?sslmode=disable&search_path=a&x-key=b";
        let Some(Place::Postgres(options)) = parse_url(url) else { panic!("{url}") };
        assert_eq!((options.get_host(), options.get_port()), ("h", 5433));
        assert_eq!(options.get_database(), Some("shop"));
        assert_eq!(options.get_options(), Some("-c search_path=a"));
        let url = "mariadb://u:p@h/shop?parseTime=true";
        let Some(Place::Mysql(options)) = parse_url(url) else { panic!("{url}") };
        assert_eq!((options.get_host(), options.get_database()), ("h", Some("shop")));
        let url = "u:p@s/s@tcp(h:3307)/shop?parseTime=true";
        let Some(Place::Mysql(options)) = parse_url(url) else { panic!("{url}") };
        assert_eq!((options.get_username(), options.get_port()), ("u", 3307));
        for url in ["postgres://u@h:none/x", "mssql://u:p@h/x", "u:p@h/x", "u@tcp(h)x"] {
            assert!(parse_url(url).is_none(), "{url}");
        }
    }
}
