//! Every crash window with every tool's ledger: schema and ledger change together or not at all, also
//! where the tool itself never does that.

use std::sync::Arc;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{Action, MadeEffect, Outcome, Reverted, Settled};
use backout_plugin_migrations::{MigrationsShift, Point};
use serde_json::Value;

use super::peers_common::{Layout, World};
use super::peers_layouts::{Dbmate, Diesel, GolangMigrate, SqlMigrate, Sqlx};
use super::{call, context, shift, tools_worlds};

async fn each_window_is_settled(tool: &str, layout: &impl Layout, world: impl AsyncFn() -> World) {
    let target = format!("SQLite, {tool}");
    let mut cuts = Cuts::new("migrations.down", &target, "a stop in the same process");
    for point in Point::ALL {
        let world = world().await;
        let before = (world.ledger(layout).await, world.schema(layout).await);
        let input = world.input(layout, 2);
        let down = MigrationsShift::down().with_fault(move |at| at == point);
        let prepared = Arc::new(down.prepare(&context(), &input).await.unwrap());
        let made = call(&input, &prepared, 0, 1);
        let outcome = down.apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Unclear { .. }), "{point:?}: {outcome:?}");

        let settled = settle(&down, &made).await;
        let after = (world.ledger(layout).await, world.schema(layout).await);
        if point == Point::Committed {
            assert!(matches!(settled, Settled::Done { .. }), "{point:?}: {settled:?}");
            assert_ne!(after.0, before.0, "{point:?}");
            assert!(!after.1.iter().any(|line| line.starts_with("mails: ")), "{:?}", after.1);
        } else {
            assert_eq!(settled, Settled::NotDone, "{point:?}");
            assert_eq!(after, before, "{point:?}");
        }
        cuts.add(&point, Cuts::ONCE);
    }
    cuts.assert_kept();
}

/// A rollback of a dropped connection takes a moment.
async fn settle(down: &MigrationsShift, made: &backout_plugin_api::Call) -> Settled {
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let settled = down.settle(&context(), made).await;
        if !matches!(settled, Settled::Running { .. }) || std::time::Instant::now() > deadline {
            return settled;
        }
    }
}

#[tokio::test]
async fn sql_migrate() {
    each_window_is_settled("sql-migrate", &SqlMigrate, tools_worlds::sql_migrate).await;
}

#[tokio::test]
async fn golang_migrate_with_one_row() {
    each_window_is_settled("golang-migrate", &GolangMigrate, tools_worlds::golang_migrate).await;
}

#[tokio::test]
async fn dbmate() {
    each_window_is_settled("dbmate", &Dbmate, tools_worlds::dbmate).await;
}

#[tokio::test]
async fn sqlx() {
    each_window_is_settled("sqlx", &Sqlx, tools_worlds::sqlx).await;
}

#[tokio::test]
async fn diesel() {
    each_window_is_settled("diesel", &Diesel, tools_worlds::diesel).await;
}

/// An undo names the version before as the tool's ledger has it, and that is understood.
async fn undo_puts_it_back(layout: &impl Layout, world: World) {
    let (schema, ledger) = (world.schema(layout).await, world.ledger(layout).await);
    let input = world.input(layout, 3);
    let down = MigrationsShift::down();
    let prepared = Arc::new(down.prepare(&context(), &input).await.unwrap());
    shift("migrations.down", &input, "down").await;
    assert_ne!(world.schema(layout).await, schema);
    let key = call(&input, &prepared, 0, 1).key;
    let made = MadeEffect { key, input, prepared, effect: 0, output: Value::Null, whole: true };
    let Reverted::By { action, input } = down.revert(&context(), &made).await else {
        panic!("there is no way back")
    };
    shift(action.as_str(), &input, "undo").await;
    assert_eq!((world.schema(layout).await, world.ledger(layout).await), (schema, ledger));
}

#[tokio::test]
async fn an_undo_comes_back_to_the_version_before() {
    undo_puts_it_back(&SqlMigrate, tools_worlds::sql_migrate().await).await;
    undo_puts_it_back(&GolangMigrate, tools_worlds::golang_migrate().await).await;
    undo_puts_it_back(&Dbmate, tools_worlds::dbmate().await).await;
    undo_puts_it_back(&Diesel, tools_worlds::diesel().await).await;
}
