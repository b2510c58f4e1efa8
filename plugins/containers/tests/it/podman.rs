//! The same on Podman, and where it differs.

use backout_plugin_api::{Action, Outcome, Reverted};
use backout_plugin_containers::{ContainersAssert, ContainersPower, ContainersRollback};
use backout_test_targets::podman::REGISTRY;
use serde_json::json;

use super::shop::{Shop, TOKEN, podman};
use super::{call, context, done, made, make, prepare};

#[tokio::test]
async fn it_is_rolled_back_undone_stopped_and_started() {
    let Some(engine) = podman() else { return };
    let shop = Shop::new(engine);
    let more = [
        "--network-alias",
        "shop",
        "-v",
        "data:/data",
        "--user",
        "1000",
        "--cap-drop",
        "MKNOD",
        "--label",
        "a=b",
        "--memory",
        "64m",
    ];
    shop.run(&shop.name, "2", &more);
    let id = |name: &str| shop.docker(&["inspect", name, "--format", "{{.Id}}"]);
    let before = id(&shop.name);
    let action = ContainersRollback::default();
    let input = json!({
        "container": shop.name, "image": shop.image("1"), "engine": shop.host(), "drain": "0s",
    });
    let prepared = prepare(&action, &input).await.unwrap();
    assert!(prepared.locks[0].as_str().starts_with("podman:"), "{:?}", prepared.locks);
    let same = prepare(&action, &input).await.unwrap();
    assert_eq!(prepared.locks, same.locks, "its ID is another one each time");
    let (sent, output) = make(&action, &input).await.remove(0);
    let format = "{{.Image}} {{.Config.User}} {{.Config.Labels.a}} {{.HostConfig.Memory}} \
                  {{range .Mounts}}{{.Name}}{{end}}";
    let image = shop.image("1").trim_start_matches("sha256:").to_owned();
    let now = shop.docker(&["inspect", &shop.name, "--format", format]);
    assert_eq!(now.trim_start_matches("sha256:"), format!("{image} 1000 b 67108864 data"));
    let env = shop.docker(&["inspect", &shop.name, "--format", "{{json .Config.Env}}"]);
    assert!(env.contains(TOKEN) && env.contains("VERSION=1"), "{env}");

    let Reverted::By { input, .. } = action.revert(&context(), &made(&sent, output)).await else {
        panic!("no revert")
    };
    let prepared = prepare(&action, &input).await.unwrap();
    let mut undo = call(&input, &prepared, 0, 1);
    undo.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
    done(action.apply(&context(), &undo).await);
    assert_eq!(id(&shop.name), before);

    let input = json!({"container": shop.name, "engine": shop.host()});
    make(&ContainersPower::stop(), &input).await;
    assert!(shop.names().0.is_empty());
    make(&ContainersPower::start(), &input).await;
    make(&ContainersPower::restart(), &input).await;
    make(&ContainersAssert, &input).await;
    assert_eq!(shop.names().0, [shop.name.as_str()]);
}

/// Podman has no way to ask a registry without pulling, so `apply` is the first to know.
#[tokio::test]
async fn an_image_by_digest_is_pulled_when_applied() {
    let Some(engine) = podman() else { return };
    let shop = Shop::new(engine);
    // An image of this test's own, so that it can be gone from the machine.
    let version = format!("9{}", std::process::id());
    let (tag, pushed) = (format!("shop:{version}"), format!("{REGISTRY}/web:1.4"));
    shop.image(&version);
    shop.docker(&["tag", &tag, &pushed]);
    let said = shop.docker(&["push", &pushed]);
    let digest = said.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next());
    let wanted = format!("{REGISTRY}/web@{}", digest.unwrap_or_else(|| panic!("{said}")));
    shop.docker(&["rmi", "-f", &tag, &pushed]);
    assert!(shop.engine.docker(&["image", "inspect", &wanted]).is_err(), "it is still here");
    shop.run(&shop.name, "2", &[]);

    let action = ContainersRollback::default();
    let missing = format!("{REGISTRY}/web@sha256:{}", "0".repeat(64));
    let mut input = json!({
        "container": shop.name, "image": missing, "engine": shop.host(), "drain": "0s",
    });
    let prepared = prepare(&action, &input).await.unwrap();
    let outcome = action.apply(&context(), &call(&input, &prepared, 0, 1)).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert!(shop.serving(&shop.name).as_str().unwrap().contains("true"), "the old one serves on");

    input["image"] = json!(wanted);
    let prepared = prepare(&action, &input).await.unwrap();
    let mut sent = call(&input, &prepared, 0, 1);
    sent.key = backout_plugin_api::EffectKey::from_text("0123456789/s/2/0");
    let output = done(action.apply(&context(), &sent).await);
    assert_eq!(output["image"], json!(wanted));
    assert!(prepare(&action, &input).await.unwrap().is_satisfied());
}

#[tokio::test]
async fn what_podman_cannot_do_is_a_hazard() {
    let Some(engine) = podman() else { return };
    let shop = Shop::new(engine);
    shop.run(&shop.name, "2", &["--restart", "always"]);
    let action = ContainersRollback::default();
    let image = format!("127.0.0.1:1/shop@sha256:{}", "a".repeat(64));
    let input = json!({"container": shop.name, "image": image, "engine": shop.host()});
    let prepared = prepare(&action, &input).await.unwrap();
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["image-not-looked-for", "kept-may-come-back"]);
}
