//! Whoever gives certificates: the account at a CA's server, and what is asked of what comes back. Never: when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, Key};
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::tls::{Certificate, Identity, Trust};
use crate::types::Clock;

use super::exchange::Exchanges;
use super::folder::Folder;
use super::refusal::Refusal;
use super::{Settings, order, schedule};

/// One order, from the directory to the chain.
const ORDER_TIME: Duration = Duration::from_secs(600);

/// Gives certificates. One in the house; tests have others.
pub(super) trait Issuer: Send + Sync + 'static {
    /// Asks for one.
    fn issue(&self) -> impl Future<Output = Result<Issued, Refusal>> + Send;
}

/// A new certificate.
#[derive(Clone)]
pub(super) struct Issued {
    /// Its key and its chain.
    pub(super) pem: Zeroizing<String>,
    /// The same.
    pub(super) certificate: Certificate,
}

/// An ACME server with an account.
pub(super) struct AcmeServer {
    settings: Settings,
    folder: Folder,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
}

impl AcmeServer {
    pub(super) fn new(
        settings: Settings,
        folder: Folder,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { settings, folder, identity, clock }
    }

    /// The account of the key in the folder; a server that does not know it makes one. So there is one account however
    /// often the key's first use is interrupted. The terms are agreed to: whoever names domains does so.
    async fn account(&self, exchanges: Exchanges) -> Result<Account, Refusal> {
        let folder = self.folder.clone();
        let pkcs8 = blocking(move || account_key(&folder)).await??;
        let key = Key::from_pkcs8_der(pkcs8.clone_key())?;
        let directory = self.settings.directory.clone();
        let builder = Account::builder_with_http(Box::new(exchanges));
        let (account, _) = builder.create_from_key((key, PrivateKeyDer::Pkcs8(pkcs8)), directory).await?;
        if let Some(email) = &self.settings.email {
            account.update_contacts(&[&format!("mailto:{email}")]).await?;
        }
        Ok(account)
    }

    async fn order(&self, exchanges: Exchanges) -> Result<Issued, Refusal> {
        let account = self.account(exchanges).await?;
        let pem = order::carry_out(&account, &self.settings.domains, &self.identity).await?;
        self.checked(pem)
    }

    /// A CA that gives another's certificate, or one that nobody takes, has given none.
    fn checked(&self, pem: Zeroizing<String>) -> Result<Issued, Refusal> {
        let named = ("the CA's answer", pem.as_bytes());
        let certificate = Certificate::from_pem(named, ("the new key", pem.as_bytes()));
        let certificate = certificate.map_err(|fault| Refusal::new(&fault.to_string()))?;
        if let Some(missing) = self.settings.domains.iter().find(|domain| !has(&certificate, domain)) {
            return Err(Refusal::new(&format!("the CA gave a certificate without {missing}")));
        }
        if !schedule::is_valid(&certificate, self.clock.now()) {
            let (from, to) = (certificate.not_before(), certificate.not_after());
            let said = format!("the CA gave a certificate for {from} to {to}; look at this machine's clock");
            return Err(Refusal::new(&said));
        }
        Ok(Issued { pem, certificate })
    }
}

impl Issuer for AcmeServer {
    async fn issue(&self) -> Result<Issued, Refusal> {
        let ca_file = self.settings.ca_file.clone();
        let exchanges =
            Exchanges::new(&blocking(move || trust(ca_file.as_deref())).await??, Arc::clone(&self.clock));
        let issued = timeout(ORDER_TIME, self.order(exchanges.clone())).await;
        let issued = issued.unwrap_or_else(|_| Err(Refusal::new("the order took longer than ten minutes")));
        issued.map_err(|refusal| refusal.with_wait(exchanges.asked()))
    }
}

/// Whom to trust to vouch for the CA's own server: who is in the file, else whom the system trusts. Reads files.
fn trust(ca_file: Option<&Path>) -> Result<Trust, Refusal> {
    let Some(file) = ca_file else {
        let named = |fault| Refusal::new(&format!("{fault}; or name some in server.acme.ca_file"));
        return Trust::system().map_err(named);
    };
    Trust::read(file).map_err(|fault| Refusal::new(&fault.to_string()))
}

/// Whether a certificate is for a domain.
pub(super) fn has(certificate: &Certificate, domain: &str) -> bool {
    certificate.names().iter().any(|name| name.eq_ignore_ascii_case(domain))
}

/// Does something on a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(|_| Refusal::new("a thread ended before its work was done"))
}

/// The key in the folder, else a new one, which is there before anybody hears of it.
fn account_key(folder: &Folder) -> Result<PrivatePkcs8KeyDer<'static>, Refusal> {
    let kept = folder.read(Folder::ACCOUNT);
    let kept =
        kept.map_err(|error| Refusal::new(&format!("the key of the account can't be read: {error}")))?;
    if let Some(pem) = kept {
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).ok();
        match key.filter(|key| Key::from_pkcs8_der(key.clone_key()).is_ok()) {
            Some(key) => return Ok(key),
            None if folder.set_aside(Folder::ACCOUNT, "it holds no private key on P-256 in PKCS #8") => {}
            None => return Err(Refusal::new("the key of the account is damaged")),
        }
    }
    let key = KeyPair::generate().map_err(|error| Refusal::new(&error.to_string()))?;
    let pem = Zeroizing::new(key.serialize_pem());
    let written = folder.write(Folder::ACCOUNT, pem.as_bytes());
    written
        .map_err(|error| Refusal::new(&format!("the key of the account can't be written down: {error}")))?;
    Ok(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_an_account_is_kept_and_a_damaged_one_is_set_aside() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::within(data.path(), "https://ca.test/directory");
        let first = account_key(&folder).unwrap();
        assert_eq!(account_key(&folder).unwrap(), first);
        folder.write(Folder::ACCOUNT, b"not a key").unwrap();
        assert_ne!(account_key(&folder).unwrap(), first);
        assert_eq!(folder.read("account.pem.bad").unwrap().unwrap().as_slice(), b"not a key");
    }

    #[test]
    fn a_key_that_can_not_be_read_is_not_replaced() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::within(data.path(), "https://ca.test/directory");
        folder.write("other", b"").unwrap();
        let top = std::fs::read_dir(data.path().join("acme")).unwrap().next().unwrap().unwrap().path();
        std::fs::create_dir(top.join(Folder::ACCOUNT)).unwrap();
        let refusal = account_key(&folder).unwrap_err();
        assert!(refusal.said.starts_with("the key of the account can't be read"), "{}", refusal.said);
    }
}
