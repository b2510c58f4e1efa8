//! What a browser may do, and what another site may not have it do.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;

use crate::world::{Answer, Person, World};

/// A request with these headers.
async fn sent(
    world: &World,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:7070");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.answer(request.body(Body::from(body.to_owned())).unwrap()).await
}

#[tokio::test]
async fn a_browser_is_led_to_the_form_and_back() {
    let world = World::new("");
    let html = [("accept", "text/html,*/*")];
    let answer = sent(&world, "GET", "/runs/x7k2m9q4td", &html, "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["location"]),
        (303, &"/login?next=/runs/x7k2m9q4td".parse().unwrap())
    );
    let form = sent(&world, "GET", "/login?next=/runs/x7k2m9q4td", &html, "").await;
    assert!(form.body.contains(r#"value="/runs/x7k2m9q4td""#), "{}", form.body);
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let token = world.token(Person::Viewer).unwrap();
    let wrong = sent(&world, "POST", "/login", &[kind], "token=backout_x&next=/").await;
    assert!(
        wrong.body.contains("the token is not valid") && !wrong.headers.contains_key("set-cookie")
    );
    let body = format!("token={token}&next=/");
    let right =
        sent(&world, "POST", "/login", &[kind, ("origin", "http://localhost:7070")], &body).await;
    assert_eq!((right.status.as_u16(), &right.headers["location"]), (303, &"/".parse().unwrap()));
    let cookie = right.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let page = sent(&world, "GET", "/", &[("accept", "text/html"), ("cookie", pair)], "").await;
    assert_eq!(page.status, 200);
    let me = sent(&world, "GET", "/api/v1/me", &[("cookie", pair)], "").await;
    let me: serde_json::Value = serde_json::from_str(&me.body).unwrap();
    assert_eq!(me["who"]["roles"], json!(["viewer"]));
    assert!(!me.to_string().contains(token));
    let out = sent(&world, "POST", "/logout", &[], "").await;
    assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn another_site_cannot_use_a_browsers_cookie() {
    let world = World::new("");
    let run = world.start("shop").await;
    let path = format!("/api/v1/runs/{run}/ask");
    let cookie = format!("backout={}", world.token(Person::Operator).unwrap());
    let body = json!({ "ask": { "ask": "pause" }, "by": { "actor": "x" } }).to_string();
    let base = [("cookie", cookie.as_str()), ("content-type", "application/json")];
    for (headers, status) in [
        (vec![], 403),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site"), ("origin", "http://localhost:7070")], 403),
        (vec![("origin", "http://localhost:7070")], 200),
    ] {
        let all: Vec<_> = base.iter().copied().chain(headers.iter().copied()).collect();
        let answer = sent(&world, "POST", &path, &all, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{headers:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_login_from_another_site_is_refused() {
    let world = World::new("");
    let headers =
        [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://evil.example")];
    let body = format!("token={}&next=/", world.token(Person::Viewer).unwrap());
    let answer = sent(&world, "POST", "/login", &headers, &body).await;
    assert_eq!(answer.status, 403);
    assert!(!answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn without_tokens_only_this_machines_own_pages_get_in() {
    let world = World::open();
    let runs = "/api/v1/runs";
    for (host, status) in
        [("localhost:7070", 200), ("127.0.0.1", 200), ("[::1]:7070", 200), ("evil.example", 403)]
    {
        let answer = sent(&world, "GET", runs, &[("host", host)], "").await;
        assert_eq!(answer.status.as_u16(), status, "{host}: {}", answer.body);
    }
    let run = world.start("shop").await;
    let path = format!("/api/v1/runs/{run}/ask");
    let body = json!({ "ask": { "ask": "pause" }, "by": { "actor": "x" } }).to_string();
    let kind = ("content-type", "application/json");
    let foreign = [kind, ("origin", "https://evil.example")];
    assert_eq!(sent(&world, "POST", &path, &foreign, &body).await.status, 403);
    assert_eq!(sent(&world, "POST", &path, &[kind], &body).await.status, 200);
    let actor = world.events(&run).pop().unwrap().cause.actor;
    assert!(!actor.verified);
}

#[tokio::test]
async fn a_stranger_is_told_nothing() {
    let world = World::new("");
    let run = world.start("shop").await;
    let there = world.send("GET", &format!("/api/v1/runs/{run}"), Person::Nobody, None).await;
    let not = world.send("GET", "/api/v1/runs/x7k2m9q4td", Person::Nobody, None).await;
    let nowhere = world.send("GET", "/no/such/route", Person::Wrong, None).await;
    assert_eq!((there.status, &there.body), (not.status, &not.body));
    assert_eq!(there.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"backout\"");
    assert_eq!(there.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!(nowhere.status, 401);
    for headers in [
        [("authorization", "Basic YTpi")],
        [("authorization", "Bearer ")],
        [("authorization", "x")],
    ] {
        assert_eq!(
            sent(&world, "GET", "/api/v1/runs", &headers, "").await.status,
            401,
            "{headers:?}"
        );
    }
}
