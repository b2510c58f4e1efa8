//! Who holds which target, and holding one against others.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use backout_core::id::{RunId, TargetId};
use backout_core::limits::NAME_BYTES_MAX;
use backout_runtime::Start;

use crate::api::Operation;
use crate::caller::Sender;
use crate::extract::Asked;
use crate::face::{Face, blocking};
use crate::hands::hold_plan;
use crate::problem::Problem;
use crate::view::LockView;
use crate::wire::{By, HoldRequest, RunReply};

/// Targets that one run holds for a person: who holds more should say so by a runbook.
const TARGETS_MAX: usize = 64;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("list_locks", "/api/v1/locks", list)
            .says(
                "Every target that is held, by which run, and who waits for it",
                "A run lets go by the command `yield`.",
            )
            .json::<Vec<LockView>>(),
        Operation::post("hold_targets", "/api/v1/locks", hold)
            .says(
                "Holds targets, so that no run changes them",
                "Makes a run that locks them and waits; approving its step `release` lets go.",
            )
            .body::<HoldRequest>()
            .json::<RunReply>(),
    ]
}

async fn list(State(face): State<Face>) -> Result<Json<Vec<LockView>>, Problem> {
    Ok(Json(blocking(move || face.locks()).await?))
}

async fn hold(
    State(face): State<Face>,
    sender: Sender,
    Asked(request): Asked<HoldRequest>,
) -> Result<Json<RunReply>, Problem> {
    face.hold(&sender, &request.targets, &request.by).await.map(Json)
}

impl Face {
    /// Every target that is held, in order. Blocks for the disk.
    pub fn locks(&self) -> Result<Vec<LockView>, Problem> {
        let rows = self.rows()?.rows;
        let mut held: BTreeMap<TargetId, LockView> = BTreeMap::new();
        for row in &rows {
            let word = row.word(self.engine.is_driven(&row.run));
            for target in &row.locks {
                held.insert(target.clone(), row.lock(target, word));
            }
        }
        for row in &rows {
            for target in &row.awaits {
                if let Some(held) = held.get_mut(target) {
                    held.waiting.push(row.run.to_string());
                }
            }
        }
        Ok(held.into_values().collect())
    }

    /// Makes a run that holds targets until a person lets go of them.
    pub async fn hold(
        &self,
        sender: &Sender,
        targets: &[TargetId],
        by: &By,
    ) -> Result<RunReply, Problem> {
        let cause = sender.cause(by)?;
        let fits = |target: &TargetId| (1..=NAME_BYTES_MAX).contains(&target.as_str().trim().len());
        if targets.is_empty() || targets.len() > TARGETS_MAX || !targets.iter().all(fits) {
            return Err(Problem::unfit(format!(
                "name 1 to {TARGETS_MAX} targets of at most {NAME_BYTES_MAX} bytes"
            )));
        }
        let Some(reason) = cause.reason.as_deref().filter(|reason| !reason.trim().is_empty())
        else {
            let problem =
                Problem::new(StatusCode::CONFLICT, "not possible now", "this needs a reason");
            return Err(problem.helped("say why the targets are held: others will read it"));
        };
        let plan = hold_plan(targets, reason, self.now());
        sender.may_start(&plan, true, &cause)?;
        let run: RunId = self.new_run(cause.command.as_ref().map(|key| format!("hold\n{key}")));
        self.start(run, Start::all(plan, String::new()), cause).await
    }
}
