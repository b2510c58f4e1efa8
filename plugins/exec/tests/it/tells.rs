//! What the command is told, and what it tells.

use backout_plugin_api::{Action, Outcome, PrepareFailure, Satisfied, Settled, limits};
use serde_json::{Value, json};
use std::time::Duration;

use crate::support::{World, action};

async fn check_done(text: &str, expected: Value) {
    let world = World::new();
    assert_eq!(world.apply(&world.sh(text), 1).await, Outcome::Done { output: expected });
}

#[tokio::test]
async fn a_command_knows_what_it_is_part_of() {
    check_done(
        "echo $BACKOUT_RUN $BACKOUT_STEP $BACKOUT_ATTEMPT $BACKOUT_KEY $BACKOUT_EPOCH $TRACEPARENT",
        json!({
            "exit_status": 0,
            "stdout": "testrun000 step 1 testrun000/step/1/0 3 00-trace-01",
        }),
    )
    .await;
}

#[tokio::test]
async fn its_output_is_what_later_steps_use() {
    check_done(
        "echo seen; echo '{\"replicas\":2}'",
        json!({
            "exit_status": 0,
            "stdout": "seen\n{\"replicas\":2}",
            "json": {"replicas": 2},
        }),
    )
    .await;
    check_done("cat; echo empty", json!({"exit_status": 0, "stdout": "empty"})).await;
}

#[tokio::test]
async fn a_flood_is_cut() {
    let world = World::new();
    let outcome = world.apply(&world.sh("yes backout | head -c 70000000"), 1).await;
    let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
    assert_eq!(output["stdout_cut"], json!(true));
    assert!(output.to_string().len() <= limits::OUTPUT_BYTES_MAX);
    assert!(world.said().ends_with("is cut here, at 67108864 bytes]\n"));
    assert_eq!(world.said.lock().unwrap().len() as u64 / limits::CAPTURE_BYTES_MAX, 1);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_refused() {
    let world = World::new();
    for (command, part) in [("/nowhere/prog", "No such file"), ("/etc/passwd", "denied")] {
        let input = json!({"command": [command], "env": {"A": command}});
        let world = World::new();
        let outcome = world.apply(&input, 1).await;
        assert!(
            matches!(&outcome, Outcome::Refused { reason } if reason.contains(part)),
            "{outcome:?}"
        );
        assert_eq!(world.settle(&input, 1).await, Settled::NotDone);
    }
    let input = json!({"command": ["true"], "cwd": "/nowhere"});
    let failure = action().prepare(&world.context(Duration::from_secs(5)), &input).await;
    assert!(
        matches!(failure, Err(PrepareFailure::Refused { reason }) if reason.contains("/nowhere"))
    );
}

#[tokio::test]
async fn without_a_shim_nothing_is_started() {
    let world = World::new();
    let input = world.sh("echo x > log");
    let call = world.call(&input, 1).await;
    let shimless = backout_plugin_exec::ExecRun::new(vec!["/nowhere/shim".into()]);
    let outcome = shimless.apply(&world.context(Duration::from_secs(5)), &call).await;
    assert!(matches!(&outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(world.read("log"), "");
}

#[tokio::test]
async fn a_failure_is_told_as_such_and_the_probe_decides_where_there_is_one() {
    let world = World::new();
    let mut input = world.sh("echo why >&2; exit 3");
    let failed = Outcome::Failed {
        reason: "it ended with exit status 3: why".into(),
        output: json!({"exit_status": 3, "stdout": ""}),
    };
    assert_eq!(world.apply(&input, 1).await, failed);
    assert!(matches!(world.settle(&input, 1).await, Settled::Failed { .. }));
    for (status, expected) in [(0, "Done"), (1, "NotDone"), (2, "Unknown"), (77, "Unknown")] {
        let world = World::new();
        input["cwd"] = json!(world.target());
        input["settle"] = json!(["sh", "-c", format!("exit {status}")]);
        assert!(matches!(world.apply(&input, 1).await, Outcome::Unclear { .. }));
        let settled = world.settle_to_the_end(&input, 1).await;
        assert!(format!("{settled:?}").starts_with(expected), "{status} gave {settled:?}");
    }
}

#[tokio::test]
async fn the_probe_speaks_in_the_plan() {
    let world = World::new();
    let ctx = world.context(Duration::from_secs(3));
    for (probe, expected) in [("exit 0", Satisfied::Yes), ("exit 1", Satisfied::No)] {
        let mut input = world.sh("exit 0");
        input["settle"] = json!(["sh", "-c", probe]);
        let prepared = action().prepare(&ctx, &input).await.unwrap();
        assert_eq!(prepared.effects[0].satisfied, expected);
    }
    let mut input = world.sh("exit 0");
    input["settle"] = json!(["sleep", "60"]);
    let failure = action().prepare(&ctx, &input).await.unwrap_err();
    assert!(matches!(&failure, PrepareFailure::Unreachable { .. }), "{failure:?}");
    input["settle"] = json!(["/nowhere/probe"]);
    let failure = action().prepare(&ctx, &input).await.unwrap_err();
    assert!(failure.reason().contains("/nowhere/probe"), "{failure:?}");
}
