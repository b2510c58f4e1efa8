//! What is put back, and what is refused.

use std::os::unix::fs::PermissionsExt;

use backout_plugin_api::files::sha256_hex;
use backout_plugin_api::{Action, Image, Outcome, Satisfied};
use backout_plugin_config::ConfigRestore;
use backout_test_targets::web::Web;
use serde_json::{Value, json};

use super::{NEW, OLD, Place, call, context, prepare};

#[tokio::test]
async fn only_the_file_that_differs_is_written_and_keeps_its_mode() {
    let place = Place::new();
    let target = place.path().join("etc/app.toml");
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o640)).unwrap();
    let input = place.folder();
    let prepared = prepare(&input).await.unwrap();
    let satisfied: Vec<_> = prepared.effects.iter().map(|effect| effect.satisfied).collect();
    assert_eq!(satisfied, [Satisfied::No, Satisfied::Yes]);
    assert_eq!(prepared.difference().len(), 1);
    assert!(matches!(&prepared.effects[0].before, Image::Digest { .. }));
    let outcome = ConfigRestore::default().apply(&context(), &call(&input, prepared, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(place.text("etc/app.toml"), OLD);
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert!(prepare(&input).await.unwrap().is_satisfied());
}

#[tokio::test]
async fn a_manifest_pins_a_folder_and_unlisted_files_are_a_hazard() {
    let place = Place::new();
    let list = format!(
        "{}  ./app.toml\n{} *conf.d/same.toml\n",
        sha256_hex(OLD.as_bytes()),
        sha256_hex(b"same\n")
    );
    place.put("SHA256SUMS", &list);
    place.put("etc/left.toml", "of the bad release\n");
    let manifest = json!({"from": place.at("SHA256SUMS"), "sha256": sha256_hex(list.as_bytes())});
    let input = json!({"path": place.at("etc"), "manifest": manifest, "from": place.at("old")});
    let prepared = prepare(&input).await.unwrap();
    assert_eq!(prepared.effects.len(), 2);
    assert_eq!(prepared.hazards[0].code, "unlisted-files");
    assert!(prepared.hazards[0].text.contains("left.toml"), "{:?}", prepared.hazards);
    place.put("SHA256SUMS", &list.replace("app", "ape"));
    let failure = prepare(&input).await.unwrap_err();
    assert!(failure.reason().contains("SHA-256"), "{}", failure.reason());
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_written() {
    type Change = fn(&Place, &mut Value);
    let cases: [(Change, &str); 6] = [
        (|place, _| place.put("old/app.toml", "rotten"), "has the SHA-256"),
        (|_, input| input["from"] = json!("/nonexistent/x"), "cannot read /nonexistent/x"),
        (|place, input| input["path"] = json!(place.at("gone/app.toml")), "make this folder first"),
        (|_, input| input["path"] = json!("etc/app.toml"), "not absolute"),
        (|_, input| input["sha256"] = json!("abc"), "no SHA-256"),
        (
            |place, input| {
                std::fs::remove_file(place.at("etc/app.toml")).unwrap();
                std::os::unix::fs::symlink("/etc/hostname", place.at("etc/app.toml")).unwrap();
                *input = place.folder();
            },
            "leads out of the folder",
        ),
    ];
    for (change, why) in cases {
        let place = Place::new();
        let mut input = place.file();
        change(&place, &mut input);
        let failure = prepare(&input).await.unwrap_err();
        assert!(failure.reason().contains(why), "{why}: {}", failure.reason());
    }
}

#[tokio::test]
async fn a_file_that_is_missing_is_made_and_one_that_is_unlisted_is_taken_away() {
    let place = Place::new();
    let old = place.path().join("old/app.toml");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(place.at("etc/app.toml")).unwrap();
    place.put("etc/conf.d/new.toml", "of the bad release\n");
    let mut input = place.folder();
    input["remove_unlisted"] = json!(true);
    let prepared = prepare(&input).await.unwrap();
    assert_eq!(prepared.hazards, []);
    let differs = prepared.difference().join("\n");
    assert!(differs.contains("app.toml: absent -> "), "{differs}");
    assert!(differs.contains("new.toml: ") && differs.contains("-> absent"), "{differs}");
    for index in 0..prepared.effects.len() {
        if prepared.effects[index].satisfied == Satisfied::Yes {
            continue;
        }
        let mut made = call(&input, prepared.clone(), 1);
        made.effect = index;
        made.key = backout_plugin_api::EffectKey::from_text(&format!("0123456789/s/1/{index}"));
        let outcome = ConfigRestore::default().apply(&context(), &made).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
    assert_eq!(place.text("etc/app.toml"), OLD);
    let mode = place.path().join("etc/app.toml").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!place.path().join("etc/conf.d/new.toml").exists());
    assert!(prepare(&input).await.unwrap().is_satisfied());
}

#[tokio::test]
async fn a_store_is_asked_by_digest_and_believed_only_by_it() {
    let (place, web) = (Place::new(), Web::start().unwrap());
    let mut input = place.file();
    input["from"] = json!(web.url("/app.toml?sig=secret"));
    web.say(404, "");
    let failure = prepare(&input).await.unwrap_err();
    assert!(failure.reason().contains("answered 404"), "{}", failure.reason());
    assert!(!failure.reason().contains("sig="), "{}", failure.reason());
    web.say(200, "another content");
    let failure = prepare(&input).await.unwrap_err();
    assert!(failure.reason().contains("has the SHA-256"), "{}", failure.reason());
    web.say(200, OLD);
    let prepared = prepare(&input).await.unwrap();
    web.say(200, "changed since");
    let made = call(&input, prepared, 1);
    let outcome = ConfigRestore::default().apply(&context(), &made).await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    assert_eq!(place.text("etc/app.toml"), NEW);
}
