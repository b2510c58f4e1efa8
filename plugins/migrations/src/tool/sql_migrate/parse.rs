//! sql-migrate's files, read exactly as version 1.8.1 reads them (`sqlparse/sqlparse.go`).

use crate::tool::Direction;

/// One section of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) statements: Vec<String>,
    /// `notransaction` stands behind its annotation.
    pub(super) no_transaction: bool,
}

const PREFIX: &str = "-- +migrate ";
const NO_TRANSACTION: &str = "notransaction";

/// The number at the start of a file's name: it orders before the name itself.
///
/// # Errors
/// It does not fit into 64 bits: sql-migrate panics there.
pub(super) fn number(name: &str) -> Result<Option<i64>, String> {
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    let digits = name.get(..end).unwrap_or_default();
    if digits.is_empty() {
        return Ok(None);
    }
    let number = digits.parse();
    number.map(Some).map_err(|_| format!("the number of {name} is larger than a 64-bit number"))
}

/// One section of a file, split as sql-migrate splits it.
///
/// # Errors
/// sql-migrate would refuse it, or would pass over an annotation that it does not know.
pub(super) fn parse(text: &str, direction: Direction) -> Result<Section, String> {
    let mut parser = Parser::default();
    for (number, line) in text.lines().enumerate() {
        parser.line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    parser.end(direction)
}

#[derive(Default)]
struct Parser {
    direction: Option<Direction>,
    /// Between `StatementBegin` and `StatementEnd`.
    whole: bool,
    buffer: String,
    up: Section,
    down: Section,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let mut ended = false;
        if let Some(command) = line.strip_prefix(PREFIX) {
            ended = self.command(command)?;
        } else if line.starts_with("-- ") && !line.starts_with("-- +") {
            return Ok(());
        }
        if self.direction.is_none() {
            return Ok(());
        }
        if !line.starts_with("-- +") {
            self.buffer.push_str(line);
            self.buffer.push('\n');
        }
        if ended || !self.whole && ends_with_semicolon(line) {
            let statement = std::mem::take(&mut self.buffer);
            self.section().statements.push(statement.trim().to_owned());
        }
        Ok(())
    }

    /// Whether it ends a statement.
    fn command(&mut self, command: &str) -> Result<bool, String> {
        let mut words = command.split_whitespace();
        match words.next() {
            Some("Up") => self.begin(Direction::Up, words)?,
            Some("Down") => self.begin(Direction::Down, words)?,
            Some("StatementBegin") => self.whole = self.direction.is_some(),
            Some("StatementEnd") => {
                return Ok(self.direction.is_some() && std::mem::take(&mut self.whole));
            }
            Some(other) => {
                return Err(format!(
                    "`{other}` is no annotation of sql-migrate, which would pass over it; they are \
                     Up, Down, StatementBegin and StatementEnd"
                ));
            }
            None => return Err("an annotation without its word".to_owned()),
        }
        Ok(false)
    }

    fn begin<'a>(
        &mut self,
        direction: Direction,
        mut options: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        self.check_finished()?;
        self.direction = Some(direction);
        self.section().no_transaction |= options.any(|option| option == NO_TRANSACTION);
        Ok(())
    }

    fn section(&mut self) -> &mut Section {
        match self.direction {
            Some(Direction::Down) => &mut self.down,
            _ => &mut self.up,
        }
    }

    fn check_finished(&self) -> Result<(), String> {
        let rest = self.buffer.trim();
        if rest.is_empty() {
            return Ok(());
        }
        Err(format!("unfinished SQL, a missing semicolon?: {rest}"))
    }

    fn end(self, direction: Direction) -> Result<Section, String> {
        if self.whole {
            return Err("`StatementBegin` without `StatementEnd`".to_owned());
        }
        if self.direction.is_none() {
            return Err("there is no `-- +migrate Up`".to_owned());
        }
        self.check_finished()?;
        Ok(match direction {
            Direction::Up => self.up,
            Direction::Down => self.down,
        })
    }
}

/// Whether the last word before a comment ends in a semicolon.
fn ends_with_semicolon(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| !word.starts_with("--"));
    words.last().is_some_and(|word| word.ends_with(';'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{number, parse};
    use crate::tool::Direction;

    const LINES: [&str; 14] = [
        "-- +migrate Up",
        "-- +migrate Down",
        "-- +migrate Down notransaction",
        "-- +migrate StatementBegin",
        "-- +migrate StatementEnd",
        "-- +migrate up",
        "-- +other tool",
        "-- a comment;",
        "--a comment without the blank",
        "",
        "   ",
        "SELECT 1;",
        "INSERT INTO a VALUES ('; --",
        "');",
    ];

    /// Each statement stands in the file, in its order.
    fn check_found(text: &str, direction: Direction) {
        let Ok(section) = parse(text, direction) else { return };
        let text: String = text.lines().flat_map(|line| [line, "\n"]).collect();
        let mut words = text.split_whitespace();
        for statement in &section.statements {
            for word in statement.split_whitespace() {
                assert!(words.any(|other| other == word), "{statement:?} in {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            check_found(&text, Direction::Up);
            check_found(&text, Direction::Down);
            drop(number(&text));
        }

        #[test]
        fn any_order_of_lines_is_read_or_refused(
            lines in prop::collection::vec(select(&LINES[..]), 0..20), windows in any::<bool>(),
        ) {
            let text = lines.join(if windows { "\r\n" } else { "\n" });
            check_found(&text, Direction::Up);
            check_found(&text, Direction::Down);
        }
    }

    fn check(text: &str, up: &[&str], down: &[&str]) {
        assert_eq!(parse(text, Direction::Up).unwrap().statements, up, "{text}");
        assert_eq!(parse(text, Direction::Down).unwrap().statements, down, "{text}");
    }

    #[test]
    fn statements_are_split_as_sql_migrate_splits_them() {
        check(
            "-- head\nSELECT 'passed over';\n-- +migrate Up\n-- why\nCREATE TABLE a (\n  id int -- ;\n\
             );\nSELECT 1; -- x\n-- +migrate Down\nDROP TABLE a;\n",
            &["CREATE TABLE a (\n  id int -- ;\n);", "SELECT 1; -- x"],
            &["DROP TABLE a;"],
        );
        check(
            "-- +migrate Up\n-- +migrate StatementBegin\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n\
             DELETE FROM b;\nEND;\n-- +migrate StatementEnd\n-- +migrate Down\r\nDROP TRIGGER t;\r\n",
            &["CREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM b;\nEND;"],
            &["DROP TRIGGER t;"],
        );
        check("-- +migrate Up\nSELECT 1;\n-- +migrate Down\n-- nothing\n", &["SELECT 1;"], &[]);
    }

    #[test]
    fn each_direction_has_a_transaction_of_its_own() {
        let text = "-- +migrate Up\nSELECT 1;\n-- +migrate Down notransaction\nSELECT 2;\n";
        assert!(!parse(text, Direction::Up).unwrap().no_transaction);
        assert!(parse(text, Direction::Down).unwrap().no_transaction);
    }

    #[test]
    fn what_sql_migrate_refuses_or_passes_over_is_refused() {
        for (text, why) in [
            ("SELECT 1;", "no `-- +migrate Up`"),
            ("", "no `-- +migrate Up`"),
            ("-- +migrate Up\nSELECT 1\n-- +migrate Down\n", "semicolon"),
            ("-- +migrate Up\nSELECT 1\n", "semicolon"),
            ("-- +migrate up\n", "`up` is no annotation"),
            ("-- +migrate Up\n-- +migrate StatementBegin\nSELECT 1;\n", "without `StatementEnd`"),
        ] {
            let error = parse(text, Direction::Up).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_are_read_from_names() {
        assert_eq!(number("00012_add.sql"), Ok(Some(12)));
        assert_eq!(number("7.sql"), Ok(Some(7)));
        assert_eq!(number("initial.sql"), Ok(None));
        assert!(number("99999999999999999999_x.sql").is_err());
    }
}
