//! What the command line is given: serving, and opening a store of its own. Never: rules, arguments.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::admin::AdminError;
use crate::cli::{CliError, Exit, Global, OpenError, Opened, ServeOptions, Services, UpOptions};
use crate::config::{Loaded, LogConfig};
use crate::meter::Meter;
use crate::registry::{Registry, Rules};
use crate::store::{RedbStore, Store, StoreOptions};
use crate::types::Clock;

use super::data_dir::{DataDir, DataDirError};
use super::first_run::Output;
use super::logging::{self, Lines, Style};
use super::machine::{self, MachineRandom, SystemClock};
use super::reload::{Basis, Part};
use super::{OpenStore, ServeFault, settings, snapshot};

/// Ember on this machine.
pub struct Machine {
    output: Output,
    in_terminal: bool,
}

impl Machine {
    /// `output_is_kept`: what goes to stdout lands in a log, so that a secret must not.
    #[must_use]
    pub fn new(output_is_kept: bool) -> Self {
        machine::forbid_core_dumps();
        Self { output: if output_is_kept { Output::Kept } else { Output::Seen }, in_terminal: false }
    }

    /// The same, where a person at a terminal started it or not: then it ends when the terminal is closed.
    #[must_use]
    pub fn in_terminal(self, in_terminal: bool) -> Self {
        Self { in_terminal, ..self }
    }

    /// Starts the log, and keeps what is needed to load the configuration again.
    fn basis(&self, loaded: &Loaded, global: &Global) -> Basis {
        let (quiet, verbose) = (global.quiet, global.verbose);
        let log = &loaded.config.log;
        let started = logging::start(settings::style(log), lines(log, quiet, verbose));
        let log: Part = Box::new(move |config| {
            let (started, lines) = (started.clone(), lines(&config.log, quiet, verbose));
            Ok(Box::new(move || started.set(lines)))
        });
        Basis {
            kept: loaded.kept.clone(),
            said: loaded.said(),
            parts: vec![log],
            found: Vec::new(),
            hangup_ends: self.in_terminal,
        }
    }
}

impl Services for Machine {
    fn up(&self, loaded: Loaded, global: &Global, options: &UpOptions) -> Result<(), CliError> {
        let basis = self.basis(&loaded, global);
        let output = match &options.out {
            Some(file) => Output::File(file.clone()),
            None => self.output.clone(),
        };
        super::up(loaded.config, basis, output).map_err(CliError::from)
    }

    fn serve(&self, loaded: Loaded, global: &Global, _: &ServeOptions) -> Result<(), CliError> {
        let basis = self.basis(&loaded, global);
        super::serve(loaded.config, basis).map_err(CliError::from)
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
                DataDirError::Open { .. } | DataDirError::Foreign { .. } | DataDirError::InUse(_),
            ) => Self::NotAllowed(sentence),
            ServeFault::DataDir(DataDirError::Io { error, .. })
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                Self::NotAllowed(sentence)
            }
            ServeFault::DataDir(DataDirError::NotADirectory(_) | DataDirError::Io { .. })
            | ServeFault::Listen { .. }
            | ServeFault::Socket(_)
            | ServeFault::Out { .. }
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
            ServeFault::Socket(_) | ServeFault::Process(_) => Self::new(Exit::Failure, sentence),
            ServeFault::Interrupted => Self::new(Exit::Interrupted, sentence),
        }
    }
}
