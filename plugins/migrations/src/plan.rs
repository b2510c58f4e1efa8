//! The plan: files and ledger joined, and everything refused that would not end as it says.

use std::path::Path;

use backout_plugin_api::{
    Context, Guarantee, Hazard, Image, PrepareFailure, Prepared, PreparedEffect, Satisfied,
};
use serde_json::{Value, json};

use crate::db::{DATA_VERSION, Data, Database, Look, Place};
use crate::hazard::{Cost, Sections, Survey};
use crate::sql;
use crate::tool::{
    Applied, Change, Dialect, Direction, Ledger, Migration, NOTHING, Names, Script, Tool,
    is_nothing, version_value,
};

/// Migrations in one step: each is an effect, and nobody oversees more.
const MIGRATIONS_MAX: usize = 200;
/// Bytes of SQL in one step: it stands in the journal in one event.
const SQL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is asked.
#[derive(Clone)]
pub(crate) struct Wish {
    pub(crate) direction: Direction,
    pub(crate) tool: Tool,
    pub(crate) place: Place,
    pub(crate) foreign_keys: Option<bool>,
    pub(crate) dir: String,
    pub(crate) table: String,
    /// As it was written.
    pub(crate) to: String,
    pub(crate) lock_timeout_ms: u64,
    pub(crate) statement_timeout_ms: u64,
    /// Bytes of dropped tables and columns that are kept; nothing where none are.
    pub(crate) keep: Option<u64>,
    /// Keys whose kept data is put back.
    pub(crate) put_back: Vec<String>,
}

fn refused(reason: String) -> PrepareFailure {
    PrepareFailure::Refused { reason }
}

/// Reads files and ledger and plans one effect for each migration.
pub(crate) async fn prepare(ctx: &Context, wish: &Wish) -> Result<Prepared, PrepareFailure> {
    let mut look = Look::at(ctx, &wish.place, wish.foreign_keys).await?;
    let mut ledger = look.ledger(wish.tool, &wish.table).await?;
    let files = list(wish).await?;
    check(&files, &mut ledger, wish)?;
    let steps = steps(&files, &ledger, wish).map_err(refused)?;
    check_made_by_us(&steps, wish)?;
    if !steps.is_empty() {
        look.check_writable()?;
    }
    let maker = Maker {
        wish,
        dialect: look.conn.dialect(),
        database: look.database.clone(),
        marked: look.can_mark,
    };
    let marked = look.can_mark;
    let keep = wish.keep.filter(|_| look.can_mark && wish.direction == Direction::Down);
    let foreign_keys = look.database.foreign_keys();
    let mut survey = Survey::new(&mut look.conn, wish.tool, &wish.table, keep);
    survey.foreign_keys = foreign_keys;
    let mut effects = Vec::new();
    let mut guarantee = marked_guarantee(marked);
    let mut bytes = 0;
    for (wave, step) in steps.iter().enumerate() {
        let mut data = maker.data(step).map_err(refused)?;
        bytes += data.statements.iter().map(String::len).sum::<usize>();
        if bytes > SQL_BYTES_MAX {
            return Err(refused(format!(
                "more SQL than SQL_BYTES_MAX ({SQL_BYTES_MAX} bytes); split the step by versions"
            )));
        }
        let (back, back_is_whole) = maker.back(step);
        let sections = Sections {
            statements: &data.statements,
            back: &back,
            version: &data.version,
            can_keep: data.transactional && back_is_whole || maker.dialect == Dialect::Mysql,
        };
        let mut cost = survey.cost(sections).await;
        guarantee = guarantee.min(if data.transactional {
            marked_guarantee(marked)
        } else {
            survey.stepwise(&mut cost, &mut data).await.map_err(refused)?
        });
        effects.push(effect(wave, data, cost)?);
    }
    if effects.is_empty() {
        effects.push(nothing_to_do(&ledger));
    }
    let rows = survey.counts;
    let seen =
        json!({ "database": look.name, "version": version_value(ledger.current()), "rows": rows });
    let prepared = prepared(&look, guarantee, effects, seen);
    look.close().await?;
    Ok(prepared)
}

async fn list(wish: &Wish) -> Result<Vec<Migration>, PrepareFailure> {
    let (driver, dir) = (wish.tool.driver(), wish.dir.clone());
    tokio::task::spawn_blocking(move || driver.list(Path::new(&dir)))
        .await
        .map_err(|error| PrepareFailure::Unreachable { reason: error.to_string() })?
}

fn prepared(
    look: &Look,
    guarantee: Guarantee,
    effects: Vec<PreparedEffect>,
    seen: Value,
) -> Prepared {
    let hazards = if look.can_mark { Vec::new() } else { vec![unmarked(&look.name)] };
    Prepared {
        data_version: DATA_VERSION,
        guarantee,
        remembered_ms: None,
        locks: vec![look.database.target()],
        effects,
        hazards,
        gate: None,
        converge_ms: 0,
        seen,
    }
}

/// What holds where the migration is one transaction.
fn marked_guarantee(marked: bool) -> Guarantee {
    if marked { Guarantee::Transactional } else { Guarantee::Probed }
}

/// Without a row of ours the guarantee falls, and a person should know.
fn unmarked(name: &str) -> Hazard {
    Hazard {
        code: "no-effect-table".to_owned(),
        text: format!(
            "the role may not make the table backout.effects in {name}: after a crash only the \
             ledger tells, and a step may stay in doubt; let it CREATE on the database, or make the \
             table for it"
        ),
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

/// Refuses to make what only the tool itself can make, and says what it would be.
fn check_made_by_us(steps: &[Step<'_>], wish: &Wish) -> Result<(), PrepareFailure> {
    let Some(why) = wish.tool.driver().plan_only().filter(|_| !steps.is_empty()) else {
        return Ok(());
    };
    let name = |step: &Step<'_>| format!("{} -> {} ({})", step.from, step.to, step.migration.name);
    let names: Vec<_> = steps.iter().map(name).collect();
    let word = wish.direction.word();
    Err(refused(format!("the way {word} would be: {}; {why}", names.join(", "))))
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
    let driver = wish.tool.driver();
    let is_meant = |(_, file): &(usize, &Migration)| driver.means(&file.version, &wish.to);
    let mut meant = files.iter().enumerate().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some((at, _)), None) => Ok(at + 1),
        (Some((_, a)), Some((_, b))) => Err(format!(
            "`{}` means {} and {}; write which of them in full",
            wish.to, a.version, b.version
        )),
        (None, _) if is_nothing(&wish.to) => Ok(0),
        (None, _) => {
            let known: Vec<_> = files.iter().map(|file| file.version.as_str()).collect();
            Err(format!("there is no migration {}; {} has {}", wish.to, wish.dir, known.join(", ")))
        }
    }
}

/// Makes the data of each step.
struct Maker<'a> {
    wish: &'a Wish,
    dialect: Dialect,
    database: Database,
    marked: bool,
}

impl Maker<'_> {
    /// The SQL of the other direction, and whether it is one transaction; none where there is none.
    fn back(&self, step: &Step<'_>) -> (Vec<String>, bool) {
        let back = self.wish.tool.driver().script(step.migration, self.wish.direction.other());
        back.map(|back| (back.statements, back.transactional)).unwrap_or_default()
    }

    /// Everything that one migration needs, or why it cannot be made.
    fn data(&self, step: &Step<'_>) -> Result<Data, String> {
        let (wish, driver) = (self.wish, self.wish.tool.driver());
        let script = driver.script(step.migration, wish.direction)?;
        check_script(self.dialect, &script, wish.direction)?;
        let has_way_back = !self.back(step).0.iter().all(|statement| sql::is_empty(statement));
        let change = Change {
            migration: step.migration,
            direction: wish.direction,
            from: step.from,
            to: step.to,
        };
        let (schema, table) =
            wish.table.split_once('.').unwrap_or((self.database.schema(), &wish.table));
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
            transactional: script.transactional && self.dialect != Dialect::Mysql,
            ledger: driver.change(self.dialect, &self.dialect.table(&wish.table), &change)?,
            locks: driver.locks(self.dialect, &names),
            has_way_back,
            marked: self.marked,
            lock_timeout_ms: wish.lock_timeout_ms,
            statement_timeout_ms: wish.statement_timeout_ms,
            keep: Vec::new(),
            put_back: wish.put_back.clone(),
            kept_before: Vec::new(),
            resume: 0,
        })
    }
}

fn check_script(dialect: Dialect, script: &Script, direction: Direction) -> Result<(), String> {
    let file = &script.file;
    if !script.transactional && dialect == Dialect::Sqlite {
        return Err(format!(
            "{file} says `NO TRANSACTION`: on SQLite a crash in the middle could not be told from \
             success; run it with its tool by a step of `exec.run` with a `settle` command"
        ));
    }
    for (at, text) in script.statements.iter().enumerate() {
        for statement in sql::statements(dialect, text) {
            let why = sql::unfit(dialect, &statement);
            let outside = || sql::outside(dialect, &statement).filter(|_| script.transactional);
            if let Some(why) = why.or_else(outside) {
                return Err(format!("{file}, {} statement {}: {why}", direction.word(), at + 1));
            }
        }
    }
    Ok(())
}

fn effect(wave: usize, mut data: Data, cost: Cost) -> Result<PreparedEffect, PrepareFailure> {
    data.keep.clone_from(&cost.keep);
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
