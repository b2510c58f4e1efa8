//! `releases.activate`.

use std::path::Path;

use async_trait::async_trait;
use backout_plugin_api::files::{
    Faults, Kind, Method, Patience, Point, Swap, SwapPlan, sha256_hex, tidy,
};
use backout_plugin_api::web;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, EffectKey, Guarantee, Hazard, Image,
    InputProblem, MadeEffect, Manifest, Outcome, PrepareFailure, Prepared, PreparedEffect,
    Reversibility, Reverted, Satisfied, Settled, TargetId, Tidied, parse_input,
};
use schemars::schema_for;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::folder::{ActivateInput, Artifact, Root, digest, find, verify};
use crate::source::{Source, is_from, record};

const DOCS: &str = include_str!("docs/activate.md");

/// The version of [`Data`]. Version 1 had no `source`.
const DATA_VERSION: u32 = 2;
const DATA_VERSIONS: &[u32] = &[1, DATA_VERSION];

/// What `apply`, `settle` and `revert` need.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Data {
    swap: SwapPlan,
    /// What the link holds afterwards.
    wanted: String,
    release: std::path::PathBuf,
    artifact: Option<Artifact>,
    previous: Option<Previous>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
}

/// The way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Previous {
    release: String,
    artifact: Option<Artifact>,
}

/// The action `releases.activate`.
#[derive(Clone, Debug, Default)]
pub struct ReleasesActivate {
    faults: Faults,
    method: Method,
}

impl ReleasesActivate {
    /// The same, disturbed after each sub-step of `apply`; for tests.
    #[must_use]
    pub fn with_fault(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        Self { faults: Faults::at(fault), ..self }
    }

    /// The same with another way to exchange the names; for tests.
    #[must_use]
    pub fn with_method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn swap<'a>(&'a self, data: &'a Data, key: &'a EffectKey, patience: &'a Patience) -> Swap<'a> {
        let output = json!({
            "release": data.release.file_name().and_then(|name| name.to_str()),
            "path": data.release,
            "link": data.swap.target,
            "previous": data.previous.as_ref().map(|previous| &previous.release),
        });
        Swap { plan: &data.swap, key, output, patience, method: self.method, faults: &self.faults }
    }
}

#[async_trait]
impl Action for ReleasesActivate {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("releases.activate"),
            summary: "Makes another release the current one behind a symlink.",
            docs: DOCS,
            input: || schema_for!(ActivateInput),
            example: concat!(
                r#"(root: "/srv/shop", release: "1.4.2", artifact: (path: "bin/shop", sha256: "#,
                r#""9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"))"#
            ),
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        check(input)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand(input)
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        check(input).accepted()?;
        let input: ActivateInput = parse_input(input)?;
        let (source, release) = (input.source.clone(), input.release.clone());
        let (prepared, is_here) =
            tokio::task::spawn_blocking(move || prepare(&input)).await.unwrap_or_else(|error| {
                Err(PrepareFailure::Unreachable { reason: error.to_string() })
            })?;
        if let Some(source) = source.filter(|_| !is_here) {
            source.look(ctx, &release).await?;
        }
        Ok(prepared)
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let data = match data(call) {
            Ok(data) => data,
            Err(reason) => return Outcome::Refused { reason },
        };
        if let Some(source) = &data.source
            && let Err(reason) = source.install(ctx, &data.release).await
        {
            return Outcome::Refused { reason: format!("{reason}; nothing was linked") };
        }
        let patience = Patience::of(ctx);
        let (this, key, fence) = (self.clone(), call.key.clone(), call.fence.clone());
        let work = move || {
            this.swap(&data, &key, &patience).apply(&fence, |_| {
                data.artifact
                    .as_ref()
                    .map_or(Ok(()), |artifact| verify(&data.release, artifact))?;
                Ok(data.wanted.clone().into_bytes())
            })
        };
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

    async fn tidy(&self, _: &Context, made: &MadeEffect) -> Tidied {
        let effect = made.prepared.effects.get(made.effect);
        let data = effect.and_then(|effect| Data::deserialize(&effect.data).ok());
        let Some(data) = data else { return Tidied::default() };
        let key = made.key.clone();
        let tidied = tokio::task::spawn_blocking(move || tidy(&data.swap.target, &key)).await;
        tidied.unwrap_or_default()
    }
}

fn data(call: &Call) -> Result<Data, String> {
    if DATA_VERSIONS.contains(&call.prepared.data_version) {
        call.data()
    } else {
        let version = call.prepared.data_version;
        Err(format!("release data of version {version} is not known to this release"))
    }
}

fn check(input: &Value) -> Checked {
    let Ok(input) = ActivateInput::deserialize(input) else { return Checked::default() };
    let problem =
        |(at, message): (&str, String)| InputProblem { at: at.to_owned(), message, help: None };
    let unverified = InputProblem {
        at: "/artifact".to_owned(),
        message: "no artifact is named, so only the release's folder is looked at".to_owned(),
        help: Some("name a file of the release and its `sha256sum`".to_owned()),
    };
    let mut checked = Checked::default();
    if let Some(source) = &input.source {
        source.check(&mut checked);
    }
    let problems = input.problems().into_iter().map(problem);
    let target = format!("file:{}/{}", input.root.trim_end_matches('/'), input.current);
    Checked {
        problems: problems.chain(checked.problems).collect(),
        warnings: if input.artifact.is_none() && input.source.is_none() {
            vec![unverified]
        } else {
            checked.warnings
        },
        guarantee: Some(Guarantee::Conditional),
        targets: if target.contains("${") { Vec::new() } else { vec![TargetId::new(target)] },
    }
}

/// And whether the release's folder is there.
fn prepare(input: &ActivateInput) -> Result<(Prepared, bool), PrepareFailure> {
    let refuse = |reason: String| PrepareFailure::Refused { reason };
    let root = find(input)?;
    if let Some(artifact) = input.artifact.as_ref().filter(|_| root.is_here) {
        verify(&root.release, artifact).map_err(refuse)?;
    }
    if let Some(source) = input.source.as_ref().filter(|_| root.is_here) {
        is_from(&root.release, &source.sha256).map_err(refuse)?;
    }
    if !root.is_current {
        check_writable(&root.link)?;
    }
    if !root.is_here {
        check_writable(&root.release)?;
    }
    let effect = effect(input, &root).map_err(refuse)?;
    let prepared = Prepared {
        data_version: DATA_VERSION,
        guarantee: Guarantee::Conditional,
        remembered_ms: None,
        locks: vec![TargetId::new(format!("file:{}", root.link.display()))],
        effects: vec![effect],
        hazards: unproven(input, &root).into_iter().collect(),
        gate: None,
        converge_ms: 0,
        seen: json!({ "link": root.link, "holds": root.text }),
    };
    Ok((prepared, root.is_here))
}

/// A folder that is there, of which nothing says that it is the release.
fn unproven(input: &ActivateInput, root: &Root) -> Option<Hazard> {
    let known = record(&root.release).is_ok_and(|record| record.is_some());
    let asked = input.source.is_some() && input.artifact.is_none();
    (asked && root.is_here && !root.is_current && !known).then(|| Hazard {
        code: "unproven-release".to_owned(),
        text: format!(
            "{} was there before and does not say where it came from: name an `artifact` of it",
            root.release.display()
        ),
    })
}

fn check_writable(path: &Path) -> Result<(), PrepareFailure> {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| {
        let reason = format!("cannot write to the folder {}: {error}", folder.display());
        PrepareFailure::Refused { reason }
    })
}

fn effect(input: &ActivateInput, root: &Root) -> Result<PreparedEffect, String> {
    let previous = root.previous.as_ref().filter(|_| !root.is_current);
    let previous = previous.map(|release| previous_release(input, root, release));
    let wanted = if root.is_current { root.text.clone() } else { root.wanted.clone() };
    let mut lines = vec![format!("{}: {} -> {wanted}", root.link.display(), root.text)];
    if let Some(source) = input.source.as_ref().filter(|_| !root.is_here) {
        let (release, at) = (root.release.display(), web::shown(&source.at));
        lines.insert(0, format!("{release}: from {at}, SHA-256 {}", source.sha256));
    }
    let has_way_back = previous.is_some() || root.is_current;
    let data = Data {
        swap: SwapPlan {
            target: root.link.clone(),
            kind: Kind::Link,
            before: root.look.stamp.clone(),
            wanted_sha256: sha256_hex(wanted.as_bytes()),
        },
        wanted: wanted.clone(),
        release: root.release.clone(),
        artifact: input.artifact.clone(),
        previous,
        source: input.source.clone(),
    };
    Ok(PreparedEffect {
        title: format!("release {} is current at {}", input.release, root.link.display()),
        wave: 0,
        satisfied: if root.is_current { Satisfied::Yes } else { Satisfied::No },
        before: Image::Plain(json!(root.text)),
        wanted: Image::Plain(json!(wanted)),
        difference: if root.is_current { Vec::new() } else { lines },
        reversibility: if has_way_back { Reversibility::Exact } else { Reversibility::None },
        hazards: if has_way_back { Vec::new() } else { vec![no_way_back(root)] },
        data: serde_json::to_value(data).map_err(|error| error.to_string())?,
    })
}

fn no_way_back(root: &Root) -> Hazard {
    Hazard {
        code: "no-way-back".to_owned(),
        text: format!(
            "{} holds {}, which is no release of this folder: an undo cannot bring it back",
            root.link.display(),
            root.text
        ),
    }
}

/// The way back carries the digest that the previous release's artifact has now.
fn previous_release(input: &ActivateInput, root: &Root, release: &str) -> Previous {
    let artifact = input.artifact.as_ref().and_then(|artifact| {
        let path = root.release.parent()?.join(release).join(&artifact.path);
        let sha256 = digest(&path).ok()?;
        Some(Artifact { path: artifact.path.clone(), sha256 })
    });
    Previous { release: release.to_owned(), artifact }
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
    let Some(previous) = data.previous else {
        let link = data.swap.target.display();
        let why = format!("{link} named no release of its folder before; link it by hand");
        return Reverted::NotPossible { why };
    };
    let mut input = made.input.clone();
    if let Some(fields) = input.as_object_mut() {
        fields.insert("release".to_owned(), json!(previous.release));
        fields.insert("artifact".to_owned(), json!(previous.artifact));
        // The release from before is there; its folder was never touched.
        fields.remove("source");
    }
    Reverted::By { action: ActionName::new("releases.activate"), input }
}

fn by_hand(input: &Value) -> ByHand {
    let Ok(input) = ActivateInput::deserialize(input) else { return ByHand::default() };
    let ActivateInput { root, releases, current, release, artifact, source } = input;
    let mut commands = vec![format!("cd '{root}' && readlink {current}")];
    commands.extend(source.iter().flat_map(|source| source.by_hand(&releases, &release)));
    if let Some(Artifact { path, sha256 }) = artifact {
        commands.push(format!("echo '{sha256}  {releases}/{release}/{path}' | sha256sum -c"));
    }
    commands.push(format!("ln -s '{releases}/{release}' '.{current}.new'"));
    commands.push(format!("mv -T '.{current}.new' '{current}'"));
    ByHand {
        does: format!("makes release {release} the current one in {root}"),
        commands,
        verify: vec![format!("readlink '{root}/{current}'  # {releases}/{release}")],
    }
}
