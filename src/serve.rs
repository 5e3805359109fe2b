//! Puts the parts together and runs them; the clock and the random source enter here. Never: rules.

mod background;
mod certificates;
mod commands;
mod compaction;
mod container;
mod data_dir;
mod descriptors;
mod exposition;
mod first_run;
mod gift;
mod identity;
mod idle;
mod ledger;
mod listening;
mod logging;
mod machine;
mod myself;
mod notifier;
mod process;
mod reload;
mod server;
mod services;
mod settings;
mod signals;
mod snapshot;
mod socket_path;
mod source;
mod surroundings;
mod threads;
mod traces;
mod trail;
mod usage;
mod watchdog;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, UpstreamConfig};
use crate::http::Listener;
use crate::registry::{Registry, RegistryError};
use crate::store::{Birth, OpenError, RedbStore, Store, StoreOptions};
use crate::types::{Actor, Clock, ModelScope, Origin, Random};
use crate::upstream::{USUAL_PORTS, Upstreams, discover};

use data_dir::DataDir;
use first_run::{ADMINISTRATOR, Due, FIRST_KEY, Output, Sink};
use logging::Log;
use machine::{MachineRandom, SystemClock};
use notifier::Notifier;
use reload::Basis;
use server::{Announce, End, Server};

pub use data_dir::DataDirError;
pub use services::Machine;
pub use surroundings::Surroundings;

/// Why the server does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database in it.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// An address.
    #[error("{address} can't be listened on: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// What the service manager passed.
    #[error("a socket that the service manager passed can't be used: {0}")]
    Passed(String),
    /// The socket for commands.
    #[error("the socket for commands can't be bound in the data directory: {0}")]
    Socket(io::Error),
    /// The file for the first secrets.
    #[error("{path} can't be made for the first secrets: {error}")]
    Out {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What TLS needs.
    #[error("TLS can't be spoken: {0}")]
    Tls(String),
    /// A model server's settings.
    #[error("{0}")]
    Upstream(String),
    /// Making the first account and key.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The process itself.
    #[error("the process could not be set up: {0}")]
    Process(io::Error),
    /// A second signal came before the drain was over.
    #[error("interrupted before every answer was finished")]
    Interrupted,
}

/// The store of a data directory, open: nobody else has it while this lives.
struct OpenStore {
    dir: DataDir,
    store: Arc<RedbStore>,
}

impl OpenStore {
    /// A registry over it that admits nobody in this process.
    fn registry(&self) -> Registry {
        let store: Arc<dyn Store> = self.store.clone();
        Registry::new(store, Arc::new(SystemClock), Arc::new(MachineRandom::new()), None)
            .asked_from(Origin::File)
    }
}

/// Opens the store in a data directory, and makes both when they are not there and `create` says so.
fn open(path: &Path, create: bool, options: &StoreOptions) -> Result<OpenStore, ServeFault> {
    let dir = DataDir::take(path, create)?;
    let file = dir.file(DataDir::DATABASE);
    let store = match RedbStore::open(&file, options.clone()) {
        Err(OpenError::NotFound { .. }) if create => {
            match RedbStore::create(&file, birth()?, options.clone()) {
                // Someone else was faster; his store is as good.
                Err(OpenError::Exists { .. }) => RedbStore::open(&file, options.clone())?,
                created => created?,
            }
        }
        opened => opened?,
    };
    snapshot::clear(&dir);
    dir.hand_over();
    Ok(OpenStore { dir, store: Arc::new(store) })
}

/// As [`open`], for a server: a command that has the store open for a moment does not keep it from starting.
fn open_to_serve(config: &Config) -> Result<OpenStore, ServeFault> {
    const WAIT: Duration = Duration::from_secs(10);
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    let began = Instant::now();
    loop {
        match open(&config.data, true, &settings::store(&config.store)) {
            // Another server answers on its socket, and does not go away by being waited for.
            Err(ServeFault::Store(OpenError::Locked { .. }))
                if began.elapsed() < WAIT && !socket_path::answers(&config.data) =>
            {
                std::thread::sleep(LOOK_EVERY);
            }
            opened => return opened,
        }
    }
}

fn birth() -> Result<Birth, ServeFault> {
    let mut id = [0; 16];
    MachineRandom::new().fill(&mut id).map_err(|error| ServeFault::Registry(error.into()))?;
    Ok(Birth { created_at: SystemClock.now(), store_id: id })
}

/// The plain daemon: no minting, no looking for model servers.
fn serve(config: Config, basis: Basis, surroundings: Surroundings, log: &Log) -> Result<(), ServeFault> {
    let opened = open_to_serve(&config)?;
    if opened.registry().is_empty()? {
        let data = config.data.display();
        tracing::warn!(
            "there is no account yet, so every request gets 401; begin with `ember --data {data} account create \
             you@example.com --admin` and `ember --data {data} key create --account you@example.com --name first`"
        );
    }
    if config.upstreams.is_empty() {
        tracing::warn!(
            "no model server is configured; add an [[upstream]] to ember.toml (`ember config default`)"
        );
    }
    run(config, basis, opened, surroundings, None, log)
}

/// The first minute: makes what is not there, finds model servers, shows how to use it, serves.
fn up(
    mut config: Config,
    mut basis: Basis,
    output: Output,
    surroundings: Surroundings,
    log: &Log,
) -> Result<(), ServeFault> {
    let opened = open_to_serve(&config)?;
    if config.upstreams.is_empty() {
        basis.found = look_around(surroundings.is_container)?;
        config.upstreams = found_or_echo(&basis.found);
    }
    let registry = opened.registry();
    let due = first_run::due(&registry, actor())?;
    let sink = match due {
        Due::Nothing => None,
        Due::Key | Due::Everything => {
            output.open().map_err(|error| ServeFault::Out { path: output.path().to_path_buf(), error })?
        }
    };
    let announce = move |upstreams: &Upstreams, url: &str| announce(&registry, due, sink, upstreams, url);
    run(config, basis, opened, surroundings, Some(Box::new(announce)), log)
}

fn actor() -> Actor {
    Actor::Machine { uid: rustix::process::geteuid().as_raw() }
}

fn run(
    mut config: Config,
    basis: Basis,
    opened: OpenStore,
    surroundings: Surroundings,
    announce: Option<Announce>,
    log: &Log,
) -> Result<(), ServeFault> {
    let runtime = threads::builder().build().map_err(ServeFault::Process)?;
    let store = Arc::clone(&opened.store);
    config.server.connections_max = descriptors::connections(&config);
    let end = runtime.block_on(async {
        let listener = listener(&config.server.listen, surroundings.sockets)?;
        if surroundings.is_container {
            container::warn_of_loopback(&listener.addresses());
        }
        let notifier = Notifier::new(surroundings.notify_socket.as_deref());
        let watchdog = surroundings.watchdog;
        let OpenStore { dir, store } = opened;
        let server = Server { config, dir, store, listener, notifier, watchdog, log: log.clone() };
        server.run(basis, announce).await
    });
    // What still runs is a request that was cut or a look-up nobody waits for.
    runtime.shutdown_timeout(Duration::from_millis(500));
    // The last to let go closes the file. Here, the process does not end before that is done.
    drop(store);
    log.flush();
    match end? {
        End::Drained => Ok(()),
        End::Interrupted => Err(ServeFault::Interrupted),
    }
}

/// The sockets that the service manager passed, else sockets on the configured addresses.
fn listener(
    addresses: &[SocketAddr],
    passed: Vec<Result<TcpListener, String>>,
) -> Result<Listener, ServeFault> {
    if passed.is_empty() {
        return Listener::bind(addresses).map_err(|(address, error)| ServeFault::Listen { address, error });
    }
    let sockets = passed.into_iter().collect::<Result<Vec<_>, _>>().map_err(ServeFault::Passed)?;
    let listener = Listener::of(sockets).map_err(|error| ServeFault::Passed(error.to_string()))?;
    let said =
        |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let bound = listener.addresses();
    tracing::info!("the service manager passed {}", said(&bound));
    if !addresses.iter().all(|address| bound.contains(address)) {
        tracing::warn!(
            "server.listen says {}, and that is not bound: the sockets of the service manager stand in its place",
            said(addresses)
        );
    }
    Ok(listener)
}

/// Shows the secrets of a first run, or says how to get some.
fn announce(
    registry: &Registry,
    due: Due,
    sink: Option<Sink>,
    upstreams: &Upstreams,
    url: &str,
) -> Result<(), ServeFault> {
    let models = upstreams.entries(&ModelScope::All);
    let model = models.first().map_or("MODEL", |entry| entry.name().as_str());
    tell(&format!("Ember serves on {url}\nDashboard: {url}/dashboard\nModels: {}\n", names(&models)));
    if due == Due::Nothing {
        tell(
            "Accounts and keys are there already; `ember key create` makes another key, `ember account reset EMAIL` a link \
             for a forgotten password.\n",
        );
        return Ok(());
    }
    let Some(mut sink) = sink else {
        tell(
            "What is printed here is kept in a log, so no secret is made. Make them with\n  ember account create \
             you@example.com --admin\n  ember key create --account you@example.com --name first --out FILE\n",
        );
        return Ok(());
    };
    let minted = first_run::mint(registry, actor(), due, &MachineRandom::new())?;
    if let Some(minted) = minted
        && let Err(error) = sink.show(&minted, &format!("{url}/v1"), model)
    {
        tracing::error!(
            %error,
            "the first password and key could not be shown; replace them: `ember account passwd {ADMINISTRATOR} \
             < FILE` and `ember key rotate {FIRST_KEY} --now`"
        );
    }
    Ok(())
}

fn names(models: &[crate::upstream::ModelEntry]) -> String {
    const SHOWN_MAX: usize = 8;
    if models.is_empty() {
        return "none yet; is the model server up?".to_string();
    }
    let mut names: Vec<_> = models.iter().take(SHOWN_MAX).map(|entry| entry.name().to_string()).collect();
    if models.len() > SHOWN_MAX {
        names.push("...".to_string());
    }
    names.join(", ")
}

/// Stdout may be closed; the server serves all the same.
fn tell(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// The model servers that were found, else the built-in stand-in.
fn found_or_echo(found: &[Option<SocketAddr>]) -> Vec<UpstreamConfig> {
    let one =
        |address: &Option<SocketAddr>| address.map_or_else(UpstreamConfig::echo, UpstreamConfig::found_at);
    found.iter().map(one).collect()
}

/// Looks for model servers on this machine's usual ports; one without address is the built-in stand-in.
fn look_around(is_container: bool) -> Result<Vec<Option<SocketAddr>>, ServeFault> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeFault::Process)?;
    let found = runtime.block_on(discover(&USUAL_PORTS));
    for (_, address) in &found.locked {
        tell(&format!(
            "Something on {address} wants a key; if it is a model server, name it and its key in ember.toml.\n"
        ));
    }
    if found.servers.is_empty() {
        tell(
            "No model server answers on this machine's usual ports; ember-echo, the built-in stand-in, serves.\n",
        );
        if is_container {
            tell(container::HINT);
        }
        return Ok(vec![None]);
    }
    for (usual, address) in &found.servers {
        tell(&format!("Found a model server on {address}, the usual port of {usual}.\n"));
    }
    Ok(found.servers.into_iter().map(|(_, address)| Some(address)).collect())
}
