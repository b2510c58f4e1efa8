//! What `ALTER TABLE` does.

use super::cursor::Cursor;
use super::{Blocks, Deed, Name, Token};
use crate::tool::Dialect;

pub(super) fn alter_table(
    dialect: Dialect,
    at: &mut Cursor<'_>,
    found: &mut Vec<Deed>,
) -> Option<()> {
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
        // A condition with a literal in it is read from its own text, which tokens do not keep.
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
