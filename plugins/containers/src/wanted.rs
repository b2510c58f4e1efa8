//! The image that is wanted: what it is, whether it is here or can be had, and what it changes.

use std::collections::BTreeSet;

use backout_plugin_api::{Hazard, PrepareFailure};
use bollard::models::ImageConfig;

use crate::host::{Container, Credentials, Host, HostError, Image, is_ended};
use crate::place::{Maker, is_aside};
use crate::reference::{Reference, repository};

/// The labels by which containers of one service know each other.
const SERVICE_LABELS: [&str; 2] = ["com.docker.compose.project", "com.docker.compose.service"];

/// An image, found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// By what name the engine is asked for it.
    pub(crate) name: String,
    /// As it is here; nothing where it must be pulled.
    pub(crate) image: Option<Image>,
    pub(crate) hazards: Vec<Hazard>,
    /// How it was found, where the person did not name it.
    pub(crate) because: Option<String>,
}

fn refuse(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

fn hazard(code: &str, text: String) -> Hazard {
    Hazard { code: code.to_owned(), text }
}

impl Wanted {
    /// Finds the image that `reference` names for a replica.
    ///
    /// # Errors
    /// It cannot be had, runs elsewhere only, or nobody knows which one it is.
    pub(crate) async fn find(
        host: &Host,
        reference: &Reference,
        credentials: &Credentials,
        old: &Container,
    ) -> Result<Self, PrepareFailure> {
        let Some(name) = reference.name() else { return previous(host, old).await };
        let image = host.image(&name).await.map_err(HostError::into_failure)?;
        let mut wanted = Self { name, image, ..Self::default() };
        match (&wanted.image, reference) {
            (Some(image), _) => {
                check_platform(host, &wanted.name, std::slice::from_ref(&image.platform))?;
            }
            (None, Reference::Id(id)) => {
                return Err(refuse(format!(
                    "no image {id} on {}, and an id cannot be pulled: name it by the digest of a \
                     registry",
                    host.address
                )));
            }
            (None, _) => wanted.ask_registry(host, credentials).await?,
        }
        wanted.hazards.extend(moved_tag(host, reference, credentials, &wanted).await);
        Ok(wanted)
    }

    /// It is not here: the registry must have it, now.
    async fn ask_registry(
        &mut self,
        host: &Host,
        credentials: &Credentials,
    ) -> Result<(), PrepareFailure> {
        let name = self.name.clone();
        match host.registry(&name, credentials).await {
            Ok(Some(found)) => {
                let platforms: Vec<_> = found.platforms.into_iter().collect();
                check_platform(host, &name, &platforms)
            }
            Ok(None) => {
                let text = format!(
                    "{name} is not on the machine, and this engine cannot ask the registry for it \
                     without pulling: whether it can be had shows only when it is pulled"
                );
                self.hazards.push(hazard("image-not-looked-for", text));
                Ok(())
            }
            Err(HostError::Silent(reason)) => Err(PrepareFailure::Unreachable { reason }),
            Err(error @ HostError::Answer { .. }) => Err(refuse(format!(
                "the image {name} cannot be had: {error}; look with: docker pull {name}, and at \
                 `registry` for who asks"
            ))),
        }
    }

    /// Whether a container runs this image.
    pub(crate) fn is_of(&self, container: &Container, its_image: Option<&Image>) -> bool {
        match &self.image {
            Some(image) => image.id == container.image_id,
            None => its_image.is_some_and(|image| image.digests.contains(&self.name)),
        }
    }
}

fn check_platform(host: &Host, name: &str, platforms: &[String]) -> Result<(), PrepareFailure> {
    let fits = |platform: &String| *platform == host.platform;
    if platforms.is_empty() || platforms.iter().any(fits) {
        return Ok(());
    }
    Err(refuse(format!(
        "the image {name} is for {}, and {} runs {}",
        platforms.join(", "),
        host.address,
        host.platform
    )))
}

/// A tag beside the digest is looked at: it may name another image by now.
async fn moved_tag(
    host: &Host,
    reference: &Reference,
    credentials: &Credentials,
    wanted: &Wanted,
) -> Option<Hazard> {
    let Reference::Digest { repository, tag: Some(tag), digest } = reference else { return None };
    let name = format!("{repository}:{tag}");
    let now = if let Ok(Some(found)) = host.registry(&name, credentials).await {
        (found.digest != *digest).then_some(found.digest)?
    } else {
        // Without a registry to ask, the machine's own copy of the tag tells.
        let here = host.image(&name).await.ok()??;
        (here.id != wanted.image.as_ref()?.id).then_some(here.id)?
    };
    Some(hazard("tag-moved", format!("the tag {name} names {now} by now, not {digest}")))
}

/// Whether the tag of the running container names another image by now: whoever makes it anew from
/// its file gets that one.
pub(crate) async fn own_tag_moved(host: &Host, old: &Container) -> Option<Hazard> {
    let name = &old.image_name;
    if name.contains('@') || name.starts_with("sha256:") || name.is_empty() {
        return None;
    }
    let here = host.image(name).await.ok()??;
    (here.id != old.image_id).then(|| {
        let text = format!(
            "{} was made from {name}, which names {} by now: whoever makes it anew from its file \
             gets that one",
            old.name, here.id
        );
        hazard("tag-moved", text)
    })
}

/// The image before the running one, where the machine tells it for sure: a container of the same
/// service that ended last, or the only other image of the repository.
async fn previous(host: &Host, old: &Container) -> Result<Wanted, PrepareFailure> {
    if let Some(maker) = Maker::of(old) {
        return Err(refuse(format!(
            "{} was put there by Backout (run {}), so the one before it is what was rolled back: \
             name the image by digest",
            old.name, maker.run
        )));
    }
    let mut because = String::new();
    let mut found = BTreeSet::new();
    if let Some(ended) = last_ended(host, old).await.map_err(HostError::into_failure)? {
        because = format!("container {} of the same service ran it last", ended.name);
        found = BTreeSet::from([ended.image_id]);
    } else if let Some(repository) = repository(&old.image_name) {
        because = format!("it is the only other image of {repository} on the machine");
        found = host.images_of(repository).await.map_err(HostError::into_failure)?;
        found.remove(&old.image_id);
    }
    let mut ids = found.into_iter();
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return Err(refuse(format!(
            "nothing here tells for sure what {} ran before: name the image by digest; see: docker \
             images --digests",
            old.name
        )));
    };
    let image = host.image(&id).await.map_err(HostError::into_failure)?;
    let image = image.ok_or_else(|| refuse(format!("the image {id} is no more on the machine")))?;
    check_platform(host, &id, std::slice::from_ref(&image.platform))?;
    let name = image.digests.first().cloned().unwrap_or_else(|| image.id.clone());
    Ok(Wanted { name, image: Some(image), hazards: Vec::new(), because: Some(because) })
}

/// The container of the same service, of another image, that ended last.
async fn last_ended(host: &Host, old: &Container) -> Result<Option<Container>, HostError> {
    let labels = old.labels.iter().filter(|(name, _)| SERVICE_LABELS.contains(&name.as_str()));
    let labels: std::collections::BTreeMap<_, _> =
        labels.map(|(name, value)| (name.clone(), value.clone())).collect();
    if labels.len() < SERVICE_LABELS.len() {
        return Ok(None);
    }
    let all = host.with_labels(&labels).await?;
    Ok(all
        .into_iter()
        .filter(|it| is_ended(&it.status) && it.image_id != old.image_id && !is_aside(it))
        .max_by_key(|it| it.finished_at))
}

/// What differs between what two images set for their containers. Of environment variables only the
/// names: values may be secrets.
pub(crate) fn differences(old: &ImageConfig, new: &ImageConfig) -> Vec<String> {
    let listed = [
        ("command", words(old.cmd.as_deref()), words(new.cmd.as_deref())),
        ("entrypoint", words(old.entrypoint.as_deref()), words(new.entrypoint.as_deref())),
        ("ports", sorted(old.exposed_ports.as_deref()), sorted(new.exposed_ports.as_deref())),
        ("volumes", sorted(old.volumes.as_deref()), sorted(new.volumes.as_deref())),
        ("user", text(old.user.as_deref()), text(new.user.as_deref())),
        ("working directory", text(old.working_dir.as_deref()), text(new.working_dir.as_deref())),
        ("stop signal", text(old.stop_signal.as_deref()), text(new.stop_signal.as_deref())),
        ("health check", check(old), check(new)),
    ];
    let differ = listed.into_iter().filter(|(_, old, new)| old != new);
    let lines = differ.map(|(what, old, new)| format!("image {what}: {old} -> {new}"));
    lines.chain(environment(old, new)).collect()
}

fn text(text: Option<&str>) -> String {
    format!("`{}`", text.unwrap_or_default())
}

fn words(words: Option<&[String]>) -> String {
    format!("[{}]", words.unwrap_or_default().join(" "))
}

fn sorted(all: Option<&[String]>) -> String {
    let mut all = all.unwrap_or_default().to_vec();
    all.sort();
    words(Some(&all))
}

fn check(config: &ImageConfig) -> String {
    let check = config.healthcheck.as_ref().and_then(|check| check.test.as_deref());
    words(check)
}

fn environment(old: &ImageConfig, new: &ImageConfig) -> Vec<String> {
    let pairs = |config: &ImageConfig| -> std::collections::BTreeMap<String, String> {
        let env = config.env.iter().flatten();
        env.filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let (old, new) = (pairs(old), pairs(new));
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let changed = names.into_iter().filter_map(|name| match (old.get(name), new.get(name)) {
        (Some(_), None) => Some(format!("image environment: {name} is no more set")),
        (None, Some(_)) => Some(format!("image environment: {name} is set")),
        (old, new) if old != new => Some(format!("image environment: {name} has another value")),
        _ => None,
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_variables_and_never_tell_a_value() {
        let env = |pairs: &[&str]| ImageConfig {
            env: Some(pairs.iter().map(|&pair| pair.to_owned()).collect()),
            cmd: Some(vec!["/app".into()]),
            ..ImageConfig::default()
        };
        let old = env(&["A=hidden1", "B=hidden2", "C=hidden3"]);
        let new =
            ImageConfig { user: Some("app".into()), ..env(&["A=hidden1", "C=hidden4", "D=x"]) };
        let lines = differences(&old, &new);
        let wanted = [
            "image user: `` -> `app`",
            "image environment: B is no more set",
            "image environment: C has another value",
            "image environment: D is set",
        ];
        assert_eq!(lines, wanted);
        assert_eq!(differences(&old, &old), Vec::<String>::new());
    }
}
