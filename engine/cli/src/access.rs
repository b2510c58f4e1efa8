//! Who is let in over a port, and how the line to it is closed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Extensions;
use backout_access::Guard;
use backout_access::layer::Line;
use backout_access::tls::{Tls, TlsFiles};
use backout_access::tokens::Tokens;
use backout_runtime::{Clock, SystemClock};
use backout_server::port::{Handshake, Plain, Shaken};
use futures::future::BoxFuture;
use tokio::net::TcpStream;

use crate::app::App;
use crate::command::policy;
use crate::exit::Failure;

/// What `serve` is told about people and the line.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "People")]
pub(crate) struct AccessArgs {
    /// Who may run and approve what, and whose certificates and issuers are believed
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The server's certificate with those between it and the root, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authority of people's certificates, in PEM; who shows none is asked for a token
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
}

/// How people come in.
pub(crate) struct Door {
    /// Who asks, before every route.
    pub(crate) guard: Arc<Guard>,
    /// What happens to a connection before its first request.
    pub(crate) handshake: Arc<dyn Handshake>,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Makes the door of an address. Beyond loopback it takes TLS and a way to know people.
pub(crate) fn door(
    app: &App,
    args: &AccessArgs,
    listen: SocketAddr,
    store: &Path,
) -> Result<Door, Failure> {
    let tls = tls(args)?;
    let line = Line { secure: tls.is_some(), certificates: args.client_ca.is_some() };
    let policy = args.policy.as_deref().map(|file| policy::load(app, file)).transpose()?;
    let now = Arc::new(|| SystemClock.now().0);
    let guard = Guard::new(Tokens::of(store), Arc::new(policy.unwrap_or_default()), line, now)
        .map_err(|why| Failure::file("the policy's issuers", why))?;
    if !listen.ip().is_loopback() {
        closed(listen, &guard, line)?;
    }
    let (handshake, scheme): (Arc<dyn Handshake>, _) = match tls {
        Some(tls) => (Arc::new(Encrypted(tls)), "https"),
        None => (Arc::new(Plain), "http"),
    };
    Ok(Door { guard: Arc::new(guard), handshake, scheme })
}

/// Beyond loopback nobody reads along, and nobody is let in who does not say who they are.
fn closed(listen: SocketAddr, guard: &Guard, line: Line) -> Result<(), Failure> {
    if !line.secure {
        return Err(Failure::usage(
            format!("{listen} is not loopback: it takes TLS"),
            "add --tls-cert FILE --tls-key FILE; or listen on 127.0.0.1, and reach it by \
             `ssh -L 7070:127.0.0.1:7070 HOST`",
        ));
    }
    if !guard.knows_people() {
        return Err(Failure::usage(
            format!("{listen} is not loopback, and nobody could be known there"),
            "make a token: `backout token new --name YOU --role operator`; or add --client-ca FILE, \
             or a --policy FILE with an issuer",
        ));
    }
    Ok(())
}

fn tls(args: &AccessArgs) -> Result<Option<Tls>, Failure> {
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    let files =
        TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: args.client_ca.clone() };
    Tls::new(&files).map(Some).map_err(|why| Failure::file("TLS", why))
}

/// TLS before the first request; the name in a client's certificate goes to every request.
struct Encrypted(Tls);

impl Handshake for Encrypted {
    fn shake(&self, stream: TcpStream) -> BoxFuture<'static, io::Result<Shaken>> {
        let tls = self.0.clone();
        Box::pin(async move {
            let (stream, certified) = tls.shake(stream).await?;
            let mut known = Extensions::default();
            if let Some(certified) = certified {
                known.insert(certified);
            }
            Ok(Shaken { stream: Box::new(stream), known })
        })
    }
}
