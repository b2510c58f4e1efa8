//! Where a database is: a path or a URL, read for one use.

use std::path::PathBuf;

use backout_plugin_api::{Context, PrepareFailure, SecretRef};

/// Where a database is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A file.
    Sqlite {
        path: PathBuf,
        /// Whether the URL's options say that foreign keys are enforced.
        foreign_keys: Option<bool>,
    },
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
            Ok(parse_url(secret.expose().trim()))
        }
        _ => {
            let reason = "name the database by either `database` or `path`".to_owned();
            Err(PrepareFailure::Refused { reason })
        }
    }
}

/// A path, or a URL as the tools and their drivers take them.
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
    Place::Sqlite { path: PathBuf::from(path), foreign_keys }
}

#[cfg(test)]
mod tests {
    use super::{Place, parse_url};

    #[test]
    fn urls_are_read_as_the_tools_write_them() {
        for (url, wanted, keys) in [
            ("./shop.db", "./shop.db", None),
            ("sqlite:///var/shop.db?mode=rw", "/var/shop.db", None),
            ("file:shop.db?_pragma=foreign_keys(1)&x=y", "shop.db", Some(true)),
            ("shop.db?_fk=0", "shop.db", Some(false)),
        ] {
            let Place::Sqlite { path, foreign_keys } = parse_url(url);
            assert_eq!((path.to_str(), foreign_keys), (Some(wanted), keys), "{url}");
        }
    }
}
