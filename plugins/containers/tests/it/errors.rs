//! Others who change things, and engines that do not answer.

use std::time::{Duration, Instant};

use backout_plugin_api::{Action, Context, Fence, LockToken, Outcome, PrepareFailure, Settled};
use backout_plugin_containers::{ContainersAssert, ContainersRollback};
use serde_json::json;

use super::shop::{Shop, docker, docker_itself};
use super::{call, context, done, prepare};

fn input(shop: &Shop) -> serde_json::Value {
    json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    })
}

#[tokio::test]
async fn a_container_that_others_replaced_or_renamed_is_left_alone() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &[]);
    let action = ContainersRollback::default();
    let sent = call(&input(&shop), &prepare(&action, &input(&shop)).await.unwrap(), 0, 1);
    shop.docker(&["rm", "-f", &shop.name]);
    shop.run(&shop.name, "2", &[]);
    let theirs = shop.record();
    let outcome = action.apply(&context(), &sent).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("is gone: plan again"), "{reason}");
    assert_eq!(shop.record(), theirs);
}

#[tokio::test]
async fn somebody_who_takes_the_name_in_the_last_moment_keeps_it() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &["-p", "8080"]);
    let (name, host, image) = (shop.name.clone(), engine.host(), shop.image("2"));
    let action = ContainersRollback::with_fault(move |point| {
        if point == backout_plugin_containers::Point::Kept {
            let said = std::process::Command::new("docker")
                .args(["-H", &host, "run", "-d", "--name", &name, &image])
                .output();
            assert!(said.unwrap().status.success());
        }
        false
    });
    let sent = call(&input(&shop), &prepare(&action, &input(&shop)).await.unwrap(), 0, 1);
    let outcome = action.apply(&context(), &sent).await;
    assert!(matches!(outcome, Outcome::Failed { .. } | Outcome::Unclear { .. }), "{outcome:?}");
    // The one from before still runs: nobody's service is dark.
    let (up, _) = shop.names();
    assert!(up.iter().any(|name| name.contains("-backout-kept-")), "{up:?}");
    shop.docker(&["rm", "-f", &shop.name]);
}

#[tokio::test]
async fn a_holder_from_before_is_refused() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &[]);
    let action = ContainersRollback::default();
    super::make(&action, &input(&shop)).await;
    let mut other = input(&shop);
    other["image"] = json!(shop.image("plain"));
    let mut older = call(&other, &prepare(&action, &other).await.unwrap(), 0, 1);
    older.key = backout_plugin_api::EffectKey::from_text("9999999999/s/1/0");
    older.fence = Fence { store: "st".into(), token: LockToken(6), dispatch: 1 };
    let outcome = action.apply(&context(), &older).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("later holder"), "{reason}");
}

#[tokio::test]
async fn a_sending_that_never_came_is_sealed_and_the_next_one_leaves_no_litter() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &[]);
    let action = ContainersRollback::default();
    let sent = call(&input(&shop), &prepare(&action, &input(&shop)).await.unwrap(), 0, 1);
    for _ in 0..2 {
        assert_eq!(action.settle(&context(), &sent).await, Settled::NotDone);
    }
    let late = action.apply(&context(), &sent).await;
    assert!(matches!(late, Outcome::Refused { .. }), "{late:?}");
    let mut again = sent.clone();
    again.fence.dispatch = 2;
    done(action.apply(&context(), &again).await);
    let seals = shop.docker(&[
        "ps",
        "-aq",
        "--filter",
        &format!("label=io.backout.key={}", sent.key),
        "--filter",
        "label=io.backout.seal",
        "--filter",
        &format!("network={}", shop.network),
    ]);
    assert_eq!(seals, "");
    assert!(matches!(action.settle(&context(), &sent).await, Settled::Done { .. }));
}

/// A port that takes connections and says nothing, and one where nobody is.
#[tokio::test]
async fn an_engine_that_does_not_answer_ends_in_time_with_a_reason() {
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let nobody = backout_test_targets::free_port().unwrap();
    let ctx = Context { timeout: Duration::from_secs(1), ..context() };
    for (host, why) in [
        (format!("tcp://{address}"), "no end within 1s"),
        (format!("tcp://127.0.0.1:{nobody}"), "docker -H tcp://"),
        ("unix:///nonexistent/docker.sock".to_owned(), "docker -H unix:///nonexistent"),
    ] {
        let begun = Instant::now();
        let input = json!({
            "container": "web", "image": format!("sha256:{}", "a".repeat(64)),
            "engine": {"host": host},
        });
        let failure = ContainersRollback::default().prepare(&ctx, &input).await.unwrap_err();
        let PrepareFailure::Unreachable { reason } = failure else { panic!("{failure:?}") };
        assert!(reason.contains(why), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn over_tls_both_sides_must_be_known() {
    let Some(engine) = docker_itself() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "1", &[]);
    let file = |name: &str| engine.tls_folder().join(name).display().to_string();
    let key = format!("file:{}", file("client-key.pem"));
    let with = |tls: serde_json::Value| json!({"container": shop.name, "engine": {"host": engine.tls_host(), "tls": tls}});
    let good = with(json!({"ca": file("ca.pem"), "cert": file("client.pem"), "key": key}));
    super::make(&ContainersAssert, &good).await;
    let nobody = with(json!({"ca": file("ca.pem")}));
    let stranger = with(json!({"ca": file("client.pem"), "cert": file("client.pem"), "key": key}));
    let no_key = with(json!({
        "ca": file("ca.pem"), "cert": file("client.pem"), "key": "file:/nonexistent/key.pem",
    }));
    for (input, why) in [(nobody, "certificate"), (stranger, "certificate"), (no_key, "secret")] {
        let failure = prepare(&ContainersAssert, &input).await.unwrap_err();
        let PrepareFailure::Unreachable { reason } = failure else { panic!("{failure:?}") };
        assert!(reason.to_lowercase().contains(why), "{reason}");
    }
}
