//! Keeps what clients are shown as the files have it, and says when it comes to its end. Never: what a certificate is
//! made of.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::TlsConfig;
use crate::tls::{Certificate, CertificateFault, Identity, Validity};
use crate::types::{Clock, Timestamp};

/// How often the files are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often a certificate that comes to its end is spoken of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files of a certificate and the identity that shows them.
pub(super) struct Keeper {
    cert_file: PathBuf,
    key_file: PathBuf,
    identity: Arc<Identity>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the files at the last look.
    stamps: Option<[Option<Stamp>; 2]>,
    /// What they are can't be used; and whether that was said.
    trouble: Option<Trouble>,
    complained: Option<(Validity, Timestamp)>,
}

/// A pair is not written in one moment: trouble is said when a second look finds the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Seen,
    Said,
}

/// Another one stands for another content; links are followed, so that a swapped one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What came of a look.
#[derive(Debug)]
enum Look {
    Same,
    /// Shown from now on.
    New,
    /// The old one is shown still.
    Unusable(CertificateFault),
}

impl Keeper {
    /// Shows what the configuration has read.
    pub(super) fn new(tls: &TlsConfig) -> Self {
        let identity = Arc::new(Identity::default());
        if let Some(certificate) = &tls.certificate {
            identity.show(certificate.clone());
        }
        let (cert_file, key_file) = (tls.cert_file.clone(), tls.key_file.clone());
        Self { cert_file, key_file, identity, state: Mutex::default() }
    }

    /// What shows it.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Reads the files at once and shows what is in them from the next handshake on; whether that is another one than
    /// before.
    ///
    /// # Errors
    /// They can't be used. The old one is shown still.
    pub(super) fn reread(&self) -> Result<bool, CertificateFault> {
        let mut state = self.state();
        state.stamps = Some(self.stamps());
        let read = self.read();
        state.trouble = read.is_err().then_some(Trouble::Said);
        let is_new = read?;
        if is_new {
            state.complained = None;
        }
        Ok(is_new)
    }

    /// Shows what the configuration has read anew, if it is of the same files.
    pub(super) fn take(&self, tls: TlsConfig) {
        let is_ours = (&tls.cert_file, &tls.key_file) == (&self.cert_file, &self.key_file);
        let Some(found) = tls.certificate.filter(|_| is_ours) else { return };
        if self.identity.shown().is_none_or(|shown| !shown.is_same_as(&found)) {
            self.identity.show(found);
            self.state().complained = None;
            self.say(Look::New);
        }
    }

    /// Looks at the files again and again. Goes on for ever.
    pub(super) async fn keep(self: Arc<Self>, every: Duration, clock: Arc<dyn Clock>) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (keeper, clock) = (Arc::clone(&self), Arc::clone(&clock));
            // Files may lie on a disk that hangs.
            let _ = spawn_blocking(move || {
                keeper.say(keeper.look());
                keeper.complain(clock.now());
            })
            .await;
        }
    }

    fn look(&self) -> Look {
        let (known, trouble) = {
            let state = self.state();
            (state.stamps, state.trouble)
        };
        let has_settled = known == Some(self.stamps());
        if has_settled && trouble.is_none() {
            return Look::Same;
        }
        match self.reread() {
            Ok(true) => Look::New,
            Ok(false) => Look::Same,
            Err(fault) if has_settled && trouble == Some(Trouble::Seen) => Look::Unusable(fault),
            Err(_) => {
                self.state().trouble = if has_settled { trouble } else { Some(Trouble::Seen) };
                Look::Same
            }
        }
    }

    fn read(&self) -> Result<bool, CertificateFault> {
        let found = Certificate::read(&self.cert_file, &self.key_file)?;
        let is_new = self.identity.shown().is_none_or(|shown| !shown.is_same_as(&found));
        if is_new {
            self.identity.show(found);
        }
        Ok(is_new)
    }

    fn say(&self, look: Look) {
        match look {
            Look::Same => {}
            Look::New => {
                let shown = self.identity.shown();
                let names = shown.as_ref().map(|shown| shown.names().join(", ")).unwrap_or_default();
                let until = shown.map(|shown| shown.not_after().to_string()).unwrap_or_default();
                tracing::info!(file = %self.cert_file.display(), names, until, "a new certificate is shown");
            }
            Look::Unusable(error) => {
                tracing::error!(%error, "the new certificate can't be used; the old one is shown still");
            }
        }
    }

    fn complain(&self, now: Timestamp) {
        let Some((validity, sentence)) = self.complaint_due(now) else { return };
        let file = self.cert_file.display();
        match validity {
            Validity::Good | Validity::NotYet | Validity::EndsSoon => {
                tracing::warn!(%file, "the certificate is not well: {sentence}");
            }
            Validity::EndsVerySoon | Validity::Expired => {
                tracing::error!(%file, "the certificate is not well: {sentence}");
            }
        }
    }

    /// What has to be said of the certificate now: once a day, and at once when it gets worse.
    fn complaint_due(&self, now: Timestamp) -> Option<(Validity, String)> {
        let shown = self.identity.shown()?;
        let (validity, mut state) = (shown.validity(now), self.state());
        let is_said =
            state.complained.is_some_and(|(known, at)| known == validity && now.since(at) < COMPLAIN_EVERY);
        let sentence = shown.complaint(now).filter(|_| !is_said)?;
        state.complained = Some((validity, now));
        Some((validity, sentence))
    }

    fn stamps(&self) -> [Option<Stamp>; 2] {
        [stamp(&self.cert_file), stamp(&self.key_file)]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let facts = std::fs::metadata(file).ok()?;
    Some(Stamp {
        device: facts.dev(),
        inode: facts.ino(),
        bytes: facts.size(),
        modified: (facts.mtime(), facts.mtime_nsec()),
        changed: (facts.ctime(), facts.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            let files = Self(tempfile::tempdir().unwrap());
            files.write(&Pair::new(90));
            files
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, pair: &Pair) {
            std::fs::write(self.path("cert.pem"), &pair.chain).unwrap();
            std::fs::write(self.path("key.pem"), &pair.key).unwrap();
        }

        fn keeper(&self) -> Keeper {
            let (cert_file, key_file) = (self.path("cert.pem"), self.path("key.pem"));
            let certificate = Some(Certificate::read(&cert_file, &key_file).unwrap());
            Keeper::new(&TlsConfig { cert_file, key_file, certificate })
        }
    }

    struct Pair {
        chain: String,
        key: String,
    }

    impl Pair {
        /// Valid for so many days after 2030-01-01.
        fn new(days: u8) -> Self {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut asked = rcgen::CertificateParams::new(["a.test".to_string()]).unwrap();
            asked.not_before = rcgen::date_time_ymd(2029, 1, 1);
            asked.not_after =
                rcgen::date_time_ymd(2030, 1, 1) + Duration::from_secs(86_400) * u32::from(days);
            let chain = asked.self_signed(&key).unwrap().pem();
            Self { chain, key: key.serialize_pem() }
        }
    }

    fn until(keeper: &Keeper) -> Timestamp {
        keeper.identity.shown().unwrap().not_after()
    }

    fn day(day: u64) -> Timestamp {
        Timestamp::parse_start_of("2030-01-01").unwrap().after(Duration::from_secs(day * 86_400))
    }

    #[test]
    fn what_the_files_hold_is_shown_and_nothing_is_said_without_a_change() {
        let (files, other) = (Files::new(), Pair::new(40));
        let keeper = files.keeper();
        assert!(matches!(keeper.look(), Look::Same));
        files.write(&other);
        assert!(matches!(keeper.look(), Look::New));
        assert_eq!(until(&keeper), day(40));
        assert!(matches!(keeper.look(), Look::Same));
    }

    #[test]
    fn a_half_written_pair_changes_nothing_and_is_no_trouble_yet() {
        let (files, other) = (Files::new(), Pair::new(40));
        let keeper = files.keeper();
        std::fs::write(files.path("cert.pem"), &other.chain).unwrap();
        assert!(matches!(keeper.look(), Look::Same));
        assert_eq!(until(&keeper), day(90));
        std::fs::write(files.path("key.pem"), &other.key).unwrap();
        assert!(matches!(keeper.look(), Look::New));
        assert_eq!(until(&keeper), day(40));
    }

    #[test]
    fn what_stays_unusable_is_said_once_and_read_again_when_it_is_mended() {
        let files = Files::new();
        let keeper = files.keeper();
        std::fs::write(files.path("cert.pem"), "nothing").unwrap();
        assert!(matches!(keeper.look(), Look::Same));
        assert!(matches!(keeper.look(), Look::Unusable(_)));
        for _ in 0..3 {
            assert!(matches!(keeper.look(), Look::Same), "said again");
        }
        std::fs::remove_file(files.path("cert.pem")).unwrap();
        assert!(matches!(keeper.look(), Look::Same));
        assert!(matches!(keeper.look(), Look::Unusable(_)), "another trouble");
        assert_eq!(until(&keeper), day(90), "the old one is shown still");
        files.write(&Pair::new(40));
        assert!(matches!(keeper.look(), Look::New));
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let files = Files::new();
        let pairs = [("one", Pair::new(90)), ("two", Pair::new(40))];
        for (name, pair) in &pairs {
            std::fs::create_dir(files.path(name)).unwrap();
            std::fs::write(files.path(name).join("cert.pem"), &pair.chain).unwrap();
            std::fs::write(files.path(name).join("key.pem"), &pair.key).unwrap();
        }
        let point_to = |name: &str| {
            std::os::unix::fs::symlink(name, files.path("next")).unwrap();
            std::fs::rename(files.path("next"), files.path("live")).unwrap();
        };
        point_to("one");
        let (cert_file, key_file) = (files.path("live/cert.pem"), files.path("live/key.pem"));
        let certificate = Some(Certificate::read(&cert_file, &key_file).unwrap());
        let keeper = Keeper::new(&TlsConfig { cert_file, key_file, certificate });
        keeper.look();
        point_to("two");
        assert!(matches!(keeper.look(), Look::New));
        assert_eq!(until(&keeper), day(40));
    }

    #[test]
    fn rereading_at_once_says_whether_it_is_another_one() {
        let files = Files::new();
        let keeper = files.keeper();
        assert!(!keeper.reread().unwrap());
        files.write(&Pair::new(40));
        assert!(keeper.reread().unwrap());
        assert!(matches!(keeper.look(), Look::Same));
        std::fs::write(files.path("key.pem"), "nothing").unwrap();
        assert!(keeper.reread().is_err());
        assert!(matches!(keeper.look(), Look::Same), "it was said already");
        assert_eq!(until(&keeper), day(40));
    }

    #[test]
    fn an_end_is_spoken_of_once_a_day_and_when_it_gets_worse() {
        let files = Files::new();
        let keeper = files.keeper();
        let hour = |hour: u64| day(0).after(Duration::from_secs(hour * 3600));
        let due = |now| keeper.complaint_due(now).map(|(validity, _)| validity);
        assert_eq!(due(hour(75 * 24)), None);
        assert_eq!(due(hour(76 * 24)), Some(Validity::EndsSoon));
        assert_eq!(due(hour(76 * 24 + 23)), None);
        assert_eq!(due(hour(77 * 24)), Some(Validity::EndsSoon));
        assert_eq!(due(hour(86 * 24 + 20)), Some(Validity::EndsSoon));
        assert_eq!(due(hour(87 * 24)), Some(Validity::EndsVerySoon));
        assert_eq!(due(hour(90 * 24)), Some(Validity::Expired));
        assert_eq!(due(hour(90 * 24 + 1)), None);
        files.write(&Pair::new(100));
        assert!(keeper.reread().unwrap());
        assert_eq!(due(hour(90 * 24 + 2)), Some(Validity::EndsSoon), "of the new one");
    }
}
