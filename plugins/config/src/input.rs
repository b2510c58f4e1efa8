//! What `config.restore` takes, and what can be said of it without looking.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use backout_plugin_api::web::Access;
use backout_plugin_api::words::{has_expression, problem};
use backout_plugin_api::{Checked, Guarantee, SecretRef, TargetId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::is_url;

/// Files of one folder: each is an effect of its own, and a record names each.
pub(crate) const FILES_MAX: usize = 1_000;

/// A list of digests, as `sha256sum` writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Manifest {
    /// Where it is: a file, or `http(s)://…`.
    pub(crate) from: String,
    /// The SHA-256 of the list itself, so that it pins every file of the folder.
    pub(crate) sha256: String,
}

/// What `config.restore` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreInput {
    /// The file that is put back, or the folder whose files are.
    pub(crate) path: String,
    /// For a file: the SHA-256 that it shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// For a folder: the SHA-256 of each file, by its path inside.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, String>,
    /// For a folder, in place of `files`: a list in the form of `sha256sum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Manifest>,
    /// For a file: that it shall not be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) absent: bool,
    /// For a folder: whether files that the digests do not cover are taken away, but for hidden ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) remove_unlisted: bool,
    /// Where the content is: a file or a folder, or `http(s)://…`. `{path}` stands for a file's path
    /// inside the folder and `{sha256}` for its digest; without either, a folder's files are
    /// looked for under their path: `"/srv/releases/1.4.2/config"`, `"https://store/{sha256}"`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
    /// Headers for a store, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers for a store whose values are secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) secret_headers: BTreeMap<String, SecretRef>,
    /// A secret token for a store, sent as `Authorization: Bearer …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bearer: Option<SecretRef>,
}

impl RestoreInput {
    pub(crate) fn access(&self) -> Access {
        Access {
            headers: self.headers.clone(),
            secret_headers: self.secret_headers.clone(),
            bearer: self.bearer.clone(),
        }
    }

    pub(crate) fn check(&self) -> Checked {
        let mut checked = Checked { guarantee: Some(Guarantee::Conditional), ..Checked::default() };
        self.check_what(&mut checked);
        self.check_digests(&mut checked);
        for (at, from) in self.sources().filter(|(_, from)| is_url(from)) {
            self.access().check(&mut checked, at, &filled(from));
        }
        if !has_expression(&self.path) {
            if Path::new(&self.path).is_absolute() {
                checked.targets.push(TargetId::new(format!("file:{}", self.path)));
            } else {
                let help = "begin it with `/`: nobody knows where an engine runs";
                problem(&mut checked, "/path", "this path is not absolute", help);
            }
        }
        checked
    }

    fn sources(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let manifest = self.manifest.iter().map(|manifest| ("/manifest/from", &manifest.from));
        std::iter::once(("/from", &self.from)).chain(manifest)
    }

    fn check_what(&self, checked: &mut Checked) {
        let given =
            [self.sha256.is_some(), !self.files.is_empty(), self.manifest.is_some(), self.absent];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let help = "`sha256` for a file, `files` or `manifest` for a folder";
            problem(checked, "/sha256", "one digest to go back to is wanted", help);
        }
        if self.from.is_empty() != self.absent {
            let help = "`from` says where the content is; with `absent` there is none";
            problem(checked, "/from", "content is wanted from somewhere", help);
        }
        if self.remove_unlisted && (self.sha256.is_some() || self.absent) {
            let help = "leave it out, or name the folder";
            problem(checked, "/remove_unlisted", "one file has no others", help);
        }
        if self.files.len() > FILES_MAX {
            let message = format!("more than FILES_MAX ({FILES_MAX}) files");
            problem(checked, "/files", message, "make steps of its folders");
        }
        for path in self.files.keys().filter(|path| !is_inside(path)) {
            let at = format!("/files/{path}");
            problem(checked, &at, "this does not stay inside the folder", "write `conf.d/a.toml`");
        }
    }

    fn check_digests(&self, checked: &mut Checked) {
        let one = self.sha256.iter().map(|sha256| ("/sha256".to_owned(), sha256));
        let manifest = self.manifest.iter();
        let manifest = manifest.map(|list| ("/manifest/sha256".to_owned(), &list.sha256));
        let files = self.files.iter().map(|(path, sha256)| (format!("/files/{path}"), sha256));
        for (at, sha256) in one.chain(manifest).chain(files) {
            if !has_expression(sha256) && !is_digest(sha256) {
                let help = "64 digits of lower-case hex, as `sha256sum` prints them";
                problem(checked, &at, "this is no SHA-256", help);
            }
        }
    }
}

/// With something in the place of what is filled in per file, so that a URL can be read.
fn filled(from: &str) -> String {
    from.replace("{path}", "path").replace("{sha256}", "sha256")
}

pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a path stays inside the folder that it is put under.
pub(crate) fn is_inside(text: &str) -> bool {
    let parts = || text.split('/');
    !text.is_empty()
        && !text.contains('\0')
        && parts().all(|part| !part.is_empty())
        && Path::new(text).components().count() == parts().count()
        && Path::new(text).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn problems(input: Value) -> Vec<String> {
        let input: RestoreInput = serde_json::from_value(input).unwrap();
        input.check().problems.into_iter().map(|problem| problem.at).collect()
    }

    #[test]
    fn one_digest_is_wanted_and_paths_stay_inside() {
        let sha = "0".repeat(64);
        let none = Vec::<String>::new();
        assert_eq!(problems(json!({"path": "/a", "sha256": sha, "from": "/b"})), none);
        let store = "https://store/{sha256}";
        assert_eq!(problems(json!({"path": "/a", "files": {"x/y": sha}, "from": store})), none);
        assert_eq!(problems(json!({"path": "/a", "absent": true})), none);
        assert_eq!(problems(json!({"path": "/a", "from": "/b"})), ["/sha256"]);
        assert_eq!(problems(json!({"path": "/a", "sha256": sha})), ["/from"]);
        assert_eq!(
            problems(json!({"path": "a", "sha256": "0", "from": "/b"})),
            ["/sha256", "/path"]
        );
        let outside = json!({"path": "/a", "files": {"../y": sha}, "from": "/b"});
        assert_eq!(problems(outside), ["/files/../y"]);
    }

    proptest! {
        #[test]
        fn what_is_inside_stays_inside(text in "[a./\\x00]{0,8}") {
            if is_inside(&text) {
                let joined = Path::new("/root").join(&text);
                prop_assert!(joined.starts_with("/root"));
                prop_assert!(!text.split('/').any(|part| part == ".."));
            }
        }
    }
}
