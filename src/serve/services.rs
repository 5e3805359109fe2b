//! What the command line is given: serving, and opening a store of its own. Never: rules, arguments.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::admin::AdminError;
use crate::cli::{CliError, Exit, Global, OpenError, Opened, ServeOptions, Services, UpOptions};
use crate::config::Loaded;
use crate::meter::Meter;
use crate::registry::{Registry, Rules};
use crate::store::{RedbStore, Store, StoreOptions};
use crate::types::Clock;

use super::data_dir::{DataDir, DataDirError};
use super::first_run::Output;
use super::logging::{self, Lines, Style};
use super::machine::{self, MachineRandom, SystemClock};
use super::{OpenStore, ServeFault, Surroundings, settings, snapshot};

/// Ember on this machine.
pub struct Machine {
    /// Until it is used by the one call that serves.
    surroundings: Mutex<Surroundings>,
}

impl Machine {
    /// In these surroundings.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        machine::forbid_core_dumps();
        Self { surroundings: Mutex::new(surroundings) }
    }

    fn surroundings(&self) -> Surroundings {
        std::mem::take(&mut *self.surroundings.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Services for Machine {
    fn up(&self, loaded: Loaded, global: &Global, options: &UpOptions) -> Result<(), CliError> {
        start_logging(&loaded, global);
        let surroundings = self.surroundings();
        let output = match &options.out {
            Some(file) => Output::File(file.clone()),
            None if surroundings.output_is_kept => Output::Kept,
            None => Output::Seen,
        };
        super::up(loaded.config, output, surroundings).map_err(CliError::from)
    }

    fn serve(&self, loaded: Loaded, global: &Global, _: &ServeOptions) -> Result<(), CliError> {
        start_logging(&loaded, global);
        super::serve(loaded.config, self.surroundings()).map_err(CliError::from)
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

    fn start_log(&self, verbose: u8) {
        let level = verbosity(verbose).unwrap_or(tracing::Level::WARN);
        // What was changed is said anyway, and kept in the store.
        logging::start(Style::Text, Lines { level, access: false, audit: verbose > 0 });
    }

    fn clock(&self) -> &dyn Clock {
        &SystemClock
    }
}

fn opened(store: Arc<RedbStore>, dir: DataDir, rules: Rules) -> Opened {
    let shared: Arc<dyn Store> = store.clone();
    let meter = Arc::new(Meter::new(Arc::new(SystemClock), Arc::clone(&shared)));
    let registry =
        Registry::new(shared, Arc::new(SystemClock), Arc::new(MachineRandom::new()), None).with_rules(rules);
    Opened { registry: Arc::new(registry), meter, snapshot: Box::new(move || snapshot::take(&store, &dir)) }
}

/// Flags win over the configuration here, too.
fn start_logging(loaded: &Loaded, global: &Global) {
    let log = &loaded.config.log;
    let quiet = global.quiet.then_some(tracing::Level::WARN);
    let level = verbosity(global.verbose).or(quiet).unwrap_or_else(|| settings::level(log));
    logging::start(settings::style(log), Lines { level, access: log.access && !global.quiet, audit: true });
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

impl From<ServeFault> for CliError {
    fn from(fault: ServeFault) -> Self {
        let sentence = fault.to_string();
        match fault {
            ServeFault::DataDir(_) | ServeFault::Store(_) => OpenError::from(fault).into(),
            ServeFault::Registry(error) => AdminError::from(error).into(),
            ServeFault::Upstream(_) => Self::new(Exit::Configuration, sentence),
            ServeFault::Listen { .. } => Self::new(Exit::Failure, sentence)
                .hint("choose another address with --listen 127.0.0.1:PORT or server.listen in ember.toml"),
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
