//! An authority that signs certificates for servers and clients of tests.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tempfile::TempDir;

/// An authority, its files in a folder of its own.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key: two PEM files.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, readable for its owner only.
    pub key: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one; two of the same name do not know each other.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
        let folder = tempfile::Builder::new().prefix("backout-authority-").tempdir()?;
        // Servers run as accounts of their own.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let authority = Self { folder, issuer: Issuer::new(params, key) };
        std::fs::write(authority.certificate(), pem)?;
        Ok(authority)
    }

    /// Its own certificate, for those who trust it.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for a client of this name.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn client(&self, name: &str) -> io::Result<Certified> {
        self.sign(self.folder.path(), name, &[], ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A certificate for a server, in a folder whose owner will run it; `names` are host names or
    /// addresses.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn server(&self, folder: &Path, names: &[&str]) -> io::Result<Certified> {
        self.sign(folder, "server", names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign(
        &self,
        folder: &Path,
        common: &str,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> io::Result<Certified> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages.push(usage);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let signed = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok(Certified {
            certificate: put(folder, &format!("{common}.crt"), &signed.pem())?,
            key: put(folder, &format!("{common}.key"), &key.serialize_pem())?,
        })
    }
}

/// A file that only the folder's owner reads.
fn put(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let owner = std::fs::metadata(folder)?;
    chown(&path, Some(owner.uid()), Some(owner.gid()))?;
    Ok(path)
}
