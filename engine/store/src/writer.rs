//! What writes the log: drain the queue, one write, one sync, acknowledge all. After any failed or
//! short write or failed sync it stops for good and never tries that file again.
//!
//! One at a time holds the writer. It has a thread of its own; where that is at rest, who appends a
//! little writes it itself, and is spared being woken by another thread.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backout_core::event::Grant;
use backout_core::id::{RunId, Seq};
use backout_core::limits::OUTPUT_BYTES_MAX;
use tokio::sync::oneshot;

use crate::batch;
use crate::disk::{DiskFile, OpenMode};
use crate::envelope::Sealed;
use crate::frame::{ENTRY, FrameBuilder, HEADER};
use crate::journal::{Append, AppendResult};
use crate::keeper::{self, Job};
use crate::ledger::{Refusal, may_use_reserve};
use crate::lookup;
use crate::mark::Mark;
use crate::portable;
use crate::queue::Queue;
use crate::segment::OpenSegment;
use crate::shared::{Extent, Shared, Spare};
use crate::watches::locked;

/// Bytes kept free for what becomes of one effect in flight: its outcome and its step's, each with
/// an output of the largest size, and their envelopes.
pub const OUTCOME_RESERVE: u64 = 2 * OUTPUT_BYTES_MAX as u64 + 8 * 1024;
/// Bytes kept free for the records by which an engine stops in order.
pub const STOP_RESERVE: u64 = 8 * 1024;
/// Bytes of room taken at once for outcomes still to come, where the disk has them: those of 60
/// effects in flight. Not more, since the next owner reads through it.
const GROW_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of records in one batch at the most: a batch is one write, and what it holds waits for all
/// of it.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// Events of an append that its caller may write itself: more of them are worth a thread of their
/// own, so that the caller goes on meanwhile.
const WRITTEN_HERE_MAX: usize = 16;

/// An append on its way to the writer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) append: Append,
    pub(crate) sealed: Vec<Sealed>,
    pub(crate) answer: oneshot::Sender<AppendResult>,
}

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Message {
    Append(Box<Request>),
    /// Forget a run that was removed.
    Forget(RunId),
}

/// The writer, and the queue before it.
#[derive(Debug)]
pub(crate) struct Appender {
    queue: Arc<Queue<Message>>,
    /// Absent once the store is closed.
    writer: Mutex<Option<Writer>>,
}

impl Appender {
    pub(crate) fn new(writer: Writer) -> Self {
        Self { queue: writer.queue.clone(), writer: Mutex::new(Some(writer)) }
    }

    /// Writes an append, here where it is small and nobody else writes, else by the writer's thread.
    pub(crate) fn append(&self, request: Box<Request>) {
        let message = Message::Append(request);
        let Some(mut held) = self.free_for(&message) else { return self.push(message) };
        if self.queue.put(message).is_ok()
            && let Some(writer) = held.as_mut()
        {
            writer.work();
        }
    }

    /// The writer, where it is at rest and has room at hand for a small append.
    fn free_for(&self, message: &Message) -> Option<MutexGuard<'_, Option<Writer>>> {
        let Message::Append(request) = message else { return None };
        if request.append.events.len() > WRITTEN_HERE_MAX {
            return None;
        }
        let held = self.writer.try_lock().ok()?;
        let free = held.as_ref().is_some_and(|writer| writer.has_room(request));
        free.then_some(held)
    }

    /// Gives the writer's thread something to do. A closed queue drops it, and whoever waits for an
    /// answer hears so.
    pub(crate) fn push(&self, message: Message) {
        let _sent = self.queue.push(message);
    }

    /// The writer's thread: works until the queue is closed and empty.
    pub(crate) fn run(&self) {
        while self.queue.wait() {
            if let Some(writer) = locked(&self.writer).as_mut() {
                writer.work();
            }
        }
        if let Some(writer) = locked(&self.writer).take() {
            writer.end();
        }
    }

    /// Lets nothing more in.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// The writer.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<Queue<Message>>,
    keeper: Sender<Job>,
    maker: Sender<()>,
    segment: OpenSegment,
    /// The number of the last frame written.
    frame: u64,
    mark: Option<Box<dyn DiskFile>>,
    builder: FrameBuilder,
    /// Answers that are given when the batch is durable.
    answers: Vec<(oneshot::Sender<AppendResult>, AppendResult)>,
    releases: bool,
}

/// What a writer starts from.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) queue: Arc<Queue<Message>>,
    pub(crate) keeper: Sender<Job>,
    pub(crate) maker: Sender<()>,
    pub(crate) segment: OpenSegment,
    pub(crate) frame: u64,
}

impl Writer {
    pub(crate) fn new(start: Start) -> Self {
        let Start { shared, queue, keeper, maker, segment, frame } = start;
        let path = shared.layout.durable();
        let known = shared.disk.open(&path, OpenMode::Write);
        let mark = known.or_else(|_| shared.disk.open(&path, OpenMode::Create)).ok();
        let writer = Self {
            shared,
            queue,
            keeper,
            maker,
            segment,
            frame,
            mark,
            builder: FrameBuilder::default(),
            answers: Vec::new(),
            releases: false,
        };
        writer.put_mark();
        writer
    }

    /// Writes all that waits in the queue. Whoever holds the writer takes from the queue, so that
    /// appends keep their order.
    fn work(&mut self) {
        let mut waiting = self.queue.take();
        while !waiting.is_empty() {
            self.batch(&mut waiting);
        }
    }

    /// Whether an append can be written at once, without waiting for room to be made.
    fn has_room(&self, request: &Request) -> bool {
        let bytes = HEADER as u64 + batch::size_of(request);
        self.fits(bytes) && self.reserve(&request.append) <= self.room_behind(bytes)
    }

    /// Hands the segment over to be stored away.
    fn end(self) {
        if self.shared.stop_reason().is_none() {
            // The keeper is gone only where it panicked; then the segment stays in the log.
            let _sent = self.keeper.send(self.job(self.segment.number));
            if let Spare::Ready(spare) = std::mem::take(&mut *locked(&self.shared.spare)) {
                keeper::remove(&*self.shared.disk, &[spare.path]);
            }
        }
    }

    /// Takes as many appends as fit into one write.
    fn batch(&mut self, waiting: &mut VecDeque<Message>) {
        if let Some(why) = self.shared.stop_reason() {
            return refuse_all(waiting, &why);
        }
        self.builder.clear();
        let mut bytes = HEADER as u64;
        while let Some(message) = waiting.pop_front() {
            match message {
                Message::Forget(run) => locked(&self.shared.ledger).forget(&run),
                Message::Append(request) => {
                    let size = batch::size_of(&request);
                    if !self.fits(bytes + size) {
                        if bytes > HEADER as u64 {
                            waiting.push_front(Message::Append(request));
                            break;
                        }
                        self.rotate(bytes + size);
                    }
                    self.admit(*request, size, &mut bytes);
                }
            }
            if bytes > BATCH_BYTES {
                break;
            }
        }
        self.commit();
    }

    /// Whether a frame of so many bytes goes into the segment, and should.
    fn fits(&self, bytes: u64) -> bool {
        self.segment.at + bytes <= self.segment.zeroed
    }

    /// Goes on in the spare segment, if there is one; else in what room this one has left, and also
    /// where the disk gave the spare one less than that and less than is promised.
    fn rotate(&mut self, bytes: u64) {
        self.want_spare();
        self.shared.await_spare();
        let promised = bytes + self.owed(0);
        let mut spare = locked(&self.shared.spare);
        match std::mem::take(&mut *spare) {
            Spare::Ready(next) if next.room() >= promised.min(self.segment.room()) => {
                drop(spare);
                let full = std::mem::replace(&mut self.segment, next);
                let _sent = self.keeper.send(self.job(full.number));
            }
            other => *spare = other,
        }
    }

    /// Asks for the first spare segment in time, so that nobody waits for it.
    fn look_ahead(&self) {
        if self.segment.is_half_full() && matches!(*locked(&self.shared.spare), Spare::None) {
            self.want_spare();
        }
    }

    /// Says to the keeper that a segment is full.
    fn job(&self, segment: u64) -> Job {
        Job { segment, frame: self.frame }
    }

    /// Asks for a spare segment where there is none.
    fn want_spare(&self) {
        let mut spare = locked(&self.shared.spare);
        if matches!(*spare, Spare::None | Spare::Failed(_)) {
            *spare = Spare::Coming;
            let _sent = self.maker.send(());
        }
    }

    /// Judges one append and puts its records into the batch.
    fn admit(&mut self, request: Request, size: u64, bytes: &mut u64) {
        let Request { append, sealed, answer } = request;
        let verdict = self.judge(&append, size, *bytes);
        let result = match verdict {
            Err(refused) => refused,
            Ok(grants) => {
                *bytes += size;
                self.put(&append, &sealed, grants)
            }
        };
        self.answers.push((answer, result));
    }

    fn judge(
        &mut self,
        append: &Append,
        size: u64,
        bytes: u64,
    ) -> Result<Vec<Grant>, AppendResult> {
        if let Some(why) = locked(&self.shared.held).get(&append.run) {
            let why = format!("run {} is held for a person: {why}", append.run);
            return Err(AppendResult::Refused { why });
        }
        self.know(&append.run)?;
        let verdict = locked(&self.shared.ledger).admit(append);
        let grants = match verdict {
            Ok(grants) => grants,
            Err(Refusal::Answer(answer)) => return Err(answer),
            Err(Refusal::Behind { actual }) => return Err(self.made_before(append, actual)),
        };
        let locks: u64 = grants.iter().map(|grant| batch::lock_size(&grant.target)).sum();
        self.make_room(append, bytes + size + locks)?;
        Ok(grants)
    }

    /// Takes a run up that is at rest and was not looked at since the store was opened.
    fn know(&self, run: &RunId) -> Result<(), AppendResult> {
        if locked(&self.shared.ledger).runs.contains_key(run) {
            return Ok(());
        }
        let imported = portable::imported(&*self.shared.disk, &self.shared.layout, run);
        if imported.is_some_and(|imported| imported.read_only) {
            let why = format!("run {run} was imported and is read-only until it is taken over");
            return Err(AppendResult::Refused { why });
        }
        match lookup::load_meta(&self.shared, run) {
            Ok(Some(meta)) => {
                locked(&self.shared.ledger).runs.insert(run.clone(), meta);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(AppendResult::Refused { why: error.to_string() }),
        }
    }

    /// The answer to an append that expects less than there is: whether the journal has it.
    fn made_before(&self, append: &Append, actual: Seq) -> AppendResult {
        let found = lookup::find_append(&self.shared, append);
        found.unwrap_or(AppendResult::Conflict { actual })
    }

    /// Sees to it that a frame of so many bytes can be written, and that what follows from it can.
    fn make_room(&mut self, append: &Append, bytes: u64) -> Result<(), AppendResult> {
        let reserve = self.reserve(append);
        if bytes > self.segment.room() {
            self.grow_segment(bytes)?;
        }
        if reserve <= self.room_behind(bytes) {
            return Ok(());
        }
        self.want_spare();
        self.shared.await_spare();
        if reserve <= self.room_behind(bytes) {
            return Ok(());
        }
        self.grow_spare(reserve).or_else(|| self.grow_current(bytes + reserve)).ok_or_else(|| {
            let room = self.room_behind(bytes);
            let said = match &*locked(&self.shared.spare) {
                Spare::Failed(why) => format!("; {why}"),
                Spare::None | Spare::Coming | Spare::Ready(_) => String::new(),
            };
            let why = format!(
                "no room on the disk: {bytes} bytes asked, {reserve} kept for outcomes and the \
                 stop, {room} there behind them{said}"
            );
            AppendResult::Full { why }
        })
    }

    fn reserve(&self, append: &Append) -> u64 {
        if may_use_reserve(append) {
            return 0;
        }
        self.owed(append.intends)
    }

    /// Bytes for what becomes of all effects in flight and of so many more, and for the stop.
    fn owed(&self, more: u32) -> u64 {
        let in_flight = locked(&self.shared.ledger).in_flight() + u64::from(more);
        STOP_RESERVE + in_flight.saturating_mul(OUTCOME_RESERVE)
    }

    /// Bytes that the disk has promised behind a frame of so many bytes, in one piece: what is written
    /// later goes into this segment or into the spare one, and no frame into both.
    fn room_behind(&self, bytes: u64) -> u64 {
        let spare = locked(&self.shared.spare);
        let spare = if let Spare::Ready(spare) = &*spare { spare.room() } else { 0 };
        spare.max(self.segment.room().saturating_sub(bytes))
    }

    fn grow_segment(&mut self, bytes: u64) -> Result<(), AppendResult> {
        let capacity = self.segment.at + bytes;
        self.segment.grow(capacity).map_err(|error| {
            let why = format!("no room on the disk for {bytes} bytes: {error}");
            AppendResult::Full { why }
        })
    }

    /// Gives the spare segment room for so many bytes.
    fn grow_spare(&self, room: u64) -> Option<()> {
        let mut spare = locked(&self.shared.spare);
        let Spare::Ready(spare) = &mut *spare else { return None };
        // In large pieces, so that many runs or a fan-out do not each wait for a sync of their own.
        let want = spare.at + room;
        spare.grow(want + GROW_BYTES).or_else(|_| spare.grow(want)).ok()
    }

    /// Gives this segment room for so many bytes.
    fn grow_current(&mut self, room: u64) -> Option<()> {
        let capacity = self.segment.at + room;
        self.segment.grow(capacity).ok()
    }

    /// Writes an append's records into the batch and folds them in.
    fn put(&mut self, append: &Append, sealed: &[Sealed], grants: Vec<Grant>) -> AppendResult {
        let mut ledger = locked(&self.shared.ledger);
        let offset = self.builder.body_len();
        let last = match batch::encode(&mut ledger, append, sealed, &grants, self.builder.body()) {
            Ok(last) => last,
            Err(error) => {
                self.builder.body().truncate(offset);
                return AppendResult::Refused { why: error.to_string() };
            }
        };
        ledger.remember(append, last, &grants);
        drop(ledger);
        self.builder.close_entry(&append.run, append.expected_seq.next(), last, offset);
        self.releases |= !append.releases.is_empty();
        AppendResult::Committed { last, grants }
    }

    /// Writes and syncs the batch, then says so to everybody.
    fn commit(&mut self) {
        if !self.builder.is_empty()
            && let Err(why) = self.write()
        {
            self.stop(&why);
            return;
        }
        if std::mem::take(&mut self.releases) {
            self.shared.watches.released();
        }
        for (answer, result) in self.answers.drain(..) {
            // Who asked may have gone; the append stands all the same.
            let _sent = answer.send(result);
        }
    }

    fn write(&mut self) -> Result<(), String> {
        let number = self.frame + 1;
        let segment = &self.segment;
        let bytes = self.builder.finish(number, segment.number, self.frame);
        let len = bytes.len();
        let at = segment.at;
        let failed = |what: &str, why: String| {
            format!("{what} {} at byte {at}: {why}", segment.path.display())
        };
        match segment.file.write_at(bytes, at) {
            Ok(written) if written == len => {}
            Ok(written) => {
                return Err(failed("writing", format!("{written} of {len} bytes were taken")));
            }
            Err(error) => return Err(failed("writing", error.to_string())),
        }
        segment.file.sync_data().map_err(|error| failed("syncing", error.to_string()))?;
        self.frame = number;
        // Before anybody hears of it: the mark is what tells damage from a torn tail.
        self.put_mark();
        self.publish(at);
        self.segment.at = at + len as u64;
        self.look_ahead();
        Ok(())
    }

    fn put_mark(&self) {
        if let Some(file) = &self.mark {
            Mark { frame: self.frame, boot: self.shared.boot }.put(&**file);
        }
    }

    /// Lets readers see the batch.
    fn publish(&self, at: u64) {
        let entries = self.builder.entries();
        let body = at + (HEADER + entries.len() * ENTRY) as u64;
        let mut extents = locked(&self.shared.extents);
        for entry in entries {
            let extent = Extent {
                segment: self.segment.number,
                file: self.segment.file.clone(),
                offset: body + u64::from(entry.offset),
                len: entry.len as usize,
                first: entry.first,
                last: entry.last,
            };
            extents.entry(entry.run.clone()).or_default().push(extent);
        }
        drop(extents);
        for entry in entries {
            self.shared.watches.durable(&entry.run, entry.last);
        }
    }

    /// Stops for good. Nobody knows whether the batch is on disk.
    fn stop(&mut self, why: &str) {
        tracing::error!(why, "the store stopped");
        *self.shared.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        for (answer, _) in self.answers.drain(..) {
            let _sent = answer.send(AppendResult::Unknown { why: why.to_owned() });
        }
    }
}

fn refuse_all(waiting: &mut VecDeque<Message>, why: &str) {
    for message in waiting.drain(..) {
        if let Message::Append(request) = message {
            let _sent = request.answer.send(AppendResult::Unknown { why: why.to_owned() });
        }
    }
}
