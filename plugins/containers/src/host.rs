//! The one place that speaks to a container engine: Docker's, or Podman's compatible one. Every
//! other file works on the plain data given here.

use std::pin::Pin;
use std::time::Duration;

use backout_plugin_api::{Context, PrepareFailure};
use bollard::models::SystemInfo;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::input::EngineInput;

mod body;
mod container;
mod image;
mod tls;

pub(crate) use body::{Change, body, seal_body};
pub(crate) use container::{Container, Endpoint, Health, Restart, is_ended, short};
pub(crate) use image::{Credentials, Image};

/// How long the client waits for the head of an answer. Every verb has a limit of its own, and a
/// stop takes as long as the container's grace: so this is only an end to what nobody awaits.
const ANSWER_TIMEOUT_S: u64 = 3600;

/// Where Docker Engine keeps its store where nobody says anything else.
const ROOT_DEFAULT: &str = "/var/lib/docker";

/// Which engine answers: they differ in what they can tell and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    Docker,
    Podman,
}

/// Where containers run, as the engine tells it of itself.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    docker: Docker,
    pub(crate) flavor: Flavor,
    /// The engine's own identity, `docker:IJBO:VKEO:…` for instance; part of every lock.
    pub(crate) identity: String,
    /// The platform that it runs without emulation, `linux/amd64` for instance.
    pub(crate) platform: String,
    /// How it was reached, for people.
    pub(crate) address: String,
}

/// Why the engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostError {
    /// No answer; nobody knows whether the request arrived.
    #[error("{0}")]
    Silent(String),
    /// It answered, and refused.
    #[error("{message} (status {status})")]
    Answer { status: u16, message: String },
}

impl HostError {
    /// Whether the engine said that a name is taken, or that the state forbids it.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Answer { status: 409, .. })
            || matches!(self, Self::Answer { status: 500, message } if message.contains("already in use"))
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Answer { status: 404, .. })
    }

    pub(crate) fn into_failure(self) -> PrepareFailure {
        match self {
            Self::Silent(reason) => PrepareFailure::Unreachable { reason },
            Self::Answer { .. } => PrepareFailure::Refused { reason: self.to_string() },
        }
    }
}

impl From<bollard::errors::Error> for HostError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error as E;
        match error {
            E::DockerResponseServerError { status_code, message } => {
                Self::Answer { status: status_code, message: message.trim().to_owned() }
            }
            E::DockerStreamError { error } => Self::Answer { status: 0, message: error },
            error @ (E::JsonDataError { .. } | E::JsonSerdeError { .. }) => {
                Self::Answer { status: 0, message: format!("an answer not understood: {error}") }
            }
            error => Self::Silent(chain(&error)),
        }
    }
}

/// An error with all its causes, the last of which is the one that helps.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Host {
    /// Reaches the engine and asks who it is.
    ///
    /// # Errors
    /// It is not there, does not answer, or is none.
    pub(crate) async fn connect(ctx: &Context, input: &EngineInput) -> Result<Self, HostError> {
        let address = input.host.clone();
        let said = |error: HostError| match error {
            HostError::Silent(why) => HostError::Silent(format!(
                "no container engine at {address}: {why}; look with: docker -H {address} version"
            )),
            answer @ HostError::Answer { .. } => answer,
        };
        let docker = client(ctx, input).await.map_err(said)?;
        let version = docker.version().await.map_err(HostError::from).map_err(said)?;
        let info = docker.info().await.map_err(HostError::from).map_err(said)?;
        let components = version.components.unwrap_or_default();
        let is_podman = components.iter().any(|component| component.name.contains("Podman"));
        let text = Option::unwrap_or_default;
        let identity = identity(is_podman, info);
        Ok(Self {
            docker,
            flavor: if is_podman { Flavor::Podman } else { Flavor::Docker },
            identity,
            platform: format!("{}/{}", text(version.os), text(version.arch)),
            address,
        })
    }
}

/// What an engine is known by, whichever way leads to it. Podman makes up another ID for every answer:
/// its machine and its store are what stays. Docker Engine before 23 has one ID for all the engines of
/// a machine, so one with a store of its own is told from others by that.
fn identity(is_podman: bool, info: SystemInfo) -> String {
    let root = info.docker_root_dir.unwrap_or_default();
    if is_podman {
        return format!("podman:{}:{root}", info.name.unwrap_or_default());
    }
    let id = info.id.unwrap_or_default();
    if root == ROOT_DEFAULT { format!("docker:{id}") } else { format!("docker:{id}:{root}") }
}

async fn client(ctx: &Context, input: &EngineInput) -> Result<Docker, HostError> {
    let host = input.host.as_str();
    if host.starts_with("unix://") {
        return Ok(Docker::connect_with_unix(host, ANSWER_TIMEOUT_S, API_DEFAULT_VERSION)?);
    }
    let Some(tls) = &input.tls else {
        return Ok(Docker::connect_with_http(host, ANSWER_TIMEOUT_S, API_DEFAULT_VERSION)?);
    };
    let key = match &tls.key {
        Some(key) => {
            let secret = ctx.secret(key).await;
            Some(secret.map_err(|error| HostError::Silent(error.to_string()))?)
        }
        None => None,
    };
    tls::connect(host, tls, key.as_ref(), ANSWER_TIMEOUT_S).map_err(HostError::Silent)
}

/// Why a verb ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Cancelled,
    Late(Duration),
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cancelled => f.write_str("it was ended on request"),
            Self::Late(timeout) => {
                write!(f, "no end within {}", humantime::format_duration(*timeout))
            }
        }
    }
}

/// Does some work within the time that `ctx` gives, and no longer than nobody ends it.
///
/// # Errors
/// It was cut.
pub(crate) fn within<'a, T: 'a>(
    ctx: &'a Context,
    work: impl Future<Output = T> + Send + 'a,
) -> Pin<Box<dyn Future<Output = Result<T, Cut>> + Send + 'a>> {
    // A verb holds many answers at once, so it is kept off the stack.
    Box::pin(async move {
        tokio::select! {
            done = tokio::time::timeout(ctx.timeout, work) => {
                done.map_err(|_| Cut::Late(ctx.timeout))
            }
            () = ctx.cancel.cancelled() => Err(Cut::Cancelled),
        }
    })
}
