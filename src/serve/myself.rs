//! What the running server tells of itself. Never: rules.

use std::sync::Arc;

use crate::admin::{
    AdminError, ModelServer, ModelView, Record, Reloaded, Running, ServerStatus, UpstreamStatus,
};
use crate::meter::Meter;
use crate::types::Timestamp;
use crate::upstream::{ServedBy, Upstreams};

use super::reload::Reloader;

/// The parts that know.
pub(super) struct Myself {
    pub(super) started_at: Timestamp,
    pub(super) listen: Vec<String>,
    pub(super) meter: Arc<Meter>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) reloader: Arc<Reloader>,
}

impl Running for Myself {
    fn status(&self) -> ServerStatus {
        let totals = self.meter.totals();
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

    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        self.reloader.reload(record)
    }
}
