//! Runs a compaction and tells meanwhile how far it is. Never: how pages are moved.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::store::{self, CompactStep, Compacted, OpenError};

use super::ServeFault;
use super::data_dir::DataDir;

/// How often the file's length is told.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// Compacts the store in a directory. `told` hears the step and the file's bytes.
pub(super) fn run(data: &Path, told: &mut dyn FnMut(CompactStep, u64)) -> Result<Compacted, ServeFault> {
    let dir = DataDir::take(data, false)?;
    let file = dir.file(DataDir::DATABASE);
    let bytes = || file.metadata().map_or(0, |facts| facts.len());
    let (say, steps) = channel();
    let compacted = thread::scope(|scope| {
        let say = move |step| {
            // Whoever listened is gone when this is over.
            let _ = say.send(step);
        };
        let working = scope.spawn(|| store::compact(&file, say));
        let mut current = CompactStep::Reading;
        loop {
            match steps.recv_timeout(TELL_EVERY) {
                Ok(step) => current = step,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            told(current, bytes());
        }
        working.join()
    });
    let compacted = compacted.unwrap_or_else(|_| {
        let why = "what it says about itself can't be".to_string();
        Err(OpenError::Damaged { path: file.clone(), why })
    })?;
    dir.hand_over();
    Ok(compacted)
}
