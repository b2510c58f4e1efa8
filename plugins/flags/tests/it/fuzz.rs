//! Files of flags that a person would not write: an edit touches the named flag alone and can be
//! taken back to the byte, or it is refused.

use backout_plugin_api::{EffectKey, Image, MadeEffect, Outcome, Prepared, Reverted, Satisfied};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{FLAGD, Folder, JSON, TOML, YAML, action, call, context, prepare};

/// What has a meaning in these files, in YAML, JSON or TOML.
const PIECES: [&str; 36] = [
    "\n",
    "\r\n",
    "  ",
    "\t",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "# c\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "'",
    "\"",
    "|\n",
    ">-\n",
    "? ",
    "!!str ",
    "---\n",
    "...\n",
    "\u{e9}",
    "\u{feff}",
    "~",
    "disable: true\n",
    "variation: on\n",
    "disable = true\n",
    "[new_checkout.x]\n",
    "[[new_checkout.targeting]]\n",
    "new_checkout.defaultRule.name = 1\n",
    "[other]\n",
    "\"\"\"",
    " = ",
    "\"targeting\": {}, ",
];

/// One change to a text.
#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Text(Index, String),
    Remove(Index, u8),
    RepeatLine(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        1 => (at(), ".{0,8}").prop_map(|(at, text)| Change::Text(at, text)),
        2 => (at(), 1..20u8).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => (at(), at()).prop_map(|(from, to)| Change::RepeatLine(from, to)),
    ]
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        text = one_changed(&text, change);
    }
    text
}

fn one_changed(text: &str, change: &Change) -> String {
    let chars: Vec<char> = text.chars().collect();
    let insert = |at: &Index, piece: &str| {
        let (head, tail) = chars.split_at(at.index(chars.len() + 1));
        head.iter().copied().chain(piece.chars()).chain(tail.iter().copied()).collect()
    };
    match change {
        Change::Insert(at, piece) => insert(at, piece),
        Change::Text(at, piece) => insert(at, piece),
        Change::Remove(at, len) => {
            let at = at.index(chars.len() + 1);
            let end = (at + usize::from(*len)).min(chars.len());
            chars[..at].iter().chain(&chars[end..]).collect()
        }
        Change::RepeatLine(from, to) => {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            if !lines.is_empty() {
                let (line, to) = (lines[from.index(lines.len())], to.index(lines.len()));
                lines.insert(to, line);
            }
            lines.concat()
        }
    }
}

/// The text of the one flag in an image.
fn block(image: &Image) -> &str {
    let Image::Plain(Value::Object(blocks)) = image else { panic!("{image:?}") };
    blocks.values().next().unwrap().as_str().unwrap()
}

/// Whether `after` is `before` with one piece in place of another.
fn differs_in(before: &str, after: &str, was: &str, is: &str) -> bool {
    before.match_indices(was).any(|(at, _)| {
        let (head, tail) = (&before[..at], &before[at + was.len()..]);
        after == format!("{head}{is}{tail}")
    })
}

async fn put_back(folder: &Folder, input: &Value, prepared: &Prepared) -> Outcome {
    let made = MadeEffect {
        input: input.clone(),
        effect: 0,
        key: call(&Value::Null, prepared.clone(), 1).key,
        prepared: prepared.clone().into(),
        output: Value::Null,
        whole: true,
    };
    let reverted = action("flags.off").revert(&context(folder.dir.path()), &made).await;
    let Reverted::By { action: name, input } = reverted else { panic!("{reverted:?}") };
    let restore = action(name.as_str());
    let prepared = prepare(&*restore, &input).await.unwrap();
    let mut back = call(&input, prepared, 1);
    back.key = EffectKey::from_text("0123456789/s/undo-1/1/0");
    restore.apply(&context(folder.dir.path()), &back).await
}

/// Where the file has the flag's variation, and where its other flags are.
fn places(system: &str) -> (&'static str, &'static str) {
    match system {
        "flagd" => ("/flags/new_checkout/defaultVariant", "/flags"),
        _ => ("/new_checkout/defaultRule/variation", ""),
    }
}

async fn check(system: &str, name: &'static str, text: &str) -> Result<(), TestCaseError> {
    let folder = Folder::new(name, text);
    let mut input = folder.off();
    input["system"] = json!(system);
    let mut assert = input.clone();
    assert["variation"] = json!("off");
    drop(prepare(&*action("flags.assert"), &assert).await);
    let off = action("flags.off");
    let Ok(prepared) = prepare(&*off, &input).await else { return Ok(()) };
    let effect = prepared.effects[0].clone();
    if effect.satisfied == Satisfied::Yes {
        return Ok(());
    }
    let made = call(&input, prepared.clone(), 1);
    let outcome = off.apply(&context(folder.dir.path()), &made).await;
    prop_assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let after = folder.text();
    let (was, is) = (block(&effect.before), block(&effect.wanted));
    prop_assert!(differs_in(text, &after, was, is), "{was:?} -> {is:?} in {after:?}");
    if name.ends_with("json") {
        let (variation, flags) = places(system);
        let mut parsed: [Value; 2] = [text, &after].map(|t| serde_json::from_str(t).unwrap());
        prop_assert_eq!(parsed[1].pointer(variation), Some(&json!("off")));
        for whole in &mut parsed {
            whole.pointer_mut(flags).unwrap().as_object_mut().unwrap().remove("new_checkout");
        }
        prop_assert_eq!(&parsed[0], &parsed[1]);
    }
    let again = prepare(&*off, &input).await.unwrap();
    prop_assert_eq!(again.effects[0].satisfied, Satisfied::Yes);
    let back = put_back(&folder, &input, &prepared).await;
    prop_assert!(matches!(back, Outcome::Done { .. }), "{back:?}");
    prop_assert_eq!(folder.text(), text);
    Ok(())
}

fn now(what: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(what)
}

fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: wanted.unwrap_or(cases), ..ProptestConfig::default() }
}

/// flagd's file as YAML.
const FLAGD_YAML: &str = "flags:
  first: {state: ENABLED, variants: {a: 1}, defaultVariant: a}
  new_checkout:
    state: ENABLED # on since May
    variants:
      on: true
      off: false
    targeting:
      if: [{==: [1, 1]}, on]
    # who is not targeted
    defaultVariant: on
metadata: {version: 1}
";

const GOFF: &str = "go-feature-flag";

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn a_changed_yaml_file_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..4),
    ) {
        now(check(GOFF, "flags.yaml", &changed(YAML, &changes)))?;
    }

    #[test]
    fn a_changed_json_file_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..3),
    ) {
        now(check(GOFF, "flags.json", &changed(JSON, &changes)))?;
    }

    #[test]
    fn a_changed_toml_file_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..4),
    ) {
        now(check(GOFF, "flags.toml", &changed(TOML, &changes)))?;
    }

    #[test]
    fn a_changed_file_of_flagd_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..3),
    ) {
        now(check("flagd", "flags.json", &changed(FLAGD, &changes)))?;
        now(check("flagd", "flags.yaml", &changed(FLAGD_YAML, &changes)))?;
    }

    #[test]
    fn any_text_at_all_breaks_nothing(
        text in ".{0,60}",
        pieces in prop::collection::vec(select(&PIECES[..]), 0..30),
    ) {
        for head in ["new_checkout: ", "[new_checkout]\n", "flags: {new_checkout: "] {
            let text = format!("{head}{text}{}", pieces.concat());
            now(check(GOFF, "flags.yaml", &text))?;
            now(check(GOFF, "flags.json", &text))?;
            now(check(GOFF, "flags.toml", &text))?;
            now(check("flagd", "flags.yaml", &text))?;
            now(check("flagd", "flags.json", &text))?;
        }
    }
}
