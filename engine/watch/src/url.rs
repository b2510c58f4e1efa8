//! An engine behind an address.

use async_trait::async_trait;
use backout_core::command::Ask;
use backout_core::id::RunId;
use backout_server::problem::Problem;
use backout_server::view::Listed;
use backout_server::wire::{
    AskReply, AskRequest, By, EventsPage, ResumeRequest, RunReply, RunsPage,
};
use reqwest::{Client, RequestBuilder};
use serde::de::DeserializeOwned;
use std::time::Duration;

use crate::source::{Source, SourceError};

/// Longer than the engine waits for events, so that a slow line is not a dead one.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer: a page of the largest events.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Runs in the list: what a person still finds one in.
const RUNS_MAX: usize = 200;

/// An engine behind an address.
#[derive(Clone, Debug)]
pub struct UrlSource {
    base: String,
    client: Client,
    token: Option<String>,
}

impl UrlSource {
    /// The engine at `base`, such as `https://backout.example`; `token` is sent with each request.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, SourceError> {
        let client = Client::builder().timeout(TIMEOUT).build();
        let client = client.map_err(|error| SourceError::Silent(error.to_string()))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client, token })
    }

    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, SourceError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let mut answer = request.send().await.map_err(silent)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(silent)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(SourceError::Silent("the answer is too large".to_owned()));
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| {
                SourceError::Silent(format!("the answer cannot be read: {error}"))
            });
        }
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => SourceError::Refused { message: problem.detail, help: problem.help },
            Err(_) => SourceError::Silent(format!("status {status}")),
        })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    fn post(&self, path: &str, body: &impl serde::Serialize) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base)).json(body)
    }
}

/// The address stands in the title already; what is behind the error says more.
fn silent(error: reqwest::Error) -> SourceError {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        words = deeper.to_string();
        source = deeper.source();
    }
    SourceError::Silent(words)
}

#[async_trait(?Send)]
impl Source for UrlSource {
    fn place(&self) -> String {
        self.base.clone()
    }

    async fn runs(&self) -> Result<Vec<Listed>, SourceError> {
        let page: RunsPage = self.send(self.get(&format!("/api/v1/runs?limit={RUNS_MAX}"))).await?;
        Ok(page.runs)
    }

    async fn events(
        &self,
        run: &RunId,
        from: u64,
        wait_ms: u64,
    ) -> Result<EventsPage, SourceError> {
        let path = format!("/api/v1/runs/{run}/events?from={from}&wait_ms={wait_ms}");
        self.send(self.get(&path)).await
    }

    async fn ask(&self, run: &RunId, ask: Ask, by: By) -> Result<AskReply, SourceError> {
        self.send(self.post(&format!("/api/v1/runs/{run}/ask"), &AskRequest { ask, by })).await
    }

    async fn resume(&self, run: &RunId, by: By) -> Result<(), SourceError> {
        let path = format!("/api/v1/runs/{run}/resume");
        let resumed = self.send::<RunReply>(self.post(&path, &ResumeRequest { by })).await;
        resumed.map(drop)
    }
}
