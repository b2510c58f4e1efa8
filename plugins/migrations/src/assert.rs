//! `migrations.assert`: says whether the schema is at a version.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::db::{self, DATA_VERSION, DATA_VERSIONS, Look};
use crate::input::{self, AssertInput, VersionText};
use crate::shift::hand_lines;
use crate::tool::{Direction, Ledger, is_nothing, version_value};

const DOCS: &str = "\
Says whether a database's schema is at a version, by the ledger of its migration tool. It fails with the version found, and where the ledger is out of order.

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
            input: || schema_for!(AssertInput),
            example: r#"(path: "/var/lib/shop/shop.db", at: "3")"#,
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        input::check(input, Guarantee::ReadOnly)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let at = input.get("at").and_then(|at| VersionText::deserialize(at).ok());
        let at = at.map_or("VERSION".to_owned(), |at| at.text());
        let verify = hand_lines(input, Direction::Down, &at).verify;
        ByHand {
            does: format!("looks whether the schema is at version {at}"),
            commands: verify.clone(),
            verify,
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let seen = db::in_time(ctx, look(ctx, input)).await?;
        let image = |version: &str| Image::Plain(json!({ "version": version_value(version) }));
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: format!("the schema is at version {}", seen.wanted),
                wave: 0,
                satisfied: Satisfied::CannotTell,
                before: image(&seen.version),
                wanted: image(&seen.wanted),
                difference: Vec::new(),
                reversibility: Reversibility::Exact,
                hazards: Vec::new(),
                data: Value::Null,
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: json!({ "version": version_value(&seen.version) }),
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match db::in_time(ctx, look(ctx, &call.input)).await {
            Ok(seen) => {
                let output = json!({ "version": version_value(&seen.version) });
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
    wanted: String,
    version: String,
    is_there: bool,
    dirty: Option<String>,
    out_of_order: Option<(u64, u64)>,
}

impl Seen {
    fn trouble(&self) -> Option<String> {
        let away = || {
            (!self.is_there)
                .then(|| format!("the schema is at version {}, not {}", self.version, self.wanted))
        };
        let mixed = || {
            let (first, second) = self.out_of_order?;
            Some(format!("the ledger has {first} applied before {second}"))
        };
        self.dirty.clone().or_else(mixed).or_else(away)
    }
}

async fn look(ctx: &Context, input: &Value) -> Result<Seen, PrepareFailure> {
    let input: AssertInput = parse_input(input)?;
    let table = input::table(input.tool, input.table.as_ref())?;
    let place = db::place(ctx, input.database.as_ref(), input.path.as_ref()).await?;
    let mut look = Look::at(ctx, &place, None).await?;
    let ledger = look.ledger(input.tool, &table).await?;
    look.close().await?;
    let out_of_order = out_of_order(&ledger);
    let (wanted, version) = (input.at.text(), ledger.current().to_owned());
    let is_nothing = ledger.applied.is_empty() && is_nothing(&wanted);
    let is_there = is_nothing || input.tool.driver().means(&version, &wanted);
    Ok(Seen { wanted, version, is_there, dirty: ledger.dirty, out_of_order })
}

/// Two neighbours applied in the wrong order, where versions are numbers.
fn out_of_order(ledger: &Ledger) -> Option<(u64, u64)> {
    let numbers = ledger.applied.iter().map(|row| row.version.parse().ok());
    let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
    numbers.windows(2).find_map(|pair| match pair {
        [first, second] if first > second => Some((*first, *second)),
        _ => None,
    })
}
