//! What is asked of one run.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use backout_core::event::Recorded;
use backout_core::id::{RunId, Seq, StepId};
use backout_core::state::StepState;
use backout_runtime::herald::ABOUT_LABEL;
use backout_store::journal::StoreError;
use std::time::Duration;

use crate::api::{Head, Operation};
use crate::caller::Sender;
use crate::etag::{of_run, tagged};
use crate::extract::{Named, NamedIn, Wanted};
use crate::face::{Face, blocking};
use crate::graph::{NodeLook, svg};
use crate::problem::Problem;
use crate::stream;
use crate::view::{
    self, ByHandView, EarlierView, MessageView, Offer, RunView, drill_view, history_line,
    message_view, offers_on, sentence, withheld,
};
use crate::wire::{
    Change, EVENTS_PAGE_MAX, EVENTS_WAIT_MS_MAX, EventsPage, EventsQuery, HistoryEntry,
    HistoryPage, LivePiece, LiveQuery, OffersQuery, OutputQuery, RunQuery, StreamQuery,
};

/// Bytes of captured output in one answer.
const OUTPUT_PAGE_BYTES: usize = 1024 * 1024;
/// Messages of one run that are shown: with updates each quarter of an hour half a day.
const MESSAGES_MAX: usize = 50;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("run", "/api/v1/runs/{run}", one)
            .says(
                "A run: what is done, in doubt, waiting and next",
                "With `at` as it was known just after that event; nothing of what came later is in it.",
            )
            .query::<RunQuery>()
            .heads(&[Head::IfNoneMatch])
            .json::<RunView>(),
        Operation::get("events", "/api/v1/runs/{run}/events", events)
            .says("The durable events of a run from a position on", "")
            .query::<EventsQuery>()
            .json::<EventsPage>(),
        Operation::get("follow_events", "/api/v1/runs/{run}/events/stream", follow)
            .says(
                "The events of a run as they become durable",
                "Each event has its position as `id`. An event `beat` says now and then that the \
                 connection stands, with the last position and whether an engine drives the run; \
                 `trouble` carries a problem and is the last.",
            )
            .query::<StreamQuery>()
            .heads(&[Head::LastEventId])
            .events::<Recorded>(),
        Operation::get("follow_changes", "/api/v1/changes", changes)
            .says("A sign whenever any run changed", "Read the list again for each.")
            .events::<Change>(),
        Operation::get("history", "/api/v1/runs/{run}/history", history)
            .says("The events of a run in words", "")
            .query::<EventsQuery>()
            .json::<HistoryPage>(),
        Operation::get("offers", "/api/v1/runs/{run}/offers", offers)
            .says(
                "What who asks may ask of a run now, or of one of its steps",
                "What is not possible or not allowed stands there with the reason.",
            )
            .query::<OffersQuery>()
            .json::<Vec<Offer>>(),
        Operation::get("messages", "/api/v1/runs/{run}/messages", messages)
            .says("The last messages to people outside about a run, the newest first", "")
            .json::<Vec<MessageView>>(),
        Operation::get("by_hand", "/api/v1/runs/{run}/by-hand", by_hand)
            .says("A run as commands that a person can type", "")
            .json::<ByHandView>(),
        Operation::get("graph", "/api/v1/runs/{run}/graph.svg", graph)
            .says("The steps of a run, drawn as they are now", "")
            .text("image/svg+xml"),
        Operation::get("follow_output", "/api/v1/runs/{run}/printed/stream", live)
            .says(
                "What a step prints while it works",
                "Only what this process heard, and of much only the end. All of it is kept with the \
                 outcome. An event `beat` says now and then that the connection stands.",
            )
            .query::<LiveQuery>()
            .events::<LivePiece>(),
        Operation::get("output", "/api/v1/runs/{run}/output/{sha256}", output)
            .says("What an effect printed, as the outcome names it", "At most 1 MiB at a time.")
            .query::<OutputQuery>()
            .text("text/plain; charset=utf-8"),
    ]
}

async fn one(
    State(face): State<Face>,
    Named(run): Named,
    Wanted(query): Wanted<RunQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let read = move || {
        if let Some(at) = query.at {
            return Ok(face.view_at(&run, at)?.1);
        }
        let head = if query.head { face.head(&run) } else { None };
        Ok(RunView { head, ..face.view(&run)? })
    };
    let view = blocking(read).await?;
    Ok(tagged(&headers, &of_run(&view), &view))
}

async fn events(
    State(face): State<Face>,
    Named(run): Named,
    Wanted(query): Wanted<EventsQuery>,
) -> Result<Json<EventsPage>, Problem> {
    let earlier = earlier(&face, &run, query.from).await;
    let (events, driven) = page(face.clone(), run, query).await?;
    Ok(Json(EventsPage { events, driven, now: Some(face.now()), earlier }))
}

/// What earlier runs took, for who reads a run from its first event on.
async fn earlier(face: &Face, run: &RunId, from: u64) -> Option<EarlierView> {
    if from > 1 {
        return None;
    }
    let (face, run) = (face.clone(), run.clone());
    // The events are as good without it.
    blocking(move || face.earlier(&run)).await.ok()
}

async fn page(
    face: Face,
    run: RunId,
    query: EventsQuery,
) -> Result<(Vec<Recorded>, bool), Problem> {
    let from = Seq(query.from.max(1));
    let (store, id) = (face.store.clone(), run.clone());
    let mut watch = blocking(move || Ok(store.watch(&id))).await?;
    let arrived = watch.wait_for(|last| *last >= from);
    let patience = Duration::from_millis(query.wait_ms.min(EVENTS_WAIT_MS_MAX));
    // Whether it came or the time passed, what is durable is read and answered.
    let _ = tokio::time::timeout(patience, arrived).await.is_ok();
    let driven = face.engine.is_driven(&run);
    let events = blocking(move || Ok(face.store.read(&run, from, EVENTS_PAGE_MAX)?)).await?;
    Ok((events, driven))
}

async fn follow(
    State(face): State<Face>,
    Named(run): Named,
    Wanted(query): Wanted<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let behind = last.and_then(|last| last.trim().parse::<u64>().ok());
    let from = behind.map_or(query.from, |last| last.saturating_add(1));
    stream::events(&face, &run, Seq(from)).await
}

async fn live(
    State(face): State<Face>,
    Named(run): Named,
    Wanted(query): Wanted<LiveQuery>,
) -> Result<Response, Problem> {
    let (reader, id) = (face.clone(), run.clone());
    blocking(move || known(&reader, &id)).await?;
    stream::live(&face, run, StepId::from(query.step.as_str()), query.from)
}

async fn changes(State(face): State<Face>) -> Result<Response, Problem> {
    stream::changes(&face)
}

async fn history(
    State(face): State<Face>,
    Named(run): Named,
    Wanted(query): Wanted<EventsQuery>,
) -> Result<Json<HistoryPage>, Problem> {
    let (events, driven) = page(face, run, query).await?;
    Ok(Json(HistoryPage { lines: events.iter().map(entry).collect(), driven }))
}

fn entry(recorded: &Recorded) -> HistoryEntry {
    let (on, says) = sentence(&recorded.event);
    HistoryEntry { on, says, line: history_line(recorded) }
}

async fn offers(
    State(face): State<Face>,
    Named(run): Named,
    sender: Sender,
    Wanted(query): Wanted<OffersQuery>,
) -> Result<Json<Vec<Offer>>, Problem> {
    let read = move || {
        let state = face.state(&run)?;
        let (now, driven) = (face.now(), face.engine.is_driven(&run));
        let step = query.step.as_deref().map(StepId::from);
        let all = match &step {
            Some(step) if state.find(step).is_none() => {
                let detail = format!("run {run} has no step `{step}`");
                return Err(Problem::not_found("no such step", detail));
            }
            Some(step) => offers_on(&state, step, now, &sender.actor()),
            None => view::offers(&state, now, &sender.actor(), driven),
        };
        let over = drill_view(&state, face.leading()).is_some_and(|drill| drill.over);
        if over {
            return Ok(withheld(all));
        }
        Ok(all.into_iter().map(|offer| sender.allowed(offer, &state)).collect())
    };
    blocking(read).await.map(Json)
}

async fn messages(
    State(face): State<Face>,
    Named(run): Named,
) -> Result<Json<Vec<MessageView>>, Problem> {
    let read = move || {
        known(&face, &run)?;
        face.messages(&run)
    };
    blocking(read).await.map(Json)
}

async fn by_hand(State(face): State<Face>, Named(run): Named) -> Result<Json<ByHandView>, Problem> {
    Ok(Json(blocking(move || face.by_hand(&run)).await?))
}

async fn graph(State(face): State<Face>, Named(run): Named) -> Result<Response, Problem> {
    let drawn = blocking(move || face.drawing(&run)).await?;
    let kind = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        // The picture brings its own colours.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
    ];
    Ok((kind, drawn).into_response())
}

impl Face {
    /// The last messages to people outside about a run, the newest first. Blocks for the disk.
    pub fn messages(&self, run: &RunId) -> Result<Vec<MessageView>, Problem> {
        let mut rows = self.rows()?.rows;
        rows.retain(|row| row.labels.get(ABOUT_LABEL).is_some_and(|about| about == run.as_str()));
        rows.sort_by_key(|row| std::cmp::Reverse((row.created, row.run.clone())));
        let shown = rows.iter().take(MESSAGES_MAX);
        let views = shown.map(|row| Ok(message_view(&*self.state(&row.run)?)));
        let views: Result<Vec<_>, Problem> = views.collect();
        Ok(views?.into_iter().flatten().collect())
    }

    /// The steps of a run, drawn as they are now. Blocks for the disk.
    pub fn drawing(&self, run: &RunId) -> Result<String, Problem> {
        let state = self.state(run)?;
        Ok(svg(&state.plan, &state.order, |step| {
            let Some((_, _, run)) = state.find(&step.id) else { return NodeLook::default() };
            let note = match &run.state {
                StepState::Failed { reason, .. } => reason.clone(),
                _ => run.trouble.clone().unwrap_or_default(),
            };
            NodeLook { state: run.state.word().to_owned(), note }
        }))
    }
}

async fn output(
    State(face): State<Face>,
    NamedIn(run, sha256): NamedIn,
    Wanted(query): Wanted<OutputQuery>,
) -> Result<Response, Problem> {
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|b| b"0123456789abcdef".contains(&b));
    if !is_digest {
        return Err(Problem::not_found("no such output", format!("`{sha256}` names no output")));
    }
    let bytes =
        blocking(move || face.output(&run, &sha256, query.offset, OUTPUT_PAGE_BYTES)).await?;
    // A browser must not take it for a page.
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, bytes).into_response())
}

/// Only runs that there are.
pub(super) fn known(face: &Face, run: &RunId) -> Result<Seq, Problem> {
    match *face.store.watch(run).borrow() {
        Seq(0) => Err(StoreError::NoSuchRun(run.clone()).into()),
        last => Ok(last),
    }
}
