//! Figures for a monitoring system: a fold over what is appended, and what the runs are at the moment
//! when they are asked for. Every label has few values, whatever the runs are.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backout_core::event::{Event, Sending};
use backout_core::id::{ActionName, RunId, Seq, StepId, Timestamp};
use backout_core::plan::PlanStep;
use backout_runtime::Host;
use backout_runtime::herald::ABOUT_LABEL;
use backout_store::journal::{Append, JournalStore, NewEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::face::Face;
use crate::problem::Problem;
use crate::view::STATES;
use crate::witness::{Witness, locked};

/// Seconds up to which effects are counted: a flag takes milliseconds, a migration an hour.
const EFFECT_SECONDS: [f64; 12] =
    [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_600.0];
/// Seconds up to which appends are counted: a good disk takes half a millisecond.
const APPEND_SECONDS: [f64; 10] = [0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
/// Effects under way whose beginning is remembered; beyond, their duration is not counted.
const UNDER_WAY_MAX: usize = 100_000;
/// The label of an action that this release does not have.
const UNKNOWN: &str = "unknown";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByPlugin {
    plugin: String,
    outcome: &'static str,
}

/// The figures of one process.
pub(crate) struct Metrics {
    registry: Registry,
    runs: Family<ByState, Gauge>,
    driven: Gauge,
    in_doubt: Gauge,
    asking: Gauge,
    stale: Gauge,
    streams: Gauge,
    told: Arc<Told>,
}

/// What is counted as it is appended.
struct Told {
    host: Arc<Host>,
    store: Arc<Witness>,
    plans: Mutex<HashMap<RunId, Under>>,
    steps: Family<ByPlugin, Counter>,
    effects: Family<ByPlugin, Histogram>,
    appends: Histogram,
    events: Counter,
    break_glass: Counter,
}

/// What is remembered of a run that goes on.
#[derive(Default)]
struct Under {
    plugins: HashMap<StepId, String>,
    sent: HashMap<Sending, Timestamp>,
}

impl Metrics {
    /// Figures of what is appended through a witness; counted once [`Self::count`] is called.
    pub(crate) fn over(host: Arc<Host>, store: Arc<Witness>) -> Self {
        let told = Arc::new(Told::new(host, store));
        let metrics = Self {
            registry: Registry::with_prefix("backout"),
            runs: Family::default(),
            driven: Gauge::default(),
            in_doubt: Gauge::default(),
            asking: Gauge::default(),
            stale: Gauge::default(),
            streams: Gauge::default(),
            told,
        };
        metrics.registered()
    }

    /// Counts from now on.
    pub(crate) fn count(&self) {
        // The store must not keep alive what keeps the store.
        let told = Arc::downgrade(&self.told);
        self.told.store.tell(Arc::new(move |append, took| {
            if let Some(told) = told.upgrade() {
                told.count(append, took);
            }
        }));
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("runs", "Runs of the store by state", self.runs.clone());
        registry.register("runs_driven", "Runs that this engine drives", self.driven.clone());
        registry.register(
            "runs_stale",
            "Unfinished runs that stood still for long",
            self.stale.clone(),
        );
        registry.register(
            "steps_in_doubt",
            "Steps whose outcome only a person can say",
            self.in_doubt.clone(),
        );
        registry.register("steps_asking", "Steps that wait for a person", self.asking.clone());
        registry.register("stream_clients", "Clients that follow events", self.streams.clone());
        let told = &self.told;
        registry.register(
            "steps",
            "Steps that came to rest since the process began",
            told.steps.clone(),
        );
        registry.register("events", "Events appended since the process began", told.events.clone());
        registry.register(
            "break_glass_commands",
            "Commands that set the ordinary rules aside since the process began",
            told.break_glass.clone(),
        );
        registry.register_with_unit(
            "effect_duration",
            "From an effect's intent to its outcome",
            Unit::Seconds,
            told.effects.clone(),
        );
        registry.register_with_unit(
            "append_duration",
            "From asking for an append until it is durable",
            Unit::Seconds,
            told.appends.clone(),
        );
        self
    }

    /// All figures as text. Blocks for the disk.
    pub(crate) fn text(&self, face: &Face) -> Result<String, Problem> {
        self.look(face)?;
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(|error| Problem::internal(error.to_string()))?;
        Ok(text)
    }

    /// What the runs are now.
    fn look(&self, face: &Face) -> Result<(), Problem> {
        let rows = face.rows()?.rows;
        let (now, driven) = (face.now(), face.engine.driven());
        let mut by_state: HashMap<&'static str, i64> = HashMap::new();
        let (mut in_doubt, mut asking, mut stale) = (0, 0, 0);
        // Messages to people outside are runs too, but nobody commands them.
        for row in rows.iter().filter(|row| !row.labels.contains_key(ABOUT_LABEL)) {
            let driven = driven.binary_search(&row.run).is_ok();
            *by_state.entry(row.word(driven)).or_default() += 1;
            in_doubt += row.in_doubt;
            asking += row.asking;
            stale += i64::from(row.is_stale(now, driven));
        }
        for state in STATES {
            let count = by_state.get(state).copied().unwrap_or_default();
            self.runs.get_or_create(&ByState { state }).set(count);
        }
        self.driven.set(signed(driven.len()));
        self.in_doubt.set(signed(in_doubt));
        self.asking.set(signed(asking));
        self.stale.set(stale);
        self.streams.set(signed(face.tails.clients()));
        Ok(())
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Told {
    fn new(host: Arc<Host>, store: Arc<Witness>) -> Self {
        Self {
            host,
            store,
            plans: Mutex::default(),
            steps: Family::default(),
            effects: Family::new_with_constructor(|| Histogram::new(EFFECT_SECONDS)),
            appends: Histogram::new(APPEND_SECONDS),
            events: Counter::<u64, AtomicU64>::default(),
            break_glass: Counter::default(),
        }
    }

    fn count(&self, append: &Append, took: Duration) {
        self.appends.observe(took.as_secs_f64());
        self.events.inc_by(append.events.len() as u64);
        let by_people = append.events.iter().filter(|new| new.cause.break_glass);
        self.break_glass.inc_by(by_people.count() as u64);
        let mut plans = locked(&self.plans);
        let under = plans.entry(append.run.clone()).or_insert_with(|| self.begun(&append.run));
        append.events.iter().for_each(|new| self.fold(under, new));
        if append.events.iter().any(|new| matches!(new.event, Event::RunEnded { .. })) {
            plans.remove(&append.run);
        }
    }

    /// What is known of a run that began before this process, or right now.
    fn begun(&self, run: &RunId) -> Under {
        let mut under = Under::default();
        let first = self.store.read(run, Seq(1), 1).unwrap_or_default();
        if let Some(Event::RunCreated { plan, .. }) = first.first().map(|first| &first.event) {
            self.learn(&mut under, &plan.steps);
        }
        under
    }

    fn learn(&self, under: &mut Under, steps: &[PlanStep]) {
        let plugin = |step: &PlanStep| (step.id.clone(), self.plugin(&step.action));
        under.plugins.extend(steps.iter().map(plugin));
    }

    /// The plugin's name; only those of this release, so that the label has few values.
    fn plugin(&self, action: &ActionName) -> String {
        let known = self.host.find(action).and_then(|_| action.as_str().split('.').next());
        known.unwrap_or(UNKNOWN).to_owned()
    }

    fn fold(&self, under: &mut Under, new: &NewEvent) {
        match &new.event {
            Event::StepsInserted { steps, .. } => self.learn(under, steps),
            // What was in flight is settled by another engine: its time says nothing.
            Event::EngineAttached { .. } => under.sent.clear(),
            Event::EffectIntended { sending } if under.sent.len() < UNDER_WAY_MAX => {
                under.sent.insert(sending.clone(), new.at);
            }
            event => {
                if let Some((sending, outcome)) = effect_outcome(event)
                    && let Some(sent) = under.sent.remove(sending)
                {
                    let seconds = Duration::from_millis(new.at.since_ms(sent)).as_secs_f64();
                    let labels = under.labels(&sending.step, outcome);
                    self.effects.get_or_create(&labels).observe(seconds);
                }
                if let Some((step, outcome)) = step_outcome(event) {
                    self.steps.get_or_create(&under.labels(step, outcome)).inc();
                }
            }
        }
    }
}

impl Under {
    fn labels(&self, step: &StepId, outcome: &'static str) -> ByPlugin {
        let plugin = self.plugins.get(step).map_or(UNKNOWN, String::as_str);
        ByPlugin { plugin: plugin.to_owned(), outcome }
    }
}

fn effect_outcome(event: &Event) -> Option<(&Sending, &'static str)> {
    match event {
        Event::EffectDone { sending, .. } => Some((sending, "done")),
        Event::EffectRefused { sending, .. } => Some((sending, "refused")),
        Event::EffectFailed { sending, .. } => Some((sending, "failed")),
        Event::EffectUnclear { sending, .. } => Some((sending, "unclear")),
        _ => None,
    }
}

fn step_outcome(event: &Event) -> Option<(&StepId, &'static str)> {
    match event {
        Event::StepSucceeded { step, changed: true, .. } => Some((step, "succeeded")),
        Event::StepSucceeded { step, changed: false, .. } => Some((step, "already-satisfied")),
        Event::StepFailed { step, .. } => Some((step, "failed")),
        Event::StepSkipped { step, .. } => Some((step, "skipped")),
        Event::StepUnverified { step, .. } => Some((step, "unverified")),
        Event::StepUndone { step } => Some((step, "undone")),
        _ => None,
    }
}
