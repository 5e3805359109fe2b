//! Certificates by ACME (RFC 8555): ordered, proven by TLS-ALPN-01 (RFC 8737), kept in a folder, renewed in time.
//! Never: listening; whoever listens shows the [`Identity`] and offers [`ACME_PROTOCOL`](super::ACME_PROTOCOL).

mod exchange;
mod folder;
mod issuer;
mod order;
mod refusal;
mod renewal;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::types::{Clock, Random, Timestamp};

use super::{Certificate, CertificateFault, Identity};
use folder::Folder;
use issuer::AcmeServer;
use renewal::Renewal;

/// Which certificates to have, and from whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names that one certificate is to have: DNS names in lower case, no wildcards, at least one.
    pub domains: Vec<String>,
    /// Where the CA may write to.
    pub email: Option<String>,
    /// The URL of the CA's directory (RFC 8555, 7.1.1), with https.
    pub directory: String,
    /// Roots to trust the CA's own server by, in PEM; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// How orders that failed are tried again.
    pub retry: Retry,
}

/// How long to wait after a failure: twice as long each time.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// After the first failure.
    pub first: Duration,
    /// However many there were.
    pub most: Duration,
}

impl Default for Retry {
    /// A minute to six hours: six failures within the first hour. Let's Encrypt allows a name five, and says at the next
    /// how long to wait, which is heeded.
    fn default() -> Self {
        Self { first: Duration::from_secs(60), most: Duration::from_secs(6 * 3600) }
    }
}

/// Shows the certificate for the domains that is kept below `data` in `identity`, at once: before this returns. What it
/// returns shows a new one where none is kept, and another each time a third of the lifetime is left, for as long as it is
/// polled. What fails is logged and tried again; what is shown stays.
pub fn keep_renewed(
    settings: Settings,
    data: &Path,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> impl Future<Output = ()> + Send + use<> {
    let folder = Folder::within(data, &settings.directory);
    let (domains, retry) = (settings.domains.clone(), settings.retry);
    let issuer = AcmeServer::new(settings, folder.clone(), Arc::clone(&identity), Arc::clone(&clock));
    let mut renewal = Renewal::new(issuer, domains, retry, folder, identity, clock, random);
    renewal.begin();
    renewal.run()
}

/// The certificate of the CA with this `directory` that is kept below `data`; none before the first.
///
/// # Errors
/// [`CertificateFault`]; the file is left as it is.
pub fn kept(data: &Path, directory: &str) -> Result<Option<Certificate>, CertificateFault> {
    Folder::within(data, directory).kept()
}

/// When it is to be renewed.
#[must_use]
pub fn renewal_due(certificate: &Certificate) -> Timestamp {
    schedule::due(certificate)
}
