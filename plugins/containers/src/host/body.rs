//! What a replacement is made from: everything that was set for the old container, and nothing that
//! came from the old image or the engine, so that the new image's own settings hold.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerConfig, ContainerCreateBody, ContainerInspectResponse, HostConfig, ImageConfig,
    MountPoint, NetworkingConfig,
};

use super::container::{Endpoint, short};
use super::{Container, Flavor};

/// What a new container differs in from the old one.
#[derive(Clone, Debug)]
pub(crate) struct Change<'a> {
    /// By what name the new image is asked for.
    pub(crate) image: &'a str,
    /// What the old image set.
    pub(crate) old_image: &'a ImageConfig,
    /// Labels that are added.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Whether it has its aliases from the first moment on.
    pub(crate) with_aliases: bool,
    pub(crate) flavor: Flavor,
}

/// The request for a container like `old`, but for `change`. Only its first network is in it: an
/// engine before API 1.44 takes no second one here.
pub(crate) fn body(old: &Container, change: &Change<'_>) -> ContainerCreateBody {
    let raw = &old.raw;
    let config = own(raw.config.clone().unwrap_or_default(), change, &old.id);
    let mut host = host(raw, change.flavor);
    let first = first_network(old);
    if change.flavor == Flavor::Podman
        && let Some((name, _)) = &first
    {
        host.network_mode = Some(name.clone());
    }
    let endpoints = first
        .map(|(name, endpoint)| HashMap::from([(name, endpoint.settings(change.with_aliases))]));
    let mut labels = config.labels.unwrap_or_default();
    labels.extend(change.labels.clone());
    ContainerCreateBody {
        hostname: config.hostname,
        domainname: config.domainname,
        user: config.user,
        exposed_ports: config.exposed_ports,
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        env: config.env,
        cmd: config.cmd,
        healthcheck: config.healthcheck,
        args_escaped: config.args_escaped,
        image: Some(change.image.to_owned()),
        volumes: config.volumes,
        working_dir: config.working_dir,
        entrypoint: config.entrypoint,
        labels: Some(labels),
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        shell: config.shell,
        host_config: Some(host),
        networking_config: Some(NetworkingConfig { endpoints_config: endpoints }),
        ..ContainerCreateBody::default()
    }
}

/// The request for a container that is never started: it only has a name.
pub(crate) fn seal_body(image: &str, labels: BTreeMap<String, String>) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["backout-seal".to_owned()]),
        labels: Some(labels.into_iter().collect()),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The network that a container is made in. One that is user-defined: the engine's own default has
/// no settings of an endpoint.
fn first_network(old: &Container) -> Option<(String, Endpoint)> {
    let mode = old.host_config().network_mode.unwrap_or_default();
    let named = old.networks.get_key_value(&mode).or_else(|| {
        // Podman says `bridge` whatever the network's name.
        old.networks.iter().next().filter(|_| mode == "bridge")
    });
    let (name, endpoint) = named?;
    let is_default = matches!(name.as_str(), "bridge" | "podman" | "host" | "none");
    (!is_default).then(|| (name.clone(), endpoint.clone()))
}

/// A setting, unless it is the image's.
fn unless_same<T: PartialEq>(mine: Option<T>, image: Option<&T>) -> Option<T> {
    mine.filter(|mine| image != Some(mine))
}

/// The entries of a list that are not the image's.
fn without<T: PartialEq>(mine: Option<Vec<T>>, image: Option<&Vec<T>>) -> Option<Vec<T>> {
    let is_own = |each: &T| image.is_none_or(|image| !image.contains(each));
    mine.map(|mine| mine.into_iter().filter(is_own).collect())
}

/// What was set for the container itself.
fn own(mut config: ContainerConfig, change: &Change<'_>, id: &str) -> ContainerConfig {
    let image = change.old_image;
    config.hostname = config.hostname.filter(|name| name != short(id));
    config.user = unless_same(config.user, image.user.as_ref());
    config.env = without(config.env, image.env.as_ref());
    config.exposed_ports = without(config.exposed_ports, image.exposed_ports.as_ref());
    config.volumes = without(config.volumes, image.volumes.as_ref());
    config.working_dir = unless_same(config.working_dir, image.working_dir.as_ref());
    config.stop_signal = unless_same(config.stop_signal, image.stop_signal.as_ref());
    config.shell = unless_same(config.shell, image.shell.as_ref());
    config.healthcheck = unless_same(config.healthcheck, image.healthcheck.as_ref());
    // An entrypoint of one's own throws the image's command away, so the two go together.
    if config.entrypoint == image.entrypoint
        || config.entrypoint.as_ref().is_some_and(Vec::is_empty)
    {
        config.entrypoint = None;
        config.cmd = unless_same(config.cmd, image.cmd.as_ref());
    }
    let labels = image.labels.clone().unwrap_or_default();
    if let Some(mine) = &mut config.labels {
        mine.retain(|name, value| labels.get(name) != Some(value));
    }
    if change.flavor == Flavor::Podman {
        podmans_own(&mut config, id);
    }
    config
}

/// What Podman 4 adds to a container's settings when it shows them.
fn podmans_own(config: &mut ContainerConfig, id: &str) {
    let added =
        ["TERM=xterm".to_owned(), "container=podman".to_owned(), format!("HOSTNAME={}", short(id))];
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    if let Some(env) = &mut config.env {
        env.retain(|each| !added.contains(each) && each != path);
    }
    config.working_dir = config.working_dir.take().filter(|dir| dir != "/");
    // Shown as 0 whatever it is, and 0 would be a kill.
    config.stop_timeout = config.stop_timeout.filter(|seconds| *seconds != 0);
    config.stop_signal = config.stop_signal.take().filter(|signal| signal != "15");
}

fn host(raw: &ContainerInspectResponse, flavor: Flavor) -> HostConfig {
    let mut host = raw.host_config.clone().unwrap_or_default();
    host.container_id_file = None;
    host.console_size = None;
    let anonymous = anonymous_volumes(raw, &host);
    if !anonymous.is_empty() {
        host.binds.get_or_insert_with(Vec::new).extend(anonymous);
    }
    if flavor == Flavor::Podman {
        podmans_host(&mut host);
    }
    host
}

/// Volumes that the engine made for the old container without being told a name: its data.
fn anonymous_volumes(raw: &ContainerInspectResponse, host: &HostConfig) -> Vec<String> {
    let binds = host.binds.iter().flatten();
    let bound: Vec<_> = binds.filter_map(|bind| bind.split(':').nth(1)).collect();
    let mounted: Vec<_> =
        host.mounts.iter().flatten().filter_map(|mount| mount.target.as_deref()).collect();
    let is_new = |mount: &&MountPoint| {
        let place = mount.destination.as_deref().unwrap_or_default();
        mount.typ.as_deref() == Some("volume")
            && !bound.contains(&place)
            && !mounted.contains(&place)
    };
    let mounts = raw.mounts.iter().flatten().filter(is_new);
    mounts
        .filter_map(|mount| {
            let mode = if mount.rw.unwrap_or(true) { "" } else { ":ro" };
            Some(format!("{}:{}{mode}", mount.name.as_ref()?, mount.destination.as_ref()?))
        })
        .collect()
}

/// Podman 4 shows its own words and zeros, which it does not take back.
fn podmans_host(host: &mut HostConfig) {
    let own = |text: &Option<String>| {
        matches!(text.as_deref(), Some("private" | "shareable" | "oci" | ""))
    };
    if own(&host.ipc_mode) {
        host.ipc_mode = None;
    }
    if own(&host.pid_mode) {
        host.pid_mode = None;
    }
    if own(&host.uts_mode) {
        host.uts_mode = None;
    }
    if own(&host.runtime) {
        host.runtime = None;
    }
    host.cgroupns_mode = None;
    host.isolation = None;
    host.memory_swappiness = host.memory_swappiness.filter(|value| *value > 0);
    host.pids_limit = host.pids_limit.filter(|value| *value > 0);
    for limit in host.ulimits.iter_mut().flatten() {
        let name = limit.name.take().unwrap_or_default();
        limit.name = Some(name.trim_start_matches("RLIMIT_").to_ascii_lowercase());
    }
    for bind in host.binds.iter_mut().flatten() {
        *bind = short_bind(bind);
    }
}

/// Podman shows a bind with the options of its mount: only what a person can have meant goes back.
fn short_bind(bind: &str) -> String {
    let mut parts = bind.splitn(3, ':');
    let (from, to) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let options = parts.next().unwrap_or_default();
    let kept: Vec<_> =
        options.split(',').filter(|option| matches!(*option, "ro" | "z" | "Z")).collect();
    if kept.is_empty() { format!("{from}:{to}") } else { format!("{from}:{to}:{}", kept.join(",")) }
}
