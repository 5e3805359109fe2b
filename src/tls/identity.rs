//! Which certificate is shown, and that it can be another one from one handshake to the next. Never: where it is from.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Certificate;

/// The protocol of the challenge by which a domain is proven (RFC 8737).
pub const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// What this server shows of itself. A new certificate counts from the next handshake on; connections that stand keep
/// theirs.
#[derive(Default)]
pub struct Identity {
    current: RwLock<Option<Certificate>>,
    proofs: Mutex<HashMap<String, Certificate>>,
}

impl Identity {
    /// Shows `certificate` from now on.
    pub fn show(&self, certificate: Certificate) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    /// What is shown; none before the first.
    #[must_use]
    pub fn shown(&self) -> Option<Certificate> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows `proof` to whoever asks by [`ACME_PROTOCOL`] for `domain`.
    pub fn prove(&self, domain: &str, proof: Certificate) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).insert(domain.to_ascii_lowercase(), proof);
    }

    /// Shows no proof for `domain` any more.
    pub fn disprove(&self, domain: &str) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain.to_ascii_lowercase());
    }

    fn proof(&self, domain: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(&domain?.to_ascii_lowercase()).map(|proof| Arc::clone(&proof.key))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks_for_proof =
            hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_PROTOCOL));
        if asks_for_proof {
            return self.proof(hello.server_name());
        }
        self.shown().map(|certificate| certificate.key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
