//! `containers.assert`: says whether containers are as wanted.

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    parse_input, settled_by_look,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::host::{Container, Flavor, Health, Host, HostError, within};
use crate::input::{AssertInput, Problems, Select};
use crate::reference::Reference;
use crate::select::{running, select};

/// The version of the effect's data, which is empty.
const DATA_VERSION: u32 = 1;

/// The action `containers.assert`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContainersAssert;

#[async_trait]
impl Action for ContainersAssert {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("containers.assert"),
            summary: "Says whether containers run, of which image, and whether they are healthy.",
            docs: include_str!("docs/assert.md"),
            input: || schema_for!(AssertInput),
            example: include_str!("docs/assert.ron"),
            guarantee: Guarantee::ReadOnly,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        AssertInput::deserialize(input).map_or_else(|_| Checked::default(), |input| check(&input))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let Ok(input) = AssertInput::deserialize(input) else { return ByHand::default() };
        let docker = crate::by_hand::docker(&input.engine);
        let (list, name) = crate::by_hand::names(&docker, chosen(&input));
        let look = format!(
            "{docker} inspect {name} --format '{{{{.Config.Image}}}} {{{{.Image}}}} \
             {{{{.State.Status}}}} {{{{if .State.Health}}}}{{{{.State.Health.Status}}}}{{{{end}}}}'"
        );
        let image = input.image.as_deref().unwrap_or("any image");
        ByHand {
            does: format!("looks whether {name} runs, of {image}"),
            commands: list.into_iter().chain([look.clone()]).collect(),
            verify: vec![look],
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let seen = see(ctx, input).await?;
        let by = chosen(&parse_input(input)?).map(|by| by.to_string()).unwrap_or_default();
        Ok(Prepared {
            data_version: DATA_VERSION,
            guarantee: Guarantee::ReadOnly,
            remembered_ms: None,
            locks: Vec::new(),
            effects: vec![PreparedEffect {
                title: format!("{by} as wanted"),
                wave: 0,
                satisfied: Satisfied::CannotTell,
                before: Image::Absent,
                wanted: Image::Absent,
                difference: Vec::new(),
                reversibility: Reversibility::Exact,
                hazards: Vec::new(),
                data: Value::Null,
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: json!({ "differs": seen.differs }),
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match see(ctx, &call.input).await {
            Ok(seen) if seen.differs.is_empty() => Outcome::Done { output: seen.output },
            Ok(seen) => Outcome::Failed { reason: seen.differs.join("; "), output: seen.output },
            Err(failure) => {
                Outcome::Failed { reason: failure.reason().to_owned(), output: Value::Null }
            }
        }
    }

    /// A look leaves nothing behind to find; looking again is as good.
    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        settled_by_look(self.apply(ctx, call).await)
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

fn chosen(input: &AssertInput) -> Result<Select, String> {
    Select::new(input.container.as_ref(), &input.labels, input.compose.as_ref())
}

fn check(input: &AssertInput) -> Checked {
    let mut problems = Problems::default();
    problems.select(chosen(input));
    if let Some(image) = &input.image {
        problems.image("/image", image);
        if Reference::parse(image) == Ok(Reference::Previous) {
            problems.add("/image", "`previous` changes with each rollback", Some("by digest"));
        }
    }
    problems.engine(&input.engine);
    Checked { problems: problems.0, guarantee: Some(Guarantee::ReadOnly), ..Checked::default() }
}

struct Seen {
    differs: Vec<String>,
    output: Value,
}

async fn see(ctx: &Context, input: &Value) -> Result<Seen, PrepareFailure> {
    let input: AssertInput = parse_input(input)?;
    check(&input).accepted()?;
    let work = async {
        let host = Host::connect(ctx, &input.engine).await.map_err(HostError::into_failure)?;
        look(&host, &input).await
    };
    within(ctx, work).await.unwrap_or_else(|cut| {
        Err(PrepareFailure::Unreachable { reason: format!("{}: {cut}", input.engine.host) })
    })
}

async fn look(host: &Host, input: &AssertInput) -> Result<Seen, PrepareFailure> {
    let by = chosen(input).map_err(|reason| PrepareFailure::Refused { reason })?;
    let (found, _) = running(select(host, &by).await?, &by);
    let mut differs = Vec::new();
    for container in &found {
        let wrong = wrong(host, input, container).await.map_err(HostError::into_failure)?;
        differs.extend(wrong.map(|what| format!("{}: {what}", container.name)));
    }
    let count = u32::try_from(found.len()).unwrap_or(u32::MAX);
    match input.count {
        Some(wanted) if wanted != count => {
            differs.push(format!("{count} of {by} run, not {wanted}"));
        }
        None if count == 0 => differs.push(format!("no {by} runs")),
        _ => {}
    }
    let each = |it: &Container| json!({ "container": it.name, "id": it.id, "image": it.image_name, "image_id": it.image_id });
    let output = json!({ "containers": found.iter().map(each).collect::<Vec<_>>() });
    Ok(Seen { differs, output })
}

async fn wrong(
    host: &Host,
    input: &AssertInput,
    container: &Container,
) -> Result<Option<String>, HostError> {
    if !container.is_running {
        return Ok(Some(format!("it does not run ({})", container.status)));
    }
    if let Some(image) = &input.image
        && !runs(host, image, container).await?
    {
        return Ok(Some(format!("it runs {} ({})", container.image_name, container.image_id)));
    }
    if !input.healthy {
        return Ok(None);
    }
    let is_well = match container.health {
        Health::Healthy | Health::NoCheck => true,
        // Podman without systemd makes no check by itself.
        Health::Starting if host.flavor == Flavor::Podman => host.check_health(container).await?,
        Health::Starting | Health::Unhealthy => false,
    };
    Ok((!is_well).then(|| "its health check does not pass".to_owned()))
}

/// Whether a container runs the image that is known by this digest or id.
async fn runs(host: &Host, image: &str, container: &Container) -> Result<bool, HostError> {
    let name = Reference::parse(image).ok().and_then(|reference| reference.name());
    let name = name.unwrap_or_else(|| image.to_owned());
    if name == container.image_id {
        return Ok(true);
    }
    let here = host.image(&name).await?;
    Ok(here.is_some_and(|here| here.id == container.image_id))
}
