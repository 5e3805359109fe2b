//! How often requests came to nothing at one server, by kind. Never: what is done about it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::RelayFault;

/// The words of the kinds.
const KINDS: [&str; 7] =
    ["unreachable", "tls_failed", "broke_off", "invalid", "auth_refused", "timeout", "refused"];

/// The counts, by kind.
#[derive(Debug, Default)]
pub(super) struct Failures([AtomicU64; KINDS.len()]);

impl Failures {
    /// Counts one, if the server is at fault.
    pub(super) fn count(&self, fault: RelayFault) {
        let place = match fault {
            RelayFault::Unreachable => 0,
            RelayFault::TlsFailed => 1,
            RelayFault::BrokeOff => 2,
            RelayFault::Invalid => 3,
            RelayFault::AuthRefused => 4,
            RelayFault::Timeout => 5,
            RelayFault::Refused => 6,
            RelayFault::UnknownModel
            | RelayFault::ModelsNotRead
            | RelayFault::Overloaded { .. }
            | RelayFault::Drained
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
