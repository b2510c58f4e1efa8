//! The command as a person types it.

use backout_plugin_api::{ByHand, SecretRef};

use crate::input::Input;

/// The action in words and commands. A secret stands as the words that fetch it, never as itself.
pub(crate) fn by_hand(input: &Input) -> ByHand {
    ByHand {
        does: does(input),
        commands: vec![line(input, &input.command)],
        verify: vec![verify(input)],
    }
}

fn does(input: &Input) -> String {
    let program = input.command.first().map_or("nothing", String::as_str);
    let folder = input.cwd.as_ref().map_or(String::new(), |cwd| format!(" in {cwd}"));
    let nature = if input.read_only { ", which changes nothing" } else { "" };
    format!("runs `{program}`{folder}{nature}")
}

fn verify(input: &Input) -> String {
    match &input.settle {
        Some(settle) => {
            format!("{}; echo $?   # 0 is done, 1 is not done", line(input, settle))
        }
        None if input.read_only => "echo $?   # 0 is good".to_owned(),
        None => "echo $?   # 0 is done; look at what the command should have changed".to_owned(),
    }
}

/// One line for a POSIX shell.
pub(crate) fn line(input: &Input, command: &[String]) -> String {
    let mut words = Vec::new();
    if !input.env.is_empty() || !input.secret_env.is_empty() {
        words.push("env".to_owned());
    }
    words.extend(input.env.iter().map(|(name, value)| format!("{name}={}", quoted(value))));
    let secrets = input.secret_env.iter();
    words.extend(secrets.map(|(name, reference)| format!("{name}={}", fetched(reference))));
    words.extend(command.iter().map(|part| quoted(part)));
    let line = words.join(" ");
    match &input.cwd {
        Some(cwd) => format!("(cd {} && {line})", quoted(cwd)),
        None => line,
    }
}

fn fetched(reference: &SecretRef) -> String {
    match reference.0.split_once(':') {
        Some(("env", name)) => format!("\"${name}\""),
        Some(("file", path)) => format!("\"$(cat {})\"", quoted(path)),
        Some(("cmd", list)) => match serde_json::from_str::<Vec<String>>(list) {
            Ok(command) => format!("\"$({})\"", all_quoted(&command)),
            Err(_) => quoted(&reference.0),
        },
        _ => quoted(&reference.0),
    }
}

/// A command alone, quoted for a POSIX shell.
pub(crate) fn all_quoted(command: &[String]) -> String {
    command.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(" ")
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:,+@%=".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::process::Command;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["a b", "it's", "$HOME", "", "*", "\"x\"", "back\\slash", "new\nline"];
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let line = format!("printf '%s|' {}", all_quoted(&words));
        let said = Command::new("sh").arg("-c").arg(line).output().unwrap().stdout;
        assert_eq!(String::from_utf8(said).unwrap(), words.join("|") + "|");
    }

    #[test]
    fn a_secret_stands_as_what_fetches_it() {
        let input: Input = serde_json::from_value(json!({
            "command": ["deploy", "old release"], "cwd": "/srv/shop", "settle": ["is-old"],
            "env": {"A": "b c"}, "secret_env": {"T": "env:TOKEN", "U": "cmd:[\"pass\",\"x y\"]"},
        }))
        .unwrap();
        let by_hand = by_hand(&input);
        assert_eq!(
            by_hand.commands,
            ["(cd /srv/shop && env A='b c' T=\"$TOKEN\" U=\"$(pass 'x y')\" deploy 'old release')"]
        );
        assert!(by_hand.verify[0].contains("is-old); echo $?"), "{by_hand:?}");
    }
}
