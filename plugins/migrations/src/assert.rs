//! `migrations.assert`: says whether the schema is at a version.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use schemars::schema_for;
use serde_json::{Value, json};

use crate::input::{self, AssertInput, is_table_name};
use crate::plan::DATA_VERSION;
use crate::shift::goose;
use crate::sqlite::{Database, find_ledger, unreadable};

const DOCS: &str = "\
Says whether a database's schema is at a version, by the ledger of its migration tool (goose, on
SQLite). It fails with the version found, and where the ledger is out of order.

It reads the ledger, not the schema: what somebody changed by hand is not seen.

**Guarantee: `read-only`.**
";

/// The action `migrations.assert`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MigrationsAssert;

#[async_trait]
impl Action for MigrationsAssert {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("migrations.assert"),
            summary: "Says whether a database's schema is at a version.",
            docs: DOCS,
            input: schema_for!(AssertInput),
            example: r#"(path: "/var/lib/shop/shop.db", at: "3")"#,
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, "at", Guarantee::ReadOnly)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let goose = goose(input);
        let at = input.get("at").map(ToString::to_string).unwrap_or_default();
        ByHand {
            does: format!("looks whether the schema is at version {at}"),
            commands: vec![format!("{goose} version")],
            verify: vec![format!("{goose} status")],
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let seen = look(ctx, input).await?;
        let image = |version: i64| Image::Plain(json!({ "version": version }));
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: format!("the schema is at version {}", seen.wanted),
                wave: 0,
                satisfied: Satisfied::CannotTell,
                before: image(seen.version),
                wanted: image(seen.wanted),
                difference: Vec::new(),
                reversibility: Reversibility::Exact,
                hazards: Vec::new(),
                data: Value::Null,
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: json!({ "version": seen.version }),
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match look(ctx, &call.input).await {
            Ok(seen) => {
                let output = json!({ "version": seen.version });
                match seen.trouble() {
                    None => Outcome::Done { output },
                    Some(reason) => Outcome::Failed { reason, output },
                }
            }
            Err(failure) => {
                Outcome::Failed { reason: failure.reason().to_owned(), output: Value::Null }
            }
        }
    }

    /// A look leaves nothing behind to find; looking again is as good.
    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        settled_by_look(self.apply(ctx, call).await)
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

struct Seen {
    wanted: i64,
    version: i64,
    out_of_order: Option<(i64, i64)>,
}

impl Seen {
    fn trouble(&self) -> Option<String> {
        if let Some((first, second)) = self.out_of_order {
            return Some(format!("the ledger has {first} applied before {second}"));
        }
        (self.version != self.wanted)
            .then(|| format!("the schema is at version {}, not {}", self.version, self.wanted))
    }
}

async fn look(ctx: &Context, input: &Value) -> Result<Seen, PrepareFailure> {
    let input: AssertInput = parse_input(input)?;
    let refuse = |reason: String| PrepareFailure::Refused { reason };
    if !is_table_name(&input.table) {
        return Err(refuse(format!("`{}` is no plain table name", input.table)));
    }
    let wanted = input.at.number().map_err(refuse)?;
    let place = input::place(ctx, input.database.as_ref(), input.path.as_ref()).await?;
    let database = Database::find(&place)?;
    let mut conn =
        database.read_only().await.map_err(|error| unreadable(&database.path, &error))?;
    let ledger = find_ledger(&mut conn, &database.path, &input.table).await?;
    Ok(Seen { wanted, version: ledger.current(), out_of_order: ledger.out_of_order() })
}
