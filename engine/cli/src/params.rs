//! Parameters: `-p name=value` and `--params FILE` (RON or JSON); the command line wins.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use backout_core::limits::RUNBOOK_BYTES_MAX;
use backout_runbook::GivenParam;
use serde_json::Value;

use crate::exit::Failure;

/// How a runbook's parameters are given.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ParamArgs {
    /// A parameter; may be given several times
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) param: Vec<(String, String)>,
    /// A file of parameters, RON or JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) params: Option<PathBuf>,
}

/// Parameters as they were given; a text from the command line takes the parameter's type later.
pub(crate) type Given = BTreeMap<String, GivenParam>;

/// Splits `name=value` at the first `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("give it as NAME=VALUE".to_owned()),
    }
}

/// Reads the file, then takes what the command line says.
pub(crate) fn read(args: &ParamArgs) -> Result<Given, Failure> {
    let mut given = match &args.params {
        Some(path) => from_file(path)?,
        None => Given::new(),
    };
    for (name, value) in &args.param {
        given.insert(name.clone(), GivenParam::Text(value.clone()));
    }
    Ok(given)
}

fn from_file(path: &Path) -> Result<Given, Failure> {
    let what = format!("parameters {}", path.display());
    let bytes = fs::metadata(path).map_err(|error| Failure::file(&*what, error))?.len();
    if bytes > RUNBOOK_BYTES_MAX as u64 {
        return Err(Failure::file(what, format!("more than {RUNBOOK_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file(&*what, error))?;
    let values = parse(&text).map_err(|why| Failure::file(what, why))?;
    Ok(values.into_iter().map(|(name, value)| (name, GivenParam::Value(value))).collect())
}

type Values = BTreeMap<String, Value>;

/// JSON is tried first: it is no RON where a name is quoted and followed by a colon in braces, but a
/// RON map may look the same.
fn parse(text: &str) -> Result<Values, String> {
    let json = serde_json::from_str::<Values>(text);
    match (json, text.trim_start().starts_with('{')) {
        (Ok(given), _) => return Ok(given),
        (Err(error), true) if text.contains("\":") && error.is_data() => {
            return Err(error.to_string());
        }
        (Err(_), _) => {}
    }
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let value: ron::Value = options.from_str(text).map_err(|error| error.to_string())?;
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|_| "a map of names and values is expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    const PIECES: [&str; 20] = [
        "{", "}", "(", ")", "[", "]", ":", ",", "\"", "a", "\"a\":", "1e999", "-0", "'x'", "Some(",
        "//\n", "/*", "r#\"", "\u{e9}", " ",
    ];

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_with_a_reason(
            text in "(?s).{0,40}", pieces in prop::collection::vec(select(&PIECES[..]), 0..30),
        ) {
            for text in [text.clone(), pieces.concat(), format!("{{{}", pieces.concat())] {
                prop_assert!(parse(&text).is_ok() || !parse(&text).unwrap_err().is_empty());
            }
        }

        #[test]
        fn what_is_written_as_json_is_read_back(
            values in prop::collection::btree_map(".{0,8}", (any::<i64>(), ".{0,8}", any::<bool>()), 0..4),
        ) {
            let wanted: Values =
                values.into_iter().map(|(name, value)| (name, json!(value))).collect();
            prop_assert_eq!(parse(&json!(wanted).to_string()).unwrap(), wanted);
        }

        #[test]
        fn a_pair_keeps_its_value(name in "[^=]{1,9}", value in "(?s).{0,20}") {
            let found = pair(&format!("{name}={value}"));
            let blank = name.trim().is_empty();
            prop_assert_eq!(found.ok(), (!blank).then(|| (name.trim().to_owned(), value)));
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        for open in ["[", "{\"a\":", "(a:", "Some("] {
            assert!(parse(&open.repeat(100_000)).is_err(), "{open}");
        }
    }

    #[test]
    fn files_are_ron_or_json() {
        let wanted: Values =
            serde_json::from_value(json!({ "to": "1.4.1", "n": 3, "hosts": ["a"] })).unwrap();
        assert_eq!(parse(r#"{ "to": "1.4.1", "n": 3, "hosts": ["a"] }"#).unwrap(), wanted);
        assert_eq!(parse(r#"{ "to": "1.4.1", "n": 3, "hosts": ["a"], } // ron"#).unwrap(), wanted);
        assert_eq!(parse(r#"(to: "1.4.1", n: 3, hosts: ["a"])"#).unwrap(), wanted);
        assert!(parse("[1]").is_err());
    }

    #[test]
    fn a_pair_splits_at_the_first_equals_sign() {
        assert_eq!(
            pair("url=http://x/?a=b").unwrap(),
            ("url".to_owned(), "http://x/?a=b".to_owned())
        );
        assert!(pair("url").is_err());
        assert!(pair("=x").is_err());
    }
}
