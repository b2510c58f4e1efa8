//! Any table, down and back: the same rows, byte for byte.

use backout_plugin_api::{Outcome, Reversibility};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::keep::{down, exact, hazards, try_undo, world};

const TYPES: [&str; 9] = [
    "",
    "INTEGER",
    "TEXT",
    "REAL",
    "BLOB",
    "NUMERIC",
    "VARCHAR(5)",
    "BOOLEAN",
    "TEXT COLLATE NOCASE",
];

const VALUES: [&str; 18] = [
    "NULL",
    "0",
    "-1",
    "9223372036854775807",
    "1.0",
    "-0.0",
    "1e300",
    "0.1",
    "''",
    "'1'",
    "'1.0'",
    "'a'",
    "'A'",
    "'it''s \u{e9}'",
    "x''",
    "x'00ff'",
    "x'31'",
    "'-9223372036854775808'",
];

/// How its rows are told apart.
#[derive(Clone, Copy, Debug)]
enum Key {
    None,
    Integer,
    Counted,
    Text,
    Two,
    WithoutRowid,
}

#[derive(Clone, Debug)]
struct Case {
    key: Key,
    types: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
    /// The column that goes; the whole table where there is none.
    goes: Option<usize>,
}

fn cases() -> impl Strategy<Value = Case> {
    let keys = [Key::None, Key::Integer, Key::Counted, Key::Text, Key::Two, Key::WithoutRowid];
    let types = prop::collection::vec(select(&TYPES[..]), 2..5);
    (select(keys.to_vec()), types).prop_flat_map(|(key, types)| {
        let row = prop::collection::vec(select(&VALUES[..]), types.len());
        let rows = prop::collection::vec(row, 0..8);
        let goes = prop::option::of(0..types.len());
        (rows, goes).prop_map(move |(rows, goes)| Case { key, types: types.clone(), rows, goes })
    })
}

impl Case {
    fn head(&self) -> &'static str {
        match self.key {
            Key::None => "",
            Key::Integer => "id INTEGER PRIMARY KEY, ",
            Key::Counted => "id INTEGER PRIMARY KEY AUTOINCREMENT, ",
            Key::Text | Key::WithoutRowid => "id TEXT PRIMARY KEY NOT NULL, ",
            Key::Two => "id INTEGER NOT NULL, id2 TEXT NOT NULL DEFAULT 'x', ",
        }
    }

    fn create(&self, without: Option<usize>) -> String {
        let columns = self.types.iter().enumerate().filter(|(at, _)| Some(*at) != without);
        let columns: Vec<_> = columns.map(|(at, kind)| format!("\"c {at}\" {kind}")).collect();
        let tail = match self.key {
            Key::Two => ", PRIMARY KEY (id2, id))",
            Key::WithoutRowid => ") WITHOUT ROWID",
            _ => ")",
        };
        format!("CREATE TABLE t ({}{}{tail};", self.head(), columns.join(", "))
    }

    /// Every row has a rowid or key of its own that is not in order.
    fn inserts(&self) -> String {
        let id = if matches!(self.key, Key::None) { "rowid" } else { "id" };
        let names: Vec<_> = (0..self.types.len()).map(|at| format!("\"c {at}\"")).collect();
        let row = |(at, row): (usize, &Vec<&str>)| {
            let id_value = (at * 7 + 3) % 11;
            format!(
                "INSERT INTO t ({id}, {}) VALUES ({id_value}, {});",
                names.join(", "),
                row.join(", ")
            )
        };
        self.rows.iter().enumerate().map(row).collect()
    }

    /// The migration: up and down.
    fn files(&self) -> (String, String, String) {
        match self.goes {
            None => (self.create(None), "DROP TABLE t;".to_owned(), String::new()),
            Some(at) => {
                let kind = self.types[at];
                let add = format!("ALTER TABLE t ADD COLUMN \"c {at}\" {kind};");
                (add, format!("ALTER TABLE t DROP COLUMN \"c {at}\";"), self.create(self.goes))
            }
        }
    }
}

async fn check(case: &Case) {
    let (up, back, first) = case.files();
    let up = if first.is_empty() { up } else { format!("{first}\n{up}") };
    let (up, back) = match case.goes {
        None => (up, back),
        // The table is there before the migration that adds its column.
        Some(_) => (format!("SELECT 1;\n{up}"), back),
    };
    let world = world(&up, &back, &case.inserts()).await;
    if case.goes.is_some() {
        let only_add = up.lines().last().unwrap();
        world.write("00005_x.sql", &format!("-- +goose Up\n{only_add}\n-- +goose Down\n{back}\n"));
    }
    let order = if matches!(case.key, Key::None) { "rowid" } else { "id" };
    let columns: Vec<_> = (0..case.types.len()).map(|at| format!("\"c {at}\"")).collect();
    let ids = format!("SELECT CAST({order} AS TEXT) FROM t ORDER BY {order}");
    let before = (exact_sorted(&world, order, &columns).await, world.rows(&ids).await);
    let made = down(&world, "4").await;
    let keyless = matches!(case.key, Key::None) && case.goes.is_some();
    if keyless {
        let said = hazards(&made.prepared);
        assert!(said.iter().any(|text| text.starts_with("data-not-kept")), "{said:?}");
        return;
    }
    assert_eq!(
        made.prepared.reversibility(),
        Reversibility::Exact,
        "{:?}",
        hazards(&made.prepared)
    );
    let outcome = try_undo(&made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let after = (exact_sorted(&world, order, &columns).await, world.rows(&ids).await);
    assert_eq!(after, before);
}

/// The rows without regard to the order of the columns, which a column that comes back changes.
async fn exact_sorted(world: &super::World, order: &str, columns: &[String]) -> Vec<String> {
    let value = |name: &String| format!("typeof({name}) || quote({name})");
    let values: Vec<_> = columns.iter().map(value).collect();
    let query = format!("SELECT {} FROM t ORDER BY {order}", values.join(" || ',' || "));
    let mut rows = world.rows(&query).await;
    rows.extend(exact(world, "users", "id").await);
    rows
}

#[test]
fn any_table_comes_back_as_it_was() {
    /// Each makes a database and migrates it twice.
    const CASES: u32 = 48;
    let mut runner = TestRunner::new(Config { cases: CASES, ..Config::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runner
        .run(&cases(), |case| {
            runtime.block_on(check(&case));
            Ok(())
        })
        .unwrap();
}
