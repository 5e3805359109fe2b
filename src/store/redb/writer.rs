//! The one thread that writes: takes what waits as a group, makes it durable, tells and acknowledges; after an
//! error of the disk, closes and reopens. Never: recreates or removes a file because of an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redb::Database;

use super::StoreOptions;
use super::ballast::Ballast;
use super::group::{self, Stop, Verdict};
use super::migration::FORMATS;
use super::open::{Held, OpenError, Source};
use super::row::Birth;
use super::shared::Shared;
use crate::store::{Commit, CommitError, Trouble, Urgency};
use crate::types::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

/// How many jobs may wait; whoever comes then waits outside.
pub(super) const QUEUE_MAX: usize = 1024;

/// How many commits become durable together.
const GROUP_MAX: usize = 256;

pub(super) enum Job {
    Commit(Waiting),
    /// A reader met an error of the disk while the database had this generation.
    Ailing(u64),
    /// Nothing to do but to show that jobs are done.
    Turn,
}

/// A commit, and whoever waits for it.
pub(super) struct Waiting {
    pub(super) commit: Commit,
    /// Has room for one answer, which is all that is ever sent to someone who waits.
    pub(super) reply: SyncSender<Verdict>,
}

impl Waiting {
    fn answer(&self, verdict: Verdict) {
        // Nobody waits any more, or has been told that it is not known: both are fine.
        drop(self.reply.try_send(verdict));
    }
}

pub(super) struct Writer {
    jobs: Receiver<Job>,
    shared: Arc<Shared>,
    source: Source,
    options: StoreOptions,
    ballast: Ballast,
    birth: Birth,
    /// A group of which it is not known whether it is there.
    unresolved: Option<(Vec<Waiting>, Vec<Verdict>)>,
    /// While the database is down: when to try to open it, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

impl Writer {
    pub(super) fn new(
        jobs: Receiver<Job>,
        shared: Arc<Shared>,
        source: Source,
        options: StoreOptions,
        ballast: Ballast,
        birth: Birth,
    ) -> Self {
        Self { jobs, shared, source, options, ballast, birth, unresolved: None, retry: None }
    }

    /// Works until nobody can send jobs any more, then closes the database.
    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Ok(Job::Commit(first)) => match self.shared.down() {
                    Some(trouble) => first.answer(Err(trouble.into())),
                    None => {
                        let group = self.gather(first);
                        self.carry_out(group);
                    }
                },
                Ok(Job::Ailing(generation)) => {
                    if generation == self.shared.generation() && self.retry.is_none() {
                        self.take_down("reading failed");
                        drop(self.reopen());
                    }
                }
                Ok(Job::Turn) => {}
                Err(RecvTimeoutError::Timeout) => drop(self.reopen()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.shared.pulse.turned();
        }
        self.take_down("the store is closed");
    }

    /// Waits for a job, or until it is time to try to open the database.
    fn next(&self) -> Result<Job, RecvTimeoutError> {
        let Some((at, _)) = self.retry else {
            return self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected);
        };
        match at.checked_duration_since(Instant::now()) {
            Some(left) => self.jobs.recv_timeout(left),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// A reader's complaint among the commits is dropped: the commits meet the same error.
    fn gather(&self, first: Waiting) -> Vec<Waiting> {
        let others = self.jobs.try_iter().filter_map(|job| match job {
            Job::Commit(waiting) => Some(waiting),
            Job::Ailing(_) | Job::Turn => None,
        });
        std::iter::once(first).chain(others).take(GROUP_MAX).collect()
    }

    fn carry_out(&mut self, mut group: Vec<Waiting>) {
        if self.shared.pulse.at_disk(|| self.ballast.is_short()) {
            group = refuse_ordinary(group);
        }
        self.attempt(group, true);
    }

    /// `again` says whether denials that met a full disk are tried once more.
    fn attempt(&mut self, group: Vec<Waiting>, again: bool) {
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let commits = group.iter().map(|waiting| &waiting.commit);
        let outcome = self.shared.pulse.at_disk(|| group::apply(&self.shared, commits));
        if outcome.as_ref().map_or(true, |verdicts| verdicts.iter().any(Result::is_ok)) {
            self.shared.commit_took(began.elapsed(), outcome.is_ok());
        }
        match outcome {
            Ok(verdicts) => self.finish(&group, verdicts),
            Err(stop) => self.recover(group, stop, again),
        }
    }

    /// Observers first, then whoever waits, commit by commit.
    fn finish(&self, group: &[Waiting], verdicts: Vec<Verdict>) {
        for (waiting, verdict) in group.iter().zip(verdicts) {
            if verdict.is_ok() {
                self.shared.tell(&waiting.commit.writes);
            }
            waiting.answer(verdict);
        }
    }

    /// After an error: reopens, and finds out whether the group is there.
    fn recover(&mut self, group: Vec<Waiting>, stop: Stop, again: bool) {
        self.take_down(&stop.why);
        if stop.full {
            self.shared.pulse.at_disk(|| self.ballast.release());
        }
        let unknown = |group: &[Waiting], why: &str| {
            for waiting in group {
                waiting.answer(Err(Trouble::Unavailable(why.to_string()).into()));
            }
        };
        let group = match stop.asked {
            None => Some(group),
            Some(verdicts) => {
                self.unresolved = Some((group, verdicts));
                None
            }
        };
        let lost = self.reopen();
        if let Some((group, _)) = &self.unresolved {
            return unknown(group, &stop.why);
        }
        let Some(group) = group.or(lost) else { return };
        if self.retry.is_some() || !stop.full {
            return unknown(&group, &stop.why);
        }
        let denials = refuse_ordinary(group);
        if again {
            self.attempt(denials, false);
        } else {
            denials.iter().for_each(|waiting| waiting.answer(Err(CommitError::Full)));
        }
    }

    /// Takes the database away from everyone and closes it.
    fn take_down(&mut self, why: &str) {
        if let Some(database) = self.shared.put_down(why) {
            let close = || catch_unwind(AssertUnwindSafe(|| database.close()));
            let closed = self.shared.pulse.at_disk(close);
            tracing::debug!(clean = matches!(closed, Ok(Ok(()))), why, "the store is closed");
        }
    }

    /// Opens the database again, or sets the time of the next try. Returns the group that was not resolved, if it
    /// has turned out not to be there; if it is there, it is finished.
    fn reopen(&mut self) -> Option<Vec<Waiting>> {
        let shared = Arc::clone(&self.shared);
        match shared.pulse.at_disk(|| self.open_and_look()) {
            Ok((database, there)) => {
                self.retry = None;
                let unresolved = self.unresolved.take();
                self.shared.put_up(database);
                tracing::warn!("the store was reopened after an error");
                let (group, verdicts) = unresolved?;
                if there {
                    self.finish(&group, verdicts);
                    return None;
                }
                Some(group)
            }
            Err(error) => {
                let wait = self.retry.map_or(self.options.reopen_wait, |(_, wait)| wait);
                tracing::error!(%error, "the store can't be reopened yet");
                self.shared.put_down(&error.to_string());
                let longer = wait.saturating_mul(2).min(self.options.reopen_wait_max);
                self.retry = Some((Instant::now() + wait, longer));
                None
            }
        }
    }

    fn open_and_look(&mut self) -> Result<(Database, bool), OpenError> {
        let database = match self.open_same() {
            Err(error) if error.is_full() && self.ballast.release() => self.open_same(),
            opened => opened,
        }?;
        let Some((group, verdicts)) = &self.unresolved else { return Ok((database, false)) };
        let commits = group.iter().map(|waiting| &waiting.commit).zip(verdicts);
        let there = super::open::contained(&self.source.path, || {
            group::is_there(&database, commits).map_err(|error| OpenError::engine(&self.source.path, error))
        })?;
        Ok((database, there))
    }

    /// The same store as before, and no other that may have come to lie there.
    fn open_same(&self) -> Result<Database, OpenError> {
        let held = Held::open(&self.source, &self.options)?;
        if held.sentinel(FORMATS.newest)?.birth != self.birth {
            return Err(OpenError::foreign(&self.source.path, "it was replaced by another store"));
        }
        held.let_through()
    }
}

/// Answers all but denials that the disk is full.
fn refuse_ordinary(group: Vec<Waiting>) -> Vec<Waiting> {
    let (denials, ordinary): (Vec<_>, Vec<_>) =
        group.into_iter().partition(|waiting| match waiting.commit.urgency {
            Urgency::Denial => true,
            Urgency::Ordinary => false,
        });
    ordinary.iter().for_each(|waiting| waiting.answer(Err(CommitError::Full)));
    denials
}
