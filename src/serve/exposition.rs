//! How the parts stand, read anew for each scrape, and where the metrics are shown. Never: counting.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::gate::Gate;
use crate::http::MetricsListener;
use crate::metrics::{CacheMoment, Exposition, Metrics, Moment, UpstreamMoment};
use crate::registry::Registry;
use crate::store::RedbStore;
use crate::types::Timestamp;
use crate::upstream::{ServerHealth, Upstreams};

use super::{ServeFault, process};

/// The parts that know.
pub(super) struct Sources {
    pub(super) metrics: Arc<Metrics>,
    pub(super) gate: Arc<Gate>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<RedbStore>,
    pub(super) connections_max: usize,
    pub(super) started_at: Timestamp,
}

impl Sources {
    /// The text of all metrics, as often as it is asked for.
    pub(super) fn exposition(self) -> Exposition {
        Arc::new(move || self.metrics.text(&self.moment()))
    }

    fn moment(&self) -> Moment {
        let cached = self.gate.cached();
        Moment {
            version: env!("CARGO_PKG_VERSION"),
            connections_max: self.connections_max as u64,
            store_up: self.store.health().is_ok(),
            denials_owed: self.registry.owes_denials(),
            cache: CacheMoment {
                entries: cached.entries as u64,
                entries_max: cached.entries_max as u64,
                hits: cached.hits,
                misses: cached.misses,
            },
            upstreams: self.upstreams.health().into_iter().map(upstream).collect(),
            process: process::moment(self.started_at),
        }
    }
}

fn upstream(health: ServerHealth) -> UpstreamMoment {
    UpstreamMoment {
        name: health.name,
        up: health.up,
        in_flight: health.in_flight as u64,
        in_flight_max: health.in_flight_max as u64,
        waiting: health.waiting as u64,
        failures: health.failures,
    }
}

/// Binds the listener for Prometheus, and says so; warns when others than this machine may reach it.
pub(super) fn listener(address: SocketAddr) -> Result<MetricsListener, ServeFault> {
    let fault = |error| ServeFault::Listen { address, error };
    let listener = MetricsListener::bind(address).map_err(fault)?;
    let bound = listener.address().map_err(fault)?;
    tracing::info!("metrics on http://{bound}/metrics");
    if !bound.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "the metrics are for whoever reaches {bound}, without any credential; let only Prometheus reach it, or put \
             an address of this machine's loopback into metrics.listen"
        );
    }
    Ok(listener)
}
