//! What the command line is given: serving, and opening a store of its own. Never: rules, arguments.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::admin::AdminError;
use crate::cli::{CliError, Exit, Global, Looked, OpenError, Opened, ServeOptions, Services, UpOptions};
use crate::config::{Loaded, LogConfig, UpstreamConfig};
use crate::meter::Meter;
use crate::registry::{Registry, Rules};
use crate::store::{CompactStep, Compacted, RedbStore, Store, StoreOptions};
use crate::types::{Clock, Random};
use crate::upstream::{self, Probe};

use super::data_dir::{DataDir, DataDirError};
use super::first_run::Output;
use super::logging::{self, Lines, Log};
use super::machine::{self, MachineRandom, SystemClock};
use super::reload::{Basis, Part};
use super::{OpenStore, ServeFault, Surroundings, compaction, settings, snapshot};

/// Ember on this machine.
pub struct Machine {
    /// Until it is used by the one call that serves.
    surroundings: Mutex<Surroundings>,
    forbade_core_dumps: io::Result<()>,
}

impl Machine {
    /// In these surroundings.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        let forbade_core_dumps = machine::forbid_core_dumps();
        Self { surroundings: Mutex::new(surroundings), forbade_core_dumps }
    }

    fn surroundings(&self) -> Surroundings {
        std::mem::take(&mut *self.surroundings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts the log, and keeps what is needed to load the configuration again.
    fn begin(&self, loaded: &Loaded, global: &Global, hangup_ends: bool) -> Result<(Log, Basis), CliError> {
        let (quiet, verbose) = (global.quiet, global.verbose);
        let log = &loaded.config.log;
        let log =
            logging::start(settings::style(log), lines(log, quiet, verbose)).map_err(ServeFault::Process)?;
        if let Err(error) = &self.forbade_core_dumps {
            tracing::warn!(%error, "core dumps could not be switched off; do it in the service manager");
        }
        let started = log.clone();
        let part: Part = Box::new(move |config| {
            let (started, lines) = (started.clone(), lines(&config.log, quiet, verbose));
            Ok(Box::new(move || started.set(lines)))
        });
        let (kept, said) = (loaded.kept.clone(), loaded.said());
        Ok((log, Basis { kept, said, parts: vec![part], found: Vec::new(), hangup_ends }))
    }
}

impl Services for Machine {
    fn up(&self, loaded: Loaded, global: &Global, options: &UpOptions) -> Result<(), CliError> {
        let surroundings = self.surroundings();
        let (log, basis) = self.begin(&loaded, global, surroundings.at_terminal)?;
        let output = match &options.out {
            Some(file) => Output::File(file.clone()),
            None if surroundings.output_is_kept => Output::Kept,
            None => Output::Seen,
        };
        super::up(loaded.config, basis, output, surroundings, &log).map_err(CliError::from)
    }

    fn serve(&self, loaded: Loaded, global: &Global, _: &ServeOptions) -> Result<(), CliError> {
        let surroundings = self.surroundings();
        let (log, basis) = self.begin(&loaded, global, surroundings.at_terminal)?;
        super::serve(loaded.config, basis, surroundings, &log).map_err(CliError::from)
    }

    fn open(&self, data: &Path, create: bool, rules: &Rules) -> Result<Opened, OpenError> {
        let OpenStore { dir, store } = super::open(data, create, &StoreOptions::default())?;
        let opened = opened(store, dir, rules.clone());
        super::usage::begin(&opened.meter);
        Ok(opened)
    }

    fn open_file(&self, file: &Path) -> Result<Opened, OpenError> {
        let dir = DataDir::take(file.parent().unwrap_or(Path::new(".")), false).map_err(ServeFault::from)?;
        let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
        Ok(opened(Arc::new(RedbStore::open(file, options)?), dir, Rules::default()))
    }

    fn look(&self, file: &Path) -> Result<Looked, OpenError> {
        let (registry, meter) = over(Arc::new(RedbStore::open_to_read(file)?), Rules::default());
        Ok(Looked { registry, meter })
    }

    fn compact(&self, data: &Path, told: &mut dyn FnMut(CompactStep, u64)) -> Result<Compacted, OpenError> {
        Ok(compaction::run(data, told)?)
    }

    fn probe(&self, upstreams: Vec<UpstreamConfig>) -> Result<Vec<Probe>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let servers = upstreams.into_iter().map(settings::server).collect();
        let random: Arc<dyn Random> = Arc::new(MachineRandom::new());
        runtime.block_on(upstream::probe(servers, &random)).map_err(|fault| fault.to_string())
    }

    fn start_log(&self, verbose: u8) {
        let level = verbosity(verbose).unwrap_or(tracing::Level::WARN);
        // What was changed is said anyway, and kept in the store.
        logging::start_plain(Lines { level, access: false, audit: verbose > 0 });
    }

    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }
}

fn opened(store: Arc<RedbStore>, dir: DataDir, rules: Rules) -> Opened {
    let (registry, meter) = over(store.clone(), rules);
    Opened { registry, meter, snapshot: Box::new(move || snapshot::take(&store, &dir)) }
}

fn over(store: Arc<dyn Store>, rules: Rules) -> (Arc<Registry>, Arc<Meter>) {
    let meter = Arc::new(Meter::new(Arc::new(SystemClock), Arc::clone(&store)));
    let registry = Registry::new(store, Arc::new(SystemClock), Arc::new(MachineRandom::new()), None);
    (Arc::new(registry.with_rules(rules)), meter)
}

/// Flags win over the configuration here, too.
fn lines(log: &LogConfig, quiet: bool, verbose: u8) -> Lines {
    let least = quiet.then_some(tracing::Level::WARN);
    let level = verbosity(verbose).or(least).unwrap_or_else(|| settings::level(log));
    Lines { level, access: log.access && !quiet, audit: true }
}

fn verbosity(verbose: u8) -> Option<tracing::Level> {
    match verbose {
        0 => None,
        1 => Some(tracing::Level::DEBUG),
        2.. => Some(tracing::Level::TRACE),
    }
}

impl From<ServeFault> for OpenError {
    fn from(fault: ServeFault) -> Self {
        let sentence = fault.to_string();
        match fault {
            ServeFault::Store(error) => Self::Store(error),
            ServeFault::DataDir(DataDirError::Missing(_)) => Self::Missing(sentence),
            ServeFault::DataDir(
                DataDirError::Open { .. }
                | DataDirError::Foreign { .. }
                | DataDirError::Shared { .. }
                | DataDirError::NotOursToMake { .. }
                | DataDirError::InUse(_),
            ) => Self::NotAllowed(sentence),
            ServeFault::DataDir(DataDirError::Io { error, .. })
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                Self::NotAllowed(sentence)
            }
            ServeFault::DataDir(DataDirError::Io { error, .. })
                if error.kind() == ErrorKind::ReadOnlyFilesystem =>
            {
                Self::ReadOnly(sentence)
            }
            ServeFault::DataDir(DataDirError::NotADirectory(_) | DataDirError::Io { .. })
            | ServeFault::Listen { .. }
            | ServeFault::Passed(_)
            | ServeFault::Socket(_)
            | ServeFault::Out { .. }
            | ServeFault::Tls(_)
            | ServeFault::Upstream(_)
            | ServeFault::Registry(_)
            | ServeFault::Process(_)
            | ServeFault::Interrupted => Self::Unusable(sentence),
        }
    }
}

/// What to do about an address that can't be listened on.
fn listen_hint(error: &io::Error) -> String {
    const OTHER: &str = "choose another address with --listen 127.0.0.1:PORT or server.listen in ember.toml";
    let known = [
        (
            ErrorKind::AddrInUse,
            "another program listens there already, perhaps another Ember (`ember status`)",
        ),
        (
            ErrorKind::AddrNotAvailable,
            "this machine has no such address; 0.0.0.0 and [::] stand for all it has",
        ),
        (
            ErrorKind::PermissionDenied,
            "ports below 1024 are root's, unless a service has AmbientCapabilities=CAP_NET_BIND_SERVICE",
        ),
    ];
    let why = known.into_iter().find(|(kind, _)| *kind == error.kind());
    why.map_or_else(|| OTHER.to_string(), |(_, why)| format!("{why}; {OTHER}"))
}

impl From<ServeFault> for CliError {
    fn from(fault: ServeFault) -> Self {
        let sentence = fault.to_string();
        match fault {
            ServeFault::DataDir(_) | ServeFault::Store(_) => OpenError::from(fault).into(),
            ServeFault::Registry(error) => AdminError::from(error).into(),
            ServeFault::Upstream(_) => Self::new(Exit::Configuration, sentence),
            ServeFault::Listen { error, .. } => Self::new(Exit::Failure, sentence).hint(listen_hint(&error)),
            ServeFault::Out { error, .. } => {
                let kinds = [
                    (ErrorKind::AlreadyExists, Exit::Conflict),
                    (ErrorKind::PermissionDenied, Exit::NotAllowed),
                ];
                let known = kinds.into_iter().find(|(kind, _)| *kind == error.kind());
                Self::new(known.map_or(Exit::Failure, |(_, exit)| exit), sentence)
                    .hint("name a file that is not there yet with --out")
            }
            ServeFault::Socket(_) | ServeFault::Tls(_) | ServeFault::Process(_) => {
                Self::new(Exit::Failure, sentence)
            }
            ServeFault::Passed(_) => Self::new(Exit::Failure, sentence)
                .hint("a socket unit for Ember has ListenStream=ADDRESS:PORT and no Accept=yes"),
            ServeFault::Interrupted => Self::new(Exit::Interrupted, sentence),
        }
    }
}
