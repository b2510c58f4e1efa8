//! `config.restore`.

use async_trait::async_trait;
use backout_plugin_api::files::{Faults, Method, Patience, Point, Swap, displaced_path};
use backout_plugin_api::words::{fetched, quoted};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, EffectKey, Guarantee, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, Reverted, Satisfied, Settled, parse_input,
};
use schemars::schema_for;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::input::RestoreInput;
use crate::plan::{self, DATA_VERSION, Data};
use crate::source::{Place, is_url};

const NAME: &str = "config.restore";

/// The action `config.restore`.
#[derive(Clone, Debug, Default)]
pub struct ConfigRestore {
    faults: Faults,
    method: Method,
}

impl ConfigRestore {
    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault), ..self }
    }

    fn swap<'a>(&'a self, data: &'a Data, key: &'a EffectKey, patience: &'a Patience) -> Swap<'a> {
        let output = json!({ "path": data.swap.target, "sha256": data.swap.wanted_sha256 });
        Swap { plan: &data.swap, key, output, patience, method: self.method, faults: &self.faults }
    }
}

#[async_trait]
impl Action for ConfigRestore {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new(NAME),
            summary: "Puts configuration files back to the content of a digest.",
            docs: include_str!("docs/restore.md"),
            input: schema_for!(RestoreInput),
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
        let (data, bytes) = match content(ctx, call).await {
            Ok(content) => content,
            Err(reason) => return Outcome::Refused { reason },
        };
        let patience = Patience::of(ctx);
        let (this, key, fence) = (self.clone(), call.key.clone(), call.fence.clone());
        let work = move || this.swap(&data, &key, &patience).apply(&fence, |_| Ok(bytes));
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Outcome::Unclear { reason: error.to_string() })
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let data = match data(call) {
            Ok(data) => data,
            Err(evidence) => return Settled::Unknown { evidence },
        };
        let patience = Patience::of(ctx);
        let (this, key, dispatch) = (self.clone(), call.key.clone(), call.fence.dispatch);
        let work = move || this.swap(&data, &key, &patience).settle(dispatch);
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Settled::Unreachable { reason: error.to_string() })
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        revert(made)
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
async fn content(ctx: &Context, call: &Call) -> Result<(Data, Vec<u8>), String> {
    let data = data(call)?;
    let input: RestoreInput =
        parse_input(&call.input).map_err(|failure| failure.reason().to_owned())?;
    let read = data.place.read(ctx, &input.access()).await;
    let bytes = read.map_err(|failure| format!("{}; nothing was changed", failure.reason()))?;
    Ok((data, bytes))
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
    match displaced_path(&data.swap.target, &made.key) {
        Ok(kept) => Reverted::By {
            action: ActionName::new(NAME),
            input: json!({
                "path": data.swap.target,
                "sha256": data.swap.before.sha256,
                "from": kept,
            }),
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
