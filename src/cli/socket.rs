//! Reaching a running server through the socket in its data directory. Never: what is asked.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::http::admin::SOCKET;

use super::error::{CliError, Exit};

/// What a socket's address can hold (unix(7): 108 bytes with the zero at the end).
const PATH_BYTES_MAX: usize = 107;

/// A connection to the server on this data directory; none when no server listens there.
pub(super) fn connect(data: &Path) -> Result<Option<UnixStream>, CliError> {
    let error = match open(data) {
        Ok(stream) => return trusted(data, stream).map(Some),
        Err(error) => error,
    };
    // No directory, no socket, or one that a server left behind when it was killed.
    let nobody = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::NotADirectory];
    if nobody.contains(&error.kind()) {
        Ok(None)
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Err(not_allowed(data))
    } else {
        let path = data.join(SOCKET);
        let sentence = format!("the server's socket {} can't be reached: {error}", path.display());
        Err(CliError::new(Exit::Unreachable, sentence))
    }
}

fn open(data: &Path) -> io::Result<UnixStream> {
    let path = data.join(SOCKET);
    if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return UnixStream::connect(path);
    }
    let directory =
        rustix::fs::open(data, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Whoever listens must be root or the directory's owner: a key to be verified goes to nobody else.
fn trusted(data: &Path, stream: UnixStream) -> Result<UnixStream, CliError> {
    let peer = rustix::net::sockopt::socket_peercred(stream.as_fd()).map(|peer| peer.uid.as_raw());
    let owner = std::fs::metadata(data).map(|directory| directory.uid());
    match (peer, owner) {
        (Ok(0), _) => Ok(stream),
        (Ok(peer), Ok(owner)) if peer == owner => Ok(stream),
        _ => Err(CliError::new(
            Exit::NotAllowed,
            format!(
                "whoever listens on {} is not the directory's owner; not asked",
                data.join(SOCKET).display()
            ),
        )),
    }
}

/// This user may not enter the directory, or not use the socket in it.
pub(super) fn not_allowed(data: &Path) -> CliError {
    let me = rustix::process::geteuid().as_raw();
    let facts = std::fs::metadata(data).ok();
    let owner = facts.as_ref().map(MetadataExt::uid);
    if owner == Some(me) {
        let socket = data.join(SOCKET);
        let is_open = facts.is_some_and(|directory| directory.mode() & 0o300 == 0o300);
        let (what, path, mode) = match is_open && socket.symlink_metadata().is_ok() {
            true => ("socket", socket.display(), 600),
            false => ("data directory", data.display(), 700),
        };
        let sentence = format!("the permissions of the {what} {path} forbid its use");
        return CliError::new(Exit::NotAllowed, sentence).hint(format!("chmod {mode} {path}"));
    }
    let owner = owner.map_or_else(|| "another user".to_string(), |owner| format!("user {owner}"));
    CliError::new(
        Exit::NotAllowed,
        format!("the data directory {} belongs to {owner}, and this is user {me}", data.display()),
    )
    .hint("run this as that user or as root, or choose another directory with --data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bug_a_directory_of_ours_is_not_said_to_be_anothers() {
        let folder = tempfile::tempdir().unwrap();
        let error = not_allowed(folder.path());
        assert!(error.message.contains("permissions"), "{error}");
        assert!(error.hint.unwrap().starts_with("chmod 700 "));
        assert!(not_allowed(Path::new("/nowhere/at/all")).message.contains("another user"));
    }
}
