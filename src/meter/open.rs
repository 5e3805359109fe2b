//! Requests under way: whose they are and what they have used so far. Never: when they are written down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::types::{AccountId, Ending, KeyId, Timestamp, Tokens};

use super::figures::{Course, Use};
use super::line::{Name, Owner};
use super::{Meter, record::OpenRow};

/// A request under way. Counts it once, when it is settled or dropped.
pub struct OpenUse {
    meter: Arc<Meter>,
    number: u64,
    key: KeyId,
    account: AccountId,
    progress: Progress,
    course: Course,
    settled: bool,
}

/// What a request under way has used so far; may be told from wherever the request is.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Underway>);

#[derive(Debug)]
struct Underway {
    owner: Owner,
    began: Timestamp,
    route: Mutex<Route>,
    prompt: AtomicU64,
    completion: AtomicU64,
    cached: AtomicU64,
    /// Whether it may stand in the store as open.
    listed: AtomicBool,
}

#[derive(Debug, Clone, Default)]
struct Route {
    model: Name,
    upstream: Name,
}

impl OpenUse {
    pub(super) fn new(
        meter: Arc<Meter>,
        number: u64,
        key: KeyId,
        account: AccountId,
        progress: Progress,
    ) -> Self {
        Self { meter, number, key, account, progress, course: Course::default(), settled: false }
    }

    /// Where to tell what it has used so far.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Says how it went; before it is settled.
    pub fn went(&mut self, course: Course) {
        self.course = course;
    }

    /// Says what the request used and how it ended; only the first word counts. The time it is counted by.
    pub fn settle(&mut self, tokens: Option<Tokens>, ending: Ending) -> Option<Timestamp> {
        if std::mem::replace(&mut self.settled, true) {
            return None;
        }
        let Route { model, upstream } = self.progress.route().clone();
        let (key, account, course) = (self.key, self.account, self.course);
        let used = Use { key, account, model, upstream, tokens, ending, course };
        Some(self.meter.close(self.number, &self.progress, used))
    }
}

impl Drop for OpenUse {
    /// A request dropped without a word is one whose caller went away.
    fn drop(&mut self) {
        self.settle(None, Ending::ClientGone);
    }
}

impl Progress {
    pub(super) fn new(owner: Owner, began: Timestamp) -> Self {
        Self(Arc::new(Underway {
            owner,
            began,
            route: Mutex::default(),
            prompt: AtomicU64::new(0),
            completion: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            listed: AtomicBool::new(false),
        }))
    }

    /// The model is served, under this public name. Until this is said, the request is counted for no model: a caller
    /// can't make rows with names of his own.
    pub fn is_for(&self, model: impl Into<Arc<str>>) {
        let model = model.into();
        self.route().model = Some(model);
    }

    /// It is being sent to this model server.
    pub fn sent_to(&self, upstream: impl Into<Arc<str>>) {
        let upstream = upstream.into();
        self.route().upstream = Some(upstream);
    }

    /// What it has used until now, counted or estimated.
    pub fn used(&self, tokens: Tokens) {
        self.0.prompt.store(tokens.prompt, Ordering::Relaxed);
        self.0.completion.store(tokens.completion, Ordering::Relaxed);
        self.0.cached.store(tokens.cached, Ordering::Relaxed);
    }

    /// From now on it may stand in the store as open. Told while the meter's state is locked.
    pub(super) fn list(&self) {
        self.0.listed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_listed(&self) -> bool {
        self.0.listed.load(Ordering::Relaxed)
    }

    /// As it is written down.
    pub(super) fn row(&self, seen: Timestamp) -> OpenRow {
        let Route { model, upstream } = self.route().clone();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (prompt, completion) = (of(&self.0.prompt), of(&self.0.completion));
        let tokens = Tokens { prompt, completion, cached: of(&self.0.cached) };
        OpenRow { owner: self.0.owner, model, upstream, began: self.0.began, seen, tokens }
    }

    fn route(&self) -> MutexGuard<'_, Route> {
        self.0.route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
