//! The model servers: which models there are, and relaying requests to them byte for byte.
//! Never: the caller's key, the registry, words or status codes of Ember's own.

mod answer;
pub mod body;
mod breaker;
mod catalogue;
mod choice;
mod connect;
mod connection;
mod early;
pub mod echo;
mod endpoint;
mod failures;
mod fault;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod glance;
mod head;
mod headers;
mod list_file;
mod listing;
mod outgoing;
mod parts;
mod pieces;
mod pool;
mod probe;
mod queue;
mod reading;
mod relay;
mod relay_body;
mod report;
mod secure;
mod server;
mod settings;
mod slots;
pub mod tap;
mod trial;
pub mod usage;
mod verdict;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::types::{Clock, ModelId, ModelScope, Random, UpstreamState};

use catalogue::{Candidate, Catalogue, Wanted};
use server::{Changes, Server};
use watch::deadline;

pub use catalogue::ModelEntry;
pub use endpoint::Endpoint;
pub use fault::RelayFault;
pub use headers::Back;
pub use pool::IDLE_CONNECTIONS_MAX;
pub use probe::{Probe, probe};
pub use reading::{Discovered, USUAL_PORTS, discover};
pub use relay::{RelayRequest, Reply};
pub use relay_body::{Broken, RelayBody};
pub use report::{BYTES_PER_TOKEN, Report, ReportHandle};
pub use secure::Secure;
pub use settings::{Address, ServerSettings, SettingsFault};
pub use trial::{ServerTest, Step};
pub use watch::{StopSignal, StopSource};

/// All model servers, and the catalogue of their models.
pub struct Upstreams {
    catalogue: Arc<Catalogue>,
    models_file: Option<PathBuf>,
    saving: tokio::sync::Mutex<()>,
    refresh: Mutex<Duration>,
    random: Arc<dyn Random>,
    /// Told when the servers were replaced.
    replaced: tokio::sync::watch::Sender<()>,
    changes: Changes,
}

/// Servers that are ready to take the place of others.
pub struct Replacement {
    wanted: Vec<Wanted>,
    /// Requests at once and requests that wait, of each.
    bounds: Vec<(usize, usize)>,
    refresh: Duration,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens, with no credentials.
    pub address: String,
    /// How it is, in one word.
    pub state: UpstreamState,
    /// For how long; none before the first change.
    pub lasts: Option<Duration>,
    /// Whether the last check was good.
    pub up: bool,
    /// What is wrong.
    pub fault: Option<RelayFault>,
    /// How long the last check took.
    pub latency: Option<Duration>,
    /// 0 to 100, the lower first.
    pub priority: u32,
    /// 1 to 1000.
    pub weight: u32,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests that may be under way at once.
    pub in_flight_max: usize,
    /// Requests that wait for one of these to end.
    pub waiting: usize,
    /// Requests that came to nothing there since Ember began, by the kinds' words.
    pub failures: Vec<(&'static str, u64)>,
    /// Public names that lead to it.
    pub models: usize,
}

/// A model and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its public name.
    pub name: ModelId,
    /// The servers that have it, in the order they are asked.
    pub by: Vec<ServedBy>,
}

/// A server that has a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedBy {
    /// The server's name in the configuration.
    pub server: String,
    /// What the model is called there.
    pub model: ModelId,
    /// How the server is.
    pub state: UpstreamState,
}

impl Upstreams {
    /// Knows the models listed by hand, and those in `models_file`, where the lists read last are kept. `refresh`:
    /// how often lists are read anew. `random` keeps servers that failed from being tried again in step.
    ///
    /// # Errors
    /// [`SettingsFault`] of the first server that no request could be made for.
    pub fn new(
        servers: Vec<ServerSettings>,
        models_file: Option<PathBuf>,
        refresh: Duration,
        clock: &dyn Clock,
        random: &Arc<dyn Random>,
    ) -> Result<Arc<Self>, SettingsFault> {
        let changes = Changes::default();
        let wanted = servers.into_iter().map(|settings| wanted(settings, random, &changes, &[]));
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        let named = wanted.iter().map(|wanted| wanted.server.as_ref());
        let lists = match &models_file {
            Some(path) => list_file::load(path, named),
            None => named.map(|_| None).collect(),
        };
        let catalogue = Arc::new(Catalogue::new(wanted, lists, clock.now().as_seconds()));
        let (saving, replaced) = (tokio::sync::Mutex::default(), tokio::sync::watch::Sender::new(()));
        let (refresh, random) = (Mutex::new(refresh), Arc::clone(random));
        Ok(Arc::new(Self { catalogue, models_file, saving, refresh, random, replaced, changes }))
    }

    /// Gets other servers ready without changing anything. One of which the same is said as of one there is, is that
    /// one; so it keeps its connections, its line and what is known of it. To be put to use, or dropped, before the next.
    ///
    /// # Errors
    /// [`SettingsFault`] of the first server that no request could be made for.
    pub fn prepare(
        &self,
        servers: Vec<ServerSettings>,
        refresh: Duration,
    ) -> Result<Replacement, SettingsFault> {
        let known = self.catalogue.servers();
        let bounds = servers.iter().map(|one| (one.in_flight_max, one.queue_max)).collect();
        let wanted = |settings| wanted(settings, &self.random, &self.changes, &known);
        let wanted = servers.into_iter().map(wanted);
        Ok(Replacement { wanted: wanted.collect::<Result<_, _>>()?, bounds, refresh })
    }

    /// Goes by these servers from now on. Requests under way on others go on to their ends; those that wait for one that
    /// is gone choose anew.
    pub fn replace(&self, replacement: Replacement) {
        let Replacement { wanted, bounds, refresh } = replacement;
        for (wanted, (in_flight_max, queue_max)) in wanted.iter().zip(bounds) {
            wanted.server.slots.set_bounds(in_flight_max, queue_max);
        }
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner) = refresh;
        self.catalogue.replace(wanted);
        self.replaced.send_replace(());
        self.changes.send_replace(());
    }

    /// The models in `scope`, by name.
    #[must_use]
    pub fn entries(&self, scope: &ModelScope) -> Vec<ModelEntry> {
        self.catalogue.entries(scope)
    }

    /// One model, if it is there and in `scope`.
    ///
    /// # Errors
    /// [`RelayFault::UnknownModel`], or [`RelayFault::ModelsNotRead`] while nobody can know.
    pub fn entry(&self, scope: &ModelScope, name: &str) -> Result<ModelEntry, RelayFault> {
        self.catalogue.entry(scope, name)
    }

    /// Whether some server has the model.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.catalogue.has(model)
    }

    /// Every model with the servers that have it, by name.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        let by = |one: Candidate| ServedBy {
            server: one.server.name.clone(),
            state: one.server.condition().state(),
            model: ModelId::clone(&one.real),
        };
        let served = self.catalogue.served().into_iter();
        served.map(|(name, by_whom)| Served { name, by: by_whom.into_iter().map(by).collect() }).collect()
    }

    /// How each server is, in the order they are configured.
    #[must_use]
    pub fn health(&self) -> Vec<ServerHealth> {
        self.catalogue.servers().iter().map(|server| self.health_of(server)).collect()
    }

    /// Sends a server no new requests, or again; those under way go on. Lasts until Ember ends. Says how the server is
    /// then; none when there is no server of this name.
    pub fn drain(&self, name: &str, drained: bool) -> Option<ServerHealth> {
        let server = self.catalogue.drain(name, drained)?;
        Some(self.health_of(&server))
    }

    fn server(&self, name: &str) -> Option<Arc<Server>> {
        self.catalogue.servers().into_iter().find(|server| server.name == name)
    }

    fn health_of(&self, server: &Arc<Server>) -> ServerHealth {
        let condition = server.condition();
        ServerHealth {
            name: server.name.clone(),
            address: server.address.to_string(),
            state: condition.state(),
            lasts: condition.lasts(),
            up: condition.up,
            fault: condition.reason(),
            latency: condition.latency,
            priority: server.priority,
            weight: server.weight,
            in_flight: server.slots.in_flight(),
            in_flight_max: server.slots.slots_max(),
            waiting: server.slots.waiting(),
            failures: server.failures.counts(),
            models: self.catalogue.count_of(server),
        }
    }
}

fn wanted(
    mut settings: ServerSettings,
    random: &Arc<dyn Random>,
    changes: &Changes,
    known: &[Arc<Server>],
) -> Result<Wanted, SettingsFault> {
    Ok(Wanted {
        models: std::mem::take(&mut settings.models),
        aliases: std::mem::take(&mut settings.aliases),
        metadata: std::mem::take(&mut settings.metadata),
        server: one_of(known, Server::new(settings, Arc::clone(random), Arc::clone(changes))?),
    })
}

/// The known one of which the same was said, else the new one.
fn one_of(known: &[Arc<Server>], new: Server) -> Arc<Server> {
    match known.iter().find(|old| old.place() == new.place()) {
        Some(old) if old.is_like(&new) => Arc::clone(old),
        Some(old) => Arc::new(new.succeeding(old)),
        None => Arc::new(new),
    }
}

#[cfg(test)]
mod tests;
