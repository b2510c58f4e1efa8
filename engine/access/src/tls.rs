//! TLS by rustls, and the name in a client's certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::who::is_name;

/// The files that TLS needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and the root, in PEM.
    pub cert: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authority of client certificates, in PEM; absent is none.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| format!("{}: no private key: {error}", self.key.display()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                // Without a certificate a token is asked for: a browser can be let in too.
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            let (cert, key) = (self.cert.display(), self.key.display());
            format!("{cert} and {key} do not go together: {error}")
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let all = CertificateDer::pem_file_iter(path).map_err(|error| format!("{shown}: {error}"))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|error| format!("{shown}: {error}"))?;
    if all.is_empty() { Err(format!("{shown}: no certificate in it")) } else { Ok(all) }
}

/// The name in a client's certificate, which the client authority signed. Whoever serves puts it into
/// the extensions of each request of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified(pub String);

/// Does the server's side of handshakes.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// With these files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn new(files: &TlsFiles) -> Result<Self, String> {
        Ok(Self { acceptor: TlsAcceptor::from(files.config()?) })
    }

    /// Agrees with the other end, and says whom its certificate names.
    ///
    /// # Errors
    /// It does not agree, or has a certificate of somebody else's authority.
    pub async fn shake(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Certified>)> {
        let stream = self.acceptor.accept(stream).await?;
        let (_, connection) = stream.get_ref();
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let name = certificate.and_then(|certificate| certified_name(certificate));
        Ok((stream, name.map(Certified)))
    }
}

/// Whom a certificate names: its first e-mail address, else its only common name. rustls has
/// verified it.
fn certified_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let mail = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::RFC822Name(mail) => Some((*mail).to_owned()),
            _ => None,
        })
    });
    let mut common = certificate.subject().iter_common_name();
    let name = mail.or_else(|| {
        let only = common.next().filter(|_| common.next().is_none())?;
        only.as_str().ok().map(str::to_owned)
    });
    name.filter(|name| is_name(name))
}
