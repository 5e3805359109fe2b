//! Which server a request goes to next, and the wait while all are busy. Never: what becomes of it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::RelayFault;
use super::catalogue::{Candidate, Catalogue};
use super::report::ReportHandle;
use super::server::{Server, ServerSlot};
use super::slots::{Asker, Slot, Wait};
use super::watch::deadline;

/// What a caller is told to wait, at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The servers that a request may still go to.
pub(super) struct Choice {
    left: Vec<Candidate>,
    asker: Asker,
    /// Which generation of servers it is made among.
    generation: u64,
    /// Those that saw nothing of the request.
    tried: Vec<Arc<Server>>,
    /// Since when the request waits for one that has a slot.
    waits_since: Option<Instant>,
}

/// A server with a slot for the request, and what the model is called there.
pub(super) struct Chosen {
    pub(super) slot: ServerSlot,
    pub(super) candidate: Candidate,
}

impl Choice {
    /// Among servers that were taken from a catalogue when it was of that generation.
    pub(super) fn new(candidates: Vec<Candidate>, asker: Asker, generation: u64) -> Self {
        Self { left: candidates, asker, generation, tried: Vec::new(), waits_since: None }
    }

    /// Chooses anew, among all that have the model now and saw nothing of the request yet, when the servers were
    /// replaced meanwhile; says whether there are any.
    pub(super) fn renew(&mut self, catalogue: &Catalogue, model: &str) -> bool {
        let generation = catalogue.generation();
        if std::mem::replace(&mut self.generation, generation) == generation {
            return false;
        }
        let mut left = catalogue.candidates(model).unwrap_or_default();
        left.retain(|one| !self.tried.iter().any(|tried| Arc::ptr_eq(tried, &one.server)));
        self.left = left;
        !self.left.is_empty()
    }

    /// A server saw nothing of the request, and is not asked again.
    pub(super) fn tried(&mut self, server: Arc<Server>) {
        self.tried.push(server);
    }

    /// Whether no server is left.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// One that has a slot now. As long as some are well, it is one of them.
    pub(super) fn free(&mut self) -> Option<Chosen> {
        let preferred = self.sort();
        self.free_among(0..preferred)
    }

    /// One that has a slot, as soon as it has; in line at all that are well, or else at all. Where there is no place in
    /// line, or nothing comes of it, one that is not well will do.
    ///
    /// # Errors
    /// [`RelayFault::Overloaded`].
    pub(super) async fn wait(&mut self, report: &ReportHandle) -> Result<Chosen, RelayFault> {
        let preferred = self.sort();
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        if let Some(slot) = self.in_line(preferred, since, report).await
            && let Some(at) = self.left.iter().position(|one| slot.is_of(&one.server.slots))
        {
            return Ok(self.choose(at, slot));
        }
        let retry_after = self.backlog(preferred);
        self.free_among(preferred..self.left.len()).ok_or(RelayFault::Overloaded { retry_after })
    }

    async fn in_line(&self, preferred: usize, since: Instant, report: &ReportHandle) -> Option<Slot> {
        let servers = || self.left.iter().take(preferred).map(|one| &one.server);
        let wait = Wait::begin(self.asker, servers().map(|server| &server.slots)).ok()?;
        let longest = servers().map(|server| server.queue_timeout).max().unwrap_or_default();
        let _in_line = report.stands_in_line();
        timeout_at(deadline(since, longest), wait).await.ok()?.ok()
    }

    /// Puts those first that are well, the least busy before the others; says how many there are, or all if none is
    /// well. After them come those that failed a moment ago, and last those known to be down.
    fn sort(&mut self) -> usize {
        if self.left.len() < 2 {
            return self.left.len();
        }
        self.left.sort_by_cached_key(|Candidate { server, .. }| {
            (server.is_down(), server.is_shunned(), server.slots.in_flight())
        });
        let ill = |one: &Candidate| one.server.is_down() || one.server.is_shunned();
        match self.left.iter().position(ill) {
            None | Some(0) => self.left.len(),
            Some(well) => well,
        }
    }

    fn free_among(&mut self, mut range: std::ops::Range<usize>) -> Option<Chosen> {
        let (at, slot) =
            range.find_map(|at| Some((at, self.left.get(at)?.server.slots.take(self.asker)?)))?;
        Some(self.choose(at, slot))
    }

    fn choose(&mut self, at: usize, slot: Slot) -> Chosen {
        self.waits_since = None;
        let candidate = self.left.remove(at);
        Chosen { slot: ServerSlot::new(Arc::clone(&candidate.server), slot), candidate }
    }

    /// When it makes sense to ask again.
    fn backlog(&self, preferred: usize) -> Duration {
        let backlogs = self.left.iter().take(preferred).filter_map(|one| one.server.slots.backlog());
        backlogs.min().unwrap_or_default().clamp(RETRY.0, RETRY.1)
    }
}
