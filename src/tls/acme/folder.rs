//! The files of one CA: the account's key, and the certificate with its key. Written whole or not at all, for their
//! owner only. Never: what a CA is told.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::tls::{Certificate, CertificateFault};

/// The folder for all CAs, in the data directory.
const TOP: &str = "acme";
/// The most of a file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Damaged files that are kept.
const BAD_MAX: usize = 99;

/// A folder below the data directory. It is made when the first file is written.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    data: PathBuf,
    path: PathBuf,
}

impl Folder {
    /// The key of the account at the CA, as PKCS #8 in PEM.
    pub(super) const ACCOUNT: &'static str = "account.pem";
    /// The certificate's key and its chain, in PEM; one file, so that there is no half of the pair.
    pub(super) const CERTIFICATE: &'static str = "certificate.pem";

    /// The folder of a CA: what one CA gave is not shown when another is configured.
    pub(super) fn within(data: &Path, directory: &str) -> Self {
        let path = data.join(TOP).join(name_of(directory));
        Self { data: data.to_path_buf(), path }
    }

    /// What is in a file; `None` when it is not there.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let mut bytes = Zeroizing::new(Vec::new());
        match File::open(self.path.join(name)) {
            Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map(|_| Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The certificate that was kept. A damaged one is set aside, and the log says so.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        match self.kept() {
            Ok(certificate) => certificate,
            Err(fault @ CertificateFault::File { .. }) => {
                tracing::warn!("the kept certificate can't be used: {fault}");
                None
            }
            Err(fault) => {
                self.set_aside(Self::CERTIFICATE, &fault.to_string());
                None
            }
        }
    }

    /// The certificate that was kept, whatever state it is in; `None` when it is not there.
    pub(super) fn kept(&self) -> Result<Option<Certificate>, CertificateFault> {
        let path = self.path.join(Self::CERTIFICATE);
        match Certificate::read(&path, &path) {
            Err(CertificateFault::File { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    /// Puts a file in the place of the one that may be there, durably.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let owner = self.prepare()?;
        let temporary = self.path.join(format!("{name}.new"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = create(&temporary, bytes, owner)
            .and_then(|()| fs::rename(&temporary, self.path.join(name)))
            .and_then(|()| File::open(&self.path)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Gives a damaged file another name, which is said. Whether the place is free.
    pub(super) fn set_aside(&self, name: &str, why: &str) -> bool {
        let numbered = (2..=BAD_MAX).map(|number| format!("{name}.bad.{number}"));
        let mut names = std::iter::once(format!("{name}.bad")).chain(numbered);
        let free = names.find(|bad| fs::symlink_metadata(self.path.join(bad)).is_err());
        let moved = free.map(|bad| fs::rename(self.path.join(name), self.path.join(&bad)).map(|()| bad));
        match moved {
            Some(Ok(bad)) => {
                tracing::warn!(folder = %self.path.display(), "{name} is damaged ({why}); it is kept as {bad}");
                true
            }
            Some(Err(error)) => {
                tracing::error!(folder = %self.path.display(), %error, "{name} is damaged and can't be set aside");
                false
            }
            None => {
                tracing::error!(folder = %self.path.display(), "{name} is damaged, and so are {BAD_MAX} before it");
                false
            }
        }
    }

    /// Makes the folders. The owner of the data directory, where files must be given to him.
    fn prepare(&self) -> io::Result<Option<(u32, u32)>> {
        let facts = fs::metadata(&self.data)?;
        let is_his = rustix::process::geteuid().is_root() && facts.uid() != 0;
        let owner = is_his.then_some((facts.uid(), facts.gid()));
        private(&self.data.join(TOP), owner)?;
        private(&self.path, owner)?;
        Ok(owner)
    }
}

/// Like `acme-v02.api.letsencrypt.org-1a2b3c4d`: readable, and another one for each URL.
fn name_of(directory: &str) -> String {
    const HOST_MAX: usize = 100;
    let host = directory.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let host: String = host.unwrap_or_default().chars().map(plain).take(HOST_MAX).collect();
    let hash = digest(&SHA256, directory.as_bytes());
    let hash: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{host}-{hash}")
}

/// A folder that only its owner can enter, made when it is not there.
fn private(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Some((uid, gid)) = owner {
                fchown(File::open(path)?, Some(uid), Some(gid))?;
            }
            if let Some(above) = path.parent() {
                File::open(above)?.sync_all()?;
            }
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // A link could lead root to a place that is not the owner's.
    let facts = fs::symlink_metadata(path)?;
    if !facts.is_dir() {
        return Err(io::Error::new(ErrorKind::NotADirectory, format!("{} is no directory", path.display())));
    }
    if facts.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn create(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_are_written_whole_for_their_owner_only() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::within(data.path(), DIRECTORY);
        assert!(folder.read(Folder::ACCOUNT).unwrap().is_none());
        fs::create_dir(data.path().join("acme")).unwrap();
        fs::set_permissions(data.path().join("acme"), Permissions::from_mode(0o755)).unwrap();
        folder.write(Folder::ACCOUNT, b"one").unwrap();
        // What a crash left.
        fs::write(folder.path.join("account.pem.new"), "torn").unwrap();
        folder.write(Folder::ACCOUNT, b"two").unwrap();
        assert_eq!(folder.read(Folder::ACCOUNT).unwrap().unwrap().as_slice(), b"two");
        assert_eq!(mode(&folder.path.join(Folder::ACCOUNT)), 0o600);
        assert_eq!((mode(&folder.path), mode(&data.path().join("acme"))), (0o700, 0o700));
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_what_was_there() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::within(data.path(), DIRECTORY);
        folder.write(Folder::ACCOUNT, b"one").unwrap();
        fs::create_dir(folder.path.join("account.pem.new")).unwrap();
        assert!(folder.write(Folder::ACCOUNT, b"two").is_err());
        assert_eq!(folder.read(Folder::ACCOUNT).unwrap().unwrap().as_slice(), b"one");
    }

    #[test]
    fn a_link_is_no_folder() {
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), data.path().join("acme")).unwrap();
        let folder = Folder::within(data.path(), DIRECTORY);
        assert!(folder.write(Folder::ACCOUNT, b"one").is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn each_ca_has_a_folder_of_its_own() {
        let name = name_of(DIRECTORY);
        assert!(name.starts_with("acme-v02.api.letsencrypt.org-"), "{name}");
        assert_ne!(name, name_of("https://acme-v02.api.letsencrypt.org/other"));
        assert!(!name_of("https://a:1/../../x").contains('/'));
    }

    #[test]
    fn damaged_files_are_kept_under_other_names() {
        let data = tempfile::tempdir().unwrap();
        let folder = Folder::within(data.path(), DIRECTORY);
        for damaged in ["first", "second", "third"] {
            folder.write(Folder::CERTIFICATE, damaged.as_bytes()).unwrap();
            assert!(folder.certificate().is_none());
        }
        for (name, damaged) in [("bad", "first"), ("bad.2", "second"), ("bad.3", "third")] {
            let kept = fs::read_to_string(folder.path.join(format!("certificate.pem.{name}"))).unwrap();
            assert_eq!(kept, damaged);
        }
        assert!(folder.read(Folder::CERTIFICATE).unwrap().is_none());
    }

    #[test]
    fn a_folder_that_root_makes_belongs_to_the_owner_of_the_data() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let data = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(data.path(), Some(1234), Some(1235)).unwrap();
        let folder = Folder::within(data.path(), DIRECTORY);
        folder.write(Folder::ACCOUNT, b"one").unwrap();
        for path in [data.path().join("acme"), folder.path.clone(), folder.path.join(Folder::ACCOUNT)] {
            let facts = fs::metadata(&path).unwrap();
            assert_eq!((facts.uid(), facts.gid()), (1234, 1235), "{}", path.display());
        }
    }
}
