//! The pages' addresses.

use axum::extract::{DefaultBodyLimit, Extension, Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use backout_access::{Refusal, Who};
use backout_core::command::Ask;
use backout_core::event::{Cause, Recorded};
use backout_core::id::{RunId, Seq};
use backout_server::Face;
use backout_server::problem::Problem;
use maud::Markup;
use serde::Deserialize;

use crate::book::Book;
use crate::form::{FORM_BYTES_MAX, Sent};
use crate::given::Given;
use crate::show::list::Filter;
use crate::show::{self, Frame};
use crate::{assets, guard, live};

/// Events after a form was shown, in which it is looked for: a second click comes within moments.
const TWICE_EVENTS_MAX: usize = 1_000;

/// What every page is made from.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) book: Book,
    pub(crate) given: Given,
}

/// The web page: `/`, `/runs/…`, and what they load.
pub fn router(face: Face, given: Given) -> Router {
    let page = Page { book: Book::new(face), given };
    Router::new()
        .route("/", get(list))
        .route("/live", get(list_live))
        .route("/runs/{run}", get(run))
        .route("/runs/{run}/ask", post(ask))
        .route("/runs/{run}/live", get(run_live))
        .route("/page/{name}", get(assets::asset))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(middleware::from_fn(guard::guard))
        .with_state(page)
}

/// A page that could not be made, as a page.
pub(crate) struct Refused(Problem);

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

type Answer = Result<Response, Refused>;

/// Rendering reads files: it stands aside from the tasks that drive runs.
async fn rendered<T: Send + 'static>(
    make: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Refused> {
    let lost = |error: tokio::task::JoinError| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page failed", error.to_string())
    };
    Ok(tokio::task::spawn_blocking(make).await.map_err(lost)??)
}

impl Page {
    /// The frame around a page for this browser: who it is, and the token of its forms.
    fn frame(
        &self,
        headers: &HeaderMap,
        who: Option<Extension<Who>>,
    ) -> Result<(Frame, bool), Problem> {
        let failed = |why| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no random bytes", why);
        let known = guard::token(headers);
        let is_new = known.is_none();
        let token = known.map_or_else(|| self.given.name().map_err(failed), Ok)?;
        let who = who.map(|Extension(who)| who);
        // Nobody authenticates: it is the local person.
        let actor = who.as_ref().map_or_else(|| self.given.local(), Who::actor);
        let command = self.given.name().map_err(failed)?;
        Ok((Frame { who, actor, token, command, now: self.given.now() }, is_new))
    }
}

/// An answer that gives a new browser its token.
fn with_token(frame_token: &str, is_new: bool, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some((name, value)) = guard::set_token(frame_token).filter(|_| is_new) {
        response.headers_mut().append(name, value);
    }
    response
}

async fn list(
    State(page): State<Page>,
    headers: HeaderMap,
    who: Option<Extension<Who>>,
    Query(filter): Query<Filter>,
) -> Answer {
    let (frame, is_new) = page.frame(&headers, who)?;
    let token = frame.token.clone();
    let markup = rendered(move || {
        let (rows, unreadable) = page.book.rows(frame.now)?;
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
}

async fn run(
    State(page): State<Page>,
    Path(name): Path<String>,
    headers: HeaderMap,
    who: Option<Extension<Who>>,
    Query(chosen): Query<Chosen>,
) -> Answer {
    let id = known_shape(&name)?;
    let (frame, is_new) = page.frame(&headers, who)?;
    let token = frame.token.clone();
    let markup = rendered(move || run_page(&page, &frame, &id, &chosen, None));
    Ok(with_token(&token, is_new, markup.await?))
}

fn run_page(
    page: &Page,
    frame: &Frame,
    id: &RunId,
    chosen: &Chosen,
    refused: Option<(&Problem, &Sent)>,
) -> Result<Markup, Problem> {
    let state = page.book.state(id)?;
    let view = page.book.view(&state, frame.now);
    let lines = show::timeline::read(&page.book, &state, chosen.before)?;
    let since = match refused {
        Some((_, sent)) => page.book.events(id, Seq(sent.seen).next(), show::run::SINCE_MAX)?,
        None => Vec::new(),
    };
    let shown =
        show::run::Shown { state: &state, view: &view, lines: &lines, chosen, now: frame.now };
    let refused = refused.map(|(problem, sent)| show::run::Refusal {
        run: id.to_string(),
        problem,
        sent,
        since: &since,
    });
    Ok(show::run::page(frame, &shown, refused.as_ref()))
}

async fn ask(
    State(page): State<Page>,
    Path(name): Path<String>,
    headers: HeaderMap,
    who: Option<Extension<Who>>,
    Form(sent): Form<Sent>,
) -> Answer {
    let id = known_shape(&name)?;
    let (frame, _) = page.frame(&headers, who)?;
    guard::is_ours(&headers, &sent.token)?;
    match given(&page, &frame, &id, &sent).await {
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

/// Gives the command to the engine; answers the run's last event after it.
async fn given(page: &Page, frame: &Frame, id: &RunId, sent: &Sent) -> Result<Seq, Problem> {
    let (ask, mut cause) = (sent.ask()?, sent.cause(frame.actor.clone())?);
    if let Some(who) = &frame.who {
        allowed(page, who, id, &ask, &cause)?;
        cause.break_glass |= who.breaks_glass();
    }
    if let Some(seq) = followed(page, id, sent, &cause)? {
        return Ok(seq);
    }
    let engine = &page.book.face.engine;
    if sent.word == "resume" && !engine.is_driven(id) {
        engine.resume(id, cause).await?;
        return Ok(page.book.last(id));
    }
    match engine.ask(id, ask, cause.clone()).await {
        Ok(answer) => Ok(answer.seq),
        // The same form may have been faster.
        Err(error) => followed(page, id, sent, &cause)?.ok_or_else(|| error.into()),
    }
}

/// Whether somebody who is known may ask this: the API says the same.
fn allowed(page: &Page, who: &Who, id: &RunId, ask: &Ask, cause: &Cause) -> Result<(), Problem> {
    let state = page.book.state(id)?;
    let (plan, starter) = (&state.plan, &state.starter.name);
    who.cause(None, cause.reason.clone(), cause.break_glass)
        .and_then(|_| match ask {
            Ask::Resume => who.may_resume(plan, starter, cause.break_glass),
            ask => who.may_ask(ask, plan, starter, cause.break_glass),
        })
        .map_err(refused)
}

fn refused(refusal: Refusal) -> Problem {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    Problem { help: refusal.help, ..Problem::new(status, refusal.title, refusal.detail) }
}

/// The event that a form became already: an impatient finger sends it twice.
fn followed(page: &Page, id: &RunId, sent: &Sent, cause: &Cause) -> Result<Option<Seq>, Problem> {
    let from = Seq(sent.seen).next();
    let since = page.book.events(id, from, TWICE_EVENTS_MAX)?;
    let is_it =
        |recorded: &&Recorded| cause.command.is_some() && recorded.cause.command == cause.command;
    Ok(since.iter().find(is_it).map(|recorded| recorded.seq))
}

fn after(id: &RunId, sent: &Sent, seq: Seq) -> String {
    let step = match sent.step.as_str() {
        "" => String::new(),
        step => format!("&step={}", show::query(step)),
    };
    format!("/runs/{id}?said={seq}{step}")
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Since {
    from: u64,
}

async fn run_live(
    State(page): State<Page>,
    Path(name): Path<String>,
    Query(query): Query<Since>,
) -> Answer {
    let id = known_shape(&name)?;
    Ok(live::run(&page.book, &id, Seq(query.from)).into_response())
}

async fn list_live(State(page): State<Page>) -> Response {
    live::list(page.book, None).into_response()
}

/// Only a text of a run's shape may become a path on disk.
fn known_shape(text: &str) -> Result<RunId, Problem> {
    if RunId::is_valid(text) {
        return Ok(RunId::new(text));
    }
    Err(Problem::new(StatusCode::NOT_FOUND, "no such run", format!("`{text}` is not a run's name")))
}
