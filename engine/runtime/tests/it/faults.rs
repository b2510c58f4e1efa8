//! Stores that are full, slow or gone, and plugins that panic, hang or are cut off: every effect is
//! made once, and none before its intent is durable.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backout_core::command::Ask;
use backout_core::event::{Event, Recorded, Wait};
use backout_core::id::{Epoch, RunId, Seq, StepId};
use backout_core::plan::{Plan, PlanStep};
use backout_core::state::{RunStatus, StepState};
use backout_plugin_api::{Call, Context};
use backout_runtime::{Engine, EngineError};
use backout_store::MemoryStore;
use backout_store::journal::{Append, AppendResult, JournalStore, Pending, StoreError};
use backout_store::testing::{Fault, FaultyStore};
use serde_json::json;
use tokio::sync::watch;

use crate::bench::{TestClock, ann, count, engine_of, plan, state, step, until};
use crate::world::{How, World};

/// Virtual time within which each test must end.
const SOON: Duration = Duration::from_hours(1);

fn run() -> RunId {
    RunId::from("r000000000")
}

/// A step that makes one effect on a target of its own, and is sent up to three times.
fn counting(id: &str, needs: &[&str]) -> PlanStep {
    let mut step = step(id, needs, "count.do", json!({ "target": id }));
    step.pure = false;
    step.retry.max = 2;
    step
}

fn engine(store: &Arc<dyn JournalStore>, clock: TestClock, world: &Arc<World>) -> Engine {
    engine_of(store.clone(), clock, vec![world.action()])
}

async fn start(engine: &Engine, plan: Plan) -> Result<(), EngineError> {
    engine.start(run(), plan, String::new(), ann()).await
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.unwrap()
}

fn memory() -> Arc<dyn JournalStore> {
    Arc::new(MemoryStore::new())
}

/// A memory store behind faults.
fn faulty(
    choose: impl FnMut(u64, &Append) -> Fault + Send + 'static,
) -> (Arc<dyn JournalStore>, Arc<dyn JournalStore>) {
    let inner = memory();
    (inner.clone(), Arc::new(FaultyStore::new(inner, Box::new(choose))))
}

fn is_detached_for_room(event: &Event) -> bool {
    matches!(event, Event::EngineDetached { why } if why.contains("no room"))
}

#[tokio::test(start_paused = true)]
async fn a_full_store_stops_the_run_with_the_reason_and_room_lets_it_go_on() {
    for all in [false, true] {
        let full = Arc::new(AtomicBool::new(false));
        let is_full = full.clone();
        // A real store keeps room for outcomes; this one keeps it, or has none at all.
        let (inner, store) = faulty(move |_, append| {
            let wants_room = all || append.intends > 0 || !append.claims.is_empty();
            if is_full.load(Ordering::SeqCst) && wants_room { Fault::Full } else { Fault::None }
        });
        let world = World::new(|step, _| match step.as_str() {
            "a" | "b" => How::Gated,
            _ => How::Well,
        });
        let engine = engine(&store, TestClock::new(), &world);
        let steps = vec![counting("a", &[]), counting("b", &[]), counting("c", &["b"])];
        start(&engine, plan(steps)).await.unwrap();
        soon(async { tokio::join!(world.until_begun("a"), world.until_begun("b")) }).await;
        full.store(true, Ordering::SeqCst);
        world.let_on("b");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(world.begun(), 2, "nothing begins without room");
        world.let_on("a");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(world.begun(), 2, "nothing begins without room");
        let told = usize::from(!all);
        assert_eq!(count(inner.as_ref(), &run(), is_detached_for_room), told);
        full.store(false, Ordering::SeqCst);
        soon(engine.wait(&run())).await.unwrap();
        assert_eq!(state(inner.as_ref(), &run()).status(), RunStatus::Succeeded);
        world.assert_each_once(3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_can_be_stopped_while_its_store_is_full() {
    for in_flight in [false, true] {
        let full = Arc::new(AtomicBool::new(false));
        let is_full = full.clone();
        let (inner, store) =
            faulty(
                move |_, _| {
                    if is_full.load(Ordering::SeqCst) { Fault::Full } else { Fault::None }
                },
            );
        let world = World::new(|_, _| How::Gated);
        let clock = TestClock::new();
        let first = engine(&store, clock, &world);
        let steps = vec![counting("a", &[]), counting("b", &[]), counting("c", &["a"])];
        start(&first, plan(steps)).await.unwrap();
        soon(async { tokio::join!(world.until_begun("a"), world.until_begun("b")) }).await;
        full.store(true, Ordering::SeqCst);
        world.let_on("a");
        if !in_flight {
            world.let_on("b");
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        soon(first.stop("test", 1_000)).await;
        full.store(false, Ordering::SeqCst);
        world.let_on("b");
        world.let_on("c");
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!first.is_driven(&run()), "a stopped engine drives nothing");
        let second = engine(&store, clock, &world);
        second.take_up(&run()).await.unwrap();
        soon(second.wait(&run())).await.unwrap();
        assert_eq!(state(inner.as_ref(), &run()).status(), RunStatus::Succeeded);
        world.assert_each_once(3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_that_then_stops_ends_the_waiting() {
    let faults = Arc::new(Mutex::new(Fault::None));
    let now = faults.clone();
    let (_inner, store) = faulty(move |_, _| now.lock().unwrap().clone());
    let world = World::new(|_, _| How::Gated);
    let engine = engine(&store, TestClock::new(), &world);
    start(&engine, plan(vec![counting("a", &[])])).await.unwrap();
    soon(world.until_begun("a")).await;
    *faults.lock().unwrap() = Fault::Full;
    world.let_on("a");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(engine.is_driven(&run()), "it waits for room");
    let asked = soon(engine.ask(&run(), note(), ann())).await;
    assert!(matches!(asked, Err(EngineError::Stopped { .. })), "{asked:?}");
    *faults.lock().unwrap() = Fault::Lost;
    let ended = soon(engine.wait(&run())).await;
    assert!(matches!(ended, Err(EngineError::Stopped { .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn where_nobody_knows_nothing_further_begins_and_the_next_engine_finishes() {
    for fault in [Fault::Lost, Fault::LostAnswer] {
        for nth in 1..20 {
            stops_at(nth, fault.clone()).await;
        }
    }
}

/// The store stops at its nth append.
async fn stops_at(nth: u64, fault: Fault) {
    let failed = Arc::new(AtomicBool::new(false));
    let has_failed = failed.clone();
    let (inner, store) = faulty(move |count, _| {
        has_failed.fetch_or(count == nth, Ordering::SeqCst);
        if count == nth { fault.clone() } else { Fault::None }
    });
    let after = failed.clone();
    let world = World::looking(
        |_, _| How::Well,
        move |_, _| assert!(!after.load(Ordering::SeqCst), "begun after the store stopped"),
    );
    let clock = TestClock::new();
    let first = engine(&store, clock, &world);
    let steps = vec![counting("a", &[]), counting("b", &["a"]), counting("c", &["b"])];
    let started = start(&first, plan(steps.clone())).await;
    let ended = if started.is_ok() { soon(first.wait(&run())).await } else { started };
    if !failed.load(Ordering::SeqCst) {
        assert_eq!(ended, Ok(()));
        return;
    }
    // The last append may be the one that nobody knows of; `wait` came too late to hear of it.
    assert!(!matches!(ended, Err(EngineError::Rejected { .. })), "{nth}: {ended:?}");
    let asked = first.ask(&run(), note(), ann()).await;
    assert!(asked.is_err(), "{nth}: {asked:?}");
    tokio::time::sleep(Duration::from_mins(10)).await;
    failed.store(false, Ordering::SeqCst);
    let second = engine(&inner, clock, &world);
    if inner.list().unwrap().is_empty() {
        start(&second, plan(steps)).await.unwrap();
    } else {
        second.take_up(&run()).await.unwrap();
    }
    soon(second.wait(&run())).await.unwrap();
    assert_eq!(state(inner.as_ref(), &run()).status(), RunStatus::Succeeded, "{nth}");
    world.assert_each_once(3);
}

fn note() -> Ask {
    Ask::Note { step: None, text: "hello".into() }
}

#[tokio::test(start_paused = true)]
async fn an_asker_hears_that_nobody_knows() {
    for fault in [Fault::Lost, Fault::LostAnswer] {
        let (inner, store) = faulty(move |_, append| {
            let noted = |new: &backout_store::journal::NewEvent| {
                matches!(new.event, Event::NoteTaken { .. })
            };
            if append.events.iter().any(noted) { fault.clone() } else { Fault::None }
        });
        let world = World::new(|_, _| How::Gated);
        let engine = engine(&store, TestClock::new(), &world);
        start(&engine, plan(vec![counting("a", &[])])).await.unwrap();
        soon(world.until_begun("a")).await;
        let asked = soon(engine.ask(&run(), note(), ann())).await;
        assert!(matches!(asked, Err(EngineError::Stopped { .. })), "{asked:?}");
        tokio::task::yield_now().await;
        assert!(soon(engine.wait(&run())).await.is_err() || !engine.is_driven(&run()));
        let notes = count(inner.as_ref(), &run(), |e| matches!(e, Event::NoteTaken { .. }));
        assert!(notes <= 1, "a command is recorded once");
    }
}

/// Knows up to where appends were answered, which is all that a caller may count on.
struct Answered {
    inner: Arc<dyn JournalStore>,
    until: Arc<AtomicU64>,
}

impl JournalStore for Answered {
    fn id(&self) -> String {
        self.inner.id()
    }

    fn append(&self, append: Append) -> Pending {
        let (answer, until) = (self.inner.append(append), self.until.clone());
        Box::pin(async move {
            let result = answer.await;
            if let AppendResult::Committed { last, .. } = &result {
                until.fetch_max(last.0, Ordering::SeqCst);
            }
            result
        })
    }

    fn read(&self, run: &RunId, from: Seq, limit: usize) -> Result<Vec<Recorded>, StoreError> {
        self.inner.read(run, from, limit)
    }

    fn list(&self) -> Result<Vec<RunId>, StoreError> {
        self.inner.list()
    }

    fn next_epoch(&self, run: &RunId) -> Result<Epoch, StoreError> {
        self.inner.next_epoch(run)
    }

    fn watch(&self, run: &RunId) -> watch::Receiver<Seq> {
        self.inner.watch(run)
    }

    fn lock_releases(&self) -> watch::Receiver<u64> {
        self.inner.lock_releases()
    }
}

/// Where the intent of a sending stands in the journal.
fn intent(store: &dyn JournalStore, ctx: &Context, call: &Call) -> Option<Seq> {
    let records = store.read(&ctx.run, Seq(1), usize::MAX).unwrap();
    let is_it = |event: &Event| {
        matches!(event, Event::EffectIntended { sending }
            if sending.step == ctx.step && sending.dispatch == call.fence.dispatch)
    };
    records.iter().find(|recorded| is_it(&recorded.event)).map(|recorded| recorded.seq)
}

#[tokio::test(start_paused = true)]
async fn no_effect_begins_before_the_answer_that_its_intent_is_durable() {
    let until = Arc::new(AtomicU64::new(0));
    let (inner, slow) = faulty(|count, _| Fault::Slow(u32::try_from(count * 7 % 50).unwrap()));
    let store: Arc<dyn JournalStore> = Arc::new(Answered { inner: slow, until: until.clone() });
    let early = Arc::new(Mutex::new(Vec::new()));
    let (reader, found) = (inner.clone(), early.clone());
    let world = World::looking(
        |step, dispatch| {
            if dispatch == 1 && step.as_str().ends_with('3') { How::Panics } else { How::Well }
        },
        move |ctx, call| {
            let known = until.load(Ordering::SeqCst);
            match intent(reader.as_ref(), ctx, call) {
                Some(seq) if seq.0 <= known => {}
                other => found.lock().unwrap().push((ctx.step.clone(), other, known)),
            }
        },
    );
    let engine = engine(&store, TestClock::new(), &world);
    let names: Vec<String> = (0..30).map(|at| format!("s{at}")).collect();
    let steps = names.iter().enumerate().map(|(at, id)| {
        let needs: Vec<&str> = at.checked_sub(3).map(|at| names[at].as_str()).into_iter().collect();
        counting(id, &needs)
    });
    start(&engine, plan(steps.collect())).await.unwrap();
    soon(engine.wait(&run())).await.unwrap();
    assert_eq!(*early.lock().unwrap(), Vec::new());
    assert_eq!(state(inner.as_ref(), &run()).status(), RunStatus::Succeeded);
    world.assert_each_once(30);
}

#[tokio::test(start_paused = true)]
async fn the_second_run_waits_for_the_lock_and_goes_on_when_the_first_ends() {
    let store = memory();
    let world = World::new(|step, _| if step.as_str() == "a" { How::Gated } else { How::Well });
    let engine = engine(&store, TestClock::new(), &world);
    let second = RunId::from("r000000001");
    let on_one = |id: &str| {
        let mut step = counting(id, &[]);
        step.with = json!({ "target": "one" });
        plan(vec![step])
    };
    start(&engine, on_one("a")).await.unwrap();
    soon(world.until_begun("a")).await;
    engine.start(second.clone(), on_one("b"), String::new(), ann()).await.unwrap();
    let locked = |state: &StepState| matches!(state, StepState::Waiting(Wait::Lock { .. }));
    soon(until(store.as_ref(), &second, |state| locked(&state.steps[0].state))).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.begun(), 1);
    world.let_on("a");
    soon(engine.wait(&run())).await.unwrap();
    soon(engine.wait(&second)).await.unwrap();
    for id in [&run(), &second] {
        assert_eq!(state(store.as_ref(), id).status(), RunStatus::Succeeded);
    }
    let wanted = [(run(), StepId::from("a")), (second, StepId::from("b"))];
    assert_eq!(world.order(), wanted);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_panics_or_never_answers_is_settled() {
    for how in [How::Panics, How::MakesAndPanics, How::Hangs, How::MakesAndHangs] {
        let store = memory();
        let world = World::new(move |_, dispatch| if dispatch == 1 { how } else { How::Well });
        let engine = engine(&store, TestClock::new(), &world);
        start(&engine, plan(vec![counting("a", &[]), counting("b", &["a"])])).await.unwrap();
        soon(engine.wait(&run())).await.unwrap();
        let state = state(store.as_ref(), &run());
        assert_eq!(state.status(), RunStatus::Succeeded, "{how:?}: {:?}", state.steps);
        let unclear = |event: &Event| matches!(event, Event::EffectUnclear { .. });
        assert_eq!(count(store.as_ref(), &run(), unclear), 2, "{how:?}");
        world.assert_each_once(2);
        if matches!(how, How::Hangs | How::MakesAndHangs) {
            assert!(state.ended.unwrap().since_ms(state.created) >= 60_000, "it had its time");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_panics_while_it_prepares_stops_its_step_alone() {
    let store = memory();
    let world = World::new(|_, _| How::Well);
    let engine = engine(&store, TestClock::new(), &world);
    let mut bad = counting("bad", &[]);
    bad.with = json!({ "target": "panic" });
    start(&engine, plan(vec![bad, counting("good", &[])])).await.unwrap();
    let done = |state: &StepState| matches!(state, StepState::Succeeded { .. });
    soon(until(store.as_ref(), &run(), |state| done(&state.steps[1].state))).await;
    soon(engine.ask(&run(), Ask::Abort, ann())).await.unwrap();
    soon(engine.wait(&run())).await.unwrap();
    assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Aborted);
    world.assert_each_once(1);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_waits_its_grace_and_the_next_one_settles_the_rest() {
    for how in [How::Gated, How::Hangs, How::MakesAndHangs] {
        let store = memory();
        let clock = TestClock::new();
        let world = World::new(move |_, dispatch| if dispatch == 1 { how } else { How::Well });
        let first = engine(&store, clock, &world);
        start(&first, plan(vec![counting("a", &[])])).await.unwrap();
        soon(world.until_begun("a")).await;
        let stops = first.stop("test", 5_000);
        let lets_on = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.let_on("a");
        };
        soon(async { tokio::join!(stops, lets_on) }).await;
        assert!(!state(store.as_ref(), &run()).attached, "{how:?}");
        let done = count(store.as_ref(), &run(), |e| matches!(e, Event::EffectDone { .. }));
        assert_eq!(done, usize::from(how == How::Gated), "{how:?}");
        let second = engine(&store, clock, &world);
        second.take_up(&run()).await.unwrap();
        soon(second.wait(&run())).await.unwrap();
        assert_eq!(state(store.as_ref(), &run()).status(), RunStatus::Succeeded, "{how:?}");
        world.assert_each_once(1);
    }
}
