//! What a statement does to tables and rows that are there, as far as its words tell.

use super::{Statement, Token};
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
    /// Rows are added, which an undo does not take away.
    Added,
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
    found
}

/// A place among tokens.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    tokens: &'a [Token],
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.first()
    }

    fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Goes over these words where they stand here.
    fn eat(&mut self, words: &[&str]) -> bool {
        let fits = words.len() <= self.tokens.len()
            && words.iter().zip(self.tokens).all(|(word, token)| token.is(word));
        if fits {
            self.tokens = self.tokens.get(words.len()..).unwrap_or_default();
        }
        fits
    }

    fn has(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token.is(word))
    }

    fn name(&mut self) -> Option<Name> {
        let mut parts = vec![self.next()?.name()?.to_owned()];
        while self.peek().is_some_and(|token| token.is_sign('.')) {
            self.next();
            parts.push(self.next()?.name()?.to_owned());
        }
        let name = parts.pop()?;
        Some(Name { schema: parts.pop(), name })
    }

    fn word(&mut self) -> Option<String> {
        self.next()?.name().map(str::to_owned)
    }

    /// What stands in the parentheses here.
    fn inside(&mut self) -> Option<Cursor<'a>> {
        self.peek().filter(|token| token.is_sign('('))?;
        let mut depth = 0_usize;
        let end = self.tokens.iter().position(|token| {
            depth += usize::from(token.is_sign('('));
            depth -= usize::from(token.is_sign(')')).min(depth);
            depth == 0
        })?;
        let inside = Cursor { tokens: self.tokens.get(1..end)? };
        self.tokens = self.tokens.get(end + 1..)?;
        Some(inside)
    }

    /// The names of a list in parentheses; nothing where it holds more than names.
    fn columns(&mut self) -> Option<Vec<String>> {
        let inside = self.inside()?;
        inside
            .parts()
            .into_iter()
            .map(|mut part| {
                let name = part.word()?;
                part.tokens.is_empty().then_some(name)
            })
            .collect()
    }

    /// The parts between commas outside parentheses.
    fn parts(&self) -> Vec<Cursor<'a>> {
        let mut depth = 0_usize;
        let commas = self.tokens.split(|token| {
            depth += usize::from(token.is_sign('('));
            depth -= usize::from(token.is_sign(')')).min(depth);
            depth == 0 && token.is_sign(',')
        });
        commas.map(|tokens| Cursor { tokens }).collect()
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
        "changes"
    } else if at.eat(&["REPLACE"]) {
        at.eat(&["INTO"]);
        "replaces"
    } else {
        // Whatever a block, a call or a query does with rows is not known.
        let writes = ["INSERT", "WITH", "DO", "CALL", "MERGE", "COPY"];
        if writes.iter().any(|word| at.peek().is_some_and(|token| token.is(word))) {
            found.push(Deed::Added);
        }
        return Some(());
    };
    at.eat(&["ONLY"]);
    let table = at.name()?;
    found.push(Deed::Rows { verb, table });
    Some(())
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

fn alter_table(dialect: Dialect, at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    at.eat(&["IF", "EXISTS"]);
    at.eat(&["ONLY"]);
    let table = at.name()?;
    if at.peek().is_some_and(|token| token.is_sign('*')) {
        at.next();
    }
    let mut blocks = Blocks::Writers;
    for mut part in at.parts() {
        // `VALIDATE` lets readers and writers go on, a foreign key lets readers.
        let validates = part.peek().is_some_and(|token| token.is("VALIDATE"));
        if !validates && !part.has("REFERENCES") {
            blocks = Blocks::Readers;
        }
        action(dialect, &table, &mut part, found);
    }
    found.push(Deed::Lock { table, blocks });
    Some(())
}

fn action(
    dialect: Dialect,
    table: &Name,
    at: &mut Cursor<'_>,
    found: &mut Vec<Deed>,
) -> Option<()> {
    if at.eat(&["DROP"]) {
        let kinds = ["CONSTRAINT", "INDEX", "KEY", "PRIMARY", "FOREIGN", "CHECK", "PARTITION"];
        if kinds.iter().any(|kind| at.peek().is_some_and(|token| token.is(kind))) {
            return Some(());
        }
        at.eat(&["COLUMN"]);
        at.eat(&["IF", "EXISTS"]);
        let column = at.word()?;
        let cascade = at.has("CASCADE");
        found.push(Deed::DropColumn { table: table.clone(), column, cascade });
    } else if at.eat(&["ADD"]) {
        return add(table, at, found);
    } else if at.eat(&["ALTER"]) {
        at.eat(&["COLUMN"]);
        let column = at.word()?;
        let table = table.clone();
        if at.eat(&["SET", "NOT", "NULL"]) {
            found.push(Deed::NotNull { table, column });
        } else if at.eat(&["TYPE"]) || at.eat(&["SET", "DATA", "TYPE"]) {
            found.push(Deed::ColumnType { table, column, to: column_type(at) });
        }
    } else if dialect == Dialect::Mysql && at.eat(&["MODIFY"]) {
        at.eat(&["COLUMN"]);
        let column = at.word()?;
        changed(table, column, at, found);
    } else if dialect == Dialect::Mysql && at.eat(&["CHANGE"]) {
        at.eat(&["COLUMN"]);
        let column = at.word()?;
        at.word()?;
        changed(table, column, at, found);
    } else if at.eat(&["SET", "LOGGED"]) || at.eat(&["SET", "UNLOGGED"]) {
        found.push(Deed::Rewrite { table: table.clone(), why: "its persistence changes" });
    } else if at.eat(&["SET", "TABLESPACE"]) {
        found.push(Deed::Rewrite { table: table.clone(), why: "its files move" });
    }
    Some(())
}

fn changed(table: &Name, column: String, at: &Cursor<'_>, found: &mut Vec<Deed>) {
    let not_null = at.tokens.windows(2).any(|pair| match pair {
        [a, b] => a.is("NOT") && b.is("NULL"),
        _ => false,
    });
    if not_null {
        found.push(Deed::NotNull { table: table.clone(), column: column.clone() });
    }
    found.push(Deed::ColumnType { table: table.clone(), column, to: column_type(at) });
}

/// `varchar(20)`, for instance: the words up to what follows a type.
fn column_type(at: &Cursor<'_>) -> String {
    let after = ["USING", "COLLATE", "NOT", "NULL", "DEFAULT", "AFTER", "FIRST", "COMMENT"];
    let is_end = |token: &&Token| after.iter().any(|word| token.is(word));
    let end = at.tokens.iter().position(|token| is_end(&token)).unwrap_or(at.tokens.len());
    written(at.tokens.get(..end).unwrap_or_default()).to_lowercase()
}

fn written(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        match token {
            Token::Word(_, name) | Token::Quoted(name) => {
                let glued = text.is_empty() || text.ends_with(['(', ',', '.']);
                text.push_str(if glued { "" } else { " " });
                text.push_str(name);
            }
            Token::Sign(sign) => text.push(*sign),
            Token::Text => text.push_str("'...'"),
        }
    }
    text
}

fn add(table: &Name, at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    let table = table.clone();
    if at.eat(&["CONSTRAINT"]) {
        let starts = ["CHECK", "UNIQUE", "FOREIGN", "PRIMARY"];
        if !starts.iter().any(|word| at.peek().is_some_and(|token| token.is(word))) {
            at.word()?;
        }
    }
    // What is not validated looks at no row that is there.
    if at.has("VALID") {
        return Some(());
    }
    if at.eat(&["CHECK"]) {
        let inside = at.inside()?;
        // A condition with a literal in it is counted by its own text, which tokens do not keep.
        let condition = inside.tokens.iter().all(|token| *token != Token::Text);
        let condition = if condition { expression(inside.tokens) } else { String::new() };
        found.push(Deed::Check { table, condition });
    } else if at.eat(&["UNIQUE"]) || at.eat(&["PRIMARY", "KEY"]) {
        at.eat(&["INDEX"]);
        at.eat(&["KEY"]);
        if !at.peek()?.is_sign('(') {
            at.word()?;
        }
        found.push(Deed::Unique { table, columns: at.columns()? });
    } else if at.eat(&["FOREIGN", "KEY"]) {
        if !at.peek()?.is_sign('(') {
            at.word()?;
        }
        let columns = at.columns()?;
        at.eat(&["REFERENCES"]).then_some(())?;
        let other = at.name()?;
        let others = at.columns().unwrap_or_default();
        found.push(Deed::Lock { table: other.clone(), blocks: Blocks::Writers });
        found.push(Deed::ForeignKey { table, columns, other, others });
    } else if !["INDEX", "KEY"].iter().any(|word| at.peek().is_some_and(|token| token.is(word))) {
        return add_column(table, at, found);
    }
    Some(())
}

/// A condition as SQL again: names in quotes keep their case.
fn expression(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        match token {
            Token::Word(_, name) => text.push_str(name),
            Token::Quoted(name) => text.push_str(&Dialect::Postgres.name(name)),
            Token::Sign(sign) => text.push(*sign),
            Token::Text => {}
        }
        if !matches!(token, Token::Sign(_)) {
            text.push(' ');
        }
    }
    text
}

fn add_column(table: Name, at: &mut Cursor<'_>, found: &mut Vec<Deed>) -> Option<()> {
    at.eat(&["COLUMN"]);
    at.eat(&["IF", "NOT", "EXISTS"]);
    let column = at.word()?;
    let fills = ["DEFAULT", "SERIAL", "BIGSERIAL", "SMALLSERIAL", "GENERATED", "AUTO_INCREMENT"];
    let filled = fills.iter().any(|word| at.has(word));
    let not_null = at.tokens.windows(2).any(|pair| match pair {
        [a, b] => a.is("NOT") && b.is("NULL"),
        _ => false,
    });
    if filled && (at.has("SERIAL") || at.has("BIGSERIAL") || at.has("STORED") || calls(at)) {
        found.push(Deed::Rewrite { table, why: "each row gets a value of its own" });
    } else if not_null && !filled {
        found.push(Deed::RequiredColumn { table, column });
    }
    Some(())
}

/// Whether the default is a call that may give each row another value.
fn calls(at: &Cursor<'_>) -> bool {
    let stable = ["NOW", "CURRENT_TIMESTAMP", "CURRENT_DATE", "LOCALTIMESTAMP"];
    let from = at.tokens.iter().position(|token| token.is("DEFAULT")).unwrap_or(at.tokens.len());
    let default = at.tokens.get(from + 1..).unwrap_or_default();
    default.windows(2).any(|pair| match pair {
        [Token::Word(upper, _), sign] => sign.is_sign('(') && !stable.contains(&upper.as_str()),
        _ => false,
    })
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
                Deed::Added => "added".to_owned(),
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
                "check s.t a >0 and \"B\" <2 ",
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
