//! What clients are shown: the files of `[server.tls]`, read and checked. Never: renewing, the time.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checked::TlsConfig;
use super::judge::Judge;
use super::layer::resolved;
use super::raw::RawTls;
use super::secret;
use crate::tls::{Certificate, CertificateFault};

const CERT_FILE: &[&str] = &["server", "tls", "cert_file"];
const KEY_FILE: &[&str] = &["server", "tls", "key_file"];
const CREDENTIAL: &str = "credential:";
/// How often files that do not fit together yet are read.
const LOOK_EVERY: Duration = Duration::from_millis(200);

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
        let Some(key_file) = self.private_key_file(&raw.key_file) else {
            return Some(TlsConfig { cert_file, key_file: PathBuf::from(&raw.key_file), certificate: None });
        };
        let read = settled(self.patience, std::thread::sleep, || Certificate::read(&cert_file, &key_file));
        let certificate = read.map_err(|fault| self.certificate_fault(&fault, &key_file)).ok();
        if !raw.key_file.starts_with(CREDENTIAL) && is_open(&key_file) {
            self.warnings.push(format!(
                "server.tls.key_file: others than its owner can read or change {file}; whoever does can pose as this \
                 server (chmod 600 {file})",
                file = key_file.display()
            ));
        }
        Some(TlsConfig { cert_file, key_file, certificate })
    }

    /// None where it is another process's, and where a fault was added.
    fn private_key_file(&mut self, typed: &str) -> Option<PathBuf> {
        let Some(name) = typed.strip_prefix(CREDENTIAL) else {
            return Some(resolved(typed, self.layers.place(KEY_FILE)));
        };
        if self.is_elsewhere(typed) {
            self.warnings.push(format!(
                "server.tls.key_file: {typed} is handed to the service by systemd and was not looked at"
            ));
            return None;
        }
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
        self.servers_fault(trail, &format!("{}: {fault}", trail.join(".")));
    }
}

/// What comes of reading a pair of files. A pair is not written in one moment: what does not fit together is read again
/// until it does, for `patience` at most. What is not there, or may not be read, is not waited for.
fn settled<T>(
    patience: Duration,
    mut rest: impl FnMut(Duration),
    mut read: impl FnMut() -> Result<T, CertificateFault>,
) -> Result<T, CertificateFault> {
    let mut left = patience;
    loop {
        let outcome = read();
        let is_final = matches!(outcome, Ok(_) | Err(CertificateFault::File { .. }));
        if is_final || left.is_zero() {
            return outcome;
        }
        let pause = left.min(LOOK_EVERY);
        rest(pause);
        left -= pause;
    }
}

/// Whether others than its owner can read or change it.
fn is_open(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|facts| facts.permissions().mode() & 0o066 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of reading these one after the other for a second, and how long that took.
    fn read(faults: &[fn() -> CertificateFault]) -> (bool, Duration) {
        let (mut faults, mut took) = (faults.iter(), Duration::ZERO);
        let read = || faults.next().map_or(Ok(()), |fault| Err(fault()));
        let outcome = settled(Duration::from_secs(1), |pause| took += pause, read);
        (outcome.is_ok(), took)
    }

    #[test]
    fn bug_a_pair_that_is_being_written_is_waited_for() {
        let mismatch: fn() -> _ = || CertificateFault::Mismatch(String::new(), String::new(), String::new());
        let no_key: fn() -> _ = || CertificateFault::NoKey(String::new());
        let missing =
            || CertificateFault::File { path: PathBuf::new(), error: std::io::ErrorKind::NotFound.into() };
        assert_eq!(read(&[]), (true, Duration::ZERO));
        assert_eq!(read(&[mismatch, no_key]), (true, 2 * LOOK_EVERY));
        assert_eq!(read(&[mismatch; 9]), (false, Duration::from_secs(1)));
        assert_eq!(read(&[missing]), (false, Duration::ZERO));
    }
}
