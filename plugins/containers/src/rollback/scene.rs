//! What stands on the engine, and what is to be done next: computed from names and labels alone, so
//! that going on after a crash is the same as beginning.
//!
//! Side by side, in this order: `Mark`, `Attach`, `Start`, `Await`, `Join`, `Keep`, `Name`, `Stop`,
//! `Quiet`.
//! The new container is found by its aliases only once it is healthy, and the old one ends last.
//!
//! One after the other, where a port or an address cannot be shared: `Mark`, `Attach`, `Stop`,
//! `Start`, `Await`, `Quiet`, `Keep`, `Name`.

use backout_plugin_api::{EffectKey, Fence};

use super::data::{Data, Source};
use crate::host::{Container, Flavor, Health, Host, HostError, short};
use crate::place::{Maker, mark_name, sealed_dispatch};

/// The containers that one effect is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    /// The container that was in service when it was prepared, wherever it is now.
    pub(crate) old: Option<Container>,
    /// What takes its place, once it bears the key's mark.
    pub(crate) new: Option<Container>,
    /// Whoever has the replica's name.
    pub(crate) at_name: Option<Container>,
    /// A kept container that is not marked yet.
    pub(crate) kept: Option<Container>,
    /// The dispatch that a seal keeps out, and the seal's id.
    pub(crate) seal: Option<(u32, String)>,
    /// Whether the engine can change a restart policy.
    pub(crate) can_quiet: bool,
}

/// One request to the engine, or a few that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Remove the seal of an earlier dispatch.
    Unseal,
    /// Make the new container under the key's name, or give the kept one that name.
    Mark,
    /// Connect it to its networks, not to be found yet where the old one still runs.
    Attach,
    Start,
    /// Wait until it is healthy.
    Await,
    /// Let it be found by its aliases.
    Join,
    /// Give a kept container its restart policy back.
    Revive,
    /// Keep the old one from coming back by itself.
    Quiet,
    /// Give the old one the name of what is kept.
    Keep,
    /// Give the new one the replica's name.
    Name,
    /// End the old one.
    Stop,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Do(Step),
    /// The replacement is in service, and the old one is not.
    Done,
    /// Nothing was done, and nothing may be.
    Refuse(String),
    /// It cannot be ended well: put back what was there.
    Abandon(String),
}

/// What this sending saw of the new container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    Nothing,
    /// It started it: one that does not run by now ended by itself.
    Started,
    /// It is healthy.
    Well,
}

impl Scene {
    /// Looks at the engine.
    ///
    /// # Errors
    /// As the engine says.
    pub(crate) async fn look(host: &Host, data: &Data, key: &EffectKey) -> Result<Self, HostError> {
        let at_mark = host.container(&mark_name(&data.name, key)).await?;
        let at_name = host.container(&data.name).await?;
        let old = host.container(&data.old).await?;
        let seal = at_mark.as_ref().and_then(|it| Some((sealed_dispatch(it)?, it.id.clone())));
        let at_mark = at_mark.filter(|_| seal.is_none());
        let (new, kept) = match &data.source {
            Source::Image { .. } => {
                let is_ours =
                    |it: &Container| Maker::of(it).is_some_and(|maker| maker.key == key.as_str());
                (at_mark.or_else(|| at_name.clone()).filter(is_ours), None)
            }
            Source::Kept { id, name, .. } => {
                let found = host.container(id).await?;
                let is_kept = found.as_ref().is_some_and(|it| it.name == *name);
                if is_kept { (None, found) } else { (found, None) }
            }
        };
        let can_quiet = host.flavor == Flavor::Docker;
        Ok(Self { old, new, at_name, kept, seal, can_quiet })
    }

    pub(crate) fn old_runs(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.is_up)
    }
}

/// What is next for this sending.
pub(crate) fn next(scene: &Scene, data: &Data, fence: &Fence, seen: Seen) -> Next {
    match &scene.seal {
        Some((sealed, _)) if *sealed >= fence.dispatch => {
            return Next::Refuse(format!("sending {} was given up and sealed", fence.dispatch));
        }
        Some(_) => return Next::Do(Step::Unseal),
        None => {}
    }
    let Some(new) = &scene.new else { return first(scene, data, fence) };
    let is_later = Maker::of(new).is_some_and(|maker| {
        matches!(data.source, Source::Image { .. }) && maker.dispatch > fence.dispatch
    });
    if is_later {
        return Next::Refuse("a later sending of the same effect is at work".to_owned());
    }
    if new.name == data.name {
        return last(scene, data, new, seen);
    }
    middle(scene, data, new, seen)
}

/// Nothing bears our mark yet: the target must be as it was prepared.
fn first(scene: &Scene, data: &Data, fence: &Fence) -> Next {
    let name = &data.name;
    let Some(old) = &scene.old else {
        let old = short(&data.old);
        return Next::Refuse(format!("container {old}, which was {name}, is gone: plan again"));
    };
    if old.name != *name {
        return Next::Refuse(format!(
            "container {} is no more {name} but {}: plan again",
            old.short_id(),
            old.name
        ));
    }
    let later =
        Maker::of(old).filter(|maker| maker.store == fence.store && maker.token > fence.token.0);
    if let Some(maker) = later {
        return Next::Refuse(format!("{name} was put there by a later holder, run {}", maker.run));
    }
    if let (Source::Kept { id, .. }, None) = (&data.source, &scene.kept) {
        return Next::Refuse(format!("the kept container {} is gone", short(id)));
    }
    Next::Do(Step::Mark)
}

/// The new one is there under our mark, and not in service.
fn middle(scene: &Scene, data: &Data, new: &Container, seen: Seen) -> Next {
    if let Some(other) = scene.at_name.as_ref().filter(|other| other.id != data.old) {
        return Next::Abandon(format!(
            "somebody else's container {} has the name {} now",
            other.short_id(),
            data.name
        ));
    }
    if !data.overlap && scene.old_runs() {
        return Next::Do(Step::Stop);
    }
    if seen == Seen::Nothing && needs_attach(data, new) {
        return Next::Do(Step::Attach);
    }
    if let Some(step) = until_well(new, seen) {
        return Next::Do(step);
    }
    if data.overlap && !hidden_aliases(data, new).is_empty() {
        return Next::Do(Step::Join);
    }
    if let Source::Kept { restart, .. } = &data.source
        && scene.can_quiet
        && new.restart != *restart
    {
        return Next::Do(Step::Revive);
    }
    if scene.old.as_ref().is_some_and(is_shaky) {
        return Next::Do(Step::Stop);
    }
    if comes_back(scene) {
        return Next::Do(Step::Quiet);
    }
    if scene.old.as_ref().is_some_and(|old| old.name == data.name) {
        return Next::Do(Step::Keep);
    }
    Next::Do(Step::Name)
}

/// The new one has the name.
fn last(scene: &Scene, data: &Data, new: &Container, seen: Seen) -> Next {
    if comes_back(scene) {
        return Next::Do(Step::Quiet);
    }
    if !data.overlap || !scene.old_runs() {
        return Next::Done;
    }
    if let Some(step) = until_well(new, seen) {
        return Next::Do(step);
    }
    Next::Do(Step::Stop)
}

/// What is left to do until it is well. It is started once: one that ends is waited for in vain.
fn until_well(new: &Container, seen: Seen) -> Option<Step> {
    match seen {
        Seen::Nothing if !new.is_up => Some(Step::Start),
        Seen::Well if new.is_running => None,
        Seen::Nothing | Seen::Started | Seen::Well => Some(Step::Await),
    }
}

/// Whether it ends again and again: the engine cannot rename a container while it starts it anew, and
/// nobody misses one that is not well.
fn is_shaky(old: &Container) -> bool {
    let is_unwell = !old.is_running || (old.restarts > 0 && old.health != Health::Healthy);
    old.is_up && is_unwell
}

/// Whether the old one ended, and its policy would start it again with the machine. The engine takes no
/// change of one that it is about to start again, so this comes after its end.
fn comes_back(scene: &Scene) -> bool {
    let revives = |old: &Container| !old.is_up && !old.auto_remove && old.restart.revives();
    scene.can_quiet && scene.old.as_ref().is_some_and(revives)
}

/// Whether a network is missing, or it would be found by its aliases before it is healthy.
fn needs_attach(data: &Data, new: &Container) -> bool {
    data.networks.keys().any(|network| !new.networks.contains_key(network))
        || (data.overlap && !new.is_running && !shown_aliases(data, new).is_empty())
}

/// The networks on which it is not to be found by all its aliases yet.
pub(crate) fn hidden_aliases(data: &Data, new: &Container) -> Vec<String> {
    let is_hidden = |network: &&String| {
        let wanted = data.networks.get(*network).map(|endpoint| &endpoint.aliases);
        let has = new.networks.get(*network).map(|endpoint| &endpoint.aliases);
        wanted.is_some_and(|wanted| {
            // The engine shows a container's own name as no alias.
            let mut missing = wanted.iter().filter(|alias| **alias != new.name);
            missing.any(|alias| has.is_none_or(|has| !has.contains(alias)))
        })
    };
    data.networks.keys().filter(is_hidden).cloned().collect()
}

/// The networks on which it is to be found by an alias.
pub(crate) fn shown_aliases(data: &Data, new: &Container) -> Vec<String> {
    let is_shown = |network: &&String| {
        new.networks.get(*network).is_some_and(|endpoint| !endpoint.aliases.is_empty())
    };
    data.networks.keys().filter(is_shown).cloned().collect()
}

#[cfg(test)]
mod tests;
