//! The plugins by the names of their actions, and what they are given.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use backout_core::id::ActionName;
use backout_plugin_api::{Action, SecretSource};

/// The actions that this binary knows.
#[derive(Clone)]
pub struct Host {
    actions: BTreeMap<ActionName, Hosted>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
}

#[derive(Clone)]
struct Hosted {
    action: Arc<dyn Action>,
    data_versions: &'static [u32],
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("actions", &self.actions.keys()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host of these actions, each under its manifest's name.
    pub fn new(actions: Vec<Arc<dyn Action>>, secrets: Arc<dyn SecretSource>) -> Self {
        let hosted = |action: Arc<dyn Action>| {
            let manifest = action.manifest();
            (manifest.name, Hosted { action, data_versions: manifest.data_versions })
        };
        Self { actions: actions.into_iter().map(hosted).collect(), secrets }
    }

    /// The action of a name.
    pub fn find(&self, name: &ActionName) -> Option<&Arc<dyn Action>> {
        self.actions.get(name).map(|hosted| &hosted.action)
    }

    /// All actions, by name.
    pub fn all(&self) -> impl Iterator<Item = (&ActionName, &Arc<dyn Action>)> {
        self.actions.iter().map(|(name, hosted)| (name, &hosted.action))
    }

    /// The action, where it reads what it prepared in an earlier release.
    ///
    /// # Errors
    /// In words: what this release lacks, and what to do.
    pub fn reads(&self, name: &ActionName, data_version: u32) -> Result<&Arc<dyn Action>, String> {
        let hosted = self.actions.get(name).ok_or_else(|| missing(name))?;
        if hosted.data_versions.contains(&data_version) {
            return Ok(&hosted.action);
        }
        Err(format!(
            "`{name}` was prepared by another release (data version {data_version}; this one reads \
             {:?}): resume with the release that began the run",
            hosted.data_versions
        ))
    }
}

/// What is said of an action that this binary does not have.
pub(crate) fn missing(name: &ActionName) -> String {
    format!("this release has no action `{name}`: resume with the release that began the run")
}
