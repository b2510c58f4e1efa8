//! Inputs that no schema let through: an answer for people, never a panic.

use backout_plugin_api::Action;
use backout_plugin_exec::ExecRun;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const NAMES: [&str; 8] =
    ["command", "settle", "env", "secret_env", "cwd", "revert", "read_only", "output"];

const TEXTS: [&str; 14] = [
    "",
    "${",
    "${params.x}",
    "http://h",
    "https://u:p@h/",
    "GET",
    "POST",
    "24h",
    "99999999999999999y",
    "env:X",
    "cmd:[]",
    "sh",
    "-c",
    "\u{0}\u{e9}",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(&TEXTS[..]).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![select(&NAMES[..]).prop_map(str::to_owned), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn check(action: &dyn Action, input: &Value) {
    drop((action.check(input), action.by_hand(input)));
}

proptest! {
    #[test]
    fn any_value_is_checked_and_told(input in value()) {
        check(&ExecRun::new(Vec::new()), &input);
    }

    #[test]
    fn a_good_input_with_any_other_field_is_checked_and_told(
        name in select(&NAMES[..]), field in value(),
    ) {
        let mut input = json!({ "command": ["sh", "-c", "true"] });
        input[name] = field;
        check(&ExecRun::new(Vec::new()), &input);
    }
}
