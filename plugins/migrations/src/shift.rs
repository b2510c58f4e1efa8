//! `migrations.down` and `migrations.up`.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, MadeEffect, Manifest, Outcome,
    PrepareFailure, Prepared, Reverted, Satisfied, Settled, Tidied, parse_input,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::db::{self, DATA_VERSIONS, Data, Fault, Point, Work};
use crate::input::{self, LOCK_TIMEOUT, STATEMENT_TIMEOUT, ShiftInput, VersionText};
use crate::plan::{self, Wish};
use crate::tool::{Dialect, Direction, Hand, HandLines, Tool};

const DOWN_DOCS: &str = concat!(
    include_str!("docs/down.md"),
    include_str!("docs/databases.md"),
    include_str!("docs/tools.md")
);
const UP_DOCS: &str = include_str!("docs/up.md");

/// The actions `migrations.down` and `migrations.up`.
#[derive(Clone, Debug)]
pub struct MigrationsShift {
    direction: Direction,
    fault: Fault,
}

impl MigrationsShift {
    /// `migrations.down`.
    pub fn down() -> Self {
        Self { direction: Direction::Down, fault: Fault::default() }
    }

    /// `migrations.up`.
    pub fn up() -> Self {
        Self { direction: Direction::Up, fault: Fault::default() }
    }

    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { fault: Fault::at(fault), ..self }
    }

    async fn wish(&self, ctx: &Context, input: &Value) -> Result<Wish, PrepareFailure> {
        let input: ShiftInput = parse_input(input)?;
        let table = input::table(input.tool, input.table.as_ref())?;
        let place = db::place(ctx, input.database.as_ref(), input.path.as_ref()).await?;
        Ok(Wish {
            direction: self.direction,
            tool: input.tool,
            place,
            foreign_keys: input.foreign_keys,
            dir: input.dir,
            table,
            to: input.to.text(),
            lock_timeout_ms: input::millis(input.lock_timeout.as_ref(), LOCK_TIMEOUT)?,
            statement_timeout_ms: input::millis(
                input.statement_timeout.as_ref(),
                STATEMENT_TIMEOUT,
            )?,
            keep: input::keep(input.keep_data.as_ref())?,
            put_back: input.put_back.unwrap_or_default(),
        })
    }

    fn work<'a>(&'a self, ctx: &'a Context, call: &'a Call, data: &'a Data) -> Work<'a> {
        Work { ctx, call, data, fault: &self.fault }
    }
}

#[async_trait]
impl Action for MigrationsShift {
    fn manifest(&self) -> Manifest {
        let (name, summary, docs, example) = match self.direction {
            Direction::Down => (
                "migrations.down",
                "Takes a database's schema back to a version.",
                DOWN_DOCS,
                r#"(path: "/var/lib/shop/shop.db", dir: "/srv/shop/migrations", to: "3")"#,
            ),
            Direction::Up => (
                "migrations.up",
                "Takes a database's schema forward to a version.",
                UP_DOCS,
                r#"(database: "env:DATABASE_URL", dir: "/srv/shop/migrations", to: "5")"#,
            ),
        };
        Manifest {
            name: ActionName::new(name),
            summary,
            docs,
            input: || schema_for!(ShiftInput),
            example,
            guarantee: Guarantee::Transactional,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, Guarantee::Transactional)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand(self.direction, input)
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let planned = async {
            let wish = self.wish(ctx, input).await?;
            plan::prepare(ctx, &wish).await
        };
        db::in_time(ctx, planned).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match Data::of(call) {
            Ok(data) => db::apply(self.work(ctx, call, &data)).await,
            Err(reason) => Outcome::Refused { reason },
        }
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        match Data::of(call) {
            Ok(data) => db::settle(self.work(ctx, call, &data)).await,
            Err(evidence) => Settled::Unknown { evidence },
        }
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }

    async fn tidy(&self, ctx: &Context, made: &MadeEffect) -> Tidied {
        let effect = made.prepared.effects.get(made.effect);
        let data = effect.map(|effect| Data::read(made.prepared.data_version, &effect.data));
        let Some(Ok(data)) = data else { return Tidied::default() };
        let removed = tokio::time::timeout(ctx.timeout, db::tidy(ctx, made, &data)).await;
        let removed = removed.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match removed {
            Ok(removed) => Tidied { removed, left: Vec::new() },
            Err(why) => Tidied { removed: Vec::new(), left: vec![left_over(&data, &why)] },
        }
    }
}

/// Copies that could not be removed, and how a person removes them.
fn left_over(data: &Data, why: &str) -> String {
    let place = match &data.database {
        db::Database::Sqlite(file) => Some(file.path.display().to_string()),
        db::Database::Mysql(server) => Some(server.address.clone()),
        db::Database::Postgres(_) => None,
    };
    if let Some(place) = place {
        return format!(
            "copies in {place}: {why}; `SELECT copy FROM backout_kept` names the tables, which may be \
             dropped"
        );
    }
    format!(
        "copies in the schema backout_kept: {why}; `DROP SCHEMA backout_kept CASCADE` removes all of \
         them"
    )
}

/// The same migration in the other direction. Where it turns out not to be made, that is satisfied
/// already.
fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let data = match Data::read(made.prepared.data_version, &effect.data) {
        Ok(data) => data,
        Err(why) => return Reverted::NotPossible { why },
    };
    let action = match data.direction {
        Direction::Down => "migrations.up",
        Direction::Up => "migrations.down",
    };
    if !data.has_way_back {
        let why = format!(
            "{} has no SQL in its other section; write what puts it back, or restore a backup",
            data.file
        );
        return Reverted::NotPossible { why };
    }
    let mut input = made.input.clone();
    if let Some(fields) = input.as_object_mut() {
        fields.insert("to".to_owned(), json!(data.from));
        fields.remove("put_back");
        let own = (!data.keep.is_empty()).then(|| made.key.as_str().to_owned());
        let keys: Vec<_> = data.kept_before.into_iter().chain(own).collect();
        if !keys.is_empty() {
            fields.insert("put_back".to_owned(), json!(keys));
        }
    }
    Reverted::By { action: ActionName::new(action), input }
}

/// The database as a word of a shell; a secret stands as its reference's own way to be read.
pub(crate) fn shell_database(input: &Value) -> String {
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    match (text("path"), text("database")) {
        (Some(path), _) => format!("'{path}'"),
        (None, Some(reference)) => match reference.split_once(':') {
            Some(("env", name)) => format!("\"${name}\""),
            Some(("file", path)) => format!("\"$(cat '{path}')\""),
            _ => format!("DATABASE  # from {reference}"),
        },
        (None, None) => "DATABASE".to_owned(),
    }
}

/// The tool with its options, as a person types it.
pub(crate) fn hand_lines(input: &Value, direction: Direction, to: &str) -> HandLines {
    let text = |name: &str| input.get(name).and_then(Value::as_str);
    let tool = input.get("tool").and_then(|tool| Tool::deserialize(tool).ok()).unwrap_or_default();
    let dialect = if text("path").is_some() { Dialect::Sqlite } else { Dialect::Postgres };
    let driver = tool.driver();
    driver.by_hand(&Hand {
        dialect,
        database: shell_database(input),
        dir: text("dir").unwrap_or("migrations"),
        table: text("table").unwrap_or(driver.table()),
        direction,
        to,
    })
}

fn by_hand(direction: Direction, input: &Value) -> ByHand {
    let to = match input.get("to").map(VersionText::deserialize) {
        Some(Ok(version)) => version.text(),
        _ => "VERSION".to_owned(),
    };
    let word = direction.word();
    let HandLines { mut commands, verify } = hand_lines(input, direction, &to);
    let database = shell_database(input);
    let backup = if input.get("path").is_some() {
        format!("sqlite3 {database} \".backup before-{word}-{to}.db\"")
    } else {
        format!("pg_dump -Fc -f before-{word}-{to}.dump {database}  # or mariadb-dump, sqlite3")
    };
    commands.insert(0, backup);
    ByHand {
        does: format!("takes the schema {word} to version {to}; that version stays applied"),
        commands,
        verify,
    }
}
