//! One look-up per digest at a time, however many requests wait for it. Never: what is looked up.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use crate::types::KeyDigest;
use crate::types::sync::{Mutex, OnceCell};

use super::SourceTrouble;
use super::cache::Entry;

/// What a look-up found, and the count of commits it is not older than.
#[derive(Clone)]
pub(super) struct Landed {
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) commits: u64,
}

#[derive(Default)]
struct Flight {
    /// Trouble lands, too: else all who wait would try in line, each for as long as the disk hangs.
    landed: OnceCell<Result<Landed, SourceTrouble>>,
    /// How many are on it. Changed only while the list is locked.
    seats: AtomicUsize,
}

/// The look-ups under way; at most one per waiting request, so bounded by the connections.
#[derive(Default)]
pub(super) struct Flights {
    open: Mutex<HashMap<KeyDigest, Arc<Flight>>>,
}

impl Flights {
    /// Waits for the look-up of `digest` that is under way, or makes `read` that look-up.
    pub(super) async fn join(
        &self,
        digest: KeyDigest,
        read: impl Future<Output = Result<Landed, SourceTrouble>>,
    ) -> Result<Landed, SourceTrouble> {
        let seat = Seat { flights: self, digest, flight: self.open(digest) };
        seat.flight.landed.get_or_init(|| read).await.clone()
    }

    fn open(&self, digest: KeyDigest) -> Arc<Flight> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = open.entry(digest).or_default();
        flight.seats.fetch_add(1, Ordering::Relaxed);
        Arc::clone(flight)
    }
}

/// Leaves the flight when dropped, waiting ended or given up. The first to leave one that has landed closes it to
/// newcomers, and so does the last to leave one that has not.
struct Seat<'a> {
    flights: &'a Flights,
    digest: KeyDigest,
    flight: Arc<Flight>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut open = self.flights.open.lock().unwrap_or_else(PoisonError::into_inner);
        let landed = self.flight.landed.initialized();
        let last = self.flight.seats.fetch_sub(1, Ordering::Relaxed) == 1;
        if open.get(&self.digest).is_some_and(|known| Arc::ptr_eq(known, &self.flight)) && (landed || last) {
            open.remove(&self.digest);
        }
    }
}

#[cfg(test)]
impl Flights {
    /// How many look-ups are under way.
    pub(super) fn open_count(&self) -> usize {
        self.open.lock().unwrap().len()
    }
}
