//! Files that want no transaction: statement by statement, settled by the count and the catalogue.

use std::sync::Arc;

use backout_plugin_api::{Action, Guarantee, Outcome, Settled};
use backout_plugin_migrations::MigrationsShift;

use super::super::prepare;
use super::{World, apply, call, context, first, server};

const FILE: &str = "00004_trigger.sql";

fn world(down: &str) -> Option<World> {
    let world = World::new(server()?);
    world.write(FILE, &format!("-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose Down\n{down}\n"));
    Some(world)
}

async fn settle(call: &backout_plugin_api::Call) -> Settled {
    MigrationsShift::down().settle(&context(), call).await
}

#[tokio::test]
async fn an_index_goes_while_everybody_works() {
    let Some(world) = world("DROP INDEX CONCURRENTLY orders_user;\nDROP TRIGGER no_name ON users;")
    else {
        return;
    };
    let prepared = prepare("migrations.down", &world.input("3")).await.unwrap();
    assert_eq!(prepared.guarantee, Guarantee::Probed);
    assert!(prepared.all_hazards().any(|hazard| hazard.code == "not-transactional"));
    let made = first(&world).await;
    let outcome = apply(&made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(world.versions(), ["0", "1", "2", "3"]);
    assert!(!world.schema().iter().any(|line| line.contains("orders_user ")));
    assert!(matches!(settle(&made).await, Settled::Done { .. }));
    assert!(matches!(apply(&made).await, Outcome::Done { .. }), "made once");
}

/// The session ends while a statement runs, or right after; the catalogue tells which.
#[tokio::test]
async fn what_began_is_told_by_the_catalogue() {
    for (is_gone, taken) in [(true, true), (false, false)] {
        let Some(world) =
            world("DROP TRIGGER no_name ON users;\nDROP INDEX CONCURRENTLY orders_user;")
        else {
            return;
        };
        let made = first(&world).await;
        // As a sending leaves it that ended in the middle of its second statement.
        assert_eq!(settle(&made).await, Settled::NotDone);
        world.run("DROP TRIGGER no_name ON users");
        world.run("UPDATE backout.effects SET state='running', statement=1, begun=2, was='1'");
        if is_gone {
            world.run("DROP INDEX orders_user");
        }
        let Settled::Failed { reason, output } = settle(&made).await else { panic!() };
        let done = if taken { 2 } else { 1 };
        assert_eq!(output["statements"], done, "{reason}");

        // A retry is a new effect, and goes on behind what is made.
        let input = world.input("3");
        let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
        assert!(prepared.all_hazards().any(|hazard| hazard.code == "goes-on"));
        let mut again = call(&input, &prepared, 0, 1);
        again.key = backout_plugin_api::EffectKey::from_text("0123456789/s/2/0");
        let outcome = apply(&again).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
        assert_eq!(world.versions(), ["0", "1", "2", "3"]);
        assert!(matches!(apply(&made).await, Outcome::Refused { .. }), "late");
    }
}

#[tokio::test]
async fn an_index_half_made_stays_in_doubt() {
    let Some(world) = world("CREATE INDEX CONCURRENTLY again ON users (name);") else { return };
    let made = first(&world).await;
    assert_eq!(settle(&made).await, Settled::NotDone);
    world.run("CREATE INDEX again ON users (name)");
    world.run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'again'::regclass");
    world.run("UPDATE backout.effects SET state = 'running', begun = 1, was = '0'");
    let settled = settle(&made).await;
    let Settled::Unknown { evidence } = settled else { panic!("{settled:?}") };
    assert!(evidence.contains("CREATE INDEX CONCURRENTLY again"), "{evidence}");
}

#[tokio::test]
async fn a_statement_that_fails_leaves_those_before_it() {
    let Some(world) =
        world("DROP TRIGGER no_name ON users;\nDROP TABLE nowhere;\nDROP FUNCTION no_name();")
    else {
        return;
    };
    let made = first(&world).await;
    let Outcome::Failed { reason, output } = apply(&made).await else { panic!() };
    assert!(reason.contains("statement 2 of 3") && reason.contains("the 1 before it"), "{reason}");
    assert_eq!(output["statements"], 1);
    assert!(matches!(settle(&made).await, Settled::Failed { .. }));
    world.run("CREATE TABLE nowhere ()");
    let input = world.input("3");
    let prepared = Arc::new(prepare("migrations.down", &input).await.unwrap());
    let mut again = call(&input, &prepared, 0, 1);
    again.key = backout_plugin_api::EffectKey::from_text("0123456789/s/2/0");
    assert!(matches!(apply(&again).await, Outcome::Done { .. }));
    assert_eq!(world.versions(), ["0", "1", "2", "3"]);
}
