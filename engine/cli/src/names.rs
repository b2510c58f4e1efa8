//! A run by any unique prefix of its name, or `latest`.

use backout_core::id::RunId;

use crate::exit::Failure;

/// The word for the run that was created last.
pub(crate) const LATEST: &str = "latest";
/// Names that are listed where a prefix is not unique.
const LISTED_MAX: usize = 8;

/// The run that a text names. `latest` tells which was created last; it is asked only if needed.
pub(crate) fn resolve(
    text: &str,
    runs: &[RunId],
    latest: impl FnOnce() -> Option<RunId>,
) -> Result<RunId, Failure> {
    if text == LATEST {
        return latest().ok_or_else(|| missing("there is no run in this store".to_owned()));
    }
    let wanted = text.to_ascii_lowercase();
    let found: Vec<&RunId> = runs.iter().filter(|run| run.as_str().starts_with(&wanted)).collect();
    match found.as_slice() {
        _ if wanted.is_empty() => Err(missing("an empty name is no run".to_owned())),
        [] => Err(missing(format!("no run is called `{text}`"))),
        [run] => Ok((*run).clone()),
        several => several
            .iter()
            .find(|run| run.as_str() == wanted)
            .map(|run| (*run).clone())
            .ok_or_else(|| ambiguous(text, several)),
    }
}

fn missing(message: String) -> Failure {
    Failure::NoSuchRun { message, help: Some("`backout status` lists the runs".to_owned()) }
}

fn ambiguous(text: &str, found: &[&RunId]) -> Failure {
    let names: Vec<&str> = found.iter().take(LISTED_MAX).map(|run| run.as_str()).collect();
    let more = if found.len() > LISTED_MAX { ", …" } else { "" };
    Failure::NoSuchRun {
        message: format!("`{text}` names {} runs: {}{more}", found.len(), names.join(", ")),
        help: Some("type one more character".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn runs() -> Vec<RunId> {
        ["3fa0000000", "3fb0000000", "9zz0000000"].map(RunId::from).to_vec()
    }

    #[test]
    fn a_unique_prefix_names_a_run() {
        assert_eq!(resolve("9", &runs(), || None).unwrap(), RunId::from("9zz0000000"));
        assert_eq!(resolve("3FA", &runs(), || None).unwrap(), RunId::from("3fa0000000"));
        assert_eq!(resolve(LATEST, &runs(), || runs().pop()).unwrap(), RunId::from("9zz0000000"));
    }

    #[test]
    fn anything_else_is_no_such_run() {
        for text in ["3f", "x", "", LATEST] {
            let failure = resolve(text, &runs(), || None).unwrap_err();
            assert_eq!(failure.exit(), Exit::NoSuchRun, "{text}");
        }
        let failure = resolve("3f", &runs(), || None).unwrap_err();
        assert_eq!(failure.to_string(), "`3f` names 2 runs: 3fa0000000, 3fb0000000");
    }
}
