//! SQL, read just far enough: where statements end, what each begins with and what it names.

use crate::tool::Dialect;

/// Statements that end, begin or nest a transaction.
const TRANSACTION: [&str; 6] = ["BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"];

/// Statements that SQLite refuses inside a transaction, or whose effect outlives a rollback.
const OUTSIDE: [&str; 3] = ["VACUUM", "ATTACH", "DETACH"];

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

/// A word, a quoted name, a text, or one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Upper case, for keywords; and as it was written.
    Word(String, String),
    Quoted(String),
    Text,
    Sign(char),
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(upper, _) if upper == keyword)
    }

    /// The name that it stands for, quotes taken off.
    fn name(&self) -> Option<&str> {
        match self {
            Self::Word(_, name) | Self::Quoted(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }
}

/// The tokens of each statement of a text; empty ones are left out.
pub(crate) fn statements(dialect: Dialect, text: &str) -> Vec<Vec<Token>> {
    let mut all = Vec::new();
    let mut now: Vec<Token> = Vec::new();
    for token in tokens(dialect, text) {
        if token == Token::Sign(';') && !in_trigger(&now) {
            all.push(std::mem::take(&mut now));
        } else {
            now.push(token);
        }
    }
    all.push(now);
    all.retain(|tokens| !tokens.is_empty());
    all
}

/// Whether there is nothing but comments in a text.
pub(crate) fn is_empty(text: &str) -> bool {
    statements(Dialect::Sqlite, text).is_empty()
}

/// Whether a semicolon here stands in a trigger's body, which ends with `; END`.
fn in_trigger(tokens: &[Token]) -> bool {
    let mut head = tokens.iter();
    if !head.next().is_some_and(|token| token.is("CREATE")) {
        return false;
    }
    let next = head.find(|token| !token.is("TEMP") && !token.is("TEMPORARY"));
    if !next.is_some_and(|token| token.is("TRIGGER")) {
        return false;
    }
    let ended = matches!(tokens, [.., Token::Sign(';'), last] if last.is("END"));
    !ended
}

fn tokens(_: Dialect, text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            _ if first.is_whitespace() => (None, first.len_utf8()),
            '-' if rest.starts_with("--") => (None, until(rest, 2, "\n")),
            '/' if rest.starts_with("/*") => (None, until(rest, 2, "*/")),
            '\'' => (Some(Token::Text), quoted(rest, '\'').1),
            '"' | '`' => {
                let (name, length) = quoted(rest, first);
                (Some(Token::Quoted(name)), length)
            }
            '[' => {
                let length = until(rest, 1, "]");
                let name = rest.get(1..length.saturating_sub(1)).unwrap_or_default();
                (Some(Token::Quoted(name.to_owned())), length)
            }
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                (Some(Token::Word(word.to_ascii_uppercase(), word.to_owned())), length)
            }
            _ => (Some(Token::Sign(first)), first.len_utf8()),
        };
        found.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    found
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
fn quoted(text: &str, quote: char) -> (String, usize) {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            name.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            name.push(quote);
        } else {
            return (name, at + quote.len_utf8());
        }
    }
    (name, text.len())
}

/// Why a statement cannot be part of our transaction, if so.
pub(crate) fn unfit(tokens: &[Token]) -> Option<String> {
    let Some(Token::Word(first, _)) = tokens.first() else { return None };
    if TRANSACTION.contains(&first.as_str()) {
        return Some(format!(
            "`{first}` controls the transaction itself; take it out, the migration is made in one \
             transaction anyway"
        ));
    }
    if OUTSIDE.contains(&first.as_str()) {
        return Some(format!("`{first}` cannot be part of a transaction; do it in a step before"));
    }
    if first == "PRAGMA" {
        let words = tokens.iter().filter_map(|token| match token {
            Token::Word(upper, _) => Some(upper.as_str()),
            Token::Quoted(_) | Token::Text | Token::Sign(_) => None,
        });
        let known = words.skip(1).take(2).any(|word| PRAGMAS.contains(&word));
        if !known {
            return Some(
                "this PRAGMA has no effect, or fails, inside a transaction; take it out".to_owned(),
            );
        }
    }
    None
}

/// What a statement does to data that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// A table goes.
    Table(String),
    /// A column goes: table, column.
    Column(String, String),
    /// Rows of a table are deleted or changed.
    Rows(&'static str, String),
    /// Rows are added, which an undo does not take away.
    Added,
}

/// What a statement does to data that is there, if anything.
pub(crate) fn loss(tokens: &[Token]) -> Option<Loss> {
    let mut at = tokens.iter().filter(|token| !token.is("IF") && !token.is("EXISTS")).peekable();
    let first = at.next()?;
    if first.is("DROP") && at.next_if(|token| token.is("TABLE")).is_some() {
        return name(&mut at).map(Loss::Table);
    }
    if first.is("ALTER") && at.next_if(|token| token.is("TABLE")).is_some() {
        let table = name(&mut at)?;
        at.next_if(|token| token.is("DROP"))?;
        at.next_if(|token| token.is("COLUMN"));
        return name(&mut at).map(|column| Loss::Column(table, column));
    }
    if first.is("DELETE") {
        at.next_if(|token| token.is("FROM"));
        return name(&mut at).map(|table| Loss::Rows("deletes", table));
    }
    if first.is("UPDATE") {
        return name(&mut at).map(|table| Loss::Rows("changes", table));
    }
    if first.is("REPLACE") {
        at.next_if(|token| token.is("INTO"));
        return name(&mut at).map(|table| Loss::Rows("replaces", table));
    }
    (first.is("INSERT") || first.is("WITH")).then_some(Loss::Added)
}

/// A name, the schema before it left out.
fn name<'a>(tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a Token>>) -> Option<String> {
    let mut name = tokens.next()?.name()?;
    while tokens.next_if(|token| **token == Token::Sign('.')).is_some() {
        name = tokens.next()?.name()?;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{Loss, loss, unfit};
    use crate::tool::Dialect;

    fn statements(text: &str) -> Vec<Vec<super::Token>> {
        super::statements(Dialect::Sqlite, text)
    }

    const PIECES: [&str; 22] = [
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
    ];

    fn check_read(text: &str) {
        for statement in statements(text) {
            drop((unfit(&statement), loss(&statement)));
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

    fn losses(text: &str) -> Vec<Loss> {
        statements(text).iter().filter_map(|tokens| loss(tokens)).collect()
    }

    #[test]
    fn drops_are_found_wherever_they_stand() {
        let text = "-- DROP TABLE no;\nSELECT 'DROP TABLE no'; drop table if exists main.\"my tab\"; \
                    ALTER TABLE [a b] DROP COLUMN `c`; alter table t drop d; DELETE FROM e; \
                    CREATE TEMP TRIGGER x AFTER INSERT ON y BEGIN DELETE FROM no; END; DROP INDEX i";
        assert_eq!(
            losses(text),
            [
                Loss::Table("my tab".to_owned()),
                Loss::Column("a b".to_owned(), "c".to_owned()),
                Loss::Column("t".to_owned(), "d".to_owned()),
                Loss::Rows("deletes", "e".to_owned()),
            ]
        );
    }

    #[test]
    fn transaction_control_is_found_and_a_trigger_is_not_taken_for_it() {
        for text in
            ["BEGIN", "commit;", "/* x */ END", "SAVEPOINT a", "VACUUM", "pragma foreign_keys=off"]
        {
            assert!(statements(text).iter().any(|s| unfit(s).is_some()), "{text}");
        }
        for text in [
            "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE WHEN 1 THEN 2 END; END;",
            "PRAGMA user_version = 3",
            "PRAGMA main.table_info(a)",
            "SELECT 'BEGIN'; SELECT \"COMMIT\" FROM a",
        ] {
            assert!(statements(text).iter().all(|s| unfit(s).is_none()), "{text}");
        }
    }
}
