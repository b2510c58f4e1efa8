//! flagd's files.

use std::path::PathBuf;

use async_trait::async_trait;
use backout_plugin_api::conformance::{Case, check};
use backout_plugin_api::{Action, ActionName, Outcome, Satisfied};
use backout_plugin_flags::{FlagsForce, FlagsRestore};
use serde_json::{Value, json};

use super::{FLAGD, Folder, TOML, action, call, context, prepare};

fn off(folder: &Folder, flag: &str) -> Value {
    json!({"system": "flagd", "file": folder.file(), "flag": flag})
}

async fn turned_off(name: &'static str, text: &str, flag: &str) -> Result<String, String> {
    let folder = Folder::new(name, text);
    let (action, input) = (action("flags.off"), off(&folder, flag));
    let prepared = prepare(&*action, &input).await.map_err(|why| why.reason().to_owned())?;
    let outcome = action.apply(&context(folder.dir.path()), &call(&input, prepared, 1)).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{text}: {outcome:?}");
    let again = prepare(&*action, &input).await.unwrap();
    assert_eq!(again.effects[0].satisfied, Satisfied::Yes, "{}", folder.text());
    Ok(folder.text())
}

#[tokio::test]
async fn off_is_the_off_variant_and_never_disabled() {
    let folder = Folder::new("flags.json", FLAGD);
    let prepared = prepare(&*action("flags.off"), &off(&folder, "new_checkout")).await.unwrap();
    assert_eq!(
        prepared.difference(),
        [
            "new_checkout: state: DISABLED -> ENABLED",
            "new_checkout: defaultVariant: none -> off",
            "new_checkout: targeting removed",
        ]
    );
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["future-schedule", "was-disabled"]);
    let text = turned_off("flags.json", FLAGD, "new_checkout").await.unwrap();
    let wanted = FLAGD
        .replace("\"state\": \"DISABLED\"", "\"defaultVariant\": \"off\",\n      \"state\": \"ENABLED\"")
        .replace(",\n      \"targeting\": { \"if\": [ { \">\": [ { \"var\": \"$flagd.timestamp\" }, 1 ] }, \"on\", \"off\" ] }", "");
    assert_eq!(text, wanted);
}

#[tokio::test]
async fn each_shape_is_edited_or_refused() {
    let yaml = "flags:\n  # mine\n  f:\n    state: ENABLED\n    variants:\n      on: true\n      off: false\n\
                \x20   targeting:\n      if: [1]\n    defaultVariant: on # c\n";
    let off = turned_off("flags.yaml", yaml, "f").await.unwrap();
    let wanted = yaml
        .replace("    targeting:\n      if: [1]\n", "")
        .replace("defaultVariant: on", "defaultVariant: \"off\"");
    assert_eq!(off, wanted);
    let flow = "{\"flags\":{\"f\":{\"variants\":{\"off\":1},\"targeting\":{\"var\":\"a\"}}}}";
    let off = turned_off("flags.json", flow, "f").await.unwrap();
    let said: Value = serde_json::from_str(&off).unwrap();
    assert_eq!(
        said["flags"]["f"],
        json!({"state": "ENABLED", "defaultVariant": "off", "variants": {"off": 1}})
    );
    let refused = [
        ("flags.json", "{\"flags\": []}", "no map of flags by their names"),
        ("flags.json", "{\"f\": {}}", "no map `flags`"),
        ("flags.json", "{\"flags\": {}, \"flags\": {}}", "twice"),
        (
            "flags.json",
            "{\"flags\": {\"f\": {\"variants\": {\"a\": true}}}}",
            "say `off_variation`",
        ),
        ("flags.json", "{\"flags\": {\"g\": {}}}", "there is no flag `f`; the file has: g"),
        ("flags.toml", TOML, "flagd does not read"),
    ];
    for (name, text, why) in refused {
        let reason = turned_off(name, text, "f").await.unwrap_err();
        assert!(reason.contains(why), "{text}: {reason}");
    }
}

struct FlagdCase {
    folder: Folder,
    off: FlagsForce,
    restore: FlagsRestore,
}

#[async_trait]
impl Case for FlagdCase {
    fn action(&self) -> &dyn Action {
        &self.off
    }

    fn input(&self) -> Value {
        off(&self.folder, "new_checkout")
    }

    fn scratch(&self) -> PathBuf {
        self.folder.dir.path().join("scratch")
    }

    async fn observe(&self) -> Value {
        use std::os::unix::fs::MetadataExt;
        json!([self.folder.text(), self.folder.file().metadata().unwrap().ino()])
    }

    async fn image(&self) -> Value {
        json!(self.folder.text())
    }

    fn find(&self, name: &ActionName) -> Option<&dyn Action> {
        (name.as_str() == "flags.restore").then_some(&self.restore as &dyn Action)
    }

    async fn interfere(&self) -> bool {
        let text = self.folder.text().replace("\"3\"", "\"4\"");
        std::fs::write(self.folder.file(), text).unwrap();
        true
    }
}

#[tokio::test]
async fn off_in_a_flagd_file_conforms() {
    let case = async || FlagdCase {
        folder: Folder::new("flags.json", FLAGD),
        off: FlagsForce::off(),
        restore: FlagsRestore::default(),
    };
    check(case).await.assert_kept_on("a file of flagd");
}
