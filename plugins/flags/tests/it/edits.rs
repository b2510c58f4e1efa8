//! What is written, and what is refused.

use backout_plugin_api::{MadeEffect, Outcome, Prepared, Reverted, Satisfied};
use serde_json::{Value, json};

use super::{Folder, JSON, YAML, action, call, context, prepare};

async fn turn_off(folder: &Folder) -> (Prepared, Outcome) {
    let off = action("flags.off");
    let prepared = prepare(&*off, &folder.off()).await.unwrap();
    let made = call(&folder.off(), prepared.clone(), 1);
    (prepared, off.apply(&context(folder.dir.path()), &made).await)
}

async fn refusal(text: &str, input: fn(&Folder) -> Value) -> String {
    let folder = Folder::new("flags.yaml", text);
    let failure = prepare(&*action("flags.off"), &input(&folder)).await.unwrap_err();
    assert_eq!(folder.text(), text);
    failure.reason().to_owned()
}

#[tokio::test]
async fn yaml_keeps_every_other_byte() {
    let folder = Folder::new("flags.yaml", YAML);
    let (prepared, outcome) = turn_off(&folder).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let wanted = "new_checkout:
  # the new checkout of spring
  variations:
    on: true
    off: false
  # everybody else
  defaultRule:
    variation: off
  metadata:
    text: |
      two lines
      of text
";
    let (head, tail) = YAML.split_once("new_checkout:\n").unwrap();
    let (_, tail) = tail.split_once("      of text\n").unwrap();
    assert_eq!(folder.text(), format!("{head}{wanted}{tail}"));
    assert_eq!(
        prepared.difference(),
        [
            "new_checkout: defaultRule.variation: none -> off",
            "new_checkout: targeting (1 entry) removed",
            "new_checkout: scheduledRollout (1 entry) removed",
            "new_checkout: disable: true removed",
            "new_checkout: bucketingKey: teamId removed",
            "new_checkout: defaultRule.percentage removed",
        ]
    );
    let hazards: Vec<_> = prepared.all_hazards().collect();
    let codes: Vec<_> = hazards.iter().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["future-schedule", "was-disabled"]);
    assert!(hazards[0].text.contains("2027-03-01T00:00:00Z"));
}

#[tokio::test]
async fn json_keeps_every_other_byte() {
    let folder = Folder::new("flags.json", JSON);
    let (_, outcome) = turn_off(&folder).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let wanted = JSON
        .replace(",\n    \"targeting\": [ { \"query\": \"a eq 1\", \"variation\": \"on\" } ]", "")
        .replace("\"percentage\": {\"on\": 50, \"off\": 50}", "\"variation\": \"off\"")
        .replace(",\n    \"disable\": true", "");
    assert_eq!(folder.text(), wanted);
}

#[tokio::test]
async fn restore_brings_the_bytes_back_and_leaves_what_others_changed() {
    let folder = Folder::new("flags.yaml", YAML);
    let (prepared, _) = turn_off(&folder).await;
    let theirs = folder.text().replace("variation: yes }", "variation: 'no' }");
    std::fs::write(folder.file(), theirs).unwrap();
    let made = MadeEffect {
        input: folder.off(),
        effect: 0,
        key: call(&Value::Null, prepared.clone(), 1).key,
        prepared: prepared.into(),
        output: Value::Null,
        whole: true,
    };
    let reverted = action("flags.off").revert(&context(folder.dir.path()), &made).await;
    let Reverted::By { action: name, input } = reverted else { panic!("{reverted:?}") };
    let restore = action(name.as_str());
    let prepared = prepare(&*restore, &input).await.unwrap();
    assert_eq!(prepared.all_hazards().count(), 0);
    let mut back = call(&input, prepared, 1);
    back.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
    let outcome = restore.apply(&context(folder.dir.path()), &back).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(folder.text(), YAML.replace("variation: yes }", "variation: 'no' }"));
}

#[tokio::test]
async fn a_flag_changed_since_is_a_hazard_of_its_restore() {
    let folder = Folder::new("flags.yaml", YAML);
    let input = json!({
        "file": folder.file(),
        "blocks": {"first-flag": "first-flag: {variations: {a: 1}, defaultRule: {variation: a}}"},
        "left": {"first-flag": "something else"},
    });
    let prepared = prepare(&*action("flags.restore"), &input).await.unwrap();
    assert_eq!(
        prepared.all_hazards().map(|h| h.code.as_str()).collect::<Vec<_>>(),
        ["changed-since"]
    );
    let mut smuggled = input;
    smuggled["blocks"]["first-flag"] = json!("first-flag: {a: 1}\nother: {b: 2}");
    let failure = prepare(&*action("flags.restore"), &smuggled).await.unwrap_err();
    assert!(failure.reason().contains("more than that flag"), "{}", failure.reason());
}

#[tokio::test]
async fn what_is_off_already_is_satisfied() {
    let folder = Folder::new("flags.yaml", YAML);
    let input = json!({"file": folder.file(), "flag": "first-flag", "off_variation": "yes"});
    let prepared = prepare(&*action("flags.off"), &input).await.unwrap();
    assert_eq!(prepared.effects[0].satisfied, Satisfied::Yes);
    assert!(prepared.difference().is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_truly_is_refused_with_the_reason() {
    let named = |folder: &Folder| json!({"file": folder.file(), "flag": "f"});
    let cases = [
        ("f: {variations: {a: true, b: false}, defaultRule: {variation: a}}", "`b` is false"),
        ("f: {variations: {off: false}}", "no `defaultRule`"),
        ("g: {variations: {off: false}}", "there is no flag `f`; the file has: g"),
        ("f: &x\n  variations: {off: 1}\ng: *x\n", "no `defaultRule`"),
        ("g: &x\n  variations: {off: 1, on: 2}\n  defaultRule: {variation: on}\nf: *x\n", "alias"),
        (
            "f:\n  <<: {a: 1}\n  variations: {off: 1}\n  defaultRule: {variation: off}\n",
            "merge key",
        ),
        ("f: {a: 1}\nf: {b: 2}\n", "twice"),
        ("f: [1, 2\n", "line"),
        ("- f\n", "no map of flags"),
        (
            "f:\n  variations: &v {off: 1, on: 2}\n  targeting: &t [1]\n  defaultRule: {variation: on}\n\
             g: {x: *t}\n",
            "unreadable",
        ),
    ];
    for (text, why) in cases {
        let reason = refusal(text, named).await;
        assert!(reason.contains(why), "{text}: {reason}");
    }
    let unnamed = refusal("f: {a: 1}", |folder| json!({"file": folder.file()})).await;
    assert!(unnamed.contains("no flag is named"), "{unnamed}");
}

#[tokio::test]
async fn what_would_change_a_flag_again_is_a_hazard() {
    let flag = |more: &str| {
        format!("f:\n  variations: {{off: 1, on: 2}}\n  defaultRule: {{variation: on}}\n{more}")
    };
    let cases = [
        (flag(""), Vec::new()),
        (flag("  disable: true\n"), vec!["was-disabled"]),
        (flag("  experimentation: {start: 2020-01-01T00:00:00Z}\n"), vec!["experimentation"]),
        (flag("  scheduledRollout: [{date: 2099-01-01T00:00:00Z}]\n"), vec!["future-schedule"]),
        (flag("  scheduledRollout: [{date: 2020-01-01T00:00:00Z}]\n"), Vec::new()),
        (flag("  targeting: [{progressiveRollout: {a: 1}}]\n"), vec!["progressive-rollout"]),
        (
            flag("").replace("{variation: on}", "{progressiveRollout: {a: 1}}"),
            vec!["progressive-rollout"],
        ),
    ];
    for (text, wanted) in cases {
        let folder = Folder::new("flags.yaml", &text);
        let input = json!({"file": folder.file(), "flag": "f", "known_flags": ["f"]});
        let prepared = prepare(&*action("flags.off"), &input).await.unwrap();
        let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
        assert_eq!(codes, wanted, "{text}");
    }
    let folder = Folder::new("flags.yaml", YAML);
    let input = json!({"file": folder.file(), "flag": "first-flag", "off_variation": "no",
        "known_flags": ["new_checkout"]});
    let prepared = prepare(&*action("flags.off"), &input).await.unwrap();
    let codes: Vec<_> = prepared.all_hazards().map(|hazard| hazard.code.as_str()).collect();
    assert_eq!(codes, ["unknown-to-release"]);
}

#[tokio::test]
async fn assert_says_what_differs() {
    let folder = Folder::new("flags.yaml", YAML);
    let assert = action("flags.assert");
    for (flag, holds) in [("new_checkout", false), ("Última", true)] {
        let variation = if holds { "a" } else { "off" };
        let input = json!({"file": folder.file(), "flag": flag, "variation": variation});
        let prepared = prepare(&*assert, &input).await.unwrap();
        match assert.apply(&context(folder.dir.path()), &call(&input, prepared, 1)).await {
            Outcome::Done { .. } => assert!(holds),
            Outcome::Failed { reason, .. } => {
                assert!(!holds);
                assert!(reason.contains("disable: true"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn mode_is_kept_and_the_displaced_file_stays() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("flags.yaml", YAML);
    std::fs::set_permissions(folder.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    turn_off(&folder).await;
    let mode = folder.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let kept = super::litter(&folder);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(std::fs::read_to_string(folder.dir.path().join(&kept[0])).unwrap(), YAML);
}

/// Ways in which people write one flag, each with its neighbours.
const SHAPES: [(&str, &str); 9] = [
    (
        "flags.yaml",
        "f:\r\n  variations: {on: 1, off: 2}\r\n  targeting: []\r\n  defaultRule:\r\n    variation: on\r\ng: {a: 1}\r\n",
    ),
    (
        "flags.yml",
        "f:\n  variations: {on: 1, off: 2}\n  defaultRule: {percentage: {on: 1, off: 99}}\n  disable: true # why\n# tail\n",
    ),
    (
        "flags.yaml",
        "{f: {targeting: [1], variations: {'on': 1, \"off\": 2}, defaultRule: {variation: 'on', progressiveRollout: {a: 1}}}, g: {a: 1}}",
    ),
    (
        "flags.yaml",
        "\"f\": {\n  disable: true,\n  experimentation: {start: 1},\n  variations: {on: 1, off: 2},\n  defaultRule: {name: rest, variation: on}\n  }\n\n# g\ng: {a: 1}\n",
    ),
    (
        "flags.yaml",
        "---\na: &x {b: [1, 2]}\nf:\n    disable: true\n    variations:\n        on: *x\n        off: {b: []}\n    defaultRule:\n        progressiveRollout:\n            initial: {variation: on}\n        # keep me\n        name: rest\n    experimentation:\n        start: 2020-01-01T00:00:00Z\n\n\nz: {c: *x}\n",
    ),
    (
        "flags.yaml",
        "f:\n  scheduledRollout:\n  - date: 2020-01-01T00:00:00Z\n    title: >-\n      long\n      text\n\n  variations:\n    on: |\n      a\n\n      b\n    off: ''\n  defaultRule:\n    variation: on\n  targeting:\n",
    ),
    (
        "flags.yaml",
        "u\u{e9}: {a: \u{1f600}}\nf:\n  bucketingKey: \u{e9}\n  variations: {on: \u{1f600}, off: x}\n  defaultRule: {variation: on}\n",
    ),
    (
        "flags.json",
        "{\"f\":{\"disable\":true,\"variations\":{\"on\":1,\"off\":2},\"targeting\":[],\"defaultRule\":{\"percentage\":{\"on\":5},\"name\":\"n\"}}}",
    ),
    (
        "flags.json",
        "{\r\n\t\"f\" : {\r\n\t\t\"variations\" : {\"on\":1, \"off\":2},\r\n\t\t\"defaultRule\" : {\"variation\":\"on\"},\r\n\t\t\"bucketingKey\" : \"t\"\r\n\t},\r\n\t\"g\" : {}\r\n}\r\n",
    ),
];

#[tokio::test]
async fn every_shape_goes_off_and_comes_back_byte_for_byte() {
    for (name, text) in SHAPES {
        let folder = Folder::new(name, text);
        let ctx = context(folder.dir.path());
        let input = json!({"file": folder.file(), "flag": "f"});
        let off = action("flags.off");
        let prepared = prepare(&*off, &input).await.unwrap_or_else(|why| panic!("{text}: {why:?}"));
        let made = call(&input, prepared, 1);
        let outcome = off.apply(&ctx, &made).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{text}: {outcome:?}");
        let again = prepare(&*off, &input).await.unwrap();
        assert_eq!(again.effects[0].satisfied, Satisfied::Yes, "{}", folder.text());
        let made = MadeEffect {
            input,
            prepared: made.prepared,
            effect: 0,
            key: made.key,
            output: Value::Null,
            whole: true,
        };
        let Reverted::By { action: name, input } = off.revert(&ctx, &made).await else { panic!() };
        let restore = action(name.as_str());
        let prepared =
            prepare(&*restore, &input).await.unwrap_or_else(|why| panic!("{text}: {why:?}"));
        let mut back = call(&input, prepared, 1);
        back.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
        let outcome = restore.apply(&ctx, &back).await;
        assert!(matches!(outcome, Outcome::Done { .. }), "{text}: {outcome:?}");
        assert_eq!(folder.text(), text);
    }
}
