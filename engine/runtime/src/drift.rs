//! The drift of a run: what it did and is no longer as it was left. Shown before a run that stood
//! still for long goes on.

use std::sync::Arc;
use std::time::Duration;

use backout_core::contract::{Guarantee, Satisfied};
use backout_core::exercise::is_drill;
use backout_core::id::StepId;
use backout_core::plan::PlanStep;
use backout_core::state::{RunState, StepRun, StepState};
use backout_plugin_api::{CancellationToken, Context};
use futures::StreamExt;

use crate::survey::SURVEY_TIMEOUT_MS;
use crate::{Clock, Host};

/// Targets looked at in one moment.
const AT_ONCE_MAX: usize = 64;

/// A step whose target is not as the step left it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    /// The step.
    pub step: StepId,
    /// What differs, or why it could not be looked at.
    pub difference: Vec<String>,
    /// Whether the target answered.
    pub seen: bool,
}

/// Looks again at every target that the run changed. Reads only. A drill changed none.
pub async fn drift(host: &Host, clock: Arc<dyn Clock>, run: &RunState) -> Vec<Drift> {
    if is_drill(&run.plan) {
        return Vec::new();
    }
    let changed = run.plan.steps.iter().zip(&run.steps).filter(|(_, step)| is_changed(step));
    let looks = changed.map(|(plan, step)| look(host, clock.clone(), run, plan, step));
    let found: Vec<Option<Drift>> =
        futures::stream::iter(looks).buffered(AT_ONCE_MAX).collect().await;
    found.into_iter().flatten().collect()
}

fn is_changed(step: &StepRun) -> bool {
    matches!(step.state, StepState::Succeeded { changed: true })
        && step.guarantee().is_some_and(|guarantee| guarantee != Guarantee::ReadOnly)
        && !step.made.is_empty()
}

async fn look(
    host: &Host,
    clock: Arc<dyn Clock>,
    run: &RunState,
    plan: &PlanStep,
    step: &StepRun,
) -> Option<Drift> {
    let action = host.find(&plan.action)?;
    let ctx = context(host, clock.as_ref(), run, plan, step);
    let late = clock.sleep_until(clock.now().plus_ms(SURVEY_TIMEOUT_MS));
    let drift = |difference, seen| Some(Drift { step: plan.id.clone(), difference, seen });
    tokio::select! {
        answer = action.prepare(&ctx, &step.input) => match answer {
            Ok(seen) => {
                let differs = seen.effects.iter().filter(|e| e.satisfied == Satisfied::No);
                let lines: Vec<String> = differs.map(|effect| effect.title.clone()).collect();
                if lines.is_empty() { None } else { drift(lines, true) }
            }
            Err(failure) => drift(vec![failure.reason().to_owned()], false),
        },
        () = late => drift(vec![format!("no answer within {SURVEY_TIMEOUT_MS} ms")], false),
    }
}

fn context(
    host: &Host,
    clock: &dyn Clock,
    run: &RunState,
    plan: &PlanStep,
    step: &StepRun,
) -> Context {
    Context {
        run: run.run.clone(),
        step: plan.id.clone(),
        attempt: step.attempt,
        epoch: run.epoch.0,
        timeout: Duration::from_millis(SURVEY_TIMEOUT_MS),
        cancel: CancellationToken::new(),
        emit: Arc::new(|_| {}),
        secrets: host.secrets.clone(),
        scratch: std::path::PathBuf::new(),
        traceparent: None,
        now_ms: clock.now().0,
    }
}
