//! dbmate's files, read as version 2.36 reads them (`pkg/dbmate/migration.go`).

use std::sync::LazyLock;

use regex::Regex;

use crate::tool::Direction;

/// One block of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Sent as it is.
    pub(super) text: String,
    /// `transaction:false` stands behind its directive.
    pub(super) no_transaction: bool,
}

/// `upRegExp`; Go's `\s` is these five characters.
static UP: LazyLock<Option<Regex>> = LazyLock::new(|| directive("up"));
/// `downRegExp`.
static DOWN: LazyLock<Option<Regex>> = LazyLock::new(|| directive("down"));

fn directive(word: &str) -> Option<Regex> {
    const SPACE: &str = r"[\t\n\f\r ]";
    Regex::new(&format!("(?m)^--{SPACE}*migrate:{word}({SPACE}*$|{SPACE}+[^\\t\\n\\f\\r ]+)")).ok()
}

/// The version in a file's name: the digits that it begins with. Nothing where it is no migration.
pub(super) fn version(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".sql")?;
    let end = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name.len());
    name.get(..end).filter(|digits| !digits.is_empty())
}

/// One block of a file.
///
/// # Errors
/// dbmate would refuse it, or it has several blocks: dbmate 2.36 fails in the middle of those,
/// because it writes the version once for each.
pub(super) fn parse(text: &str, direction: Direction) -> Result<Block, String> {
    let (up, down) = blocks(text)?;
    let block = match direction {
        Direction::Up => up,
        Direction::Down => down,
    };
    let (head, body) = block.split_once('\n').unwrap_or((block, ""));
    Ok(Block { text: body.trim().to_owned(), no_transaction: is_without_transaction(head) })
}

/// The two blocks with the lines that begin them.
fn blocks(text: &str) -> Result<(&str, &str), String> {
    let all = |regex: &'static LazyLock<Option<Regex>>| {
        let found = regex.iter().flat_map(|regex| regex.find_iter(text));
        found.map(|found| found.start()).collect::<Vec<_>>()
    };
    let (up, down) = match (all(&UP).as_slice(), all(&DOWN).as_slice()) {
        ([], _) => return Err("there is no `-- migrate:up`".to_owned()),
        (_, []) => return Err("there is no `-- migrate:down`".to_owned()),
        (&[up], &[down]) if up < down => (up, down),
        (&[_], &[_]) => return Err("`-- migrate:up` must come before `-- migrate:down`".to_owned()),
        _ => {
            return Err(
                "it has several blocks of one direction, where dbmate stops half way; make \
                        a file of each"
                    .to_owned(),
            );
        }
    };
    let head = text.get(..up).unwrap_or_default();
    if head.split('\n').any(|line| !line.trim().is_empty() && !line.trim().starts_with("--")) {
        return Err("SQL before `-- migrate:up`".to_owned());
    }
    Ok((text.get(up..down).unwrap_or_default(), text.get(down..).unwrap_or_default()))
}

/// Whether the line that begins a block says `transaction:false`; the last word on it counts.
fn is_without_transaction(head: &str) -> bool {
    let mut options = head.split_whitespace().filter_map(|word| word.split_once(':'));
    let last = options.rfind(|(name, _)| *name == "transaction");
    last.is_some_and(|(_, value)| value == "false")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::{parse, version};
    use crate::tool::Direction;

    const LINES: [&str; 10] = [
        "-- migrate:up",
        "--migrate:down  ",
        "-- migrate:down transaction:false",
        "-- migrate:up transaction:true transaction:false",
        "-- migrate:upwards",
        "-- migrate:",
        "-- a comment;",
        "",
        "--",
        "SELECT 1;",
    ];

    fn check_found(text: &str, direction: Direction) {
        let Ok(block) = parse(text, direction) else { return };
        assert!(text.contains(&block.text), "{text:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            check_found(&text, Direction::Up);
            check_found(&text, Direction::Down);
            prop_assert!(version(&text).is_none_or(|version| text.starts_with(version)));
        }

        #[test]
        fn any_order_of_lines_is_read_or_refused(
            lines in prop::collection::vec(select(&LINES[..]), 0..12), windows in any::<bool>(),
        ) {
            let text = lines.join(if windows { "\r\n" } else { "\n" });
            check_found(&text, Direction::Up);
            check_found(&text, Direction::Down);
        }
    }

    #[test]
    fn blocks_are_read_as_dbmate_reads_them() {
        let text = "\n-- why\n  -- how\n--migrate:up\nCREATE TABLE a (id int);\nSELECT ';';\n\n\
                    -- migrate:down transaction:false\r\nDROP TABLE a;\r\n";
        let up = parse(text, Direction::Up).unwrap();
        assert_eq!(up.text, "CREATE TABLE a (id int);\nSELECT ';';");
        assert!(!up.no_transaction);
        let down = parse(text, Direction::Down).unwrap();
        assert_eq!((down.text.as_str(), down.no_transaction), ("DROP TABLE a;", true));
        let empty = parse("-- migrate:up\nSELECT 1;\n-- migrate:down", Direction::Down).unwrap();
        assert!(empty.text.is_empty());
    }

    #[test]
    fn what_dbmate_refuses_or_breaks_on_is_refused() {
        for (text, why) in [
            ("", "no `-- migrate:up`"),
            ("-- migrate:upwards\n-- migrate:down\n", "no `-- migrate:up`"),
            ("-- migrate:up\nSELECT 1;\n", "no `-- migrate:down`"),
            ("-- migrate:down\n-- migrate:up\n", "must come before"),
            ("SELECT 1;\n-- migrate:up\n-- migrate:down\n", "before `-- migrate:up`"),
            ("-- migrate:up\n-- migrate:down\n-- migrate:up\n-- migrate:down\n", "several blocks"),
            ("-- migrate:up\n-- migrate:down\n-- migrate:down\n", "several blocks"),
        ] {
            let error = parse(text, Direction::Up).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn versions_are_read_from_names() {
        assert_eq!(version("20240101120000_x.sql"), Some("20240101120000"));
        assert_eq!(version("007x.sql"), Some("007"));
        assert_eq!(version("7.sql"), Some("7"));
        for name in ["x.sql", "_1.sql", "1_x.txt", "1_x.sql.bak", ".sql"] {
            assert_eq!(version(name), None, "{name}");
        }
    }
}
