//! What can be said of an input without sending anything.

use std::collections::BTreeMap;

use backout_plugin_api::{Checked, InputProblem, SecretRef, check_reference};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;

use crate::input::{Input, Method, Probe, Revert, duration};

/// Headers that the engine, or the sending itself, sets.
const OWN_HEADERS: [&str; 5] =
    ["idempotency-key", "traceparent", "host", "content-length", "transfer-encoding"];

/// An input that does not parse yet, for an expression in the place of a number, is not spoken of.
pub(crate) fn check(input: &Value) -> Checked {
    let Ok(input) = Input::deserialize(input) else { return Checked::default() };
    let mut checked = Checked { guarantee: Some(input.guarantee()), ..Checked::default() };
    let has_secret = input.bearer.is_some() || !input.secret_headers.is_empty();
    check_url(&mut checked, "/url", &input.url, has_secret);
    check_headers(&mut checked, "/headers", &input.headers);
    check_secrets(&mut checked, &input);
    check_body(&mut checked, "", input.body.as_ref(), input.json.as_ref());
    check_statuses(&mut checked, "/expect", &input.expect);
    check_promise(&mut checked, "", input.keyed.as_ref(), input.probe.as_ref(), has_secret);
    check_read_only(&mut checked, &input);
    if let Some(revert) = &input.revert {
        check_revert(&mut checked, revert, has_secret);
    }
    checked
}

fn check_revert(checked: &mut Checked, revert: &Revert, has_secret: bool) {
    check_url(checked, "/revert/url", &revert.url, has_secret);
    check_headers(checked, "/revert/headers", &revert.headers);
    check_body(checked, "/revert", revert.body.as_ref(), revert.json.as_ref());
    check_statuses(checked, "/revert/expect", &revert.expect);
    let (keyed, probe) = (revert.keyed.as_ref(), revert.probe.as_ref());
    check_promise(checked, "/revert", keyed, probe, has_secret);
}

fn check_url(checked: &mut Checked, at: &str, url: &str, has_secret: bool) {
    if has_expression(url) {
        return;
    }
    let parsed = match Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => parsed,
        Ok(_) => {
            return problem(checked, at, "only http and https are spoken", "https://host/path");
        }
        Err(error) => {
            let message = format!("this is no URL: {error}");
            return problem(checked, at, &message, "write it whole: https://host/path");
        }
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let help = "use `bearer` or `secret_headers`, which take references";
        problem(checked, at, "a user or password stands in the URL", help);
    }
    if has_secret && parsed.scheme() == "http" && !is_loopback(&parsed) {
        checked.warnings.push(InputProblem {
            at: at.to_owned(),
            message: "a secret is sent over an open line".to_owned(),
            help: Some("use https".to_owned()),
        });
    }
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn check_headers(checked: &mut Checked, at: &str, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        let at = format!("{at}/{name}");
        check_header_name(checked, &at, name);
        if !has_expression(value) && HeaderValue::from_str(value).is_err() {
            problem(
                checked,
                &at,
                "this cannot be a header's value",
                "one line of visible characters",
            );
        }
        if name.eq_ignore_ascii_case("authorization") {
            let help = "name where the secret is by `bearer` or `secret_headers`";
            problem(checked, &at, "a secret's value never stands in a runbook", help);
        }
    }
}

fn check_header_name(checked: &mut Checked, at: &str, name: &str) {
    if HeaderName::from_bytes(name.as_bytes()).is_err() {
        problem(checked, at, "this cannot be a header's name", "letters, digits and `-`");
    } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        problem(checked, at, &format!("`{name}` is set for you"), "leave it out");
    }
}

fn check_secrets(checked: &mut Checked, input: &Input) {
    for (name, reference) in &input.secret_headers {
        let at = format!("/secret_headers/{name}");
        check_header_name(checked, &at, name);
        check_secret(checked, &at, reference);
        if input.headers.keys().any(|other| other.eq_ignore_ascii_case(name)) {
            problem(checked, &at, &format!("`{name}` stands in `headers` too"), "keep one of them");
        }
    }
    if let Some(reference) = &input.bearer {
        check_secret(checked, "/bearer", reference);
    }
    let authorization = |name: &String| name.eq_ignore_ascii_case("authorization");
    if input.bearer.is_some() && input.secret_headers.keys().any(authorization) {
        let help = "keep `bearer`, or the header";
        problem(checked, "/bearer", "`Authorization` stands in `secret_headers` too", help);
    }
}

fn check_secret(checked: &mut Checked, at: &str, reference: &SecretRef) {
    if let Err(error) = check_reference(&reference.0) {
        let help = "name where the secret is; its value never stands in a runbook";
        problem(checked, at, &error.reason, help);
    }
}

fn check_body(checked: &mut Checked, at: &str, body: Option<&String>, json: Option<&Value>) {
    if body.is_some() && json.is_some() {
        let at = format!("{at}/json");
        problem(checked, &at, "`body` and `json` are two bodies", "keep one of them");
    }
}

fn check_statuses(checked: &mut Checked, at: &str, statuses: &[u16]) {
    for (index, status) in statuses.iter().enumerate() {
        if !(100..=599).contains(status) {
            let message = format!("{status} is no status");
            problem(checked, &format!("{at}/{index}"), &message, "statuses go from 100 to 599");
        }
    }
}

fn check_promise(
    checked: &mut Checked,
    at: &str,
    keyed: Option<&String>,
    probe: Option<&Probe>,
    has_secret: bool,
) {
    if let Some(text) = keyed {
        check_duration(checked, &format!("{at}/keyed"), text);
    }
    let Some(probe) = probe else { return };
    let at = format!("{at}/probe");
    if keyed.is_some() {
        let help = "keep `keyed` where the target honours an Idempotency-Key, else `probe`";
        problem(checked, &at, "`keyed` and `probe` are two promises", help);
    }
    check_url(checked, &format!("{at}/url"), &probe.url, has_secret);
    check_headers(checked, &format!("{at}/headers"), &probe.headers);
    check_statuses(checked, &format!("{at}/done"), &probe.done);
    check_statuses(checked, &format!("{at}/not_done"), &probe.not_done);
    if let Some(both) = probe.done.iter().find(|status| probe.not_done.contains(status)) {
        let message = format!("{both} cannot mean both done and not done");
        problem(checked, &format!("{at}/not_done"), &message, "keep it in one list");
    }
    if let Some(text) = &probe.settles_within {
        check_duration(checked, &format!("{at}/settles_within"), text);
    }
}

fn check_duration(checked: &mut Checked, at: &str, text: &str) {
    if let Err(message) = duration(text).map(|_| ())
        && !has_expression(text)
    {
        problem(checked, at, &message, "write \"90s\", \"15m\" or \"24h\"");
    }
}

fn check_read_only(checked: &mut Checked, input: &Input) {
    if !input.read_only {
        return;
    }
    if !input.method.is_safe() {
        let message = format!("a {} may change something", input.method.word());
        problem(checked, "/read_only", &message, "only GET and HEAD can be read-only");
    }
    if input.keyed.is_some() || input.probe.is_some() || input.revert.is_some() {
        let help = "leave out `keyed`, `probe` and `revert`, or `read_only`";
        let message = "a read-only request has nothing to settle or to revert";
        problem(checked, "/read_only", message, help);
    }
    if input.method == Method::Head && (input.body.is_some() || input.json.is_some()) {
        problem(checked, "/method", "a HEAD has no body", "use GET, or leave the body out");
    }
}

/// Whether an expression is still to be filled in; `$${` is a literal.
fn has_expression(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

fn problem(checked: &mut Checked, at: &str, message: &str, help: &str) {
    checked.problems.push(InputProblem {
        at: at.to_owned(),
        message: message.to_owned(),
        help: Some(help.to_owned()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use backout_plugin_api::Guarantee;
    use serde_json::json;

    /// A request that is fine but for the fields given.
    fn request(fields: &Value) -> Value {
        let mut input = json!({"method": "POST", "url": "https://shop.example/drain"});
        for (name, value) in fields.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    }

    fn check_problem(fields: &Value, at: &str) {
        let checked = check(&request(fields));
        assert!(checked.problems.iter().any(|p| p.at == at), "{fields} gave {checked:?}");
    }

    #[test]
    fn finds_what_is_wrong() {
        check_problem(&json!({"url": "shop/drain"}), "/url");
        check_problem(&json!({"url": "ftp://shop/drain"}), "/url");
        check_problem(&json!({"url": "https://me:pw@shop/drain"}), "/url");
        check_problem(&json!({"headers": {"a b": "c"}}), "/headers/a b");
        check_problem(&json!({"headers": {"a": "b\nc"}}), "/headers/a");
        check_problem(&json!({"headers": {"Idempotency-Key": "x"}}), "/headers/Idempotency-Key");
        check_problem(&json!({"headers": {"authorization": "Bearer x"}}), "/headers/authorization");
        check_problem(
            &json!({"secret_headers": {"x-token": "hunter2"}}),
            "/secret_headers/x-token",
        );
        check_problem(&json!({"bearer": "hunter2"}), "/bearer");
        check_problem(&json!({"body": "x", "json": {}}), "/json");
        check_problem(&json!({"expect": [200, 20]}), "/expect/1");
        check_problem(&json!({"keyed": "soon"}), "/keyed");
        check_problem(&json!({"keyed": "900d"}), "/keyed");
        check_problem(&json!({"keyed": "1h", "probe": {"url": "http://x/"}}), "/probe");
        check_problem(&json!({"probe": {"url": "x"}}), "/probe/url");
        let both = json!({"probe": {"url": "http://x/", "not_done": [200]}});
        check_problem(&both, "/probe/not_done");
        check_problem(&json!({"read_only": true}), "/read_only");
        check_problem(&json!({"revert": {"method": "PUT", "url": "x"}}), "/revert/url");
    }

    #[test]
    fn tells_the_guarantee_and_warns_of_open_lines() {
        let of = |fields: Value| check(&request(&fields)).guarantee;
        assert_eq!(of(json!({})), Some(Guarantee::Manual));
        assert_eq!(of(json!({"keyed": "24h"})), Some(Guarantee::Keyed));
        assert_eq!(of(json!({"probe": {"url": "http://x/"}})), Some(Guarantee::Probed));
        let safe = json!({"method": "GET", "read_only": true});
        assert_eq!(of(safe.clone()), Some(Guarantee::ReadOnly));
        assert_eq!(check(&request(&safe)).problems, []);
        let open = json!({"url": "http://shop.example/", "bearer": "env:T"});
        assert_eq!(check(&request(&open)).warnings.len(), 1);
        let local = json!({"url": "http://127.0.0.1:1/", "bearer": "env:T"});
        assert_eq!(check(&request(&local)).warnings, []);
        let later = json!({"url": "${params.base}/x", "keyed": "${params.time}"});
        assert_eq!(check(&request(&later)).problems, []);
    }
}
