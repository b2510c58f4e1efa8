//! Removes what was kept for an undo, once nobody can ask for one any more.

use backout_plugin_api::{Context, MadeEffect, Tidied};
use serde::Deserialize;

use super::data::{DATA_VERSION, Data};
use crate::host::{Container, Host, HostError, within};
use crate::input::RollbackInput;
use crate::place::{Maker, kept_name, mark_name, sealed_dispatch};

/// Removes the kept container of one key, and a replacement of it that came to nothing; never one
/// that runs, and the kept one only while another has its place.
pub(super) async fn tidy(ctx: &Context, made: &MadeEffect) -> Tidied {
    let effect = made.prepared.effects.get(made.effect);
    let data = effect.and_then(|effect| Data::deserialize(&effect.data).ok());
    let input = RollbackInput::deserialize(&made.input).ok();
    let (Some(data), Some(input)) = (data, input) else { return Tidied::default() };
    if made.prepared.data_version != DATA_VERSION {
        return Tidied::default();
    }
    let place =
        |what: &str| format!("container {what} on {}: docker -H {0} rm {what}", input.engine.host);
    let work = async {
        let host = Host::connect(ctx, &input.engine).await?;
        remove(&host, &data, made).await
    };
    let why = match within(ctx, work).await {
        Ok(Ok(tidied)) => return tidied,
        Ok(Err(error)) => error.to_string(),
        Err(cut) => cut.to_string(),
    };
    let kept = kept_name(&data.name, &made.key);
    Tidied { removed: Vec::new(), left: vec![format!("{}  # {why}", place(&kept))] }
}

async fn remove(host: &Host, data: &Data, made: &MadeEffect) -> Result<Tidied, HostError> {
    let mut tidied = Tidied::default();
    if host.identity != data.engine {
        return Ok(tidied);
    }
    let is_served = host.container(&data.name).await?.is_some_and(|it| it.is_running);
    let kept = host.container(&kept_name(&data.name, &made.key)).await?;
    let kept = kept.filter(|it| it.id == data.old && is_served);
    let failed = host.container(&mark_name(&data.name, &made.key)).await?;
    let failed = failed.filter(|it| {
        let is_ours = Maker::of(it).is_some_and(|maker| maker.key == made.key.as_str());
        is_ours && sealed_dispatch(it).is_none()
    });
    for container in kept.into_iter().chain(failed).filter(|it| !it.is_up) {
        forget(host, &container, &mut tidied).await;
    }
    Ok(tidied)
}

async fn forget(host: &Host, container: &Container, tidied: &mut Tidied) {
    let line = format!("container {} on {}", container.name, host.address);
    match host.remove(&container.id).await {
        Ok(()) => tidied.removed.push(line),
        Err(error) => {
            let by_hand = format!("docker -H {} rm {}", host.address, container.name);
            tidied.left.push(format!("{line}: {error}; by hand: {by_hand}"));
        }
    }
}
