//! A port: the routes for whoever reaches it, with a limit on everything that a stranger may hold.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Extensions, Request};
use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

/// Connections at once: below the usual limit of 1,024 open files, with room for the engine's own.
/// Further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 512;
/// How long a client may take to send the head of a request, or to say nothing between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client may take to agree on the encryption.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of the head of a request; also what is buffered of a body.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long answers under way may take when the port closes.
const CLOSING_MAX: Duration = Duration::from_secs(5);
/// How long nothing is accepted after the system refused: it has no more open files, for instance.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a handshake gave.
pub struct Shaken {
    /// The connection to speak HTTP on.
    pub stream: Box<dyn Stream>,
    /// What is known of the other end, a certificate for instance: every request gets it.
    pub known: Extensions,
}

impl std::fmt::Debug for Shaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shaken").field("known", &self.known).finish_non_exhaustive()
    }
}

/// What happens to a connection before the first request: nothing, or encryption.
pub trait Handshake: Send + Sync {
    /// Agrees with the other end.
    fn shake(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Shaken>>;
}

/// No encryption: for loopback only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Handshake for Plain {
    fn shake(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Shaken>> {
        let shaken = Shaken { stream: Box::new(stream), known: Extensions::default() };
        Box::pin(std::future::ready(Ok(shaken)))
    }
}

/// The address of the other end; in the extensions of every request that came by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A served port; dropping it ends the serving.
#[derive(Debug)]
pub struct ServedPort {
    address: SocketAddr,
    end: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl ServedPort {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, and waits a moment for the answers under way.
    pub async fn close(mut self) {
        self.end.cancel();
        if let Some(serving) = self.serving.take()
            && let Err(error) = serving.await
        {
            tracing::warn!(%error, "the port did not close in order");
        }
    }
}

impl Drop for ServedPort {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Serves an application on a listener.
pub fn serve(
    listener: TcpListener,
    app: Router,
    handshake: Arc<dyn Handshake>,
) -> io::Result<ServedPort> {
    let address = listener.local_addr()?;
    let end = CancellationToken::new();
    let port = Port { app, handshake, end: end.clone() };
    let serving = tokio::spawn(port.run(listener));
    Ok(ServedPort { address, end, serving: Some(serving) })
}

#[derive(Clone)]
struct Port {
    app: Router,
    handshake: Arc<dyn Handshake>,
    end: CancellationToken,
}

impl Port {
    async fn run(self, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        while let Some((permit, stream, peer)) = self.next(&listener, &room).await {
            open.spawn(self.clone().connection(permit, stream, peer));
            // Those that ended meanwhile.
            while open.try_join_next().is_some() {}
        }
        drop(listener);
        let all = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSING_MAX, all).await.is_err() {
            tracing::info!("some connections were cut: their clients did not take the answers");
        }
    }

    async fn next(
        &self,
        listener: &TcpListener,
        room: &Arc<Semaphore>,
    ) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        loop {
            let accepted = async {
                let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
                let (stream, peer) = listener.accept().await?;
                Ok((permit, stream, peer))
            };
            let accepted: io::Result<_> = tokio::select! {
                accepted = accepted => accepted,
                () = self.end.cancelled() => return None,
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, permit: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr) {
        // Small answers go out at once; where the system cannot, they come all the same.
        let _ = stream.set_nodelay(true).is_ok();
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.handshake.shake(stream)).await;
        let shaken = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no handshake"),
            Err(_) => return tracing::debug!(%peer, "the handshake took too long"),
        };
        self.speak(shaken, peer).await;
        drop(permit);
    }

    async fn speak(self, shaken: Shaken, peer: SocketAddr) {
        let Self { app, end, .. } = self;
        let Shaken { stream, known } = shaken;
        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().extend(known.clone());
            request.extensions_mut().insert(Peer(peer));
            // A router is always ready.
            app.clone().call(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES_MAX);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = end.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a connection ended");
        }
    }
}
