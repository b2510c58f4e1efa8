//! The page of an exercise and its forms: a line of its language, and a real emergency.

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use backout_server::Sender;
use backout_server::problem::Problem;
use maud::Markup;
use serde::Deserialize;

use crate::guard;
use crate::routes::{Answer, Page, rendered, with_token};
use crate::show::Frame;
use crate::show::seat::{self, After, Chair};

/// A form that was sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sent {
    token: String,
    /// The beginning of the line.
    line: String,
    /// A word that was chosen.
    choice: String,
    /// The rest.
    text: String,
}

/// Whether a line was just done.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    said: Option<String>,
}

impl Sent {
    /// The whole line. A text of several lines is one; what is said to a choice stands behind it.
    fn whole(&self) -> String {
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let both = !self.choice.is_empty() && !text.is_empty();
        let colon = if both && self.line.starts_with("reply ") { ":" } else { "" };
        let choice = format!("{}{colon}", self.choice.trim());
        let parts = [self.line.trim(), &choice, &text];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

fn made(page: &Page, frame: &Frame, answer: &After) -> Result<Markup, Problem> {
    let led = page.book.face.led()?;
    let (exercise, seat) = (led.view(), led.seat(&frame.actor));
    Ok(seat::page(Chair { frame, exercise: &exercise, seat: &seat }, answer))
}

/// The exercise, as this one may see it.
pub(crate) async fn page(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Query(said): Query<Said>,
) -> Answer {
    let (frame, is_new) = page.frame(&headers, sender)?;
    let token = frame.token.clone();
    let after = if said.said.is_some() { After::Done } else { After::Nothing };
    let markup = rendered(move || made(&page, &frame, &after)).await?;
    Ok(with_token(&token, is_new, markup))
}

/// Does what a line says.
pub(crate) async fn send(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Form(sent): Form<Sent>,
) -> Answer {
    let (frame, _) = page.frame(&headers, sender)?;
    guard::is_ours(&headers, &sent.token)?;
    rendered(move || {
        let said = page.book.face.led()?.line(&sent.whole(), &frame.actor);
        let (status, answer) = match said {
            Ok(None) => return Ok(Redirect::to("/exercise?said=1").into_response()),
            Ok(Some(answer)) => (StatusCode::OK, answer),
            Err(problem) => {
                let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::CONFLICT);
                let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
                (status, format!("{}{help}", problem.detail))
            }
        };
        // The frame was made before the line was done.
        let (frame, _) = page.frame(&headers, frame.sender)?;
        Ok((status, made(&page, &frame, &After::Answered(answer))?).into_response())
    })
    .await
}

/// Ends the exercise: this is real.
pub(crate) async fn emergency(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Form(sent): Form<Sent>,
) -> Answer {
    let (frame, _) = page.frame(&headers, sender)?;
    guard::is_ours(&headers, &sent.token)?;
    rendered(move || {
        let exercise = page.book.face.led()?;
        exercise.emergency(&frame.actor, sent.text.trim())?;
        let run = exercise.view().run;
        let to = if run.is_empty() { "/exercise".to_owned() } else { format!("/runs/{run}") };
        Ok(Redirect::to(&to).into_response())
    })
    .await
}
