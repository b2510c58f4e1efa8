//! The runbooks that the engine knows by name: listed, shown, planned, started.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use backout_core::id::RunId;
use backout_runtime::Start;
use backout_runtime::needs::missing_secrets;
use backout_runtime::survey::{PlanReport, SURVEY_TIMEOUT_MS, survey};
use backout_store::journal::JournalStore;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::Operation;
use crate::books::{BookListed, BookView, Params, PlanRequest, Ready};
use crate::caller::Sender;
use crate::extract::{Asked, Word, known_shape};
use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::wire::{By, RunReply};

/// How long a look at all targets of a plan may take, whatever their number.
const LOOK_MAX: Duration = Duration::from_secs(25);

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("list_runbooks", "/api/v1/runbooks", list)
            .says("The runbooks that can be started by name", "")
            .json::<Vec<BookListed>>(),
        Operation::get("runbook", "/api/v1/runbooks/{runbook}", view)
            .says("A runbook: its text, what it asks for, what is wrong with it", "")
            .json::<BookView>(),
        Operation::post("plan_runbook", "/api/v1/runbooks/{runbook}/plan", plan)
            .says(
                "What a runbook would do, by looking at every target",
                "Changes nothing. Its `digest` names the plan; sent with the start, the run is the \
                 one that was seen.",
            )
            .body::<PlanRequest>()
            .json::<PlanAnswer>(),
        Operation::post("start_runbook", "/api/v1/runbooks/{runbook}/runs", start)
            .says(
                "Starts a runbook with its parameters",
                "Where its environment is protected the `digest` of a plan is needed.",
            )
            .body::<StartBookRequest>()
            .json::<RunReply>(),
    ]
}

/// What a runbook would do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PlanAnswer {
    /// Names the plan: the same file and parameters give the same.
    pub digest: String,
    /// What each step would do, as far as it can be seen now.
    pub report: PlanReport,
}

/// `POST /api/v1/runbooks/{runbook}/runs`: start it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartBookRequest {
    /// Its parameters by name, as for the plan.
    #[serde(default)]
    pub params: Params,
    /// The `digest` of the plan that was seen: another plan is not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The run's name; one is chosen where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// Who and why.
    #[serde(default)]
    pub by: By,
}

async fn list(State(face): State<Face>) -> Result<Json<Vec<BookListed>>, Problem> {
    Ok(Json(blocking(move || Ok(face.books().list(face.engine.host()))).await?))
}

async fn view(State(face): State<Face>, Word(name): Word) -> Result<Json<BookView>, Problem> {
    Ok(Json(blocking(move || face.books().view(face.engine.host(), &name)).await?))
}

async fn plan(
    State(face): State<Face>,
    Word(name): Word,
    Asked(request): Asked<PlanRequest>,
) -> Result<Json<PlanAnswer>, Problem> {
    face.plan_book(&name, request.params).await.map(Json)
}

async fn start(
    State(face): State<Face>,
    Word(name): Word,
    sender: Sender,
    Asked(request): Asked<StartBookRequest>,
) -> Result<Json<RunReply>, Problem> {
    let cause = sender.cause(&request.by)?;
    let run = match &request.run {
        Some(run) => known_shape(run.as_str()).map_err(|problem| Problem::unfit(problem.detail))?,
        None => face.new_run(cause.command.as_ref().map(|key| format!("{name}\n{key}"))),
    };
    let ready = face.ready_book(&name, request.params).await?;
    agreed(&name, &ready, request.digest.as_deref())?;
    sender.may_start(&ready.plan, true, &cause)?;
    face.start(run, Start::all(ready.plan, ready.text), cause).await.map(Json)
}

/// Only the plan that was seen is started, and in a protected environment only one that was.
fn agreed(name: &str, ready: &Ready, seen: Option<&str>) -> Result<(), Problem> {
    let protected =
        ready.plan.environment.as_ref().is_some_and(|environment| environment.protected);
    let refuse = |detail: String| {
        let problem = Problem::new(StatusCode::CONFLICT, "not the plan that was seen", detail);
        Err(problem.helped("nothing was started; ask for its plan, look, and send the `digest`"))
    };
    match seen {
        Some(seen) if seen != ready.digest => {
            refuse(format!("runbook `{name}` is not as it was when its plan was made"))
        }
        None if protected => refuse(format!("the environment of `{name}` is protected")),
        Some(_) | None => Ok(()),
    }
}

impl Face {
    /// What a runbook would do, by looking at every target.
    pub async fn plan_book(&self, name: &str, params: Params) -> Result<PlanAnswer, Problem> {
        let Ready { plan, warnings, digest, .. } = self.compiled(name, params).await?;
        let look = survey(self.engine.host(), self.clock(), &plan, SURVEY_TIMEOUT_MS);
        let Ok(looked) = tokio::time::timeout(LOOK_MAX, look).await else {
            let detail = format!("not all targets answered within {} s", LOOK_MAX.as_secs());
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "took too long", detail));
        };
        let report = looked.map_err(|error| Problem::internal(error.to_string()))?;
        Ok(PlanAnswer { digest, report: PlanReport { warnings, ..report } })
    }

    /// A runbook as a plan that can be started: with its parameters, and every secret it will need.
    pub async fn ready_book(&self, name: &str, params: Params) -> Result<Ready, Problem> {
        let ready = self.compiled(name, params).await?;
        let face = self.clone();
        blocking(move || {
            let missing = missing_secrets(face.engine.host(), &ready.plan, ready.plan.steps.iter());
            if missing.is_empty() {
                return Ok(ready);
            }
            let lines = missing.iter().map(|missing| missing.error.to_string()).collect();
            Err(Problem::new(StatusCode::CONFLICT, "not possible now", "secrets cannot be had")
                .helped("nothing was started; provide them to the engine's process")
                .listing(lines))
        })
        .await
    }

    async fn compiled(&self, name: &str, params: Params) -> Result<Ready, Problem> {
        let (face, name) = (self.clone(), name.to_owned());
        blocking(move || face.books().ready(face.engine.host(), &name, &params)).await
    }

    /// A name for a new run. The same command gives the same, so that it makes one run.
    pub fn new_run(&self, command: Option<String>) -> RunId {
        let unique = || format!("{}\n{:?}", self.since, std::time::Instant::now());
        let mut digest = Sha256::new();
        digest.update(self.witness.id());
        digest.update(command.unwrap_or_else(unique));
        let hash: [u8; 32] = digest.finalize().into();
        let mut bits = [0; 8];
        bits.copy_from_slice(&hash[..8]);
        RunId::from_random(u64::from_le_bytes(bits))
    }
}
