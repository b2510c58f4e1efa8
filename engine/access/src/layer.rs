//! What stands before every route: who asks, and whether that person's roles let the request by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};

use crate::login;
use crate::oidc::{BEARER_BYTES_MAX, Doubt, Verifier};
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::rules::{self, Needs, RouteRule, listed};
use crate::tls::Certified;
use crate::token::{Entry, PREFIX, Standing};
use crate::tokens::Tokens;
use crate::who::{How, Who};

/// What the layer knows people by. Made once, by whoever serves.
pub struct Guard {
    tokens: Tokens,
    policy: Arc<Policy>,
    verifiers: Vec<Verifier>,
    /// Whether the listener asks for client certificates.
    certificates: bool,
    /// Whether the line is closed, so that a cookie may say that it needs one.
    pub(crate) secure: bool,
    now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Whether there ever was a way to be known: it never gets open again.
    closed: AtomicBool,
}

/// What a request brings to show who asks.
enum Shown {
    Bearer(String),
    /// A browser brings it by itself, also where another site had it ask.
    Cookie(String),
    Certificate(String),
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("secure", &self.secure).finish_non_exhaustive()
    }
}

/// How the server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// By TLS.
    pub secure: bool,
    /// With client certificates asked for.
    pub certificates: bool,
}

impl Guard {
    /// A guard over the tokens of a store, with a policy, on a line, by a clock.
    ///
    /// # Errors
    /// What of the policy's issuers cannot be used.
    pub fn new(
        tokens: Tokens,
        policy: Arc<Policy>,
        line: Line,
        now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    ) -> Result<Self, String> {
        let verifiers =
            policy.issuers.iter().cloned().map(Verifier::new).collect::<Result<_, _>>()?;
        let Line { secure, certificates } = line;
        let closed = AtomicBool::new(false);
        Ok(Self { tokens, policy, verifiers, certificates, secure, now_ms, closed })
    }

    /// Whether there is any way to be known here. Without one nobody is asked who they are, which
    /// is for loopback only.
    pub fn knows_people(&self) -> bool {
        // Tokens that cannot be read are no reason to let everybody in.
        let has_tokens = || self.tokens.all().map_or(true, |all| !all.is_empty());
        let known = self.closed.load(Ordering::Relaxed)
            || self.certificates
            || !self.verifiers.is_empty()
            || has_tokens();
        if known {
            self.closed.store(true, Ordering::Relaxed);
        }
        known
    }

    /// Whom a token or an issuer's bearer token names.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn bearer(&self, text: &str) -> Result<Who, Refusal> {
        if text.starts_with(PREFIX) {
            return self.token(text);
        }
        let mut doubt = Doubt::Invalid;
        for verifier in &self.verifiers {
            match verifier.verify(text, (self.now_ms)()).await {
                Ok(named) => {
                    let how = How::Issuer { url: verifier.url().to_owned() };
                    return self.named(named.name, named.groups, how);
                }
                Err(Doubt::Invalid) => {}
                Err(other) => doubt = other,
            }
        }
        Err(Refusal::unknown(doubt.to_string()))
    }

    fn token(&self, text: &str) -> Result<Who, Refusal> {
        let found = self.tokens.find(text).map_err(|error| {
            tracing::error!(%error, "no token can be checked");
            Refusal::unknown("tokens cannot be checked now").help("the engine's log says why")
        })?;
        let entry = found.ok_or_else(|| Refusal::unknown("the token is not valid"))?;
        match entry.standing((self.now_ms)()) {
            Standing::Good => Ok(self.holder(entry)),
            // Only its holder gets here.
            Standing::Expired => Err(Refusal::unknown("the token has expired")),
            Standing::Revoked => Err(Refusal::unknown("the token was revoked")),
        }
    }

    fn holder(&self, entry: Entry) -> Who {
        let Entry { id, name, roles, break_glass, .. } = entry;
        let how = if break_glass { How::BreakGlass { id } } else { How::Token { id } };
        Who::new(name, roles, how, Vec::new(), Arc::clone(&self.policy))
    }

    /// Somebody whose roles the policy says. One who is called like a group would be that group
    /// wherever names and groups stand in one list.
    fn named(&self, name: String, groups: Vec<String>, how: How) -> Result<Who, Refusal> {
        if self.policy.groups.contains_key(&name) {
            return Err(Refusal::unknown(format!("`{name}` is the name of a group here")));
        }
        let roles = self.policy.roles_of(&name, &groups);
        Ok(Who::new(name, roles, how, groups, Arc::clone(&self.policy)))
    }

    async fn who(&self, shown: Shown) -> Result<Who, Refusal> {
        match shown {
            Shown::Bearer(text) | Shown::Cookie(text) => self.bearer(&text).await,
            Shown::Certificate(name) => self.named(name, Vec::new(), How::Certificate),
        }
    }
}

/// Puts the guard before all routes of a router, and adds those that let a browser in.
pub fn guard(router: Router, guard: Arc<Guard>) -> Router {
    router
        .merge(login::routes(Arc::clone(&guard)))
        .layer(middleware::from_fn_with_state(guard, check))
}

async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let asking = asking(&guard, &request);
    match admit(&guard, asking).await {
        Ok(Some(who)) => {
            if who.breaks_glass() {
                tracing::warn!(name = who.name, path = request.uri().path(), "break-glass token");
            }
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(refusal) if refusal.status == 401 && is_page(&request) => {
            Redirect::to(&login::address(request.uri().path())).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// What a request brings, and what its route asks for.
enum Asking {
    /// Nobody need be known.
    Nobody,
    /// Somebody.
    Somebody(Shown, Option<&'static RouteRule>),
}

fn asking(guard: &Guard, request: &Request) -> Result<Asking, Refusal> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let rule = rules::route(request.method(), path);
    if rule.is_some_and(|rule| rule.needs == Needs::Nothing) {
        return Ok(Asking::Nobody);
    }
    match shown(request) {
        Some(shown) => {
            if matches!(shown, Shown::Cookie(_)) {
                own_site(request, true)?;
            }
            Ok(Asking::Somebody(shown, rule))
        }
        None if guard.knows_people() => Err(Refusal::unknown("who asks is not known")),
        None => {
            own_host(request.headers())?;
            own_site(request, false)?;
            Ok(Asking::Nobody)
        }
    }
}

/// Who asks, where that must be known; or why it goes no further.
async fn admit(guard: &Guard, asking: Result<Asking, Refusal>) -> Result<Option<Who>, Refusal> {
    let Asking::Somebody(shown, rule) = asking? else { return Ok(None) };
    let who = guard.who(shown).await?;
    // No row: for admins alone.
    let roles = match rule.map(|rule| rule.needs) {
        Some(Needs::Roles(roles)) => roles,
        Some(Needs::Nothing) | None => &[],
    };
    if !rules::allows(roles, &who.roles) {
        let does = rule.map_or("do that", |rule| rule.does);
        let detail = format!("to {does} takes {}", listed(roles));
        return Err(Refusal::forbidden(detail).help("ask an admin for the role"));
    }
    Ok(Some(who))
}

fn shown(request: &Request) -> Option<Shown> {
    let headers = request.headers();
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let text = value.to_str().ok().filter(|text| text.len() <= BEARER_BYTES_MAX);
        let (scheme, token) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
        // Something that cannot be read is shown all the same, and not believed.
        let token = if scheme.eq_ignore_ascii_case("bearer") { token.trim() } else { "" };
        return Some(Shown::Bearer(token.to_owned()));
    }
    if let Some(token) = login::cookie(headers) {
        return Some(Shown::Cookie(token));
    }
    let certified = request.extensions().get::<Certified>()?;
    Some(Shown::Certificate(certified.0.clone()))
}

/// A request that changes something and that a browser sends by itself must come from our own pages.
pub(crate) fn own_site(request: &Request, must_say: bool) -> Result<(), Refusal> {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let headers = request.headers();
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let foreign = || {
        Refusal::forbidden("this request comes from another site")
            .help("use the page of this engine, or send a token in `Authorization`")
    };
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        Some("same-origin") => return Ok(()),
        Some("none") if !must_say => return Ok(()),
        Some(_) => return Err(foreign()),
        None => {}
    }
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map(|(_, host)| host));
    match origin {
        Some(Some(host)) if Some(host) == text(header::HOST) => Ok(()),
        None if !must_say => Ok(()),
        Some(_) | None => Err(foreign()),
    }
}

/// Where nobody is asked who they are, a page of another site must not get in by a name of its own
/// for this machine.
fn own_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    if matches!(name, "localhost" | "[::1]" | "backout") || is_loopback(name) {
        return Ok(());
    }
    Err(Refusal::forbidden("without tokens this engine answers to `localhost` only"))
}

fn is_loopback(name: &str) -> bool {
    name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a person looks, with a browser.
fn is_page(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    *request.method() == Method::GET && accept.is_some_and(|accept| accept.contains("text/html"))
}
