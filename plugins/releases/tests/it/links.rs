//! What is linked, and what is refused.

use backout_plugin_api::{Action, MadeEffect, Outcome, Reversibility, Reverted, Satisfied};
use backout_plugin_releases::ReleasesActivate;
use serde_json::{Value, json};

use super::{Root, call, context, prepare};

#[tokio::test]
async fn the_link_keeps_its_style_and_the_previous_release_stays() {
    for absolute in [false, true] {
        let root = Root::new();
        let prefix = if absolute { format!("{}/", root.path().display()) } else { String::new() };
        root.link(format!("{prefix}releases/1.5.0"));
        let prepared = prepare(&root.input()).await.unwrap();
        let made = call(&root.input(), prepared, 1);
        let outcome = ReleasesActivate::default().apply(&context(), &made).await;
        let Outcome::Done { output } = outcome else { panic!("{outcome:?}") };
        assert_eq!(output["previous"], json!("1.5.0"));
        assert_eq!(root.current(), format!("{prefix}releases/1.4.2"));
        assert_eq!(root.served(), "1.4.2");
        assert!(root.path().join("releases/1.5.0/bin/shop").is_file());
        let again = prepare(&root.input()).await.unwrap();
        assert_eq!(again.effects[0].satisfied, Satisfied::Yes);
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_linked() {
    type Change = fn(&Root, &mut Value);
    let cases: [(Change, &str); 5] = [
        (|_, input| input["release"] = json!("2.0.0"), "no release `2.0.0`; it has: 1.4.2, 1.5.0"),
        (|_, input| input["release"] = json!("../1.4.2"), "not the name of one thing"),
        (|_, input| input["artifact"]["path"] = json!("../x"), "does not stay inside"),
        (
            |root, _| {
                std::fs::write(root.path().join("releases/1.4.2/bin/shop"), "damaged").unwrap();
            },
            "it is damaged",
        ),
        (
            |root, _| std::fs::remove_file(root.path().join("current")).unwrap(),
            "linked by hand: `ln -s releases/1.4.2",
        ),
    ];
    for (change, why) in cases {
        let root = Root::new();
        let mut input = root.input();
        change(&root, &mut input);
        let failure = prepare(&input).await.unwrap_err();
        assert!(failure.reason().contains(why), "{}", failure.reason());
    }
}

#[tokio::test]
async fn an_artifact_damaged_since_is_refused_by_apply() {
    let root = Root::new();
    let prepared = prepare(&root.input()).await.unwrap();
    std::fs::write(root.path().join("releases/1.4.2/bin/shop"), "damaged").unwrap();
    let made = call(&root.input(), prepared, 1);
    let outcome = ReleasesActivate::default().apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(root.current(), "releases/1.5.0");
}

#[tokio::test]
async fn the_way_back_carries_the_digest_of_the_previous_artifact() {
    let root = Root::new();
    let prepared = prepare(&root.input()).await.unwrap();
    assert_eq!(prepared.reversibility(), Reversibility::Exact);
    let made = made(&root, prepared);
    let reverted = ReleasesActivate::default().revert(&context(), &made).await;
    let Reverted::By { input, .. } = reverted else { panic!("{reverted:?}") };
    assert_eq!(input["release"], json!("1.5.0"));
    let sha256 = backout_plugin_api::files::sha256_hex(b"1.5.0");
    assert_eq!(input["artifact"]["sha256"], json!(sha256));
}

#[tokio::test]
async fn a_link_to_elsewhere_has_no_way_back_and_says_so() {
    let root = Root::new();
    root.link("/usr");
    let prepared = prepare(&root.input()).await.unwrap();
    assert_eq!(prepared.reversibility(), Reversibility::None);
    assert_eq!(prepared.effects[0].hazards[0].code, "no-way-back");
    let reverted = ReleasesActivate::default().revert(&context(), &made(&root, prepared)).await;
    assert!(matches!(reverted, Reverted::NotPossible { .. }), "{reverted:?}");
}

fn made(root: &Root, prepared: backout_plugin_api::Prepared) -> MadeEffect {
    let call = call(&root.input(), prepared, 1);
    MadeEffect {
        input: call.input,
        prepared: call.prepared,
        effect: 0,
        key: call.key,
        output: Value::Null,
        whole: true,
    }
}
