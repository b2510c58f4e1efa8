//! Names and labels that Backout gives. A name is unique on an engine; a label is not. So what one
//! effect makes is found by a name made from its key, and labels only say more about it.

use std::collections::BTreeMap;

use backout_plugin_api::{EffectKey, Fence, hex};
use sha2::{Digest, Sha256};

use crate::host::Container;

/// Before every name that Backout gives a container that is not in service yet.
const MARK: &str = "backout-";
/// Between a container's own name and the start of the key's digest, once it is out of service.
const KEPT: &str = "-backout-kept-";
/// Hexadecimal digits of the key's digest in a mark: 96 bits, so that no two keys meet.
const MARK_DIGITS: usize = 24;
/// The same in a kept container's name, which a person reads: it stands beside the container's own.
const KEPT_DIGITS: usize = 12;

/// The key of the effect that made the container.
pub(crate) const LABEL_KEY: &str = "io.backout.key";
const LABEL_RUN: &str = "io.backout.run";
const LABEL_STEP: &str = "io.backout.step";
const LABEL_DISPATCH: &str = "io.backout.dispatch";
const LABEL_TOKEN: &str = "io.backout.token";
/// The trace that a container was made in.
const LABEL_TRACE: &str = "io.backout.traceparent";
const LABEL_STORE: &str = "io.backout.store";
const LABEL_REPLACES: &str = "io.backout.replaces";
/// On a seal: the dispatch that can no more be made.
const LABEL_SEAL: &str = "io.backout.seal";

/// The name under which the key's container for a replica is made, and which a seal takes away.
pub(crate) fn mark_name(name: &str, key: &EffectKey) -> String {
    format!("{MARK}{}", digits(own_name(name), key, MARK_DIGITS))
}

/// The name that a container gets when it is out of service and kept for an undo.
pub(crate) fn kept_name(name: &str, key: &EffectKey) -> String {
    // Kept once more, it is kept for another key, but still under its own name.
    let own = own_name(name);
    format!("{own}{KEPT}{}", digits(own, key, KEPT_DIGITS))
}

/// A container's own name, whether it is kept or not.
pub(crate) fn own_name(name: &str) -> &str {
    name.find(KEPT).and_then(|at| name.get(..at)).unwrap_or(name)
}

fn digits(name: &str, key: &EffectKey, count: usize) -> String {
    let mut digest = hex(&Sha256::digest(format!("{name} {key}")));
    digest.truncate(count);
    digest
}

/// Whether a container is one of ours that is not in service: kept, sealed or not ready.
pub(crate) fn is_aside(container: &Container) -> bool {
    container.name.contains(KEPT)
        || (container.name.starts_with(MARK) && container.labels.contains_key(LABEL_KEY))
        || container.name.strip_prefix(MARK).is_some_and(|rest| rest.len() == MARK_DIGITS)
}

/// The dispatch that a seal keeps out; nothing where the container is no seal.
pub(crate) fn sealed_dispatch(container: &Container) -> Option<u32> {
    container.labels.get(LABEL_SEAL)?.parse().ok()
}

/// The labels of a seal.
pub(crate) fn seal_labels(key: &EffectKey, dispatch: u32) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_KEY.to_owned(), key.to_string()),
        (LABEL_SEAL.to_owned(), dispatch.to_string()),
    ])
}

/// Who made a container, by its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maker {
    pub(crate) key: String,
    pub(crate) run: String,
    pub(crate) step: String,
    pub(crate) dispatch: u32,
    pub(crate) token: u64,
    pub(crate) store: String,
    /// The id of the container that it stands in for.
    pub(crate) replaces: String,
}

impl Maker {
    /// What a new container's labels say of the effect that makes it.
    pub(crate) fn new(run: &str, step: &str, key: &EffectKey, fence: &Fence, old: &str) -> Self {
        Self {
            key: key.to_string(),
            run: run.to_owned(),
            step: step.to_owned(),
            dispatch: fence.dispatch,
            token: fence.token.0,
            store: fence.store.clone(),
            replaces: old.to_owned(),
        }
    }

    /// As labels.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.marks().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The same, and the trace that it is made in, for whoever looks at the container.
    pub(crate) fn labels_in(&self, traceparent: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.extend(traceparent.map(|trace| (LABEL_TRACE.to_owned(), trace.to_owned())));
        labels
    }

    fn marks(&self) -> impl Iterator<Item = (&'static str, String)> {
        let pairs = [
            (LABEL_KEY, self.key.clone()),
            (LABEL_RUN, self.run.clone()),
            (LABEL_STEP, self.step.clone()),
            (LABEL_DISPATCH, self.dispatch.to_string()),
            (LABEL_TOKEN, self.token.to_string()),
            (LABEL_STORE, self.store.clone()),
            (LABEL_REPLACES, self.replaces.clone()),
        ];
        pairs.into_iter()
    }

    /// Who made this container; nothing where no effect of ours did.
    pub(crate) fn of(container: &Container) -> Option<Self> {
        let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
        if label(LABEL_KEY).is_empty() || container.labels.contains_key(LABEL_SEAL) {
            return None;
        }
        Some(Self {
            key: label(LABEL_KEY),
            run: label(LABEL_RUN),
            step: label(LABEL_STEP),
            dispatch: label(LABEL_DISPATCH).parse().unwrap_or(0),
            token: label(LABEL_TOKEN).parse().unwrap_or(0),
            store: label(LABEL_STORE),
            replaces: label(LABEL_REPLACES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_key_and_keep_the_containers_own() {
        let (a, b) = (EffectKey::from_text("r/s/1/0"), EffectKey::from_text("r/s/1/1"));
        assert_ne!(mark_name("web", &a), mark_name("web", &b));
        assert_eq!(mark_name("web", &a).len(), MARK.len() + MARK_DIGITS);
        let kept = kept_name("web", &a);
        assert!(kept.starts_with("web-backout-kept-"), "{kept}");
        assert_eq!(own_name(&kept), "web");
        assert_eq!(own_name(&kept_name(&kept, &b)), "web");
        let named = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        assert!(is_aside(&named(&kept)) && is_aside(&named(&mark_name("web", &a))));
        assert!(!is_aside(&named("web")) && !is_aside(&named("backout-engine")));
    }

    #[test]
    fn labels_are_read_back_and_a_seal_made_nothing() {
        let key = EffectKey::from_text("r/s/1/0");
        let fence =
            Fence { store: "st".into(), token: backout_plugin_api::LockToken(7), dispatch: 2 };
        let maker = Maker::new("r", "s", &key, &fence, "old");
        let made = Container { labels: maker.labels(), ..Container::default() };
        assert_eq!(Maker::of(&made), Some(maker));
        assert_eq!(sealed_dispatch(&made), None);
        let seal = Container { labels: seal_labels(&key, 3), ..Container::default() };
        assert_eq!((Maker::of(&seal), sealed_dispatch(&seal)), (None, Some(3)));
    }
}
