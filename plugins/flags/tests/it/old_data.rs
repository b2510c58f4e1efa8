//! What earlier releases journaled is settled and put back by this one.

use backout_plugin_api::{Action, MadeEffect, Outcome, Prepared, Reverted, Settled};
use backout_plugin_flags::FlagsForce;
use serde_json::{Value, json};

use super::{Folder, YAML, action, call, context, prepare};

/// As release 0.1 wrote it: the file's data alone, without its kind and system.
fn version_1(prepared: &Prepared) -> Prepared {
    let mut old = prepared.clone();
    old.data_version = 1;
    let data = old.effects[0].data.as_object_mut().unwrap();
    assert_eq!(data.remove("kind"), Some(json!("file")));
    assert_eq!(data.remove("system"), Some(json!("go-feature-flag")));
    let mut fields: Vec<_> = data.keys().collect();
    fields.sort();
    assert_eq!(fields, ["edits", "flags", "swap"]);
    old
}

#[tokio::test]
async fn version_1_is_made_settled_and_put_back() {
    let folder = Folder::new("flags.yaml", YAML);
    let (ctx, off) = (context(folder.dir.path()), FlagsForce::off());
    let old = version_1(&prepare(&off, &folder.off()).await.unwrap());
    let made = call(&folder.off(), old, 1);
    let outcome = off.apply(&ctx, &made).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert!(matches!(off.settle(&ctx, &made).await, Settled::Done { .. }));
    let effect = MadeEffect {
        input: made.input,
        prepared: made.prepared,
        effect: 0,
        key: made.key,
        output: Value::Null,
        whole: true,
    };
    let Reverted::By { action: name, input } = off.revert(&ctx, &effect).await else { panic!() };
    let restore = action(name.as_str());
    let mut back = call(&input, prepare(&*restore, &input).await.unwrap(), 1);
    back.key = backout_plugin_api::EffectKey::from_text("0123456789/s/undo-1/1/0");
    let outcome = restore.apply(&ctx, &back).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    assert_eq!(folder.text(), YAML);
}

#[tokio::test]
async fn a_later_version_is_refused_with_the_reason() {
    let folder = Folder::new("flags.yaml", YAML);
    let (ctx, off) = (context(folder.dir.path()), FlagsForce::off());
    let mut later = prepare(&off, &folder.off()).await.unwrap();
    later.data_version = 99;
    let made = call(&folder.off(), later, 1);
    let Outcome::Refused { reason } = off.apply(&ctx, &made).await else { panic!() };
    assert!(reason.contains("version 99"), "{reason}");
    assert!(matches!(off.settle(&ctx, &made).await, Settled::Unknown { .. }));
    assert_eq!(folder.text(), YAML);
}
