//! TLS with certificates that are made here: who comes in, and under which name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backout_access::tls::{Certified, Tls, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// An authority with its files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
struct Pair {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, common: &str, sans: Vec<SanType>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.subject_alt_names = sans;
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn files(folder: &Path, server: &Pair, clients: &Authority) -> TlsFiles {
    TlsFiles {
        cert: put(folder, "cert.pem", &server.cert),
        key: put(folder, "key.pem", &server.key),
        client_ca: Some(put(folder, "clients.pem", &clients.pem)),
    }
}

fn client(authority: &Authority, own: Option<&Pair>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

/// Whom the server sees; nothing where the two do not agree.
async fn seen(tls: &Tls, client: TlsConnector) -> Option<Option<Certified>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calling = tokio::spawn(async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = client.connect(name, stream).await.ok()?;
        // In TLS 1.3 a refused certificate shows at the first read.
        stream.write_all(b"x").await.ok()?;
        stream.read_u8().await.ok()
    });
    let (stream, _) = listener.accept().await.unwrap();
    let seen = match tls.shake(stream).await {
        Ok((mut stream, seen)) => {
            stream.write_all(b"y").await.unwrap();
            drop(stream.read_u8().await);
            Some(seen)
        }
        Err(_) => None,
    };
    let answered = calling.await.unwrap();
    assert_eq!(answered.is_some(), seen.is_some());
    seen
}

#[tokio::test]
async fn a_certificate_of_the_authority_is_a_name_and_another_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (own, others) = (Authority::new("own"), Authority::new("others"));
    let localhost = SanType::DnsName("localhost".try_into().unwrap());
    let server = own.sign("server", vec![localhost]);
    let tls = Tls::new(&files(folder.path(), &server, &own)).unwrap();
    let named = |name: &str| Some(Some(Certified(name.to_owned())));

    let ann = own.sign("ann", Vec::new());
    assert_eq!(seen(&tls, client(&own, Some(&ann))).await, named("ann"));
    let mail = SanType::Rfc822Name("ben@example.org".try_into().unwrap());
    let ben = own.sign("ben", vec![mail]);
    assert_eq!(seen(&tls, client(&own, Some(&ben))).await, named("ben@example.org"));
    assert_eq!(seen(&tls, client(&own, None)).await, Some(None), "a token is asked for then");
    let admin = own.sign("admin", Vec::new());
    assert_eq!(seen(&tls, client(&own, Some(&admin))).await, Some(None), "a role is no name");
    let stranger = others.sign("ann", Vec::new());
    assert_eq!(seen(&tls, client(&own, Some(&stranger))).await, None);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let own = Authority::new("own");
    let (one, other) = (own.sign("one", Vec::new()), own.sign("other", Vec::new()));
    let good = files(folder.path(), &one, &own);
    Tls::new(&good).unwrap();
    let empty = put(folder.path(), "empty.pem", "");
    let cases = [
        (TlsFiles { cert: empty.clone(), ..good.clone() }, "empty.pem: no certificate in it"),
        (TlsFiles { key: empty.clone(), ..good.clone() }, "empty.pem: no private key"),
        (TlsFiles { client_ca: Some(empty), ..good.clone() }, "empty.pem: no certificate in it"),
        (TlsFiles { key: put(folder.path(), "k2.pem", &other.key), ..good }, "do not go together"),
    ];
    for (files, part) in cases {
        let error = Tls::new(&files).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
