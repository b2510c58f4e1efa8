//! What `flags.off`, `flags.set` and `flags.restore` share: their effects by kind.

use backout_plugin_api::files::{self, Method, Point};
use backout_plugin_api::{
    ActionName, Call, Context, Hazard, MadeEffect, Outcome, PrepareFailure, Prepared, Reverted,
    Satisfied, Settled, Tidied,
};
use serde_json::{Map, Value, json};

use crate::change::{self, Changer};
use crate::input::{Place, Prove, Wish};
use crate::kept::Kept;
use crate::proof::{self, Expected};
use crate::server::{self, ServerPoint, Stops, Work};

/// How the effects of an action are made, and where a test disturbs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maker {
    changer: Changer,
    stops: Stops,
}

impl Maker {
    pub(crate) fn stopped_at(self, fault: impl Fn(Point) -> bool + Send + Sync + 'static) -> Self {
        let changer = Changer { method: self.changer.method, ..Changer::at(fault) };
        Self { changer, ..self }
    }

    pub(crate) fn by(mut self, method: Method) -> Self {
        self.changer.method = method;
        self
    }

    pub(crate) fn server_stopped_at(
        self,
        stop: impl Fn(ServerPoint) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { stops: Stops::at(stop), ..self }
    }

    pub(crate) async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        let wish = Wish::guess(&call.input);
        match (Kept::of_call(call), &wish.place, &wish.prove) {
            (Ok(Kept::File(data)), ..) => self.changer.apply(ctx, call, data).await,
            (Ok(Kept::Server(data)), Place::Server(server), _) => {
                self.work(ctx, call, &wish, server, &data).apply().await
            }
            (Ok(Kept::Proof(data)), _, Some(prove)) => {
                proof::apply(ctx, prove, &data.expected).await
            }
            (Ok(_), ..) => Outcome::Refused { reason: NOT_OF_INPUT.to_owned() },
            (Err(reason), ..) => Outcome::Refused { reason },
        }
    }

    pub(crate) async fn settle(&self, ctx: &Context, call: &Call) -> Settled {
        let wish = Wish::guess(&call.input);
        match (Kept::of_call(call), &wish.place, &wish.prove) {
            (Ok(Kept::File(data)), ..) => self.changer.settle(ctx, call, data).await,
            (Ok(Kept::Server(data)), Place::Server(server), _) => {
                self.work(ctx, call, &wish, server, &data).settle().await
            }
            (Ok(Kept::Proof(data)), _, Some(prove)) => {
                proof::settle(ctx, prove, &data.expected).await
            }
            (Ok(_), ..) => Settled::Unknown { evidence: NOT_OF_INPUT.to_owned() },
            (Err(evidence), ..) => Settled::Unknown { evidence },
        }
    }

    fn work<'a>(
        &'a self,
        ctx: &'a Context,
        call: &'a Call,
        wish: &Wish,
        server: &'a crate::input::Server,
        data: &'a server::Data,
    ) -> Work<'a> {
        Work { ctx, call, system: wish.system, server, data, stops: &self.stops }
    }
}

const NOT_OF_INPUT: &str = "what was prepared is not of this input";

/// Flags that the release does not know that is rolled back to.
pub(crate) fn unknown_flags(names: &[String], known: Option<&[String]>) -> Vec<Hazard> {
    let Some(known) = known else { return Vec::new() };
    let unknown = names.iter().filter(|name| !known.contains(name));
    let hazard = |name: &String| Hazard {
        code: "unknown-to-release".to_owned(),
        text: format!(
            "flag `{name}` is not known to the release that is rolled back to: it changes nothing \
             there, and may be misspelt"
        ),
    };
    unknown.map(hazard).collect()
}

/// Adds what the release does not know, and the proof.
pub(crate) async fn completed(
    ctx: &Context,
    mut prepared: Prepared,
    hazards: Vec<Hazard>,
    prove: Option<&Prove>,
    expected: Vec<Expected>,
) -> Result<Prepared, PrepareFailure> {
    let there = prepared.is_satisfied();
    if !there {
        prepared.hazards.extend(hazards);
    }
    let Some(prove) = prove else { return Ok(prepared) };
    let refused = |reason: String| PrepareFailure::Refused { reason };
    let converge = crate::check::duration(&prove.converge).map_err(refused)?;
    let converge_ms = u64::try_from(converge.as_millis()).unwrap_or(u64::MAX);
    let wave = prepared.effects.iter().map(|effect| effect.wave).max().map_or(0, |wave| wave + 1);
    let effect = proof::effect(ctx, prove, expected, there, wave).await.map_err(refused)?;
    prepared.effects.push(effect);
    prepared.converge_ms = prepared.converge_ms.max(converge_ms);
    Ok(prepared)
}

/// What puts one effect back.
pub(crate) fn revert(made: &MadeEffect) -> Reverted {
    let effect = made.prepared.effects.get(made.effect);
    if effect.is_none_or(|effect| effect.satisfied == Satisfied::Yes) {
        return Reverted::Nothing;
    }
    let mut input = Map::new();
    match Kept::of_made(made) {
        Ok(Kept::File(data)) => file_input(&mut input, &data),
        Ok(Kept::Server(data)) => server_input(&mut input, made, data),
        Ok(Kept::Proof(_)) => return Reverted::Nothing,
        Err(why) => return Reverted::NotPossible { why },
    }
    if let Some(prove) = proof_of_undo(made) {
        input.insert("prove".to_owned(), prove);
    }
    Reverted::By { action: ActionName::new("flags.restore"), input: Value::Object(input) }
}

/// Removes the displaced file and the mark of one key; on a server nothing is kept.
pub(crate) async fn tidy(made: &MadeEffect) -> Tidied {
    let Ok(Kept::File(data)) = Kept::of_made(made) else { return Tidied::default() };
    let key = made.key.clone();
    let tidied = tokio::task::spawn_blocking(move || files::tidy(&data.swap.target, &key)).await;
    tidied.unwrap_or_default()
}

/// The flags' own text from before.
fn file_input(input: &mut Map<String, Value>, data: &change::Data) {
    let texts = |text: fn(&change::Block) -> &String| -> Value {
        data.flags.iter().map(|flag| (flag.name.clone(), json!(text(flag)))).collect()
    };
    input.insert("system".to_owned(), json!(data.system));
    input.insert("file".to_owned(), json!(data.swap.target));
    input.insert("blocks".to_owned(), texts(|block| &block.before));
    input.insert("left".to_owned(), texts(|block| &block.after));
}

/// The flag's state from before, and what we left: that, with what we wrote in it.
fn server_input(input: &mut Map<String, Value>, made: &MadeEffect, data: server::Data) {
    let mut left = data.before.clone();
    left.extend(data.wanted);
    for name in ["system", "server"] {
        input.insert(name.to_owned(), made.input.get(name).cloned().unwrap_or_default());
    }
    input.insert("states".to_owned(), json!({ data.flag.clone(): data.before }));
    input.insert("left".to_owned(), json!({ data.flag: left }));
}

/// The same endpoints, which must answer as they did before.
fn proof_of_undo(made: &MadeEffect) -> Option<Value> {
    let mut prove = Wish::guess(&made.input).prove?;
    let proofs = (0..made.prepared.effects.len()).filter_map(|effect| {
        match Kept::of_made(&MadeEffect { effect, ..made.clone() }) {
            Ok(Kept::Proof(data)) => Some(data.before),
            _ => None,
        }
    });
    prove.expect = proofs.flatten().collect();
    serde_json::to_value(prove).ok()
}
