//! Gives what root made in a data directory to the directory's owner. Never: follows a link, or gives away what has another
//! name elsewhere, since the owner may have put it there.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat};
use rustix::io::Errno;

/// The one folder of Ember's own in it (docs/acme.md): a folder for each CA, and files in that.
const FOLDER: &CStr = c"acme";
const FOLDERS_BELOW: u32 = 1;

/// Gives the files in `directory` that are root's, and all in its folder, to the owner.
pub(super) fn give(directory: &Path, uid: u32, gid: u32) {
    let owner = Owner(Uid::from_raw(uid), Gid::from_raw(gid));
    let given = openat(CWD, directory, folder() & !OFlags::NOFOLLOW, Mode::empty()).and_then(|directory| {
        if let Err(error) = owner.take_files(directory.as_fd()) {
            not_given(c".", error);
        }
        match open(directory.as_fd(), FOLDER)? {
            Some(entry) => owner.take_folder(directory.as_fd(), FOLDER, &entry, FOLDERS_BELOW),
            None => Ok(()),
        }
    });
    if let Err(error) = given {
        let directory = directory.display();
        tracing::warn!(%directory, %error, "not all files could be given to the directory's owner");
    }
}

/// The others are given all the same.
fn not_given(name: &CStr, error: Errno) {
    let name = name.to_string_lossy();
    tracing::warn!(%name, %error, "a file could not be given to the data directory's owner");
}

struct Owner(Uid, Gid);

impl Owner {
    fn take_files(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        for name in names(directory)? {
            if let Some(entry) = open(directory, &name)?
                && !is_folder(&entry.1)
                && let Err(error) = self.take(&entry)
            {
                not_given(&name, error);
            }
        }
        Ok(())
    }

    fn take_folder(
        &self,
        above: BorrowedFd<'_>,
        name: &CStr,
        entry: &Entry,
        folders_below: u32,
    ) -> Result<(), Errno> {
        if !is_folder(&entry.1) || entry.1.st_dev != fstat(above)?.st_dev {
            return Ok(());
        }
        let inside = openat(above, name, folder(), Mode::empty())?;
        self.take_files(inside.as_fd())?;
        if folders_below > 0 {
            for name in names(inside.as_fd())? {
                if let Some(entry) = open(inside.as_fd(), &name)?
                    && let Err(error) = self.take_folder(inside.as_fd(), &name, &entry, folders_below - 1)
                {
                    not_given(&name, error);
                }
            }
        }
        self.take(entry)
    }

    /// What was looked at, whatever has its name meanwhile.
    fn take(&self, (entry, facts): &Entry) -> Result<(), Errno> {
        let has_one_name = is_folder(facts) || facts.st_nlink == 1;
        if facts.st_uid != 0 || !has_one_name {
            return Ok(());
        }
        chownat(entry, c"", Some(self.0), Some(self.1), AtFlags::EMPTY_PATH)
    }
}

type Entry = (OwnedFd, Stat);

/// Something in a directory, and what it is; none when it is gone.
fn open(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Entry>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(directory, name, flags, Mode::empty()) {
        Ok(entry) => {
            let facts = fstat(&entry)?;
            Ok(Some((entry, facts)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_folder(facts: &Stat) -> bool {
    FileType::from_raw_mode(facts.st_mode) == FileType::Directory
}

fn folder() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use super::*;

    #[test]
    fn bug_the_folder_of_certificates_is_given_away_and_nothing_that_links_lead_to() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (data, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (data, elsewhere) = (data.path(), elsewhere.path());
        let ca = data.join("acme/ca-1");
        fs::create_dir_all(&ca).unwrap();
        let mine = [data.join("ember.redb"), ca.join("account.pem"), ca.join("certificate.pem")];
        let others = ["a", "b", "c"].map(|name| elsewhere.join(name));
        mine.iter().chain(&others).for_each(|file| fs::write(file, "").unwrap());
        fs::hard_link(&others[0], ca.join("hard.pem")).unwrap();
        symlink(&others[1], ca.join("soft.pem")).unwrap();
        symlink(elsewhere, data.join("acme/ca-2")).unwrap();
        chown(data, Some(1234), Some(1235)).unwrap();
        give(data, 1234, 1235);
        for path in mine.iter().chain([&ca, &data.join("acme")]) {
            let facts = fs::metadata(path).unwrap();
            assert_eq!((facts.uid(), facts.gid()), (1234, 1235), "{}", path.display());
        }
        for path in others.iter().map(|path| path.as_path()).chain([elsewhere]) {
            assert_eq!(fs::metadata(path).unwrap().uid(), 0, "{}", path.display());
        }
    }
}
