//! The order to stop, first to finish and then to break off, and those who wait for it. Never: who gives it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::upstream::{StopSignal, StopSource};

/// How far stopping has come: 0 is not at all.
const DRAINING: u8 = 1;
const CUTTING: u8 = 2;

/// Tells everything that serves that it is time to stop: first to finish, then to break off.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    phase: AtomicU8,
    ears: Notify,
}

impl Stop {
    /// From now on nothing new is accepted, and connections end with the answers under way.
    pub fn drain(&self) {
        self.0.comes_to(DRAINING);
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.is_at(DRAINING)
    }

    pub(super) fn cut(&self) {
        self.0.comes_to(CUTTING);
    }

    pub(super) fn watch(&self) -> StopWatch {
        StopWatch(Arc::clone(&self.0))
    }
}

/// One watcher of a [`Stop`].
#[derive(Debug, Clone)]
pub(super) struct StopWatch(Arc<State>);

impl StopWatch {
    pub(super) fn is_draining(&self) -> bool {
        self.0.is_at(DRAINING)
    }

    /// Whether what is under way has to break off.
    pub(super) fn is_cutting(&self) -> bool {
        self.0.is_at(CUTTING)
    }

    /// Resolves when draining begins.
    pub(super) async fn draining(self) {
        self.0.reaches(DRAINING).await;
    }

    /// The same, for those that ask only when they take a while.
    pub(super) fn source(self) -> Arc<dyn StopSource> {
        self.0
    }

    /// Resolves when what is under way has to break off.
    pub(super) async fn cutting(self) {
        self.0.reaches(CUTTING).await;
    }
}

impl StopSource for State {
    fn stopped(self: Arc<Self>) -> StopSignal {
        Box::pin(StopWatch(self).cutting())
    }
}

impl State {
    fn is_at(&self, phase: u8) -> bool {
        self.phase.load(Ordering::Acquire) >= phase
    }

    fn comes_to(&self, phase: u8) {
        if self.phase.fetch_max(phase, Ordering::AcqRel) < phase {
            self.ears.notify_waiters();
        }
    }

    async fn reaches(&self, phase: u8) {
        loop {
            // Listens before it looks, so that nothing is missed in between.
            let mut next = pin!(self.ears.notified());
            next.as_mut().enable();
            if self.is_at(phase) {
                return;
            }
            next.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_heard_whenever_one_begins_to_listen_and_never_goes_back() {
        let stop = Stop::default();
        let (drains, cuts) = (tokio::spawn(stop.watch().draining()), tokio::spawn(stop.watch().cutting()));
        tokio::task::yield_now().await;
        assert!(!stop.is_draining() && !stop.watch().is_cutting());
        stop.drain();
        drains.await.unwrap();
        assert!(stop.is_draining() && !stop.watch().is_cutting() && !cuts.is_finished());
        stop.cut();
        cuts.await.unwrap();
        stop.drain();
        assert!(stop.watch().is_cutting());
        stop.watch().draining().await;
        stop.watch().cutting().await;
    }
}
