//! The request as a person types it, with curl.

use backout_plugin_api::{ByHand, SecretRef};

use crate::input::Input;

pub(crate) fn by_hand(input: &Input) -> ByHand {
    let nature = if input.read_only { ", which changes nothing" } else { "" };
    ByHand {
        does: format!("sends {}{nature}", input.title()),
        commands: vec![curl(input)],
        verify: vec![verify(input)],
    }
}

fn verify(input: &Input) -> String {
    let Some(probe) = &input.probe else {
        let expected = statuses(&input.expect).unwrap_or("200 to 299".into());
        return format!("# the status that curl prints last is one of: {expected}");
    };
    let asked = curl(&probe.request(input));
    let done = statuses(&probe.done).unwrap_or("none".into());
    let not_done = statuses(&probe.not_done).unwrap_or("none".into());
    format!("{asked}   # done: {done}; not done: {not_done}")
}

fn statuses(statuses: &[u16]) -> Option<String> {
    let words: Vec<String> = statuses.iter().map(u16::to_string).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn curl(input: &Input) -> String {
    let mut words = vec!["curl -sS -w '\\n%{http_code}\\n'".to_owned()];
    words.push(format!("-X {}", input.method.word()));
    for (name, value) in &input.headers {
        words.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
    }
    for (name, reference) in &input.secret_headers {
        words.push(format!("-H \"{name}: {}\"", fetched(reference)));
    }
    if let Some(reference) = &input.bearer {
        words.push(format!("-H \"Authorization: Bearer {}\"", fetched(reference)));
    }
    if let Some(body) = &input.body {
        words.push(format!("--data-raw {}", quoted(body)));
    }
    if let Some(json) = &input.json {
        words.push("-H 'Content-Type: application/json'".to_owned());
        words.push(format!("--data-raw {}", quoted(&json.to_string())));
    }
    words.push(quoted(&input.url));
    words.join(" ")
}

/// What fetches a secret, for use between double quotes.
fn fetched(reference: &SecretRef) -> String {
    match reference.0.split_once(':') {
        Some(("env", name)) => format!("${name}"),
        Some(("file", path)) => format!("$(cat {})", quoted(path)),
        Some(("cmd", list)) => {
            let command: Vec<String> = serde_json::from_str(list).unwrap_or_default();
            let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
            format!("$({})", words.join(" "))
        }
        _ => reference.0.clone(),
    }
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_a_curl_that_fetches_its_secrets() {
        let input: Input = serde_json::from_value(json!({
            "method": "POST", "url": "https://shop/drain?a=b", "bearer": "file:/run/token",
            "secret_headers": {"X-Key": "env:KEY"}, "json": {"it's": 1},
            "probe": {"url": "https://shop/drained"},
        }))
        .unwrap();
        let by_hand = by_hand(&input);
        assert_eq!(
            by_hand.commands,
            ["curl -sS -w '\\n%{http_code}\\n' -X POST -H \"X-Key: $KEY\" \
              -H \"Authorization: Bearer $(cat '/run/token')\" \
              -H 'Content-Type: application/json' --data-raw '{\"it'\\''s\":1}' \
              'https://shop/drain?a=b'"]
        );
        assert!(by_hand.verify[0].ends_with("# done: 200; not done: 404"), "{by_hand:?}");
    }
}
