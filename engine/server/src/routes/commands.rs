//! What people ask of runs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use backout_core::command::Ask;
use backout_core::event::Cause;
use backout_core::id::{CommandId, RunId, Seq};
use backout_core::plan::Order;
use backout_core::state::RunState;
use backout_runtime::{EngineError, Seen, Start};
use backout_store::journal::StoreError;

use super::runs::known;
use crate::api::{Head, Operation};
use crate::caller::Sender;
use crate::etag::wanted_positions;
use crate::extract::{Asked, Named, known_shape};
use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::view::sentence;
use crate::wire::{AskReply, AskRequest, ResumeRequest, RunReply, StartRequest};

/// Events that are looked back through for a command that may have been followed already: a client
/// repeats within minutes.
const LOOKED_BACK: u64 = 500;
/// What changed since, as far as it is told.
const CHANGES_TOLD_MAX: usize = 20;

pub(super) fn operations() -> Vec<Operation> {
    let heads = &[Head::IdempotencyKey, Head::IfMatch];
    vec![
        Operation::post("start_run", "/api/v1/runs", start)
            .says(
                "Makes a run of a plan and drives it",
                "The caller chooses the run's name, so that a repeat is known as such. A plan may \
                 hold any command: on a port only a verified caller may send one. Others start a \
                 runbook that the engine knows by name.",
            )
            .body::<StartRequest>()
            .json::<RunReply>(),
        Operation::post("resume_run", "/api/v1/runs/{run}/resume", resume)
            .says("Takes a run up and lets it go on", "")
            .body::<ResumeRequest>()
            .heads(heads)
            .json::<RunReply>(),
        Operation::post("ask", "/api/v1/runs/{run}/ask", ask)
            .says(
                "A person's command",
                "Refused with 409 and what to do instead where it makes no sense now.",
            )
            .body::<AskRequest>()
            .heads(heads)
            .json::<AskReply>(),
    ]
}

async fn start(
    State(face): State<Face>,
    sender: Sender,
    Asked(request): Asked<StartRequest>,
) -> Result<Json<RunReply>, Problem> {
    let (run, start, by) = request.parts();
    let run = known_shape(run.as_str()).map_err(|problem| Problem::unfit(problem.detail))?;
    let cause = sender.cause(&by)?;
    sender.may_start(&start.plan, false, &cause)?;
    face.start(run, start, cause).await.map(Json)
}

async fn resume(
    State(face): State<Face>,
    Named(run): Named,
    sender: Sender,
    headers: HeaderMap,
    Asked(request): Asked<ResumeRequest>,
) -> Result<Json<RunReply>, Problem> {
    let cause = sender.cause(&request.by)?;
    sender.may_resume(&*state_of(&face, &run).await?, &cause)?;
    if followed(&face, &run, &cause).await?.is_none() {
        let seen = unchanged(&face, &run, &headers).await?;
        let resumed = face.engine.resume_seen(&run, cause, seen.clone()).await;
        told(&face, &run, seen, resumed).await?;
    }
    Ok(Json(RunReply { run }))
}

async fn ask(
    State(face): State<Face>,
    Named(run): Named,
    sender: Sender,
    headers: HeaderMap,
    Asked(request): Asked<AskRequest>,
) -> Result<Json<AskReply>, Problem> {
    let cause = sender.cause(&request.by)?;
    sender.may_ask(&request.ask, &*state_of(&face, &run).await?, &cause)?;
    // An engine says it of itself when it makes the run that goes on: nothing else proves that there
    // is one, and a run whose place is taken cannot be undone any more.
    if matches!(request.ask, Ask::Supersede { .. }) {
        return Err(Problem::unfit("the run that goes on in its place takes it by itself")
            .helped("start that one: backout run FILE --continue RUN"));
    }
    if let Some(seq) = followed(&face, &run, &cause).await? {
        return Ok(Json(AskReply { seq: seq.0, driven: face.engine.is_driven(&run) }));
    }
    let seen = unchanged(&face, &run, &headers).await?;
    let asked = face.engine.ask_seen(&run, request.ask, cause, seen.clone()).await;
    let answer = told(&face, &run, seen, asked).await?;
    Ok(Json(AskReply { seq: answer.seq.0, driven: answer.driven }))
}

async fn state_of(face: &Face, run: &RunId) -> Result<Arc<RunState>, Problem> {
    let (face, run) = (face.clone(), run.clone());
    blocking(move || face.state(&run)).await
}

impl Face {
    /// Makes a run and drives it. A run that this command made already is answered as then.
    pub async fn start(&self, run: RunId, start: Start, cause: Cause) -> Result<RunReply, Problem> {
        Order::of(&start.plan.steps).map_err(|error| Problem::unfit(error.to_string()))?;
        let first = match self.first(&run).await {
            Ok(first) => first,
            Err(problem) if problem.is_no_such_run() => None,
            Err(problem) => return Err(problem),
        };
        match first {
            Some(made_by) if made_by.is_some() && made_by == cause.command => {}
            Some(_) => {
                let detail = format!("there is a run {run} already");
                return Err(Problem::new(StatusCode::CONFLICT, "not possible now", detail)
                    .helped("nothing was started; choose another name"));
            }
            None => self.engine.begin(run.clone(), start, cause).await?,
        }
        Ok(RunReply { run })
    }

    /// The command that made a run, where the run is there.
    async fn first(&self, run: &RunId) -> Result<Option<Option<CommandId>>, Problem> {
        let (store, run) = (self.store.clone(), run.clone());
        let first = blocking(move || Ok(store.read(&run, Seq(1), 1)?)).await?;
        Ok(first.into_iter().next().map(|first| first.cause.command))
    }
}

/// Where a command stands in the journal that was followed already, before a restart for instance.
async fn followed(face: &Face, run: &RunId, cause: &Cause) -> Result<Option<Seq>, Problem> {
    let Some(command) = cause.command.clone() else { return Ok(None) };
    let (face, run) = (face.clone(), run.clone());
    blocking(move || {
        let last = known(&face, &run)?;
        let from = Seq(last.0.saturating_sub(LOOKED_BACK) + 1);
        let events = face.store.read(&run, from, usize::MAX)?;
        let by_it = events.iter().rfind(|event| event.cause.command.as_ref() == Some(&command));
        Ok(by_it.map(|event| event.seq))
    })
    .await
}

/// Refuses where the run is no longer as the person saw it, and says what changed; else gives the
/// positions, so that whoever decides for the run compares them with the command.
async fn unchanged(face: &Face, run: &RunId, headers: &HeaderMap) -> Result<Seen, Problem> {
    let Some(positions) = wanted_positions(headers) else { return Ok(None) };
    let seen: Vec<Seq> = positions.into_iter().map(Seq).collect();
    let (known_face, known_run) = (face.clone(), run.clone());
    let last = blocking(move || known(&known_face, &known_run)).await?;
    if seen.contains(&last) {
        return Ok(Some(seen));
    }
    Err(changed(face, run, seen, last).await)
}

/// What the engine answers; where the run changed in the last moment, with what changed.
async fn told<T>(
    face: &Face,
    run: &RunId,
    seen: Seen,
    answer: Result<T, EngineError>,
) -> Result<T, Problem> {
    match (answer, seen) {
        (Err(EngineError::Changed { last, .. }), Some(seen)) => {
            Err(changed(face, run, seen, last).await)
        }
        (answer, _) => Ok(answer?),
    }
}

async fn changed(face: &Face, run: &RunId, seen: Vec<Seq>, last: Seq) -> Problem {
    let (reader, id) = (face.clone(), run.clone());
    let seen = seen.into_iter().filter(|seen| *seen < last).max();
    let read = move || seen.map_or(Ok(Vec::new()), |seen| Ok(since(&reader, &id, seen)?));
    // That it changed is told also where the events cannot be read.
    let lines = blocking(read).await.unwrap_or_default();
    Problem::from(EngineError::Changed { run: run.clone(), last }).listing(lines)
}

fn since(face: &Face, run: &RunId, seen: Seq) -> Result<Vec<String>, StoreError> {
    let events = face.store.read(run, seen.next(), CHANGES_TOLD_MAX)?;
    let line = |recorded: &backout_core::event::Recorded| {
        let (step, says) = sentence(&recorded.event);
        let step = step.map(|step| format!("{step}: ")).unwrap_or_default();
        format!("{step}{says} (by {})", recorded.cause.actor.name)
    };
    Ok(events.iter().map(line).collect())
}
