//! From an older format to the present one, after a copy of the file has been made. Never: back to an older one.

use std::io;
use std::path::{Path, PathBuf};

use ::redb::{Database, WriteTransaction};

use super::create::{self, Directory};
use super::open::OpenError;
use super::row::{FORMAT, Sentinel};

/// One step: from format `from` to the next one.
pub(super) struct Migration {
    pub(super) from: u32,
    pub(super) step: fn(&WriteTransaction) -> Result<(), ::redb::Error>,
}

/// The formats that can be opened.
#[derive(Clone, Copy)]
pub(super) struct Formats {
    pub(super) newest: u32,
    pub(super) migrations: &'static [Migration],
}

/// What this version of Ember can open. Format 1 was the first.
pub(super) const FORMATS: Formats = Formats { newest: FORMAT, migrations: &[] };

impl Formats {
    pub(super) fn is_old(self, sentinel: Sentinel) -> bool {
        sentinel.format < self.newest
    }

    /// Copies a file that nobody writes to `<name>.before-format-<newest>`.
    pub(super) fn keep_copy(self, path: &Path) -> Result<PathBuf, OpenError> {
        let mut copy = path.as_os_str().to_os_string();
        copy.push(format!(".before-format-{}", self.newest));
        let copy = PathBuf::from(copy);
        let directory = Directory::lock(path)?;
        let draft = create::draft_of(&copy);
        create::discard(&draft)?;
        let mut target = create::new_file(&draft)?;
        let copied = std::fs::File::open(path)
            .and_then(|mut source| io::copy(&mut source, &mut target))
            .and_then(|_| target.sync_all())
            .and_then(|()| std::fs::rename(&draft, &copy));
        copied.map_err(|error| OpenError::io(&copy, error))?;
        directory.sync(&copy)?;
        Ok(copy)
    }

    /// All steps in one commit.
    pub(super) fn migrate(
        self,
        database: &Database,
        sentinel: Sentinel,
        path: &Path,
    ) -> Result<(), OpenError> {
        let broken = |error: ::redb::Error| OpenError::engine(path, error);
        let write = create::begin_write(database).map_err(broken)?;
        for format in sentinel.format..self.newest {
            let Some(migration) = self.migrations.iter().find(|migration| migration.from == format) else {
                return Err(OpenError::foreign(path, &format!("there never was a format {format}")));
            };
            (migration.step)(&write).map_err(broken)?;
        }
        create::put_sentinel_of(&write, self.newest, sentinel.birth).map_err(broken)?;
        write.commit().map_err(|error| broken(error.into()))
    }
}
