//! Which state of a thing an answer shows, so that a client need not take the same again, and need
//! not act on what is no longer so.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::view::RunView;

/// The answer under its tag; without a body where the client has it already.
pub(crate) fn tagged(request: &HeaderMap, tag: &str, body: &impl Serialize) -> Response {
    let tag = format!("\"{tag}\"");
    let mut known = given(request, &header::IF_NONE_MATCH);
    let mut response = if known.any(|known| known == tag || known == "*") {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(body).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// The tag of a run's view: its position, and what may change without an event. Durations that run
/// are no part of it.
pub(crate) fn of_run(view: &RunView) -> String {
    if let Some(replay) = &view.replay {
        return format!("{}.r{}", view.seq, replay.last);
    }
    let driven = if view.driven { 'd' } else { 'u' };
    let stale = if view.stale { 's' } else { 'f' };
    format!("{}.{driven}{stale}{}", view.seq, view.circle.len())
}

/// The positions of a run that a command was decided on; nothing where the client does not say.
pub(crate) fn wanted_positions(request: &HeaderMap) -> Option<Vec<u64>> {
    if !request.contains_key(header::IF_MATCH) {
        return None;
    }
    if given(request, &header::IF_MATCH).any(|tag| tag == "*") {
        return None;
    }
    let position = |tag: String| tag.trim_matches('"').split('.').next()?.parse().ok();
    Some(given(request, &header::IF_MATCH).filter_map(position).collect())
}

fn given<'h>(request: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = String> + use<'h> {
    let values = request.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let tags = values.flat_map(|value| value.split(','));
    tags.map(|tag| tag.trim().trim_start_matches("W/").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let status = |value| {
            let request = headers(header::IF_NONE_MATCH, value);
            tagged(&request, "7.df0", &"body").status().as_u16()
        };
        assert_eq!(
            [status("\"7.df0\""), status("W/\"7.df0\""), status("\"1\", \"7.df0\"")],
            [304; 3]
        );
        assert_eq!([status("\"8.df0\""), status("7"), status("")], [200; 3]);
    }

    #[test]
    fn a_command_names_the_position_that_it_was_decided_on() {
        let positions = |value| wanted_positions(&headers(header::IF_MATCH, value));
        assert_eq!(positions("\"7.df0\", \"9.uf0\""), Some(vec![7, 9]));
        assert_eq!(positions("\"what\""), Some(vec![]));
        assert_eq!(positions("*"), None);
        assert_eq!(wanted_positions(&HeaderMap::new()), None);
    }
}
