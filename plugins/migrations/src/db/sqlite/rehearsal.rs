//! A migration tried on the schema alone, without its rows, in memory: what goes by it, what becomes
//! narrower, whether its way back brings back what went, and whether it runs at all.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};

use super::trace::{Became, Column, Schema, Table, Trace, low};
use super::{is_interrupted, limit};
use crate::db::conn::{run, texts, value};
use crate::sql::{self, Deed, Name, Statement};
use crate::tool::Dialect;

/// How long one migration may take without any rows: longer, and a statement of it has no end, or
/// there are thousands of tables.
const TIME_MAX: Duration = Duration::from_secs(5);

const SQLITE: Dialect = Dialect::Sqlite;

/// Everything but what SQLite and virtual tables make for themselves.
const SCHEMA: &str = "SELECT sql FROM sqlite_schema s WHERE sql IS NOT NULL \
    AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.tbl_name NOT IN (SELECT name FROM \
    pragma_table_list WHERE schema = 'main' AND type = 'shadow') \
    ORDER BY s.type <> 'table', s.rowid";

const COLUMNS: &str = "SELECT l.name, x.name, x.type, x.\"notnull\", x.pk > 0, x.hidden IN (2, 3) \
    FROM pragma_table_list l JOIN pragma_table_xinfo(l.name, l.schema) x \
    WHERE l.type IN ('table', 'virtual') AND l.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
    ORDER BY l.name, x.cid";

const UNIQUE: &str = "SELECT l.name, i.name, c.name FROM pragma_table_list l JOIN \
    pragma_index_list(l.name) i JOIN pragma_index_info(i.name) c WHERE l.schema = 'main' AND \
    l.type = 'table' AND i.\"unique\" AND NOT i.partial AND c.name IS NOT NULL ORDER BY 1, 2, c.seqno";

/// The schema of a database, without its rows.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    conn: SqliteConnection,
}

/// A table or a column that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) table: String,
    pub(crate) column: Option<String>,
    /// Why the way back does not put it back, if so.
    pub(crate) stays_away: Option<String>,
}

/// What a migration does to a schema.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) losses: Vec<Loss>,
    /// What its words say besides, without what it does to tables of its own.
    pub(crate) deeds: Vec<Deed>,
    /// Tables that are written anew, and in a way that leaves nobody sure of their rows.
    pub(crate) unsure: Vec<String>,
    /// Columns that get a type that may change their values: the table, the column, both types.
    pub(crate) retyped: Vec<[String; 4]>,
    /// What the tables that are written anew ask of their rows and did not before.
    pub(crate) narrower: Vec<Deed>,
    /// Tables that are written anew.
    pub(crate) rewritten: Vec<String>,
    /// What is wrong with the way back, if anything.
    pub(crate) way_back: Option<WayBack>,
}

/// Why a migration was not seen to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It would fail: at which statement, and why.
    Fails(String),
    /// It could not be tried.
    Cannot(String),
}

fn broken(statement: Option<usize>) -> impl Fn(sqlx::Error) -> Broken {
    move |error| match statement {
        _ if is_interrupted(&error) => {
            Broken::Cannot(format!("it takes longer than {TIME_MAX:?} without any rows"))
        }
        Some(at) => Broken::Fails(format!("statement {at}: {error}")),
        None => Broken::Cannot(error.to_string()),
    }
}

/// What is wrong with a way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WayBack {
    /// It does not bring the structure back.
    Not(String),
    /// It writes a table anew in a way of its own.
    Unsure(String),
}

/// Constraints of a schema beyond its columns.
#[derive(Default)]
struct Rules {
    /// Columns that are unique together, by table.
    unique: BTreeMap<String, Vec<Vec<String>>>,
    checks: BTreeMap<String, Vec<String>>,
}

impl Rehearsal {
    /// Copies the schema of a database; why it cannot be had, where it cannot.
    pub(crate) async fn of(conn: &mut SqliteConnection) -> Result<Self, String> {
        let all = texts(conn, SCHEMA).await.map_err(|error| error.to_string())?;
        let memory = SqliteConnectOptions::new().in_memory(true).foreign_keys(false);
        let memory = memory.disable_statement_logging().connect().await;
        let mut made = Self { conn: memory.map_err(|error| error.to_string())? };
        limit(&mut made.conn, TIME_MAX).await.map_err(|error| error.to_string())?;
        for sql in all.into_iter().filter_map(|row| row.into_iter().next()?) {
            let made = run(&mut made.conn, &sql).await;
            made.map_err(|error| format!("its schema cannot be made without it: {error}"))?;
        }
        Ok(made)
    }

    /// Makes a migration, and for a moment its way back.
    pub(crate) async fn run(&mut self, texts: &[String], back: &[String]) -> Result<Seen, Broken> {
        limit(&mut self.conn, TIME_MAX).await.map_err(broken(None))?;
        let mut trace = Trace::new(self.schema().await.map_err(broken(None))?);
        let before = self.rules().await.map_err(broken(None))?;
        let mut deeds = Vec::new();
        let parsed = texts.iter().flat_map(|text| sql::statements(SQLITE, text));
        for (at, statement) in parsed.enumerate() {
            let all = sql::deeds(SQLITE, &statement).into_iter();
            deeds.extend(all.filter(|deed| counts(&trace, deed)));
            self.step(&mut trace, &statement).await.map_err(broken(Some(at + 1)))?;
        }
        let after = self.rules().await.map_err(broken(None))?;
        let mut seen = seen(&trace, &before, &after);
        seen.deeds = deeds;
        let there = self.back(&trace, back).await.map_err(broken(None))?;
        for loss in &mut seen.losses {
            loss.stays_away = stays_away(loss, &trace, &there);
        }
        seen.way_back = way_back(&trace, &there);
        Ok(seen)
    }

    async fn step(&mut self, trace: &mut Trace, statement: &Statement) -> sqlx::Result<()> {
        let version = "SELECT schema_version FROM pragma_schema_version";
        let was = value(&mut self.conn, version).await?;
        run(&mut self.conn, &statement.text).await?;
        // A temporary table leaves the version as it is.
        let touches_temp = statement.tokens.iter().any(|token| token.is("TABLE"));
        let same = value(&mut self.conn, version).await? == was && !touches_temp;
        let now = if same { trace.now().clone() } else { self.schema().await? };
        trace.step(statement, now);
        Ok(())
    }

    /// Goes the way back for a moment; why it cannot be gone, where it fails.
    async fn back(&mut self, trace: &Trace, all: &[String]) -> sqlx::Result<Result<Trace, String>> {
        run(&mut self.conn, "SAVEPOINT back").await?;
        let mut trace = trace.clone();
        let mut failed = None;
        for statement in all.iter().flat_map(|text| sql::statements(SQLITE, text)) {
            let stepped = self.step(&mut trace, &statement).await;
            if let Err(error) = stepped {
                if is_interrupted(&error) {
                    return Err(error);
                }
                failed = Some(error.to_string());
                break;
            }
        }
        run(&mut self.conn, "ROLLBACK TO back; RELEASE back").await?;
        Ok(failed.map_or(Ok(trace), Err))
    }

    async fn schema(&mut self) -> sqlx::Result<Schema> {
        let mut schema = Schema::new();
        for row in texts(&mut self.conn, COLUMNS).await? {
            let Ok([Some(table), Some(name), kind, not_null, is_key, is_computed]) =
                <[_; 6]>::try_from(row)
            else {
                continue;
            };
            let entry = schema.entry(low(&table));
            let table = entry.or_insert_with(|| Table { name: table, columns: Vec::new() });
            let is = |flag: Option<String>| flag.as_deref() == Some("1");
            table.columns.push(Column {
                name,
                kind: kind.unwrap_or_default(),
                not_null: is(not_null),
                is_key: is(is_key),
                is_computed: is(is_computed),
            });
        }
        Ok(schema)
    }

    async fn rules(&mut self) -> sqlx::Result<Rules> {
        let mut indexes: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for row in texts(&mut self.conn, UNIQUE).await? {
            if let Ok([Some(table), Some(index), Some(column)]) = <[_; 3]>::try_from(row) {
                indexes.entry((low(&table), index)).or_default().push(low(&column));
            }
        }
        let mut rules = Rules::default();
        for ((table, _), columns) in indexes {
            rules.unique.entry(table).or_default().push(columns);
        }
        let tables = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL";
        for row in texts(&mut self.conn, tables).await? {
            if let Ok([Some(table), Some(sql)]) = <[_; 2]>::try_from(row) {
                rules.checks.insert(low(&table), sql::checks(SQLITE, &sql));
            }
        }
        Ok(rules)
    }
}

/// Whether a deed costs anything that the schema does not show by itself.
fn counts(trace: &Trace, deed: &Deed) -> bool {
    match deed {
        Deed::DropTable { .. } | Deed::DropColumn { .. } => false,
        Deed::Rows { table, .. }
        | Deed::Unique { table, .. }
        | Deed::Added { table: Some(table) } => !trace.is_made(&table.name),
        _ => true,
    }
}

fn seen(trace: &Trace, before: &Rules, after: &Rules) -> Seen {
    let mut seen = Seen::default();
    for (name, table) in trace.before() {
        let lost = |column: Option<&Column>| Loss {
            table: table.name.clone(),
            column: column.map(|column| column.name.clone()),
            stays_away: None,
        };
        let (now, kept) = match trace.became(name) {
            Became::Gone => {
                seen.losses.push(lost(None));
                continue;
            }
            Became::There { now, columns } => (now, columns),
            Became::Remade { now } => {
                seen.unsure.push(table.name.clone());
                let same = |column: &Column| (low(&column.name), low(&column.name));
                let there = trace.now().get(&now).map_or(&[][..], |table| &table.columns);
                (now, there.iter().map(same).collect())
            }
        };
        let values = table.columns.iter().filter(|column| !column.is_computed);
        let goes =
            values.filter(|column| !kept.values().any(|origin| *origin == low(&column.name)));
        seen.losses.extend(goes.map(|column| lost(Some(column))));
        let Some(new) = trace.now().get(&now) else { continue };
        compare(&mut seen, (table, new), &kept);
        if trace.is_made(&now) {
            seen.rewritten.push(table.name.clone());
            narrower(&mut seen, table, (name, &now, &kept), (before, after));
        }
    }
    seen
}

/// Columns that stay, under a narrower type or rule.
fn compare(seen: &mut Seen, (table, new): (&Table, &Table), kept: &BTreeMap<String, String>) {
    for (name, origin) in kept {
        let (Some(was), Some(now)) = (table.column(origin), new.column(name)) else { continue };
        if affinity(&was.kind) != affinity(&now.kind) && affinity(&now.kind) != Affinity::Blob {
            let said = |kind: &str| if kind.is_empty() { "no type" } else { kind }.to_owned();
            let (from, to) = (said(&was.kind), said(&now.kind));
            seen.retyped.push([table.name.clone(), was.name.clone(), from, to]);
        }
        if now.not_null && !was.not_null && !was.is_key {
            let table = plain(&table.name);
            seen.narrower.push(Deed::NotNull { table, column: was.name.clone() });
        }
    }
}

/// What a table that is written anew asks of all its rows, and did not before.
fn narrower(
    seen: &mut Seen,
    table: &Table,
    (name, now, kept): (&str, &str, &BTreeMap<String, String>),
    (before, after): (&Rules, &Rules),
) {
    let was = before.unique.get(name).cloned().unwrap_or_default();
    for unique in after.unique.get(now).into_iter().flatten() {
        let origins: Option<Vec<_>> = unique.iter().map(|column| kept.get(column)).collect();
        let Some(origins) = origins else { continue };
        let columns: Vec<String> = origins.into_iter().cloned().collect();
        if !was.contains(&columns) {
            seen.narrower.push(Deed::Unique { table: plain(&table.name), columns });
        }
    }
    let was = before.checks.get(name).cloned().unwrap_or_default();
    for condition in after.checks.get(now).into_iter().flatten() {
        if !was.contains(condition) {
            let table = plain(&table.name);
            seen.narrower.push(Deed::Check { table, condition: condition.clone() });
        }
    }
}

fn plain(name: &str) -> Name {
    Name { schema: None, name: name.to_owned() }
}

/// Why what goes is not put back by the way back, or could not be found there.
fn stays_away(loss: &Loss, trace: &Trace, there: &Result<Trace, String>) -> Option<String> {
    let there = match there {
        Ok(there) => there.now(),
        Err(why) => return Some(format!("the way back fails on the schema that is left: {why}")),
    };
    let was = trace.before().get(&low(&loss.table))?;
    let is_wanted = |column: &&Column| match &loss.column {
        None => true,
        Some(name) => column.name == *name || column.is_key,
    };
    if let Some(why) = not_made(was, there, is_wanted) {
        return Some(format!("the way back {why}"));
    }
    let key = key_gone(trace, was).filter(|_| loss.column.is_some())?;
    Some(format!("the key `{}.{key}`, by which it would be put back, goes too", loss.table))
}

/// What of a table of before is not there after the way back.
fn not_made(was: &Table, there: &Schema, wanted: impl Fn(&&Column) -> bool) -> Option<String> {
    let Some(now) = there.get(&low(&was.name)) else {
        return Some(format!("makes no table `{}`", was.name));
    };
    let columns = was.columns.iter().filter(|column| !column.is_computed);
    let missing = columns.filter(wanted).find(|column| now.column(&column.name).is_none())?;
    Some(format!("makes no column `{}.{}`", was.name, missing.name))
}

/// What is wrong with the way back: it should bring every table and column to its place.
fn way_back(trace: &Trace, there: &Result<Trace, String>) -> Option<WayBack> {
    let there = match there {
        Ok(there) => there,
        Err(why) => {
            return Some(WayBack::Not(format!("fails on the schema that is left: {why}")));
        }
    };
    let tables = trace.before().iter();
    let mut wrong = tables.filter_map(|(name, was)| {
        if let Some(why) = not_made(was, there.now(), |_| true) {
            return Some(WayBack::Not(why));
        }
        let Became::There { columns: left, .. } = trace.became(name) else { return None };
        match there.became(name) {
            Became::There { now, columns } if now == *name => {
                let is_moved = |column: &&String| columns.get(*column) != Some(*column);
                let moved = left.values().find(is_moved)?;
                let why = format!("does not bring `{}.{moved}` to its place", was.name);
                Some(WayBack::Not(why))
            }
            _ => Some(WayBack::Unsure(was.name.clone())),
        }
    });
    wrong.next()
}

/// A column of a table's key that is not carried over.
fn key_gone<'a>(trace: &Trace, table: &'a Table) -> Option<&'a str> {
    let Became::There { columns, .. } = trace.became(&low(&table.name)) else { return None };
    let is_there = |column: &Column| columns.values().any(|origin| *origin == low(&column.name));
    let gone = table.columns.iter().find(|column| column.is_key && !is_there(column));
    gone.map(|column| column.name.as_str())
}

/// What SQLite makes of a declared type (<https://sqlite.org/datatype3.html#determination_of_column_affinity>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(kind: &str) -> Affinity {
    let kind = kind.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    if has(&["INT"]) {
        // Both keep what is a number as a number, and the rest as it is.
        Affinity::Numeric
    } else if has(&["CHAR", "CLOB", "TEXT"]) {
        Affinity::Text
    } else if kind.is_empty() || has(&["BLOB"]) {
        Affinity::Blob
    } else if has(&["REAL", "FLOA", "DOUB"]) {
        Affinity::Real
    } else {
        Affinity::Numeric
    }
}
