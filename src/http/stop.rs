//! The order to stop, first to finish and then to break off, and those who wait for it. Never: who gives it.

use tokio::sync::watch;

/// How far stopping has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Cutting,
}

/// Tells everything that serves that it is time to stop: first to finish, then to break off.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<Phase>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Running))
    }
}

impl Stop {
    /// From now on nothing new is accepted, and connections end with the answers under way.
    pub fn drain(&self) {
        self.0.send_if_modified(|phase| {
            let first = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            first
        });
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    pub(super) fn cut(&self) {
        self.0.send_replace(Phase::Cutting);
    }

    pub(super) fn watch(&self) -> StopWatch {
        StopWatch(self.0.subscribe())
    }
}

/// One watcher of a [`Stop`].
#[derive(Debug, Clone)]
pub(super) struct StopWatch(watch::Receiver<Phase>);

impl StopWatch {
    pub(super) fn is_draining(&self) -> bool {
        *self.0.borrow() >= Phase::Draining
    }

    /// Resolves when draining begins.
    pub(super) async fn draining(mut self) {
        self.reaches(Phase::Draining).await;
    }

    /// Resolves when what is under way has to break off.
    pub(super) async fn cutting(mut self) {
        self.reaches(Phase::Cutting).await;
    }

    async fn reaches(&mut self, wanted: Phase) {
        // When nobody can stop it any more, it is not stopped.
        if self.0.wait_for(|phase| *phase >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
