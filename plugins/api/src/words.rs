//! Small things that actions say: what is wrong with a field, a word for a shell.

use crate::{Checked, InputProblem, SecretRef};

/// Whether an expression is still to be filled in; `$${` is a literal.
pub fn has_expression(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

/// Notes what is wrong with a field.
pub fn problem(checked: &mut Checked, at: &str, message: impl Into<String>, help: &str) {
    checked.problems.push(InputProblem {
        at: at.to_owned(),
        message: message.into(),
        help: Some(help.to_owned()),
    });
}

/// A text as one word of a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A secret's reference as something that a shell can fetch; for `cmd:` its words are shown.
pub fn fetched(reference: &SecretRef) -> String {
    match reference.0.split_once(':') {
        Some(("env", name)) => format!("${name}"),
        Some(("file", path)) => format!("$(cat {})", quoted(path)),
        _ => format!("$({})", reference.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_fetched_where_they_are() {
        let text = |reference: &str| fetched(&SecretRef(reference.to_owned()));
        assert_eq!(text("env:TOKEN"), "$TOKEN");
        assert_eq!(text("file:/run/it's"), r"$(cat '/run/it'\''s')");
    }

    #[test]
    fn a_literal_is_no_expression() {
        assert!(has_expression("a ${params.x}"));
        assert!(!has_expression("a $${x}"));
    }
}
