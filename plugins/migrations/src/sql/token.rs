//! Tokens of SQL with where they stand, by each database's rules for quotes and comments.

use std::ops::Range;

use crate::tool::Dialect;

/// A word, a quoted name, a text, or one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Upper case, for keywords; and the name that it is where it is one.
    Word(String, String),
    Quoted(String),
    Text,
    Sign(char),
}

impl Token {
    pub(crate) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(upper, _) if upper == keyword)
    }

    pub(crate) fn is_sign(&self, sign: char) -> bool {
        *self == Self::Sign(sign)
    }

    /// The name that it stands for, quotes taken off.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Word(_, name) | Self::Quoted(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }
}

/// A token and the bytes that it takes.
pub(crate) type Placed = (Token, Range<usize>);

/// All tokens of a text; comments and white space are left out.
pub(crate) fn tokens(dialect: Dialect, text: &str) -> Vec<Placed> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = next(dialect, rest);
        let length = length.max(1);
        found.extend(token.map(|token| (token, at..at + length)));
        at += length;
    }
    found
}

/// The token at the beginning, if it is one, and its length.
fn next(dialect: Dialect, rest: &str) -> (Option<Token>, usize) {
    let Some(first) = rest.chars().next() else { return (None, 0) };
    if let Some(length) = comment(dialect, rest) {
        return (None, length);
    }
    if let Some(length) = text_literal(dialect, rest) {
        return (Some(Token::Text), length);
    }
    match first {
        _ if first.is_whitespace() => (None, first.len_utf8()),
        '"' | '`' => {
            let (name, length) = quoted(rest, first, false);
            (Some(Token::Quoted(name)), length)
        }
        '[' if dialect == Dialect::Sqlite => {
            let length = until(rest, 1, "]");
            let name = rest.get(1..length.saturating_sub(1)).unwrap_or_default();
            (Some(Token::Quoted(name.to_owned())), length)
        }
        _ if is_word(first) => {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let word = rest.get(..length).unwrap_or_default();
            // An unquoted name of PostgreSQL is in lower case.
            let name =
                if dialect == Dialect::Postgres { word.to_lowercase() } else { word.to_owned() };
            (Some(Token::Word(word.to_ascii_uppercase(), name)), length)
        }
        _ => (Some(Token::Sign(first)), first.len_utf8()),
    }
}

/// The length of a comment here. What stands in MariaDB's `/*! ... */` is run, so only its signs
/// are comments.
fn comment(dialect: Dialect, rest: &str) -> Option<usize> {
    let mysql = dialect == Dialect::Mysql;
    if rest.starts_with("--") {
        let blank = rest.chars().nth(2).is_none_or(|c| c.is_whitespace() || c.is_control());
        return (!mysql || blank).then(|| until(rest, 2, "\n"));
    }
    if mysql && rest.starts_with('#') {
        return Some(until(rest, 1, "\n"));
    }
    if mysql && (rest.starts_with("/*!") || rest.starts_with("/*M!")) {
        let digits = rest.find('!').map_or(0, |at| at + 1);
        let tail = rest.get(digits..).unwrap_or_default();
        return Some(digits + tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len()));
    }
    if mysql && rest.starts_with("*/") {
        return Some(2);
    }
    if !rest.starts_with("/*") {
        return None;
    }
    Some(if dialect == Dialect::Postgres { nested(rest) } else { until(rest, 2, "*/") })
}

/// PostgreSQL's comments nest.
fn nested(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth.saturating_sub(1), at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of a literal text here.
fn text_literal(dialect: Dialect, rest: &str) -> Option<usize> {
    let mysql = dialect == Dialect::Mysql;
    if rest.starts_with('\'') || (mysql && rest.starts_with('"')) {
        let quote = rest.chars().next()?;
        return Some(quoted(rest, quote, mysql).1);
    }
    if dialect != Dialect::Postgres {
        return None;
    }
    if rest.starts_with("E'") || rest.starts_with("e'") {
        return Some(1 + quoted(rest.get(1..)?, '\'', true).1);
    }
    let tag = rest.strip_prefix('$')?;
    let end = tag.find('$')?;
    let name = tag.get(..end)?;
    let starts_well = name.chars().next().is_none_or(|c| !c.is_numeric());
    if !starts_well || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let quote = rest.get(..end + 2)?;
    Some(until(rest, quote.len(), quote))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The length up to and with `end`, looked for from `from` on.
fn until(text: &str, from: usize, end: &str) -> usize {
    let found = text.get(from..).and_then(|tail| tail.find(end));
    found.map_or(text.len(), |at| from + at + end.len())
}

/// A quoted thing with doubled quotes inside, and its length with the quotes.
fn quoted(text: &str, quote: char, backslash: bool) -> (String, usize) {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if backslash && c == '\\' {
            name.extend(chars.next().map(|(_, escaped)| escaped));
        } else if c != quote {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            name.push(quote);
        } else {
            return (name, at + quote.len_utf8());
        }
    }
    (name, text.len())
}
