//! How often requests came to nothing at one server, by kind. Never: what is done about it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::RelayFault;

/// The words of the kinds.
const KINDS: [&str; 6] = ["unreachable", "broke_off", "invalid", "auth_refused", "timeout", "refused"];

/// The counts, by kind.
#[derive(Debug, Default)]
pub(super) struct Failures([AtomicU64; KINDS.len()]);

impl Failures {
    /// Counts one, if the server is at fault.
    pub(super) fn count(&self, fault: RelayFault) {
        let place = match fault {
            RelayFault::Unreachable => 0,
            RelayFault::BrokeOff => 1,
            RelayFault::Invalid => 2,
            RelayFault::AuthRefused => 3,
            RelayFault::Timeout => 4,
            RelayFault::Refused => 5,
            RelayFault::UnknownModel
            | RelayFault::ModelsNotRead
            | RelayFault::Overloaded { .. }
            | RelayFault::Cut(_)
            | RelayFault::Stopped => return,
        };
        self.0[place].fetch_add(1, Ordering::Relaxed);
    }

    /// All kinds, those that never came included.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        KINDS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }
}
