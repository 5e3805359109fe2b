//! A new file of its own, for its owner only, that a secret is written to. Never: what the secret is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use crate::cli::error::{CliError, Exit};
use crate::cli::ignored::is_exposed;
use crate::cli::terminal::Screen;

/// A new file, mode 0600, that waits for a secret.
pub(super) struct SecretFile {
    pub(super) path: PathBuf,
    file: File,
}

impl SecretFile {
    /// Makes it, or takes an empty one of ours that a command left behind when it was killed; whatever else is there
    /// already is left alone.
    pub(super) fn create(path: &Path, screen: &mut Screen<'_, '_>) -> Result<Self, CliError> {
        let path = screen.terminal.cwd.join(path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let made = match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => left_behind(&path),
            made => made,
        };
        let file = made.and_then(held_empty).map_err(|error| unmade(&path, &error))?;
        if is_exposed(&path) {
            screen.warn(&format!(
                "{} may end up in version control: add it to .gitignore before you commit",
                path.display()
            ));
        }
        Ok(Self { path, file })
    }

    /// Takes the file away again: there is no secret.
    pub(super) fn discard(self) {
        // An empty file that stays does no harm, and the reason why there is no secret is told already.
        let _ = std::fs::remove_file(&self.path);
    }

    pub(super) fn write(&mut self, secret: &str) -> io::Result<()> {
        writeln!(self.file, "{secret}")?;
        self.file.sync_all()
    }
}

fn left_behind(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
    opened.map_err(|_| io::ErrorKind::AlreadyExists.into())
}

/// The file, if nobody else waits with it for a secret and it has none.
fn held_empty(file: File) -> io::Result<File> {
    let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    let lock = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    // A file system without locks still tells what is in the file.
    if lock == Err(rustix::io::Errno::WOULDBLOCK) {
        return Err(taken());
    }
    let facts = file.metadata()?;
    let is_ours = facts.uid() == rustix::process::geteuid().as_raw() && facts.nlink() == 1;
    let is_empty = facts.is_file() && facts.len() == 0 && facts.mode() & 0o077 == 0;
    if is_ours && is_empty { Ok(file) } else { Err(taken()) }
}

fn unmade(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let sentence = format!("{} is there already; nothing was issued", path.display());
        return CliError::new(Exit::Conflict, sentence).hint("choose another file, or move that one away");
    }
    CliError::of_file(error, format!("{} can't be made: {error}; nothing was issued", path.display()))
}
