//! The actions in the words and commands of a person who has no engine.

use std::path::Path;

use backout_plugin_api::words::quoted;
use backout_plugin_api::{ByHand, SecretRef};
use serde_json::{Map, Value, json};

use crate::input::{Endpoint, EndpointKind, Place, Prove, Server, System, Wish};

/// `flags.off` and `flags.set`.
pub(crate) fn force(wish: &Wish) -> ByHand {
    let mut by_hand = match &wish.place {
        Place::File(file) => in_file(wish, file),
        Place::Server(server) => on_server(wish, server),
        Place::Nowhere => {
            ByHand { does: "says where the flags are".to_owned(), ..ByHand::default() }
        }
    };
    by_hand.verify.extend(asked(wish));
    by_hand
}

/// `flags.assert`.
pub(crate) fn assert(wish: &Wish) -> ByHand {
    let variation = wish.variation.as_deref().unwrap_or("?");
    let mut verify = match &wish.place {
        Place::File(file) => shown(wish, file),
        Place::Server(server) => vec![server_look(wish.system, server, &wish.flags)],
        Place::Nowhere => Vec::new(),
    };
    if wish.system == System::GoFeatureFlag && matches!(wish.place, Place::File(_)) {
        verify.push(format!(
            "# defaultRule.variation is {variation}; no targeting, scheduledRollout, \
             experimentation, disable or bucketingKey"
        ));
    }
    verify.extend(asked(wish));
    ByHand {
        does: format!("looks whether everybody gets `{variation}` of {}", wish.flags.join(", ")),
        commands: verify.clone(),
        verify,
    }
}

/// `flags.restore`.
pub(crate) fn restore(input: &Value) -> ByHand {
    let wish = Wish::guess(input);
    let fields = |name: &str| input.get(name).and_then(Value::as_object);
    let mut by_hand = match &wish.place {
        Place::Server(server) => put_state(wish.system, server, fields("states")),
        Place::File(_) | Place::Nowhere => put_text(wish.file(), fields("blocks")),
    };
    by_hand.verify.extend(asked(&wish));
    by_hand
}

fn put_text(file: &str, blocks: Option<&Map<String, Value>>) -> ByHand {
    let mut commands = vec![format!("cp -p '{file}' '{file}.before'")];
    for (name, text) in blocks.into_iter().flatten() {
        let text = text.as_str().unwrap_or_default();
        commands.push(format!("# in {file}, flag {name} shall read:"));
        commands.extend(text.lines().map(|line| format!("#   {line}")));
    }
    commands.push(format!("\"${{EDITOR:-vi}}\" '{file}'"));
    ByHand {
        does: format!("puts the text of some flags back into {file}"),
        commands,
        verify: vec![format!("diff '{file}.before' '{file}'")],
    }
}

fn in_file(wish: &Wish, file: &str) -> ByHand {
    let variation = wish.variation.as_deref().unwrap_or("off");
    let yq = yq(file);
    let mut commands = vec![format!("cp -p '{file}' '{file}.before'")];
    if wish.variation.is_none() {
        let (path, field) = match wish.system {
            System::Flagd => (".flags[]", "variants"),
            _ => (".[]", "variations"),
        };
        commands.push(format!(
            "{yq} '{path} | .{field}' '{file}'  # if no variation is named off, use its own name"
        ));
    }
    if is_toml(file) {
        commands.push(format!("\"${{EDITOR:-vi}}\" '{file}'  # yq cannot write TOML back"));
    } else {
        commands
            .extend(wish.flags.iter().map(|name| edit(wish.system, &yq, name, variation, file)));
    }
    let trap = match wish.system {
        System::Flagd => "`state: DISABLED`",
        _ => "`disable: true`",
    };
    let mut verify = shown(wish, file);
    verify.push(format!("diff '{file}.before' '{file}'"));
    ByHand {
        does: format!(
            "gives everybody the variation `{variation}` of {} in {file}; never by {trap}, which \
             gives the code's own default",
            wish.flags.join(", ")
        ),
        commands,
        verify,
    }
}

fn edit(system: System, yq: &str, name: &str, variation: &str, file: &str) -> String {
    if system == System::Flagd {
        return format!(
            "{yq} -i '.flags[\"{name}\"] |= (.state = \"ENABLED\" | .defaultVariant = \
             \"{variation}\" | del(.targeting))' '{file}'"
        );
    }
    format!(
        "{yq} -i '.[\"{name}\"] |= (.defaultRule = {{\"variation\": \"{variation}\"}} | \
         del(.targeting, .scheduledRollout, .experimentation, .disable, .bucketingKey))' '{file}'"
    )
}

fn is_toml(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|text| text.eq_ignore_ascii_case("toml"))
}

fn yq(file: &str) -> String {
    match Path::new(file).extension().and_then(|text| text.to_str()) {
        Some("json") => "yq -o=json",
        Some("toml") => "yq -p=toml -o=yaml",
        _ => "yq",
    }
    .to_owned()
}

fn shown(wish: &Wish, file: &str) -> Vec<String> {
    let head = if wish.system == System::Flagd { ".flags" } else { "." };
    let show = |name: &String| format!("{} '{head}[\"{name}\"]' '{file}'", yq(file));
    wish.flags.iter().map(show).collect()
}

/// `curl` with a token that is fetched when it is used.
fn curl(method: &str, token: &SecretRef, url: &str, body: Option<&Value>) -> String {
    let body = body.map(|body| {
        format!(" -H 'Content-Type: application/json' --data-raw {}", quoted(&body.to_string()))
    });
    format!(
        "curl -sS -X {method} -H \"Authorization: {}\"{} {}",
        fetched(token),
        body.unwrap_or_default(),
        quoted(url)
    )
}

fn flag_url(system: System, server: &Server, flag: &str) -> String {
    let Server { url, project, environment, .. } = server;
    let url = url.trim_end_matches('/');
    match system {
        System::LaunchDarkly => format!("{url}/api/v2/flags/{project}/{flag}"),
        _ => {
            format!("{url}/api/admin/projects/{project}/features/{flag}/environments/{environment}")
        }
    }
}

fn server_look(system: System, server: &Server, flags: &[String]) -> String {
    let looks = flags.iter().map(|flag| {
        let url = flag_url(system, server, flag);
        let url = match system {
            System::LaunchDarkly => format!("{url}?env={}", server.environment),
            _ => url,
        };
        curl("GET", &server.token, &url, None)
    });
    looks.collect::<Vec<_>>().join("; ")
}

fn on_server(wish: &Wish, server: &Server) -> ByHand {
    let on = wish.variation.as_deref() == Some("on");
    let command = |flag: &String| {
        let url = flag_url(wish.system, server, flag);
        if wish.system == System::LaunchDarkly {
            let at = format!("/environments/{}/on", server.environment);
            let patch = json!([{ "op": "replace", "path": at, "value": false }]);
            return curl("PATCH", &server.token, &url, Some(&patch));
        }
        let url = format!("{url}/{}", if on { "on" } else { "off" });
        curl("POST", &server.token, &url, None)
    };
    let names = wish.flags.join(", ");
    let mut commands = vec![server_look(wish.system, server, &wish.flags)];
    commands.extend(wish.flags.iter().map(command));
    let what = wish.variation.as_deref().unwrap_or("the off variation");
    ByHand {
        does: format!("gives everybody {what} of {names} in {}", server.environment),
        commands,
        verify: vec![server_look(wish.system, server, &wish.flags)],
    }
}

fn put_state(system: System, server: &Server, states: Option<&Map<String, Value>>) -> ByHand {
    let states: Vec<_> = states.into_iter().flatten().collect();
    let flags: Vec<String> = states.iter().map(|(flag, _)| (*flag).clone()).collect();
    let mut commands = vec![server_look(system, server, &flags)];
    for (flag, state) in states {
        commands.push(format!("# {flag} shall be: {state}"));
        commands.extend(put_commands(system, server, flag, state));
    }
    ByHand {
        does: format!("puts {} back as they were in {}", flags.join(", "), server.environment),
        commands,
        verify: vec![server_look(system, server, &flags)],
    }
}

fn put_commands(system: System, server: &Server, flag: &str, state: &Value) -> Vec<String> {
    let url = flag_url(system, server, flag);
    if system == System::LaunchDarkly {
        let parts = state.as_object().into_iter().flatten();
        let patch = parts.map(|(part, value)| {
            let at = format!("/environments/{}/{part}", server.environment);
            json!({ "op": "replace", "path": at, "value": value })
        });
        return vec![curl("PATCH", &server.token, &url, Some(&patch.collect()))];
    }
    let strategies = state.get("strategies").and_then(Value::as_array);
    let put = |strategy: &Value| {
        let id = strategy.get("id").and_then(Value::as_str).unwrap_or("ID");
        curl("PUT", &server.token, &format!("{url}/strategies/{id}"), Some(strategy))
    };
    let mut commands: Vec<String> = strategies.into_iter().flatten().map(put).collect();
    let on = state.get("enabled") == Some(&Value::Bool(true));
    let switch = format!("{url}/{}", if on { "on" } else { "off" });
    commands.push(curl("POST", &server.token, &switch, None));
    if on {
        commands.push("# delete a strategy that `on` added".to_owned());
    }
    commands
}

/// What asks every endpoint, for the first flag and context.
fn asked(wish: &Wish) -> Vec<String> {
    let Some(prove) = &wish.prove else { return Vec::new() };
    let ask = |flag: &String| {
        prove.endpoints.iter().map(|endpoint| question(prove, endpoint, flag)).collect::<Vec<_>>()
    };
    wish.flags.iter().flat_map(ask).collect()
}

fn question(prove: &Prove, endpoint: &Endpoint, flag: &str) -> String {
    let url = endpoint.url.trim_end_matches('/');
    let context = prove.contexts.first().cloned().unwrap_or_default();
    let key = |header: &str, reference: &Option<SecretRef>| {
        let header = reference.as_ref().map(|key| format!(" -H \"{header}{}\"", fetched(key)));
        header.unwrap_or_default()
    };
    let (path, body, keys) = match endpoint.kind {
        EndpointKind::Ofrep => (
            format!("{url}/ofrep/v1/evaluate/flags/{flag}"),
            json!({ "context": context }),
            key("X-API-Key: ", &endpoint.api_key)
                + &key("Authorization: Bearer ", &endpoint.bearer),
        ),
        EndpointKind::Unleash => (
            format!("{url}/api/admin/playground"),
            json!({ "environment": endpoint.environment, "projects": [endpoint.project],
                "context": { "appName": "backout", "userId": context.get("targetingKey") } }),
            key("Authorization: ", &endpoint.api_key),
        ),
    };
    format!(
        "curl -sS -X POST{keys} -H 'Content-Type: application/json' --data-raw {} {}  # {}",
        quoted(&body.to_string()),
        quoted(&path),
        endpoint.name
    )
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
