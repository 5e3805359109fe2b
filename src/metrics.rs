//! Counters and histograms in memory, and their text for Prometheus (OpenMetrics 1.0). Every label is of a closed set
//! or a name of the configuration or a catalogue, and their number is bounded.
//! Never: keys, accounts, names of people, addresses, prompts, the disk.

mod case;
mod moment;
mod names;
mod request;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use moment::{CacheMoment, Moment, ProcessMoment, UpstreamMoment};
pub use request::{Ended, Model, Pace};

use request::Requests;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Gives the text of all metrics as they stand. May block for a moment.
pub type Exposition = Arc<dyn Fn() -> Bytes + Send + Sync>;

/// A commit of a small group takes a flush of the disk: tens of microseconds to seconds.
const COMMIT: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    in_flight: Gauge,
    waiting: Gauge,
    connections: Gauge,
    commits: Histogram,
    commit_failures: Counter,
    usage_unwritten: AtomicBool,
}

/// Something that is under way as long as this lives.
#[derive(Debug)]
pub struct Underway(Gauge);

impl Underway {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that is under way as long as this lives.
#[derive(Debug)]
pub struct Request(Arc<Metrics>);

impl Request {
    /// One begins.
    #[must_use]
    pub fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self(Arc::clone(metrics))
    }

    /// It has ended, in this way.
    pub fn ended(&self, ended: &Ended<'_>) {
        self.0.request_ended(ended);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// Figures for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests under way on the public door, of whatever kind.
    pub in_flight: u64,
    /// Those of them that stand in line for a model server.
    pub waiting: u64,
    /// Open connections of the public door.
    pub connections: u64,
    /// Requests that Ember refused or whose answer it broke off since it began, by the error's code.
    pub errors: Vec<(&'static str, u64)>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Requests::new();
        let (in_flight, waiting, connections) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (commits, commit_failures) = (Histogram::new(COMMIT), Counter::default());
        requests.register(&mut registry);
        registry.register("ember_requests_in_flight", "Requests under way", in_flight.clone());
        let help = "Requests that stand in line for a model server, or for several at once";
        registry.register("ember_requests_waiting", help, waiting.clone());
        registry.register("ember_connections", "Open connections", connections.clone());
        let help = "How long groups of commits took to become durable";
        registry.register_with_unit("ember_store_commit", help, Unit::Seconds, commits.clone());
        let help = "Groups of commits that the disk did not take";
        registry.register("ember_store_commit_failures", help, commit_failures.clone());
        let usage_unwritten = AtomicBool::new(false);
        Self {
            registry,
            requests,
            in_flight,
            waiting,
            connections,
            commits,
            commit_failures,
            usage_unwritten,
        }
    }
}

impl Metrics {
    /// A request stands in line, until what is given is dropped.
    #[must_use]
    pub fn stands_in_line(&self) -> Underway {
        Underway::new(&self.waiting)
    }

    /// A request ended.
    pub fn request_ended(&self, ended: &Ended<'_>) {
        self.requests.ended(ended);
    }

    /// A connection was accepted. It is open until what is given is dropped.
    #[must_use]
    pub fn connection_opened(&self) -> Underway {
        Underway::new(&self.connections)
    }

    /// A group of commits took so long to become durable, or failed at it.
    pub fn committed(&self, took: Duration, is_durable: bool) {
        if is_durable {
            self.commits.observe(took.as_secs_f64());
        } else {
            self.commit_failures.inc();
        }
    }

    /// What requests used was written down, or the disk did not take it.
    pub fn usage_written(&self, is_durable: bool) {
        self.usage_unwritten.store(!is_durable, Ordering::Relaxed);
    }

    /// Some of it, for people.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let count = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or_default();
        let errors = self.requests.errors.each().into_iter();
        let errors = errors.map(|(set, counter)| (set.code, counter.get())).collect();
        Figures {
            in_flight: count(&self.in_flight),
            waiting: count(&self.waiting),
            connections: count(&self.connections),
            errors,
        }
    }

    /// All of it and `moment`, as text of [`MEDIA_TYPE`].
    #[must_use]
    pub fn text(&self, moment: &Moment) -> String {
        let mut now = moment.registry();
        let unwritten = u64::from(self.usage_unwritten.load(Ordering::Relaxed));
        let help = "Whether what requests used is in memory only, since the disk does not take it";
        now.register("ember_usage_unwritten", help, ConstGauge::new(unwritten));
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &now))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            // A text without its end mark is refused by whoever reads it.
            tracing::error!("the metrics could not be written as text");
        }
        text
    }
}
