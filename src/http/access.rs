//! The access line: one for each request, when its last byte is handed over or it is given up; the metrics count the
//! same. Never: a key, a prompt, a raw path.

mod line;
mod log;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use crate::metrics::{Ended, Model, Request};
use crate::types::{AccountId, Ending, KeyId, Timestamp};
use crate::upstream::{Report, ReportHandle};

pub use line::Look;
pub use log::{AccessLog, TakeLine};

use super::service::Parts;
use line::Line;

/// What is known of a request; its line is written when it is dropped.
pub(super) struct Access {
    began: Instant,
    request_id: HeaderValue,
    pub(super) method: Method,
    pub(super) route: &'static str,
    pub(super) peer: std::net::IpAddr,
    pub(super) key: Option<KeyId>,
    pub(super) account: Option<AccountId>,
    /// When the secret that was brought stops, where a newer one is in its place.
    pub(super) old_until: Option<Timestamp>,
    pub(super) model: Option<Arc<str>>,
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
    body_took: Duration,
    log: Arc<AccessLog>,
    counted: Request,
}

impl Access {
    pub(super) fn begin(
        request_id: HeaderValue,
        method: Method,
        peer: std::net::IpAddr,
        parts: &Parts,
    ) -> Box<Self> {
        Box::new(Self {
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
            log: Arc::clone(&parts.log),
            counted: Request::begin(&parts.metrics),
        })
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for the request's body, where it is not there yet.
    pub(super) async fn reading<T>(&mut self, mut body: Pin<&mut impl Future<Output = T>>) -> T {
        if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(body.as_mut().poll(cx))).await {
            return read;
        }
        let began = Instant::now();
        let read = body.await;
        self.body_took += began.elapsed();
        read
    }

    /// An answer goes out. Gives how long Ember itself was at work so far; none when a model server was waited for and
    /// nobody knows how long.
    pub(super) fn answered(&mut self, status: StatusCode) -> Option<Duration> {
        self.status = Some(status);
        let (waited, is_relayed) = match &self.report {
            None => (Some(Duration::ZERO), false),
            Some(report) => report.with(|report, queued| match (report.first_byte, &report.upstream) {
                (Some(waited), _) => (Some(waited), true),
                (None, Some(_)) => (None, false),
                (None, None) => (Some(queued.unwrap_or_default()), false),
            }),
        };
        let own = self.elapsed().saturating_sub(self.body_took);
        let own = waited.map(|waited| own.saturating_sub(waited));
        self.overhead = own.filter(|_| is_relayed);
        own
    }

    /// The id as text.
    pub(super) fn request_id(&self) -> &str {
        // Only letters, digits, dots, dashes and underscores pass as an id.
        self.request_id.to_str().unwrap_or_default()
    }

    /// The line, and the same in the metrics.
    fn ended(&self, report: Option<&Report>, queued: Option<Duration>) {
        let ending = report.map_or(self.ending, |report| report.ending);
        let took = self.elapsed();
        let upstream = report.and_then(|report| report.upstream.as_deref());
        let tokens = report.and_then(|report| report.tokens);
        let status = self.status.map(|status| status.as_u16());
        self.counted.ended(&Ended {
            route: self.route,
            operation: self.operation,
            model: self.asked(),
            upstream,
            status,
            code: self.code,
            ending,
            took,
            overhead: self.overhead,
            queued,
            stream: report.and_then(|report| report.pace),
            tokens,
        });
        if !self.log.is_on() {
            return;
        }
        self.log.write(&Line {
            request_id: self.request_id.as_bytes(),
            peer: self.peer,
            method: known(&self.method),
            route: self.route,
            status,
            code: self.code,
            key: self.key,
            account: self.account,
            model: self.model.as_deref(),
            upstream,
            bytes_in: self.bytes_in as u64,
            bytes_out: self.bytes_out,
            tokens,
            queued_ms: queued.map(millis),
            first_byte_ms: report.and_then(|report| report.first_byte).map(millis),
            duration_ms: millis(took),
            ending,
        });
    }

    fn asked(&self) -> Model<'_> {
        match &self.model {
            None => Model::None,
            Some(name) if self.model_is_known => Model::Known(name),
            Some(_) => Model::Unknown,
        }
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        match &self.report {
            Some(report) => report.with(|report, queued| self.ended(Some(report), queued)),
            None => self.ended(None, None),
        }
    }
}

/// The name of a method of RFC 9110 or 5789: another may be any word, a key among them.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
