//! The input of `exec.run`, and what can be said of it without looking.

use std::collections::BTreeMap;

use backout_plugin_api::{Checked, Guarantee, InputProblem, SecretRef, check_reference};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The prefix of the variables that the engine sets.
const OWN_PREFIX: &str = "BACKOUT_";

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The program and its arguments. No shell reads them: a shell is a program like another,
    /// `["sh", "-c", "…"]`.
    pub command: Vec<String>,

    /// A command that tells whether the effect is made: exit status 0 is done, 1 is not done,
    /// anything else is unknown. It must change nothing: it also runs in a plan, before the
    /// command, and after it. With it the step is `probed`, without it `manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Vec<String>>,

    /// More variables of the environment, by name. The engine's own environment is passed on
    /// besides, with `BACKOUT_RUN`, `BACKOUT_STEP`, `BACKOUT_ATTEMPT`, `BACKOUT_KEY`,
    /// `BACKOUT_EPOCH` and `TRACEPARENT`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,

    /// Variables whose values are secrets, by name. They reach the command and nothing else; where
    /// the command prints one, `***` is kept instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, SecretRef>,

    /// The folder to run in. Without it, the engine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,

    /// The command that puts back what this one did. With it the step's reversibility is `exact`,
    /// by the author's word; without it there is no way back. It gets the same `env`, `secret_env`
    /// and `cwd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Vec<String>>,

    /// Whether the author says that the command changes nothing. Then it may be repeated freely.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,

    /// What of stdout later steps may use.
    #[serde(default, skip_serializing_if = "Keep::is_default")]
    pub output: Keep,
}

/// What of stdout becomes the step's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Keep {
    /// Its last 16 KiB as `stdout`, without white space around it; where its last line is a JSON
    /// object, that also as `json`.
    #[default]
    Stdout,
    /// Nothing but `exit_status`.
    Nothing,
}

impl Keep {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Input {
    /// What holds for it.
    pub(crate) fn guarantee(&self) -> Guarantee {
        match (self.read_only, &self.settle) {
            (true, _) => Guarantee::ReadOnly,
            (false, Some(_)) => Guarantee::Probed,
            (false, None) => Guarantee::Manual,
        }
    }

    /// The commands, each with where it stands.
    fn commands(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let settle = self.settle.iter().map(|command| ("/settle", command));
        let revert = self.revert.iter().map(|command| ("/revert", command));
        std::iter::once(("/command", &self.command)).chain(settle).chain(revert)
    }
}

/// What can be said without looking. An input that does not parse yet, for an expression in the
/// place of a list, is not spoken of.
pub(crate) fn check(input: &Value) -> Checked {
    let Ok(input) = Input::deserialize(input) else { return Checked::default() };
    let mut checked = Checked { guarantee: Some(input.guarantee()), ..Checked::default() };
    for (at, command) in input.commands() {
        check_command(&mut checked, at, command, input.cwd.is_some());
    }
    check_environment(&mut checked, &input);
    if input.read_only && (input.settle.is_some() || input.revert.is_some()) {
        checked.problems.push(problem(
            "/read_only",
            "a read-only command has nothing to settle or to revert",
            "leave out `settle` and `revert`, or `read_only`",
        ));
    }
    checked
}

fn check_command(checked: &mut Checked, at: &str, command: &[String], has_cwd: bool) {
    let Some(program) = command.first().filter(|program| !program.is_empty()) else {
        let help = "write the program and its arguments: [\"systemctl\", \"restart\", \"shop\"]";
        checked.problems.push(problem(at, "the command is empty", help));
        return;
    };
    if let Some(index) = command.iter().position(|part| part.contains('\0')) {
        let at = format!("{at}/{index}");
        checked.problems.push(problem(
            &at,
            "a zero byte cannot be passed to a program",
            "remove it",
        ));
    }
    if !has_cwd && program.contains('/') && !program.starts_with('/') && !has_expression(program) {
        checked.warnings.push(problem(
            &format!("{at}/0"),
            "the program is looked for from the folder in which the engine was started",
            "give its full path, or a `cwd`",
        ));
    }
    if let Some(index) = shell_text(command).filter(|&index| has_expression(&command[index])) {
        checked.warnings.push(problem(
            &format!("{at}/{index}"),
            "a value inserted into shell text is read as shell text",
            "pass it by `env`, and write \"$NAME\" in the text",
        ));
    }
}

/// Where the text stands that a shell will read, in `sh -c TEXT` and its like.
fn shell_text(command: &[String]) -> Option<usize> {
    const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];
    let program = command.first()?.rsplit('/').next()?;
    let option =
        |part: &String| part.starts_with('-') && !part.starts_with("--") && part.ends_with('c');
    let flag = command.iter().position(option)?;
    (SHELLS.contains(&program) && flag + 1 < command.len()).then_some(flag + 1)
}

/// Whether an expression is still to be filled in; `$${` is a literal.
fn has_expression(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

fn check_environment(checked: &mut Checked, input: &Input) {
    let plain = input.env.keys().map(|name| ("env", name));
    let secret = input.secret_env.keys().map(|name| ("secret_env", name));
    for (field, name) in plain.chain(secret) {
        let at = format!("/{field}/{name}");
        if name.is_empty() || name.contains(['=', '\0']) {
            let help = "use letters, digits and `_`";
            checked.problems.push(problem(&at, "no variable can have this name", help));
        } else if name.starts_with(OWN_PREFIX) {
            let message = format!("names that begin with `{OWN_PREFIX}` are the engine's own");
            checked.problems.push(problem(&at, &message, "choose another name"));
        }
    }
    for (name, reference) in &input.secret_env {
        let at = format!("/secret_env/{name}");
        if input.env.contains_key(name) {
            let message = format!("`{name}` stands in `env` too");
            checked.problems.push(problem(&at, &message, "keep one of them"));
        }
        if let Err(error) = check_reference(&reference.0) {
            let help = "name where the secret is; its value never stands in a runbook";
            checked.problems.push(problem(&at, &error.reason, help));
        }
    }
}

fn problem(at: &str, message: &str, help: &str) -> InputProblem {
    InputProblem { at: at.to_owned(), message: message.to_owned(), help: Some(help.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_problem(input: &Value, at: &str) {
        let checked = check(input);
        assert!(checked.problems.iter().any(|p| p.at == at), "{input} gave {checked:?}");
    }

    fn check_warning(input: &Value, at: &str) {
        let checked = check(input);
        assert!(checked.warnings.iter().any(|p| p.at == at), "{input} gave {checked:?}");
    }

    #[test]
    fn finds_what_is_wrong() {
        check_problem(&json!({"command": []}), "/command");
        check_problem(&json!({"command": [""]}), "/command");
        check_problem(&json!({"command": ["a\u{0}"]}), "/command/0");
        check_problem(&json!({"command": ["a"], "settle": []}), "/settle");
        check_problem(&json!({"command": ["a"], "env": {"A=B": "x"}}), "/env/A=B");
        check_problem(&json!({"command": ["a"], "env": {"BACKOUT_RUN": "x"}}), "/env/BACKOUT_RUN");
        check_problem(&json!({"command": ["a"], "secret_env": {"T": "hunter2"}}), "/secret_env/T");
        let both = json!({"command": ["a"], "env": {"T": "x"}, "secret_env": {"T": "env:T"}});
        check_problem(&both, "/secret_env/T");
        let both = json!({"command": ["a"], "read_only": true, "revert": ["b"]});
        check_problem(&both, "/read_only");
    }

    #[test]
    fn warns_of_what_is_doubtful() {
        check_warning(&json!({"command": ["bash", "-ec", "rm ${params.x}"]}), "/command/2");
        check_warning(&json!({"command": ["bin/x"]}), "/command/0");
        let fine = json!({"command": ["sh", "-c", "echo $${HOME} $1", "sh", "${params.x}"]});
        assert!(check(&fine).warnings.is_empty());
        assert!(check(&json!({"command": ["bin/x"], "cwd": "/srv"})).warnings.is_empty());
    }

    #[test]
    fn tells_the_guarantee() {
        let of = |input: Value| check(&input).guarantee;
        assert_eq!(of(json!({"command": ["a"]})), Some(Guarantee::Manual));
        assert_eq!(of(json!({"command": ["a"], "settle": ["b"]})), Some(Guarantee::Probed));
        assert_eq!(of(json!({"command": ["a"], "read_only": true})), Some(Guarantee::ReadOnly));
        assert_eq!(of(json!({"command": "${params.list}"})), None);
    }
}
