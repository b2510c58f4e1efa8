//! The other end of the control socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backout_core::id::RunId;
use backout_store::Reader;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::desk::ExerciseView;
use crate::problem::Problem;
use crate::socket::SocketPath;
use crate::wire::{
    AskReply, AskRequest, EventsPage, Owner, ResumeRequest, RunReply, RunsPage, StartRequest,
};

/// Bytes of an answer: a page of the largest events an engine may have.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long an engine may take to say who it is: it does in milliseconds, so one that does not in this
/// time hangs, and whoever is in a hurry must hear so.
const FOUND_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to answer anything else: a command waits for a disk that may be slow, and for
/// looks at targets, 5 s each at the most.
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// Why a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The engine said no.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Nobody answers there.
    #[error("the engine of this store does not answer: {why}")]
    Unreachable {
        /// What the system said.
        why: String,
    },
    /// What came back is not an answer of this release.
    #[error("the engine's answer cannot be read: {why}")]
    Unreadable {
        /// What is wrong with it.
        why: String,
    },
}

impl ClientError {
    fn unreachable(error: impl std::fmt::Display) -> Self {
        Self::Unreachable { why: error.to_string() }
    }

    fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable { why: error.to_string() }
    }
}

/// A client of the engine that owns a store. Each request is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    folder: PathBuf,
}

impl Client {
    /// Looks for an owner; `None` where none serves the store's socket.
    ///
    /// # Errors
    /// The owner is there and does not say in time who it is, or not in a way that can be read.
    pub async fn find(folder: &Path) -> Result<Option<(Self, Owner)>, ClientError> {
        Self::find_within(folder, FOUND_WITHIN).await
    }

    async fn find_within(
        folder: &Path,
        within: Duration,
    ) -> Result<Option<(Self, Owner)>, ClientError> {
        let client = Self { folder: folder.to_owned() };
        let owner = async {
            match client.connect().await {
                Ok(_) => client.owner().await.map(Some),
                Err(error) if is_nobody(&error) => Ok(None),
                Err(error) => Err(ClientError::unreachable(error)),
            }
        };
        let owner = tokio::time::timeout(within, owner).await;
        let owner = owner.unwrap_or_else(|_| Err(client.hangs(within)))?;
        Ok(owner.map(|owner| (client, owner)))
    }

    /// Who owns the store.
    pub async fn owner(&self) -> Result<Owner, ClientError> {
        self.get("/api/v1/owner").await
    }

    /// The exercise that is led there.
    pub async fn exercise(&self) -> Result<ExerciseView, ClientError> {
        self.get("/api/v1/exercise").await
    }

    /// The newest runs.
    pub async fn runs(&self) -> Result<RunsPage, ClientError> {
        self.get("/api/v1/runs?limit=200").await
    }

    /// Makes a run.
    pub async fn start(&self, request: &StartRequest) -> Result<RunReply, ClientError> {
        self.post("/api/v1/runs", request).await
    }

    /// Takes a run up.
    pub async fn resume(
        &self,
        run: &RunId,
        request: &ResumeRequest,
    ) -> Result<RunReply, ClientError> {
        self.post(&format!("/api/v1/runs/{run}/resume"), request).await
    }

    /// Gives a person's command.
    pub async fn ask(&self, run: &RunId, request: &AskRequest) -> Result<AskReply, ClientError> {
        self.post(&format!("/api/v1/runs/{run}/ask"), request).await
    }

    /// The events from a position on, waiting up to so many milliseconds for the first.
    pub async fn events(
        &self,
        run: &RunId,
        from: u64,
        wait_ms: u64,
    ) -> Result<EventsPage, ClientError> {
        self.get(&format!("/api/v1/runs/{run}/events?from={from}&wait_ms={wait_ms}")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::unreadable)?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let socket = SocketPath::of(&self.folder)?;
        UnixStream::connect(&socket.path).await
    }

    /// Nobody answered in time, and who that is.
    fn hangs(&self, within: Duration) -> ClientError {
        let owner = Reader::open(&self.folder).ok().and_then(|reader| reader.owner());
        let who = owner.map_or_else(
            || "whoever owns it".to_owned(),
            |owner| format!("process {0}; if it hangs, `kill -9 {0}` loses nothing", owner.pid),
        );
        ClientError::unreachable(format!("nothing within {} s from {who}", within.as_secs()))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let answered = tokio::time::timeout(ANSWERED_WITHIN, self.exchange(method, path, body));
        answered.await.unwrap_or_else(|_| Err(self.hangs(ANSWERED_WITHIN)))
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let stream = self.connect().await.map_err(ClientError::unreachable)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::unreachable)?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "backout")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(ClientError::unreadable)?;
        let response = sender.send_request(request).await.map_err(ClientError::unreachable)?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        driver.abort();
        read_answer(status, &bytes.map_err(ClientError::unreadable)?.to_bytes())
    }
}

fn read_answer<T: DeserializeOwned>(status: StatusCode, bytes: &[u8]) -> Result<T, ClientError> {
    if status.is_success() {
        return serde_json::from_slice(bytes).map_err(ClientError::unreadable);
    }
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => Err(problem.into()),
        Err(_) => Err(ClientError::unreadable(format!("status {status}"))),
    }
}

/// No socket, or one that a dead owner left.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_owner_that_hangs_is_told_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Client::find(folder.path()).await.unwrap().is_none());
        let socket = SocketPath::of(folder.path()).unwrap();
        let _silent = UnixListener::bind(&socket.path).unwrap();
        let within = Duration::from_millis(50);
        let error = Client::find_within(folder.path(), within).await.unwrap_err().to_string();
        assert!(
            error.contains("does not answer: nothing within 0 s from whoever owns it"),
            "{error}"
        );
    }
}
