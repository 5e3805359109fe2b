//! What is read anew for each scrape: how things stand at this moment. Never: how it is found out.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// How things stand.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Ember's version.
    pub version: &'static str,
    /// Connections that may be open at once.
    pub connections_max: u64,
    /// Whether the store answers.
    pub store_up: bool,
    /// Whether something is denied in memory that is not on disk yet.
    pub denials_owed: bool,
    /// The key records in memory.
    pub cache: CacheMoment,
    /// Lines of the log that nobody will see.
    pub log_lines_lost: u64,
    /// The model servers.
    pub upstreams: Vec<UpstreamMoment>,
    /// The process.
    pub process: ProcessMoment,
}

/// The key records in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheMoment {
    /// How many there are.
    pub entries: u64,
    /// How many there may be.
    pub entries_max: u64,
    /// Look-ups that found one.
    pub hits: u64,
    /// Look-ups that had to read the store.
    pub misses: u64,
}

/// A model server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamMoment {
    /// Its name in the configuration.
    pub name: String,
    /// Whether the last check was good.
    pub up: bool,
    /// The states that there are, and whether it is in them.
    pub states: Vec<(&'static str, bool)>,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests that may be under way at once.
    pub in_flight_max: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Requests that came to nothing there, by kind.
    pub failures: Vec<(&'static str, u64)>,
}

/// The process. What the system does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessMoment {
    /// When it began, in seconds since 1970.
    pub started_at: f64,
    /// Processor time used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Bytes of memory in use.
    pub resident_bytes: Option<u64>,
    /// Descriptors in use.
    pub open_fds: Option<u64>,
    /// Descriptors that may be in use.
    pub max_fds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Upstream {
    upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    upstream: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    upstream: String,
    kind: &'static str,
}

impl Moment {
    /// A registry of what is so now.
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        registry.register("ember_build", "The program that runs", Info::new([("version", self.version)]));
        let help = "Connections that may be open at once";
        gauge(&mut registry, "ember_connections_max", help, self.connections_max);
        gauge(&mut registry, "ember_store_up", "Whether the store answers", u64::from(self.store_up));
        let help = "Whether a key is denied in memory only, since the disk does not take it";
        gauge(&mut registry, "ember_denials_owed", help, u64::from(self.denials_owed));
        self.cache.register(&mut registry);
        let lost = ConstCounter::new(self.log_lines_lost);
        registry.register("ember_log_lines_lost", "Log lines that stderr did not take", lost);
        register_upstreams(&self.upstreams, &mut registry);
        self.process.register(&mut registry);
        registry
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstGauge::new(value));
}

impl CacheMoment {
    fn register(&self, registry: &mut Registry) {
        gauge(registry, "ember_key_cache_entries", "Key records in memory", self.entries);
        let help = "Key records that may be in memory";
        gauge(registry, "ember_key_cache_entries_max", help, self.entries_max);
        let mut count = |name: &str, help: &str, value: u64| {
            registry.register(name, help, ConstCounter::new(value));
        };
        count("ember_key_cache_hits", "Look-ups of keys that were in memory", self.hits);
        count("ember_key_cache_misses", "Look-ups of keys that had to read the store", self.misses);
    }
}

fn register_upstreams(upstreams: &[UpstreamMoment], registry: &mut Registry) {
    type Read = fn(&UpstreamMoment) -> u64;
    let gauges: [(&str, &str, Read); 4] = [
        ("up", "Whether the last check of the model server was good", |one| u64::from(one.up)),
        ("requests_in_flight", "Requests under way at the model server", |one| one.in_flight),
        ("requests_in_flight_max", "Requests that may be under way there at once", |one| one.in_flight_max),
        ("requests_waiting", "Requests that wait for the model server", |one| one.waiting),
    ];
    for (name, help, read) in gauges {
        let family = Family::<Upstream, Gauge>::default();
        for one in upstreams {
            let set = Upstream { upstream: one.name.clone() };
            family.get_or_create(&set).set(i64::try_from(read(one)).unwrap_or(i64::MAX));
        }
        registry.register(format!("ember_upstream_{name}"), help, family);
    }
    let states = Family::<State, Gauge>::default();
    for one in upstreams {
        for (state, is_so) in &one.states {
            let set = State { upstream: one.name.clone(), state };
            states.get_or_create(&set).set(i64::from(*is_so));
        }
    }
    registry.register("ember_upstream_state", "Whether the model server is in this state", states);
    let failures = Family::<Failure, Counter>::default();
    for one in upstreams {
        for (kind, count) in &one.failures {
            let set = Failure { upstream: one.name.clone(), kind };
            failures.get_or_create(&set).inc_by(*count);
        }
    }
    let help = "Requests that came to nothing at the model server; each try counts";
    registry.register("ember_upstream_failures", help, failures);
}

impl ProcessMoment {
    fn register(&self, registry: &mut Registry) {
        let started = ConstGauge::new(self.started_at);
        let help = "When the process began to serve, since 1970";
        registry.register_with_unit("process_start_time", help, Unit::Seconds, started);
        if let Some(seconds) = self.cpu_seconds {
            let used = ConstCounter::new(seconds);
            registry.register_with_unit("process_cpu", "Processor time used", Unit::Seconds, used);
        }
        if let Some(bytes) = self.resident_bytes {
            let used = ConstGauge::new(bytes);
            registry.register_with_unit("process_resident_memory", "Memory in use", Unit::Bytes, used);
        }
        if let Some(open) = self.open_fds {
            gauge(registry, "process_open_fds", "Descriptors in use", open);
        }
        if let Some(max) = self.max_fds {
            gauge(registry, "process_max_fds", "Descriptors that may be in use", max);
        }
    }
}
