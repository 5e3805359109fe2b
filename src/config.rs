//! `ember.toml`, environment and flags on top of Ember's defaults, checked whole. Never: opening or serving anything.

mod acme;
mod address;
mod change;
mod checked;
mod descriptors;
mod exposed;
mod fault;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod judge;
mod kind;
mod layer;
mod raw;
mod secret;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use change::{Changes, Said};
pub use checked::{
    AcmeConfig, AuditConfig, Config, DashboardConfig, KeysConfig, LimitsConfig, LogConfig, LogFormat,
    LogLevel, ModelsConfig, ServerConfig, StoreConfig, TlsConfig, UpstreamAddress, UpstreamConfig,
    UpstreamTls, UsageConfig,
};
pub use descriptors::Descriptors;
pub use fault::{Fault, Faults};

use fault::Place;
use file::Document;
use judge::Judge;
use layer::Layers;

/// The commented example: every setting at its default. What `ember config default` prints.
pub const EXAMPLE: &str = include_str!("../ember.toml");

/// Where settings come from, the weakest first: defaults, the file, the environment, flags.
#[derive(Default)]
pub struct Sources<'a> {
    /// The file that `-c` names. Without it, `EMBER_CONFIG` in `environment`, else the usual places.
    pub file: Option<&'a Path>,
    /// Every variable of the process; nothing else is read from its environment.
    pub environment: &'a [(String, String)],
    /// What the command line says.
    pub flags: Flags,
    /// Where `./ember.toml` is looked for; the working directory when `None`.
    pub directory: Option<&'a Path>,
}

/// Where a configuration came from, to read it again: the same file and flags, and the environment as it was then. What
/// the files hold is read anew.
#[derive(Clone)]
pub struct Kept {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Flags,
    directory: Option<PathBuf>,
}

impl Kept {
    fn of(sources: &Sources, found: Option<&Path>) -> Self {
        Self {
            file: found.or(sources.file).map(Path::to_path_buf),
            environment: sources.environment.to_vec(),
            flags: sources.flags.clone(),
            directory: sources.directory.map(Path::to_path_buf),
        }
    }

    /// Reads and checks everything again.
    ///
    /// # Errors
    /// [`Faults`], as [`load`].
    pub fn load(&self) -> Result<Loaded, Faults> {
        let Self { file, environment, flags, directory } = self;
        let (file, directory) = (file.as_deref(), directory.as_deref());
        load(&Sources { file, environment, flags: flags.clone(), directory })
    }
}

/// The environment may hold secrets.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Settings that the command line can give.
#[derive(Default, Clone)]
pub struct Flags {
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--upstream`, URLs; added to those of the file, each named after its host and port.
    pub upstreams: Vec<String>,
    /// What it is read for.
    pub purpose: Purpose,
    /// How long the files of a certificate may take to fit together: they are not written in one moment.
    pub patience: Duration,
}

/// What a configuration is read for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For a command that goes by it. What is wrong with files that only a server needs is a warning, or not looked at:
    /// such a command may not get at them.
    #[default]
    Command,
    /// To say all that is wrong with it. What the service manager hands to the service alone is not looked at.
    Check,
    /// To serve.
    Serve,
}

/// A configuration without fault.
#[derive(Debug)]
pub struct Loaded {
    /// All settings.
    pub config: Config,
    /// The file that was read, if any was there.
    pub file: Option<PathBuf>,
    /// Sentences for the operator about what has no effect.
    pub warnings: Vec<String>,
    /// Where all of it came from.
    pub kept: Kept,
    settings: Vec<Setting>,
}

/// One setting as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Like `server.listen` or `upstream.0.url`.
    pub path: String,
    /// The value as TOML; `(secret)` for a key.
    pub value: String,
    /// `default`, `ember.toml:12`, `EMBER_SERVER__LISTEN`, `--listen`.
    pub origin: String,
}

impl Loaded {
    /// Every setting with its value and where that comes from, by path.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        self.settings.clone()
    }

    /// What it says, to be compared with what it says later. Before a part of it is taken out.
    #[must_use]
    pub fn said(&self) -> Said {
        Said::by(&self.settings, &self.config)
    }
}

/// Reads and checks everything.
///
/// # Errors
/// [`Faults`]: all that is wrong, each with its place and what was meant. Nothing has been changed.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut faults = Faults::default();
    let document = file::find(sources.file, sources.directory, sources.environment, &mut faults);
    judged(sources, document, faults)
}

/// What a file and the other sources come to.
fn judged(sources: &Sources, document: Option<Document>, mut faults: Faults) -> Result<Loaded, Faults> {
    let mut warnings = Vec::new();
    let from_file = file::layer(document.as_ref(), &mut faults);
    let layers = Layers::pile(from_file, sources.environment, &sources.flags, &mut warnings, &mut faults);
    let raw = layers.merged().map_err(|error| faults.add(Place::Default, error)).ok();
    let judged = raw.map(|raw| {
        let (layers, environment, flags) = (&layers, sources.environment, &sources.flags);
        let (faults, warnings) = (&mut faults, &mut warnings);
        let (purpose, patience) = (flags.purpose, flags.patience);
        Judge { layers, environment, purpose, patience, faults, warnings, trusted: None }.config(raw)
    });
    let (config, data_origin) = faults.unless(judged)?;
    let settings = settings(&layers, &config, data_origin);
    let file = document.map(|document| document.path);
    Ok(Loaded { config, kept: Kept::of(sources, file.as_deref()), file, warnings, settings })
}

/// What was merged, with the data directory that came of it, and a line for each key that was read.
fn settings(layers: &Layers, config: &Config, data_origin: String) -> Vec<Setting> {
    let mut settings = layers.settings();
    if let Some(data) = settings.iter_mut().find(|setting| setting.path == "data") {
        data.value = toml_edit::Value::from(config.data.display().to_string()).to_string();
        data.origin = data_origin;
    }
    let keys = settings.iter().filter_map(|setting| {
        let upstream = setting.path.strip_suffix("_file").or_else(|| setting.path.strip_suffix("_env"))?;
        let read = upstream.ends_with(".api_key") && setting.value != "\"\"";
        read.then(|| Setting {
            path: upstream.to_string(),
            value: "(secret)".to_string(),
            origin: setting.origin.clone(),
        })
    });
    let keys: Vec<Setting> = keys.collect();
    settings.extend(keys);
    settings.sort_by(|one, other| one.path.cmp(&other.path));
    settings
}
