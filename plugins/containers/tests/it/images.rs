//! Images: by digest from a registry, the one before, tags that moved.

use std::sync::Arc;

use backout_plugin_api::{
    Action, Context, PrepareFailure, Secret, SecretError, SecretRef, SecretSource,
};
use backout_plugin_containers::{ContainersAssert, ContainersRollback};
use backout_test_targets::registry::{PASSWORD, Registry, USER};
use serde_json::{Value, json};

use super::shop::{Shop, docker};
use super::{call, context, done, prepare};

pub(crate) struct Fixed(pub(crate) &'static str);

impl SecretSource for Fixed {
    fn resolve(&self, _: &SecretRef) -> Result<Secret, SecretError> {
        Ok(Secret::new(self.0.to_owned()))
    }
}

fn with_password(password: &'static str) -> Context {
    Context { secrets: Arc::new(Fixed(password)), ..context() }
}

/// Pushes a version under a name; its digest there. It is gone from the machine afterwards.
fn push(shop: &Shop, name: &str, version: &str) -> String {
    let said = {
        shop.docker(&["tag", &shop.image(version), name]);
        shop.docker(&["push", name])
    };
    let digest = said.split("digest: ").nth(1).and_then(|rest| rest.split(' ').next());
    let digest = digest.unwrap_or_else(|| panic!("{said}")).to_owned();
    shop.docker(&["rmi", name]);
    let repository = name.rsplit_once(':').unwrap().0;
    let _gone = shop.engine.docker(&["rmi", &format!("{repository}@{digest}")]);
    digest
}

#[tokio::test]
async fn an_image_by_digest_is_asked_for_when_prepared_and_pulled_when_applied() {
    let Some(engine) = docker() else { return };
    let Some(registry) = Registry::start(true).unwrap() else { return };
    let shop = Shop::new(engine);
    let image = |digest: &str| format!("{}/web@{digest}", registry.name());
    shop.docker(&["login", "-u", USER, "-p", PASSWORD, &registry.name()]);
    let name = format!("{}/web:1.4", registry.name());
    // An image of this test's own, so that it can be gone from the machine.
    let version = format!("9{}", std::process::id());
    let digest = push(&shop, &name, &version);
    let tag = format!("shop:{version}");
    shop.docker(&["rmi", "-f", &tag]);
    shop.docker(&["logout", &registry.name()]);
    shop.run(&shop.name, "2", &[]);
    let action = ContainersRollback::default();
    let mut input = json!({
        "container": shop.name, "image": image(&digest), "engine": shop.host(), "drain": "0s",
    });
    let refused = |failure: Result<_, PrepareFailure>| match failure {
        Err(PrepareFailure::Refused { reason }) => reason,
        other => panic!("{:?}", other.map(|_: backout_plugin_api::Prepared| ())),
    };
    let nobody = refused(prepare(&action, &input).await);
    assert!(nobody.contains("cannot be had"), "{nobody}");
    input["registry"] = json!({"username": USER, "password": "env:REGISTRY_PASSWORD"});
    let wrong = refused(action.prepare(&with_password("wrong-pass-1"), &input).await);
    assert!(wrong.contains("cannot be had") && !wrong.contains("wrong-pass-1"), "{wrong}");
    let ctx = with_password(PASSWORD);
    let prepared = action.prepare(&ctx, &input).await.unwrap();
    let text = serde_json::to_string(&prepared).unwrap();
    assert!(text.contains("will be pulled") && !text.contains(PASSWORD), "{text}");
    let absent = shop.engine.docker(&["image", "inspect", &image(&digest)]);
    assert!(absent.is_err(), "prepare pulled it");
    let output = done(action.apply(&ctx, &call(&input, &prepared, 0, 1)).await);
    assert_eq!(output["image"], json!(image(&digest)));
    assert!(action.prepare(&ctx, &input).await.unwrap().is_satisfied());
    let wanted = json!({"container": shop.name, "image": image(&digest), "engine": shop.host()});
    super::make(&ContainersAssert, &wanted).await;
    let mut missing = input.clone();
    missing["image"] = json!(image(&format!("sha256:{}", "0".repeat(64))));
    let missing = refused(action.prepare(&ctx, &missing).await);
    assert!(missing.contains("cannot be had"), "{missing}");
}

#[tokio::test]
async fn a_tag_that_moved_is_a_hazard() {
    let Some(engine) = docker() else { return };
    let Some(registry) = Registry::start(false).unwrap() else { return };
    let shop = Shop::new(engine);
    let name = format!("{}/web:1.4", registry.name());
    let digest = push(&shop, &name, "1");
    push(&shop, &name, "plain");
    // The running one's own tag moves, too.
    let own = format!("own-{}:live", shop.name);
    shop.docker(&["tag", &shop.image("2"), &own]);
    shop.run_image(&shop.name, &own, &[]);
    shop.docker(&["tag", &shop.image("plain"), &own]);
    shop.wait_well(&shop.name);
    let input = json!({
        "container": shop.name, "image": format!("{name}@{digest}"), "engine": shop.host(),
    });
    let prepared = prepare(&ContainersRollback::default(), &input).await.unwrap();
    let texts: Vec<_> = prepared
        .all_hazards()
        .filter(|hazard| hazard.code == "tag-moved")
        .map(|hazard| hazard.text.clone())
        .collect();
    assert_eq!(texts.len(), 2, "{prepared:?}");
    assert!(texts[0].contains(&name) && texts[1].contains(&own), "{texts:?}");
    shop.docker(&["rmi", &own]);
}

async fn previous(shop: &Shop, container: &str) -> Result<Value, PrepareFailure> {
    let input = json!({"container": container, "image": "previous", "engine": shop.host()});
    let prepared = prepare(&ContainersRollback::default(), &input).await?;
    Ok(json!(prepared.effects[0].difference))
}

#[tokio::test]
async fn the_one_before_is_known_or_asked_for_and_does_not_flip_back() {
    let Some(engine) = docker() else { return };
    let shop = Shop::new(engine);
    let repository = format!("repo-{}", shop.name);
    for (version, tag) in [("2", "b"), ("1", "a")] {
        shop.docker(&["tag", &shop.image(version), &format!("{repository}:{tag}")]);
    }
    shop.run_image(&shop.name, &format!("{repository}:b"), &[]);
    shop.wait_well(&shop.name);
    let found = previous(&shop, &shop.name).await.unwrap().to_string();
    assert!(found.contains("only other image"), "{found}");

    shop.docker(&["tag", &shop.image("plain"), &format!("{repository}:c")]);
    let many = previous(&shop, &shop.name).await.unwrap_err();
    assert!(many.reason().contains("nothing here tells for sure"), "{}", many.reason());

    let service = [
        "--label",
        "com.docker.compose.project=p",
        "--label",
        &format!("com.docker.compose.service={}", shop.name),
    ];
    let (old, new) = (format!("{}-old", shop.name), format!("{}-new", shop.name));
    shop.run(&old, "1", &service);
    shop.docker(&["stop", &old]);
    shop.run(&new, "2", &service);
    let found = previous(&shop, &new).await.unwrap().to_string();
    assert!(found.contains(&format!("container {old} of the same service")), "{found}");

    let action = ContainersRollback::default();
    let input = json!({
        "container": new, "image": "previous", "engine": shop.host(), "drain": "0s",
    });
    super::make(&action, &input).await;
    assert!(prepare(&action, &input).await.unwrap().is_satisfied());
    let other = Context { run: backout_plugin_api::RunId::new("9999999999"), ..context() };
    let flip = action.prepare(&other, &input).await.unwrap_err();
    assert!(flip.reason().contains("was put there by Backout"), "{}", flip.reason());
    for tag in ["a", "b", "c"] {
        let _gone = shop.engine.docker(&["rmi", &format!("{repository}:{tag}")]);
    }
}
