//! Engines and shims that are killed.

use std::fs;
use std::time::Duration;

use backout_plugin_api::conformance::Cuts;
use backout_plugin_api::{CancellationToken, Outcome, Settled};
use serde_json::{Value, json};

use crate::engine;
use crate::support::{World, is_alive, kill, wait_until};

/// Says that it began, waits to be let go, and makes its effect.
const SLOW: &str = "echo $$ > begun; while [ ! -e go ]; do sleep 0.02; done; \
                    echo made; echo \"$BACKOUT_KEY\" >> log";

/// How often an engine is killed, and how much later each time: from before it does anything to
/// after all is done.
const KILLS: u32 = 40;
const KILL_STEP: Duration = Duration::from_micros(500);

/// Time enough for an engine of a test.
const LONG: Duration = Duration::from_mins(1);

fn with_probe(mut input: Value) -> Value {
    input["settle"] = json!(["test", "-s", "log"]);
    input
}

#[tokio::test]
async fn a_killed_engine_leaves_its_command_unharmed() {
    let world = World::new();
    let input = world.sh(SLOW);
    let mut engine = engine::start(&world.scratch(), &input, LONG);
    world.wait_for_line("begun").await;
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(matches!(world.settle(&input, 1).await, Settled::Running { .. }));
    let again = world.apply(&input, 2).await;
    assert!(matches!(again, Outcome::Unclear { .. }), "a second sending gave {again:?}");
    world.write("go");
    let settled = world.settle_to_the_end(&input, 1).await;
    let output = json!({"exit_status": 0, "stdout": "made"});
    assert_eq!(settled, Settled::Done { output: output.clone() });
    assert_eq!(world.read("log"), "testrun000/step/1/0\n");
    assert_eq!(world.apply(&input, 2).await, Outcome::Done { output });
    assert_eq!(world.read("log"), "testrun000/step/1/0\n", "made once");
}

#[tokio::test]
async fn an_engine_killed_at_any_moment_makes_it_once() {
    for moment in 0..KILLS {
        let world = World::new();
        let input = world.sh("echo \"$BACKOUT_KEY\" >> log");
        let mut engine = engine::start(&world.scratch(), &input, LONG);
        tokio::time::sleep(KILL_STEP * moment).await;
        engine.kill().unwrap();
        engine.wait().unwrap();
        match world.settle_to_the_end(&input, 1).await {
            Settled::Done { .. } => assert_eq!(world.read("log").lines().count(), 1),
            Settled::NotDone => {
                let sent = world.apply(&input, 2).await;
                assert!(matches!(sent, Outcome::Done { .. }), "{sent:?}");
                assert_eq!(world.read("log").lines().count(), 1);
            }
            other => panic!("at moment {moment}: {other:?}"),
        }
    }
    let mut cuts = Cuts::new("exec.run", "a command", "SIGKILL of the engine");
    cuts.add(&format_args!("{KILLS} moments of its sending"), Cuts::ONCE);
    cuts.assert_kept();
}

#[tokio::test]
async fn a_killed_shim_leaves_its_command_to_the_probe() {
    let world = World::new();
    let input = with_probe(world.sh(SLOW));
    let mut engine = engine::start(&world.scratch(), &input, LONG);
    world.wait_for_line("begun").await;
    kill(world.shim());
    engine.wait().unwrap();
    assert!(matches!(world.settle(&input, 1).await, Settled::Running { .. }));
    // Its stdout is broken now: it must not print before its effect.
    let pid = world.wait_for_line("begun").await;
    kill(pid.parse().unwrap());
    assert_eq!(world.settle_to_the_end(&input, 1).await, Settled::NotDone);
    world.write("go");
    assert!(matches!(world.apply(&input, 2).await, Outcome::Done { .. }));
    assert_eq!(world.read("log").lines().count(), 1);
    let mut cuts =
        Cuts::new("exec.run", "a command with `settle`", "SIGKILL of engine, shim, command");
    cuts.add(&format_args!("begun"), Cuts::ONCE);
    cuts.assert_kept();
}

#[tokio::test]
async fn a_killed_shim_without_a_probe_is_in_doubt() {
    let world = World::new();
    let input = world.sh(SLOW);
    let mut engine = engine::start(&world.scratch(), &input, LONG);
    let pid = world.wait_for_line("begun").await;
    kill(world.shim());
    engine.wait().unwrap();
    kill(pid.parse().unwrap());
    let settled = world.settle_to_the_end(&input, 1).await;
    assert!(matches!(&settled, Settled::Unknown { .. }), "{settled:?}");
    let mut cuts = Cuts::new("exec.run", "a command", "SIGKILL of engine, shim, command");
    cuts.add(&format_args!("begun"), Cuts::IN_DOUBT);
    cuts.assert_kept();
}

#[tokio::test]
async fn not_done_is_not_final_while_a_part_of_it_runs() {
    let world = World::new();
    let text = "(while [ ! -e go ]; do sleep 0.02; done; echo late >> log) & exit 3";
    let input = with_probe(world.sh(text));
    assert!(matches!(world.apply(&input, 1).await, Outcome::Unclear { .. }));
    let settled = world.settle(&input, 1).await;
    assert!(matches!(&settled, Settled::Running { .. }), "{settled:?}");
    world.write("go");
    let settled = world.settle_to_the_end(&input, 1).await;
    assert!(matches!(&settled, Settled::Done { .. }), "{settled:?}");
}

#[tokio::test]
async fn what_it_leaves_behind_keeps_whole_pipes() {
    let world = World::new();
    let text =
        "(while [ ! -e go ]; do sleep 0.02; done; echo late && echo ok > survived) & echo on";
    let input = world.sh(text);
    let output = json!({"exit_status": 0, "stdout": "on"});
    assert_eq!(world.apply(&input, 1).await, Outcome::Done { output });
    world.write("go");
    assert_eq!(world.wait_for_line("survived").await, "ok");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group_politely_then_firmly() {
    let world = World::new();
    let text = "(trap 'echo asked > asked' TERM; echo $$ > deaf; while :; do sleep 0.02; done) & \
                echo $! > child; wait";
    let input = world.sh(text);
    let outcome = world.apply_within(&input, 1, Duration::from_secs(3)).await;
    assert!(matches!(&outcome, Outcome::Unclear { reason } if reason.contains("too long")));
    assert_eq!(world.read("asked"), "asked\n");
    let child = world.read("child");
    assert!(!is_alive(child.trim()), "the child that would not hear still runs");
    assert!(matches!(world.settle(&input, 1).await, Settled::Unknown { .. }));
}

#[tokio::test]
async fn a_timeout_is_kept_without_an_engine() {
    let world = World::new();
    let input = world.sh(SLOW);
    let mut engine = engine::start(&world.scratch(), &input, Duration::from_secs(5));
    let pid = world.wait_for_line("begun").await;
    engine.kill().unwrap();
    engine.wait().unwrap();
    let settled = world.settle_to_the_end(&input, 1).await;
    assert!(matches!(&settled, Settled::Unknown { evidence } if evidence.contains("too long")));
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn a_signal_of_somebody_else_is_in_doubt() {
    let world = World::new();
    let input = world.sh(SLOW);
    let (outcome, ()) = tokio::join!(world.apply(&input, 1), async {
        kill(world.wait_for_line("begun").await.parse().unwrap());
    });
    assert!(matches!(&outcome, Outcome::Unclear { reason } if reason.contains("signal 9")));
    let settled = world.settle(&input, 1).await;
    assert!(matches!(&settled, Settled::Unknown { evidence } if evidence.contains("signal 9")));
}

#[tokio::test]
async fn cancel_ends_it() {
    let mut world = World::new();
    let input = with_probe(world.sh(SLOW));
    let cancel = world.cancel.clone();
    let (outcome, ()) = tokio::join!(world.apply(&input, 1), async {
        world.wait_for_line("begun").await;
        cancel.cancel();
    });
    assert!(matches!(&outcome, Outcome::Unclear { reason } if reason.contains("on request")));
    world.cancel = CancellationToken::new();
    assert_eq!(world.settle_to_the_end(&input, 1).await, Settled::NotDone);
}

#[tokio::test]
async fn two_senders_of_one_sending_make_one_effect() {
    let world = World::new();
    let input = world.sh("echo \"$BACKOUT_KEY\" >> log");
    let both = tokio::join!(world.apply(&input, 1), world.apply(&input, 1));
    let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
    assert!(done(&both.0) || done(&both.1), "{both:?}");
    assert_eq!(world.read("log").lines().count(), 1);
}

#[tokio::test]
async fn secrets_stand_in_no_argument_list_and_no_record() {
    let world = World::new();
    let secret = "correct-horse-battery";
    fs::write(world.target().join("../token"), format!("{secret}\n")).unwrap();
    let text = "echo begun > begun; printf 'tok=%s' \"${TOKEN%battery}\"; sleep 0.1; echo battery; \
                echo \"$TOKEN\" >&2; while [ ! -e go ]; do sleep 0.02; done; exit 4";
    let mut input = world.sh(text);
    input["secret_env"] =
        json!({"TOKEN": format!("file:{}", world.target().join("../token").display())});
    let (outcome, ()) = tokio::join!(world.apply(&input, 1), async {
        world.wait_for_line("begun").await;
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&line).contains(secret), "{}", entry.path().display());
        }
        wait_until("the output came", || world.said().contains("***\n***")).await;
        world.write("go");
    });
    let Outcome::Failed { reason, output } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "it ended with exit status 4: ***");
    assert_eq!(output, json!({"exit_status": 4, "stdout": "tok=***"}));
    let kept = fs::read(world.scratch().join("exec/testrun000.step.1.0.d1/output")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("correct-horse-battery"));
}
