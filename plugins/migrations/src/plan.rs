//! The plan: files and ledger joined, and everything refused that would not end as it says.

use std::path::Path;

use backout_plugin_api::{Guarantee, Image, PrepareFailure, Prepared, PreparedEffect, Satisfied};
use serde_json::{Value, json};

use crate::db::{DATA_VERSION, Data, Database, Look, Place};
use crate::hazard::{Cost, Counter};
use crate::sql;
use crate::tool::{
    Applied, Change, Dialect, Direction, Ledger, Migration, NOTHING, Names, Script, Tool,
};

/// Migrations in one step: each is an effect, and nobody oversees more.
const MIGRATIONS_MAX: usize = 200;
/// Bytes of SQL in one step: it stands in the journal in one event.
const SQL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) direction: Direction,
    pub(crate) tool: Tool,
    pub(crate) place: Place,
    pub(crate) foreign_keys: Option<bool>,
    pub(crate) dir: String,
    pub(crate) table: String,
    /// As it was written; [`NOTHING`] for zero.
    pub(crate) to: String,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads files and ledger and plans one effect for each migration.
pub(crate) async fn prepare(wish: &Wish) -> Result<Prepared, PrepareFailure> {
    let files = list(wish).await?;
    let mut look = Look::at(&wish.place, wish.foreign_keys).await?;
    let mut ledger = look.ledger(wish.tool, &wish.table).await?;
    check(&files, &mut ledger, wish)?;
    let steps = steps(&files, &ledger, wish).map_err(refused)?;
    if !steps.is_empty() {
        look.database.check_writable()?;
    }
    let maker = Maker { wish, dialect: look.conn.dialect(), database: look.database.clone() };
    let mut counter = Counter::new(&mut look.conn);
    let mut effects = Vec::new();
    let mut bytes = 0;
    for (wave, step) in steps.iter().enumerate() {
        let data = maker.data(step).map_err(refused)?;
        bytes += data.statements.iter().map(String::len).sum::<usize>();
        if bytes > SQL_BYTES_MAX {
            return Err(refused(format!(
                "more SQL than SQL_BYTES_MAX ({SQL_BYTES_MAX} bytes); split the step by versions"
            )));
        }
        let cost = counter.cost(&data.statements).await;
        effects.push(effect(wave, data, cost)?);
    }
    if effects.is_empty() {
        effects.push(nothing_to_do(&ledger));
    }
    let rows = counter.counts;
    let seen =
        json!({ "database": look.name, "version": version_value(ledger.current()), "rows": rows });
    let prepared = prepared(&look.database, effects, seen);
    look.close().await?;
    Ok(prepared)
}

async fn list(wish: &Wish) -> Result<Vec<Migration>, PrepareFailure> {
    let (driver, dir) = (wish.tool.driver(), wish.dir.clone());
    tokio::task::spawn_blocking(move || driver.list(Path::new(&dir)))
        .await
        .map_err(|error| PrepareFailure::Unreachable { reason: error.to_string() })?
}

fn prepared(database: &Database, effects: Vec<PreparedEffect>, seen: Value) -> Prepared {
    Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Transactional,
        remembered_ms: None,
        locks: vec![database.target()],
        effects,
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen,
    }
}

/// Refuses a ledger and a folder that do not fit each other.
fn check(files: &[Migration], ledger: &mut Ledger, wish: &Wish) -> Result<(), PrepareFailure> {
    let (table, dir, driver) = (&wish.table, &wish.dir, wish.tool.driver());
    if let Some(why) = &ledger.dirty {
        return Err(refused(why.clone()));
    }
    let position = |version: &str| files.iter().position(|file| file.version == version);
    if let Some(unknown) = ledger.applied.iter().find(|row| position(&row.version).is_none()) {
        return Err(refused(format!(
            "the ledger `{table}` has version {}, but {dir} has no file for it; put the folder of \
             the release that made it in `dir`",
            unknown.version
        )));
    }
    let current = position(ledger.current());
    if ledger.only_current {
        let until = files.iter().take(current.map_or(0, |at| at + 1));
        let applied = |file: &Migration| Applied { version: file.version.clone(), checksum: None };
        ledger.applied = until.map(applied).collect();
    }
    let places: Vec<_> = ledger.applied.iter().map(|row| position(&row.version)).collect();
    if let Some((first, second)) = out_of_order(&places, ledger) {
        return Err(refused(format!(
            "the ledger `{table}` is out of order: {first} was applied before {second}; roll back by \
             hand with {}, in the order that your team decides",
            driver.name()
        )));
    }
    let until = files.iter().take(current.map_or(0, |at| at + 1));
    if let Some(hole) = until.into_iter().find(|file| !ledger.has(&file.version)) {
        return Err(refused(format!(
            "there is a hole: {} ({}) was never applied, but {} was; {}, or take the file away",
            hole.version,
            hole.name,
            ledger.current(),
            driver.fill_hole()
        )));
    }
    for (file, applied) in files.iter().zip(&ledger.applied) {
        driver.verify(file, applied).map_err(refused)?;
    }
    Ok(())
}

/// Two neighbours applied in the wrong order, if any.
fn out_of_order<'a>(places: &[Option<usize>], ledger: &'a Ledger) -> Option<(&'a str, &'a str)> {
    let at = places.windows(2).position(|pair| pair.first() > pair.last())?;
    let version = |at: usize| ledger.applied.get(at).map(|row| row.version.as_str());
    version(at).zip(version(at + 1))
}

/// One migration to make.
struct Step<'a> {
    migration: &'a Migration,
    from: &'a str,
    to: &'a str,
}

/// The steps in order.
fn steps<'a>(
    files: &'a [Migration],
    ledger: &Ledger,
    wish: &Wish,
) -> Result<Vec<Step<'a>>, String> {
    let target = target(files, wish)?;
    let applied = ledger.applied.len();
    let version = |count: usize| {
        let last = count.checked_sub(1).and_then(|at| files.get(at));
        last.map_or(NOTHING, |file| file.version.as_str())
    };
    let step = |at: usize, from, to| files.get(at).map(|migration| Step { migration, from, to });
    let steps: Vec<_> = match wish.direction {
        Direction::Down if target > applied => {
            let (now, to) = (version(applied), version(target));
            return Err(format!(
                "the schema is at version {now}, below {to}; `migrations.up` goes forward"
            ));
        }
        Direction::Up if target < applied => {
            let (now, to) = (version(applied), version(target));
            return Err(format!(
                "the schema is at version {now}, above {to}; `migrations.down` goes back"
            ));
        }
        Direction::Down => (target..applied)
            .rev()
            .filter_map(|at| step(at, version(at + 1), version(at)))
            .collect(),
        Direction::Up => {
            (applied..target).filter_map(|at| step(at, version(at), version(at + 1))).collect()
        }
    };
    if steps.len() > MIGRATIONS_MAX {
        let count = steps.len();
        return Err(format!("{count} migrations are more than MIGRATIONS_MAX ({MIGRATIONS_MAX})"));
    }
    Ok(steps)
}

/// How many migrations are applied afterwards.
fn target(files: &[Migration], wish: &Wish) -> Result<usize, String> {
    if wish.to == NOTHING {
        return Ok(0);
    }
    let driver = wish.tool.driver();
    let found = files.iter().position(|file| driver.means(file, &wish.to));
    found.map(|at| at + 1).ok_or_else(|| {
        let known: Vec<_> = files.iter().map(|file| file.version.as_str()).collect();
        format!("there is no migration {}; {} has {}", wish.to, wish.dir, known.join(", "))
    })
}

/// Makes the data of each step.
struct Maker<'a> {
    wish: &'a Wish,
    dialect: Dialect,
    database: Database,
}

impl Maker<'_> {
    /// Everything that one migration needs, or why it cannot be made.
    fn data(&self, step: &Step<'_>) -> Result<Data, String> {
        let (wish, driver) = (self.wish, self.wish.tool.driver());
        let script = driver.script(step.migration, wish.direction)?;
        check_script(self.dialect, &script, wish.direction)?;
        let back = driver.script(step.migration, wish.direction.other());
        let has_way_back = back
            .is_ok_and(|back| !back.statements.iter().all(|statement| sql::is_empty(statement)));
        let change = Change {
            migration: step.migration,
            direction: wish.direction,
            from: step.from,
            to: step.to,
        };
        let (schema, table) = wish.table.split_once('.').unwrap_or(("public", &wish.table));
        let names = Names { database: self.database.name(), schema, table };
        Ok(Data {
            database: self.database.clone(),
            tool: wish.tool,
            table: wish.table.clone(),
            direction: wish.direction,
            version: step.migration.version.clone(),
            from: step.from.to_owned(),
            to: step.to.to_owned(),
            file: script.file,
            file_sha256: script.sha256,
            statements: script.statements,
            transactional: script.transactional,
            ledger: driver.change(self.dialect, &self.dialect.table(&wish.table), &change)?,
            locks: driver.locks(self.dialect, &names),
            has_way_back,
        })
    }
}

fn check_script(dialect: Dialect, script: &Script, direction: Direction) -> Result<(), String> {
    let file = &script.file;
    if !script.transactional {
        return Err(format!(
            "{file} says `NO TRANSACTION`: a crash in the middle could not be told from success; \
             run it with its tool by a step of `exec.run` with a `settle` command"
        ));
    }
    for (at, text) in script.statements.iter().enumerate() {
        let parsed = sql::statements(dialect, text);
        if let Some(why) = parsed.iter().find_map(|tokens| sql::unfit(tokens)) {
            return Err(format!("{file}, {} statement {}: {why}", direction.word(), at + 1));
        }
    }
    Ok(())
}

fn effect(wave: usize, data: Data, cost: Cost) -> Result<PreparedEffect, PrepareFailure> {
    let word = data.direction.word();
    let title = format!("{} {word}: version {} -> {}", data.file, data.from, data.to);
    let lines = data.statements.iter().flat_map(|statement| statement.lines());
    let difference =
        std::iter::once(format!("-- {title}")).chain(lines.map(str::to_owned)).collect();
    let reversibility = cost.reversibility(data.has_way_back);
    let image = |version: &str| Image::Plain(json!({ "version": version_value(version) }));
    Ok(PreparedEffect {
        title,
        wave: u32::try_from(wave).unwrap_or(u32::MAX),
        satisfied: Satisfied::No,
        before: image(&data.from),
        wanted: image(&data.to),
        difference,
        reversibility,
        hazards: cost.hazards,
        data: serde_json::to_value(data).map_err(|error| refused(error.to_string()))?,
    })
}

fn nothing_to_do(ledger: &Ledger) -> PreparedEffect {
    let image = Image::Plain(json!({ "version": version_value(ledger.current()) }));
    PreparedEffect {
        title: format!("the schema is at version {} already", ledger.current()),
        wave: 0,
        satisfied: Satisfied::Yes,
        before: image.clone(),
        wanted: image,
        difference: Vec::new(),
        reversibility: backout_plugin_api::Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    }
}
