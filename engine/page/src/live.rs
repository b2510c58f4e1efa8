//! Server-sent events: that something changed, and that the engine is still there. What changed is
//! read by loading the page again, so that there is one way to show it.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use backout_core::id::{RunId, Seq};
use futures::stream::unfold;
use futures::{Stream, StreamExt};
use tokio::sync::watch::Receiver;

use crate::book::Book;

/// Between two signs of life. The page says that it is stale when two and a half are missing.
const ALIVE_EVERY: Duration = Duration::from_secs(4);
/// Between two looks at the list of all runs.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Between two changes that are told: a run of many steps changes hundreds of times a second.
const CHANGES_EVERY: Duration = Duration::from_millis(250);

type Told = Result<Event, Infallible>;

fn told(kind: &str, number: u64) -> Event {
    Event::default().event(kind).id(number.to_string()).data(number.to_string())
}

/// Tells when a run changed since `seen`.
pub(crate) fn run(book: &Book, run: &RunId, seen: Seq) -> Sse<impl Stream<Item = Told> + use<>> {
    let watch = book.face.store.watch(run);
    let told = unfold((watch, seen, true), |(mut watch, seen, first)| async move {
        if !first {
            tokio::time::sleep(CHANGES_EVERY).await;
        }
        match later(&mut watch, seen).await? {
            Some(last) => Some((told("changed", last.0), (watch, last, false))),
            None => Some((told("alive", seen.0), (watch, seen, false))),
        }
    });
    Sse::new(told.map(Ok))
}

/// Waits for an event after `seen`; inside nothing where none came in time, nothing at all where the
/// store is closed: the stream ends then, and the page looks for the next engine.
async fn later(watch: &mut Receiver<Seq>, seen: Seq) -> Option<Option<Seq>> {
    match tokio::time::timeout(ALIVE_EVERY, watch.wait_for(|last| *last > seen)).await {
        Ok(Ok(last)) => Some(Some(*last)),
        Ok(Err(_)) => None,
        Err(_) => Some(None),
    }
}

/// Tells when anything in the list of runs changed.
pub(crate) fn list(book: Book, seen: Option<u64>) -> Sse<impl Stream<Item = Told> + use<>> {
    let told = unfold((book, seen), |(book, seen)| async move {
        let patience = tokio::time::Instant::now() + ALIVE_EVERY;
        loop {
            let now = book.pulse().ok()?;
            match seen {
                Some(seen) if seen == now => {}
                _ => return Some((told("changed", now), (book, Some(now)))),
            }
            if tokio::time::Instant::now() >= patience {
                return Some((told("alive", now), (book, Some(now))));
            }
            tokio::time::sleep(LIST_EVERY).await;
        }
    });
    Sse::new(told.map(Ok))
}
