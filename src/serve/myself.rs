//! What the running server tells of itself. Never: rules.

use std::sync::Arc;

use crate::admin::{ModelServer, ModelView, Running, ServerStatus, UpstreamStatus};
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::types::Timestamp;
use crate::upstream::{ServedBy, Upstreams};

/// The parts that know.
pub(super) struct Myself {
    pub(super) started_at: Timestamp,
    pub(super) listen: Vec<String>,
    pub(super) meter: Arc<Meter>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstreams: Arc<Upstreams>,
}

impl Running for Myself {
    fn status(&self) -> ServerStatus {
        let totals = self.meter.totals();
        let figures = self.metrics.figures();
        let servers = self.upstreams.health().into_iter().map(|server| UpstreamStatus {
            name: server.name,
            healthy: server.up,
            models: server.models as u64,
            in_flight: server.in_flight as u64,
            waiting: server.waiting as u64,
            detail: server.fault.map(|fault| fault.to_string()).unwrap_or_default(),
        });
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            started_at: self.started_at,
            listen: self.listen.clone(),
            upstreams: servers.collect(),
            requests: totals.requests,
            tokens: totals.tokens,
            in_flight: figures.in_flight,
            connections: figures.connections,
            errors: figures.errors.into_iter().map(|(code, count)| (code.to_string(), count)).collect(),
        }
    }

    fn models(&self) -> Vec<ModelView> {
        let by =
            |one: ServedBy| ModelServer { name: one.server, model: one.model.to_string(), healthy: one.up };
        let served = self.upstreams.served().into_iter();
        let view = served.map(|served| ModelView {
            name: served.name.to_string(),
            servers: served.by.into_iter().map(by).collect(),
        });
        view.collect()
    }
}
