//! The model servers: which models there are, and relaying requests to them byte for byte.
//! Never: the caller's key, the registry, words or status codes of Ember's own.

mod answer;
pub mod body;
mod catalogue;
mod choice;
mod connect;
mod early;
pub mod echo;
mod endpoint;
mod fault;
mod headers;
mod list_file;
mod listing;
mod pieces;
mod pool;
mod queue;
mod reading;
mod relay;
mod relay_body;
mod report;
mod server;
mod settings;
mod slots;
pub mod tap;
pub mod usage;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::types::{Clock, ModelId, ModelScope};

use catalogue::{Candidate, Catalogue, Wanted};
use server::Server;
use watch::deadline;

pub use catalogue::ModelEntry;
pub use endpoint::Endpoint;
pub use fault::RelayFault;
pub use reading::{Discovered, USUAL_PORTS, discover};
pub use relay::{RelayRequest, Reply};
pub use relay_body::{Broken, RelayBody};
pub use report::{BYTES_PER_TOKEN, Report, ReportHandle};
pub use settings::{Address, ServerSettings, SettingsFault};
pub use watch::StopSignal;

/// All model servers, and the catalogue of their models.
pub struct Upstreams {
    catalogue: Arc<Catalogue>,
    models_file: Option<PathBuf>,
    saving: tokio::sync::Mutex<()>,
    refresh: Mutex<Duration>,
    /// Told when the servers were replaced.
    replaced: tokio::sync::watch::Sender<()>,
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
    /// Whether it answered when its list was last read.
    pub up: bool,
    /// What went wrong since.
    pub fault: Option<RelayFault>,
    /// Requests under way.
    pub in_flight: usize,
    /// Requests that wait for one of these to end.
    pub waiting: usize,
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
    /// Whether the server answered when its list was last read.
    pub up: bool,
}

impl Upstreams {
    /// Knows the models listed by hand, and those in `models_file`, where the lists read last are kept. `refresh`:
    /// how often lists are read anew.
    ///
    /// # Errors
    /// [`SettingsFault`] of the first server that no request could be made for.
    pub fn new(
        servers: Vec<ServerSettings>,
        models_file: Option<PathBuf>,
        refresh: Duration,
        clock: &dyn Clock,
    ) -> Result<Arc<Self>, SettingsFault> {
        let wanted = servers.into_iter().map(|settings| wanted(settings, &[]));
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        let named = wanted.iter().map(|wanted| wanted.server.as_ref());
        let lists = match &models_file {
            Some(path) => list_file::load(path, named),
            None => named.map(|_| None).collect(),
        };
        let catalogue = Arc::new(Catalogue::new(wanted, lists, clock.now().as_seconds()));
        let (saving, replaced) = (tokio::sync::Mutex::default(), tokio::sync::watch::Sender::new(()));
        Ok(Arc::new(Self { catalogue, models_file, saving, refresh: Mutex::new(refresh), replaced }))
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
        let wanted = servers.into_iter().map(|settings| wanted(settings, &known));
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

    /// Every model with the servers that have it, by name.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        let by = |one: Candidate| ServedBy {
            server: one.server.name.clone(),
            up: one.server.condition().up,
            model: one.real,
        };
        let served = self.catalogue.served().into_iter();
        served.map(|(name, by_whom)| Served { name, by: by_whom.into_iter().map(by).collect() }).collect()
    }

    /// How each server is, in the order they are configured.
    #[must_use]
    pub fn health(&self) -> Vec<ServerHealth> {
        let health = |server: &Arc<Server>| {
            let condition = server.condition();
            ServerHealth {
                name: server.name.clone(),
                up: condition.up,
                fault: condition.fault,
                in_flight: server.slots.in_flight(),
                waiting: server.slots.waiting(),
                models: self.catalogue.count_of(server),
            }
        };
        self.catalogue.servers().iter().map(health).collect()
    }
}

fn wanted(mut settings: ServerSettings, known: &[Arc<Server>]) -> Result<Wanted, SettingsFault> {
    Ok(Wanted {
        models: std::mem::take(&mut settings.models),
        aliases: std::mem::take(&mut settings.aliases),
        metadata: std::mem::take(&mut settings.metadata),
        server: one_of(known, Server::new(settings)?),
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
