//! What can be said of an input without looking.

use std::path::Path;
use std::time::Duration;

use backout_plugin_api::words::has_expression;
use backout_plugin_api::{Checked, Guarantee, InputProblem, SecretRef, TargetId, check_reference};
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;

use crate::input::{EndpointKind, Place, Prove, Server, System, Wish};
use crate::tree::{Format, Layout};

/// Endpoints of one proof: each is asked for every flag and context, several times.
const ENDPOINTS_MAX: usize = 100;
/// Contexts of one proof; the same reason.
const CONTEXTS_MAX: usize = 1_000;
/// Polls of one proof: more is a soak, which the step has.
const POLLS_MAX: u32 = 1_000;
/// The longest `every` and `converge`: beyond, the step is a wait.
const DURATION_MAX: Duration = Duration::from_hours(1);

/// How a file is written, by its name, and where the system has its flags in it.
pub(crate) fn format_of(system: System, file: &str) -> Result<(Format, Layout), String> {
    let layout = match system {
        System::Flagd => Layout::Under("flags"),
        System::GoFeatureFlag | System::Unleash | System::LaunchDarkly => Layout::Root,
    };
    let extension = Path::new(file).extension().and_then(|text| text.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("yaml" | "yml") => Ok((Format::Yaml, layout)),
        Some("json") => Ok((Format::Json, layout)),
        Some("toml") if system == System::Flagd => {
            Err(format!("`{file}` is TOML, which flagd does not read"))
        }
        Some("toml") => Ok((Format::Toml, layout)),
        _ => Err(format!("`{file}` ends in none of .yaml, .yml, .json and .toml")),
    }
}

/// The best guarantee that a system allows.
pub(crate) fn guarantee(system: System) -> Guarantee {
    match system {
        System::GoFeatureFlag | System::Flagd | System::LaunchDarkly => Guarantee::Conditional,
        System::Unleash => Guarantee::Probed,
    }
}

/// A duration as people write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration: {error}"))?;
    if parsed > DURATION_MAX {
        return Err(format!("`{text}` is longer than an hour"));
    }
    Ok(parsed)
}

/// Which of an action's inputs is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Force,
    Restore,
    Assert,
}

/// Checks an input; texts may still hold `${…}`.
pub(crate) fn check(input: &Value, kind: Kind) -> Checked {
    let wish = Wish::guess(input);
    let mut checked = Checked::default();
    let read_only = kind == Kind::Assert;
    checked.guarantee = Some(if read_only { Guarantee::ReadOnly } else { guarantee(wish.system) });
    check_place(&mut checked, input, &wish, kind);
    check_flags(&mut checked, input, &wish, kind);
    if let Some(prove) = input.get("prove").filter(|prove| !prove.is_null()) {
        check_prove(&mut checked, prove);
    }
    checked
}

fn problem(checked: &mut Checked, at: &str, message: impl Into<String>, help: &str) {
    checked.problems.push(InputProblem {
        at: at.to_owned(),
        message: message.into(),
        help: Some(help.to_owned()).filter(|help| !help.is_empty()),
    });
}

fn check_place(checked: &mut Checked, input: &Value, wish: &Wish, kind: Kind) {
    let there = |name: &str| input.get(name).is_some_and(|value| !value.is_null());
    let (wanted, other) =
        if wish.system.is_file() { ("file", "server") } else { ("server", "file") };
    let word = wish.system.word();
    if there(other) {
        let help = format!("{word} takes `{wanted}`; name another `system`, or leave it out");
        problem(checked, &format!("/{other}"), format!("{word} takes no `{other}`"), &help);
    }
    if !there(wanted) {
        if kind == Kind::Assert && there("prove") {
            return;
        }
        let help = match wanted {
            "file" => "name the file that holds the flags",
            _ => {
                "name it: `server: (url: \"https://…\", token: \"env:TOKEN\", environment: \"production\")`"
            }
        };
        problem(checked, &format!("/{wanted}"), format!("{word} needs `{wanted}`"), help);
    }
    match &wish.place {
        Place::File(file) => check_file(checked, wish.system, file),
        Place::Server(server) => check_server(checked, server),
        Place::Nowhere => {}
    }
    checked.targets = targets(wish);
}

fn check_file(checked: &mut Checked, system: System, file: &str) {
    if !has_expression(file)
        && let Err(message) = format_of(system, file)
    {
        let help = format!("name the file that {} reads", system.word());
        problem(checked, "/file", message, &help);
    }
}

fn check_server(checked: &mut Checked, server: &Server) {
    check_url(checked, "/server/url", &server.url, true);
    check_secret(checked, "/server/token", &server.token);
    for (name, text) in [("project", &server.project), ("environment", &server.environment)] {
        if text.trim().is_empty() {
            problem(checked, &format!("/server/{name}"), "it is empty", "");
        }
    }
}

/// The flags that an action works on, by their target's own identity.
pub(crate) fn targets(wish: &Wish) -> Vec<TargetId> {
    match &wish.place {
        Place::File(file) if !has_expression(file) && !file.is_empty() => {
            vec![TargetId::new(format!("file:{file}"))]
        }
        Place::Server(server) => {
            let names = wish.flags.iter().filter(|name| !has_expression(name));
            names.map(|name| server_target(wish.system, server, name)).collect()
        }
        Place::File(_) | Place::Nowhere => Vec::new(),
    }
}

/// One flag of one environment.
pub(crate) fn server_target(system: System, server: &Server, flag: &str) -> TargetId {
    let url = server.url.trim_end_matches('/');
    let Server { project, environment, .. } = server;
    TargetId::new(format!("{}:{url}/{project}/{environment}/{flag}", system.word()))
}

fn check_flags(checked: &mut Checked, input: &Value, wish: &Wish, kind: Kind) {
    let is_filled = |name: &str| match input.get(name) {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::String(_)) => true,
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    };
    let (fields, help): (&[&str], _) = match (kind, wish.system.is_file()) {
        (Kind::Restore, true) => (&["blocks"], "give each flag's text in `blocks`"),
        (Kind::Restore, false) => (&["states"], "give each flag's state in `states`"),
        _ => (&["flags", "flag"], "name them: `flags: [\"a\", \"b\"]`"),
    };
    if !fields.iter().any(|name| is_filled(name)) {
        problem(checked, &format!("/{}", fields[0]), "no flag is named", help);
    }
    if wish.flags.iter().any(|name| name.trim().is_empty()) {
        problem(checked, "/flags", "a flag's name is empty", "");
    }
    let variation = wish.variation.as_deref().filter(|text| !has_expression(text));
    if wish.system == System::Unleash && variation.is_some_and(|text| !matches!(text, "on" | "off"))
    {
        let at = if kind == Kind::Force && input.get("off_variation").is_some() {
            "/off_variation"
        } else {
            "/variation"
        };
        problem(checked, at, "an Unleash flag is `on` or `off`", "");
    }
}

fn check_prove(checked: &mut Checked, input: &Value) {
    // What does not parse yet, for an expression in the place of a number, is not spoken of.
    let Ok(prove) = Prove::deserialize(input) else { return };
    let (endpoints, contexts) = (prove.endpoints.len(), prove.contexts.len());
    let counts = [
        ("endpoints", endpoints, ENDPOINTS_MAX, "name who is asked"),
        ("contexts", contexts, CONTEXTS_MAX, "name for whom: `[{\"targetingKey\": \"user-1\"}]`"),
        ("polls", prove.polls as usize, POLLS_MAX as usize, "once is enough: 1"),
    ];
    for (name, count, max, help) in counts {
        let at = format!("/prove/{name}");
        match count {
            0 => problem(checked, &at, "nothing would be proven by nobody", help),
            _ if count > max => problem(checked, &at, format!("more than {max}"), ""),
            _ => {}
        }
    }
    for (name, text) in [("every", &prove.every), ("converge", &prove.converge)] {
        if !has_expression(text)
            && let Err(message) = duration(text)
        {
            problem(checked, &format!("/prove/{name}"), message, "write \"500ms\" or \"2m\"");
        }
    }
    check_endpoints(checked, &prove);
    for (at, context) in prove.contexts.iter().enumerate() {
        if context.get("targetingKey").is_none_or(|key| key.as_str() == Some("")) {
            let at = format!("/prove/contexts/{at}");
            problem(checked, &at, "it has no `targetingKey`", "say who it is for");
        }
    }
}

fn check_endpoints(checked: &mut Checked, prove: &Prove) {
    for (at, endpoint) in prove.endpoints.iter().enumerate() {
        let path = format!("/prove/endpoints/{at}");
        let secrets = [
            ("bearer", &endpoint.bearer),
            ("api_key", &endpoint.api_key),
            ("admin_key", &endpoint.admin_key),
        ];
        let has_secret = secrets.iter().any(|(_, secret)| secret.is_some());
        check_url(checked, &format!("{path}/url"), &endpoint.url, has_secret);
        for (name, secret) in secrets {
            if let Some(reference) = secret {
                check_secret(checked, &format!("{path}/{name}"), reference);
            }
        }
        if endpoint.refresh && !has_secret {
            checked.warnings.push(InputProblem {
                at: format!("{path}/refresh"),
                message: "a relay takes a refresh only with a key".to_owned(),
                help: Some("`admin_key`: one of its `authorizedKeys.admin`".to_owned()),
            });
        }
        if prove.endpoints.iter().take(at).any(|other| other.name == endpoint.name) {
            let message = format!("`{}` names two of them", endpoint.name);
            problem(checked, &format!("{path}/name"), message, "name each instance by itself");
        }
        if endpoint.kind == EndpointKind::Unleash && endpoint.environment.is_none() {
            let at = format!("{path}/environment");
            problem(checked, &at, "Unleash is asked for one environment", "name it");
        }
    }
}

fn check_url(checked: &mut Checked, at: &str, url: &str, has_secret: bool) {
    if has_expression(url) {
        return;
    }
    let parsed = match Url::parse(url) {
        Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => parsed,
        Ok(_) => return problem(checked, at, "only http and https are spoken", "https://host"),
        Err(error) => return problem(checked, at, format!("this is no URL: {error}"), ""),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        problem(checked, at, "a user or password stands in the URL", "use a reference to a secret");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        problem(checked, at, "it has a query", "leave away all from `?` or `#` on");
    }
    let loopback = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if has_secret && parsed.scheme() == "http" && !loopback {
        checked.warnings.push(InputProblem {
            at: at.to_owned(),
            message: "a secret is sent over an open line".to_owned(),
            help: Some("use https".to_owned()),
        });
    }
}

fn check_secret(checked: &mut Checked, at: &str, reference: &SecretRef) {
    if let Err(error) = check_reference(&reference.0) {
        let help = "name where the secret is; its value never stands in a runbook";
        problem(checked, at, error.reason, help);
    }
}
