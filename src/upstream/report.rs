//! What became of a request, for the access line, and its settlement with the meter. Never: what was said in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::watch::Now;
use crate::gate::Pass;
use crate::meter::{Course, Progress};
use crate::metrics::{Metrics, Pace, Underway};
use crate::types::{AnswerKind, Ending, Tokens, TokensSource};

/// A rule of thumb for texts whose tokens nobody counted.
pub const BYTES_PER_TOKEN: u64 = 4;

/// What became of a request. Complete when the answer's body has ended or was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The name of the server it went to.
    pub upstream: Option<Arc<str>>,
    /// How it ended. Until it has: [`Ending::ClientGone`], since that is what a dropped request is.
    pub ending: Ending,
    /// What it used and who says so, if an answer began or the server may have worked for one.
    pub tokens: Option<(Tokens, TokensSource)>,
    /// From the call of [`super::Upstreams::relay`] to the head of the answer.
    pub first_byte: Option<Duration>,
    /// How long of that it stood in line for a server, so far; none when it did not.
    pub queued: Option<Duration>,
    /// When a stream's first token came and when it ended; none of what is no stream or said nothing.
    pub pace: Option<Pace>,
}

/// A view of a [`Report`] while it is being written; also of a request whose caller hung up before the answer.
#[derive(Debug, Clone)]
pub struct ReportHandle(Arc<Mutex<Draft>>);

#[derive(Debug)]
struct Draft {
    report: Report,
    /// Since when it stands in line.
    in_line_since: Option<Instant>,
    /// Where it is counted while it does.
    metrics: Option<Arc<Metrics>>,
}

/// Held by a request while it stands in line.
pub(super) struct InLine<'a> {
    report: &'a ReportHandle,
    _counted: Option<Underway>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut draft = self.report.lock();
        draft.report.queued = draft.queued();
        draft.in_line_since = None;
    }
}

impl Draft {
    fn queued(&self) -> Option<Duration> {
        let now = self.in_line_since.map(|since| since.elapsed());
        let all = now.into_iter().chain(self.report.queued);
        all.reduce(|sum, more| sum + more)
    }
}

impl Default for ReportHandle {
    fn default() -> Self {
        Self::of(None)
    }
}

impl ReportHandle {
    /// One of a request that is counted while it stands in line.
    #[must_use]
    pub fn counted(metrics: &Arc<Metrics>) -> Self {
        Self::of(Some(Arc::clone(metrics)))
    }

    fn of(metrics: Option<Arc<Metrics>>) -> Self {
        let report = Report {
            upstream: None,
            ending: Ending::ClientGone,
            tokens: None,
            first_byte: None,
            queued: None,
            pace: None,
        };
        Self(Arc::new(Mutex::new(Draft { report, in_line_since: None, metrics })))
    }

    /// The report as it stands.
    #[must_use]
    pub fn read(&self) -> Report {
        let draft = self.lock();
        Report { queued: draft.queued(), ..draft.report.clone() }
    }

    /// Reads the report as it stands without a copy of it, and how long the request stood in line, so far.
    pub fn with<T>(&self, read: impl FnOnce(&Report, Option<Duration>) -> T) -> T {
        let draft = self.lock();
        read(&draft.report, draft.queued())
    }

    /// How long it stood in line, so far.
    pub(super) fn queued(&self) -> Duration {
        self.lock().queued().unwrap_or_default()
    }

    /// From now on the request stands in line, until the guard is dropped.
    pub(super) fn stands_in_line(&self) -> InLine<'_> {
        let mut draft = self.lock();
        draft.in_line_since = Some(Instant::now());
        let counted = draft.metrics.as_ref().map(|metrics| metrics.stands_in_line());
        drop(draft);
        InLine { report: self, _counted: counted }
    }

    /// Resolves when it stands in line after `long`, or after as long again.
    pub(super) async fn in_line_for(&self, long: Duration) {
        loop {
            sleep(long).await;
            if self.lock().in_line_since.is_some() {
                return;
            }
        }
    }

    fn sent_to(&self, server: &Arc<str>) {
        self.lock().report.upstream = Some(Arc::clone(server));
    }

    /// The answer has begun, and may be shown.
    fn answered_after(&self, wait: Duration) {
        self.lock().report.first_byte = Some(wait);
    }

    fn lock(&self) -> MutexGuard<'_, Draft> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What reading a request of so many bytes may take.
pub(super) fn prompt_estimate(bytes: u64) -> Tokens {
    Tokens { prompt: bytes / BYTES_PER_TOKEN, completion: 0, cached: 0 }
}

/// A pass that is told once how its request ended, and the report that says the same.
pub(super) struct Settlement {
    pass: Pass,
    report: ReportHandle,
    started: Instant,
    /// The bytes of the request while a server has it and no head of an answer came.
    unanswered: Option<u64>,
    answer: Option<AnswerKind>,
    first_token: Option<Duration>,
    is_stream: bool,
    settled: bool,
}

impl Settlement {
    pub(super) fn new(pass: Pass, report: ReportHandle, started: Instant) -> Self {
        let (unanswered, answer, first_token) = (None, None, None);
        Self { pass, report, started, unanswered, answer, first_token, is_stream: false, settled: false }
    }

    pub(super) fn pass(&self) -> &Pass {
        &self.pass
    }

    pub(super) fn report(&self) -> &ReportHandle {
        &self.report
    }

    /// Whether the last word was said.
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// When the request came.
    pub(super) const fn started(&self) -> Instant {
        self.started
    }

    /// Where to tell what was used so far.
    pub(super) fn progress(&self) -> &Progress {
        self.pass.open().progress()
    }

    /// It goes to this server.
    pub(super) fn sent_to(&self, server: &Arc<str>) {
        self.report.sent_to(server);
        self.progress().sent_to(Arc::clone(server));
    }

    /// A request of so many bytes is on its way to a server; none: it was not written after all, or was answered.
    pub(super) fn unanswered(&mut self, bytes: Option<u64>) {
        self.unanswered = bytes;
    }

    /// A server answers, in this way; the head of its answer came then.
    pub(super) fn answered(&mut self, answer: AnswerKind, is_stream: bool, came: Instant) {
        self.unanswered = None;
        self.answer = Some(answer);
        self.is_stream = is_stream;
        self.report.answered_after(came - self.started);
    }

    /// Something of the answer is here; the first word counts.
    pub(super) fn began(&mut self, now: &mut Now) {
        if self.first_token.is_none() {
            self.first_token = Some(now.get() - self.started);
        }
    }

    /// There will be no answer. The server has worked on a prompt that it got, so that is estimated.
    pub(super) fn settle_unanswered(&mut self, ending: Ending) {
        if self.settled {
            return;
        }
        let tokens = self.unanswered.map(|bytes| (prompt_estimate(bytes), TokensSource::Estimated));
        self.settle(tokens, ending, Instant::now());
    }

    /// Only the first word counts.
    pub(super) fn settle(&mut self, tokens: Option<(Tokens, TokensSource)>, ending: Ending, now: Instant) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let (answer, first_token, duration) = (self.answer, self.first_token, now - self.started);
        let pace = first_token.map(|first_token| Pace { first_token, end: duration });
        {
            let report = &mut self.report.lock().report;
            report.tokens = tokens;
            report.ending = ending;
            report.pace = pace.filter(|_| self.is_stream);
        }
        let estimated = tokens.is_some_and(|(_, source)| source == TokensSource::Estimated);
        self.pass.went(Course { estimated, answer, first_token, duration });
        self.pass.settle(tokens.map(|(tokens, _)| tokens), ending);
    }
}

impl Drop for Settlement {
    /// Nobody waits any more.
    fn drop(&mut self) {
        self.settle_unanswered(Ending::ClientGone);
    }
}
