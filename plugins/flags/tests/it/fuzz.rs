//! Files of flags that a person would not write: an edit touches the named flag alone and can be
//! taken back to the byte, or it is refused.

use backout_plugin_api::{EffectKey, Image, MadeEffect, Outcome, Prepared, Reverted, Satisfied};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::{Folder, JSON, YAML, action, call, context, prepare};

/// What has a meaning in these files, in YAML or in JSON.
const PIECES: [&str; 28] = [
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

async fn put_back(folder: &Folder, prepared: &Prepared) -> Outcome {
    let made = MadeEffect {
        input: folder.off(),
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

async fn check(name: &'static str, text: &str) -> Result<(), TestCaseError> {
    let folder = Folder::new(name, text);
    let assert = json!({"file": folder.file(), "flags": ["new_checkout"], "variation": "off"});
    drop(prepare(&*action("flags.assert"), &assert).await);
    let off = action("flags.off");
    let Ok(prepared) = prepare(&*off, &folder.off()).await else { return Ok(()) };
    let effect = prepared.effects[0].clone();
    if effect.satisfied == Satisfied::Yes {
        return Ok(());
    }
    let made = call(&folder.off(), prepared.clone(), 1);
    let outcome = off.apply(&context(folder.dir.path()), &made).await;
    prop_assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let after = folder.text();
    let (was, is) = (block(&effect.before), block(&effect.wanted));
    prop_assert!(differs_in(text, &after, was, is), "{was:?} -> {is:?} in {after:?}");
    if name.ends_with("json") {
        let mut parsed: [Value; 2] = [text, &after].map(|t| serde_json::from_str(t).unwrap());
        prop_assert_eq!(&parsed[1]["new_checkout"]["defaultRule"]["variation"], &json!("off"));
        for flags in &mut parsed {
            flags.as_object_mut().unwrap().remove("new_checkout");
        }
        prop_assert_eq!(&parsed[0], &parsed[1]);
    }
    let again = prepare(&*off, &folder.off()).await.unwrap();
    prop_assert_eq!(again.effects[0].satisfied, Satisfied::Yes);
    let back = put_back(&folder, &prepared).await;
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

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn a_changed_yaml_file_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..4),
    ) {
        now(check("flags.yaml", &changed(YAML, &changes)))?;
    }

    #[test]
    fn a_changed_json_file_is_edited_truly_or_not_at_all(
        changes in prop::collection::vec(change(), 0..3),
    ) {
        now(check("flags.json", &changed(JSON, &changes)))?;
    }

    #[test]
    fn any_text_at_all_breaks_nothing(
        text in ".{0,60}",
        pieces in prop::collection::vec(select(&PIECES[..]), 0..30),
    ) {
        let text = format!("new_checkout: {text}{}", pieces.concat());
        now(check("flags.yaml", &text))?;
        now(check("flags.json", &text))?;
    }
}
