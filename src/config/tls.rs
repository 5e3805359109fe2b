//! What clients are shown: the files of `[server.tls]`, read and checked. Never: renewing, the time.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::checked::TlsConfig;
use super::judge::Judge;
use super::layer::resolved;
use super::raw::RawTls;
use super::secret;
use crate::tls::{Certificate, CertificateFault};

const CERT_FILE: &[&str] = &["server", "tls", "cert_file"];
const KEY_FILE: &[&str] = &["server", "tls", "key_file"];
const CREDENTIAL: &str = "credential:";

impl Judge<'_> {
    /// None where no TLS is wanted, and where a fault was added.
    pub(super) fn tls(&mut self, raw: &RawTls) -> Option<TlsConfig> {
        match (raw.cert_file.as_str(), raw.key_file.as_str()) {
            ("", "") => return None,
            (_, "") => {
                self.fault(CERT_FILE, "server.tls.cert_file needs server.tls.key_file, its private key");
                return None;
            }
            ("", _) => {
                self.fault(KEY_FILE, "server.tls.key_file needs server.tls.cert_file, its certificate");
                return None;
            }
            (_, _) => {}
        }
        let cert_file = resolved(&raw.cert_file, self.layers.place(CERT_FILE));
        let key_file = self.private_key_file(&raw.key_file)?;
        let certificate = Certificate::read(&cert_file, &key_file);
        let certificate = certificate.map_err(|fault| self.certificate_fault(&fault, &key_file)).ok()?;
        if !raw.key_file.starts_with(CREDENTIAL) && is_open(&key_file) {
            self.warnings.push(format!(
                "server.tls.key_file: others than its owner can read {file}; whoever does can pose as this server \
                 (chmod 600 {file})",
                file = key_file.display()
            ));
        }
        Some(TlsConfig { cert_file, key_file, certificate })
    }

    fn private_key_file(&mut self, typed: &str) -> Option<PathBuf> {
        let Some(name) = typed.strip_prefix(CREDENTIAL) else {
            return Some(resolved(typed, self.layers.place(KEY_FILE)));
        };
        let found = secret::credential(name, self.environment);
        found.map_err(|reason| self.fault(KEY_FILE, &format!("server.tls.key_file: {reason}"))).ok()
    }

    fn certificate_fault(&mut self, fault: &CertificateFault, key_file: &Path) {
        let trail = match fault {
            CertificateFault::File { path, .. } if path == key_file => KEY_FILE,
            CertificateFault::File { .. }
            | CertificateFault::NoCertificate(_)
            | CertificateFault::Damaged(..) => CERT_FILE,
            CertificateFault::NoKey(_) | CertificateFault::Mismatch(..) => KEY_FILE,
        };
        self.fault(trail, &format!("{}: {fault}", trail.join(".")));
    }
}

/// Whether others than its owner can read it.
fn is_open(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|facts| facts.permissions().mode() & 0o044 != 0)
}
