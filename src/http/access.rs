//! The access line: one for each request, when its last byte is handed over or it is given up; the metrics count the
//! same. Never: a key, a prompt, a raw path.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::metrics::{Ended, Metrics, Model, Underway};
use crate::types::{AccountId, Ending, KeyId, Timestamp};
use crate::upstream::{Report, ReportHandle};

/// What is known of a request; printed when dropped.
pub(super) struct Access {
    began: Instant,
    pub(super) request_id: String,
    pub(super) method: Method,
    pub(super) route: &'static str,
    pub(super) peer: std::net::IpAddr,
    pub(super) key: Option<KeyId>,
    pub(super) account: Option<AccountId>,
    /// When the secret that was brought stops, where a newer one is in its place.
    pub(super) old_until: Option<Timestamp>,
    pub(super) model: Option<String>,
    /// Whether the catalogue has that model. Only then may its name be a label of metrics.
    pub(super) model_is_known: bool,
    /// What the GenAI conventions call what is asked of a model.
    pub(super) operation: Option<&'static str>,
    pub(super) status: Option<StatusCode>,
    /// The word of the refusal, if it is one.
    pub(super) code: Option<&'static str>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: u64,
    pub(super) report: Option<ReportHandle>,
    /// How it ended, where no relay says so.
    pub(super) ending: Ending,
    /// Ember's own share of the time until the answer began, where it was relayed.
    pub(super) overhead: Option<Duration>,
    /// How long its body was waited for: that is the caller's doing.
    pub(super) body_took: Duration,
    metrics: Arc<Metrics>,
    _underway: Underway,
}

impl Access {
    pub(super) fn begin(
        request_id: String,
        method: Method,
        peer: std::net::IpAddr,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            began: Instant::now(),
            request_id,
            method,
            route: "-",
            peer,
            key: None,
            account: None,
            old_until: None,
            model: None,
            model_is_known: false,
            operation: None,
            status: None,
            code: None,
            bytes_in: 0,
            bytes_out: 0,
            report: None,
            ending: Ending::ClientGone,
            overhead: None,
            body_took: Duration::ZERO,
            metrics: Arc::clone(metrics),
            _underway: metrics.request_began(),
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for the request's body.
    pub(super) async fn reading<T>(&mut self, body: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let read = body.await;
        self.body_took += began.elapsed();
        read
    }

    fn count(&self, report: Option<&Report>, ending: Ending, took: Duration) {
        let model = match &self.model {
            None => Model::None,
            Some(name) if self.model_is_known => Model::Known(name),
            Some(_) => Model::Unknown,
        };
        self.metrics.request_ended(&Ended {
            route: self.route,
            operation: self.operation,
            model,
            upstream: report.and_then(|report| report.upstream.as_deref()),
            status: self.status.map(|status| status.as_u16()),
            code: self.code,
            ending,
            took,
            overhead: self.overhead,
            queued: report.and_then(|report| report.queued),
            stream: report.and_then(|report| report.pace),
            tokens: report.and_then(|report| report.tokens),
        });
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let report = self.report.as_ref().map(ReportHandle::read);
        let counted = report.as_ref().and_then(|report| report.tokens);
        let tokens = counted.map(|(tokens, _)| tokens);
        let queued = report.as_ref().and_then(|report| report.queued);
        let first_byte = report.as_ref().and_then(|report| report.first_byte);
        let ending = report.as_ref().map_or(self.ending, |report| report.ending);
        let took = self.elapsed();
        self.count(report.as_ref(), ending, took);
        tracing::info!(
            target: "access",
            request_id = self.request_id,
            peer = %self.peer,
            method = known(&self.method),
            route = self.route,
            status = self.status.map(|status| status.as_u16()),
            code = self.code,
            key = self.key.map(|key| key.to_string()),
            account = self.account.map(|account| account.to_string()),
            model = self.model,
            upstream = report.as_ref().and_then(|report| report.upstream.as_deref()),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            prompt_tokens = tokens.map(|tokens| tokens.prompt),
            completion_tokens = tokens.map(|tokens| tokens.completion),
            cached_tokens = tokens.map(|tokens| tokens.cached),
            tokens_source = counted.map(|(_, source)| source.as_str()),
            queued_ms = queued.map(millis),
            first_byte_ms = first_byte.map(millis),
            duration_ms = millis(took),
            ending = ending.as_str(),
            "request"
        );
    }
}

/// A method of RFC 9110 or 5789 by its name: another may be any word, a key among them.
fn known(method: &Method) -> &str {
    let all = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    if all.contains(method) { method.as_str() } else { "other" }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
