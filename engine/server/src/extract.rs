//! What is read of a request. What cannot be read is answered like every other problem.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use backout_core::id::RunId;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The body of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(asked)| Self(asked))
            .map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

/// The run that a path names.
pub(crate) struct Named(pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Word(name) = Word::from_request_parts(parts, state).await?;
        known_shape(&name).map(Self)
    }
}

/// Whatever a path names, as text.
pub(crate) struct Word(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Word {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        read.map(|Path(name)| Self(name))
            .map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

/// The run and the other name in a path.
pub(crate) struct NamedIn(pub(crate) RunId, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((run, name)) =
            read.map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))?;
        Ok(Self(known_shape(&run)?, name))
    }
}

/// What stands behind the `?`.
pub(crate) struct Wanted<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Wanted<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(query)| Self(query))
            .map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

/// What could not be read of a request is answered like every other problem.
fn unreadable(status: StatusCode, why: String) -> Problem {
    let help =
        "the command and the engine may be of different releases: compare `backout --version`";
    Problem { help: Some(help.to_owned()), ..Problem::new(status, "unreadable request", why) }
}

/// Only a text of a run's shape may become a path on disk.
pub(crate) fn known_shape(text: &str) -> Result<RunId, Problem> {
    if RunId::is_valid(text) {
        return Ok(RunId::new(text));
    }
    Err(Problem::not_found("no such run", format!("`{text}` is not a run's name")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use axum::body::Body;
    use axum::http::{Request, header};

    use super::*;
    use crate::wire::{AskRequest, EventsQuery};

    async fn refused(kind: &str, body: &str) -> Problem {
        let request = Request::post("/").header(header::CONTENT_TYPE, kind);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Asked::<AskRequest>::from_request(request, &()).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_a_problem() {
        for (kind, body, status) in [
            ("application/json", "{", 400),
            ("application/json", "{}", 422),
            ("text/plain", "{}", 415),
        ] {
            let problem = refused(kind, body).await;
            assert_eq!(problem.status, status, "{problem:?}");
            assert_eq!(problem.kind, "urn:backout:unreadable-request");
            assert!(!problem.detail.is_empty() && problem.help.is_some());
        }
    }

    #[tokio::test]
    async fn a_query_that_cannot_be_read_is_a_problem() {
        for query in ["from=minus", "form=1"] {
            let request = Request::get(format!("/?{query}")).body(Body::empty()).unwrap();
            let (mut parts, _) = request.into_parts();
            let read = Wanted::<EventsQuery>::from_request_parts(&mut parts, &()).await;
            let problem = read.err().unwrap();
            assert_eq!((problem.status, problem.title.as_str()), (400, "unreadable request"));
        }
    }

    proptest! {
        #[test]
        fn only_a_name_gets_near_a_path(text in ".{0,20}|[0-9a-z]{8,12}|[./]{1,4}[a-z]*") {
            match known_shape(&text) {
                Ok(run) => prop_assert!(run.as_str().bytes().all(|b| b.is_ascii_alphanumeric())),
                Err(problem) => prop_assert!(problem.is_no_such_run()),
            }
        }
    }
}
