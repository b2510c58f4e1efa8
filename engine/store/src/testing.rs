//! For tests, of this crate and of others: sample events, a store that fails on command, and the
//! suite that every store passes.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use backout_core::event::{CORE_VERSION, Cause, Event, Recorded, RunEnd};
use backout_core::id::{CommandId, Epoch, RunId, Seq, TargetId, Timestamp};
use backout_core::plan::Plan;
use tokio::sync::watch;

use crate::journal::{Append, AppendResult, JournalStore, NewEvent, Pending, StoreError};
use crate::watches::locked;

pub use crate::model::{CrashKind, ModelDisk};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for an answer on this thread, without a runtime.
pub fn wait<T>(answer: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A plan without steps.
pub fn empty_plan(name: &str) -> Plan {
    Plan { max_parallel: 1, stale_after_ms: 1, ..Plan::new(name, Vec::new()) }
}

/// The event that makes a run.
pub fn created(run: &RunId) -> Event {
    let plan = Box::new(empty_plan("sample"));
    Event::RunCreated { run: run.clone(), plan, text: String::new(), core: CORE_VERSION }
}

/// The event that ends a run.
pub fn ended() -> Event {
    Event::RunEnded { end: RunEnd::Succeeded, recovered: None }
}

/// A note of so many bytes, told apart by its number.
pub fn note(number: u64, bytes: usize) -> Event {
    let mut text = format!("note {number} ");
    while text.len() < bytes {
        text.push(char::from(b'a' + u8::try_from(text.len() % 23).unwrap_or(0)));
    }
    Event::NoteTaken { step: None, text }
}

/// An append of events to a run whose last position is `after`, under epoch 1 and without locks.
pub fn append(run: &RunId, after: u64, events: Vec<Event>) -> Append {
    let new = |event| NewEvent { at: Timestamp(1_000), cause: Cause::engine(), event };
    Append {
        append_id: CommandId::new(format!("{run}-{after}")),
        run: run.clone(),
        epoch: Epoch(1),
        expected_seq: Seq(after),
        claims: Vec::new(),
        releases: Vec::new(),
        intends: 0,
        events: events.into_iter().map(new).collect(),
    }
}

/// What a [`FaultyStore`] does to an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes it on.
    None,
    /// Answers that there is no room; nothing is appended.
    Full,
    /// Appends nothing, answers that nobody knows, and stops for good.
    Lost,
    /// Appends it, answers that nobody knows, and stops for good.
    LostAnswer,
    /// Passes it on, and gives the answer after it was polled so many times more.
    Slow(u32),
}

/// Chooses the fault of each append, which are counted from 1 on.
pub type Chooser = dyn FnMut(u64, &Append) -> Fault + Send;

/// A store that fails on command.
pub struct FaultyStore {
    inner: Arc<dyn JournalStore>,
    state: Mutex<Faults>,
}

struct Faults {
    count: u64,
    stopped: bool,
    choose: Box<Chooser>,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Puts faults before a store.
    pub fn new(inner: Arc<dyn JournalStore>, choose: Box<Chooser>) -> Self {
        let state = Mutex::new(Faults { count: 0, stopped: false, choose });
        Self { inner, state }
    }

    /// A store whose `nth` append, from 1 on, meets this fault.
    pub fn nth(inner: Arc<dyn JournalStore>, nth: u64, fault: Fault) -> Self {
        let choose =
            move |count, _: &Append| if count == nth { fault.clone() } else { Fault::None };
        Self::new(inner, Box::new(choose))
    }

    fn fault(&self, append: &Append) -> Option<Fault> {
        let mut state = locked(&self.state);
        if state.stopped {
            return None;
        }
        state.count += 1;
        let count = state.count;
        let fault = (state.choose)(count, append);
        state.stopped = matches!(fault, Fault::Lost | Fault::LostAnswer);
        Some(fault)
    }
}

impl JournalStore for FaultyStore {
    fn id(&self) -> String {
        self.inner.id()
    }

    fn append(&self, append: Append) -> Pending {
        let unknown = || AppendResult::Unknown { why: "a fault was injected".into() };
        match self.fault(&append) {
            None | Some(Fault::Lost) => Box::pin(std::future::ready(unknown())),
            Some(Fault::Full) => {
                let why = "a full disk was injected".into();
                Box::pin(std::future::ready(AppendResult::Full { why }))
            }
            Some(Fault::None) => self.inner.append(append),
            Some(Fault::LostAnswer) => {
                let answer = self.inner.append(append);
                Box::pin(async move {
                    answer.await;
                    AppendResult::Unknown { why: "a lost answer was injected".into() }
                })
            }
            Some(Fault::Slow(polls)) => {
                let answer = self.inner.append(append);
                Box::pin(async move {
                    for _ in 0..polls {
                        tokio::task::yield_now().await;
                    }
                    answer.await
                })
            }
        }
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

/// What a suite found wrong.
pub type Check = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Check {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, wanted {wanted:?}")) }
}

/// One check of the suite, by name.
pub type NamedCheck = (&'static str, fn(&dyn JournalStore) -> Check);

/// The suite that every store passes. Each check wants an empty store.
pub const CONFORMANCE: &[NamedCheck] = &[
    ("what is appended is read back", reads_back),
    ("an append at the wrong place conflicts", conflicts),
    ("an append is made once however often it is sent", repeats),
    ("a repeat is known long after", repeats_late),
    ("an older epoch is fenced", fences),
    ("locks are granted with the events, all or none", locks),
    ("a raised epoch renews tokens", renews),
    ("a lock's token never goes back", tokens_rise),
    ("watchers wake when something is durable", wakes),
    ("an append beyond a limit is refused and the store goes on", limits),
    ("appends sent at once are made in order", pipelines),
    ("runs are listed, an unknown one is said to be", lists),
];

fn run_of(number: u64) -> RunId {
    RunId::from_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn committed(result: &AppendResult) -> Result<Seq, String> {
    match result {
        AppendResult::Committed { last, .. } => Ok(*last),
        other => Err(format!("not committed: {other:?}")),
    }
}

fn tokens(result: &AppendResult) -> Result<Vec<u64>, String> {
    match result {
        AppendResult::Committed { grants, .. } => Ok(grants.iter().map(|g| g.token.0).collect()),
        other => Err(format!("not committed: {other:?}")),
    }
}

fn begin(store: &dyn JournalStore, run: &RunId) -> Check {
    committed(&wait(store.append(append(run, 0, vec![created(run)])))).map(|_| ())
}

fn read_all(store: &dyn JournalStore, run: &RunId) -> Result<Vec<Recorded>, String> {
    store.read(run, Seq(1), usize::MAX).map_err(|error| error.to_string())
}

fn reads_back(store: &dyn JournalStore) -> Check {
    let run = run_of(1);
    let first = append(&run, 0, vec![created(&run), note(1, 10)]);
    let second = append(&run, 2, vec![note(2, 70_000), note(3, 0)]);
    same("last", &committed(&wait(store.append(first.clone())))?, &Seq(2))?;
    same("last", &committed(&wait(store.append(second.clone())))?, &Seq(4))?;
    let wanted: Vec<_> = [first.recorded(&[]), second.recorded(&[])].concat();
    same("all", &read_all(store, &run)?, &wanted)?;
    let some = store.read(&run, Seq(2), 2).map_err(|error| error.to_string())?;
    same("two from 2 on", &some.as_slice(), &wanted.get(1..3).unwrap_or_default())?;
    let none = store.read(&run, Seq(5), 2).map_err(|error| error.to_string())?;
    same("none from 5 on", &none, &Vec::new())
}

fn conflicts(store: &dyn JournalStore) -> Check {
    let run = run_of(2);
    begin(store, &run)?;
    let mut late = append(&run, 0, vec![created(&run)]);
    late.append_id = "other".into();
    same("late", &wait(store.append(late)), &AppendResult::Conflict { actual: Seq(1) })?;
    let early = append(&run, 5, vec![note(1, 1)]);
    same("early", &wait(store.append(early)), &AppendResult::Conflict { actual: Seq(1) })?;
    let unknown = append(&run_of(3), 5, vec![note(1, 1)]);
    same("unknown", &wait(store.append(unknown)), &AppendResult::Conflict { actual: Seq(0) })
}

fn repeats(store: &dyn JournalStore) -> Check {
    let run = run_of(4);
    let mut first = append(&run, 0, vec![created(&run), note(1, 1)]);
    first.claims = vec!["db:a".into()];
    let once = wait(store.append(first.clone()));
    same("the repeat's answer", &wait(store.append(first)), &once)?;
    same("records", &read_all(store, &run)?.len(), &2)
}

fn repeats_late(store: &dyn JournalStore) -> Check {
    let run = run_of(5);
    let mut first = append(&run, 0, vec![created(&run), note(0, 1)]);
    first.claims = vec!["db:a".into()];
    let once = wait(store.append(first.clone()));
    for after in 2..300 {
        committed(&wait(store.append(append(&run, after, vec![note(after, 1)]))))?;
    }
    same("the repeat's answer", &wait(store.append(first)), &once)?;
    same("records", &read_all(store, &run)?.len(), &300)
}

fn fences(store: &dyn JournalStore) -> Check {
    let run = run_of(6);
    begin(store, &run)?;
    let next = store.next_epoch(&run).map_err(|error| error.to_string())?;
    same("the next epoch", &next, &Epoch(2))?;
    let old = append(&run, 1, vec![note(1, 1)]);
    same("the old epoch before", &committed(&wait(store.append(old)))?, &Seq(2))?;
    let mut newer = append(&run, 2, vec![note(2, 1)]);
    newer.epoch = next;
    committed(&wait(store.append(newer)))?;
    let old = append(&run, 3, vec![note(3, 1)]);
    same("the old epoch after", &wait(store.append(old)), &AppendResult::Fenced { epoch: next })?;
    let after = store.next_epoch(&run).map_err(|error| error.to_string())?;
    same("one more", &after, &Epoch(3))
}

fn locks(store: &dyn JournalStore) -> Check {
    let (one, two) = (run_of(7), run_of(8));
    let targets: Vec<TargetId> = vec!["db:a".into(), "db:b".into()];
    let mut claim = append(&one, 0, vec![created(&one)]);
    claim.claims.clone_from(&targets);
    let first = tokens(&wait(store.append(claim)))?;
    same("distinct tokens", &(first.first() < first.last()), &true)?;
    let grants = read_all(store, &one)?.first().map_or(0, |recorded| recorded.grants.len());
    same("grants in the journal", &grants, &2)?;
    begin(store, &two)?;
    let mut other = append(&two, 1, vec![note(1, 1)]);
    other.claims = vec!["db:c".into(), "db:b".into()];
    let AppendResult::Held { holders } = wait(store.append(other.clone())) else {
        return Err("a held target was granted".into());
    };
    let holder = holders.first().map(|holder| (holder.target.clone(), holder.run.clone()));
    same("the holder", &holder, &Some(("db:b".into(), one.clone())))?;
    same("nothing appended", &read_all(store, &two)?.len(), &1)?;
    let mut again = append(&one, 1, vec![note(1, 1)]);
    again.claims.clone_from(&targets);
    same("granted again", &tokens(&wait(store.append(again)))?, &first)?;
    let mut release = append(&one, 2, vec![note(2, 1)]);
    release.releases = targets;
    let wakes = store.lock_releases();
    committed(&wait(store.append(release)))?;
    same("a release wakes", &wakes.has_changed().unwrap_or(false), &true)?;
    let taken = tokens(&wait(store.append(other)))?;
    same("newer tokens", &(taken.iter().min() > first.iter().max()), &true)
}

fn renews(store: &dyn JournalStore) -> Check {
    let run = run_of(9);
    let mut claim = append(&run, 0, vec![created(&run)]);
    claim.claims = vec!["db:a".into(), "db:b".into()];
    let first = tokens(&wait(store.append(claim)))?;
    let mut taken = append(&run, 1, vec![note(1, 1)]);
    taken.epoch = store.next_epoch(&run).map_err(|error| error.to_string())?;
    let renewed = tokens(&wait(store.append(taken)))?;
    same("both", &renewed.len(), &2)?;
    same("renewed", &(renewed.iter().min() > first.iter().max()), &true)
}

fn tokens_rise(store: &dyn JournalStore) -> Check {
    let mut last = 0;
    for number in 10..20 {
        let run = run_of(number);
        let mut claim = append(&run, 0, vec![created(&run)]);
        claim.claims = vec!["db:a".into()];
        let token = tokens(&wait(store.append(claim)))?.first().copied().unwrap_or(0);
        same("rises", &(token > last), &true)?;
        last = token;
        let mut end = append(&run, 1, vec![ended()]);
        end.releases = vec!["db:a".into()];
        committed(&wait(store.append(end)))?;
    }
    Ok(())
}

fn wakes(store: &dyn JournalStore) -> Check {
    let run = run_of(20);
    let mut watch = store.watch(&run);
    begin(store, &run)?;
    same("woken", &watch.has_changed().unwrap_or(false), &true)?;
    same("position", &*watch.borrow_and_update(), &Seq(1))?;
    same("later watchers begin there", &*store.watch(&run).borrow(), &Seq(1))
}

fn limits(store: &dyn JournalStore) -> Check {
    let run = run_of(21);
    begin(store, &run)?;
    let huge = note(1, backout_core::limits::EVENT_BYTES_MAX + 1);
    let refused = wait(store.append(append(&run, 1, vec![huge])));
    same("too large", &matches!(refused, AppendResult::Refused { .. }), &true)?;
    let empty = wait(store.append(append(&run, 1, Vec::new())));
    same("no events", &matches!(empty, AppendResult::Refused { .. }), &true)?;
    let mut unsafe_name = append(&run, 0, vec![note(1, 1)]);
    unsafe_name.run = "../evil".into();
    let refused = wait(store.append(unsafe_name));
    same("a name that is a path", &matches!(refused, AppendResult::Refused { .. }), &true)?;
    committed(&wait(store.append(append(&run, 1, vec![note(1, 1)])))).map(|_| ())
}

fn pipelines(store: &dyn JournalStore) -> Check {
    let run = run_of(22);
    begin(store, &run)?;
    let sent: Vec<Pending> =
        (1..200).map(|after| store.append(append(&run, after, vec![note(after, 100)]))).collect();
    for (after, answer) in (1..).zip(sent) {
        same("in order", &committed(&wait(answer))?, &Seq(after + 1))?;
    }
    Ok(())
}

fn lists(store: &dyn JournalStore) -> Check {
    let (one, two) = (run_of(23), run_of(24));
    begin(store, &one)?;
    begin(store, &two)?;
    let mut runs = store.list().map_err(|error| error.to_string())?;
    runs.sort_unstable();
    let mut wanted = vec![one, two];
    wanted.sort_unstable();
    same("the runs", &runs, &wanted)?;
    let unknown = run_of(25);
    let read = store.read(&unknown, Seq(1), 1);
    same("an unknown one", &read, &Err(StoreError::NoSuchRun(unknown.clone())))?;
    same("its first epoch", &store.next_epoch(&unknown), &Ok(Epoch(1)))
}
