//! What becomes of each table and column while a migration's statements run one after the other.
//!
//! Most changes of a table on SQLite make it anew: `CREATE new; INSERT INTO new SELECT ... FROM old; DROP
//! old; ALTER new RENAME TO old`. By their words that drops a table; in truth a column goes, or nothing.
//! So the schema after each statement is followed, and whose rows a new table was filled with.

use std::collections::BTreeMap;

use crate::sql::{self, Source, Statement};

/// A column as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The declared type.
    pub(super) kind: String,
    pub(super) not_null: bool,
    pub(super) is_key: bool,
    /// Its value follows from the others.
    pub(super) is_computed: bool,
}

/// A table as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

impl Table {
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// Tables by their names in lower case: SQLite does not tell cases apart.
pub(super) type Schema = BTreeMap<String, Table>;

/// In lower case, as names are compared.
pub(super) fn low(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Columns of now, and which column of before each is.
type Columns = BTreeMap<String, String>;

/// Whose rows a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// Every row of a table of before, these columns of it.
    Of(String, Columns),
    Other,
}

/// A table of now.
#[derive(Clone, Debug)]
struct Traced {
    /// The table of before that it is, under whatever name; nothing where it was made since.
    is: Option<String>,
    content: Content,
}

/// What became of a table of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Became {
    /// It goes with its rows.
    Gone,
    /// It is there, or another that holds its rows; with which of its columns, by their names of now.
    There { now: String, columns: Columns },
    /// Another has its name, filled in a way that cannot be followed.
    Remade { now: String },
}

/// The schema as it was, and what each table of now is of it.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    before: Schema,
    now: Schema,
    tables: BTreeMap<String, Traced>,
}

impl Trace {
    pub(super) fn new(schema: Schema) -> Self {
        let whole = |table: &Table| {
            table.columns.iter().map(|column| (low(&column.name), low(&column.name))).collect()
        };
        let traced = |(name, table): (&String, &Table)| {
            let content = Content::Of(name.clone(), whole(table));
            (name.clone(), Traced { is: Some(name.clone()), content })
        };
        let tables = schema.iter().map(traced).collect();
        Self { before: schema.clone(), now: schema, tables }
    }

    pub(super) fn before(&self) -> &Schema {
        &self.before
    }

    pub(super) fn now(&self) -> &Schema {
        &self.now
    }

    /// Whether the table that has this name now was not there before.
    pub(super) fn is_made(&self, name: &str) -> bool {
        self.tables.get(&low(name)).is_some_and(|table| table.is.is_none())
    }

    /// Goes on to the schema after a statement.
    pub(super) fn step(&mut self, statement: &Statement, now: Schema) {
        let filled =
            sql::fill(statement).map(|fill| (low(&fill.table.name), self.taken(&fill, &now)));
        self.names(&now);
        for (name, table) in &now {
            if let Some(was) = self.now.get(name) {
                let (was, table) = (was.clone(), table.clone());
                self.columns(name, &was, &table);
            }
        }
        self.now = now;
        let changed = changed(statement);
        let filled = filled.or(changed.map(|table| (table, Content::Other)));
        let Some((name, content)) = filled else { return };
        if let Some(table) = self.tables.get_mut(&name).filter(|table| table.is.is_none()) {
            table.content =
                if table.content == Content::Nothing { content } else { Content::Other };
        }
    }

    /// Tables that come and go; one of each in one statement is a new name.
    fn names(&mut self, now: &Schema) {
        let gone: Vec<_> = self.tables.keys().filter(|name| !now.contains_key(*name)).collect();
        let gone: Vec<String> = gone.into_iter().cloned().collect();
        let new: Vec<_> = now.keys().filter(|name| !self.tables.contains_key(*name)).collect();
        if let ([old], [new]) = (gone.as_slice(), new.as_slice()) {
            if let Some(table) = self.tables.remove(old) {
                self.tables.insert((*new).clone(), table);
            }
            if let Some(columns) = self.now.remove(old) {
                self.now.insert((*new).clone(), columns);
            }
            return;
        }
        for name in gone {
            self.tables.remove(&name);
        }
        for name in new {
            let table = Traced { is: None, content: Content::Nothing };
            self.tables.insert(name.clone(), table);
        }
    }

    /// Columns that come, go, or get another name: then one differs, at its place.
    fn columns(&mut self, name: &str, was: &Table, now: &Table) {
        let Some(Traced { content: Content::Of(_, map), .. }) = self.tables.get_mut(name) else {
            return;
        };
        let pairs = was.columns.iter().zip(&now.columns);
        let renamed: Vec<_> = pairs
            .filter(|(was, now)| low(&was.name) != low(&now.name))
            .map(|(was, now)| (low(&was.name), low(&now.name)))
            .collect();
        match renamed.as_slice() {
            [(was_name, now_name)] if was.columns.len() == now.columns.len() => {
                if let Some(origin) = map.remove(was_name) {
                    map.insert(now_name.clone(), origin);
                }
            }
            _ => map.retain(|column, _| now.column(column).is_some()),
        }
    }

    /// What a statement puts into a table, seen from the tables as they are before it.
    fn taken(&self, fill: &sql::Fill, now: &Schema) -> Content {
        let into = now.get(&low(&fill.table.name));
        let of = match &fill.source {
            Source::Copy { table, columns } => self.copied(&low(&table.name), columns),
            Source::Values | Source::Query => None,
        };
        let (Some(into), Some((origin, origins))) = (into, of) else { return Content::Other };
        let named: Vec<String> = if fill.columns.is_empty() {
            let plain = into.columns.iter().filter(|column| !column.is_computed);
            plain.map(|column| low(&column.name)).collect()
        } else {
            fill.columns.iter().map(|column| low(column)).collect()
        };
        if named.len() != origins.len() {
            return Content::Other;
        }
        let pairs = named.into_iter().zip(origins);
        Content::Of(origin, pairs.filter_map(|(name, origin)| Some((name, origin?))).collect())
    }

    /// The table of before whose rows a table holds, and which columns of it these are.
    fn copied(&self, table: &str, columns: &[String]) -> Option<(String, Vec<Option<String>>)> {
        let Content::Of(origin, map) = &self.tables.get(table)?.content else { return None };
        let known = self.now.get(table)?;
        let columns: Vec<String> = if columns.is_empty() {
            known.columns.iter().map(|column| column.name.clone()).collect()
        } else {
            columns.to_vec()
        };
        // What is no column of it is a text to SQLite, or an error.
        let all_known = columns.iter().all(|column| known.column(column).is_some());
        let origins = columns.iter().map(|column| map.get(&low(column)).cloned()).collect();
        all_known.then_some((origin.clone(), origins))
    }

    /// What became of a table of before.
    pub(super) fn became(&self, name: &str) -> Became {
        let holds = |table: &Traced| match &table.content {
            Content::Of(origin, columns) if origin == name => Some(columns.clone()),
            _ => None,
        };
        let itself = self.tables.iter().find(|(_, table)| table.is.as_deref() == Some(name));
        let named = self.tables.get_key_value(name);
        let held = self.tables.iter().find(|(_, table)| holds(table).is_some());
        let found = itself.or(named.filter(|(_, table)| holds(table).is_some())).or(held);
        match (found, named) {
            (Some((now, table)), _) => {
                Became::There { now: now.clone(), columns: holds(table).unwrap_or_default() }
            }
            (None, Some((now, _))) => Became::Remade { now: now.clone() },
            (None, None) => Became::Gone,
        }
    }
}

/// The table whose rows a statement changes or deletes.
fn changed(statement: &Statement) -> Option<String> {
    let deeds = sql::deeds(crate::tool::Dialect::Sqlite, statement);
    deeds.into_iter().find_map(|deed| match deed {
        sql::Deed::Rows { table, .. } => Some(low(&table.name)),
        _ => None,
    })
}
