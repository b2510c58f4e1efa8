//! `config.restore`.

use std::path::Path;

use async_trait::async_trait;
use backout_plugin_api::files::{
    Faults, Guise, Method, Patience, Point, Presence, PresencePlan, Swap, SwapPlan, displaced_path,
    tidy,
};
use backout_plugin_api::words::{fetched, quoted};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, EffectKey, Fence, Guarantee, MadeEffect,
    Manifest, Outcome, PrepareFailure, Prepared, Reverted, Satisfied, Settled, Tidied, parse_input,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::input::RestoreInput;
use crate::plan::{self, Change, DATA_VERSION, Data};
use crate::source::{Place, is_url};

const NAME: &str = "config.restore";

/// The action `config.restore`.
#[derive(Clone, Debug, Default)]
pub struct ConfigRestore {
    faults: Faults,
}

impl ConfigRestore {
    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault) }
    }

    /// Blocks.
    fn make(&self, sending: &Sending, content: Option<(Vec<u8>, Guise)>) -> Outcome {
        let Sending { change, key, fence, patience } = sending;
        match (change, content) {
            (Change::Swap(plan), Some((bytes, _))) => {
                self.swap(plan, key, patience).apply(fence, |_| Ok(bytes))
            }
            (Change::Swap(_), None) => {
                Outcome::Refused { reason: "there is no content to write".to_owned() }
            }
            (Change::Presence(plan), content) => {
                let content = content.as_ref().map(|(bytes, guise)| (bytes.as_slice(), *guise));
                self.presence(plan, key, patience).apply(fence, content)
            }
        }
    }

    /// Blocks.
    fn look_back(&self, sending: &Sending) -> Settled {
        let Sending { change, key, fence, patience } = sending;
        match change {
            Change::Swap(plan) => self.swap(plan, key, patience).settle(fence.dispatch),
            Change::Presence(plan) => self.presence(plan, key, patience).settle(fence.dispatch),
        }
    }

    fn swap<'a>(
        &'a self,
        plan: &'a SwapPlan,
        key: &'a EffectKey,
        patience: &'a Patience,
    ) -> Swap<'a> {
        let output = json!({ "path": plan.target, "sha256": plan.wanted_sha256 });
        Swap { plan, key, output, patience, method: Method::default(), faults: &self.faults }
    }

    fn presence<'a>(
        &'a self,
        plan: &'a PresencePlan,
        key: &'a EffectKey,
        patience: &'a Patience,
    ) -> Presence<'a> {
        let sha256 = match plan {
            PresencePlan::Make { wanted_sha256, .. } => Some(wanted_sha256),
            PresencePlan::Take { .. } => None,
        };
        let output = json!({ "path": plan.target(), "sha256": sha256 });
        Presence { plan, key, output, patience, faults: &self.faults }
    }
}

/// What one sending is about.
struct Sending {
    change: Change,
    key: EffectKey,
    fence: Fence,
    patience: Patience,
}

impl Sending {
    fn of(ctx: &Context, call: &Call) -> Result<(Self, Option<Place>), String> {
        let Data { change, place } = data(call)?;
        let change = change.ok_or("nothing was to be done")?;
        let (key, fence) = (call.key.clone(), call.fence.clone());
        Ok((Self { change, key, fence, patience: Patience::of(ctx) }, place))
    }
}

#[async_trait]
impl Action for ConfigRestore {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "Puts configuration files back to the content of a digest.",
            docs: include_str!("docs/restore.md"),
            input: || schema_for!(RestoreInput),
            example: concat!(
                r#"(path: "/etc/shop/app.toml", "#,
                r#"sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "#,
                r#"from: "/srv/releases/1.4.2/app.toml")"#
            ),
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: &[DATA_VERSION],
        }
    }

    fn check(&self, input: &Value) -> Checked {
        RestoreInput::deserialize(input).map_or_else(|_| Checked::default(), |input| input.check())
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        RestoreInput::deserialize(input).map_or_else(|_| ByHand::default(), |input| by_hand(&input))
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let input: RestoreInput = parse_input(input)?;
        input.check().accepted()?;
        plan::prepare(ctx, &input).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let content = match content(ctx, call).await {
            Ok(content) => content,
            Err(reason) => return Outcome::Refused { reason },
        };
        let (this, (sending, content)) = (self.clone(), content);
        tokio::task::spawn_blocking(move || this.make(&sending, content))
            .await
            .unwrap_or_else(|error| Outcome::Unclear { reason: error.to_string() })
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let (sending, _) = match Sending::of(ctx, call) {
            Ok(sending) => sending,
            Err(evidence) => return Settled::Unknown { evidence },
        };
        let this = self.clone();
        tokio::task::spawn_blocking(move || this.look_back(&sending))
            .await
            .unwrap_or_else(|error| Settled::Unreachable { reason: error.to_string() })
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
    }

    async fn tidy(&self, _: &Context, made: &MadeEffect) -> Tidied {
        let effect = made.prepared.effects.get(made.effect);
        let data = effect.and_then(|effect| Data::deserialize(&effect.data).ok());
        let Some(data) = data else { return Tidied::default() };
        let key = made.key.clone();
        let target = match data.change {
            None => return Tidied::default(),
            Some(Change::Swap(plan)) => plan.target,
            Some(Change::Presence(plan)) => plan.target().to_owned(),
        };
        let tidied = tokio::task::spawn_blocking(move || tidy(&target, &key)).await;
        tidied.unwrap_or_default()
    }
}

fn data(call: &Call) -> Result<Data, String> {
    if call.prepared.data_version == DATA_VERSION {
        call.data()
    } else {
        let version = call.prepared.data_version;
        Err(format!("configuration data of version {version} is not known to this release"))
    }
}

/// What is to be written, fetched and proven before the file is touched.
async fn content(
    ctx: &Context,
    call: &Call,
) -> Result<(Sending, Option<(Vec<u8>, Guise)>), String> {
    let (sending, place) = Sending::of(ctx, call)?;
    let Some(place) = place else { return Ok((sending, None)) };
    let input: RestoreInput =
        parse_input(&call.input).map_err(|failure| failure.reason().to_owned())?;
    let read = place.read(ctx, &input.access()).await;
    let bytes = read.map_err(|failure| format!("{}; nothing was changed", failure.reason()))?;
    let guise = guise(&sending.change, &place).map_err(|error| error.to_string())?;
    Ok((sending, Some((bytes, guise))))
}

/// A file that is made looks like the one it is copied from, or as its folder's own.
fn guise(change: &Change, place: &Place) -> std::io::Result<Guise> {
    let target = match change {
        Change::Swap(plan) => plan.target.as_path(),
        Change::Presence(plan) => plan.target(),
    };
    if is_url(&place.at) {
        Guise::of_folder(target.parent().unwrap_or(target))
    } else {
        Guise::of_file(Path::new(&place.at))
    }
}

/// The displaced file stands beside the target, under a name of its key.
fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    let Some(effect) = effect.filter(|effect| effect.satisfied != Satisfied::Yes) else {
        return Reverted::Nothing;
    };
    let not_possible = |why: String| Reverted::NotPossible { why };
    let data = match Data::deserialize(&effect.data) {
        Ok(data) => data,
        Err(error) => return not_possible(format!("the record cannot be read: {error}")),
    };
    let (target, before) = match data.change {
        None => return Reverted::Nothing,
        Some(Change::Presence(PresencePlan::Make { target, .. })) => {
            let input = json!({ "path": target, "absent": true });
            return Reverted::By { action: ActionName::new(NAME), input };
        }
        Some(Change::Presence(PresencePlan::Take { target, before })) => (target, before),
        Some(Change::Swap(plan)) => (plan.target, plan.before),
    };
    match displaced_path(&target, &made.key) {
        Ok(kept) => Reverted::By {
            action: ActionName::new(NAME),
            input: json!({ "path": target, "sha256": before.sha256, "from": kept }),
        },
        Err(error) => not_possible(format!("the displaced file is not to be found: {error}")),
    }
}

fn by_hand(input: &RestoreInput) -> ByHand {
    let path = &input.path;
    let mut commands = Vec::new();
    let mut verify = Vec::new();
    let one = input.sha256.iter().map(|sha256| (None, sha256));
    let files = input.files.iter().map(|(inside, sha256)| (Some(inside.as_str()), sha256));
    for (inside, sha256) in one.chain(files) {
        let target = inside.map_or_else(|| path.clone(), |inside| format!("{path}/{inside}"));
        let place = Place::of(&input.from, inside, sha256);
        commands.push(format!("cp -p {} {}", quoted(&target), quoted(&format!("{target}.before"))));
        commands.push(copy(input, &place.at, &target));
        verify.push(format!("echo '{sha256}  {target}' | sha256sum -c"));
    }
    if input.absent {
        commands.push(format!("mv {} {}", quoted(path), quoted(&format!("{path}.before"))));
        verify.push(format!("test ! -e {}", quoted(path)));
    }
    if let Some(manifest) = &input.manifest {
        commands.push(copy(input, &manifest.from, "/tmp/SHA256SUMS"));
        commands.push(format!("cp -rp {} {}", quoted(path), quoted(&format!("{path}.before"))));
        commands.push(format!("# each file of the list from {} to {path}", input.from));
        verify.push(format!("cd {} && sha256sum -c /tmp/SHA256SUMS", quoted(path)));
    }
    ByHand { does: format!("puts {path} back to what its digest says"), commands, verify }
}

/// Into the file itself, which so keeps its mode and owner.
fn copy(input: &RestoreInput, from: &str, to: &str) -> String {
    if !is_url(from) {
        return format!("cat {} > {}", quoted(from), quoted(to));
    }
    let mut words = vec!["curl -fsSL".to_owned()];
    for (name, value) in &input.headers {
        words.push(format!("-H {}", quoted(&format!("{name}: {value}"))));
    }
    for (name, reference) in &input.secret_headers {
        words.push(format!("-H \"{name}: {}\"", fetched(reference)));
    }
    if let Some(reference) = &input.bearer {
        words.push(format!("-H \"Authorization: Bearer {}\"", fetched(reference)));
    }
    words.push(format!("{} > {}", quoted(from), quoted(to)));
    words.join(" ")
}
