//! The plan: files and ledger joined, and everything refused that would not end as it says.

use std::collections::BTreeMap;

use backout_plugin_api::{
    Guarantee, Image, PrepareFailure, Prepared, PreparedEffect, Satisfied, TargetId,
};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::files::{File, list};
use crate::goose::{Direction, Section, parse};
use crate::hazard::{Cost, Counter};
use crate::input::Place;
use crate::sql;
use crate::sqlite::{Data, Database, Ledger, find_ledger, unreadable};

/// The version of [`Data`].
pub(crate) const DATA_VERSION: u32 = 1;
/// Migrations in one step: each is an effect, and nobody oversees more.
const MIGRATIONS_MAX: usize = 200;
/// Bytes of SQL in one step: it stands in the journal in one event.
const SQL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) direction: Direction,
    pub(crate) place: Place,
    pub(crate) dir: String,
    pub(crate) table: String,
    pub(crate) to: i64,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads files and ledger and plans one effect for each migration.
pub(crate) async fn prepare(wish: &Wish) -> Result<Prepared, PrepareFailure> {
    let database = Database::find(&wish.place)?;
    let dir = wish.dir.clone();
    let files = tokio::task::spawn_blocking(move || list(&dir))
        .await
        .map_err(|error| PrepareFailure::Unreachable { reason: error.to_string() })??;
    let failed = |error: sqlx::Error| unreadable(&database.path, &error);
    let mut conn = database.read_only().await.map_err(failed)?;
    let ledger = find_ledger(&mut conn, &database.path, &wish.table).await?;
    check(&files, &ledger, wish)?;
    let versions = steps(&files, &ledger, wish).map_err(refused)?;
    if !versions.is_empty() {
        check_writable(&database)?;
    }
    let mut counter = Counter::new(&mut conn);
    let mut effects = Vec::new();
    let mut bytes = 0;
    for (wave, step) in versions.iter().enumerate() {
        let data = data(&files, &database, wish, *step).map_err(refused)?;
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
        effects.push(nothing_to_do(wish, &ledger));
    }
    let seen = json!({
        "database": database.path,
        "version": ledger.current(),
        "rows": counter.counts,
    });
    conn.close().await.map_err(failed)?;
    Ok(prepared(&database, effects, seen))
}

fn prepared(database: &Database, effects: Vec<PreparedEffect>, seen: Value) -> Prepared {
    Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Transactional,
        remembered_ms: None,
        locks: vec![TargetId::new(format!("sqlite:{}", database.path.display()))],
        effects,
        hazards: Vec::new(),
        gate: None,
        converge_ms: 0,
        seen,
    }
}

/// Refuses a ledger and a folder that do not fit each other.
fn check(files: &BTreeMap<i64, File>, ledger: &Ledger, wish: &Wish) -> Result<(), PrepareFailure> {
    if let Some((first, second)) = ledger.out_of_order() {
        return Err(refused(format!(
            "the ledger `{}` is out of order: {first} was applied before {second}; roll back by \
             hand with goose, in the order that your team decides",
            wish.table
        )));
    }
    if let Some(unknown) = ledger.applied.iter().find(|version| !files.contains_key(version)) {
        return Err(refused(format!(
            "the ledger `{}` has version {unknown}, but {} has no file for it; put the folder of \
             the release that made it in `dir`",
            wish.table, wish.dir
        )));
    }
    let current = ledger.current();
    let hole = files.range(..=current).find(|(version, _)| !ledger.applied.contains(version));
    if let Some((hole, file)) = hole {
        return Err(refused(format!(
            "there is a hole: {hole} ({}) was never applied, but {current} was; apply it with \
             `goose up --allow-missing`, or take the file away",
            file.name
        )));
    }
    Ok(())
}

/// The steps: (migration, version before, version after), in order.
fn steps(
    files: &BTreeMap<i64, File>,
    ledger: &Ledger,
    wish: &Wish,
) -> Result<Vec<(i64, i64, i64)>, String> {
    let (to, current) = (wish.to, ledger.current());
    if to != 0 && !files.contains_key(&to) {
        let known: Vec<_> = files.keys().map(ToString::to_string).collect();
        return Err(format!("there is no migration {to}; {} has {}", wish.dir, known.join(", ")));
    }
    let steps: Vec<_> = match wish.direction {
        Direction::Down if to > current => {
            return Err(format!(
                "the schema is at version {current}, below {to}; `migrations.up` goes forward"
            ));
        }
        Direction::Up if to < current => {
            return Err(format!(
                "the schema is at version {current}, above {to}; `migrations.down` goes back"
            ));
        }
        Direction::Down => {
            let above = ledger.applied.iter().rev().copied().take_while(|version| *version > to);
            let below = ledger.applied.iter().rev().copied().skip(1).chain([0]);
            above.zip(below).map(|(version, below)| (version, version, below)).collect()
        }
        Direction::Up => {
            let new: Vec<i64> =
                files.keys().copied().filter(|v| *v > current && *v <= to).collect();
            let before = std::iter::once(current).chain(new.iter().copied());
            new.iter().zip(before).map(|(version, from)| (*version, from, *version)).collect()
        }
    };
    if steps.len() > MIGRATIONS_MAX {
        let count = steps.len();
        return Err(format!("{count} migrations are more than MIGRATIONS_MAX ({MIGRATIONS_MAX})"));
    }
    Ok(steps)
}

/// Everything that one migration needs, or why it cannot be made.
fn data(
    files: &BTreeMap<i64, File>,
    database: &Database,
    wish: &Wish,
    (version, from, to): (i64, i64, i64),
) -> Result<Data, String> {
    let file = files.get(&version).ok_or_else(|| format!("there is no file for {version}"))?;
    if file.is_code {
        return Err(format!(
            "{} is written in Go and compiled into its owner's program; run that program's own \
             `{}` by a step of `exec.run`",
            file.name,
            wish.direction.word()
        ));
    }
    let (text, file_sha256) = file.read()?;
    let section = section(&text, wish.direction, &file.name)?;
    let other = match wish.direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    };
    let back = parse(&text, other).map_err(|why| format!("{}: {why}", file.name))?;
    Ok(Data {
        database: database.clone(),
        table: wish.table.clone(),
        direction: wish.direction,
        version,
        from,
        to,
        file: file.name.clone(),
        file_sha256,
        has_way_back: !is_empty(&back),
        statements: section.statements,
    })
}

fn is_empty(section: &Section) -> bool {
    section.statements.iter().all(|statement| sql::statements(statement).is_empty())
}

fn section(text: &str, direction: Direction, name: &str) -> Result<Section, String> {
    let section = parse(text, direction).map_err(|why| format!("{name}: {why}"))?;
    if section.no_transaction {
        return Err(format!(
            "{name} says `NO TRANSACTION`: a crash in the middle could not be told from success; \
             run it with goose by a step of `exec.run` with a `settle` command"
        ));
    }
    if section.environment {
        return Err(format!(
            "{name} says `ENVSUB ON`: its text depends on goose's environment; run it with goose \
             by a step of `exec.run`"
        ));
    }
    if direction == Direction::Down && is_empty(&section) {
        return Err(format!(
            "{name} has no SQL under `-- +goose Down`: goose would take its row from the ledger and \
             leave the schema as it is; write the section, or stop at its version"
        ));
    }
    for (at, statement) in section.statements.iter().enumerate() {
        if let Some(why) = sql::statements(statement).iter().find_map(|tokens| sql::unfit(tokens)) {
            return Err(format!("{name}, {} statement {}: {why}", direction.word(), at + 1));
        }
    }
    Ok(section)
}

fn effect(wave: usize, data: Data, cost: Cost) -> Result<PreparedEffect, PrepareFailure> {
    let word = data.direction.word();
    let title = format!("{} {word}: version {} -> {}", data.file, data.from, data.to);
    let lines = data.statements.iter().flat_map(|statement| statement.lines());
    let difference =
        std::iter::once(format!("-- {title}")).chain(lines.map(str::to_owned)).collect();
    let reversibility = cost.reversibility(data.has_way_back);
    let image = |version: i64| Image::Plain(json!({ "version": version }));
    Ok(PreparedEffect {
        title,
        wave: u32::try_from(wave).unwrap_or(u32::MAX),
        satisfied: Satisfied::No,
        before: image(data.from),
        wanted: image(data.to),
        difference,
        reversibility,
        hazards: cost.hazards,
        data: serde_json::to_value(data).map_err(|error| refused(error.to_string()))?,
    })
}

fn nothing_to_do(wish: &Wish, ledger: &Ledger) -> PreparedEffect {
    let image = Image::Plain(json!({ "version": ledger.current() }));
    PreparedEffect {
        title: format!("the schema is at version {} already", wish.to),
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

/// What cannot be written is an error now, not half way. SQLite writes its journal beside the file.
fn check_writable(database: &Database) -> Result<(), PrepareFailure> {
    let folder = database.path.parent().unwrap_or(&database.path);
    for path in [folder, &database.path] {
        rustix::fs::access(path, rustix::fs::Access::WRITE_OK).map_err(|error| {
            refused(format!(
                "cannot write to {}: {error}; SQLite writes the file and its journal beside it",
                path.display()
            ))
        })?;
    }
    Ok(())
}
