//! A shop that is rolled back: an engine over a store in memory, and targets that do as they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use backout_core::event::{Actor, Cause};
use backout_core::id::{CommandId, RunId, Seq};
use backout_core::plan::Plan;
use backout_core::state::RunState;
use backout_page::Given;
use backout_plugin_api::{
    Action, ActionName, ByHand, Call, Checked, Context, Guarantee, Image, MadeEffect, Manifest,
    Outcome, PrepareFailure, Prepared, PreparedEffect, Reversibility, Reverted, Satisfied, Settled,
    SystemSecrets,
};
use backout_runtime::{Engine, Host, Options, SystemClock};
use backout_server::books::Books;
use backout_server::{Door, Face, Witness};
use backout_store::MemoryStore;
use backout_store::journal::JournalStore;
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    store: Arc<dyn JournalStore>,
    open: watch::Sender<BTreeSet<String>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::made(Books::default())
    }

    /// With a folder of runbooks that can be started by name.
    pub(crate) fn with_books(folder: &std::path::Path) -> Self {
        Self::made(Books::of(folder.to_owned()))
    }

    fn made(books: Books) -> Self {
        let witness = Witness::over(Arc::new(MemoryStore::new()));
        let store: Arc<dyn JournalStore> = witness.clone();
        let open = watch::channel(BTreeSet::new()).0;
        let mut actions = backout_plugin_basic::actions();
        actions.push(Arc::new(Change { open: open.clone() }));
        let options = Options {
            engine: "process 7 on shop-1".to_owned(),
            scratch: Arc::new(|_| std::env::temp_dir()),
            observer: None,
            captures: None,
            crash: None,
        };
        let host = Arc::new(Host::new(actions, Arc::new(SystemSecrets::default())));
        let engine = Engine::new(store.clone(), host, Arc::new(SystemClock), options);
        let face = Face::new(engine.clone(), witness, "2026-11-23T03:00:00.000Z".to_owned())
            .with_books(books);
        let page = backout_page::router(face.clone(), Given::by_system("nobody-here"));
        let router = backout_server::router(face, Door::Port).merge(page);
        Self { engine, router, store, open }
    }

    /// Starts a run of these steps.
    pub(crate) async fn start(&self, run: &str, name: &str, steps: Vec<Value>) {
        let plan = plan(name, &steps);
        self.engine
            .start(RunId::from(run), plan, String::new(), ann("the release hurts"))
            .await
            .unwrap();
    }

    /// Waits until a step of a run is in a state.
    pub(crate) async fn until(&self, run: &str, step: &str, word: &str) {
        let is_so = |state: &RunState| {
            state.find(&step.into()).is_some_and(|found| found.2.state.word() == word)
        };
        self.until_state(run, &format!("{step} is {word}"), is_so).await;
    }

    /// Waits until a run is as wanted.
    pub(crate) async fn until_state(
        &self,
        run: &str,
        what: &str,
        is_so: impl Fn(&RunState) -> bool,
    ) {
        let run = RunId::from(run);
        let mut events = self.store.watch(&run);
        let mut state = None;
        let wait = async {
            loop {
                let next = state.as_ref().map_or(Seq(1), |state: &RunState| state.seq.next());
                for recorded in &self.store.read(&run, next, 100_000).unwrap() {
                    backout_core::evolve(&mut state, recorded).unwrap();
                }
                if state.as_ref().is_some_and(&is_so) {
                    return;
                }
                events.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "waited in vain until {what} in {run}");
    }

    /// A message to people outside about a run, which is sent as `how` says.
    pub(crate) async fn tell(&self, run: &str, about: &str, how: &str, title: &str) {
        let mut step = change("send", "tell ops", &[], how, &[]);
        step["with"]["kind"] = json!("update");
        step["with"]["channel"] = json!("ops");
        step["with"]["title"] = json!(title);
        step["with"]["text"] = json!("2 of 10 steps done");
        let mut plan = plan("message", &[step]);
        plan.labels.insert("backout-message-about".to_owned(), about.to_owned());
        let (run, cause) = (RunId::from(run), Cause::engine());
        self.engine.start(run, plan, String::new(), cause).await.unwrap();
    }

    /// The page over the record of a run as it is now, without an engine.
    pub(crate) fn record(&self, run: &str) -> Router {
        let id = RunId::from(run);
        let events = self.store.read(&id, Seq(1), 100_000).unwrap();
        let face = Face::of_record(id.clone(), events, self.engine.host().clone());
        backout_page::record_router(face, Given::by_system("nobody-here"), &id)
    }

    /// Lets a held step go on.
    pub(crate) fn let_on(&self, step: &str) {
        self.open.send_modify(|open| open.extend([step.to_owned()]));
    }
}

pub(crate) fn ann(reason: &str) -> Cause {
    Cause {
        command: Some(CommandId::new(format!("t-{reason}"))),
        actor: Actor::unverified("ann"),
        reason: Some(reason.to_owned()),
        break_glass: false,
    }
}

fn plan(name: &str, steps: &[Value]) -> Plan {
    serde_json::from_value(json!({
        "format": 1, "name": name, "title": "The checkout back to release 2025.11.3",
        "owner": "team-checkout", "environment": { "name": "production", "protected": true },
        "max_parallel": 8, "stale_after_ms": 3_600_000, "steps": steps,
    }))
    .unwrap()
}

/// A step that changes something: `how` is `well`, `held`, `unclear` or `fails`.
pub(crate) fn change(
    id: &str,
    title: &str,
    needs: &[&str],
    how: &str,
    difference: &[&str],
) -> Value {
    json!({
        "id": id, "title": title, "needs": needs, "action": "shop.change",
        "with": { "how": how, "difference": difference }, "timeout_ms": 60_000,
        "owner": "team-checkout", "expect_ms": 30_000,
    })
}

/// The same, behind an approval and past the point of no return.
pub(crate) fn approved(id: &str, title: &str, needs: &[&str], by: &[&str]) -> Value {
    let mut step = change(
        id,
        title,
        needs,
        "well",
        &[
            "- orders.loyalty_points integer not null",
            "- index orders_loyalty_idx",
            "  3,204 rows lose a value",
        ],
    );
    step["with"]["hazard"] = json!("drops a column with 3,204 values that are not null");
    step["approval"] = json!({ "count": 1, "by": by, "starter_may": true });
    step
}

/// `shop.change`: does what its input says.
struct Change {
    open: watch::Sender<BTreeSet<String>>,
}

#[async_trait]
impl Action for Change {
    fn manifest(&self) -> Manifest {
        Manifest {
            name: ActionName::new("shop.change"),
            summary: "Changes the shop.",
            docs: "",
            input: || schemars::json_schema!({ "type": "object" }),
            example: "()",
            guarantee: Guarantee::Manual,
            pure: false,
            data_versions: &[1],
        }
    }

    fn check(&self, _: &Value) -> Checked {
        Checked::default()
    }

    fn by_hand(&self, _: &Value) -> ByHand {
        ByHand::default()
    }

    async fn prepare(&self, ctx: &Context, input: &Value) -> Result<Prepared, PrepareFailure> {
        let lines = input["difference"].as_array().into_iter().flatten();
        let hazards = input["hazard"].as_str().map(|text| backout_core::contract::Hazard {
            code: "drops-column".to_owned(),
            text: text.to_owned(),
        });
        let reversibility =
            if hazards.is_some() { Reversibility::ShapeOnly } else { Reversibility::Exact };
        Ok(Prepared {
            data_version: 1,
            guarantee: Guarantee::Manual,
            remembered_ms: None,
            locks: vec![format!("shop:{}", ctx.step).as_str().into()],
            effects: vec![PreparedEffect {
                title: format!("{} changed", ctx.step),
                wave: 0,
                satisfied: Satisfied::CannotTell,
                before: Image::Absent,
                wanted: Image::Absent,
                difference: lines.filter_map(Value::as_str).map(str::to_owned).collect(),
                reversibility,
                hazards: hazards.into_iter().collect(),
                data: Value::Null,
            }],
            hazards: Vec::new(),
            gate: None,
            converge_ms: 0,
            seen: Value::Null,
        })
    }

    async fn apply(&self, ctx: &Context, call: &Call) -> Outcome {
        match call.input["how"].as_str() {
            Some("held") => {
                let mut open = self.open.subscribe();
                open.wait_for(|open| open.contains(ctx.step.as_str())).await.unwrap();
                Outcome::Done { output: json!({ "replicas": 3 }) }
            }
            Some("unclear") => Outcome::Unclear {
                reason: "the connection was reset after the request was sent".to_owned(),
            },
            Some("fails") => Outcome::Failed {
                reason: "the cache answers 503: <b>no leader</b> & \"retry later\"".to_owned(),
                output: Value::Null,
            },
            _ => Outcome::Done {
                output: json!({ "image": "shop/checkout:2025.11.3", "replicas": 3 }),
            },
        }
    }

    async fn settle(&self, _: &Context, _: &Call) -> Settled {
        Settled::Unknown {
            evidence: "the request was sent, and the shop keeps no record of it".to_owned(),
        }
    }

    async fn revert(&self, _: &Context, _: &MadeEffect) -> Reverted {
        Reverted::Nothing
    }
}

/// A rollback in the middle of an incident: some done, one in doubt, one failed, one waiting.
pub(crate) async fn incident(world: &World) -> &'static str {
    let run = "x7k2m9q4td";
    let steps = vec![
        change("announce", "Tell the incident channel", &[], "well", &["message to #incident"]),
        change(
            "flag_checkout_off",
            "Nobody gets the new checkout",
            &["announce"],
            "well",
            &["flag new_checkout: on -> off", "flag new_checkout: targeting removed"],
        ),
        change(
            "flag_pricing_off",
            "Dynamic pricing off",
            &["announce"],
            "well",
            &["flag dynamic_pricing: on -> off"],
        ),
        change(
            "checkout_old",
            "The old checkout in and healthy",
            &["flag_checkout_off"],
            "unclear",
            &["image shop/checkout: 2025.11.4 -> 2025.11.3", "replicas: 3"],
        ),
        change(
            "pricing_old",
            "The old pricing in and healthy",
            &["flag_pricing_off"],
            "held",
            &["image shop/pricing: 2025.11.4 -> 2025.11.3"],
        ),
        change(
            "cache_flush",
            "Flush the price cache",
            &["flag_pricing_off"],
            "fails",
            &["cache prices: 18,233 keys -> 0"],
        ),
        approved("schema_down", "The schema back to 41", &["flag_pricing_off"], &["dba"]),
        approved("index_drop", "The index that the old release does not know", &["announce"], &[]),
        change("smoke", "Buy one thing", &["checkout_old", "pricing_old"], "well", &[]),
        change(
            "close_incident",
            "Say that it is over",
            &["smoke", "schema_down", "cache_flush"],
            "well",
            &[],
        ),
    ];
    world.start(run, "checkout-rollback", steps).await;
    world.until(run, "checkout_old", "in-doubt").await;
    world.until(run, "cache_flush", "waiting").await;
    world.until(run, "schema_down", "waiting").await;
    world.until(run, "index_drop", "waiting").await;
    run
}
