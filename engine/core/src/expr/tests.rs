use serde_json::json;

use super::*;
use crate::plan::ParamValue;

struct World {
    params: BTreeMap<String, ParamValue>,
    outputs: BTreeMap<String, Value>,
    item: Value,
}

fn world() -> World {
    let param = |value: Value| ParamValue { value, secret: false };
    World {
        params: BTreeMap::from([
            ("to".to_owned(), param(json!("2.4.1"))),
            ("count".to_owned(), param(json!(3))),
            ("hosts".to_owned(), param(json!(["a", "b"]))),
        ]),
        outputs: BTreeMap::from([
            ("deploy".to_owned(), json!({"x": 7, "deep": {"y": "z"}, "none": null, "f": 1.0})),
            ("each[a]".to_owned(), json!({"ok": true})),
            ("each[b-1]".to_owned(), json!({"ok": false})),
        ]),
        item: json!({"key": "a", "port": 80}),
    }
}

impl World {
    fn scope(&self) -> Scope<'_> {
        Scope { params: &self.params, item: Some(&self.item), outputs: &self.outputs }
    }
}

fn eval(text: &str) -> Result<Value, ExprError> {
    let world = world();
    Expression::parse(text)?.eval(&world.scope())
}

#[track_caller]
fn check(text: &str, expected: Value) {
    assert_eq!(eval(text), Ok(expected), "{text}");
}

#[track_caller]
fn check_absent(text: &str, name: &str) {
    assert_eq!(eval(text), Err(ExprError::Absent { name: name.to_owned() }), "{text}");
}

#[test]
fn values() {
    check("params.to", json!("2.4.1"));
    check("params.count + 1", json!(4));
    check("item.port", json!(80));
    check("steps.deploy.output.x * 2", json!(14));
    check("steps.deploy.output.deep.y + '!'", json!("z!"));
    check("steps.each[\"a\"].output.ok", json!(true));
    check("steps.each[\"b-1\"].output.ok", json!(false));
    check("steps.each[item.key].output.ok", json!(true));
    check("steps.each.all(key, has(steps.each[key].output.ok))", json!(true));
    check("params.hosts.map(host, host + '!')", json!(["a!", "b!"]));
    check("{'b': 1, 'a': [2u]}", json!({"a": [2], "b": 1}));
    check("size(params.hosts) == 2 && params.to.startsWith('2.')", json!(true));
    check("params.to.matches('^[0-9.]+$')", json!(true));
    check("type(params.count) == int", json!(true));
}

#[test]
fn loops_over_maps_go_in_order() {
    check("steps.each.map(key, key)", json!(["a", "b-1"]));
    let letters: Vec<String> = ('a'..='z').rev().map(|c| format!("'{c}': 1")).collect();
    let text = format!("{{{}}}.map(key, key)", letters.join(", "));
    let sorted: Vec<String> = ('a'..='z').map(|c| c.to_string()).collect();
    check(&text, json!(sorted));
    check("{'b': 1, 'a': 2}.exists(key, key == 'b')", json!(true));
    check("[3, 1].map(x, x)", json!([3, 1]));
    check("params.hosts.filter(host, host != 'a')", json!(["b"]));
}

#[test]
fn defaults() {
    for text in [
        "default(steps.deploy.output.gone, 'v')",
        "default(steps.nothing.output.gone, 'v')",
        "default(steps.each[\"a\"].output.gone, 'v')",
        "default(steps.each[\"zz\"].output.gone, 'v')",
        "steps.deploy.output.?gone.orValue('v')",
        "steps.nothing.?output.?gone.orValue('v')",
        "has(steps.nothing.output.gone) ? steps.nothing.output.gone : 'v'",
        "has(steps.deploy.output.gone) ? 1 : default(steps.nothing.output.x, 'v')",
    ] {
        check(text, json!("v"));
    }
    check("default(steps.deploy.output.x, steps.nothing.output.y)", json!(7));
    check("default(params.to, 'x')", json!("2.4.1"));
}

#[test]
fn absent_outputs_are_named() {
    check_absent("steps.deploy.output.gone", "steps.deploy.output.gone");
    check_absent("steps.deploy.output.deep.gone", "steps.deploy.output.deep.gone");
    check_absent("steps.nothing.output.x + 1", "steps.nothing.output.x");
    check_absent("steps.each[\"zz\"].output.ok || false", "steps.each[\"zz\"].output.ok");
    check_absent(
        "has(steps.deploy.output.gone) ? 'a' : steps.nothing.output.y",
        "steps.nothing.output.y",
    );
    check_absent(
        "default(steps.deploy.output.gone, steps.nothing.output.gone)",
        "steps.nothing.output.gone",
    );
}

#[test]
fn mistakes() {
    let syntax = |text: &str| match Expression::parse(text) {
        Err(ExprError::Syntax { at, message }) => (at, message),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(syntax("1 + HOME").0, 4);
    assert!(syntax("HOME").1.contains("`HOME` is not known here"));
    assert_eq!(syntax("params.x + ").0, 11);
    assert_eq!(syntax("params").1, "name the parameter: `params.x`");
    assert!(syntax("steps.a.outputs.x").1.contains("only `output`"));
    assert!(syntax("default(1, 2)").1.contains("takes a reference first"));
    assert!(syntax("").1.contains("empty"));
    assert!(syntax(&"x".repeat(5_000)).1.contains("EXPRESSION_BYTES_MAX"));
    assert!(matches!(eval("params.count + 'a'"), Err(ExprError::Eval { .. })));
    assert!(matches!(eval("1 / 0"), Err(ExprError::Eval { .. })));
    assert!(matches!(eval("{'a': 1}.b"), Err(ExprError::Eval { .. })));
    assert!(matches!(eval("1.0 / 0.0"), Err(ExprError::Eval { .. })));
}

#[test]
fn deep_and_odd_texts_do_not_panic() {
    let long = |piece: &str| piece.repeat(4_000 / piece.len());
    let pieces = [
        "(", "[", "{", "!", "-", "a.", "1+", "a?b:", "[0]", "\"", "'", "a.f().", "{1:", "f(", "\\",
        "r'", "`", "1?", "\u{e9}", "\u{0}", "has(", "x.map(y,", "1.e", "0x", "'\\u", "'\\U0011",
        "?.",
    ];
    for piece in pieces {
        drop(Expression::parse(&long(piece)));
        drop(Expression::parse(piece));
        drop(Template::parse(&format!("${{{piece}}}")));
        for other in pieces {
            drop(Expression::parse(&format!("{piece}{other}")));
            drop(Template::parse(&format!("{piece}${{{other}{piece}")));
        }
    }
    for depth in [10, 50, 60, 70, 390] {
        let text = format!("1{}", "+1".repeat(depth));
        drop(Expression::parse(&text).map(|expression| expression.eval(&world().scope())));
    }
}

#[test]
fn plain_references_are_as_in_cel() {
    let world = world();
    for text in [
        "params.to",
        " params.to ",
        "params.gone",
        "params.hosts",
        "item",
        "item.port",
        "item.gone",
        "steps.deploy.output.x",
        "steps.deploy.output.f",
        "steps.deploy.output.deep",
        "steps.deploy.output.deep.y",
        "steps.deploy.output.deep.y.z",
        "steps.deploy.output.gone",
        "steps.deploy.output.none",
        "steps.none.output.x",
        "steps.each.output.ok",
    ] {
        let fast = Expression::parse(text).unwrap();
        assert!(matches!(fast.body, Body::Plain), "{text}");
        let slow = Expression::parse_cel(text).unwrap();
        assert_eq!(fast.references(), slow.references(), "{text}");
        assert_eq!(fast.eval(&world.scope()), slow.eval(&world.scope()), "{text}");
    }
}

#[test]
fn templates() {
    let world = world();
    let text = |text: &str| Template::parse(text).unwrap().resolve(&world.scope());
    assert_eq!(text("v${params.to}-${params.count}"), Ok(json!("v2.4.1-3")));
    assert_eq!(text("${params.count}"), Ok(json!(3)));
    assert_eq!(text("$${HOME} $ $x $$"), Ok(json!("${HOME} $ $x $$")));
    assert_eq!(text("${ {'a': '}'}.a }${'\\'}'}${\"\"\"}\"}\"\"\"}"), Ok(json!("}'}}\"}")));
    assert_eq!(text("${r'\\'}!"), Ok(json!("\\!")));
    assert!(matches!(text("x${steps.deploy.output.none}"), Err(ExprError::Eval { .. })));
    let whole = |text: &str| Template::parse(text).unwrap().is_whole();
    assert!(whole("${params.to}") && !whole("${params.to} ") && !whole("$${x}"));
    let at = |text: &str| match Template::parse(text) {
        Err(ExprError::Syntax { at, .. }) => at,
        other => panic!("{other:?}"),
    };
    assert_eq!(at("ab ${params.x"), 3);
    assert_eq!(at("ab ${1 + HOME}"), 9);
}

#[test]
fn trees() {
    let world = world();
    let with = json!({"a": ["${params.count}", "x${params.to}"], "b": 1, "c": "${item.key}"});
    let expected = json!({"a": [3, "x2.4.1"], "b": 1, "c": "a"});
    assert_eq!(resolve(&with, &world.scope()), Ok(expected));
    let names: Vec<String> =
        references_of(&with).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["params.count", "params.to", "item.key"]);
    assert_eq!(truth("params.count > 2", &world.scope()), Ok(true));
    assert!(truth("params.count", &world.scope()).is_err());
}
