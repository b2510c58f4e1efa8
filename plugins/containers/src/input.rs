//! The inputs of the actions, and what can be said of them without looking at any engine.

use std::collections::BTreeMap;
use std::time::Duration;

use backout_plugin_api::{InputProblem, SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::Restart;
use crate::reference::Reference;

/// Where Docker Engine listens where nobody says anything else.
const HOST_DEFAULT: &str = "unix:///var/run/docker.sock";
/// Replicas that may be out of service at once: more than all there are means all at once.
const UNAVAILABLE_MAX: u32 = 1000;

/// A container engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineInput {
    /// Where it listens: `unix:///var/run/docker.sock`, `unix:///run/podman/podman.sock`,
    /// `tcp://10.0.0.5:2376`.
    #[serde(default = "host_default")]
    pub(crate) host: String,

    /// TLS to `tcp://…`. Without it nothing is encrypted, and everybody who reaches the port owns
    /// the machine behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
}

fn host_default() -> String {
    HOST_DEFAULT.to_owned()
}

impl Default for EngineInput {
    fn default() -> Self {
        Self { host: host_default(), tls: None }
    }
}

/// TLS to a container engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// A PEM file of the authorities that may have signed the engine's certificate. No other is
    /// trusted.
    pub(crate) ca: String,

    /// A PEM file of our own certificate, with all between it and its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<String>,

    /// The PEM key of `cert`, by reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<SecretRef>,
}

/// The containers of one service of a compose project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compose {
    /// The project's name.
    pub(crate) project: String,
    /// The service's name in it.
    pub(crate) service: String,
}

/// Who asks a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegistryInput {
    /// The user's name.
    pub(crate) username: String,
    /// The password or token, by reference.
    pub(crate) password: SecretRef,
}

/// Whether the old and the new container may run side by side for a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Overlap {
    /// Wherever ports, addresses and networks allow it.
    #[default]
    Auto,
    /// Never: the running one ends before the other starts, for what must not run twice.
    Never,
}

/// `containers.rollback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackInput {
    /// The container, by name. Either this, `labels` or `compose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,

    /// All running containers with these labels; an empty value stands for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,

    /// All running containers of one service of a compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compose: Option<Compose>,

    /// The wanted image by digest, `registry/shop@sha256:…` or `registry/shop:1.4@sha256:…`; the
    /// id of an image that is on the machine, `sha256:…`; or `previous`: the one before the running
    /// one, where the machine itself tells which that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,

    /// In place of `image`: the name of a stopped container that Backout kept, to be put back into
    /// the place of the running one. This is what an undo uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restore: Option<String>,

    /// With `restore`: the restart policy that the kept one had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restart_policy: Option<RestartInput>,

    /// How many replicas may be replaced at the same time.
    #[serde(default = "unavailable_default")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_unavailable: u32,

    /// Whether both may run side by side for a moment: `auto` or `never`.
    #[serde(default)]
    pub(crate) overlap: Overlap,

    /// How long the new container may take until its health check passes. Then it is ended, and
    /// the one before goes on.
    #[serde(default = "healthy_default")]
    pub(crate) healthy_within: String,

    /// For a container without a health check: how long it must run to be taken as well.
    #[serde(default = "stable_default")]
    pub(crate) stable_for: String,

    /// Between the moment when the new container is to be found by all names and the end of the
    /// running one: for clients that remember its address.
    #[serde(default = "drain_default")]
    pub(crate) drain: String,

    /// How long the running one may take to end by itself before it is killed. Without it its own
    /// setting holds, or the engine's 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<String>,

    /// Who asks the registry; without it, nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<RegistryInput>,

    /// The container engine; without it, the machine's own Docker Engine.
    #[serde(default)]
    pub(crate) engine: EngineInput,
}

/// A restart policy, in the engine's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartInput {
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    #[schemars(regex(pattern = r"^(no|always|unless-stopped|on-failure)$|\$\{"))]
    pub(crate) name: String,
    /// For `on-failure`: how often at most; 0 is without end.
    #[serde(default)]
    pub(crate) retries: i64,
}

impl From<Restart> for RestartInput {
    fn from(restart: Restart) -> Self {
        Self { name: restart.name, retries: restart.retries }
    }
}

impl From<RestartInput> for Restart {
    fn from(input: RestartInput) -> Self {
        Self { name: input.name, retries: input.retries }
    }
}

/// `containers.stop`, `containers.start` and `containers.restart`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PowerInput {
    /// The container, by name. Either this, `labels` or `compose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,

    /// All containers with these labels; an empty value stands for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,

    /// All containers of one service of a compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compose: Option<Compose>,

    /// How many are worked on at the same time.
    #[serde(default = "unavailable_default")]
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) max_unavailable: u32,

    /// How long a container may take to end by itself before it is killed. Without it its own
    /// setting holds, or the engine's 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<String>,

    /// How long a started container may take until its health check passes.
    #[serde(default = "healthy_default")]
    pub(crate) healthy_within: String,

    /// For a container without a health check: how long it must run to be taken as well.
    #[serde(default = "stable_default")]
    pub(crate) stable_for: String,

    /// The restart policy that it has afterwards. Without it a start changes none, and a stop takes
    /// away one that would start it again with the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restart_policy: Option<RestartInput>,

    /// The container engine; without it, the machine's own Docker Engine.
    #[serde(default)]
    pub(crate) engine: EngineInput,
}

/// `containers.assert`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssertInput {
    /// The container, by name. Either this, `labels` or `compose`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<String>,

    /// All running containers with these labels; an empty value stands for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,

    /// All running containers of one service of a compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compose: Option<Compose>,

    /// The image that each must run, by digest or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,

    /// How many must run; without it, one or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u32>,

    /// Whether each that has a health check must pass it.
    #[serde(default = "yes")]
    pub(crate) healthy: bool,

    /// The container engine; without it, the machine's own Docker Engine.
    #[serde(default)]
    pub(crate) engine: EngineInput,
}

fn unavailable_default() -> u32 {
    1
}

fn healthy_default() -> String {
    "2m".to_owned()
}

fn stable_default() -> String {
    "5s".to_owned()
}

fn drain_default() -> String {
    "1s".to_owned()
}

fn yes() -> bool {
    true
}

/// Which containers are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    Name(String),
    Labels(BTreeMap<String, String>),
}

impl std::fmt::Display for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "container {name}"),
            Self::Labels(labels) => {
                let pair = |(name, value): (&String, &String)| match value.as_str() {
                    "" => name.clone(),
                    value => format!("{name}={value}"),
                };
                let all: Vec<_> = labels.iter().map(pair).collect();
                write!(f, "containers with {}", all.join(", "))
            }
        }
    }
}

impl Select {
    /// Which containers the three fields of an input mean; the first problem with them else.
    pub(crate) fn new(
        container: Option<&String>,
        labels: &BTreeMap<String, String>,
        compose: Option<&Compose>,
    ) -> Result<Self, String> {
        match (container, labels.is_empty(), compose) {
            (Some(name), true, None) if name.len() < 2 && !name.contains("${") => {
                Err("a container's name has two characters or more".to_owned())
            }
            (Some(name), true, None) => Ok(Self::Name(name.trim_start_matches('/').to_owned())),
            (None, false, None) => Ok(Self::Labels(labels.clone())),
            (None, true, Some(compose)) => Ok(Self::Labels(BTreeMap::from([
                ("com.docker.compose.project".to_owned(), compose.project.clone()),
                ("com.docker.compose.service".to_owned(), compose.service.clone()),
            ]))),
            (None, true, None) => {
                Err("which container? Give one of `container`, `labels` and `compose`".to_owned())
            }
            _ => Err("give only one of `container`, `labels` and `compose`".to_owned()),
        }
    }
}

/// A duration as people write it, `2m` for instance.
///
/// # Errors
/// It is none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("`{text}` is no duration: {error}"))
}

/// A duration of an input that was checked; an expression counts as its default until it is known.
pub(crate) fn or(text: &str, default: Duration) -> Duration {
    duration(text).unwrap_or(default)
}

/// Collects what is wrong with an input. Texts that hold an expression are not known yet.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<InputProblem>);

impl Problems {
    pub(crate) fn add(&mut self, at: &str, message: impl Into<String>, help: Option<&str>) {
        self.0.push(InputProblem {
            at: at.to_owned(),
            message: message.into(),
            help: help.map(ToOwned::to_owned),
        });
    }

    pub(crate) fn duration(&mut self, at: &str, text: &str) {
        if !text.contains("${")
            && let Err(message) = duration(text)
        {
            self.add(at, message, Some("write it as `30s` or `2m`"));
        }
    }

    pub(crate) fn select(&mut self, select: Result<Select, String>) {
        if let Err(message) = select {
            self.add("", message, None);
        }
    }

    pub(crate) fn image(&mut self, at: &str, text: &str) {
        if !text.contains("${")
            && let Err(message) = Reference::parse(text)
        {
            let help = "a tag can move: see its digest with `docker image inspect NAME:TAG \
                        --format '{{join .RepoDigests \" \"}}'`";
            self.add(at, message, Some(help));
        }
    }

    pub(crate) fn unavailable(&mut self, count: u32) {
        if !(1..=UNAVAILABLE_MAX).contains(&count) {
            self.add("/max_unavailable", format!("{count} is not 1 to {UNAVAILABLE_MAX}"), None);
        }
    }

    pub(crate) fn engine(&mut self, engine: &EngineInput) {
        let host = &engine.host;
        let at = "/engine/host";
        if host.contains("${") {
            return;
        }
        if !host.starts_with("unix:///") && !host.starts_with("tcp://") {
            self.add(at, format!("`{host}` is neither unix:///PATH nor tcp://HOST:PORT"), None);
        }
        let Some(tls) = &engine.tls else { return };
        if host.starts_with("unix://") {
            self.add("/engine/tls", "a socket of this machine has no TLS", None);
        }
        if tls.cert.is_some() != tls.key.is_some() {
            self.add("/engine/tls", "a certificate and its key go together", None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_way_to_say_which_containers() {
        let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        let none = BTreeMap::new();
        let compose = Compose { project: "shop".into(), service: "web".into() };
        let web = "web".to_owned();
        assert_eq!(Select::new(Some(&web), &none, None), Ok(Select::Name(web.clone())));
        assert_eq!(Select::new(None, &labels, None), Ok(Select::Labels(labels.clone())));
        let composed = Select::new(None, &none, Some(&compose)).unwrap().to_string();
        assert!(composed.contains("com.docker.compose.service=web"), "{composed}");
        for wrong in [
            Select::new(None, &none, None),
            Select::new(Some(&web), &labels, None),
            Select::new(None, &labels, Some(&compose)),
            Select::new(Some(&"w".to_owned()), &none, None),
        ] {
            assert!(wrong.is_err());
        }
    }

    #[test]
    fn an_engine_is_a_socket_or_an_address_with_tls_that_is_whole() {
        let tls =
            |cert: Option<&str>| Tls { ca: "ca.pem".into(), cert: cert.map(Into::into), key: None };
        let cases = [
            ("unix:///var/run/docker.sock", None, 0),
            ("tcp://10.0.0.5:2376", Some(tls(None)), 0),
            ("${params.engine}", None, 0),
            ("http://10.0.0.5", None, 1),
            ("unix:///run/x.sock", Some(tls(None)), 1),
            ("tcp://10.0.0.5:2376", Some(tls(Some("cert.pem"))), 1),
        ];
        for (host, tls, wrong) in cases {
            let mut problems = Problems::default();
            problems.engine(&EngineInput { host: host.into(), tls });
            assert_eq!(problems.0.len(), wrong, "{host}: {:?}", problems.0);
        }
    }
}
