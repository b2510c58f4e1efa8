//! Bearer tokens of an OIDC issuer: checked against its own keys, which are fetched and kept.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use reqwest::{Certificate, Client, Url, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an issuer's keys are taken without asking again: those that it withdraws end by then.
const KEYS_FRESH_MS: i64 = 15 * 60 * 1_000;
/// How long its last known keys are taken while it does not answer: a night without a network.
const KEYS_KEPT_MS: i64 = 24 * 3_600 * 1_000;
/// Between two askings: a stranger's made-up key id must not become traffic at the issuer.
const ASKING_MS_MIN: i64 = 10 * 1_000;
/// How long the issuer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of its documents.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a bearer token: with two hundred groups in it.
pub const BEARER_BYTES_MAX: usize = 16 * 1024;
/// Seconds that two clocks may differ.
const LEEWAY_S: u64 = 60;

/// An issuer as the policy names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// As it stands in `iss`.
    pub url: String,
    /// What must stand in `aud`.
    pub audience: String,
    /// The claim that is the person's name.
    pub name: String,
    /// The claim that lists the person's groups.
    pub groups: String,
    /// How a token may be signed.
    pub algorithms: Vec<Algorithm>,
    /// A file of certificates that vouch for its TLS.
    pub ca: Option<PathBuf>,
}

/// Whom a token of an issuer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The person.
    pub name: String,
    /// The person's groups.
    pub groups: Vec<String>,
}

/// Why a bearer token is not believed; safe to be told to a stranger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It is of nobody that the policy names.
    #[error("the token is not valid")]
    Invalid,
    /// It was good.
    #[error("the token has expired")]
    Expired,
    /// It is good, and names nobody.
    #[error("the token has no claim `{claim}` that can be a name")]
    Nameless {
        /// The claim.
        claim: String,
    },
    /// Nobody can tell now.
    #[error("the keys of the issuer cannot be fetched now")]
    NoKeys,
}

/// Checks the tokens of one issuer.
#[derive(Debug)]
pub struct Verifier {
    issuer: Issuer,
    client: Client,
    keys: Mutex<Keys>,
    /// Held by the one that fetches: others that come meanwhile wait for what it gets.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Keys {
    set: Option<JwkSet>,
    /// When they came.
    at_ms: i64,
    /// When they were last asked for.
    asked_ms: i64,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Whether what comes from a URL can be believed: by TLS, or from this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

impl Verifier {
    /// One for an issuer.
    ///
    /// # Errors
    /// Its certificates cannot be read.
    pub fn new(issuer: Issuer) -> Result<Self, String> {
        let mut client = Client::builder()
            .timeout(FETCH_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("backout/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &issuer.ca {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
            let all = Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("{shown} holds no certificates: {error}"))?;
            client = client.tls_certs_merge(all);
        }
        let client = client.build().map_err(|error| format!("no HTTP client: {error}"))?;
        let (keys, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { issuer, client, keys, fetching })
    }

    /// The issuer.
    pub fn url(&self) -> &str {
        &self.issuer.url
    }

    /// Whom a token names.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn verify(&self, token: &str, now_ms: i64) -> Result<Named, Doubt> {
        let header = decode_header(token).map_err(|_| Doubt::Invalid)?;
        if token.len() > BEARER_BYTES_MAX || !self.issuer.algorithms.contains(&header.alg) {
            return Err(Doubt::Invalid);
        }
        let key = self.key(header.kid.as_deref(), header.alg, now_ms).await?;
        let key = DecodingKey::from_jwk(&key).map_err(|_| Doubt::Invalid)?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.issuer.url]);
        validation.set_audience(&[&self.issuer.audience]);
        let data =
            decode::<Value>(token, &key, &validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Doubt::Expired,
                _ => Doubt::Invalid,
            })?;
        self.named(&data.claims)
    }

    fn named(&self, claims: &Value) -> Result<Named, Doubt> {
        let nameless = || Doubt::Nameless { claim: self.issuer.name.clone() };
        let name = claims.get(&self.issuer.name).and_then(Value::as_str).ok_or_else(nameless)?;
        // Whoever may write any address into an account must not become its owner.
        let unproven = claims.get("email_verified") == Some(&Value::Bool(false));
        if !crate::who::is_name(name) || (self.issuer.name == "email" && unproven) {
            return Err(nameless());
        }
        let groups = claims.get(&self.issuer.groups).and_then(Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(Value::as_str);
        let groups = groups.filter(|group| crate::who::is_name(group)).map(str::to_owned);
        Ok(Named { name: name.to_owned(), groups: groups.collect() })
    }

    async fn key(&self, kid: Option<&str>, alg: Algorithm, now_ms: i64) -> Result<Jwk, Doubt> {
        if let Some(key) = self.known(kid, alg, now_ms, KEYS_FRESH_MS) {
            return Ok(key);
        }
        let _turn = self.fetching.lock().await;
        // Somebody may have fetched them meanwhile.
        if let Some(key) = self.known(kid, alg, now_ms, KEYS_FRESH_MS) {
            return Ok(key);
        }
        if self.may_ask(now_ms) {
            match self.fetch().await {
                Ok(set) => {
                    let mut keys = self.lock();
                    (keys.set, keys.at_ms) = (Some(set), now_ms);
                }
                Err(why) => {
                    tracing::warn!(issuer = self.issuer.url, why, "no keys from the issuer");
                }
            }
        }
        match self.known(kid, alg, now_ms, KEYS_KEPT_MS) {
            Some(key) => Ok(key),
            None if self.lock().set.is_none() => Err(Doubt::NoKeys),
            None => Err(Doubt::Invalid),
        }
    }

    fn known(&self, kid: Option<&str>, alg: Algorithm, now_ms: i64, age_ms: i64) -> Option<Jwk> {
        let keys = self.lock();
        if now_ms.saturating_sub(keys.at_ms) > age_ms {
            return None;
        }
        let fits = |key: &&Jwk| fits(key, alg);
        let mut fitting = keys.set.as_ref()?.keys.iter().filter(fits);
        match kid {
            Some(kid) => fitting.find(|key| key.common.key_id.as_deref() == Some(kid)).cloned(),
            // A token without a key's name is believed only where there is one key it can mean.
            None => fitting.next().filter(|_| fitting.next().is_none()).cloned(),
        }
    }

    fn may_ask(&self, now_ms: i64) -> bool {
        let mut keys = self.lock();
        let never = keys.asked_ms == 0;
        if !never && now_ms.saturating_sub(keys.asked_ms) < ASKING_MS_MIN {
            return false;
        }
        keys.asked_ms = now_ms;
        true
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let base = self.issuer.url.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let found: Discovery = self.get(&url).await?;
        if found.issuer != self.issuer.url {
            return Err(format!("{url} speaks for `{}`", found.issuer));
        }
        if !is_safe(&found.jwks_uri) {
            return Err("its keys are offered over an open line".to_owned());
        }
        self.get(&found.jwks_uri).await
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, String> {
        let failed = |error: reqwest::Error| error.without_url().to_string();
        let response = self.client.get(url).send().await.map_err(failed)?;
        let mut response = response.error_for_status().map_err(failed)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&piece);
            if body.len() > DOCUMENT_BYTES_MAX {
                return Err(format!("{url} is longer than {DOCUMENT_BYTES_MAX} bytes"));
            }
        }
        serde_json::from_slice(&body).map_err(|error| format!("{url} cannot be read: {error}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key may have signed so: of the right kind, for signing, and not for something else. A
/// symmetric key never does.
fn fits(key: &Jwk, alg: Algorithm) -> bool {
    let kind = matches!(
        (&key.algorithm, alg),
        (AlgorithmParameters::RSA(_), Algorithm::RS256)
            | (AlgorithmParameters::EllipticCurve(_), Algorithm::ES256)
            | (AlgorithmParameters::OctetKeyPair(_), Algorithm::EdDSA)
    );
    let named = key.common.key_algorithm.is_none_or(|named| named.to_string() == name(alg));
    let signs =
        key.common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
    kind && named && signs
}

fn name(alg: Algorithm) -> &'static str {
    match alg {
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}
