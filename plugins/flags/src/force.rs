//! `flags.off` and `flags.set`: everybody gets one variation.

use async_trait::async_trait;
use backout_plugin_api::files::{Method, Point};
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, MadeEffect, Manifest, Outcome,
    PrepareFailure, Prepared, Reverted, Settled, Tidied, parse_input,
};
use schemars::schema_for;
use serde_json::Value;

use crate::api::Api;
use crate::by_hand;
use crate::change::{self, Planned, Source};
use crate::check::{self, Kind};
use crate::input::{OffInput, Place, Server, SetInput, System, Wish};
use crate::kept::DATA_VERSIONS;
use crate::proof::Expected;
use crate::server::{self, ServerPoint};
use crate::step::{self, Maker};
use crate::{flagd, goff};

const OFF_DOCS: &str = include_str!("docs/off.md");
const SET_DOCS: &str = include_str!("docs/set.md");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Off,
    Set,
}

/// The actions `flags.off` and `flags.set`.
#[derive(Clone, Debug)]
pub struct FlagsForce {
    verb: Verb,
    maker: Maker,
}

impl FlagsForce {
    /// `flags.off`.
    pub fn off() -> Self {
        Self { verb: Verb::Off, maker: Maker::default() }
    }

    /// `flags.set`.
    pub fn set() -> Self {
        Self { verb: Verb::Set, maker: Maker::default() }
    }

    /// The same, disturbed after each sub-step of a file's swap; for tests.
    #[must_use]
    pub fn with_fault(mut self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        self.maker = self.maker.stopped_at(fault);
        self
    }

    /// The same with another way to exchange a file's names; for tests.
    #[must_use]
    pub fn with_method(mut self, method: Method) -> Self {
        self.maker = self.maker.by(method);
        self
    }

    /// The same, disturbed after each sub-step on a server; for tests.
    #[must_use]
    pub fn with_server_fault(
        mut self,
        stop: impl Fn(ServerPoint) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.maker = self.maker.server_stopped_at(stop);
        self
    }

    fn wish(&self, input: &Value) -> Result<Wish, PrepareFailure> {
        match self.verb {
            Verb::Off => parse_input::<OffInput>(input).map(Wish::from),
            Verb::Set => parse_input::<SetInput>(input).map(Wish::from),
        }
    }
}

#[async_trait]
impl Action for FlagsForce {
    fn manifest(&self) -> Manifest {
        let (name, summary, docs, example) = match self.verb {
            Verb::Off => (
                "flags.off",
                "Gives everybody the off variation of some flags.",
                OFF_DOCS,
                include_str!("docs/off.ron"),
            ),
            Verb::Set => (
                "flags.set",
                "Gives everybody one variation of some flags.",
                SET_DOCS,
                r#"(file: "/etc/shop/flags.yaml", flag: "checkout_flow", variation: "classic")"#,
            ),
        };
        Manifest {
            name: ActionName::new(name),
            summary,
            docs,
            input: match self.verb {
                Verb::Off => || schema_for!(OffInput),
                Verb::Set => || schema_for!(SetInput),
            },
            example,
            guarantee: Guarantee::Conditional,
            pure: false,
            data_versions: DATA_VERSIONS,
        }
    }

    fn check(&self, input: &Value) -> Checked {
        check::check(input, Kind::Force)
    }

    fn by_hand(&self, input: &Value) -> ByHand {
        by_hand::force(&Wish::guess(input))
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let wish = self.wish(input)?;
        check::check(input, Kind::Force).accepted()?;
        let (prepared, expected) = match &wish.place {
            Place::File(_) => in_file(ctx, &wish).await?,
            Place::Server(server) => on_server(ctx, &wish, server).await?,
            Place::Nowhere => return Err(refuse("neither `file` nor `server` is named")),
        };
        let unknown = step::unknown_flags(&wish.flags, wish.known.as_deref());
        step::completed(ctx, prepared, unknown, wish.prove.as_ref(), expected).await
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        self.maker.apply(ctx, call).await
    }

    async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        self.maker.settle(ctx, call).await
    }

    async fn revert(&self, _: &Context, made: &MadeEffect) -> Reverted {
        step::revert(made)
    }

    async fn tidy(&self, _: &Context, made: &MadeEffect) -> Tidied {
        step::tidy(made).await
    }
}

fn refuse(reason: impl Into<String>) -> PrepareFailure {
    PrepareFailure::Refused { reason: reason.into() }
}

type Forced = (Prepared, Vec<Expected>);

async fn in_file(ctx: &Context, wish: &Wish) -> Result<Forced, PrepareFailure> {
    let (wish, now_ms) = (wish.clone(), ctx.now_ms);
    change::blocking(move || {
        let source = change::read(wish.system, wish.file())?;
        let planned = plan_in_file(&source, &wish, now_ms)?;
        let mut variations: Vec<&str> = Vec::new();
        for variation in planned.iter().filter_map(|flag| flag.variation.as_deref()) {
            if !variations.contains(&variation) {
                variations.push(variation);
            }
        }
        let what = format!("{} for everybody", variations.join(" or "));
        let prepared = change::prepared(&source, &planned, &what)?;
        Ok((prepared, planned.into_iter().map(expected_in_file).collect()))
    })
    .await
}

/// What every flag of the wish becomes in its file.
pub(crate) fn plan_in_file(
    source: &Source,
    wish: &Wish,
    now_ms: i64,
) -> Result<Vec<Planned>, PrepareFailure> {
    let in_file = |why: String| refuse(format!("{}: {why}", wish.file()));
    let plan = |name: &String| {
        let flag = source.document.flag(name)?;
        match wish.system {
            System::Flagd => flagd::force(&source.document, flag, wish.variation.as_deref()),
            System::GoFeatureFlag | System::Unleash | System::LaunchDarkly => {
                goff::force(&source.document, flag, wish.variation.as_deref(), now_ms)
            }
        }
    };
    wish.flags.iter().map(|name| plan(name).map_err(in_file)).collect()
}

/// What the proof expects of a flag that was planned.
pub(crate) fn expected_in_file(planned: Planned) -> Expected {
    Expected { flag: planned.name, variation: planned.variation, value: planned.value }
}

async fn on_server(ctx: &Context, wish: &Wish, server: &Server) -> Result<Forced, PrepareFailure> {
    let planned = plan_on_server(ctx, wish, server).await?;
    let expected = planned.iter().map(expected_on_server).collect();
    Ok((server::prepared(wish.system, server, planned)?, expected))
}

/// What every flag of the wish becomes on its server.
pub(crate) async fn plan_on_server(
    ctx: &Context,
    wish: &Wish,
    server: &Server,
) -> Result<Vec<server::Planned>, PrepareFailure> {
    let api = Api::new(ctx, wish.system, server).await.map_err(refuse)?;
    let mut planned = Vec::new();
    for flag in &wish.flags {
        let seen = api.look(flag).await.map_err(server::not_seen)?;
        let wanted = api.forced(flag, &seen, wish.variation.as_deref()).map_err(refuse)?;
        planned.push(server::Planned::new(&api, flag, seen, wanted).await);
    }
    Ok(planned)
}

/// What the proof expects of a flag that was planned.
pub(crate) fn expected_on_server(planned: &server::Planned) -> Expected {
    let server::Planned { flag, wanted, .. } = planned;
    let (variation, value) = (wanted.variation.clone(), wanted.value.clone());
    Expected { flag: flag.clone(), variation, value }
}
