//! goose's files, read exactly as goose 3.27 reads them (`internal/sqlparser/parser.go`).

use crate::tool::Direction;

/// One section of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) statements: Vec<String>,
    /// `-- +goose NO TRANSACTION` stands anywhere in the file.
    pub(crate) no_transaction: bool,
    /// `-- +goose ENVSUB ON` stands anywhere in the file.
    pub(crate) environment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Up,
    BeginUp,
    EndUp,
    Down,
    BeginDown,
    EndDown,
}

impl State {
    fn direction(self) -> Option<Direction> {
        match self {
            Self::Start => None,
            Self::Up | Self::BeginUp | Self::EndUp => Some(Direction::Up),
            Self::Down | Self::BeginDown | Self::EndDown => Some(Direction::Down),
        }
    }

    fn ends_statement(self) -> bool {
        matches!(self, Self::EndUp | Self::EndDown)
    }
}

#[derive(Clone, Copy)]
enum Annotation {
    Up,
    Down,
    StatementBegin,
    StatementEnd,
    NoTransaction,
    EnvsubOn,
    EnvsubOff,
}

struct Parser {
    direction: Direction,
    state: State,
    buffer: String,
    section: Section,
}

/// The statements of one section, split as goose splits them.
pub(crate) fn parse(text: &str, direction: Direction) -> Result<Section, String> {
    let mut parser = Parser {
        direction,
        state: State::Start,
        buffer: String::new(),
        section: Section::default(),
    };
    for (number, line) in text.lines().enumerate() {
        parser.line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    parser.end()
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.state == State::Start && line.trim().is_empty() {
            return Ok(());
        }
        if line.trim().starts_with("--") && line.contains("+goose") {
            let annotation = annotation(line)?;
            let goes_on = matches!(annotation, Annotation::StatementEnd);
            self.annotated(annotation)?;
            if !goes_on {
                return Ok(());
            }
        }
        if self.buffer.is_empty() && (line.trim().starts_with("--") || line.is_empty()) {
            return Ok(());
        }
        if !self.state.ends_statement() {
            self.buffer.push_str(line);
            self.buffer.push('\n');
        }
        self.store(line)
    }

    fn store(&mut self, line: &str) -> Result<(), String> {
        let Some(direction) = self.state.direction() else {
            return Err("SQL before `-- +goose Up`".to_owned());
        };
        if direction != self.direction {
            self.buffer.clear();
            return Ok(());
        }
        match self.state {
            State::Up | State::Down if ends_with_semicolon(line) => self.flush(),
            State::EndUp | State::EndDown => {
                self.flush();
                self.state = if direction == Direction::Up { State::Up } else { State::Down };
            }
            State::Start | State::Up | State::Down | State::BeginUp | State::BeginDown => {}
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.section.statements.push(self.buffer.trim().to_owned());
        self.buffer.clear();
    }

    fn annotated(&mut self, annotation: Annotation) -> Result<(), String> {
        self.state = match (annotation, self.state) {
            (Annotation::Up, State::Start) => State::Up,
            (Annotation::Up, _) => return Err("a second `-- +goose Up`".to_owned()),
            (Annotation::Down, State::Up | State::EndUp) => {
                self.check_finished()?;
                State::Down
            }
            (Annotation::Down, _) => {
                return Err("`-- +goose Down` must follow one `-- +goose Up`".to_owned());
            }
            (Annotation::StatementBegin, State::Up | State::EndUp) => State::BeginUp,
            (Annotation::StatementBegin, State::Down | State::EndDown) => State::BeginDown,
            (Annotation::StatementBegin, _) => {
                return Err("`StatementBegin` outside a section".to_owned());
            }
            (Annotation::StatementEnd, State::BeginUp) => State::EndUp,
            (Annotation::StatementEnd, State::BeginDown) => State::EndDown,
            (Annotation::StatementEnd, _) => {
                return Err("`StatementEnd` without `StatementBegin`".to_owned());
            }
            (Annotation::NoTransaction, state) => {
                self.section.no_transaction = true;
                state
            }
            (Annotation::EnvsubOn, state) => {
                self.section.environment = true;
                state
            }
            (Annotation::EnvsubOff, state) => state,
        };
        Ok(())
    }

    fn check_finished(&self) -> Result<(), String> {
        let rest = self.buffer.trim();
        if rest.is_empty() {
            return Ok(());
        }
        Err(format!("unfinished SQL, a missing semicolon?: {rest}"))
    }

    fn end(self) -> Result<Section, String> {
        match self.state {
            State::Start => Err("there is no `-- +goose Up`".to_owned()),
            State::BeginUp | State::BeginDown => {
                Err("`StatementBegin` without `StatementEnd`".to_owned())
            }
            State::Up | State::EndUp | State::Down | State::EndDown => {
                self.check_finished()?;
                Ok(self.section)
            }
        }
    }
}

fn annotation(line: &str) -> Result<Annotation, String> {
    if line.starts_with([' ', '\t']) {
        return Err("an annotation must begin its line".to_owned());
    }
    let command = line.replace("--", "").replacen("+goose", "", 1);
    let command = command.trim();
    let known = [
        ("Up", Annotation::Up),
        ("Down", Annotation::Down),
        ("StatementBegin", Annotation::StatementBegin),
        ("StatementEnd", Annotation::StatementEnd),
        ("NO TRANSACTION", Annotation::NoTransaction),
        ("ENVSUB ON", Annotation::EnvsubOn),
        ("ENVSUB OFF", Annotation::EnvsubOff),
    ];
    let found = known.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(command));
    found
        .map(|(_, annotation)| annotation)
        .ok_or_else(|| format!("`{command}` is no annotation of goose"))
}

/// Whether the last word before a comment ends in a semicolon.
fn ends_with_semicolon(line: &str) -> bool {
    let words = line.split_whitespace().take_while(|word| !word.starts_with("--"));
    words.last().is_some_and(|word| word.ends_with(';'))
}

/// The version in a file's name, where it has one: the digits before the first `_`.
pub(crate) fn version_of(name: &str) -> Option<i64> {
    let (digits, _) = name.split_once('_')?;
    digits.parse().ok().filter(|version| *version >= 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{parse, version_of};
    use crate::tool::Direction;

    const LINES: [&str; 16] = [
        "-- +goose Up",
        "-- +goose Down",
        "-- +goose StatementBegin",
        "-- +goose StatementEnd",
        "-- +goose NO TRANSACTION",
        "-- +goose ENVSUB ON",
        "--+goose up",
        "-- +goose Sideways",
        "-- a comment;",
        "",
        "   ",
        "SELECT 1;",
        "INSERT INTO a VALUES ('; --",
        "');",
        "END; -- ;",
        "\u{feff}DROP TABLE b",
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
            prop_assert!(version_of(&text).is_none_or(|version| version >= 1));
        }

        #[test]
        fn any_order_of_lines_is_read_or_refused(
            lines in prop::collection::vec(select(&LINES[..]), 0..20), windows in any::<bool>(),
        ) {
            let text = lines.join(if windows { "\r\n" } else { "\n" });
            check_found(&text, Direction::Up);
            check_found(&text, Direction::Down);
        }

        #[test]
        fn a_version_is_what_stands_before_the_line(number in 0..=i64::MAX, rest in ".{0,5}") {
            let wanted = (number > 0).then_some(number);
            prop_assert_eq!(version_of(&format!("{number}_{rest}")), wanted);
        }
    }

    fn check(text: &str, up: &[&str], down: &[&str]) {
        assert_eq!(parse(text, Direction::Up).unwrap().statements, up, "{text}");
        assert_eq!(parse(text, Direction::Down).unwrap().statements, down, "{text}");
    }

    #[test]
    fn statements_are_split_as_goose_splits_them() {
        check(
            "-- head\n\n-- +goose Up\n-- why\nCREATE TABLE a (\n  id int -- ;\n);\nSELECT 1; -- x\n\
             -- +goose Down\nDROP TABLE a;\n",
            &["CREATE TABLE a (\n  id int -- ;\n);", "SELECT 1; -- x"],
            &["DROP TABLE a;"],
        );
        check(
            "-- +goose up\n-- +goose StatementBegin\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n\
             DELETE FROM b;\nEND;\n-- +goose StatementEnd\n-- +goose DOWN\r\nDROP TRIGGER t;\r\n",
            &["CREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM b;\nEND;"],
            &["DROP TRIGGER t;"],
        );
        check("-- +goose Up\nSELECT 1;\n", &["SELECT 1;"], &[]);
    }

    #[test]
    fn what_goose_refuses_is_refused() {
        for (text, why) in [
            ("SELECT 1;", "before `-- +goose Up`"),
            ("", "no `-- +goose Up`"),
            ("-- +goose Down\n", "must follow"),
            ("-- +goose Up\n-- +goose Up\n", "second"),
            ("-- +goose Up\nSELECT 1\n-- +goose Down\n", "semicolon"),
            (" -- +goose Up\n", "begin its line"),
            ("-- +goose Sideways\n", "no annotation"),
            ("-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n", "without `StatementEnd`"),
        ] {
            let error = parse(text, Direction::Up).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version_of("00012_add.sql"), Some(12));
        assert_eq!(version_of("20240101120000_x.sql"), Some(20_240_101_120_000));
        for name in ["0_x.sql", "x.sql", "-1_x.sql", "seed_1.sql", "12.sql"] {
            assert_eq!(version_of(name), None, "{name}");
        }
    }
}
