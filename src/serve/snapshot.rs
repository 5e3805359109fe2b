//! A whole copy of the store in a file that has no name any more: gone with its last reader. Never: where it goes.

use std::fs::{self, File};

use crate::admin::AdminError;
use crate::store::RedbStore;
use crate::types::{Random, RequestId};

use super::data_dir::DataDir;
use super::machine::{MachineRandom, SystemClock};
use crate::types::Clock as _;

/// Makes a verified copy beside the store and takes its name away.
pub(super) fn take(store: &RedbStore, dir: &DataDir) -> Result<File, AdminError> {
    let random: &dyn Random = &MachineRandom::new();
    let id = RequestId::generate(SystemClock.now(), random).map_err(unavailable)?;
    let path = dir.file(&format!("snapshot-{id}.tmp"));
    let made =
        store.snapshot_to(&path).map_err(unavailable).and_then(|_| File::open(&path).map_err(unavailable));
    // The open file stays readable; on an error there may be nothing to remove.
    let _ = fs::remove_file(&path);
    made
}

fn unavailable(error: impl std::fmt::Display) -> AdminError {
    AdminError::unavailable(format!("the store could not be copied: {error}"))
}
