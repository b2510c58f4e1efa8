//! Requests that go on all the while, and how many of them failed.

use backout_plugin_api::Outcome;
use backout_plugin_containers::ContainersRollback;
use serde_json::json;

use super::shop::{Shop, docker};
use super::{make, prepare};

/// A client in the network, which asks by a name again and again.
fn client(shop: &Shop, ask: &str) -> String {
    let name = format!("client-{ask}");
    let url = format!("http://{ask}:8080/version");
    let image = shop.image("1");
    shop.docker(&[
        "run",
        "-d",
        "--stop-timeout",
        "30",
        "--name",
        &name,
        "--network",
        &shop.network,
        "--no-healthcheck",
        &image,
        "/app",
        "load",
        &url,
    ]);
    name
}

/// How many of a client's requests were answered, and how many failed.
fn result(shop: &Shop, client: &str) -> (u32, u32) {
    shop.docker(&["stop", client]);
    let log = shop.docker(&["logs", client]);
    shop.docker(&["rm", client]);
    let last = log.lines().last().unwrap_or_default().to_owned();
    let words: Vec<_> = last.split(' ').collect();
    let ["good", good, "bad", bad, "slow", slow] = words[..] else { panic!("{log}") };
    // The engine's name service tells an address some milliseconds before it answers, and some
    // after it is gone.
    assert!(slow.parse::<u32>().unwrap() <= 2, "{log}");
    let bad = bad.parse().unwrap();
    assert_eq!(bad, 0, "{client}: {log}");
    (good.parse().unwrap(), bad)
}

#[tokio::test]
async fn side_by_side_no_request_fails_neither_by_alias_nor_by_name() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let alias = format!("shop-{}", shop.name);
    shop.run(&shop.name, "2", &["--network-alias", &alias]);
    let clients = [client(&shop, &alias), client(&shop, &shop.name)];
    let action = ContainersRollback::default();
    let input = json!({"container": shop.name, "image": shop.image("1"), "engine": shop.host()});
    let hazards =
        prepare(&action, &input).await.unwrap().all_hazards().cloned().collect::<Vec<_>>();
    assert_eq!(hazards, []);
    let (_, output) = make(&action, &input).await.remove(0);
    assert_eq!(output["gap_ms"], json!(0));
    for client in clients {
        let (good, bad) = result(&shop, &client);
        assert!(good > 100, "{client}: only {good} requests");
        assert_eq!(bad, 0, "{client}");
    }
}

#[tokio::test]
async fn a_slow_start_behind_an_alias_gets_no_request_before_it_is_healthy() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let alias = format!("shop-{}", shop.name);
    // Both images wait; the one that runs has done so already.
    shop.run(&shop.name, "2", &["--network-alias", &alias, "-e", "WARM_MS=1500"]);
    let client = client(&shop, &alias);
    let action = ContainersRollback::default();
    let input = json!({"container": shop.name, "image": shop.image("1"), "engine": shop.host()});
    make(&action, &input).await;
    let (good, bad) = result(&shop, &client);
    assert_eq!((good > 100, bad), (true, 0), "good {good}");
}

#[tokio::test]
async fn where_a_port_can_be_had_once_the_gap_is_said_before_and_measured_after() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let port = backout_test_targets::free_port().unwrap();
    shop.run(&shop.name, "2", &["-p", &format!("127.0.0.1:{port}:8080")]);
    let action = ContainersRollback::default();
    let input = json!({"container": shop.name, "image": shop.image("1"), "engine": shop.host()});
    let prepared = prepare(&action, &input).await.unwrap();
    let gap = prepared.all_hazards().find(|hazard| hazard.code == "gap").unwrap();
    assert!(gap.text.contains(&port.to_string()), "{gap:?}");
    let sent = super::call(&input, &prepared, 0, 1);
    let outcome = backout_plugin_api::Action::apply(&action, &super::context(), &sent).await;
    let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
    let gap_ms = output["gap_ms"].as_i64().unwrap();
    assert!((100..20_000).contains(&gap_ms), "{output}");
}
