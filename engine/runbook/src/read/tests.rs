//! The `ron` crate is the oracle: what it reads we read, with the same value, and the other way
//! round, but for what runbooks do not use.

use proptest::prelude::*;
use ron::value::Number;

use super::read;
use crate::tree::{Kind, Node};

/// One tree for both readers.
#[derive(Debug, PartialEq, PartialOrd)]
enum Plain {
    Unit,
    Bool(bool),
    Number(f64),
    Char(char),
    Text(String),
    Option(Option<Box<Self>>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
}

fn sorted(mut entries: Vec<(Plain, Plain)>) -> Plain {
    entries.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    Plain::Map(entries)
}

fn ours(node: &Node<'_>) -> Plain {
    let all = |nodes: &[Node<'_>]| Plain::List(nodes.iter().map(ours).collect());
    match &node.kind {
        Kind::Unit | Kind::Name(_) => Plain::Unit,
        Kind::Bool(bool) => Plain::Bool(*bool),
        #[expect(clippy::cast_precision_loss, reason = "both sides lose the same")]
        Kind::Integer(whole) => Plain::Number(*whole as f64),
        Kind::Float(float) => Plain::Number(*float),
        Kind::Char(char) => Plain::Char(*char),
        Kind::Text(text) => Plain::Text(text.to_string()),
        Kind::None => Plain::Option(None),
        Kind::Some(inner) => Plain::Option(Some(Box::new(ours(inner)))),
        Kind::List(items) | Kind::Tuple(_, items) => all(items),
        Kind::Struct(_, fields) => sorted(
            fields
                .iter()
                .map(|field| (Plain::Text(field.name.text.to_owned()), ours(&field.value)))
                .collect(),
        ),
        Kind::Map(entries) => {
            sorted(entries.iter().map(|(key, value)| (ours(key), ours(value))).collect())
        }
        Kind::Bad => panic!("a bad node without a problem"),
    }
}

fn theirs(value: &ron::Value) -> Plain {
    match value {
        ron::Value::Unit => Plain::Unit,
        ron::Value::Bool(bool) => Plain::Bool(*bool),
        ron::Value::Number(number) => Plain::Number(number_of(*number)),
        ron::Value::Char(char) => Plain::Char(*char),
        ron::Value::String(text) => Plain::Text(text.clone()),
        ron::Value::Option(inner) => Plain::Option(inner.as_deref().map(theirs).map(Box::new)),
        ron::Value::Seq(items) => Plain::List(items.iter().map(theirs).collect()),
        ron::Value::Map(map) => {
            sorted(map.iter().map(|(key, value)| (theirs(key), theirs(value))).collect())
        }
        ron::Value::Bytes(_) => panic!("bytes are not used"),
    }
}

fn number_of(number: Number) -> f64 {
    number.into_f64()
}

/// Whether a text holds what we refuse on purpose, or what `ron` lets pass: ranges, bytes, numbers
/// beyond all bounds, keys written twice.
fn is_ours_alone(text: &str) -> bool {
    text.contains("..")
        || text.contains("inf")
        || text.contains("NaN")
        || text.contains("b\"")
        || text.contains("b'")
        || text.contains("br")
}

/// Whether two keys of a map are one to `ron`, where every bare name is a unit.
fn has_duplicates(tree: &Plain) -> bool {
    match tree {
        Plain::Map(entries) => {
            entries.windows(2).any(|pair| pair[0].0 == pair[1].0)
                || entries.iter().any(|(key, value)| has_duplicates(key) || has_duplicates(value))
        }
        Plain::List(items) => items.iter().any(has_duplicates),
        Plain::Option(Some(inner)) => has_duplicates(inner),
        _ => false,
    }
}

#[track_caller]
fn compare(text: &str) -> bool {
    let (tree, problems) = read(text);
    let oracle: Result<ron::Value, _> = ron::Options::default()
        .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
        .from_str(text);
    if is_ours_alone(text) || (problems.is_empty() && has_duplicates(&ours(&tree))) {
        return oracle.is_ok();
    }
    match (&oracle, problems.is_empty()) {
        (Ok(value), true) => assert_eq!(ours(&tree), theirs(value), "{text}"),
        (Ok(value), false) => panic!("ron reads {text:?} as {value:?}; we say {problems:#?}"),
        (Err(error), true) => panic!("ron says of {text:?}: {error}; we read {tree:#?}"),
        (Err(_), false) => {}
    }
    oracle.is_ok()
}

/// Texts that both read.
const GOOD: &[&str] = &[
    "()",
    "( )",
    "true",
    "false",
    "None",
    "Some(1)",
    "Some( 1 , )",
    "Some(None)",
    "abc",
    "A(1)",
    "A (1, 2,)",
    "A(a: 1)",
    "(a: 1, b: (c: 2))",
    "(1)",
    "(1,)",
    "[]",
    "[1, 2, ]",
    "{}",
    "{\"a\": 1, 2: 3, 'c': [4],}",
    "\"a\\n\\t\\\\\\\"\\'\\0\\x41\\u{1F600}\"",
    "\"\\xf0\\x9f\\xa6\\x80\"",
    "\"a\\\n   b\"",
    "\"a\nb\"",
    "r\"a\\b\"",
    "r#\"a\"b\"#",
    "r##\"a\"#b\"##",
    "'a'",
    "'\\''",
    "'\\n'",
    "'\\u{e9}'",
    "'\u{e9}'",
    "1",
    "-1",
    "+1",
    "1_000",
    "0xFF",
    "0xff_ff",
    "0b1010",
    "0o17",
    "-0x1F",
    "1.5",
    "-1.5e3",
    "1e5",
    "1E-5",
    ".5",
    "5.",
    "1_0.5_0",
    "1.0f32",
    "2.5f64",
    "7u8",
    "-7i64",
    "18446744073709551615",
    "-9223372036854775808",
    "18446744073709551616",
    "// c\n1",
    "1 // c",
    "/* a /* b */ c */ 1",
    "(a: /* x */ 1)",
    "#![enable(implicit_some)] (a: 1)",
    "#![enable(unwrap_newtypes, implicit_some,)]\n1",
    "#![type = \"x\"] #![schema = \"y\"] 1",
    "(r#type: 1)",
    "r#abc",
    "(a: A, b: B(1))",
    "[(a: 1), (a: 2)]",
    "\u{85}1\u{2028}",
    "(((1)))",
    "(a: (), b: [(), ()])",
    "A()",
    "A( )",
    "\"\"",
    "(true, None, Some(\"x\"))",
    "(truex: 1)",
    "Nonesuch",
    "Some(Some(1))",
    "(_a: 1, b_2: 2)",
    "{a: 1}",
];

/// Texts that neither reads.
const BAD: &[&str] = &[
    "",
    " ",
    "(",
    ")",
    "[1 2]",
    "(a: 1 b: 2)",
    "[1,,2]",
    "{1}",
    "{1: }",
    "(a: )",
    "(a 1)",
    "(a = 1)",
    "\"a",
    "'ab'",
    "''",
    "'a",
    "\"\\q\"",
    "\"\\x4\"",
    "\"\\u{}\"",
    "\"\\u{110000}\"",
    "\"\\xff\"",
    "r#\"a\"",
    "1x",
    "1__x",
    "0x",
    "0xG",
    "0b2",
    "_1x:",
    "1.2.3",
    "1e",
    "--1",
    "300u8",
    "-1u8",
    "1 2",
    "(1))",
    "[1)",
    "(1]",
    "{1: 2",
    "/* a",
    "/x",
    "Some()",
    "Some(1, 2)",
    "(,)",
    "[,]",
    "{,}",
    "#![enable(nonsense)] 1",
    "#![enable] 1",
    "@",
    "(a: 1, 2)",
    "a.b",
    "$",
    "\u{feff}1",
    "(a: 1,, b: 2)",
    "Some(1",
    "#",
    "\\",
    "0x_1",
    "1.f32x",
    "0xE+1",
];

#[test]
fn a_table_of_texts() {
    let mut wrong = Vec::new();
    let all = GOOD.iter().map(|text| (*text, true)).chain(BAD.iter().map(|text| (*text, false)));
    for (text, expected) in all {
        let compared = std::panic::catch_unwind(|| compare(text));
        let read = read(text).1.is_empty();
        if compared.ok() != Some(expected) || read != expected {
            wrong.push(text);
        }
    }
    assert_eq!(wrong, [""; 0]);
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("()".to_owned()),
        Just("None".to_owned()),
        any::<bool>().prop_map(|bool| bool.to_string()),
        any::<i64>().prop_map(|whole| whole.to_string()),
        any::<u64>().prop_map(|whole| format!("0x{whole:x}")),
        (-1e9..1e9_f64).prop_map(|float| format!("{float:?}")),
        "[a-zA-Z_][a-z0-9_]{0,5}",
        any::<char>().prop_map(|char| format!("{char:?}")),
        any::<String>().prop_map(|text| format!("{text:?}")),
        "[^\"]{0,8}".prop_map(|text| format!("r#\"{text}\"#")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = "([A-Z][a-z]{0,3})?";
        let space = prop::sample::select(vec!["", " ", "\n", "/* c */", "// c\n", "\t"]);
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..4), space.clone()).prop_map(
                |(items, space)| format!("[{space}{}]", items.join(&format!(",{space}")))
            ),
            (name, prop::collection::vec(inner.clone(), 0..4), space.clone())
                .prop_map(|(name, items, space)| format!("{name}({}{space})", items.join(", "))),
            (name, prop::collection::vec(("[a-z]{1,3}", inner.clone()), 1..4)).prop_map(
                |(name, fields)| {
                    let fields: Vec<String> =
                        fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                    format!("{name}({},)", fields.join(","))
                }
            ),
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(|entries| {
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{key} : {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
            inner.prop_map(|inner| format!("Some({inner})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn values_are_read_as_ron_reads_them(text in value()) {
        compare(&text);
    }

    #[test]
    fn damaged_values_are_refused_as_ron_refuses_them(
        text in value(), at in any::<prop::sample::Index>(), junk in prop::sample::select(
            vec!["", ",", "(", ")", "]", "\"", "'", ":", " ", "1", "a", "/", "\\", "#", "{", "-", "."]
        )
    ) {
        let mut at = at.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        compare(&format!("{}{junk}{}", &text[..at], &text[at..]));
        let rest = text[at..].chars().skip(1).collect::<String>();
        compare(&format!("{}{junk}{rest}", &text[..at]));
    }

    #[test]
    fn any_text_is_read_as_ron_reads_it(text in "[\\[\\](){},:\"'a-cr#b0-9x._ \n/*+-]{0,16}") {
        compare(&text);
    }
}
