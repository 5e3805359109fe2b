//! The socket for commands in the data directory: bound even where its path is too long for the system. Never: what
//! is said on it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::UnixListener;

use super::data_dir::DataDir;

/// The longest path that a socket's address holds on Linux (unix(7): 108 bytes with the closing zero).
const PATH_BYTES_MAX: usize = 107;

/// Whether a server answers on the socket of a data directory.
pub(super) fn answers(data: &Path) -> bool {
    let path = data.join(DataDir::SOCKET);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return UnixStream::connect(&path).is_ok();
    }
    let reached = File::open(data).and_then(|folder| {
        UnixStream::connect(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), DataDir::SOCKET))
    });
    reached.is_ok()
}

/// Binds the socket, taking away a dead server's. The caller must hold the store's lock.
pub(super) fn bind(dir: &DataDir) -> io::Result<UnixListener> {
    let path = dir.file(DataDir::SOCKET);
    match fs::symlink_metadata(&path) {
        Ok(facts) if facts.file_type().is_socket() => fs::remove_file(&path)?,
        Ok(_) => {
            return Err(io::Error::other(format!(
                "{} is there and is no socket; move it away",
                path.display()
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Born 0600: a change of mode afterwards would follow a link put there meanwhile.
    let before = umask(Mode::from_raw_mode(0o177));
    let bound = bind_at(dir, &path);
    umask(before);
    dir.hand_over();
    bound
}

fn bind_at(dir: &DataDir, path: &Path) -> io::Result<UnixListener> {
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        UnixListener::bind(path)
    } else {
        // The open directory lends the socket a short name for the moment of binding.
        let folder = File::open(dir.path())?;
        UnixListener::bind(format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), DataDir::SOCKET))
    }
}
