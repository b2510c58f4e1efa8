//! What a replacement keeps, what it takes from the new image, and what an undo brings back.

use backout_plugin_api::{Action, Outcome, Reverted};
use backout_plugin_containers::ContainersRollback;
use serde_json::{Value, json};

use backout_test_targets::docker::Engine;
use backout_test_targets::wait_until;

use super::shop::{Shop, TOKEN, docker};
use super::{at_once, call, context, done, made, make, prepare};

/// How long a policy may take to start a container again on a busy machine.
const RESTARTED_WITHIN: std::time::Duration = std::time::Duration::from_mins(1);

/// A container's settings as the engine shows them, without what every container has for itself.
fn settings(shop: &Shop, name: &str) -> Value {
    let mut all: Value = serde_json::from_str(&shop.docker(&["inspect", name])).unwrap();
    let one = all[0].take();
    let mut config = one["Config"].clone();
    for own in ["Hostname", "Image"] {
        config.as_object_mut().unwrap().remove(own);
    }
    let labels = config["Labels"].as_object_mut().unwrap();
    labels.retain(|name, _| !name.starts_with("io.backout.") || name == "io.backout.test");
    let id: String = one["Id"].as_str().unwrap().chars().take(12).collect();
    let mut networks = one["NetworkSettings"]["Networks"].clone();
    for network in networks.as_object_mut().unwrap().values_mut() {
        let aliases = network["Aliases"].as_array().cloned().unwrap_or_default();
        let mut aliases: Vec<_> = aliases
            .into_iter()
            .filter(|alias| *alias != json!(id) && *alias != json!(shop.name))
            .collect();
        aliases.sort_by_key(ToString::to_string);
        *network = json!(aliases);
    }
    let mut mounts = one["Mounts"].as_array().cloned().unwrap_or_default();
    mounts.sort_by_key(ToString::to_string);
    for mount in &mut mounts {
        // `z` is what the engine makes of no mode at all.
        mount.as_object_mut().unwrap().remove("Mode");
    }
    let mut host = one["HostConfig"].clone();
    host.as_object_mut().unwrap().remove("Binds");
    json!({"config": config, "host": host, "networks": networks, "mounts": mounts})
}

const EVERYTHING: &[&str] = &[
    "--network-alias",
    "shop",
    "--network-alias",
    "shop-b",
    "-v",
    "/tmp:/host:ro",
    "-v",
    "/data",
    "--tmpfs",
    "/scratch:size=1m",
    "--restart",
    "on-failure:3",
    "--user",
    "1000:1000",
    "--cap-add",
    "NET_ADMIN",
    "--cap-drop",
    "MKNOD",
    "--memory",
    "64m",
    "--memory-swap",
    "64m",
    "--cpus",
    "0.5",
    "--ulimit",
    "nofile=1000:2000",
    "--pids-limit",
    "100",
    "--add-host",
    "db:10.1.2.3",
    "--dns",
    "10.9.9.9",
    "--sysctl",
    "net.ipv4.ip_unprivileged_port_start=80",
    "--read-only",
    "--security-opt",
    "no-new-privileges",
    "--stop-timeout",
    "7",
    "--stop-signal",
    "SIGTERM",
    "--workdir",
    "/data",
    "--hostname",
    "shop-host",
    "--shm-size",
    "8m",
    "--log-driver",
    "json-file",
    "--log-opt",
    "max-size=1m",
    "--label",
    "com.docker.compose.project=shop",
    "--label",
    "com.docker.compose.service=web",
    "--health-interval",
    "700ms",
    "--init",
    "--group-add",
    "1234",
    "--oom-score-adj",
    "10",
    "-p",
    "8080",
    "-p",
    "127.0.0.1::9090",
];

#[tokio::test]
async fn everything_that_was_set_is_kept_and_the_undo_brings_the_very_container_back() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let second = format!("{}-b", shop.network);
    shop.docker(&["network", "create", &second]);
    shop.run(&shop.name, "2", EVERYTHING);
    shop.docker(&["network", "connect", "--alias", "second", &second, &shop.name]);
    let (before, before_record) = (settings(&shop, &shop.name), shop.record());
    let action = ContainersRollback::default();
    let input = json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    });
    let (sent, output) = make(&action, &input).await.remove(0);
    let mut after = settings(&shop, &shop.name);
    assert_eq!(
        after["config"]["Env"].as_array().unwrap().len(),
        before["config"]["Env"].as_array().unwrap().len()
    );
    let env = after["config"]["Env"].to_string();
    assert!(env.contains(&format!("TOKEN={TOKEN}")) && env.contains("VERSION=1"), "{env}");
    after["config"]["Env"] = before["config"]["Env"].clone();
    assert_eq!(after, before);

    let Reverted::By { input, .. } = action.revert(&context(), &made(&sent, output)).await else {
        panic!("no revert")
    };
    let prepared = prepare(&action, &input).await.unwrap();
    let mut undo = call(&input, &prepared, 0, 1);
    undo.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
    done(action.apply(&context(), &undo).await);
    assert_eq!(settings(&shop, &shop.name), before);
    let id = |record: &[String]| record[0].rsplit(' ').next().map(ToOwned::to_owned);
    assert_eq!(id(&shop.record()), id(&before_record));
    shop.docker(&["rm", "-fv", &shop.name]);
    let _left = shop.engine.docker(&["rm", "-f", undo.key.as_str()]);
    for name in shop.names().1 {
        shop.docker(&["rm", "-f", &name]);
    }
    shop.docker(&["network", "rm", &second]);
}

async fn check_given_up(engine: &'static dyn Engine, version: &str, why: &str, ports: bool) {
    let shop = Shop::new(engine);
    let port = format!("127.0.0.1:{}:8080", backout_test_targets::free_port().unwrap());
    let more = ["--restart", "always", "-p", &port];
    shop.run(&shop.name, "2", if ports { &more } else { &more[..2] });
    let before = shop.serving(&shop.name);
    let action = ContainersRollback::default();
    let input = json!({
        "container": shop.name, "image": shop.image(version), "engine": shop.host(),
        "healthy_within": "3s",
    });
    let prepared = prepare(&action, &input).await.unwrap();
    let sent = call(&input, &prepared, 0, 1);
    let outcome = action.apply(&context(), &sent).await;
    let Outcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("goes on") && !reason.contains(TOKEN), "{reason}");
    assert!(reason.contains(why), "{reason}");
    assert_eq!(shop.serving(&shop.name), before);
    let (up, down) = shop.names();
    assert_eq!((up, down.len()), (vec![shop.name.clone()], 1));
    // A second attempt has another key, and removes what the first one left for its log.
    let mut again = call(&input, &prepared, 0, 1);
    again.key = backout_plugin_api::EffectKey::from_text("0123456789/s/2/0");
    action.apply(&context(), &again).await;
    assert_eq!(shop.names().1.len(), 1);
    let tidied = action.tidy(&context(), &made(&again, Value::Null)).await;
    assert_eq!(tidied.removed.len(), 1, "{tidied:?}");
    assert_eq!(shop.names(), (vec![shop.name.clone()], Vec::new()));
}

#[test]
fn what_is_sick_or_ends_is_given_up_and_the_one_before_goes_on() {
    let Some(engine) = docker() else { return };
    let cases = [
        ("sick", "health check does not pass within 3s", false),
        ("sick", "health check does not pass within 3s", true),
        ("crash", "ended", false),
        ("crash", "ended", true),
    ];
    at_once(&cases, async |(version, why, ports)| {
        check_given_up(engine, version, why, ports).await;
    });
}

#[tokio::test]
async fn without_a_health_check_it_must_run_for_a_while() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &["--no-healthcheck"]);
    let action = ContainersRollback::default();
    let input = json!({
        "container": shop.name, "image": shop.image("plain"), "engine": shop.host(),
        "stable_for": "1s", "drain": "0s",
    });
    let begun = std::time::Instant::now();
    make(&action, &input).await;
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
    assert_eq!(shop.names().0, [shop.name.as_str()]);
}

#[tokio::test]
async fn a_group_rolls_in_waves_and_each_replica_keeps_its_name() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let names: Vec<_> = (1..=3).map(|number| format!("{}-{number}", shop.name)).collect();
    for name in &names {
        shop.run(name, "2", &["--network-alias", "shop"]);
    }
    let down = format!("{}-4", shop.name);
    shop.run(&down, "2", &[]);
    shop.docker(&["stop", &down]);
    let action = ContainersRollback::default();
    let input = json!({
        "labels": shop.labels(), "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
        "max_unavailable": 2,
    });
    let prepared = prepare(&action, &input).await.unwrap();
    let waves: Vec<_> = prepared.effects.iter().map(|effect| effect.wave).collect();
    assert_eq!(waves, [0, 0, 1]);
    assert_eq!(prepared.locks.len(), 3);
    let stopped = prepared.hazards.iter().find(|hazard| hazard.code == "stopped-replicas").unwrap();
    assert!(stopped.text.contains(&down), "{stopped:?}");
    make(&action, &input).await;
    assert_eq!(shop.names().0, names);
    for name in &names {
        let image = shop.docker(&["inspect", name, "--format", "{{.Image}}"]);
        assert_eq!(image, shop.image("1"));
    }
    assert!(prepare(&action, &input).await.unwrap().is_satisfied());
}

/// Stops one that was looked at while it waited for its policy, and that its policy started since.
async fn stop_after_the_start_that_it_waited_for(shop: &Shop, name: &str) {
    let action = backout_plugin_containers::ContainersPower::stop();
    let input = json!({"container": name, "engine": shop.host()});
    let prepared = loop {
        let prepared = prepare(&action, &input).await.unwrap();
        if prepared.effects[0].data["was_restarting"] == json!(true) {
            break prepared;
        }
    };
    wait_until(RESTARTED_WITHIN, || {
        let now = shop.docker(&["inspect", name, "--format", "{{.State.StartedAt}}"]);
        let now = chrono::DateTime::parse_from_rfc3339(&now).unwrap().to_utc().to_rfc3339();
        let is_same = prepared.effects[0].data["started_at"] == json!(now);
        if is_same { Err("not started since".to_owned()) } else { Ok(()) }
    })
    .unwrap();
    done(action.apply(&context(), &call(&input, &prepared, 0, 1)).await);
}

/// The bad release at three in the morning: it ends again and again.
#[tokio::test]
async fn one_that_ends_again_and_again_is_replaced_or_stopped_for_good() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let restarts = |name: &str| {
        wait_until(RESTARTED_WITHIN, || {
            match shop.docker(&["inspect", name, "--format", "{{.RestartCount}}"]).as_str() {
                "0" => Err("not started again yet".to_owned()),
                _ => Ok(()),
            }
        })
        .unwrap();
    };
    let other = format!("{}-b", shop.name);
    for name in [&shop.name, &other] {
        shop.run(name, "crash", &["--restart", "always"]);
        restarts(name);
    }
    let action = ContainersRollback::default();
    let input = json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    });
    make(&action, &input).await;
    stop_after_the_start_that_it_waited_for(&shop, &other).await;
    let (up, down) = shop.names();
    assert_eq!((up, down.len()), (vec![shop.name.clone()], 2));
    let policies = shop.record().join("\n");
    assert_eq!(policies.matches(" exited ").count(), 2, "{policies}");
    assert_eq!(policies.matches(" no ").count(), 2, "{policies}");
    // A person's start begins the count anew: so it is told from a start by its policy.
    shop.docker(&["start", &other]);
    assert_eq!(shop.docker(&["inspect", &other, "--format", "{{.RestartCount}}"]), "0");
}
