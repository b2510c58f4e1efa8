//! What a statement does to tables and rows that are there, as far as its words tell.

use super::Statement;
use super::alter::alter_table;
use super::cursor::Cursor;
use crate::tool::Dialect;

/// A table's name, with its schema where that is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl Name {
    /// In its quotes.
    pub(crate) fn quoted(&self, dialect: Dialect) -> String {
        let name = dialect.name(&self.name);
        match &self.schema {
            Some(schema) => format!("{}.{name}", dialect.name(schema)),
            None => name,
        }
    }

    /// For people.
    pub(crate) fn said(&self) -> String {
        self.schema
            .as_ref()
            .map_or_else(|| self.name.clone(), |schema| format!("{schema}.{}", self.name))
    }
}

/// Whom a statement's lock on a table keeps waiting while its transaction runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Blocks {
    Writers,
    Readers,
}

/// One thing that a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    DropTable {
        table: Name,
        cascade: bool,
    },
    DropColumn {
        table: Name,
        column: String,
        cascade: bool,
    },
    /// Rows are deleted or changed.
    Rows {
        verb: &'static str,
        table: Name,
    },
    /// Rows are added, which an undo does not take away; where, if that can be read.
    Added {
        table: Option<Name>,
    },
    NotNull {
        table: Name,
        column: String,
    },
    Check {
        table: Name,
        condition: String,
    },
    Unique {
        table: Name,
        columns: Vec<String>,
    },
    ForeignKey {
        table: Name,
        columns: Vec<String>,
        other: Name,
        others: Vec<String>,
    },
    ColumnType {
        table: Name,
        column: String,
        to: String,
    },
    /// A column that may not be null and has no default.
    RequiredColumn {
        table: Name,
        column: String,
    },
    /// The table is written anew.
    Rewrite {
        table: Name,
        why: &'static str,
    },
    /// A lock on a table.
    Lock {
        table: Name,
        blocks: Blocks,
    },
    /// A lock on the table of an index.
    IndexLock {
        index: Name,
    },
}

/// Everything that a statement does, as far as it is known.
pub(crate) fn deeds(dialect: Dialect, statement: &Statement) -> Vec<Deed> {
    let mut at = Cursor { tokens: &statement.tokens };
    let mut found = Vec::new();
    read(dialect, &mut at, &mut found);
    conditions(dialect, statement, &mut found);
    found
}

/// Gives each check its condition as it is written, with the texts that tokens do not keep.
fn conditions(dialect: Dialect, statement: &Statement, found: &mut [Deed]) {
    let written = super::checks(dialect, &statement.text);
    let is_check = |deed: &&mut Deed| matches!(deed, Deed::Check { .. });
    let mut checks: Vec<_> = found.iter_mut().filter(is_check).collect();
    // Else one of them belongs to a column of its own.
    if checks.len() == written.len() {
        for (check, text) in checks.iter_mut().zip(written) {
            if let Deed::Check { condition, .. } = check {
                *condition = text;
            }
        }
    }
}

fn read(dialect: Dialect, at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    if at.eat(&["DROP"]) {
        return drop_something(dialect, at, found);
    }
    if at.eat(&["ALTER", "TABLE"]) {
        return alter_table(dialect, at, found);
    }
    if at.eat(&["CREATE"]) {
        return create(at, found);
    }
    if at.eat(&["TRUNCATE"]) {
        at.eat(&["TABLE"]);
        at.eat(&["ONLY"]);
        let table = at.name()?;
        found.push(Deed::Rows { verb: "deletes all", table: table.clone() });
        found.push(Deed::Lock { table, blocks: Blocks::Readers });
        return Some(());
    }
    rows(at, found)
}

fn rows(at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    let verb = if at.eat(&["DELETE"]) {
        at.eat(&["FROM"]);
        "deletes"
    } else if at.eat(&["UPDATE"]) {
        if at.eat(&["OR"]) {
            at.next();
        }
        "changes"
    } else if at.eat(&["REPLACE"]) {
        at.eat(&["INTO"]);
        "replaces"
    } else {
        // Whatever a block, a call or a query does with rows is not known.
        let writes = ["INSERT", "WITH", "DO", "CALL", "MERGE", "COPY"];
        if writes.iter().any(|word| at.peek().is_some_and(|token| token.is(word))) {
            found.push(Deed::Added { table: inserted(*at) });
        }
        return Some(());
    };
    at.eat(&["ONLY"]);
    let table = at.name()?;
    found.push(Deed::Rows { verb, table });
    Some(())
}

/// The table of an `INSERT`.
fn inserted(mut at: Cursor<'_>) -> Option<Name> {
    at.eat(&["INSERT"]).then_some(())?;
    if at.eat(&["OR"]) {
        at.next();
    }
    at.eat(&["IGNORE"]);
    at.eat(&["INTO"]);
    at.name()
}

fn drop_something(dialect: Dialect, at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    at.eat(&["TEMPORARY"]);
    let cascade = at.has("CASCADE");
    if at.eat(&["TABLE"]) {
        at.eat(&["IF", "EXISTS"]);
        for mut part in at.parts() {
            let table = part.name()?;
            found.push(Deed::DropTable { table: table.clone(), cascade });
            found.push(Deed::Lock { table, blocks: Blocks::Readers });
        }
    } else if at.eat(&["INDEX"]) {
        let online = at.eat(&["CONCURRENTLY"]);
        at.eat(&["IF", "EXISTS"]);
        let index = at.name()?;
        if dialect == Dialect::Mysql && at.eat(&["ON"]) {
            found.push(Deed::Lock { table: at.name()?, blocks: Blocks::Writers });
        } else if !online {
            found.push(Deed::IndexLock { index });
        }
    } else if (at.eat(&["TRIGGER"]) || at.eat(&["POLICY"]) || at.eat(&["RULE"]))
        && let Some(on) = at.tokens.iter().position(|token| token.is("ON"))
    {
        let mut table = Cursor { tokens: at.tokens.get(on + 1..)? };
        found.push(Deed::Lock { table: table.name()?, blocks: Blocks::Readers });
    }
    Some(())
}

fn create(at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    let unique = at.eat(&["UNIQUE"]);
    let is_trigger = at.tokens.iter().take(4).any(|token| token.is("TRIGGER"));
    if !at.eat(&["INDEX"]) && !is_trigger {
        return Some(());
    }
    let online = at.has("CONCURRENTLY");
    let on = at.tokens.iter().position(|token| token.is("ON"))?;
    let mut rest = Cursor { tokens: at.tokens.get(on + 1..)? };
    rest.eat(&["ONLY"]);
    let table = rest.name()?;
    if !online {
        found.push(Deed::Lock { table: table.clone(), blocks: Blocks::Writers });
    }
    if unique && rest.eat(&["USING"]) {
        rest.word()?;
    }
    if unique
        && !rest.has("WHERE")
        && let Some(columns) = rest.columns()
    {
        found.push(Deed::Unique { table, columns });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::{Blocks, Deed, Name, deeds};
    use crate::sql::statements;
    use crate::tool::Dialect;

    fn all(dialect: Dialect, text: &str) -> Vec<Deed> {
        statements(dialect, text).iter().flat_map(|one| deeds(dialect, one)).collect()
    }

    fn said(dialect: Dialect, text: &str) -> Vec<String> {
        all(dialect, text)
            .into_iter()
            .map(|deed| match deed {
                Deed::DropTable { table, cascade } => format!("table {} {cascade}", table.said()),
                Deed::DropColumn { table, column, .. } => {
                    format!("column {}.{column}", table.said())
                }
                Deed::Rows { verb, table } => format!("{verb} {}", table.said()),
                Deed::Added { .. } => "added".to_owned(),
                Deed::NotNull { table, column } => format!("not null {}.{column}", table.said()),
                Deed::Check { table, condition } => format!("check {} {condition}", table.said()),
                Deed::Unique { table, columns } => format!("unique {} {columns:?}", table.said()),
                Deed::ForeignKey { table, columns, other, others } => {
                    format!("key {} {columns:?} {} {others:?}", table.said(), other.said())
                }
                Deed::ColumnType { table, column, to } => {
                    format!("type {}.{column} {to}", table.said())
                }
                Deed::RequiredColumn { table, column } => {
                    format!("required {}.{column}", table.said())
                }
                Deed::Rewrite { table, .. } => format!("rewrite {}", table.said()),
                Deed::Lock { table, blocks: Blocks::Readers } => {
                    format!("readers {}", table.said())
                }
                Deed::Lock { table, .. } => format!("writers {}", table.said()),
                Deed::IndexLock { index } => format!("index {}", index.said()),
            })
            .collect()
    }

    #[test]
    fn drops_are_found_wherever_they_stand() {
        let text = "-- DROP TABLE no;\nSELECT 'DROP TABLE no'; drop table if exists main.\"my tab\"; \
                    ALTER TABLE [a b] DROP COLUMN `c`; alter table t drop d; DELETE FROM e; \
                    CREATE TEMP TRIGGER x AFTER INSERT ON y BEGIN DELETE FROM no; END; DROP INDEX i";
        assert_eq!(
            said(Dialect::Sqlite, text),
            [
                "table main.my tab false",
                "readers main.my tab",
                "column a b.c",
                "readers a b",
                "column t.d",
                "readers t",
                "deletes e",
                "writers y",
                "index i",
            ]
        );
    }

    #[test]
    fn postgres_is_read() {
        let text = "ALTER TABLE ONLY S.T DROP a, ADD CONSTRAINT c CHECK (a > 0 AND \"B\" < 2), \
                    ALTER b SET NOT NULL, ALTER COLUMN c TYPE varchar(10) USING c::text; \
                    ALTER TABLE o ADD FOREIGN KEY (x) REFERENCES u (id); \
                    CREATE UNIQUE INDEX CONCURRENTLY i ON t (a, b); \
                    ALTER TABLE t ADD COLUMN n int NOT NULL, ADD r uuid DEFAULT gen(), \
                    ADD d timestamptz NOT NULL DEFAULT now(); \
                    DO $x$ BEGIN DROP TABLE no; END $x$; DROP TABLE a, b CASCADE; TRUNCATE q;";
        assert_eq!(
            said(Dialect::Postgres, text),
            [
                "column s.t.a",
                "check s.t a > 0 AND \"B\" < 2",
                "not null s.t.b",
                "type s.t.c varchar(10)",
                "readers s.t",
                "writers u",
                "key o [\"x\"] u [\"id\"]",
                "writers o",
                "unique t [\"a\", \"b\"]",
                "required t.n",
                "rewrite t",
                "readers t",
                "added",
                "table a true",
                "readers a",
                "table b true",
                "readers b",
                "deletes all q",
                "readers q",
            ]
        );
    }

    #[test]
    fn mariadb_is_read() {
        let text = "ALTER TABLE `T` MODIFY COLUMN c varchar(5) NOT NULL, CHANGE a b int; # no;\n\
                    DROP INDEX i ON t; SELECT \"DROP TABLE no; \\\" \"; /*! DROP TABLE yes */";
        assert_eq!(
            said(Dialect::Mysql, text),
            [
                "not null T.c",
                "type T.c varchar(5)",
                "type T.a int",
                "readers T",
                "writers t",
                "table yes false",
                "readers yes"
            ]
        );
        let name = Name { schema: Some("a".to_owned()), name: "b`".to_owned() };
        assert_eq!(name.quoted(Dialect::Mysql), "`a`.`b```");
    }
}
