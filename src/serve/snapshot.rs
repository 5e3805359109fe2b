//! A whole copy of the store in a file that has no name any more: gone with its last reader. Never: where it goes.

use std::fs::{self, File};

use crate::admin::AdminError;
use crate::store::RedbStore;
use crate::types::{Random, RequestId};

use super::data_dir::DataDir;
use super::machine::{MachineRandom, SystemClock};
use crate::types::Clock as _;

/// A copy that is being made; nobody else's file is called so.
const PREFIX: &str = ".ember-copy-";

/// Takes away what a killed process had begun. Whoever holds the store's lock may: nobody else copies it.
pub(super) fn clear(dir: &DataDir) {
    let Ok(entries) = fs::read_dir(dir.path()) else { return };
    let names = entries.flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()).filter(|name| name.starts_with(PREFIX)) {
        match fs::remove_file(dir.file(&name)) {
            Ok(()) => tracing::debug!(name, "removed a copy that was not finished"),
            Err(error) => tracing::warn!(name, %error, "a copy that was not finished can't be removed"),
        }
    }
}

/// Makes a verified copy beside the store and takes its name away.
pub(super) fn take(store: &RedbStore, dir: &DataDir) -> Result<File, AdminError> {
    let random: &dyn Random = &MachineRandom::new();
    let id = RequestId::generate(SystemClock.now(), random).map_err(unavailable)?;
    let path = dir.file(&format!("{PREFIX}{id}.tmp"));
    let made =
        store.snapshot_to(&path).map_err(unavailable).and_then(|_| File::open(&path).map_err(unavailable));
    // The open file stays readable; on an error there may be nothing to remove.
    let _ = fs::remove_file(&path);
    made
}

fn unavailable(error: impl std::fmt::Display) -> AdminError {
    AdminError::unavailable(format!("the store could not be copied: {error}"))
}
