//! Whom a client of TLS trusts to vouch for servers. Never: which servers, connecting.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::CertificateFault;
use super::certificate::file;

/// Certificates whose holders may vouch for servers. What a server shows of itself is always checked: who vouches for it,
/// for which name and until when.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
}

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustFault {
    /// The file is of no use.
    #[error(transparent)]
    File(#[from] CertificateFault),
    /// The system has nobody.
    #[error("this system trusts no certificates{0} (Debian's package ca-certificates has the usual ones)")]
    Nobody(String),
    /// The library can't do it.
    #[error("TLS does not work on this machine: {0}")]
    Library(#[from] rustls::Error),
}

impl Trust {
    /// Those whom the system trusts: the usual places of certificates, or what SSL_CERT_FILE and SSL_CERT_DIR name.
    ///
    /// # Errors
    /// [`TrustFault::Nobody`].
    pub fn system() -> Result<Self, TrustFault> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A system may have certificates among many that are too odd for anyone.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let first = found.errors.first().map(|error| format!(": {error}"));
            return Err(TrustFault::Nobody(first.unwrap_or_default()));
        }
        Self::new(roots)
    }

    /// Those in a file, and nobody else.
    ///
    /// # Errors
    /// [`TrustFault::File`] when it can't be read, has none, or one of them is damaged.
    pub fn read(path: &Path) -> Result<Self, TrustFault> {
        Self::from_pem(&path.display().to_string(), &file(path)?)
    }

    /// Those in the content of a file, with what it is called in errors.
    ///
    /// # Errors
    /// As [`Trust::read`].
    pub fn from_pem(name: &str, content: &[u8]) -> Result<Self, TrustFault> {
        let damaged =
            |error: &dyn fmt::Display| CertificateFault::Damaged(name.to_string(), error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(content) {
            let certificate = certificate.map_err(|error| damaged(&error))?;
            roots.add(certificate).map_err(|error| damaged(&error))?;
        }
        if roots.is_empty() {
            return Err(CertificateFault::NoCertificate(name.to_string()).into());
        }
        Self::new(roots)
    }

    fn new(roots: RootCertStore) -> Result<Self, TrustFault> {
        let roots = Arc::new(roots);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), roots })
    }

    /// What a client needs that trusts these and offers `protocols` (ALPN, RFC 7301), the dearest first. TLS 1.2 and 1.3;
    /// clients of the same trust resume each other's sessions.
    #[must_use]
    pub fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// How many there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.roots.len()
    }
}

/// Whether the same are trusted.
impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str) -> String {
        rcgen::generate_simple_self_signed([name.to_string()]).unwrap().cert.pem()
    }

    #[test]
    fn a_bundle_is_taken_whole() {
        let bundle = format!("# ours\n{}{}", certificate("a.test"), certificate("b.test"));
        let trust = Trust::from_pem("ca.pem", bundle.as_bytes()).unwrap();
        assert_eq!(trust.count(), 2);
        assert_eq!(trust.client(&[b"http/1.1"]).alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn what_can_not_be_used_is_refused_by_the_name_of_its_file() {
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let one_of_two = certificate("a.test") + damaged;
        for (content, said) in [
            ("", "ca.pem has no certificate in PEM"),
            ("no certificate at all", "ca.pem has no certificate in PEM"),
            (damaged, "ca.pem: the certificate is damaged"),
            (&one_of_two, "ca.pem: the certificate is damaged"),
        ] {
            let refusal = Trust::from_pem("ca.pem", content.as_bytes()).unwrap_err().to_string();
            assert!(refusal.starts_with(said), "{refusal}");
        }
        let missing = Trust::read(Path::new("/nowhere/ca.pem")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/ca.pem can't be read"), "{missing}");
    }
}
