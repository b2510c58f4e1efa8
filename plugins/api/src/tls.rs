//! TLS where a library makes it by rustls: what must stand before it, and what a failure means for a
//! person (feature `tls`).

use std::error::Error as StdError;
use std::io;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{AlertDescription, CertificateError, Error};

/// How a person names files, in the words of an action: "`ca`", "`ssl-ca=PATH` in the URL".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The authorities that may have signed the server's certificate.
    pub authority: &'static str,
    /// Our own certificate and its key, where the action can show one.
    pub certificate: Option<&'static str>,
}

/// Names the cryptography of this process, where nobody did. Several are linked here, and a library that
/// asks rustls for its default panics where none is named.
pub fn name_provider() {
    if CryptoProvider::get_default().is_none() {
        // Another thread was faster: as good.
        let _named = aws_lc_rs::default_provider().install_default();
    }
}

/// What to do about a connection that failed, to be put behind its error: nothing where TLS has no part
/// in it.
pub fn advice(error: &(dyn StdError + 'static), options: Options) -> String {
    if let Some(error) = chain(error).find_map(of_rustls) {
        return of_handshake(error, options);
    }
    let is_missing = |error: &(dyn StdError + 'static)| {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if chain(error).any(is_missing) {
        return "; a file that the URL names (a certificate, a key, a socket) is not there"
            .to_owned();
    }
    if error.to_string().contains("does not support TLS") {
        return "; the URL wants TLS and this server has none: turn it on there, or look whether this \
                is the right server"
            .to_owned();
    }
    String::new()
}

/// An error and those behind it.
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let behind = |error: &&'a (dyn StdError + 'static)| (*error).source();
    std::iter::successors(Some(error), behind)
}

/// The error of rustls that an error is, or holds.
fn of_rustls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let held = held.and_then(|held| held.downcast_ref());
    held.or_else(|| error.downcast_ref())
}

fn of_handshake(error: &Error, options: Options) -> String {
    match error {
        Error::InvalidCertificate(why) => of_certificate(why, options.authority),
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::HandshakeFailure,
        ) => match options.certificate {
            Some(named) => {
                format!(
                    "; the server wants a certificate of ours that it trusts: name it by {named}"
                )
            }
            None => "; the server wants a certificate of ours, and there is no way to show one"
                .to_owned(),
        },
        _ => String::new(),
    }
}

fn of_certificate(why: &CertificateError, authority: &str) -> String {
    match why {
        CertificateError::UnknownIssuer => format!(
            "; no authority that is trusted here signed its certificate: name the PEM file of the one \
             that did by {authority}, or look whether this is the right server"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; connect by a name that stands in its certificate, or have one made for this name"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; have its certificate renewed, and look at this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "; its certificate begins later: look at this machine's clock".to_owned()
        }
        // What `openssl req -x509` makes unless it is told otherwise.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "; its certificate is an authority's and vouches for itself: have that authority sign one \
             for the server"
                .to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustls::{CertificateError, Error};

    use super::{Options, advice};

    const OPTIONS: Options = Options { authority: "`ca=PATH`", certificate: None };

    #[test]
    fn each_failure_says_what_to_do() {
        let held = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for (error, says) in [
            (held(unknown()), "`ca=PATH`"),
            (held(Error::InvalidCertificate(CertificateError::Expired)), "clock"),
            (held(Error::InvalidCertificate(CertificateError::NotValidForName)), "a name"),
            (io::Error::from(io::ErrorKind::NotFound), "is not there"),
            (io::Error::other("server does not support TLS"), "has none"),
        ] {
            let said = advice(&error, OPTIONS);
            assert!(said.contains(says), "{error}: {said}");
        }
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(advice(&refused, OPTIONS), "");
        assert!(advice(&unknown(), OPTIONS).contains("PEM file"));
    }
}
