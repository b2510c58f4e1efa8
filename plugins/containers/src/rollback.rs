//! `containers.rollback`.

use std::time::Instant;

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Fence, Guarantee, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, Reverted, Satisfied, Settled, Tidied, parse_input,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::{Faults, Point};
use crate::host::{Host, HostError, within};
use crate::input::{Problems, RestartInput, RollbackInput, Select};

mod data;
mod prepare;
mod scene;
mod tidy;
mod work;

use data::{DATA_VERSION, Data};
use scene::{Next, Scene, Seen, next};
use work::Work;

const DOCS: &str = include_str!("docs/rollback.md");

/// The action `containers.rollback`.
#[derive(Clone, Debug, Default)]
pub struct ContainersRollback {
    faults: Faults,
}

impl ContainersRollback {
    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault) }
    }
}

#[async_trait]
impl Action for ContainersRollback {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("containers.rollback"),
            summary: "Puts containers of another image into the place of running ones.",
            docs: DOCS,
            input: || schema_for!(RollbackInput),
            example: include_str!("docs/rollback.ron"),
            guarantee: Guarantee::Keyed,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        RollbackInput::deserialize(input).map_or_else(|_| Checked::default(), |input| check(&input))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        RollbackInput::deserialize(input)
            .map_or_else(|_| ByHand::default(), |input| by_hand(&input))
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: RollbackInput = parse_input(input)?;
        check(&input).accepted()?;
        let work = async {
            let host = Host::connect(ctx, &input.engine).await.map_err(HostError::into_failure)?;
            prepare::prepare(ctx, &host, &input).await
        };
        within(ctx, work).await.unwrap_or_else(|cut| {
            Err(PrepareFailure::Unreachable { reason: format!("{}: {cut}", input.engine.host) })
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let (data, input) = match read(call) {
            Ok(read) => read,
            Err(reason) => return Outcome::Refused { reason },
        };
        let begun = Instant::now();
        let work = async {
            match Host::connect(ctx, &input.engine).await {
                Ok(host) => {
                    let (data, input, faults) = (&data, &input, &self.faults);
                    Work { ctx, call, host: &host, data, input, faults, begun }.run().await
                }
                Err(error) => Outcome::Unclear { reason: error.to_string() },
            }
        };
        within(ctx, work)
            .await
            .unwrap_or_else(|cut| Outcome::Unclear { reason: format!("{}: {cut}", data.name) })
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let (data, input) = match read(call) {
            Ok(read) => read,
            Err(evidence) => return Settled::Unknown { evidence },
        };
        let begun = Instant::now();
        let work = async {
            let host = Host::connect(ctx, &input.engine).await?;
            let (data, input, faults) = (&data, &input, &self.faults);
            settle(&Work { ctx, call, host: &host, data, input, faults, begun }).await
        };
        match within(ctx, work).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(error)) => Settled::Unreachable { reason: error.to_string() },
            Err(cut) => Settled::Unreachable { reason: format!("{}: {cut}", data.name) },
        }
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }

    async fn tidy(&self, ctx: &Context, made: &MadeEffect) -> Tidied {
        tidy::tidy(ctx, made).await
    }
}

fn read(call: &Call) -> Result<(Data, RollbackInput), String> {
    let version = call.prepared.data_version;
    if version != DATA_VERSION {
        return Err(format!("container data of version {version} is not known to this release"));
    }
    let input = RollbackInput::deserialize(&call.input).map_err(|error| error.to_string())?;
    Ok((call.data()?, input))
}

fn check(input: &RollbackInput) -> Checked {
    let mut problems = Problems::default();
    let select = Select::new(input.container.as_ref(), &input.labels, input.compose.as_ref());
    if input.restore.is_some() && !matches!(select, Ok(Select::Name(_))) {
        problems.add("/restore", "a kept container takes the place of one `container`", None);
    }
    problems.select(select);
    match (&input.image, &input.restore) {
        (Some(image), None) => problems.image("/image", image),
        (None, Some(_)) => {}
        (None, None) => problems.add("", "no `image` is named", Some("by digest, or `previous`")),
        (Some(_), Some(_)) => problems.add("/restore", "give `image` or `restore`, not both", None),
    }
    problems.unavailable(input.max_unavailable);
    problems.duration("/healthy_within", &input.healthy_within);
    problems.duration("/stable_for", &input.stable_for);
    problems.duration("/drain", &input.drain);
    if let Some(grace) = &input.grace {
        problems.duration("/grace", grace);
    }
    problems.engine(&input.engine);
    Checked { problems: problems.0, guarantee: Some(Guarantee::Keyed), ..Checked::default() }
}

/// What the names and labels tell of a sending.
async fn settle(work: &Work<'_>) -> Result<Settled, HostError> {
    let scene = work.look().await?;
    if scene.seal.as_ref().is_some_and(|(sealed, _)| *sealed >= work.call.fence.dispatch) {
        return Ok(Settled::NotDone);
    }
    if scene.new.is_some() {
        return Ok(going_on(work, &scene));
    }
    if let Some((_, id)) = &scene.seal {
        work.host.remove(id).await?;
    }
    match work.seal().await {
        Ok(()) => Ok(Settled::NotDone),
        // It began between our look and our seal.
        Err(error) if error.is_conflict() => Ok(going_on(work, &work.look().await?)),
        Err(error @ HostError::Answer { .. }) => Ok(Settled::Unknown {
            evidence: format!("nothing bears its mark, and no seal can be made: {error}"),
        }),
        Err(error) => Err(error),
    }
}

fn going_on(work: &Work<'_>, scene: &Scene) -> Settled {
    let name = &work.data.name;
    // Whichever sending made it, it is made.
    let any = Fence { dispatch: u32::MAX, ..work.call.fence.clone() };
    match next(scene, work.data, &any, Seen::Well) {
        Next::Done => Settled::Done { output: work.output(scene) },
        Next::Do(step) => Settled::Unknown {
            evidence: format!("{name} is half replaced, next is `{step:?}`; sent again it goes on"),
        },
        Next::Refuse(why) | Next::Abandon(why) => {
            Settled::Unknown { evidence: format!("{name} is half replaced: {why}") }
        }
    }
}

fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let Ok(data) = Data::deserialize(&effect.data) else {
        let why = "the record of what was there is not readable by this release".to_owned();
        return Reverted::NotPossible { why };
    };
    if data.auto_remove {
        let why = format!("{} was removed by the engine when it ended; run it anew", data.name);
        return Reverted::NotPossible { why };
    }
    let mut input = made.input.clone();
    if let Some(fields) = input.as_object_mut() {
        for gone in ["labels", "compose", "image", "registry"] {
            fields.remove(gone);
        }
        fields.insert("container".to_owned(), json!(data.name));
        fields.insert("restore".to_owned(), json!(data.old));
        let restart = RestartInput::from(data.restart);
        fields.insert("restart_policy".to_owned(), json!(restart));
    }
    Reverted::By { action: ActionName::new("containers.rollback"), input }
}

fn by_hand(input: &RollbackInput) -> ByHand {
    let select = Select::new(input.container.as_ref(), &input.labels, input.compose.as_ref());
    let docker = crate::by_hand::docker(&input.engine);
    let (names, name) = match &select {
        Ok(Select::Name(name)) => (None, name.clone()),
        Ok(Select::Labels(labels)) => {
            (Some(crate::by_hand::list(&docker, labels)), "NAME".to_owned())
        }
        Err(_) => (None, "NAME".to_owned()),
    };
    let mut commands = Vec::from_iter(names);
    let image = input.image.as_deref().unwrap_or("IMAGE");
    let aside = format!("{name}-before");
    if let Some(kept) = &input.restore {
        commands.push(format!("{docker} rename {name} {aside} && {docker} stop {aside}"));
        commands.push(format!("{docker} rename {kept} {name} && {docker} start {name}"));
    } else {
        if image.contains('@') {
            commands.push(format!("{docker} pull {image}"));
        }
        commands.push(format!("{docker} inspect {name} > {name}.json  # all its settings"));
        commands.push(format!("{docker} rename {name} {aside}"));
        commands.push(format!(
            "{docker} run -d --name {name} … {image}  # … as in {name}.json; if a port is taken, \
             stop {aside} first"
        ));
        commands.push(format!("{docker} stop {aside}  # once {name} is healthy"));
    }
    ByHand {
        does: match &input.restore {
            Some(kept) => format!("puts the kept container {kept} back into the place of {name}"),
            None => format!("replaces {name} by a container of {image} with the same settings"),
        },
        commands,
        verify: vec![format!(
            "{docker} inspect {name} --format '{{{{.Config.Image}}}} {{{{.Image}}}} \
             {{{{.State.Status}}}} {{{{if .State.Health}}}}{{{{.State.Health.Status}}}}{{{{end}}}}'"
        )],
    }
}
