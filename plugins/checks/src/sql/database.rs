//! Which database a URL names, and what of it must not be shown.

use std::time::Duration;

use backout_plugin_api::{Secret, tls};
use sqlx::error::ErrorKind;

use super::{Trouble, connect_within, mariadb, postgres, query_within, sqlite};

/// The one value of a query as text; `None` where there is no row, or NULL.
pub(super) async fn ask(
    url: &Secret,
    query: &str,
    timeout: Duration,
) -> Result<Option<String>, Trouble> {
    let text = url.expose().trim();
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "postgres" | "postgresql" => postgres::ask(text, query, timeout).await,
        "mysql" | "mariadb" => mariadb::ask(text, query, timeout).await,
        "sqlite" => sqlite::ask(text, query, timeout).await,
        _ => Err(Trouble::Refused(
            "its URL begins with none of postgres://, mysql://, mariadb://, sqlite://".to_owned(),
        )),
    }
}

/// The URL, and the password as it stands there and as it is meant.
pub(super) fn secrets(url: &Secret) -> Vec<String> {
    let text = url.expose().trim();
    let mut secrets = vec![text.to_owned()];
    let authority = text.split_once("://").map(|(_, rest)| rest);
    let authority = authority.and_then(|rest| rest.rsplit_once('@')).map(|(before, _)| before);
    if let Some((_, password)) = authority.and_then(|before| before.split_once(':')) {
        secrets.push(password.to_owned());
        secrets.push(percent_decoded(password));
    }
    secrets
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        let decoded = byte.filter(|_| first == b'%');
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Connects within its share of the time, maybe by TLS with the files that these options name.
pub(super) async fn connected<T>(
    timeout: Duration,
    options: Option<tls::Options>,
    connecting: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, Trouble> {
    let wait = connect_within(timeout);
    tls::name_provider();
    let heard = |error: sqlx::Error| {
        let advice = options.map(|options| tls::advice(&error, options));
        trouble(&error).with(&advice.unwrap_or_default())
    };
    match tokio::time::timeout(wait, connecting).await {
        Ok(done) => done.map_err(heard),
        Err(_) => Err(Trouble::Silent(format!("no connection within {wait:?}"))),
    }
}

/// Asks within its share of the time.
pub(super) async fn answered<T>(
    timeout: Duration,
    asking: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let wait = query_within(timeout);
    match tokio::time::timeout(wait, asking).await {
        Ok(done) => done,
        Err(_) => Err(Trouble::Silent(format!("connected, but no answer within {wait:?}"))),
    }
}

/// What the database said, and whether it said anything.
pub(super) fn trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(said) if said.kind() == ErrorKind::Other => {
            Trouble::Refused(said.message().to_owned())
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
            Trouble::Silent(error.to_string())
        }
        other => Trouble::Refused(other.to_string()),
    }
}

/// Of a query's rows the first; more than one is refused.
pub(super) fn only<R>(rows: Vec<R>) -> Result<Option<R>, Trouble> {
    if rows.len() > 1 {
        let help = "the query gives more than one row; add LIMIT 1 or an aggregate";
        return Err(Trouble::Refused(help.to_owned()));
    }
    Ok(rows.into_iter().next())
}

/// The first value of a row of this many.
pub(super) fn one_column(columns: usize) -> Result<(), Trouble> {
    if columns == 1 {
        return Ok(());
    }
    Err(Trouble::Refused(format!("the query gives {columns} columns; one value is wanted")))
}

#[cfg(test)]
mod tests {
    use backout_plugin_api::Secret;
    use proptest::prelude::*;

    use super::{percent_decoded, secrets};

    #[test]
    fn the_password_is_known_in_both_forms() {
        let url = Secret::new("postgres://shop:p%40ss@db/shop".to_owned());
        assert_eq!(secrets(&url)[1..], ["p%40ss".to_owned(), "p@ss".to_owned()]);
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
    }

    proptest! {
        #[test]
        fn any_url_is_taken_apart(text in ".{0,60}") {
            let url = Secret::new(text.clone());
            prop_assert_eq!(&secrets(&url)[0], text.trim());
        }
    }
}
