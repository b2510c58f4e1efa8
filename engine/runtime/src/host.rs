//! The plugins by the names of their actions, and what they are given.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use backout_core::id::ActionName;
use backout_plugin_api::{Action, SecretSource};

/// The actions that this binary knows.
#[derive(Clone)]
pub struct Host {
    actions: BTreeMap<ActionName, Arc<dyn Action>>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("actions", &self.actions.keys()).finish_non_exhaustive()
    }
}

impl Host {
    /// A host of these actions, each under its manifest's name.
    pub fn new(actions: Vec<Arc<dyn Action>>, secrets: Arc<dyn SecretSource>) -> Self {
        let actions = actions.into_iter().map(|action| (action.manifest().name, action)).collect();
        Self { actions, secrets }
    }

    /// The action of a name.
    pub fn find(&self, name: &ActionName) -> Option<&Arc<dyn Action>> {
        self.actions.get(name)
    }

    /// All actions, by name.
    pub fn all(&self) -> impl Iterator<Item = (&ActionName, &Arc<dyn Action>)> {
        self.actions.iter()
    }
}
