//! The containers that an input means.

use backout_plugin_api::{Hazard, PrepareFailure};

use crate::host::{Container, Host, HostError};
use crate::input::Select;
use crate::place::is_aside;

/// Label of a container that compose ran once, for a command: no replica of its service.
const ONE_OFF: &str = "com.docker.compose.oneoff";
/// Containers of one step: each is an effect of its own, and beyond this a selector is a mistake.
const CONTAINERS_MAX: usize = 500;

/// The containers, by name; those that are out of service are never among them.
///
/// # Errors
/// There is none, or too many.
pub(crate) async fn select(host: &Host, select: &Select) -> Result<Vec<Container>, PrepareFailure> {
    let refuse = |reason: String| Err(PrepareFailure::Refused { reason });
    let found = match select {
        Select::Name(name) => {
            let found = host.container(name).await.map_err(HostError::into_failure)?;
            found.into_iter().collect()
        }
        Select::Labels(labels) => {
            let all = host.with_labels(labels).await.map_err(HostError::into_failure)?;
            let is_one_off = |it: &Container| {
                it.labels.get(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"))
            };
            all.into_iter().filter(|it| !is_aside(it) && !is_one_off(it)).collect::<Vec<_>>()
        }
    };
    if found.is_empty() {
        return refuse(format!("no {select} on {}; see: docker ps -a", host.address));
    }
    if found.len() > CONTAINERS_MAX {
        return refuse(format!("{} {select}: more than {CONTAINERS_MAX}", found.len()));
    }
    Ok(found)
}

/// Those of them that run, and a hazard that names the others. By name, a container is meant
/// whether it runs or not.
pub(crate) fn running(found: Vec<Container>, by: &Select) -> (Vec<Container>, Option<Hazard>) {
    if matches!(by, Select::Name(_)) {
        return (found, None);
    }
    let (up, down): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.is_up);
    if down.is_empty() {
        return (up, None);
    }
    let words = |it: &Container| format!("{} ({})", it.name, it.status);
    let all: Vec<_> = down.iter().map(words).collect();
    let text = format!("does not run and is left as it is: {}", all.join(", "));
    (up, Some(Hazard { code: "stopped-replicas".to_owned(), text }))
}
