//! One table of what can be asked over HTTP: the routes are made from it and so is the document of
//! the API, so that nothing is answered that is not written down.

mod document;

pub(crate) use document::document;

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};

use crate::face::Face;

/// A shape, as a generator of schemas makes it.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// What comes back when all is well.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// One JSON document.
    Json(Shape),
    /// A text of a media type.
    Text(&'static str),
    /// Server-sent events; the shape of one event's data.
    Events(Shape),
}

/// What a request may say in its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    IfNoneMatch,
    IfMatch,
    IdempotencyKey,
    LastEventId,
}

/// One thing that can be asked.
pub(crate) struct Operation {
    pub(crate) id: &'static str,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) details: &'static str,
    pub(crate) query: Option<Shape>,
    pub(crate) body: Option<Shape>,
    pub(crate) heads: &'static [Head],
    pub(crate) answer: Answer,
    /// Statuses of problems beyond those that any request may meet.
    pub(crate) problems: Vec<(u16, &'static str)>,
    pub(crate) route: MethodRouter<Face>,
}

impl Operation {
    /// A question, which changes nothing.
    pub(crate) fn get<H, T>(id: &'static str, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Face>,
        T: 'static,
    {
        Self::new(id, Method::GET, path, get(handler))
    }

    /// A command; repeated with the same `Idempotency-Key` it is followed once.
    pub(crate) fn post<H, T>(id: &'static str, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Face>,
        T: 'static,
    {
        let operation =
            Self::new(id, Method::POST, path, post(handler)).heads(&[Head::IdempotencyKey]);
        operation
            .problem(400, "the body is not JSON")
            .problem(409, "not possible now")
            .problem(413, "the body is too large")
            .problem(415, "the body is not `application/json`")
            .problem(422, "the body has not the shape or the sense of this request")
    }

    fn new(
        id: &'static str,
        method: Method,
        path: &'static str,
        route: MethodRouter<Face>,
    ) -> Self {
        let operation = Self {
            id,
            method,
            path,
            summary: "",
            details: "",
            query: None,
            body: None,
            heads: &[],
            answer: Answer::Text("text/plain; charset=utf-8"),
            problems: Vec::new(),
            route,
        };
        if path.contains('{') {
            operation.problem(404, "there is nothing of this name")
        } else {
            operation
        }
    }

    /// What it is for, in one line and in more.
    pub(crate) fn says(mut self, summary: &'static str, details: &'static str) -> Self {
        (self.summary, self.details) = (summary, details);
        self
    }

    /// What stands behind the `?`.
    pub(crate) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(SchemaGenerator::subschema_for::<T>);
        self.problem(400, "what stands behind the `?` cannot be read")
    }

    /// What is sent.
    pub(crate) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// What it heeds in the head.
    pub(crate) fn heads(mut self, heads: &'static [Head]) -> Self {
        self.heads = heads;
        self
    }

    /// What comes back: one JSON document.
    pub(crate) fn json<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Json(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// What comes back: server-sent events.
    pub(crate) fn events<T: JsonSchema>(mut self) -> Self {
        self.answer = Answer::Events(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// What comes back: a text.
    pub(crate) fn text(mut self, media: &'static str) -> Self {
        self.answer = Answer::Text(media);
        self
    }

    /// One more status that it may answer with.
    pub(crate) fn problem(mut self, status: u16, why: &'static str) -> Self {
        if !self.problems.iter().any(|(known, _)| *known == status) {
            self.problems.push((status, why));
        }
        self
    }
}
