//! The pages' addresses.

use axum::extract::{DefaultBodyLimit, Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use backout_core::id::{RunId, Seq, StepId};
use backout_server::desk::Exercise;
use backout_server::problem::Problem;
use backout_server::view::StepView;
use backout_server::wire::By;
use backout_server::{Face, Piece, Sender};
use maud::Markup;
use serde::Deserialize;

use crate::book::Book;
use crate::form::{FORM_BYTES_MAX, Sent};
use crate::given::Given;
use crate::show::list::Filter;
use crate::show::{self, Frame};
use crate::{ask, assets, exercise, guard, locks, start};

/// What every page is made from.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) book: Book,
    pub(crate) given: Given,
    /// Whether there is one record and no engine.
    alone: bool,
}

/// The web page: `/`, `/runs/…`, and what they load.
pub fn router(face: Face, given: Given) -> Router {
    let page = Page { book: Book::new(face), given, alone: false };
    let routes = Router::new()
        .route("/", get(list))
        .route("/runs/{run}", get(run))
        .route("/runs/{run}/ask", post(asked))
        .route("/locks", get(locks::page).post(locks::send))
        .route("/start", get(start::page).post(start::send))
        .route("/exercise", get(exercise::page).post(exercise::send))
        .route("/exercise/emergency", post(exercise::emergency));
    dressed(routes, page)
}

/// The page over one record, of which [`Face::of_record`] is the face: it is replayed, and nothing
/// can be asked of it.
pub fn record_router(face: Face, given: Given, run_alone: &RunId) -> Router {
    let page = Page { book: Book::new(face), given, alone: true };
    let first = format!("/runs/{run_alone}?at=1");
    let routes = Router::new()
        .route("/", get(async move || Redirect::to(&first)))
        .route("/runs/{run}", get(run));
    dressed(routes, page)
}

fn dressed(routes: Router<Page>, page: Page) -> Router {
    routes
        .route("/page/{name}", get(assets::asset))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn(guard::guard))
        .with_state(page)
}

/// A page that could not be made, as a page.
pub(crate) struct Refused(pub(crate) Problem);

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, show::problem::page(&self.0)).into_response()
    }
}

pub(crate) type Answer = Result<Response, Refused>;

/// Rendering reads files: it stands aside from the tasks that drive runs.
pub(crate) async fn rendered<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Refused> {
    let lost = |error: tokio::task::JoinError| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page failed", error.to_string())
    };
    Ok(tokio::task::spawn_blocking(make).await.map_err(lost)??)
}

impl Page {
    /// The frame around a page for this browser: who it is, and the token of its forms.
    pub(crate) fn frame(
        &self,
        headers: &HeaderMap,
        sender: Sender,
    ) -> Result<(Frame, bool), Problem> {
        let failed = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no random bytes", why);
        let known = guard::token(headers);
        let is_new = known.is_none();
        let token = known.map_or_else(|| self.given.name().map_err(failed), Ok)?;
        // Somebody who breaks the glass with each command must say why; to look needs no reason.
        let looks = Some("looks".to_owned());
        let by = By { actor: self.given.person.clone(), reason: looks, ..By::default() };
        let actor = sender.cause(&by)?.actor;
        let command = self.given.name().map_err(failed)?;
        let exercise = self.book.face.exercise().map(Exercise::view);
        let (now, alone) = (self.given.now(), self.alone);
        Ok((Frame { sender, actor, token, command, now, alone, exercise }, is_new))
    }
}

/// An answer that gives a new browser its token.
pub(crate) fn with_token(frame_token: &str, is_new: bool, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some((name, value)) = guard::set_token(frame_token).filter(|_| is_new) {
        response.headers_mut().append(name, value);
    }
    response
}

async fn list(
    State(page): State<Page>,
    headers: HeaderMap,
    sender: Sender,
    Query(filter): Query<Filter>,
) -> Answer {
    let (frame, is_new) = page.frame(&headers, sender)?;
    if frame.exercise.as_ref().is_some_and(|exercise| exercise.run.is_empty()) {
        // A discussion has no run to be listed.
        return Ok(Redirect::to("/exercise").into_response());
    }
    let token = frame.token.clone();
    let markup = rendered(move || {
        let (rows, unreadable) = page.book.rows()?;
        Ok(show::list::page(&frame, &filter, &rows, &unreadable))
    });
    Ok(with_token(&token, is_new, markup.await?))
}

/// What of a run is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chosen {
    /// The step that is shown in full.
    pub(crate) step: Option<String>,
    /// The timeline is shown up to before this event.
    pub(crate) before: Option<u64>,
    /// The event that the form just sent became.
    pub(crate) said: Option<u64>,
    /// It is shown as it was known after this event.
    pub(crate) at: Option<u64>,
    /// Of the steps of a large plan those with this text.
    pub(crate) find: Option<String>,
}

async fn run(
    State(page): State<Page>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sender: Sender,
    Query(mut chosen): Query<Chosen>,
) -> Answer {
    let id = known_shape(&name)?;
    if page.alone {
        chosen.at = chosen.at.or(Some(1));
    }
    let (frame, is_new) = page.frame(&headers, sender)?;
    let token = frame.token.clone();
    let markup = rendered(move || match chosen.at {
        Some(at) => replay_page(&page, frame, &id, &chosen, at),
        None => run_page(&page, &frame, &id, &chosen, None),
    });
    Ok(with_token(&token, is_new, markup.await?))
}

/// The same page as it was known after one of the run's events.
fn replay_page(
    page: &Page,
    frame: Frame,
    id: &RunId,
    chosen: &Chosen,
    at: u64,
) -> Result<Markup, Problem> {
    let (state, view) = page.book.face.view_at(id, at)?;
    // What those who take part are told now was not known then.
    let frame = Frame { now: state.last, exercise: None, ..frame };
    let lines = show::timeline::read(&page.book, &state, chosen.before)?;
    let (state, view, lines) = (&*state, &view, &lines[..]);
    let (now, holders, messages) = (frame.now, Vec::new(), Vec::new());
    let (printed, sent) = (None, None);
    let shown =
        show::run::Shown { state, view, lines, chosen, now, holders, messages, printed, sent };
    Ok(show::run::page(&frame, &shown, None))
}

/// What a step at work printed so far, as far as this process heard it.
fn printed(page: &Page, run: &RunId, step: &StepView) -> Option<Piece> {
    let works = matches!(step.state.as_str(), "preparing" | "running");
    let since = || page.book.face.live().since(run, &StepId::from(step.id.as_str()), 0);
    works.then(|| since().unwrap_or(Piece { text: String::new(), next: 0 }))
}

fn run_page(
    page: &Page,
    frame: &Frame,
    id: &RunId,
    chosen: &Chosen,
    refused: Option<(&Problem, &Sent)>,
) -> Result<Markup, Problem> {
    let state = page.book.face.state(id)?;
    let view = page.book.face.view_of(&state);
    let now = page.book.face.moment(&state);
    let lines = show::timeline::read(&page.book, &state, chosen.before)?;
    let since = match refused {
        Some((_, sent)) => page.book.events(id, Seq(sent.seen).next(), show::run::SINCE_MAX)?,
        None => Vec::new(),
    };
    let mut shown = show::run::Shown {
        state: &state,
        view: &view,
        lines: &lines,
        chosen,
        now,
        holders: Vec::new(),
        messages: page.book.face.messages(id)?,
        printed: None,
        sent: refused.map(|(_, sent)| sent),
    };
    let step = shown.chosen_step();
    shown.printed = step.and_then(|step| printed(page, id, step));
    shown.holders = step.map(|step| locks::holders(page, &state, &step.id)).unwrap_or_default();
    let refused = refused.map(|(problem, sent)| show::run::Refusal {
        run: id.to_string(),
        problem,
        sent,
        since: &since,
    });
    Ok(show::run::page(frame, &shown, refused.as_ref()))
}

async fn asked(
    State(page): State<Page>,
    Path(name): Path<String>,
    headers: HeaderMap,
    sender: Sender,
    Form(sent): Form<Sent>,
) -> Answer {
    let id = known_shape(&name)?;
    let (frame, _) = page.frame(&headers, sender)?;
    guard::is_ours(&headers, &sent.token)?;
    match ask::given(&page, &frame, &id, &sent).await {
        Ok(seq) => Ok(Redirect::to(&after(&id, &sent, seq)).into_response()),
        Err(problem) => {
            let step = Some(sent.step.clone()).filter(|step| !step.is_empty());
            let chosen = Chosen { step, ..Chosen::default() };
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::CONFLICT);
            let markup =
                rendered(move || run_page(&page, &frame, &id, &chosen, Some((&problem, &sent))));
            Ok((status, markup.await?).into_response())
        }
    }
}

fn after(id: &RunId, sent: &Sent, seq: Seq) -> String {
    let step = match sent.step.as_str() {
        "" => String::new(),
        step => format!("&step={}", show::query(step)),
    };
    format!("/runs/{id}?said={seq}{step}")
}

/// Only a text of a run's shape may become a path on disk.
fn known_shape(text: &str) -> Result<RunId, Problem> {
    if RunId::is_valid(text) {
        return Ok(RunId::new(text));
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "no such run", format!("`{text}` is not a run's name")))
}
