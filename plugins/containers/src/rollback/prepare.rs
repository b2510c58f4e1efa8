//! What `prepare` of a rollback finds.

use std::collections::BTreeMap;

use backout_plugin_api::{
    Context, Guarantee, Hazard, Image, PrepareFailure, Prepared, PreparedEffect, Reversibility,
    Satisfied, TargetId, hex,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::data::{DATA_VERSION, Data, Source};
use super::work::no_image;
use crate::credentials;
use crate::host::{
    Container, Credentials, Endpoint, Health, Host, HostError, Image as HostImage, Restart, short,
};
use crate::input::{Overlap, RollbackInput, Select};
use crate::place::Maker;
use crate::reference::Reference;
use crate::select::{running, select};
use crate::wanted::{Wanted, differences, own_tag_moved};

/// How long we count on it that nobody removes a container that bears our mark: what is set aside
/// is removed by the tidying of a closed run, and a run that stands still for a month is dead.
const REMEMBERED_MS: u64 = 30 * 24 * 3600 * 1000;
/// How long a replaced container may take to look healthy again after its networks were joined.
const CONVERGE_MS: u64 = 15_000;
/// Networks that the engine makes by itself; they know no aliases, and a container is in them
/// without being connected.
const OWN_NETWORKS: [&str; 4] = ["bridge", "podman", "host", "none"];

/// What takes the place of every replica.
enum Wish {
    Image(Reference, Credentials),
    Kept(Container),
}

/// Looks at every replica.
pub(super) async fn prepare(
    ctx: &Context,
    host: &Host,
    input: &RollbackInput,
) -> Result<Prepared, PrepareFailure> {
    let by = Select::new(input.container.as_ref(), &input.labels, input.compose.as_ref())
        .map_err(refuse)?;
    let (replicas, mut hazards) = match running(select(host, &by).await?, &by) {
        (replicas, _) if replicas.is_empty() => {
            return Err(refuse(format!("no {by} runs on {}", host.address)));
        }
        (replicas, hazard) => (replicas, Vec::from_iter(hazard)),
    };
    let wish = wish(ctx, host, input).await?;
    let mut effects = Vec::new();
    for (index, old) in replicas.iter().enumerate() {
        let mut effect = replica(ctx, host, input, &wish, old).await?;
        effect.wave = u32::try_from(index).unwrap_or(0) / input.max_unavailable.max(1);
        effects.push(effect);
    }
    hazards.dedup();
    let lock = |old: &Container| TargetId::new(format!("{}/{}", host.identity, old.name));
    Ok(Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Keyed,
        remembered_ms: Some(REMEMBERED_MS),
        locks: replicas.iter().map(lock).collect(),
        effects,
        hazards,
        gate: None,
        converge_ms: CONVERGE_MS,
        seen: json!({
            "engine": host.identity,
            "replicas": replicas.iter().map(seen).collect::<Vec<_>>(),
        }),
    })
}

fn refuse(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

fn seen(old: &Container) -> Value {
    json!({
        "container": old.name,
        "id": old.id,
        "image": old.image_name,
        "image_id": old.image_id,
        "status": old.status,
    })
}

async fn wish(ctx: &Context, host: &Host, input: &RollbackInput) -> Result<Wish, PrepareFailure> {
    let Some(restore) = &input.restore else {
        let image = input.image.as_deref().unwrap_or_default();
        let reference = Reference::parse(image).map_err(refuse)?;
        let credentials = credentials(ctx, input.registry.as_ref()).await.map_err(refuse)?;
        return Ok(Wish::Image(reference, credentials));
    };
    let kept = host.container(restore).await.map_err(HostError::into_failure)?;
    kept.map(Wish::Kept).ok_or_else(|| {
        refuse(format!("no container {restore} is kept on {}; see: docker ps -a", host.address))
    })
}

async fn replica(
    ctx: &Context,
    host: &Host,
    input: &RollbackInput,
    wish: &Wish,
    old: &Container,
) -> Result<PreparedEffect, PrepareFailure> {
    match wish {
        Wish::Kept(kept) => restore(host, input, kept, old),
        Wish::Image(Reference::Previous, _) if is_ours(ctx, old) => Ok(done(host, old)),
        Wish::Image(reference, credentials) => {
            let wanted = Wanted::find(host, reference, credentials, old).await?;
            let image = host.image(&old.image_id).await.map_err(HostError::into_failure)?;
            if wanted.is_of(old, image.as_ref()) && is_well(old) {
                return Ok(done(host, old));
            }
            let image = image.ok_or_else(|| refuse(no_image(&old.name, &old.image_id)))?;
            replace(host, input, old, &image, wanted).await
        }
    }
}

/// Whether this very step put it there: then it is the one before, already.
fn is_ours(ctx: &Context, old: &Container) -> bool {
    Maker::of(old).is_some_and(|maker| {
        maker.run == ctx.run.as_str() && maker.step == ctx.step.as_str() && is_well(old)
    })
}

fn is_well(old: &Container) -> bool {
    old.is_running && old.health != Health::Unhealthy
}

/// The replica is as wanted: nothing is to be done.
fn done(host: &Host, old: &Container) -> PreparedEffect {
    PreparedEffect {
        title: format!("{}: {} already", old.name, image_words(&old.image_name, &old.image_id)),
        wave: 0,
        satisfied: Satisfied::Yes,
        before: before(host, old),
        wanted: Image::Plain(json!({ "image_id": old.image_id })),
        difference: Vec::new(),
        reversibility: Reversibility::Exact,
        hazards: Vec::new(),
        data: Value::Null,
    }
}

async fn replace(
    host: &Host,
    input: &RollbackInput,
    old: &Container,
    old_image: &HostImage,
    wanted: Wanted,
) -> Result<PreparedEffect, PrepareFailure> {
    let source = Source::Image { name: wanted.name.clone() };
    let data = data(host, input, old, source, networks(old));
    let now = image_words(&old.image_name, &old.image_id);
    let id = wanted.image.as_ref().map(|image| image.id.as_str()).unwrap_or_default();
    let then = image_words(&wanted.name, id);
    let mut difference = vec![format!("{}: {now} -> {then}", old.name)];
    difference.extend(wanted.because.map(|because| format!("{then} is the one before: {because}")));
    match &wanted.image {
        Some(image) => difference.extend(differences(&old_image.config, &image.config)),
        None => difference.push(format!("{} will be pulled", wanted.name)),
    }
    let mut all = wanted.hazards;
    all.extend(own_tag_moved(host, old).await);
    all.extend(hazards(host, old, &data));
    effect(host, old, data, Plan { then, difference, hazards: all })
}

fn restore(
    host: &Host,
    input: &RollbackInput,
    kept: &Container,
    old: &Container,
) -> Result<PreparedEffect, PrepareFailure> {
    if kept.id == old.id {
        if old.is_running {
            return Ok(done(host, old));
        }
        let name = &old.name;
        return Err(refuse(format!(
            "{name} is in its place and does not run: docker start {name}"
        )));
    }
    let restart = input.restart_policy.clone().map_or_else(Restart::never, Restart::from);
    let source = Source::Kept { id: kept.id.clone(), name: kept.name.clone(), restart };
    let networks = networks(kept);
    let data = data(host, input, old, source, networks);
    let now = image_words(&old.image_name, &old.image_id);
    let then = image_words(&kept.image_name, &kept.image_id);
    let line = format!("{}: {now} -> {then}, as kept in {}", old.name, kept.name);
    let hazards = hazards(host, old, &data);
    effect(host, old, data, Plan { then, difference: vec![line], hazards })
}

/// What a person is shown of one replica.
struct Plan {
    then: String,
    difference: Vec<String>,
    hazards: Vec<Hazard>,
}

fn effect(
    host: &Host,
    old: &Container,
    data: Data,
    plan: Plan,
) -> Result<PreparedEffect, PrepareFailure> {
    let mut difference = plan.difference;
    difference.push(way(old, &data));
    let is_kept = !old.auto_remove;
    Ok(PreparedEffect {
        title: format!("{}: {}", old.name, plan.then),
        wave: 0,
        satisfied: Satisfied::No,
        before: before(host, old),
        wanted: Image::Plain(json!({ "image": plan.then })),
        difference,
        reversibility: if is_kept { Reversibility::Exact } else { Reversibility::None },
        hazards: plan.hazards,
        data: serde_json::to_value(data).map_err(|error| refuse(error.to_string()))?,
    })
}

/// How the place is taken, in a line.
fn way(old: &Container, data: &Data) -> String {
    match (old.is_up, data.overlap) {
        (false, _) => format!("{} does not run now", old.name),
        (true, true) => "side by side: the new one is healthy before the old one ends".to_owned(),
        (true, false) => {
            "one after the other: the old one ends before the new one starts".to_owned()
        }
    }
}

/// A container's settings never change under one id, and its environment may hold secrets, so the
/// id and the image stand for all of it.
fn before(host: &Host, old: &Container) -> Image {
    let text = format!("{} {}", old.id, old.image_id);
    Image::Digest {
        sha256: hex(&Sha256::digest(text)),
        at: format!("container {} ({}) on {}", old.name, old.short_id(), host.address),
    }
}

/// An image in words that a person can compare: its name, and the start of its digest or id.
fn image_words(name: &str, id: &str) -> String {
    match (name.split_once("@sha256:"), id) {
        (Some((repository, digest)), _) => format!("{repository}@sha256:{}", short(digest)),
        (None, "") => name.to_owned(),
        (None, id) => {
            let id = short(id.trim_start_matches("sha256:"));
            if name.starts_with("sha256:") {
                format!("image {id}")
            } else {
                format!("{name} ({id})")
            }
        }
    }
}

fn networks(like: &Container) -> BTreeMap<String, Endpoint> {
    let mode = like.host_config().network_mode.unwrap_or_default();
    let is_shared = mode == "host" || mode.starts_with("container:");
    let all = like
        .networks
        .iter()
        .filter(|(name, _)| !is_shared && !OWN_NETWORKS.contains(&name.as_str()));
    all.map(|(name, endpoint)| (name.clone(), endpoint.clone())).collect()
}

fn data(
    host: &Host,
    input: &RollbackInput,
    old: &Container,
    source: Source,
    mut networks: BTreeMap<String, Endpoint>,
) -> Data {
    let overlap = input.overlap == Overlap::Auto && why_not_both(old, &networks).is_none();
    if overlap {
        // While the name goes from one to the other, it is found all the same.
        for endpoint in networks.values_mut() {
            endpoint.aliases.insert(old.name.clone());
        }
    }
    Data {
        engine: host.identity.clone(),
        name: old.name.clone(),
        old: old.id.clone(),
        old_image: old.image_id.clone(),
        source,
        overlap,
        networks,
        restart: old.restart.clone(),
        was_running: old.is_up,
        auto_remove: old.auto_remove,
    }
}

/// Why two such containers cannot run at the same time.
fn why_not_both(old: &Container, networks: &BTreeMap<String, Endpoint>) -> Option<String> {
    let mode = old.host_config().network_mode.unwrap_or_default();
    if mode == "host" {
        return Some("it listens on the machine's own ports".to_owned());
    }
    if mode.starts_with("container:") {
        return Some("it shares the network of another container".to_owned());
    }
    let ports = old.fixed_ports();
    if !ports.is_empty() {
        return Some(format!("port {} of the machine can be had once", ports.join(", ")));
    }
    let fixed =
        networks.values().find_map(|endpoint| endpoint.ipv4.as_ref().or(endpoint.ipv6.as_ref()))?;
    Some(format!("its address {fixed} can be had once"))
}

fn hazards(host: &Host, old: &Container, data: &Data) -> Vec<Hazard> {
    let hazard = |code: &str, text: String| Hazard { code: code.to_owned(), text };
    let name = &old.name;
    let mut found = Vec::new();
    if old.is_up && !data.overlap {
        let why = why_not_both(old, &data.networks).unwrap_or_else(|| "as asked for".to_owned());
        let text =
            format!("{name} is out of service from its end until the new one is healthy: {why}");
        found.push(hazard("gap", text));
    }
    let mounts = old.writable_mounts();
    if old.is_up && data.overlap && !mounts.is_empty() {
        let text = format!(
            "for a moment two containers can write to {}; `overlap: \"never\"` avoids it",
            mounts.join(", ")
        );
        found.push(hazard("shared-writable-mounts", text));
    }
    if old.auto_remove {
        let text = format!("the engine removes {name} when it ends: an undo cannot bring it back");
        found.push(hazard("auto-remove", text));
    }
    if old.restart.revives() && !host.can_set_restart() {
        let text = format!(
            "the kept container has the restart policy `{}`, which this engine cannot change: it may \
             come back when the machine restarts",
            old.restart.name
        );
        found.push(hazard("kept-may-come-back", text));
    }
    found
}
