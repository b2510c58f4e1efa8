//! What cannot be part of a migration that we make.

use super::{Statement, Token};
use crate::tool::Dialect;

/// Statements that end, begin or nest a transaction.
const CONTROL: [&str; 8] =
    ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "ABORT"];

/// Statements of SQLite that it refuses inside a transaction, or whose effect outlives a rollback.
const SQLITE_OUTSIDE: [&str; 3] = ["VACUUM", "ATTACH", "DETACH"];

/// Pragmas that work inside a transaction and are rolled back with it, or only read.
const PRAGMAS: [&str; 10] = [
    "APPLICATION_ID",
    "DEFER_FOREIGN_KEYS",
    "FOREIGN_KEY_CHECK",
    "FOREIGN_KEY_LIST",
    "INDEX_INFO",
    "INDEX_LIST",
    "INTEGRITY_CHECK",
    "QUICK_CHECK",
    "TABLE_INFO",
    "USER_VERSION",
];

/// What PostgreSQL refuses inside a transaction: the words that a statement begins with.
const POSTGRES_OUTSIDE: [&[&str]; 9] = [
    &["VACUUM"],
    &["CREATE", "DATABASE"],
    &["DROP", "DATABASE"],
    &["CREATE", "TABLESPACE"],
    &["DROP", "TABLESPACE"],
    &["ALTER", "SYSTEM"],
    &["DISCARD"],
    &["CREATE", "SUBSCRIPTION"],
    &["DROP", "SUBSCRIPTION"],
];

/// Why a statement cannot be run by us at all, if so.
pub(crate) fn unfit(dialect: Dialect, statement: &Statement) -> Option<String> {
    let first = first_word(statement)?;
    let two = |second: &str| statement.tokens.get(1).is_some_and(|token| token.is(second));
    // In SQLite `START` and `ABORT` begin nothing that it knows.
    let prepared = first == "PREPARE" && two("TRANSACTION");
    let session = dialect == Dialect::Mysql
        && (first == "SET" && has_word(statement, "AUTOCOMMIT")
            || ["LOCK", "UNLOCK"].contains(&first) && (two("TABLES") || two("TABLE")));
    if CONTROL.contains(&first) || prepared || session {
        return Some(format!(
            "`{first}` controls the transaction itself; take it out, the migration is made in one \
             transaction where the database can, and else statement by statement"
        ));
    }
    if dialect == Dialect::Mysql && ["USE", "DELIMITER"].contains(&first) {
        return Some(format!("`{first}` is not for a migration; name the database in the URL"));
    }
    if first == "COPY" && (has_word(statement, "STDIN") || has_word(statement, "STDOUT")) {
        return Some("`COPY` from or to a client's own data is not possible here".to_owned());
    }
    None
}

/// Why a statement cannot be part of a transaction, if so.
pub(crate) fn outside(dialect: Dialect, statement: &Statement) -> Option<String> {
    let first = first_word(statement)?;
    let is_outside = match dialect {
        Dialect::Sqlite => SQLITE_OUTSIDE.contains(&first),
        Dialect::Mysql => false,
        Dialect::Postgres => {
            let begins = |words: &&[&str]| {
                words.iter().zip(&statement.tokens).all(|(word, token)| token.is(word))
            };
            let is_index = ["CREATE", "DROP", "REINDEX", "ALTER", "REFRESH"].contains(&first);
            POSTGRES_OUTSIDE.iter().any(begins)
                // A materialized view alone may be refreshed so inside one.
                || is_index && first != "REFRESH" && has_word(statement, "CONCURRENTLY")
        }
    };
    if is_outside {
        return Some(format!("`{first}` cannot be part of a transaction; do it in a step before"));
    }
    if dialect == Dialect::Sqlite && first == "PRAGMA" && !is_known_pragma(statement) {
        let why = "this PRAGMA has no effect, or fails, inside a transaction; take it out";
        return Some(why.to_owned());
    }
    None
}

fn is_known_pragma(statement: &Statement) -> bool {
    let words = statement.tokens.iter().filter_map(|token| match token {
        Token::Word(upper, _) => Some(upper.as_str()),
        Token::Quoted(_) | Token::Text | Token::Sign(_) => None,
    });
    words.skip(1).take(2).any(|word| PRAGMAS.contains(&word))
}

pub(super) fn first_word(statement: &Statement) -> Option<&str> {
    match statement.tokens.first() {
        Some(Token::Word(first, _)) => Some(first),
        _ => None,
    }
}

fn has_word(statement: &Statement, word: &str) -> bool {
    statement.tokens.iter().any(|token| token.is(word))
}
