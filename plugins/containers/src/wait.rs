//! Waiting until a started container is well.

use std::time::{Duration, Instant};

use crate::host::{Container, Flavor, Health, Host, HostError, is_ended};

/// Between two looks at a container that starts.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Restarts after which a container that ends again and again is given up, so that a service that
/// waits for it is not down until the deadline.
const RESTARTS_MAX: i64 = 2;

/// What counts as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Well {
    /// How long its health check may take to pass.
    pub(crate) within: Duration,
    /// Without a health check: how long it must run.
    pub(crate) stable: Duration,
}

/// Waits until it is well. The reason why it never will be, or not in time.
///
/// # Errors
/// As the engine says.
pub(crate) async fn until_well(
    host: &Host,
    id: &str,
    well: Well,
) -> Result<Result<Container, String>, HostError> {
    let begun = Instant::now();
    let mut first: Option<Container> = None;
    loop {
        let Some(now) = host.container(id).await? else {
            return Ok(Err("it is gone".to_owned()));
        };
        let before = first.get_or_insert_with(|| now.clone());
        if let Some(why) = never_will(&now, now.restarts - before.restarts) {
            return Ok(Err(why));
        }
        if is_well(host, &now, before, begun.elapsed() >= well.stable).await? {
            return Ok(Ok(now));
        }
        if begun.elapsed() >= well.within.max(well.stable) {
            // Whole seconds: what is left of a verb's time is a long number.
            let within = Duration::from_secs(well.within.as_secs());
            let within = humantime::format_duration(within);
            return Ok(Err(format!("its health check does not pass within {within}")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn never_will(now: &Container, restarts: i64) -> Option<String> {
    if is_ended(&now.status) {
        return Some(format!("it ended with exit code {}", now.exit_code));
    }
    if restarts >= RESTARTS_MAX {
        return Some(format!("it ended {restarts} times, last with exit code {}", now.exit_code));
    }
    None
}

async fn is_well(
    host: &Host,
    now: &Container,
    first: &Container,
    is_long: bool,
) -> Result<bool, HostError> {
    if !now.is_running {
        return Ok(false);
    }
    match now.health {
        Health::Healthy => Ok(true),
        Health::NoCheck => Ok(is_long && now.started_at == first.started_at),
        // Podman without systemd makes no check by itself.
        Health::Starting if host.flavor == Flavor::Podman => host.check_health(now).await,
        Health::Starting | Health::Unhealthy => Ok(false),
    }
}
