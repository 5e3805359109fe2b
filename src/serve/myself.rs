//! What the running server tells of itself. Never: rules.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::admin::{
    AdminError, ModelServer, ModelView, Record, Reloaded, Running, ServerStatus, UpstreamStatus,
    UpstreamStep, UpstreamTest,
};
use crate::meter::Meter;
use crate::metrics::Metrics;
use crate::registry::Problem;
use crate::types::{Clock, Gather, ModelId, Timestamp};
use crate::upstream::{ServedBy, ServerHealth, Step, Upstreams};

use super::reload::Reloader;

/// The parts that know.
pub(super) struct Myself {
    pub(super) started_at: Timestamp,
    pub(super) listen: Vec<String>,
    pub(super) meter: Arc<Meter>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reloader: Arc<Reloader>,
    /// Where model servers are spoken to.
    pub(super) runtime: Handle,
    /// So many model servers may be tried at once.
    pub(super) tests: Semaphore,
}

/// How many model servers may be tried at once: whoever revokes a key needs not wait behind them.
pub(super) const TESTS_MAX: usize = 2;

impl Myself {
    fn upstream(&self, server: ServerHealth) -> UpstreamStatus {
        UpstreamStatus {
            name: server.name,
            address: server.address,
            state: server.state,
            since: server.lasts.map(|lasts| self.clock.now().before(lasts)),
            models: server.models as u64,
            in_flight: server.in_flight as u64,
            waiting: server.waiting as u64,
            priority: server.priority,
            weight: server.weight,
            latency: server.latency,
            detail: server.fault.map(|fault| fault.to_string()).unwrap_or_default(),
        }
    }
}

impl Running for Myself {
    fn status(&self) -> ServerStatus {
        let totals = self.meter.totals();
        let figures = self.metrics.figures();
        let servers = self.upstreams.health().into_iter().map(|server| self.upstream(server));
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            started_at: self.started_at,
            listen: self.listen.clone(),
            upstreams: servers.collect(),
            requests: totals.requests,
            tokens: totals.tokens,
            in_flight: figures.in_flight,
            waiting: figures.waiting,
            connections: figures.connections,
            errors: figures.errors.into_iter().map(|(code, count)| (code.to_string(), count)).gather(),
        }
    }

    fn models(&self) -> Vec<ModelView> {
        let by =
            |one: ServedBy| ModelServer { name: one.server, model: one.model.to_string(), state: one.state };
        let served = self.upstreams.served().into_iter();
        let view = served.map(|served| ModelView {
            name: served.name.to_string(),
            servers: served.by.into_iter().map(by).collect(),
        });
        view.collect()
    }

    fn drain(&self, name: &str, drained: bool) -> Option<UpstreamStatus> {
        let server = self.upstreams.drain(name, drained)?;
        Some(self.upstream(server))
    }

    fn test(
        &self,
        name: &str,
        model: Option<&ModelId>,
        stream: bool,
    ) -> Result<Option<UpstreamTest>, AdminError> {
        let Ok(_one_of_few) = self.tests.try_acquire() else {
            let sentence = format!("{TESTS_MAX} model servers are being tried; try again in a minute");
            return Err(AdminError::new(Problem::Conflict, sentence));
        };
        let Some(test) = self.runtime.block_on(self.upstreams.test(name, model, stream)) else {
            return Ok(None);
        };
        let step = |one: Step| UpstreamStep {
            name: one.name.to_string(),
            ok: one.ok,
            took: one.took,
            detail: one.detail,
        };
        Ok(Some(UpstreamTest { name: test.name, steps: test.steps.into_iter().map(step).collect() }))
    }

    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        self.reloader.reload(record)
    }
}
