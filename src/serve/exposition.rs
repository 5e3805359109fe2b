//! How the parts stand, read anew for each scrape, and where the metrics are shown. Never: counting.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::gate::Gate;
use crate::http::MetricsListener;
use crate::metrics::{CacheMoment, Exposition, Metrics, Moment, UpstreamMoment};
use crate::registry::Registry;
use crate::store::RedbStore;
use crate::types::{Stopwatch, Timestamp, UpstreamState};
use crate::upstream::{ServerHealth, Upstreams};

use super::logging::Log;
use super::{ServeFault, process};

/// All there are.
const STATES: [UpstreamState; 5] = [
    UpstreamState::Unknown,
    UpstreamState::Up,
    UpstreamState::Down,
    UpstreamState::Open,
    UpstreamState::Draining,
];

/// The parts that know.
pub(super) struct Sources {
    pub(super) metrics: Arc<Metrics>,
    pub(super) gate: Arc<Gate>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) registry: Arc<Registry>,
    pub(super) store: Arc<RedbStore>,
    pub(super) log: Log,
    pub(super) connections_max: usize,
    pub(super) started_at: Timestamp,
}

impl Sources {
    /// The text of all metrics, as often as it is asked for.
    pub(super) fn exposition(self) -> Exposition {
        Arc::new(move || self.metrics.text(&self.moment()).into())
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
            log_lines_lost: self.log.lines_lost(),
            upstreams: self.upstreams.health().into_iter().map(upstream).collect(),
            process: process::moment(self.started_at),
        }
    }
}

fn upstream(health: ServerHealth) -> UpstreamMoment {
    UpstreamMoment {
        name: health.name,
        up: health.up,
        states: STATES.map(|state| (state.as_str(), state == health.state)).into(),
        in_flight: health.in_flight as u64,
        in_flight_max: health.in_flight_max as u64,
        waiting: health.waiting as u64,
        failures: health.failures,
    }
}

/// A text that is as old may be shown again.
const KEPT: Duration = Duration::from_secs(1);

/// The same for those who need no credential: one text at a time, which all share who ask within a second. However many
/// ask, it takes the time and the memory of one.
pub(super) fn shared(exposition: Exposition, stopwatch: Arc<dyn Stopwatch>) -> Exposition {
    let last = Mutex::new(None);
    Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, text)) = last.as_ref()
            && stopwatch.elapsed().saturating_sub(*read_at) < KEPT
        {
            return Bytes::clone(text);
        }
        // The old text goes before the new one comes.
        *last = None;
        let text = exposition();
        *last = Some((stopwatch.elapsed(), text.clone()));
        text
    })
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Stopwatch for Hand {
        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn many_who_scrape_at_once_share_one_text_for_a_second() {
        let (hand, texts) = (Arc::new(Hand::default()), Arc::new(AtomicUsize::new(0)));
        let made = Arc::clone(&texts);
        let count = move || Bytes::from(made.fetch_add(1, Ordering::SeqCst).to_string());
        let shared = shared(Arc::new(count), hand.clone());
        std::thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(|| assert_eq!(shared(), "0")))));
        hand.0.store(999, Ordering::SeqCst);
        assert_eq!(shared(), "0");
        hand.0.store(1000, Ordering::SeqCst);
        assert_eq!((shared(), shared()), (Bytes::from("1"), Bytes::from("1")));
        assert_eq!(texts.load(Ordering::SeqCst), 2);
    }
}
