//! Bearer tokens of an issuer that runs here, with real keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::routing::get;
use axum::{Json, Router};
use backout_access::layer::Line;
use backout_access::oidc::{Algorithm, Doubt, Issuer, Verifier};
use backout_access::tokens::Tokens;
use backout_access::{Guard, How, Role};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

/// An issuer on loopback: its keys can be changed, and what is asked of it is counted.
struct World {
    url: String,
    keys: Arc<std::sync::Mutex<JwkSet>>,
    asked: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

/// A signing key with its name.
struct Signer {
    key: EncodingKey,
    kid: String,
    alg: Algorithm,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_der(&pair.serialize_der());
        Self { key, kid: kid.to_owned(), alg: Algorithm::ES256 }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.alg).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.alg) };
        encode(&header, claims, &self.key).unwrap()
    }
}

impl World {
    async fn new(signers: &[&Signer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        let keys = Arc::new(std::sync::Mutex::new(JwkSet { keys }));
        let asked = Arc::new(AtomicUsize::new(0));
        let discovery = json!({ "issuer": url, "jwks_uri": format!("{url}/keys") });
        let (given, count) = (Arc::clone(&keys), Arc::clone(&asked));
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route(
                "/keys",
                get(async move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    Json(given.lock().unwrap().clone())
                }),
            );
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, keys, asked, serving }
    }

    fn issuer(&self) -> Issuer {
        Issuer {
            url: self.url.clone(),
            audience: "backout".to_owned(),
            name: "email".to_owned(),
            groups: "groups".to_owned(),
            algorithms: vec![Algorithm::ES256],
            ca: None,
        }
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.url, "aud": ["other", "backout"], "exp": now_s() + 600,
            "email": "ann@example.org", "groups": ["sre", "admin", 7],
        })
    }
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn now_ms() -> i64 {
    now_s() * 1_000
}

#[tokio::test]
async fn a_token_names_a_person_with_groups() {
    let signer = Signer::new("one");
    let world = World::new(&[&signer]).await;
    let verifier = Verifier::new(world.issuer()).unwrap();
    let named = verifier.verify(&signer.sign(&world.claims()), now_ms()).await.unwrap();
    assert_eq!(named.name, "ann@example.org");
    assert_eq!(named.groups, ["sre"], "a group called like a role gives nothing");
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_found() {
    let (signer, stranger) = (Signer::new("one"), Signer::new("one"));
    let world = World::new(&[&signer]).await;
    let verifier = Verifier::new(world.issuer()).unwrap();
    let changed = |name: &str, value: Value| {
        let mut claims = world.claims();
        claims[name] = value;
        claims
    };
    let nameless = Doubt::Nameless { claim: "email".to_owned() };
    let cases = [
        (stranger.sign(&world.claims()), Doubt::Invalid),
        (signer.sign(&changed("exp", json!(now_s() - 120))), Doubt::Expired),
        (signer.sign(&changed("nbf", json!(now_s() + 600))), Doubt::Invalid),
        (signer.sign(&changed("iss", json!("https://evil.example"))), Doubt::Invalid),
        (signer.sign(&changed("aud", json!("other"))), Doubt::Invalid),
        (signer.sign(&changed("aud", Value::Null)), Doubt::Invalid),
        (signer.sign(&changed("email", Value::Null)), nameless.clone()),
        (signer.sign(&changed("email", json!("admin"))), nameless.clone()),
        (signer.sign(&changed("email", json!("a\nb"))), nameless.clone()),
        (signer.sign(&changed("email_verified", json!(false))), nameless),
        ("not.a.token".to_owned(), Doubt::Invalid),
        (String::new(), Doubt::Invalid),
    ];
    for (at, (token, doubt)) in cases.into_iter().enumerate() {
        assert_eq!(verifier.verify(&token, now_ms()).await, Err(doubt), "case {at}");
    }
}

#[tokio::test]
async fn only_the_algorithms_that_are_pinned_are_believed() {
    let signer = Signer::new("one");
    let world = World::new(&[&signer]).await;
    let rsa_only = Issuer { algorithms: vec![Algorithm::RS256], ..world.issuer() };
    let verifier = Verifier::new(rsa_only).unwrap();
    let token = signer.sign(&world.claims());
    assert_eq!(verifier.verify(&token, now_ms()).await, Err(Doubt::Invalid));
    // The public key as the secret of a symmetric signature, and no signature at all.
    let verifier = Verifier::new(world.issuer()).unwrap();
    let jwk = serde_json::to_vec(&signer.jwk()).unwrap();
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &world.claims(), &EncodingKey::from_secret(&jwk)).unwrap();
    assert_eq!(verifier.verify(&forged, now_ms()).await, Err(Doubt::Invalid));
    let body = token.split('.').nth(1).unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{body}.");
    assert_eq!(verifier.verify(&none, now_ms()).await, Err(Doubt::Invalid));
    assert_eq!(world.asked.load(Ordering::SeqCst), 0, "not even its keys were asked for");
}

#[tokio::test]
async fn new_keys_are_taken_and_a_strangers_key_is_no_traffic() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let world = World::new(&[&old]).await;
    let verifier = Verifier::new(world.issuer()).unwrap();
    let asked = || world.asked.load(Ordering::SeqCst);
    let mut now = now_ms();
    for _ in 0..5 {
        verifier.verify(&old.sign(&world.claims()), now).await.unwrap();
    }
    assert_eq!(asked(), 1);
    let token = new.sign(&world.claims());
    for _ in 0..5 {
        assert_eq!(verifier.verify(&token, now).await, Err(Doubt::Invalid));
    }
    assert_eq!(asked(), 1, "a key that is not known is asked for once in a while only");
    world.keys.lock().unwrap().keys = vec![new.jwk()];
    now += 10_000;
    verifier.verify(&token, now).await.unwrap();
    assert_eq!(verifier.verify(&old.sign(&world.claims()), now).await, Err(Doubt::Invalid));
}

#[tokio::test]
async fn its_last_keys_serve_a_night_without_a_network() {
    let signer = Signer::new("one");
    let world = World::new(&[&signer]).await;
    let verifier = Verifier::new(world.issuer()).unwrap();
    let (now, token) = (now_ms(), signer.sign(&world.claims()));
    verifier.verify(&token, now).await.unwrap();
    world.serving.abort();
    drop(world.serving.await);
    verifier.verify(&token, now + 3_600_000).await.unwrap();
    let late = verifier.verify(&token, now + 25 * 3_600_000).await;
    assert_eq!(late, Err(Doubt::Invalid));
    let fresh = Verifier::new(Issuer { url: "http://127.0.0.1:1".to_owned(), ..issuer() }).unwrap();
    assert_eq!(fresh.verify(&token, now).await, Err(Doubt::NoKeys));
}

fn issuer() -> Issuer {
    Issuer {
        url: String::new(),
        audience: "backout".to_owned(),
        name: "sub".to_owned(),
        groups: "groups".to_owned(),
        algorithms: vec![Algorithm::ES256],
        ca: None,
    }
}

#[tokio::test]
async fn the_policy_gives_roles_to_those_that_an_issuer_names() {
    let signer = Signer::new("one");
    let world = World::new(&[&signer]).await;
    let text = format!(
        r#"Policy(format: 1, groups: {{"oncall": ["ann@example.org"]}},
           roles: {{"operator": ["sre"], "approver": ["oncall"], "admin": ["eve"]}},
           issuers: [(url: "{}", audience: "backout", name: "email", algorithms: ["ES256"])])"#,
        world.url
    );
    let (policy, _) = backout_access::policy::read(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(now_ms()));
    let now = {
        let clock = Arc::clone(&clock);
        Arc::new(move || clock.load(Ordering::SeqCst))
    };
    let guard =
        Guard::new(Tokens::of(folder.path()), Arc::new(policy), Line::default(), now).unwrap();
    assert!(guard.knows_people());
    let who = guard.bearer(&signer.sign(&world.claims())).await.unwrap();
    assert_eq!(who.roles, [Role::Operator, Role::Approver]);
    assert_eq!(who.groups, ["oncall", "sre"]);
    assert_eq!(who.how, How::Issuer { url: world.url.clone() });
    assert_eq!(who.actor().roles, ["operator", "approver", "oncall", "sre"]);
    let mut claims = world.claims();
    claims["email"] = json!("oncall");
    let refusal = guard.bearer(&signer.sign(&claims)).await.unwrap_err();
    assert!(refusal.detail.contains("is the name of a group"), "{refusal}");
}
