//! Lists of digests as `sha256sum` writes them: the digest, a space, a space or `*`, the path.

use std::collections::BTreeMap;

use crate::input::{FILES_MAX, is_digest, is_inside};

/// The digest of each file by its path.
///
/// # Errors
/// The line that cannot be read, and why.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    let lines = text.lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let wrong = |why: &str| format!("line {} of the manifest: {why}", at + 1);
        let (sha256, path) = parts(line).ok_or_else(|| wrong("not `DIGEST  PATH`"))?;
        let path = path.strip_prefix("./").unwrap_or(path);
        if !is_inside(path) {
            return Err(wrong("the path does not stay inside the folder"));
        }
        if files.insert(path.to_owned(), sha256.to_owned()).is_some() {
            return Err(wrong("the path stands there twice"));
        }
        if files.len() > FILES_MAX {
            return Err(format!("the manifest names more than FILES_MAX ({FILES_MAX}) files"));
        }
    }
    if files.is_empty() {
        return Err("the manifest names no file".to_owned());
    }
    Ok(files)
}

/// A name with a backslash or a line break is written with a leading backslash; nobody has such.
fn parts(line: &str) -> Option<(&str, &str)> {
    let (sha256, rest) = line.split_once(' ')?;
    let path = rest.strip_prefix([' ', '*'])?;
    is_digest(sha256).then_some((sha256, path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_sha256sum_writes() {
        let sha = "0".repeat(64);
        let text = format!("{sha}  app.toml\n{sha} *./conf.d/a b\n\n");
        let files = read(&text).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["app.toml", "conf.d/a b"]);
        for (text, why) in [
            (String::new(), "no file"),
            (format!("{sha} app"), "line 1"),
            (format!("{sha}  a\n{sha}  ../a"), "line 2"),
            (format!("{sha}  a\n{sha}  ./a"), "twice"),
            (format!("{}  a", "0".repeat(63)), "line 1"),
        ] {
            assert!(read(&text).unwrap_err().contains(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            lines in proptest::collection::vec("([0-9a-f]{64} [ *])?[a-c./ *\\\\]{0,6}", 0..5)
        ) {
            if let Ok(files) = read(&lines.join("\n")) {
                prop_assert!(files.keys().all(|path| is_inside(path)));
                prop_assert!(files.values().all(|sha256| is_digest(sha256)));
            }
        }
    }
}
