//! Whether a statement that cannot be part of a transaction took effect, by the catalogue.

use crate::db::Conn;
use crate::sql::{self, Deed, Name, Statement, Token};
use crate::tool::Dialect;

/// A query that tells one value, and the value that it has once the statement took effect; without
/// that only an unchanged value tells, namely that it did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    query: String,
    wanted: Option<&'static str>,
}

/// What a probe says of a statement that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Effect,
    None,
    Unknown,
}

impl Probe {
    pub(super) async fn look(&self, conn: &mut Conn) -> sqlx::Result<String> {
        Ok(conn.value(&self.query).await?.unwrap_or_default())
    }

    /// Compares with how it was before the statement.
    pub(super) fn compare(&self, was: &str, now: &str) -> Took {
        match self.wanted {
            Some(wanted) if now == wanted => Took::Effect,
            _ if now == was => Took::None,
            _ => Took::Unknown,
        }
    }

    /// Whether it tells done from not done, whatever happened.
    pub(super) fn tells_all(&self) -> bool {
        self.wanted.is_some()
    }
}

const THERE: Option<&str> = Some("1");
const GONE: Option<&str> = Some("0");

/// How one statement outside a transaction can be seen.
pub(super) fn probe(dialect: Dialect, statement: &Statement) -> Option<Probe> {
    let deeds = sql::deeds(dialect, statement);
    let column = |table: &Name, column: &str, wanted| {
        Some(Probe { query: column_query(dialect, table, column), wanted })
    };
    for deed in &deeds {
        let found = match deed {
            Deed::DropTable { table, .. } => {
                Some(Probe { query: table_query(dialect, table), wanted: GONE })
            }
            Deed::DropColumn { table, column: name, .. } => column(table, name, GONE),
            Deed::RequiredColumn { table, column: name } => column(table, name, THERE),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    created(dialect, statement).or_else(|| shape(dialect, &deeds))
}

/// Tables and indexes that are made or go by name.
fn created(dialect: Dialect, statement: &Statement) -> Option<Probe> {
    let tokens = &statement.tokens;
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token: &Token| token.is(word));
    let name_after = |word: &str| {
        let at = tokens.iter().position(|token| token.is(word))?;
        let skip = ["CONCURRENTLY", "IF", "NOT", "EXISTS"];
        let rest = tokens.get(at + 1..)?.iter();
        let name = rest.clone().find(|token| !skip.iter().any(|word| token.is(word)))?;
        name.name().map(str::to_owned)
    };
    if is(0, "CREATE") && is(1, "TABLE") {
        let table = Name { schema: None, name: name_after("TABLE")? };
        return Some(Probe { query: table_query(dialect, &table), wanted: THERE });
    }
    let wanted = match () {
        () if is(0, "CREATE") => THERE,
        () if is(0, "DROP") => GONE,
        () => return None,
    };
    if !is(1, "INDEX") && !is(2, "INDEX") {
        return None;
    }
    let on = tokens.iter().position(|token| token.is("ON"));
    let table = on.and_then(|at| tokens.get(at + 1)?.name());
    Some(Probe { query: index_query(dialect, &name_after("INDEX")?, table), wanted })
}

fn table_query(dialect: Dialect, table: &Name) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "SELECT CASE WHEN to_regclass({}) IS NULL THEN 0 ELSE 1 END",
            dialect.text(&table.quoted(dialect))
        ),
        Dialect::Mysql | Dialect::Sqlite => {
            format!("SELECT count(*) FROM information_schema.tables WHERE {}", of_table(table))
        }
    }
}

/// The condition that finds a table of MariaDB.
fn of_table(table: &Name) -> String {
    let schema = table.schema.as_ref().map_or("database()".to_owned(), |s| Dialect::Mysql.text(s));
    format!("table_schema = {schema} AND table_name = {}", Dialect::Mysql.text(&table.name))
}

fn column_query(dialect: Dialect, table: &Name, column: &str) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass({}) AND \
             attname = {} AND NOT attisdropped",
            dialect.text(&table.quoted(dialect)),
            dialect.text(column)
        ),
        Dialect::Mysql | Dialect::Sqlite => format!(
            "SELECT count(*) FROM information_schema.columns WHERE {} AND column_name = {}",
            of_table(table),
            dialect.text(column)
        ),
    }
}

/// An index of PostgreSQL that was left half made is neither there nor gone.
fn index_query(dialect: Dialect, index: &str, table: Option<&str>) -> String {
    match dialect {
        Dialect::Postgres => format!(
            "SELECT coalesce((SELECT CASE WHEN indisvalid THEN '1' ELSE 'half made' END FROM \
             pg_catalog.pg_index WHERE indexrelid = to_regclass({})), '0')",
            dialect.text(&dialect.name(index))
        ),
        Dialect::Mysql | Dialect::Sqlite => {
            let table = table.map_or(String::new(), |table| {
                format!(" AND table_name = {}", dialect.text(table))
            });
            format!(
                "SELECT CASE WHEN count(*) = 0 THEN 0 ELSE 1 END FROM information_schema.statistics \
                 WHERE table_schema = database() AND index_name = {}{table}",
                dialect.text(index)
            )
        }
    }
}

/// Everything about the first table that a statement locks: where it is as it was, nothing happened.
fn shape(dialect: Dialect, deeds: &[Deed]) -> Option<Probe> {
    let table = deeds.iter().find_map(|deed| match deed {
        Deed::Lock { table, .. } => Some(table),
        _ => None,
    })?;
    if dialect != Dialect::Mysql {
        return None;
    }
    let of = of_table(table);
    let query = format!(
        "SELECT sha2(concat_ws('|', \
         (SELECT group_concat(concat_ws(',', column_name, column_type, is_nullable, column_default, \
         extra, collation_name) ORDER BY ordinal_position) FROM information_schema.columns WHERE {of}), \
         (SELECT group_concat(concat_ws(',', index_name, column_name, non_unique) ORDER BY index_name, \
         seq_in_index) FROM information_schema.statistics WHERE {of}), \
         (SELECT group_concat(constraint_name ORDER BY constraint_name) FROM \
         information_schema.table_constraints WHERE {of}), \
         (SELECT group_concat(trigger_name ORDER BY trigger_name) FROM information_schema.triggers \
         WHERE event_object_schema = database() AND event_object_table = {}), \
         (SELECT count(*) FROM information_schema.tables WHERE {of})), 256)",
        dialect.text(&table.name)
    );
    Some(Probe { query, wanted: None })
}

#[cfg(test)]
mod tests {
    use super::{Took, probe};
    use crate::sql::statements;
    use crate::tool::Dialect;

    #[test]
    fn what_can_be_seen_is_seen() {
        let (mysql, postgres) = (Dialect::Mysql, Dialect::Postgres);
        for (dialect, text, part, all) in [
            (mysql, "DROP TABLE a", "information_schema.tables", true),
            (mysql, "CREATE TABLE IF NOT EXISTS b (x int)", "'b'", true),
            (mysql, "ALTER TABLE a DROP COLUMN c", "'c'", true),
            (mysql, "CREATE INDEX i ON t (a)", "index_name = 'i' AND table_name = 't'", true),
            (mysql, "ALTER TABLE a MODIFY c int", "sha2", false),
            (postgres, "DROP INDEX CONCURRENTLY IF EXISTS i", "'\"i\"'", true),
        ] {
            let found = probe(dialect, &statements(dialect, text)[0]).unwrap();
            assert!(found.query.contains(part), "{text}: {}", found.query);
            assert_eq!(found.tells_all(), all, "{text}");
        }
        assert_eq!(probe(postgres, &statements(postgres, "VACUUM a")[0]), None);
    }

    #[test]
    fn an_unchanged_value_means_nothing_happened() {
        let statement = &statements(Dialect::Postgres, "DROP INDEX CONCURRENTLY i")[0];
        let probe = probe(Dialect::Postgres, statement).unwrap();
        assert_eq!(probe.compare("1", "1"), Took::None);
        assert_eq!(probe.compare("1", "0"), Took::Effect);
        assert_eq!(probe.compare("1", "half made"), Took::Unknown);
    }
}
