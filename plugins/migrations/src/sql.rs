//! SQL, read just far enough: where statements end, what each begins with and what it names.

use crate::tool::Dialect;

mod alter;
mod cursor;
mod deed;
mod fill;
mod token;
mod unfit;

pub(crate) use deed::{Blocks, Deed, Name, deeds};
pub(crate) use fill::{Fill, Filled, Source, brings, checks, fill, filled, makes};
pub(crate) use token::Token;
use token::{Placed, tokens};
pub(crate) use unfit::{outside, unfit};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// As it was written, without the semicolon.
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
}

/// The statements of a text; empty ones are left out.
pub(crate) fn statements(dialect: Dialect, text: &str) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut now: Vec<Placed> = Vec::new();
    for placed in tokens(dialect, text) {
        let ends = placed.0.is_sign(';') && !in_body(dialect, &now);
        if ends {
            all.extend(statement(text, std::mem::take(&mut now)));
        } else {
            now.push(placed);
        }
    }
    all.extend(statement(text, now));
    all
}

fn statement(text: &str, placed: Vec<Placed>) -> Option<Statement> {
    let (first, last) = (placed.first()?.1.start, placed.last()?.1.end);
    let text = text.get(first..last).unwrap_or_default().to_owned();
    Some(Statement { text, tokens: placed.into_iter().map(|(token, _)| token).collect() })
}

/// Whether there is nothing but comments in a text.
pub(crate) fn is_empty(text: &str) -> bool {
    tokens(Dialect::Sqlite, text).iter().all(|(token, _)| token.is_sign(';'))
}

/// Whether a semicolon here stands in a body: of a trigger of SQLite, which ends with `; END`; of
/// anything of MariaDB that has a `BEGIN`; of a function of PostgreSQL in standard SQL.
fn in_body(dialect: Dialect, placed: &[Placed]) -> bool {
    let mut head = placed.iter().map(|(token, _)| token);
    if !head.next().is_some_and(|token| token.is("CREATE")) {
        return false;
    }
    let mut kinds = head.clone().take(8);
    let is_kind = match dialect {
        Dialect::Sqlite => {
            let next = head.find(|token| !token.is("TEMP") && !token.is("TEMPORARY"));
            next.is_some_and(|token| token.is("TRIGGER"))
        }
        Dialect::Postgres => has_pair(placed, "BEGIN", "ATOMIC"),
        Dialect::Mysql => {
            let bodies = ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"];
            let begins = placed.iter().any(|(token, _)| token.is("BEGIN"));
            begins && kinds.any(|token| bodies.iter().any(|body| token.is(body)))
        }
    };
    is_kind && !is_body_ended(dialect, placed)
}

fn has_pair(placed: &[Placed], first: &str, second: &str) -> bool {
    placed.windows(2).any(|pair| match pair {
        [(a, _), (b, _)] => a.is(first) && b.is(second),
        _ => false,
    })
}

/// MariaDB's bodies nest, and their tools send them whole: they end with the text.
fn is_body_ended(dialect: Dialect, placed: &[Placed]) -> bool {
    match placed {
        [.., (before, _), (last, _)] if dialect != Dialect::Mysql => {
            before.is_sign(';') && last.is("END")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{checks, deeds, fill, outside, statements, unfit};
    use crate::tool::Dialect;

    const DIALECTS: [Dialect; 3] = [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];

    const PIECES: [&str; 25] = [
        "'",
        "''",
        "\"",
        "`",
        "[",
        "]",
        "--",
        "/*",
        "*/",
        "\n",
        ";",
        " ",
        "(",
        "CREATE TRIGGER t",
        "BEGIN",
        "CASE",
        "END",
        "DROP TABLE",
        "ALTER TABLE a DROP COLUMN",
        "PRAGMA x",
        "\u{e9}",
        ".",
        "INSERT INTO a SELECT",
        "FROM b",
        "CHECK",
    ];

    fn check_read(text: &str) {
        for dialect in DIALECTS {
            for statement in statements(dialect, text) {
                assert!(text.contains(&statement.text), "{text:?}");
                drop((unfit(dialect, &statement), outside(dialect, &statement)));
                drop((deeds(dialect, &statement), fill(&statement)));
                drop(checks(dialect, &statement.text));
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(?s).{0,200}") {
            check_read(&text);
        }

        #[test]
        fn any_order_of_pieces_is_read(pieces in prop::collection::vec(select(&PIECES[..]), 0..30)) {
            check_read(&pieces.concat());
        }
    }

    fn is_unfit(dialect: Dialect, text: &str) -> bool {
        let mut found = statements(dialect, text).into_iter();
        found.any(|one| unfit(dialect, &one).is_some() || outside(dialect, &one).is_some())
    }

    #[test]
    fn transaction_control_is_found() {
        let (postgres, mysql, sqlite) = (Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite);
        for (dialect, text) in [
            (sqlite, "BEGIN"),
            (postgres, "commit;"),
            (mysql, "/* x */ END"),
            (sqlite, "SAVEPOINT a"),
            (sqlite, "VACUUM"),
            (sqlite, "pragma foreign_keys=off"),
            (postgres, "SELECT 1; START TRANSACTION"),
            (postgres, "PREPARE TRANSACTION 'a'"),
            (postgres, "/* /* */ */ ROLLBACK"),
            (postgres, "SELECT E'\\''; COMMIT"),
            (postgres, "CREATE INDEX CONCURRENTLY i ON t (a)"),
            (postgres, "ALTER SYSTEM SET a = 1"),
            (postgres, "COPY t FROM STDIN"),
            (mysql, "set autocommit = 0"),
            (mysql, "LOCK TABLES t WRITE"),
            (mysql, "SELECT '\\''; COMMIT"),
        ] {
            assert!(is_unfit(dialect, text), "{dialect:?} {text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not_taken_for_it() {
        let (postgres, mysql, sqlite) = (Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite);
        for (dialect, text) in [
            (
                sqlite,
                "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; END;",
            ),
            (sqlite, "PRAGMA user_version = 3"),
            (sqlite, "PRAGMA main.table_info(a)"),
            (sqlite, "SELECT 'BEGIN'; SELECT \"COMMIT\" FROM a"),
            (
                postgres,
                "CREATE FUNCTION f() RETURNS int AS $$ BEGIN; COMMIT; END; $$ LANGUAGE plpgsql",
            ),
            (postgres, "DO $a$ BEGIN; END $$ COMMIT; $a$; SELECT $1"),
            (postgres, "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT 2"),
            (postgres, "REFRESH MATERIALIZED VIEW CONCURRENTLY v"),
            (mysql, "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET @a = 1; END"),
            (mysql, "SELECT 1 # ; COMMIT"),
        ] {
            assert!(!is_unfit(dialect, text), "{dialect:?} {text}");
        }
    }
}
