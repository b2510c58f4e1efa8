//! Containers: as they are, and what can be done to them. Everything is done by a container's id,
//! which never names another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerStateStatusEnum,
    ContainerUpdateBody, EndpointIpamConfig, EndpointSettings, ExecConfig, HealthConfig,
    HealthStatusEnum, HostConfig, NetworkConnectRequest, NetworkDisconnectRequest, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder,
};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::image::with_algorithm;
use super::{Flavor, Host, HostError};

/// Characters of an id by which people and name servers know a container.
const SHORT_ID_CHARS: usize = 12;
/// How often a started check is asked whether it ended.
const CHECK_POLL: Duration = Duration::from_millis(50);

/// A container as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image's own digest.
    pub(crate) image_id: String,
    /// By what name the image was asked for.
    pub(crate) image_name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) networks: BTreeMap<String, Endpoint>,
    pub(crate) restart: Restart,
    pub(crate) auto_remove: bool,
    /// It serves, as far as the engine knows.
    pub(crate) is_running: bool,
    /// It runs, or is about to be started again by its policy.
    pub(crate) is_up: bool,
    /// In the engine's word: `running`, `exited`, `restarting`, …
    pub(crate) status: String,
    pub(crate) health: Health,
    pub(crate) exit_code: i64,
    pub(crate) restarts: i64,
    /// By the engine's clock; absent where it never started.
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// When the first check since its start passed, as far as the engine remembers.
    pub(crate) passed_at: Option<DateTime<Utc>>,
    /// The engine's full answer: what a replacement is made from. It may hold secrets, so nothing
    /// of it is ever recorded.
    pub(crate) raw: Arc<ContainerInspectResponse>,
}

/// What a container's own check says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// It has none.
    #[default]
    NoCheck,
    Starting,
    Healthy,
    Unhealthy,
}

/// How a container is connected to one network: the part that a person set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// Names besides its own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) aliases: BTreeSet<String>,
    /// Fixed addresses: no second container can have them at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ipv4: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ipv6: Option<String>,
}

/// What the engine does when a container ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Restart {
    /// `no`, `always`, `unless-stopped`, `on-failure`.
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) retries: i64,
}

impl Restart {
    pub(crate) fn never() -> Self {
        Self { name: "no".to_owned(), retries: 0 }
    }

    /// Whether a container that was stopped comes back when the engine restarts.
    pub(crate) fn revives(&self) -> bool {
        matches!(self.name.as_str(), "always" | "on-failure")
    }

    fn to_policy(&self) -> RestartPolicy {
        let name = match self.name.as_str() {
            "always" => RestartPolicyNameEnum::ALWAYS,
            "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
            "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
            _ => RestartPolicyNameEnum::NO,
        };
        RestartPolicy { name: Some(name), maximum_retry_count: Some(self.retries) }
    }
}

impl From<Option<RestartPolicy>> for Restart {
    fn from(policy: Option<RestartPolicy>) -> Self {
        let policy = policy.unwrap_or_default();
        let name = policy.name.map(|name| name.to_string()).unwrap_or_default();
        let name = if name.is_empty() { "no".to_owned() } else { name };
        Self { name, retries: policy.maximum_retry_count.unwrap_or(0) }
    }
}

impl Container {
    /// The engine's answer, read.
    pub(crate) fn read(raw: ContainerInspectResponse) -> Self {
        let state = raw.state.clone().unwrap_or_default();
        let config = raw.config.clone().unwrap_or_default();
        let host = raw.host_config.clone().unwrap_or_default();
        let (is_running, is_restarting) =
            (state.running.unwrap_or(false), state.restarting.unwrap_or(false));
        let id = raw.id.clone().unwrap_or_default();
        let name = raw.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
        Self {
            networks: endpoints(&raw, &id, &name),
            image_id: with_algorithm(raw.image.clone().unwrap_or_default()),
            image_name: config.image.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            restart: host.restart_policy.into(),
            auto_remove: host.auto_remove.unwrap_or(false),
            is_running: is_running && !is_restarting,
            is_up: is_running || is_restarting,
            status: state.status.map(|status| status.to_string()).unwrap_or_default(),
            health: health(&state, has_check(config.healthcheck.as_ref())),
            exit_code: state.exit_code.unwrap_or(0),
            restarts: raw.restart_count.unwrap_or(0),
            started_at: time(state.started_at.as_deref()),
            finished_at: time(state.finished_at.as_deref()),
            passed_at: passed_at(&state),
            id,
            name,
            raw: Arc::new(raw),
        }
    }

    /// The start of its id, as the engine shows it to people.
    pub(crate) fn short_id(&self) -> &str {
        short(&self.id)
    }

    /// Its own settings, empty where the engine told none.
    pub(crate) fn host_config(&self) -> HostConfig {
        self.raw.host_config.clone().unwrap_or_default()
    }

    /// The mounts that it can write to, by their place in the container.
    pub(crate) fn writable_mounts(&self) -> Vec<String> {
        let mounts = self.raw.mounts.iter().flatten();
        let writable = mounts.filter(|mount| mount.rw.unwrap_or(false));
        let mut places: Vec<_> = writable.filter_map(|mount| mount.destination.clone()).collect();
        places.sort();
        places
    }

    /// Ports of the machine that it takes, none of which a second container can have.
    pub(crate) fn fixed_ports(&self) -> Vec<String> {
        let bindings = self.host_config().port_bindings.unwrap_or_default();
        let mut ports: Vec<_> = bindings
            .into_values()
            .flatten()
            .flatten()
            .filter_map(|binding| binding.host_port)
            .filter(|port| !port.is_empty() && port != "0")
            .collect();
        ports.sort();
        ports.dedup();
        ports
    }
}

/// The start of an id, as the engine shows it to people.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_ID_CHARS).unwrap_or(id)
}

fn health(state: &ContainerState, has_check: bool) -> Health {
    let said = state.health.as_ref().and_then(|health| health.status);
    match said {
        Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
        Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        Some(HealthStatusEnum::STARTING) => Health::Starting,
        // Podman tells of a check that was never made with an empty word, or with nothing at all.
        Some(HealthStatusEnum::EMPTY) | None if has_check => Health::Starting,
        Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) | None => Health::NoCheck,
    }
}

/// `NONE` is how a person takes an image's check away.
fn has_check(check: Option<&HealthConfig>) -> bool {
    let test = check.and_then(|check| check.test.as_ref());
    test.and_then(|test| test.first()).is_some_and(|kind| kind != "NONE")
}

/// The engine's zero time is the year 1.
fn time(text: Option<&str>) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text?).ok()?.to_utc();
    (at.timestamp() > 0).then_some(at)
}

fn passed_at(state: &ContainerState) -> Option<DateTime<Utc>> {
    let started = time(state.started_at.as_deref())?;
    let log = state.health.as_ref()?.log.as_ref()?;
    let passed = log.iter().filter(|each| each.exit_code == Some(0));
    passed.filter_map(|each| time(each.end.as_deref())).find(|at| *at >= started)
}

fn endpoints(raw: &ContainerInspectResponse, id: &str, name: &str) -> BTreeMap<String, Endpoint> {
    let networks = raw.network_settings.as_ref().and_then(|settings| settings.networks.clone());
    let read = |(network, said): (String, EndpointSettings)| {
        let mut aliases: BTreeSet<_> = said.aliases.unwrap_or_default().into_iter().collect();
        // The engine's own: nobody set them, and it gives them to every container.
        let hostname = raw.config.as_ref().and_then(|config| config.hostname.as_deref());
        aliases.remove(hostname.unwrap_or_default());
        aliases.remove(short(id));
        aliases.remove(name);
        let fixed = said.ipam_config.unwrap_or_default();
        let set = |address: Option<String>| address.filter(|address| !address.is_empty());
        let endpoint =
            Endpoint { aliases, ipv4: set(fixed.ipv4_address), ipv6: set(fixed.ipv6_address) };
        (network, endpoint)
    };
    networks.unwrap_or_default().into_iter().map(read).collect()
}

impl Endpoint {
    /// In the engine's words; without its aliases while it is not to be found by them.
    pub(crate) fn settings(&self, with_aliases: bool) -> EndpointSettings {
        let fixed = EndpointIpamConfig {
            ipv4_address: self.ipv4.clone(),
            ipv6_address: self.ipv6.clone(),
            ..EndpointIpamConfig::default()
        };
        let is_fixed = self.ipv4.is_some() || self.ipv6.is_some();
        EndpointSettings {
            aliases: with_aliases.then(|| self.aliases.iter().cloned().collect()),
            ipam_config: is_fixed.then_some(fixed),
            ..EndpointSettings::default()
        }
    }
}

impl Host {
    /// The container of this name or id, if there is one.
    ///
    /// # Errors
    /// As the engine says.
    pub(crate) async fn container(&self, name: &str) -> Result<Option<Container>, HostError> {
        let seen = self.docker.inspect_container(name, None::<InspectContainerOptions>).await;
        match seen.map_err(HostError::from) {
            Ok(raw) => {
                let found = Container::read(raw);
                // The engine also finds by the start of an id, which is no name.
                Ok((found.name == name || found.id == name).then_some(found))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All containers, running or not, that bear all these labels; an empty value stands for any.
    ///
    /// # Errors
    /// As the engine says.
    pub(crate) async fn with_labels(
        &self,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Container>, HostError> {
        let wanted: Vec<String> = labels
            .iter()
            .map(
                |(name, value)| {
                    if value.is_empty() { name.clone() } else { format!("{name}={value}") }
                },
            )
            .collect();
        let filters = HashMap::from([("label", wanted.iter().map(String::as_str).collect())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await?;
        let mut found = Vec::new();
        for id in listed.into_iter().filter_map(|each| each.id) {
            found.extend(self.container(&id).await?);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Makes a container under a name; nothing runs yet. Its id.
    ///
    /// # Errors
    /// As the engine says; a conflict where the name is taken.
    pub(crate) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, HostError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        Ok(self.docker.create_container(Some(options), body).await?.id)
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), HostError> {
        Ok(self.docker.start_container(id, None::<StartContainerOptions>).await?)
    }

    /// Ends it: politely, and after `grace` firmly. Without `grace` the container's own holds.
    pub(crate) async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<(), HostError> {
        let options = StopContainerOptionsBuilder::default();
        let options = match grace {
            Some(grace) => options.t(seconds(grace)),
            None => options,
        };
        Ok(self.docker.stop_container(id, Some(options.build())).await?)
    }

    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), HostError> {
        let options = RenameContainerOptionsBuilder::default().name(name).build();
        Ok(self.docker.rename_container(id, options).await?)
    }

    /// Removes a container that does not run; its named volumes stay. That it is gone is as good.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), HostError> {
        let options = RemoveContainerOptionsBuilder::default().force(false).build();
        match self.docker.remove_container(id, Some(options)).await.map_err(HostError::from) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) async fn connect_network(
        &self,
        network: &str,
        id: &str,
        endpoint: EndpointSettings,
    ) -> Result<(), HostError> {
        let request =
            NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(endpoint) };
        Ok(self.docker.connect_network(network, request).await?)
    }

    pub(crate) async fn disconnect_network(
        &self,
        network: &str,
        id: &str,
    ) -> Result<(), HostError> {
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(false) };
        Ok(self.docker.disconnect_network(network, request).await?)
    }

    /// Whether this engine can change what happens when a container ends by itself.
    pub(crate) fn can_set_restart(&self) -> bool {
        self.flavor == Flavor::Docker
    }

    /// Sets what happens when it ends by itself; nothing where the engine cannot.
    pub(crate) async fn set_restart(&self, id: &str, restart: &Restart) -> Result<(), HostError> {
        if !self.can_set_restart() {
            return Ok(());
        }
        let body = ContainerUpdateBody {
            restart_policy: Some(restart.to_policy()),
            ..ContainerUpdateBody::default()
        };
        Ok(self.docker.update_container(id, body).await?)
    }

    /// Makes the container's own check now, for an engine that makes none by itself. Whether it
    /// passed.
    ///
    /// # Errors
    /// As the engine says.
    pub(crate) async fn check_health(&self, container: &Container) -> Result<bool, HostError> {
        let config = container.raw.config.clone().unwrap_or_default();
        let test = config.healthcheck.and_then(|check| check.test).unwrap_or_default();
        let Some(cmd) = check_command(&test) else { return Ok(true) };
        // Podman refuses a command that nobody listens to.
        let config = ExecConfig {
            cmd: Some(cmd),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec = self.docker.create_exec(&container.id, config).await?.id;
        let options = StartExecOptions { detach: false, ..StartExecOptions::default() };
        if let StartExecResults::Attached { mut output, .. } =
            self.docker.start_exec(&exec, Some(options)).await?
        {
            while output.next().await.is_some() {}
        }
        loop {
            let seen = self.docker.inspect_exec(&exec).await?;
            if !seen.running.unwrap_or(false) {
                return Ok(seen.exit_code == Some(0));
            }
            tokio::time::sleep(CHECK_POLL).await;
        }
    }
}

/// The command of a check, in the words of the image: `["CMD", …]` or `["CMD-SHELL", text]`.
fn check_command(test: &[String]) -> Option<Vec<String>> {
    match test.split_first()? {
        (kind, rest) if kind == "CMD" => Some(rest.to_vec()),
        (kind, rest) if kind == "CMD-SHELL" => {
            Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")])
        }
        _ => None,
    }
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// The engine's word for a container that ended and stays so.
pub(crate) fn is_ended(status: &str) -> bool {
    let ended = [ContainerStateStatusEnum::EXITED, ContainerStateStatusEnum::DEAD];
    ended.iter().any(|each| each.to_string() == status)
}
