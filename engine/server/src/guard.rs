//! What stands between a port and all that is served there: limits for strangers, and what a browser
//! is told. Who asks is the business of `backout_access`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::port::Peer;
use crate::problem::Problem;
use crate::witness::locked;

/// How long an answer may take to begin. A look at all targets takes the longest.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// Requests a second that one client may go on sending: a page asks a few, a script in a loop more.
const RATE_PER_SECOND: f64 = 200.0;
/// Requests that one client may send at once.
const BURST: f64 = 400.0;
/// Clients that are told apart; beyond, strangers share what one of them may.
const CLIENTS_MAX: usize = 4_096;

/// Puts the limits of a port before an application.
pub fn guarded(app: Router) -> Router {
    let rate = Arc::new(Rate::default());
    app.layer(middleware::from_fn_with_state(rate, guard_one))
}

async fn guard_one(State(rate): State<Arc<Rate>>, request: Request, next: Next) -> Response {
    let client = client_of(request.extensions().get::<Peer>().map(|peer| peer.0.ip()));
    let mut response = if rate.take(client, Instant::now()) {
        within(next.run(request)).await
    } else {
        too_many()
    };
    secure(response.headers_mut());
    response
}

async fn within(answer: impl Future<Output = Response>) -> Response {
    tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "took too long", detail)
            .helped("a command may have been followed all the same: look at the run")
            .into_response()
    })
}

fn too_many() -> Response {
    let detail = format!("more than {RATE_PER_SECOND} requests a second from this client");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests", detail);
    ([(header::RETRY_AFTER, "1")], problem).into_response()
}

/// What a browser must not do with an answer. A page says more about itself.
fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 7] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Tells clients apart by their address; of the new kind by the part that a network gives out.
fn client_of(address: Option<IpAddr>) -> IpAddr {
    match address {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V4(address)) => IpAddr::V4(address),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// What each client may still send: a bucket that fills up by itself.
#[derive(Default)]
struct Rate {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn filled(self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.left + since * RATE_PER_SECOND).min(BURST)
    }
}

impl Rate {
    fn take(&self, client: IpAddr, now: Instant) -> bool {
        let mut buckets = locked(&self.buckets);
        if buckets.len() >= CLIENTS_MAX {
            // One that is full again says nothing any more.
            buckets.retain(|_, bucket| bucket.filled(now) < BURST);
        }
        let known = buckets.contains_key(&client) || buckets.len() < CLIENTS_MAX;
        let client = if known { client } else { client_of(None) };
        let bucket = buckets.entry(client).or_insert(Bucket { left: BURST, at: now });
        let filled = bucket.filled(now);
        let allowed = filled >= 1.0;
        *bucket = Bucket { left: if allowed { filled - 1.0 } else { filled }, at: now };
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_in_a_loop_waits_and_others_do_not() {
        let (rate, now) = (Rate::default(), Instant::now());
        let client = |last| client_of(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))));
        let taken = (0..1_000).filter(|_| rate.take(client(1), now)).count();
        assert_eq!(taken, 400);
        assert!(rate.take(client(2), now));
        let later = now + Duration::from_millis(50);
        assert_eq!((0..100).filter(|_| rate.take(client(1), later)).count(), 10);
    }

    #[test]
    fn the_clients_that_are_told_apart_are_bounded() {
        let (rate, now) = (Rate::default(), Instant::now());
        for at in 0..u32::try_from(2 * CLIENTS_MAX).unwrap() {
            rate.take(IpAddr::V4(Ipv4Addr::from(at)), now);
        }
        assert!(locked(&rate.buckets).len() <= CLIENTS_MAX + 1);
        let one = client_of(Some("2001:db8::1".parse().unwrap()));
        assert_eq!(one, client_of(Some("2001:db8::2".parse().unwrap())));
    }
}
