//! The way in for a browser: a form that takes a token, and a cookie that no script can read.
//!
//! The cookie is the token itself: nothing is kept here, so that a restart of the engine lets nobody
//! wait at a form, and a token that is revoked is so in every browser at once.

use std::sync::Arc;

use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Form, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::layer::{Guard, own_site};
use crate::oidc::BEARER_BYTES_MAX;
use crate::refusal::Refusal;
use crate::who::Who;

/// The cookie, on an open line; browsers take a name with `__Host-` only on a closed one.
const COOKIE: &str = "backout";
const COOKIE_SECURE: &str = "__Host-backout";
/// What the form may load: nothing; and where it may be sent.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                              base-uri 'none'; frame-ancestors 'none'";
/// As the page: quiet, large enough for a thumb, in the colours of the system.
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;\
    place-items:center}main{width:min(24rem,90vw)}h1{font-size:1.25rem}label{display:block}\
    input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;min-height:44px}\
    code{font-size:.875em;overflow-wrap:anywhere}";
/// Seconds that a browser keeps it: a shift.
const KEPT_S: u32 = 12 * 3_600;

pub(crate) fn routes(guard: Arc<Guard>) -> Router {
    Router::new()
        .route("/login", get(form).post(login))
        .route("/logout", post(logout))
        .route("/api/v1/me", get(me))
        .with_state(guard)
}

/// Where a browser is sent that nobody knows: to the form, and then to where it wanted to go.
pub(crate) fn address(path: &str) -> String {
    if is_own(path) { format!("/login?next={path}") } else { "/login".to_owned() }
}

/// A path of ours that needs no escaping. Anything else could lead elsewhere.
fn is_own(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain)
}

/// The token of a browser.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, _)| *name == COOKIE || *name == COOKIE_SECURE)?.1;
    (!found.is_empty() && found.len() <= BEARER_BYTES_MAX).then(|| found.to_owned())
}

#[derive(Debug, Default, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct Login {
    token: String,
    #[serde(default)]
    next: String,
}

/// Who asks, as that person is known here.
#[derive(Serialize)]
struct Me {
    /// False where nobody is asked who they are.
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Who>,
}

async fn me(who: Option<Extension<Who>>) -> Json<Me> {
    let who = who.map(|Extension(who)| who);
    Json(Me { verified: who.is_some(), who })
}

async fn form(query: Result<Query<Next>, QueryRejection>) -> Response {
    let next = query.map(|Query(query)| query.next).unwrap_or_default();
    page(&next, None)
}

async fn login(State(guard): State<Arc<Guard>>, request: Request) -> Result<Response, Refusal> {
    use axum::extract::FromRequest;
    own_site(&request, false)?;
    let read: Result<Form<Login>, FormRejection> = Form::from_request(request, &()).await;
    let Ok(Form(Login { token, next })) = read else {
        return Ok(page("", Some("that could not be read")));
    };
    let token = token.trim();
    match guard.bearer(token).await {
        Ok(_) => Ok(entered(&guard, token, &next)),
        Err(refusal) => Ok(page(&next, Some(&refusal.detail))),
    }
}

fn entered(guard: &Guard, token: &str, next: &str) -> Response {
    let next = if is_own(next) { next } else { "/" };
    with_cookie(guard.secure, token, KEPT_S, Redirect::to(next))
}

async fn logout(State(guard): State<Arc<Guard>>, request: Request) -> Result<Response, Refusal> {
    own_site(&request, false)?;
    Ok(with_cookie(guard.secure, "", 0, Redirect::to("/login")))
}

fn with_cookie(secure: bool, value: &str, kept_s: u32, answer: Redirect) -> Response {
    let (name, only) = if secure { (COOKIE_SECURE, "; Secure") } else { (COOKIE, "") };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={kept_s}{only}");
    let mut response = answer.into_response();
    // A token that was taken is a header's text.
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The form. It says nothing of what is behind it.
fn page(next: &str, wrong: Option<&str>) -> Response {
    let next = if is_own(next) { next } else { "/" };
    let wrong = wrong.map(|wrong| format!("<p role=\"alert\"><strong>{wrong}</strong></p>\n"));
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>backout: sign in</title>\n\
         <style>{STYLE}</style>\n\
         </head>\n<body>\n<main>\n<h1>backout</h1>\n{}\
         <form method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\n\
         <p><label for=\"token\">Token</label>\n\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" \
         required autofocus></p>\n<p><button>Sign in</button></p>\n</form>\n\
         <p>An admin makes one: <code>backout token new --name YOU --role operator</code></p>\n\
         </main>\n</body>\n</html>\n",
        wrong.unwrap_or_default()
    );
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_ours_is_gone_to() {
        assert_eq!(address("/runs/r123"), "/login?next=/runs/r123");
        for path in ["//evil.example", "https://evil.example", "/\\evil", "/a?b=c&d", "/<b>", ""] {
            assert_eq!(address(path), "/login", "{path}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; backout=tok; c=d"));
        assert_eq!(cookie(&headers).as_deref(), Some("tok"));
        headers.insert(header::COOKIE, HeaderValue::from_static("backout=; xbackout=tok"));
        assert_eq!(cookie(&headers), None);
    }
}
