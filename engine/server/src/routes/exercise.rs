//! What is asked of an exercise, where one is led here.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Operation;
use crate::caller::Sender;
use crate::desk::{Exercise, ExerciseView, SeatView};
use crate::extract::Asked;
use crate::face::{Face, blocking};
use crate::problem::Problem;
use crate::wire::By;

/// What a real engine answers.
const NO_EXERCISE: &str = "no exercise is led here";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("exercise", "/api/v1/exercise", view)
            .says(
                "The exercise that is led here: its clock, and what those who take part were told",
                "404 where the engine is a real one.",
            )
            .json::<ExerciseView>()
            .problem(404, NO_EXERCISE),
        Operation::get("exercise_seat", "/api/v1/exercise/seat", seat)
            .says(
                "The exercise as you may see it, and what you may do there",
                "Who takes part sees neither the coming injects nor what is expected; what one may not \
                 do stands there with the reason.",
            )
            .json::<SeatView>()
            .problem(404, NO_EXERCISE),
        Operation::post("lead_exercise", "/api/v1/exercise", lead)
            .says(
                "Does what a line of an exercise's language says",
                "The same lines as at the terminal of `backout drill`; `help` answers with them. Who \
                 may type which: the table of parts. Decisions are asked of the run, so that they \
                 stand under the name of whoever asks.",
            )
            .body::<LineRequest>()
            .json::<LineReply>()
            .problem(404, NO_EXERCISE),
        Operation::post("end_exercise", "/api/v1/exercise/emergency", emergency)
            .says("Ends the exercise on every screen, since something real has happened", "")
            .body::<EmergencyRequest>()
            .json::<ExerciseView>()
            .problem(404, NO_EXERCISE),
    ]
}

/// `POST /api/v1/exercise`: a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineRequest {
    /// The line, `inject support` for instance.
    pub line: String,
    /// Who.
    #[serde(default)]
    pub by: By,
}

/// What came of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LineReply {
    /// The answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// `POST /api/v1/exercise/emergency`: it is real.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmergencyRequest {
    /// What has happened, for those who hear it.
    #[serde(default)]
    pub text: String,
    /// Who.
    #[serde(default)]
    pub by: By,
}

impl Face {
    /// The exercise that is led here; a problem where there is none.
    pub fn led(&self) -> Result<&dyn Exercise, Problem> {
        let none =
            || Problem::not_found("no exercise", "this engine is a real one: nothing is led here");
        self.exercise().ok_or_else(none)
    }
}

async fn view(State(face): State<Face>) -> Result<Json<ExerciseView>, Problem> {
    blocking(move || Ok(Json(face.led()?.view()))).await
}

async fn seat(State(face): State<Face>, sender: Sender) -> Result<Json<SeatView>, Problem> {
    let who = sender.actor();
    blocking(move || Ok(Json(face.led()?.seat(&who)))).await
}

async fn lead(
    State(face): State<Face>,
    sender: Sender,
    Asked(request): Asked<LineRequest>,
) -> Result<Json<LineReply>, Problem> {
    let who = sender.cause(&request.by)?.actor;
    let answer = blocking(move || face.led()?.line(&request.line, &who)).await?;
    Ok(Json(LineReply { answer }))
}

async fn emergency(
    State(face): State<Face>,
    sender: Sender,
    Asked(request): Asked<EmergencyRequest>,
) -> Result<Json<ExerciseView>, Problem> {
    let who = sender.cause(&request.by)?.actor;
    blocking(move || {
        let led = face.led()?;
        led.emergency(&who, &request.text)?;
        Ok(Json(led.view()))
    })
    .await
}
