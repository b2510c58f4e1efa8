//! `containers.stop`, `containers.start`, `containers.restart`.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Hazard, Image, MadeEffect,
    Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted,
    Satisfied, Settled, TargetId, parse_input,
};
use schemars::schema_for;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::faults::{Faults, Point};
use crate::host::{Container, Health, Host, HostError, Restart, within};
use crate::input::{PowerInput, Problems, RestartInput, Select};
use crate::select::select;

mod work;

use work::Work;

/// The version of [`Data`].
const DATA_VERSION: u32 = 1;
/// How long we count on it that the engine still tells when a container started and ended.
const REMEMBERED_MS: u64 = 30 * 24 * 3600 * 1000;
/// How long a container may take to look as wanted after the engine said so.
const CONVERGE_MS: u64 = 5_000;
/// The part of a verb's time, in percent, that a started container may take until it is healthy.
const HEALTHY_PERCENT: u32 = 90;
const HEALTHY_DEFAULT: Duration = Duration::from_mins(2);
const STABLE_DEFAULT: Duration = Duration::from_secs(5);

/// What is done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Stop,
    Start,
    Restart,
}

/// What `apply`, `settle` and `revert` need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Data {
    engine: String,
    name: String,
    id: String,
    was_running: bool,
    /// How often its policy started it again.
    restarts: i64,
    /// Whether it had ended and its policy was about to start it again: that start is counted in
    /// `restarts` already.
    #[serde(default)]
    was_restarting: bool,
    /// When it started and ended last, by the engine's clock: the container's version. Each start
    /// and each end makes it another one.
    started_at: Option<String>,
    finished_at: Option<String>,
    restart: Restart,
    auto_remove: bool,
}

/// The actions `containers.stop`, `containers.start` and `containers.restart`.
#[derive(Clone, Debug)]
pub struct ContainersPower {
    verb: Verb,
    faults: Faults,
}

impl ContainersPower {
    /// `containers.stop`.
    pub fn stop() -> Self {
        Self { verb: Verb::Stop, faults: Faults::default() }
    }

    /// `containers.start`.
    pub fn start() -> Self {
        Self { verb: Verb::Start, faults: Faults::default() }
    }

    /// `containers.restart`.
    pub fn restart() -> Self {
        Self { verb: Verb::Restart, faults: Faults::default() }
    }

    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault), ..self }
    }
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "containers.stop",
            Self::Start => "containers.start",
            Self::Restart => "containers.restart",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
        }
    }

    fn satisfied(self, now: &Container) -> Satisfied {
        let is_served = now.is_running && now.health != Health::Unhealthy;
        match self {
            Self::Stop if now.is_up => Satisfied::No,
            Self::Start if !is_served => Satisfied::No,
            Self::Stop | Self::Start => Satisfied::Yes,
            Self::Restart => Satisfied::CannotTell,
        }
    }
}

#[async_trait]
impl Action for ContainersPower {
    fn manifest(&self) -> Manifest {
        let (summary, docs, example) = match self.verb {
            Verb::Stop => (
                "Ends running containers, by name or by label.",
                include_str!("docs/stop.md"),
                include_str!("docs/stop.ron"),
            ),
            Verb::Start => (
                "Starts stopped containers, and waits until they are healthy.",
                include_str!("docs/start.md"),
                include_str!("docs/start.ron"),
            ),
            Verb::Restart => (
                "Ends containers and starts them again, and waits until they are healthy.",
                include_str!("docs/restart.md"),
                include_str!("docs/restart.ron"),
            ),
        };
        Manifest {
            name: ActionName::new(self.verb.name()),
            summary,
            docs,
            input: || schema_for!(PowerInput),
            example,
            guarantee: Guarantee::Keyed,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        PowerInput::deserialize(input).map_or_else(|_| Checked::default(), |input| check(&input))
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        let Ok(input) = PowerInput::deserialize(input) else { return ByHand::default() };
        let docker = crate::by_hand::docker(&input.engine);
        let (list, name) = crate::by_hand::names(&docker, chosen(&input));
        let mut commands = Vec::from_iter(list);
        if self.verb == Verb::Stop {
            commands.push(format!("{docker} update --restart no {name}"));
        }
        commands.push(format!("{docker} {} {name}", self.verb.word()));
        ByHand {
            does: format!("{}s {name}", self.verb.word()),
            commands,
            verify: vec![format!(
                "{docker} inspect {name} --format '{{{{.State.Status}}}} {{{{.State.StartedAt}}}}'"
            )],
        }
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: PowerInput = parse_input(input)?;
        check(&input).accepted()?;
        let work = async {
            let host = Host::connect(ctx, &input.engine).await.map_err(HostError::into_failure)?;
            prepare(self.verb, &host, &input).await
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
            let host = Host::connect(ctx, &input.engine).await?;
            let (data, input, faults, verb) = (&data, &input, &self.faults, self.verb);
            Work { ctx, host: &host, data, input, faults, verb, begun }.run().await
        };
        match within(ctx, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Unclear { reason: error.to_string() },
            Err(cut) => Outcome::Unclear { reason: format!("{}: {cut}", data.name) },
        }
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let (data, input) = match read(call) {
            Ok(read) => read,
            Err(evidence) => return Settled::Unknown { evidence },
        };
        let work = async {
            let host = Host::connect(ctx, &input.engine).await?;
            let now = host.container(&data.id).await?;
            let policy = host.can_set_restart().then_some(&input);
            Ok(work::settled(self.verb, &data, policy, now.as_ref()))
        };
        match within(ctx, work).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(error)) => Settled::Unreachable { reason: HostError::to_string(&error) },
            Err(cut) => Settled::Unreachable { reason: format!("{}: {cut}", data.name) },
        }
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(self.verb, made)
    }
}

fn chosen(input: &PowerInput) -> Result<Select, String> {
    Select::new(input.container.as_ref(), &input.labels, input.compose.as_ref())
}

fn check(input: &PowerInput) -> Checked {
    let mut problems = Problems::default();
    problems.select(chosen(input));
    problems.unavailable(input.max_unavailable);
    problems.duration("/healthy_within", &input.healthy_within);
    problems.duration("/stable_for", &input.stable_for);
    if let Some(grace) = &input.grace {
        problems.duration("/grace", grace);
    }
    problems.engine(&input.engine);
    Checked { problems: problems.0, guarantee: Some(Guarantee::Keyed), ..Checked::default() }
}

fn read(call: &Call) -> Result<(Data, PowerInput), String> {
    let version = call.prepared.data_version;
    if version != DATA_VERSION {
        return Err(format!("container data of version {version} is not known to this release"));
    }
    let input = PowerInput::deserialize(&call.input).map_err(|error| error.to_string())?;
    Ok((call.data()?, input))
}

async fn prepare(verb: Verb, host: &Host, input: &PowerInput) -> Result<Prepared, PrepareFailure> {
    let by = chosen(input).map_err(|reason| PrepareFailure::Refused { reason })?;
    let found = select(host, &by).await?;
    let mut effects = Vec::new();
    for (index, now) in found.iter().enumerate() {
        let mut effect = effect(verb, host, now)
            .map_err(|error| PrepareFailure::Refused { reason: error.to_string() })?;
        effect.wave = u32::try_from(index).unwrap_or(0) / input.max_unavailable.max(1);
        effects.push(effect);
    }
    let lock = |now: &Container| TargetId::new(format!("{}/{}", host.identity, now.name));
    Ok(Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Keyed,
        remembered_ms: Some(REMEMBERED_MS),
        locks: found.iter().map(lock).collect(),
        effects,
        hazards: Vec::new(),
        gate: None,
        converge_ms: CONVERGE_MS,
        seen: json!({ "engine": host.identity }),
    })
}

fn effect(verb: Verb, host: &Host, now: &Container) -> serde_json::Result<PreparedEffect> {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(|at| at.to_rfc3339());
    let data = Data {
        engine: host.identity.clone(),
        name: now.name.clone(),
        id: now.id.clone(),
        was_running: now.is_up,
        restarts: now.restarts,
        was_restarting: now.is_up && !now.is_running,
        started_at: time(now.started_at),
        finished_at: time(now.finished_at),
        restart: now.restart.clone(),
        auto_remove: now.auto_remove,
    };
    let then = if verb == Verb::Stop { "ended" } else { "running" };
    let satisfied = verb.satisfied(now);
    let line = match verb {
        Verb::Restart => format!("{}: {}, started {}", now.name, now.status, since(&data)),
        Verb::Stop | Verb::Start => format!("{}: {} -> {then}", now.name, now.status),
    };
    let is_lost = verb == Verb::Stop && now.auto_remove;
    Ok(PreparedEffect {
        title: format!("{} {} ({})", verb.word(), now.name, now.short_id()),
        wave: 0,
        satisfied,
        before: Image::Plain(json!({ "status": now.status, "started_at": data.started_at })),
        wanted: Image::Plain(json!({ "status": then })),
        difference: if satisfied == Satisfied::Yes { Vec::new() } else { vec![line] },
        reversibility: if is_lost { Reversibility::None } else { Reversibility::Exact },
        hazards: if satisfied == Satisfied::Yes { Vec::new() } else { hazards(verb, host, now) },
        data: serde_json::to_value(data)?,
    })
}

fn since(data: &Data) -> &str {
    data.started_at.as_deref().unwrap_or("never")
}

fn hazards(verb: Verb, host: &Host, now: &Container) -> Vec<Hazard> {
    let hazard = |code: &str, text: String| Hazard { code: code.to_owned(), text };
    let mut found = Vec::new();
    if verb == Verb::Start {
        return found;
    }
    if now.auto_remove {
        let text = format!("the engine removes {} when it ends", now.name);
        found.push(hazard("auto-remove", text));
    }
    if verb == Verb::Stop && now.restart.revives() && !host.can_set_restart() {
        let text = format!(
            "{} has the restart policy `{}`, which this engine cannot change: it may come back when \
             the machine restarts",
            now.name, now.restart.name
        );
        found.push(hazard("kept-may-come-back", text));
    }
    found
}

fn revert(verb: Verb, made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let Ok(data) = Data::deserialize(&effect.data) else {
        let why = "the record of what was there is not readable by this release".to_owned();
        return Reverted::NotPossible { why };
    };
    let undo = match verb {
        Verb::Restart => return Reverted::Nothing,
        Verb::Stop if data.auto_remove => {
            let why = format!("{} was removed by the engine when it ended", data.name);
            return Reverted::NotPossible { why };
        }
        Verb::Stop => Verb::Start,
        Verb::Start => Verb::Stop,
    };
    let mut input = made.input.clone();
    if let Some(fields) = input.as_object_mut() {
        fields.remove("labels");
        fields.remove("compose");
        fields.remove("restart_policy");
        fields.insert("container".to_owned(), json!(data.name));
        let restart = RestartInput::from(data.restart);
        fields.insert("restart_policy".to_owned(), json!(restart));
    }
    Reverted::By { action: ActionName::new(undo.name()), input }
}
