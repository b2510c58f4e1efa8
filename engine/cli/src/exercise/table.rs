//! A drill that several people are at: one at this terminal, others by the control socket or the page.
//! Whatever anybody does happens at one moment of the exercise's clock, and is durable before anybody
//! is told of it.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backout_core::Rejection;
use backout_core::command::Ask;
use backout_core::event::{Cause, Recorded};
use backout_core::id::{RunId, Timestamp};
use backout_runtime::{Answer, Clock, EngineError};
use backout_server::Witness;
use backout_tabletop::console::{Typed, drill_help};
use backout_tabletop::drill::{Broken, Drill, Setup};
use backout_tabletop::log::Exercise;
use backout_tabletop::record::Recorder;
use backout_tabletop::scenario::{msel, table};
use tokio::sync::watch;

use super::led::{Keeper, Led};

/// Between two looks at the exercise's clock.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// A drill, and all that leads to it.
pub(crate) struct Table {
    play: Mutex<Play>,
    clock: Arc<TableClock>,
    witness: Arc<Witness>,
    driven: AtomicBool,
    run: RunId,
}

/// What happens under the lock.
struct Play {
    drill: Drill,
    recorder: Recorder,
    keeper: Keeper,
    speed: u32,
    stopped: bool,
    ticked: Instant,
}

impl Play {
    /// The clock goes on as the real one did.
    fn tick(&mut self) -> Result<(), Broken> {
        let passed = u64::try_from(self.ticked.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.ticked = Instant::now();
        if self.stopped || self.drill.is_over() {
            return Ok(());
        }
        let limit = self.drill.limit();
        let until = self.drill.now().plus_ms(passed.saturating_mul(u64::from(self.speed)));
        self.drill.advance_to(until.min(limit))?;
        if until >= limit {
            self.drill.end("its time is over");
        }
        Ok(())
    }

    fn typed(&mut self, typed: &Typed, who: &str) -> Result<Option<String>, Broken> {
        match typed {
            Typed::Stop if self.stopped => return Ok(Some("the clock stands already".to_owned())),
            Typed::Go if !self.stopped => return Ok(Some("the clock goes already".to_owned())),
            Typed::Stop => self.stopped = true,
            Typed::Go => self.stopped = false,
            Typed::Speed(speed) => self.speed = *speed,
            Typed::Help => return Ok(Some(drill_help())),
            Typed::Plan => return Ok(Some(table(&msel(self.drill.scenario())))),
            Typed::World => return Ok(Some(self.drill.world_lines().join("\n"))),
            _ => {}
        }
        self.drill.do_typed(typed, who)
    }
}

/// How the clock of an exercise stands, for those who look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How many times as fast as real time it goes.
    pub(crate) speed: u32,
    /// Whether it stands still.
    pub(crate) stopped: bool,
}

impl Table {
    /// Begins a drill that is kept in this folder, and appends what happens through the witness.
    pub(crate) fn begin(
        setup: Setup,
        folder: &Path,
        witness: Arc<Witness>,
        speed: u32,
    ) -> Result<Arc<Self>, Broken> {
        let drill = Drill::begin(setup)?;
        let run = drill.run_id().clone();
        let recorder = Recorder::new(witness.clone(), run.clone());
        let clock = Arc::new(TableClock(AtomicI64::new(drill.now().0)));
        let play = Play {
            drill,
            recorder,
            keeper: Keeper::of(folder)?,
            speed: speed.max(1),
            stopped: speed == 0,
            ticked: Instant::now(),
        };
        let table =
            Self { play: Mutex::new(play), clock, witness, driven: AtomicBool::new(true), run };
        table.act(|_| Ok(()))?;
        Ok(Arc::new(table))
    }

    /// The run of the exercise.
    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// The clock of the exercise.
    pub(crate) fn clock(&self) -> Arc<TableClock> {
        self.clock.clone()
    }

    /// Whether an engine drives the run now.
    pub(crate) fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Relaxed)
    }

    /// Looks at the exercise as it is now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Drill, Pace) -> T) -> T {
        let play = self.lock();
        look(&play.drill, Pace { speed: play.speed, stopped: play.stopped })
    }

    /// A person's command, from wherever it comes.
    pub(crate) fn ask(&self, run: &RunId, ask: Ask, cause: Cause) -> Result<Answer, EngineError> {
        if *run != self.run {
            return Err(backout_store::journal::StoreError::NoSuchRun(run.clone()).into());
        }
        let broken = |error: Broken| EngineError::Stopped { why: error.to_string() };
        let (answer, seq) = self
            .act(|play| {
                let answer = play.drill.ask_by(cause, ask)?;
                Ok((answer, play.drill.state().map(|state| state.seq).unwrap_or_default()))
            })
            .map_err(broken)?;
        let refused = |Rejection { message, help }| EngineError::Rejected { message, help };
        answer.map(|()| Answer { seq, driven: self.is_driven() }).map_err(refused)
    }

    /// One thing after the other: time first, then what is done, then the record.
    fn act<T>(&self, act: impl FnOnce(&mut Play) -> Result<T, Broken>) -> Result<T, Broken> {
        let mut play = self.lock();
        let said = play.drill.log().len();
        play.tick()?;
        let done = act(&mut play)?;
        let Play { drill, recorder, keeper, .. } = &mut *play;
        recorder.write(drill.journal()).map_err(Broken)?;
        keeper.keep(drill.log().len(), || drill.exercise())?;
        self.clock.0.store(drill.now().0, Ordering::Relaxed);
        let driven = drill.away().is_none() && !drill.is_over();
        self.driven.store(driven, Ordering::Relaxed);
        if drill.log().len() > said {
            self.witness.stir();
        }
        Ok(done)
    }

    fn lock(&self) -> MutexGuard<'_, Play> {
        self.play.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Led for Table {
    fn record(&self) -> Exercise {
        self.look(|drill, _| drill.exercise())
    }

    fn typed(&self, typed: &Typed, who: &str) -> Result<Option<String>, Broken> {
        self.act(|play| play.typed(typed, who))
    }

    fn tick(&self) -> Result<(), Broken> {
        self.act(|_| Ok(()))
    }

    fn end(&self, why: &str) -> Result<(), Broken> {
        self.act(|play| {
            play.drill.end(why);
            Ok(())
        })
    }

    fn emergency(&self, who: &Cause, text: &str) -> Result<(), Broken> {
        self.act(|play| play.drill.emergency(who, text))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.witness.changes()
    }

    fn run(&self) -> Option<&RunId> {
        Some(&self.run)
    }

    fn journal(&self, from: usize) -> Vec<Recorded> {
        self.look(|drill, _| drill.journal().get(from..).unwrap_or_default().to_vec())
    }

    fn away(&self) -> Option<String> {
        self.look(|drill, _| drill.away().map(str::to_owned))
    }

    fn world(&self) -> Vec<String> {
        self.look(|drill, _| drill.world_lines())
    }
}

/// The clock of an exercise, as it was last turned.
#[derive(Debug)]
pub(crate) struct TableClock(AtomicI64);

impl Clock for TableClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    /// Nobody knows when somebody turns it: it is looked at now and then. What waits here does not
    /// decide anything.
    fn sleep_until(&self, due: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let ms = due.since_ms(self.now());
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }
}
