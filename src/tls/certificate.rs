//! A certificate chain with its private key, read and checked. Never: who shows it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use zeroize::Zeroizing;

use crate::types::Timestamp;

/// The most of a file that is read: a chain has some kilobytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A chain that a TLS server can show, with the private key of its first certificate.
#[derive(Clone)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// A file can't be read.
    #[error("{path} can't be read: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is none.
    #[error("{0} has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(String),
    /// There is no key.
    #[error("{0} has no private key in PEM (PKCS #8, PKCS #1 or SEC 1), or its password was not taken off")]
    NoKey(String),
    /// A certificate is none.
    #[error("{0}: the certificate is damaged: {1}")]
    Damaged(String, String),
    /// The key is of a kind that is not known, or another one's.
    #[error("{0}: the private key does not fit the certificate in {1}: {2}")]
    Mismatch(String, String, String),
}

impl Certificate {
    /// Reads both files. They may be one and the same.
    ///
    /// # Errors
    /// [`CertificateFault`], with the name of the file.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, CertificateFault> {
        let names = (certificate.display().to_string(), key.display().to_string());
        Self::from_pem((&names.0, &file(certificate)?), (&names.1, &file(key)?))
    }

    /// From the contents of two files, each with what it is called in errors.
    ///
    /// # Errors
    /// As [`Certificate::read`].
    pub fn from_pem(certificate: (&str, &[u8]), key: (&str, &[u8])) -> Result<Self, CertificateFault> {
        let named = |name: &str| name.to_string();
        let damaged = |error: &dyn std::fmt::Display| {
            CertificateFault::Damaged(named(certificate.0), error.to_string())
        };
        let chain = CertificateDer::pem_slice_iter(certificate.1).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| damaged(&error))?;
        let Some(first) = chain.first() else {
            return Err(CertificateFault::NoCertificate(named(certificate.0)));
        };
        let parsed = x509_cert::Certificate::from_der(first).map_err(|error| damaged(&error))?;
        let secret =
            PrivateKeyDer::from_pem_slice(key.1).map_err(|_| CertificateFault::NoKey(named(key.0)))?;
        let certified =
            CertifiedKey::from_der(chain, secret, &ring::default_provider()).map_err(|error| {
                CertificateFault::Mismatch(named(key.0), named(certificate.0), error.to_string())
            })?;
        Ok(Self::of(certified, &parsed))
    }

    /// One to prove a domain with (RFC 8737, 3) and its key. It has a part that must not be understood by clients, so
    /// that it can't be checked as others are.
    ///
    /// # Errors
    /// [`CertificateFault`], when the certificate or the key is none.
    #[cfg(feature = "acme")]
    pub(super) fn proof(
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, CertificateFault> {
        let name = "the proof".to_string();
        let parsed = x509_cert::Certificate::from_der(&certificate)
            .map_err(|error| CertificateFault::Damaged(name.clone(), error.to_string()))?;
        let key = ring::sign::any_supported_type(key).map_err(|_| CertificateFault::NoKey(name))?;
        Ok(Self::of(CertifiedKey::new(vec![certificate], key), &parsed))
    }

    fn of(key: CertifiedKey, parsed: &x509_cert::Certificate) -> Self {
        let validity = &parsed.tbs_certificate.validity;
        Self {
            key: Arc::new(key),
            names: names(parsed),
            not_before: point(validity.not_before.to_unix_duration()),
            not_after: point(validity.not_after.to_unix_duration()),
        }
    }

    /// The domains and addresses that it is for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From when on clients take it.
    #[must_use]
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when clients take it.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether both show the same chain.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// The beginning of a file, as far as one is read.
pub(super) fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateFault> {
    use std::io::Read;
    let read = || {
        let file = std::fs::File::open(path)?;
        // With room for all of it at once, so that no piece of a key is left where the bytes were before.
        let room = file.metadata()?.len().min(FILE_BYTES_MAX) as usize + 64;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes)
    };
    read().map_err(|error| CertificateFault::File { path: path.to_path_buf(), error })
}

fn point(since_epoch: Duration) -> Timestamp {
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The subject's alternative names (RFC 5280, 4.2.1.6); the common name says nothing to today's clients.
fn names(certificate: &x509_cert::Certificate) -> Vec<String> {
    let Ok(Some((_, alternatives))) = certificate.tbs_certificate.get::<SubjectAltName>() else {
        return Vec::new();
    };
    let name = |name: &GeneralName| {
        if let GeneralName::DnsName(domain) = name {
            return Some(domain.to_string());
        }
        let GeneralName::IpAddress(octets) = name else { return None };
        let octets = octets.as_bytes();
        let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok().map(|ip| ip.to_string())
    };
    alternatives.0.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn read(certificate: &str, key: &str) -> Result<Certificate, String> {
        Certificate::from_pem(("cert.pem", certificate.as_bytes()), ("key.pem", key.as_bytes()))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_chain_tells_its_names_and_its_time() {
        let (chain, key) = pair(&["ai.example.com", "192.0.2.7", "2001:db8::1"]);
        let certificate = read(&chain, &key).unwrap();
        assert_eq!(certificate.names(), ["ai.example.com", "192.0.2.7", "2001:db8::1"]);
        assert!(certificate.not_before() < certificate.not_after());
    }

    #[test]
    fn both_may_lie_in_one_file() {
        let (chain, key) = pair(&["ai.example.com"]);
        let both = format!("{key}{chain}");
        assert!(read(&both, &both).is_ok());
    }

    #[test]
    fn what_can_not_be_used_is_refused_by_the_name_of_its_file() {
        let ((chain, key), (_, other)) = (pair(&["a.test"]), pair(&["a.test"]));
        for (chain, key, said) in [
            ("", &*key, "cert.pem has no certificate"),
            (&*chain, "", "key.pem has no private key"),
            (&*chain, &*other, "key.pem: the private key does not fit the certificate in cert.pem"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &*key, "cert.pem: the cert"),
        ] {
            let refusal = read(chain, key).err().unwrap();
            assert!(refusal.starts_with(said), "{refusal}");
        }
        let missing = Certificate::read(Path::new("/nowhere/cert.pem"), Path::new("/nowhere/key.pem"));
        assert!(missing.err().unwrap().to_string().starts_with("/nowhere/cert.pem can't be read"));
    }
}
