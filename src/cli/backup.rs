//! `ember backup`: a whole copy of the store in a file that was not there before. Never: what is in the store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::RenameFlags;

use crate::registry::HEAD_ROW;
use crate::store;
use crate::types::TrailHead;

use super::desk::{Desk, Hand};
use super::error::{CliError, Exit};
use super::terminal::Screen;

/// Bytes copied at once.
const PIECE_BYTES: usize = 256 * 1024;

pub(super) fn run(file: &Path, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    if file == Path::new("-") {
        return Err(CliError::new(
            Exit::Usage,
            "a backup is not written to stdout, where nobody could verify it",
        )
        .hint("name a file that is not there yet; `./-` is one with that name"));
    }
    let path = screen.terminal.cwd.join(file);
    refuse_present(&path)?;
    let hand = desk.reach(false, Instant::now())?;
    let mut draft = Draft::create(&path)?;
    let bytes = match hand {
        Hand::Server(client) => client.backup(&mut draft.file)?,
        Hand::Own(opened) => {
            opened.registry.begin_chain().map_err(crate::admin::AdminError::from)?;
            let mut copy = (opened.snapshot)()?;
            pour(&mut copy, &mut draft.file).map_err(|error| failed(&path, &error))?
        }
    };
    draft.file.sync_all().map_err(|error| failed(&path, &error))?;
    let verified = store::verify(&draft.path).map_err(|error| {
        CliError::new(
            Exit::Failure,
            format!("the backup was read again and is not good: {error}; nothing was kept"),
        )
    })?;
    let head = head_of(&draft.path);
    draft.name(&path)?;
    let rows: u64 = verified.tables.iter().map(|table| table.rows).sum();
    screen.note(&format!(
        "Backup of {rows} records ({bytes} bytes) in {}, read again and verified.",
        path.display()
    ));
    if let Some(head) = head {
        screen.note(&format!(
            "Its audit trail ends at {head}: after a restore, `ember audit --verify` takes that."
        ));
    }
    screen.note("It holds no key in clear, but addresses, password hashes and digests: keep it private.");
    Ok(())
}

/// Where the audit trail of a copy ends, which was just found to be whole.
pub(super) fn head_of(copy: &Path) -> Option<TrailHead> {
    let (table, key) = HEAD_ROW;
    store::row_of(copy, table, key).ok().flatten().and_then(|bytes| TrailHead::from_bytes(&bytes))
}

fn refuse_present(path: &Path) -> Result<(), CliError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(path, &error)),
        Ok(_) => Err(present(path)),
    }
}

fn present(path: &Path) -> CliError {
    CliError::new(Exit::Conflict, format!("{} is there already; it is not replaced", path.display()))
        .hint("choose another file")
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::of_file(error, format!("the backup {} can't be written: {error}", path.display()))
}

/// A copy that has not proved to be whole; gone when it is dropped without a name.
struct Draft {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Draft {
    fn create(path: &Path) -> Result<Self, CliError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or_else(|| {
            CliError::new(Exit::Usage, format!("{} is not the name of a file", path.display()))
        })?);
        name.push(format!(".{}.partial", std::process::id()));
        let draft = path.with_file_name(name);
        // One that lies there is left over from a process that had the same id and is gone.
        let _ = fs::remove_file(&draft);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        let file = made.map_err(|error| failed(path, &error))?;
        Ok(Self { path: draft, file, named: false })
    }

    /// Gives the copy its name, unless someone else has taken it.
    fn name(mut self, path: &Path) -> Result<(), CliError> {
        rename_new(&self.path, path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists { present(path) } else { failed(path, &error) }
        })?;
        self.named = true;
        let parent = path.parent().unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|error| failed(path, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.named {
            // What is left has the name of a partial file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames, unless the new name is taken.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    let here = rustix::fs::CWD;
    match rustix::fs::renameat_with(here, from, here, to, RenameFlags::NOREPLACE) {
        // File systems without this (NFS) can still refuse to link over a name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        renamed => Ok(renamed?),
    }
}

/// Makes what happened to names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn pour(from: &mut File, to: &mut File) -> io::Result<u64> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(bytes),
            length => {
                to.write_all(&piece[..length])?;
                bytes += length as u64;
            }
        }
    }
}
