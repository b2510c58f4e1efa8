//! What stands before every page: whose page it is, and that a form was sent from one of ours.
//!
//! Three things guard a form. Its `Origin` must be this server. Its token must be the one in the
//! browser's cookie, which no other site can read. And where nobody authenticates, the server must
//! have been reached by a name of this machine: else a stranger's name that points at loopback
//! would make the stranger's page one of ours.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use backout_access::Who;
use backout_server::problem::Problem;

use crate::given::RANDOM_BYTES;

/// Holds the token of the browser's forms.
const COOKIE: &str = "backout_page";

/// What a page may load: its own style, script and stream, and nothing else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Lets a request through where it may be answered, and adds what holds for every answer.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    // Where a layer before this one knows who asks, it has looked at the name as well.
    let is_known = request.extensions().get::<Who>().is_some();
    let named = if is_known { Ok(()) } else { local_name(request.headers()) };
    let mut response = match named {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `host:port` without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Addresses are not names: nobody can make one point elsewhere.
fn local_name(headers: &HeaderMap) -> Result<(), Problem> {
    let host = host_of(text(headers, &header::HOST).unwrap_or_default());
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    if is_address || host == "localhost" || host.ends_with(".localhost") {
        return Ok(());
    }
    let detail = format!("this page is not known as `{host}`");
    let help = "open it by its address, or by localhost".to_owned();
    let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "not this server", detail);
    Err(Problem { help: Some(help), ..problem })
}

/// The token in the browser's cookie, where it has one of the right shape.
pub(crate) fn token(headers: &HeaderMap) -> Option<String> {
    let cookies = text(headers, &header::COOKIE)?.split(';');
    let mut named = cookies.filter_map(|cookie| cookie.trim().split_once('='));
    let (_, value) = named.find(|(name, _)| *name == COOKIE)?;
    let is_ours = value.len() == 2 * RANDOM_BYTES && value.bytes().all(|b| b.is_ascii_hexdigit());
    is_ours.then(|| value.to_owned())
}

/// Gives a browser its token.
pub(crate) fn set_token(token: &str) -> Option<(HeaderName, HeaderValue)> {
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
    Some((header::SET_COOKIE, HeaderValue::from_str(&cookie).ok()?))
}

/// Whether a form was sent from one of our own pages.
pub(crate) fn is_ours(headers: &HeaderMap, sent: &str) -> Result<(), Problem> {
    let host = text(headers, &header::HOST).unwrap_or_default();
    let origin = text(headers, &header::ORIGIN);
    let from_here = origin.is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, authority)| authority == host)
    });
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let same_site = site.is_none_or(|site| site == "same-origin");
    if from_here && same_site && token(headers).is_some_and(|token| token == sent) {
        return Ok(());
    }
    let detail = "this form was not sent from a page of this engine, so nothing was done";
    let help = "open the run again in this browser, with cookies on, and send it from there";
    let problem = Problem::new(StatusCode::FORBIDDEN, "foreign form", detail);
    Err(Problem { help: Some(help.to_owned()), ..problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00112233445566778899aabbccddeeff";

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_a_name_of_this_machine_leads_here() {
        for good in ["localhost:7070", "127.0.0.1:7070", "[::1]:7070", "10.1.2.3", "a.localhost"] {
            assert!(local_name(&headers(&[("host", good)])).is_ok(), "{good}");
        }
        for bad in ["evil.example:7070", "localhost.evil.example", ""] {
            assert!(local_name(&headers(&[("host", bad)])).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_form_of_our_own_page_is_taken() {
        let cookie = format!("a=b; {COOKIE}={TOKEN}");
        let host = ("host", "127.0.0.1:7070");
        let ours = headers(&[host, ("cookie", &cookie), ("origin", "http://127.0.0.1:7070")]);
        assert!(is_ours(&ours, TOKEN).is_ok());
        assert!(is_ours(&ours, "").is_err());
        let foreign = headers(&[host, ("cookie", &cookie), ("origin", "http://127.0.0.1:8080")]);
        assert!(is_ours(&foreign, TOKEN).is_err());
        let cross = headers(&[host, ("cookie", &cookie), ("sec-fetch-site", "cross-site")]);
        assert!(is_ours(&cross, TOKEN).is_err());
        assert!(is_ours(&headers(&[host]), TOKEN).is_err());
        assert!(is_ours(&headers(&[host]), "").is_err());
    }
}
