//! What became of a request, for the access line, and its settlement with the meter. Never: what was said in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::gate::Pass;
use crate::types::{Ending, Tokens, TokensSource};

/// What became of a request. Complete when the answer's body has ended or was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The name of the server it went to.
    pub upstream: Option<String>,
    /// How it ended. Until it has: [`Ending::ClientGone`], since that is what a dropped request is.
    pub ending: Ending,
    /// What it used and who says so, if an answer began.
    pub tokens: Option<(Tokens, TokensSource)>,
    /// From the call of [`super::Upstreams::relay`] to the head of the answer.
    pub first_byte: Option<Duration>,
}

/// A view of a [`Report`] while it is being written; also of a request whose caller hung up before the answer.
#[derive(Debug, Clone)]
pub struct ReportHandle(Arc<Mutex<Report>>);

impl Default for ReportHandle {
    fn default() -> Self {
        let blank = Report { upstream: None, ending: Ending::ClientGone, tokens: None, first_byte: None };
        Self(Arc::new(Mutex::new(blank)))
    }
}

impl ReportHandle {
    /// The report as it stands.
    #[must_use]
    pub fn read(&self) -> Report {
        self.lock().clone()
    }

    pub(super) fn sent_to(&self, server: &str) {
        self.lock().upstream = Some(server.to_string());
    }

    pub(super) fn answered_after(&self, wait: Duration) {
        self.lock().first_byte = Some(wait);
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pass that is told once how its request ended, and the report that says the same.
pub(super) struct Settlement {
    pass: Pass,
    report: ReportHandle,
    settled: bool,
}

impl Settlement {
    pub(super) fn new(pass: Pass, report: ReportHandle) -> Self {
        Self { pass, report, settled: false }
    }

    pub(super) fn pass(&self) -> &Pass {
        &self.pass
    }

    pub(super) fn report(&self) -> &ReportHandle {
        &self.report
    }

    /// Only the first word counts.
    pub(super) fn settle(&mut self, tokens: Option<(Tokens, TokensSource)>, ending: Ending) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        {
            let mut report = self.report.lock();
            report.tokens = tokens;
            report.ending = ending;
        }
        self.pass.settle(tokens.map(|(tokens, _)| tokens), ending);
    }
}
