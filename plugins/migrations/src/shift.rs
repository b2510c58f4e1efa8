//! `migrations.down` and `migrations.up`.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, MadeEffect, Manifest, Outcome,
    PrepareFailure, Prepared, Reverted, Satisfied, Settled, parse_input,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::goose::Direction;
use crate::input::{self, ShiftInput, VersionText, is_table_name};
use crate::plan::{self, DATA_VERSION, Wish};
use crate::sqlite::{Data, Point, Transaction};

const DOWN_DOCS: &str = include_str!("docs/down.md");
const UP_DOCS: &str = include_str!("docs/up.md");

/// The actions `migrations.down` and `migrations.up`.
#[derive(Clone, Debug)]
pub struct MigrationsShift {
    direction: Direction,
    transaction: Transaction,
}

impl MigrationsShift {
    /// `migrations.down`.
    pub fn down() -> Self {
        Self { direction: Direction::Down, transaction: Transaction::default() }
    }

    /// `migrations.up`.
    pub fn up() -> Self {
        Self { direction: Direction::Up, transaction: Transaction::default() }
    }

    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { transaction: Transaction::at(fault), ..self }
    }

    async fn wish(&self, ctx: &Context, input: &Value) -> Result<Wish, PrepareFailure> {
        let input: ShiftInput = parse_input(input)?;
        let refuse = |reason: String| PrepareFailure::Refused { reason };
        if !is_table_name(&input.table) {
            return Err(refuse(format!("`{}` is no plain table name", input.table)));
        }
        let mut place = input::place(ctx, input.database.as_ref(), input.path.as_ref()).await?;
        place.foreign_keys = input.foreign_keys.or(place.foreign_keys);
        let to = input.to.number().map_err(refuse)?;
        Ok(Wish { direction: self.direction, place, dir: input.dir, table: input.table, to })
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
            input: schema_for!(ShiftInput),
            example,
            guarantee: Guarantee::Transactional,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, "to", Guarantee::Transactional)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand(self.direction, input)
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let wish = self.wish(ctx, input).await?;
        let planned = tokio::time::timeout(ctx.timeout, plan::prepare(&wish)).await;
        planned.unwrap_or_else(|_| {
            let reason = format!("no answer within {:?}", ctx.timeout);
            Err(PrepareFailure::Unreachable { reason })
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match data(call) {
            Ok(data) => self.transaction.apply(ctx, call, &data).await,
            Err(reason) => Outcome::Refused { reason },
        }
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        match data(call) {
            Ok(data) => self.transaction.settle(ctx, call, &data).await,
            Err(evidence) => Settled::Unknown { evidence },
        }
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }
}

fn data(call: &Call) -> Result<Data, String> {
    if call.prepared.data_version == DATA_VERSION {
        call.data()
    } else {
        let version = call.prepared.data_version;
        Err(format!("migration data of version {version} is not known to this release"))
    }
}

/// The same migration in the other direction. Where it turns out not to be made, that is satisfied
/// already.
fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let data = match Data::deserialize(&effect.data) {
        Ok(data) => data,
        Err(error) => {
            let why = format!("the record of what was made is not readable: {error}");
            return Reverted::NotPossible { why };
        }
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
        fields.insert("to".to_owned(), json!(data.from.to_string()));
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

/// goose with its options, as a person types it.
pub(crate) fn goose(input: &Value) -> String {
    let text = |name: &str, default: &'static str| {
        input.get(name).and_then(Value::as_str).unwrap_or(default).to_owned()
    };
    let table = text("table", "goose_db_version");
    let table =
        if table == "goose_db_version" { String::new() } else { format!(" -table '{table}'") };
    format!("goose -dir '{}'{table} sqlite3 {}", text("dir", "migrations"), shell_database(input))
}

fn by_hand(direction: Direction, input: &Value) -> ByHand {
    let to = match input.get("to").map(VersionText::deserialize) {
        Some(Ok(VersionText::Number(number))) => number.to_string(),
        Some(Ok(VersionText::Text(text))) => text,
        _ => "VERSION".to_owned(),
    };
    let goose = goose(input);
    let database = shell_database(input);
    let word = direction.word();
    ByHand {
        does: format!(
            "takes the schema {word} to version {to}; with goose the version named stays applied"
        ),
        commands: vec![
            format!("sqlite3 {database} \".backup before-{word}-{to}.db\""),
            format!("{goose} status"),
            format!("{goose} {word}-to {to}"),
        ],
        verify: vec![format!("{goose} version  # says {to}"), format!("{goose} status")],
    }
}
