//! What puts rows into a table: values that stand in the file, the columns of another table as they
//! are, or a query.

use super::cursor::Cursor;
use super::{Name, Statement, Token, statements};
use crate::tool::Dialect;

/// Rows that a statement puts into a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) table: Name,
    /// The columns that it names; all of them where it names none.
    pub(crate) columns: Vec<String>,
    pub(crate) source: Source,
}

/// Where the rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The statement itself.
    Values,
    /// Every row of a table, as it is: these columns, or all where none is named.
    Copy { table: Name, columns: Vec<String> },
    /// A query that may leave out, change or add.
    Query,
}

/// What a statement puts where, if it begins as one that does.
pub(crate) fn fill(statement: &Statement) -> Option<Fill> {
    let mut at = Cursor { tokens: &statement.tokens };
    if at.eat(&["CREATE"]) {
        return created(&mut at);
    }
    // What passes over or replaces rows does not keep every row.
    let is_whole = if at.eat(&["REPLACE"]) {
        false
    } else {
        at.eat(&["INSERT"]).then_some(())?;
        let either = at.eat(&["OR"]) && at.next().is_some();
        let ignores = at.eat(&["IGNORE"]);
        !either && !ignores
    };
    at.eat(&["INTO"]);
    let table = at.name()?;
    let columns = at.columns().unwrap_or_default();
    let source = if at.has("SELECT") || at.has("TABLE") {
        copied(&mut at).filter(|_| is_whole).unwrap_or(Source::Query)
    } else {
        Source::Values
    };
    Some(Fill { table, columns, source })
}

/// `CREATE TABLE ... AS SELECT ...`.
fn created(at: &mut Cursor<'_>) -> Option<Fill> {
    for word in ["TEMPORARY", "TEMP", "UNLOGGED"] {
        at.eat(&[word]);
    }
    at.eat(&["TABLE"]).then_some(())?;
    at.eat(&["IF", "NOT", "EXISTS"]);
    let table = at.name()?;
    if !at.has("SELECT") {
        return None;
    }
    let source = at.eat(&["AS"]).then(|| copied(at)).flatten().unwrap_or(Source::Query);
    Some(Fill { table, columns: Vec::new(), source })
}

/// `SELECT a, b FROM t`, and nothing more.
fn copied(at: &mut Cursor<'_>) -> Option<Source> {
    at.eat(&["SELECT"]).then_some(())?;
    let from = at.tokens.iter().position(|token| token.is("FROM"))?;
    let wanted = Cursor { tokens: at.tokens.get(..from)? };
    let mut rest = Cursor { tokens: at.tokens.get(from + 1..)? };
    let table = rest.name()?;
    let is_all = matches!(wanted.tokens, [star] if star.is_sign('*'));
    let columns = if is_all {
        Vec::new()
    } else {
        wanted.parts().into_iter().map(column).collect::<Option<_>>()?
    };
    rest.tokens.is_empty().then_some(Source::Copy { table, columns })
}

/// A column's name alone, perhaps after its table's, perhaps under another name.
fn column(mut part: Cursor<'_>) -> Option<String> {
    let name = part.name()?.name;
    if part.eat(&["AS"]) {
        part.word()?;
    }
    part.tokens.is_empty().then_some(name)
}

/// What statements bring into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Filled {
    Not,
    /// Values that stand in the statements.
    Values,
    /// Rows that were elsewhere until then, and are nobody's to take away.
    Query,
}

/// What these statements bring into a table.
pub(crate) fn filled(dialect: Dialect, texts: &[String], table: &str) -> Filled {
    let all: Vec<_> = texts.iter().flat_map(|text| statements(dialect, text)).collect();
    let mut names = vec![table.to_owned()];
    names.extend(all.iter().filter_map(renamed).filter(|(_, to)| is(to, table)).map(|(of, _)| of));
    let one = |statement: &Statement| match fill(statement) {
        Some(fill) if !names.iter().any(|name| is(name, &fill.table.name)) => Filled::Not,
        Some(fill) if fill.source == Source::Values => Filled::Values,
        Some(_) => Filled::Query,
        None if is_opaque(statement) && mentions(&statement.text, table) => Filled::Query,
        None => Filled::Not,
    };
    all.iter().map(one).max().unwrap_or(Filled::Not)
}

fn is(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether a text names a table, wherever that stands in it.
fn mentions(text: &str, table: &str) -> bool {
    let is_sign = |c: char| !c.is_alphanumeric() && !table.contains(c);
    text.split(is_sign).any(|word| is(word, table))
}

/// Whatever these do with rows cannot be read.
fn is_opaque(statement: &Statement) -> bool {
    const WORDS: [&str; 6] = ["WITH", "DO", "CALL", "MERGE", "COPY", "UPDATE"];
    WORDS.iter().any(|word| statement.tokens.first().is_some_and(|token| token.is(word)))
}

/// Whether these statements make a table, or add a column to it.
pub(crate) fn brings(
    dialect: Dialect,
    texts: &[String],
    table: &Name,
    column: Option<&str>,
) -> bool {
    let mut all = texts.iter().flat_map(|text| statements(dialect, text));
    all.any(|statement| {
        let mut at = Cursor { tokens: &statement.tokens };
        if at.eat(&["CREATE", "TABLE"]) {
            at.eat(&["IF", "NOT", "EXISTS"]);
            return at.name().is_some_and(|name| is(&name.name, &table.name));
        }
        let is_of_table = at.eat(&["ALTER", "TABLE"])
            && at.name().is_some_and(|name| is(&name.name, &table.name));
        let adds = |mut part: Cursor<'_>| {
            let added = part.eat(&["ADD"]);
            part.eat(&["COLUMN"]);
            part.eat(&["IF", "NOT", "EXISTS"]);
            added && part.word().is_some_and(|name| column.is_some_and(|column| is(&name, column)))
        };
        is_of_table && at.parts().into_iter().any(adds)
    })
}

/// Whether these statements make a table of this name, or give it to one.
pub(crate) fn makes(dialect: Dialect, texts: &[String], table: &str) -> bool {
    let mut all = texts.iter().flat_map(|text| statements(dialect, text));
    all.any(|statement| {
        let mut at = Cursor { tokens: &statement.tokens };
        if at.eat(&["CREATE"]) {
            let temporary = at.eat(&["TEMPORARY"]) || at.eat(&["TEMP"]);
            at.eat(&["UNLOGGED"]);
            let made = at.eat(&["TABLE"]) && !temporary;
            at.eat(&["IF", "NOT", "EXISTS"]);
            return made && at.name().is_some_and(|name| is(&name.name, table));
        }
        renamed(&statement).is_some_and(|(_, to)| is(&to, table))
    })
}

/// `ALTER TABLE a RENAME TO b`: both names.
pub(crate) fn renamed(statement: &Statement) -> Option<(String, String)> {
    let mut at = Cursor { tokens: &statement.tokens };
    at.eat(&["ALTER", "TABLE"]).then_some(())?;
    at.eat(&["IF", "EXISTS"]);
    at.eat(&["ONLY"]);
    let of = at.name()?.name;
    at.eat(&["RENAME", "TO"]).then_some(())?;
    Some((of, at.name()?.name))
}

/// The conditions of `CHECK (...)` in a statement, as they are written.
pub(crate) fn checks(dialect: Dialect, text: &str) -> Vec<String> {
    let placed = super::token::tokens(dialect, text);
    let mut found = Vec::new();
    for (at, (token, _)) in placed.iter().enumerate() {
        if !token.is("CHECK") {
            continue;
        }
        let inside = placed.get(at + 1..).unwrap_or_default();
        let (Some(first), Some(last)) = (inside.first(), closing(inside)) else { continue };
        let condition = text.get(first.1.end..last).map(str::trim);
        found.extend(condition.filter(|_| first.0.is_sign('(')).map(str::to_owned));
    }
    found
}

/// Where the parenthesis that opens here ends.
fn closing(placed: &[(Token, std::ops::Range<usize>)]) -> Option<usize> {
    let mut depth = 0_usize;
    for (token, range) in placed {
        depth += usize::from(token.is_sign('('));
        depth -= usize::from(token.is_sign(')')).min(depth);
        if depth == 0 {
            return Some(range.start);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Filled, checks, fill, filled};
    use crate::sql::statements;
    use crate::tool::Dialect;

    #[test]
    fn what_fills_a_table_is_told() {
        for (text, wanted) in [
            ("INSERT INTO a VALUES (1)", "a [] Values"),
            ("INSERT INTO a (x, y) VALUES (1, 2) ON CONFLICT DO NOTHING", "a [x,y] Values"),
            ("INSERT INTO a SELECT * FROM b", "a [] b []"),
            ("INSERT INTO \"a\" (x) SELECT b.\"y\" FROM b", "a [x] b [y]"),
            ("CREATE TEMP TABLE a AS SELECT x, y AS z FROM b", "a [] b [x,y]"),
            ("INSERT OR IGNORE INTO a SELECT x FROM b", "a [] Query"),
            ("REPLACE INTO a SELECT x FROM b", "a [] Query"),
            ("INSERT INTO a SELECT x FROM b WHERE y", "a [] Query"),
            ("INSERT INTO a SELECT upper(x) FROM b", "a [] Query"),
            ("INSERT INTO a SELECT x FROM b, c", "a [] Query"),
            ("INSERT INTO a VALUES ((SELECT 1))", "a [] Query"),
        ] {
            let found = fill(&statements(Dialect::Sqlite, text)[0]).unwrap();
            let source = match &found.source {
                super::Source::Copy { table, columns } => {
                    format!("{} [{}]", table.name, columns.join(","))
                }
                other => format!("{other:?}"),
            };
            let said = format!("{} [{}] {source}", found.table.name, found.columns.join(","));
            assert_eq!(said, wanted, "{text}");
        }
        for text in ["CREATE TABLE a (x)", "DELETE FROM a", "CREATE VIEW a AS SELECT 1"] {
            assert_eq!(fill(&statements(Dialect::Sqlite, text)[0]), None, "{text}");
        }
    }

    #[test]
    fn rows_that_were_elsewhere_are_told_from_those_of_the_file() {
        for (text, is) in [
            ("CREATE TABLE a (x); INSERT INTO a VALUES (1)", false),
            ("CREATE TABLE a AS SELECT * FROM b", true),
            ("CREATE TABLE n (x); INSERT INTO n SELECT * FROM b; ALTER TABLE n RENAME TO A", true),
            ("INSERT INTO b SELECT * FROM a", false),
            ("WITH q AS (SELECT 1) INSERT INTO a SELECT * FROM q", true),
            ("UPDATE b SET x = 1", false),
            ("UPDATE A SET x = 1", true),
        ] {
            let found = filled(Dialect::Sqlite, &[text.to_owned()], "a");
            assert_eq!(found == Filled::Query, is, "{text}");
        }
    }

    #[test]
    fn conditions_are_cut_out() {
        let text = "CREATE TABLE t (a CHECK (a > 0), b, CONSTRAINT c CHECK(length('(') < (b)))";
        assert_eq!(checks(Dialect::Sqlite, text), ["a > 0", "length('(') < (b)"]);
    }
}
