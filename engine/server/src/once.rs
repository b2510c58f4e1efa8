//! Commands that are sent again: the answer to the first is given again, and nothing is followed
//! twice. What is kept here is bounded and ends with the process; a command's name also stands in
//! the journal, where it is found again after a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backout_access::Who;
use backout_core::id::CommandId;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::caller::CommandKey;
use crate::face::Face;
use crate::problem::Problem;
use crate::witness::locked;

/// The header that names a command.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Answers that are kept: a client that repeats does so within minutes.
const ANSWERS_MAX: usize = 4_096;
/// Bytes of an answer that is kept: the answer to a command is short.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 64;

/// The answers to commands with a name.
#[derive(Default)]
pub(crate) struct Once {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_name: HashMap<String, Arc<Slot>>,
    in_order: VecDeque<String>,
}

struct Slot {
    body: [u8; 32],
    answer: OnceCell<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    media: Option<HeaderValue>,
    body: Bytes,
}

impl Once {
    fn slot(&self, name: &str, body: [u8; 32]) -> Arc<Slot> {
        let mut kept = locked(&self.kept);
        if let Some(slot) = kept.by_name.get(name) {
            return slot.clone();
        }
        while kept.in_order.len() >= ANSWERS_MAX {
            let Some(oldest) = kept.in_order.pop_front() else { break };
            kept.by_name.remove(&oldest);
        }
        let slot = Arc::new(Slot { body, answer: OnceCell::new() });
        kept.by_name.insert(name.to_owned(), slot.clone());
        kept.in_order.push_back(name.to_owned());
        slot
    }
}

/// Follows a command with a name once. The name is the client's own: another client's is another.
pub(crate) async fn once(
    State((face, body_bytes_max)): State<(Face, usize)>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    match key_of(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => named(&face, body_bytes_max, &key, request, next).await,
        Err(problem) => problem.into_response(),
    }
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    match value.to_str() {
        Ok(key) if (1..=NAME_CHARS_MAX).contains(&key.len()) && key.bytes().all(plain) => {
            Ok(Some(key.to_owned()))
        }
        Ok(_) | Err(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "unreadable request",
            format!(
                "an Idempotency-Key has 1 to {NAME_CHARS_MAX} of the characters A-Z a-z 0-9 . _ -"
            ),
        )),
    }
}

async fn named(face: &Face, body_max: usize, key: &str, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, body_max).await else {
        let detail = format!("the body is larger than {body_max} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail).into_response();
    };
    let sender = parts.extensions.get::<Who>().map_or("", |who| &who.name);
    let name = format!("{sender}\n{}\n{key}", parts.uri.path());
    let digest: [u8; 32] = Sha256::digest(&body).into();
    let slot = face.once.slot(&name, digest);
    if slot.body != digest {
        let detail = format!("the Idempotency-Key `{key}` was used for another request");
        return Problem::unfit(detail)
            .helped("give each command a name of its own")
            .into_response();
    }
    parts.extensions.insert(CommandKey(CommandId::new(key)));
    let request = Request::from_parts(parts, Body::from(body));
    // Whoever comes second waits for the first one's answer. One that is no answer, since the engine
    // is too busy or stops, is not kept, and the next one is tried.
    let answered = slot.answer.get_or_try_init(|| async { kept(next.run(request).await).await });
    match answered.await {
        Ok(answer) => answer.clone().into_response(),
        Err(passing) => passing.into_response(),
    }
}

async fn kept(response: Response) -> Result<Answer, Answer> {
    let (parts, body) = response.into_parts();
    let media = parts.headers.get(header::CONTENT_TYPE).cloned();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let answer = Answer { status: parts.status, media, body };
    let passing = answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS;
    if passing || answer.body.len() > ANSWER_BYTES_MAX { Err(answer) } else { Ok(answer) }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        if let Some(media) = self.media {
            headers.insert(header::CONTENT_TYPE, media);
        }
        response
    }
}
