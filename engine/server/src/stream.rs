//! Server-sent events of a run: each client takes them at its own pace. The latest ones are kept once
//! for all clients of a run; a client that is further behind reads the journal. Nothing is queued for
//! a client, so that a slow one slows nobody and costs no memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq, StepId};
use backout_store::journal::{JournalStore, StoreError};
use futures::stream::unfold;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::witness::{Witness, locked};

/// Clients of streams at once: below the connections of a port, so that commands get through.
pub(crate) const STREAMS_MAX: usize = 384;
/// Events kept for all clients of one run.
const KEPT_MAX: usize = 512;
/// Bytes of them; the last page is kept whatever it weighs.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events that one client is given at a time.
const PAGE: usize = 64;
/// How long a stream may be silent: a client then hears that it is still connected.
const BEAT: Duration = Duration::from_secs(10);
/// Milliseconds after which a client that lost its connection comes back.
const RETRY_MS: u64 = 1_000;
/// The shortest time between two pieces of what a step prints: faster than this nobody reads.
const LIVE_EVERY: Duration = Duration::from_millis(150);
/// The shortest time between two signs that some run changed: a list is read again for each.
const CHANGES_EVERY: Duration = Duration::from_millis(500);

/// The latest events of the runs that somebody follows.
pub(crate) struct Tails {
    store: Arc<Witness>,
    by_run: Mutex<HashMap<RunId, Weak<Tail>>>,
    room: Arc<Semaphore>,
}

struct Tail {
    run: RunId,
    store: Arc<Witness>,
    kept: tokio::sync::Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    frames: VecDeque<Frame>,
    bytes: usize,
}

/// One event, ready to be sent to any client.
#[derive(Clone)]
struct Frame {
    seq: Seq,
    bytes: Bytes,
}

impl Tails {
    pub(crate) fn new(store: Arc<Witness>) -> Self {
        Self { store, by_run: Mutex::default(), room: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        STREAMS_MAX.saturating_sub(self.room.available_permits())
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.room.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{STREAMS_MAX} clients follow events already");
            Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "too busy", detail)
        })
    }

    fn of(&self, run: &RunId) -> Arc<Tail> {
        let mut by_run = locked(&self.by_run);
        if let Some(tail) = by_run.get(run).and_then(Weak::upgrade) {
            return tail;
        }
        by_run.retain(|_, tail| tail.strong_count() > 0);
        let (store, kept) = (self.store.clone(), tokio::sync::Mutex::default());
        let tail = Arc::new(Tail { run: run.clone(), store, kept });
        by_run.insert(run.clone(), Arc::downgrade(&tail));
        tail
    }
}

impl Tail {
    /// Some events from a position on; none where there are none yet.
    async fn from(&self, next: Seq) -> Result<Vec<Frame>, Problem> {
        let mut kept = self.kept.lock().await;
        match (kept.frames.front(), kept.frames.back()) {
            (Some(first), Some(_)) if next < first.seq => {}
            (Some(_), Some(last)) if next <= last.seq => return Ok(kept.from(next)),
            // Whoever is furthest reads for all.
            (_, last) => {
                let follows = last.is_some_and(|last| last.seq.next() == next);
                let page = self.read(next).await?;
                if !page.is_empty() {
                    kept.push(&page, follows);
                }
                return Ok(page);
            }
        }
        drop(kept);
        self.read(next).await
    }

    async fn read(&self, next: Seq) -> Result<Vec<Frame>, Problem> {
        // The first one holds the whole plan.
        let limit = if next <= Seq(1) { 1 } else { PAGE };
        let (store, run) = (self.store.clone(), self.run.clone());
        blocking(move || {
            let events = store.read(&run, next, limit);
            Ok(events.map_err(Problem::from)?.iter().map(Frame::of).collect())
        })
        .await
    }
}

impl Kept {
    fn from(&self, next: Seq) -> Vec<Frame> {
        self.frames.iter().skip_while(|frame| frame.seq < next).take(PAGE).cloned().collect()
    }

    fn push(&mut self, page: &[Frame], follows: bool) {
        if !follows {
            *self = Self::default();
        }
        self.bytes += page.iter().map(|frame| frame.bytes.len()).sum::<usize>();
        self.frames.extend(page.iter().cloned());
        while self.frames.len() > page.len()
            && (self.frames.len() > KEPT_MAX || self.bytes > KEPT_BYTES_MAX)
        {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
        }
    }
}

impl Frame {
    fn of(recorded: &Recorded) -> Self {
        let data = serde_json::to_string(recorded).unwrap_or_default();
        Self { seq: recorded.seq, bytes: format!("id: {}\ndata: {data}\n\n", recorded.seq).into() }
    }
}

/// One client of one run.
struct Client {
    face: Face,
    tail: Arc<Tail>,
    watch: watch::Receiver<Seq>,
    next: Seq,
    waiting: VecDeque<Frame>,
    begun: bool,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// The events of a run from a position on, until the client goes or the process ends.
pub(crate) async fn events(face: &Face, run: &RunId, from: Seq) -> Result<Response, Problem> {
    let permit = face.tails.permit()?;
    let (known, id) = (face.store.clone(), run.clone());
    let watch = blocking(move || Ok(known.watch(&id))).await?;
    if *watch.borrow() == Seq(0) {
        return Err(StoreError::NoSuchRun(run.clone()).into());
    }
    let client = Client {
        face: face.clone(),
        tail: face.tails.of(run),
        watch,
        next: from.max(Seq(1)),
        waiting: VecDeque::new(),
        begun: false,
        over: false,
        _permit: permit,
    };
    Ok(stream(Body::from_stream(unfold(client, |mut client| async move {
        let bytes = client.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), client))
    }))))
}

impl Client {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Some(self.beat(&format!("retry: {RETRY_MS}\n")));
        }
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                self.next = frame.seq.next();
                return Some(frame.bytes);
            }
            match self.tail.from(self.next).await {
                Ok(page) => self.waiting.extend(page),
                Err(problem) => {
                    self.over = true;
                    return Some(trouble(&problem));
                }
            }
            if !self.waiting.is_empty() {
                continue;
            }
            let next = self.next;
            let silent = tokio::select! {
                arrived = self.watch.wait_for(|last| *last >= next) => {
                    // The store is gone with the process.
                    arrived.ok()?;
                    false
                }
                () = tokio::time::sleep(BEAT) => true,
                () = self.face.closing.cancelled() => return None,
            };
            if silent {
                return Some(self.beat(""));
            }
        }
    }

    fn beat(&self, before: &str) -> Bytes {
        let driven = self.face.engine.is_driven(&self.tail.run);
        let data = json!({ "seq": *self.watch.borrow(), "driven": driven });
        format!("{before}event: beat\ndata: {data}\n\n").into()
    }
}

fn trouble(problem: &Problem) -> Bytes {
    let data = serde_json::to_string(problem).unwrap_or_default();
    format!("event: trouble\ndata: {data}\n\n").into()
}

/// A sign whenever any run changed, so that lists are read again; it says no more.
pub(crate) fn changes(face: &Face) -> Result<Response, Problem> {
    let permit = face.tails.permit()?;
    let mut seen = face.witness.changes();
    seen.mark_changed();
    let begin = (face.clone(), seen, permit);
    Ok(stream(Body::from_stream(unfold(begin, |(face, mut seen, permit)| async move {
        let sign = tokio::select! {
            changed = seen.changed() => {
                changed.ok()?;
                tokio::time::sleep(CHANGES_EVERY).await;
                format!("data: {{\"changes\":{}}}\n\n", *seen.borrow_and_update())
            }
            () = tokio::time::sleep(BEAT) => "event: beat\ndata: {}\n\n".to_owned(),
            () = face.closing.cancelled() => return None,
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(sign)), (face, seen, permit)))
    }))))
}

/// What a step prints, from a byte on, until the client goes or the process ends.
pub(crate) fn live(face: &Face, run: RunId, step: StepId, from: u64) -> Result<Response, Problem> {
    let permit = face.tails.permit()?;
    let begin = (face.clone(), face.live().changes(), from, permit);
    Ok(stream(Body::from_stream(unfold(begin, move |(face, mut changes, from, permit)| {
        let (run, step) = (run.clone(), step.clone());
        async move {
            loop {
                // Seen before it is read: what comes in between wakes again.
                changes.borrow_and_update();
                if let Some(piece) = face.live().since(&run, &step, from) {
                    let data = json!({ "text": piece.text, "next": piece.next });
                    let bytes = Bytes::from(format!("data: {data}\n\n"));
                    tokio::time::sleep(LIVE_EVERY).await;
                    let next = (face, changes, piece.next, permit);
                    return Some((Ok::<_, std::convert::Infallible>(bytes), next));
                }
                tokio::select! {
                    changed = changes.changed() => changed.ok()?,
                    () = tokio::time::sleep(BEAT) => {
                        let bytes = Bytes::from("event: beat\ndata: {}\n\n");
                        return Some((Ok(bytes), (face, changes, from, permit)));
                    }
                    () = face.closing.cancelled() => return None,
                }
            }
        }
    }))))
}

fn stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that collects what it forwards would hold events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}
