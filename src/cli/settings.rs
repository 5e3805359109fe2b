//! The configuration as the command line uses it, and the commands about it. Never: what settings mean.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{self, Faults, Flags, Loaded, Purpose, ServerConfig, Sources};
use crate::registry::Rules;
use crate::types::{Prices, Timestamp};

use super::args::{ConfigVerb, Format, Global, ServeOptions, UpOptions};
use super::error::{CliError, Exit};
use super::table::{plain, table};
use super::terminal::{Screen, clean};

/// What commands that do not serve take from the configuration.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) data: PathBuf,
    pub(super) rotation_grace: Duration,
    pub(super) rules: Rules,
    /// Scheme, host and port of the links that commands make.
    pub(super) base_url: String,
    pub(super) prices: Prices,
}

/// The grace of a rotation where no configuration can say it.
const ROTATION_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a server waits for a certificate and a key that do not fit together: whoever renews them may be writing, and
/// a service that refuses its configuration is not started again.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where Ember listens when nobody says otherwise.
const BASE_URL: &str = "http://127.0.0.1:7411";

fn base_url(server: &ServerConfig) -> String {
    let address = server.listen.first();
    address.map_or_else(|| BASE_URL.to_string(), |address| server.base_url(*address))
}

/// A key must be revocable with a broken configuration, too: `--data` or `EMBER_DATA` says all that is needed.
pub(super) fn for_command(global: &Global, screen: &mut Screen<'_, '_>) -> Result<Settings, CliError> {
    let (settings, faults) = to_reach(global, screen)?;
    if let Some(faults) = faults {
        screen.warn(&format!("the configuration is left out, since it has faults:\n{faults}"));
    }
    Ok(settings)
}

/// The same, with the faults for which the configuration was left out.
pub(super) fn to_reach(
    global: &Global,
    screen: &Screen<'_, '_>,
) -> Result<(Settings, Option<Faults>), CliError> {
    let loaded = load(global, Flags { data: global.data.clone(), ..Flags::default() }, screen);
    match (loaded, named_data(global, screen)) {
        (Ok(loaded), _) => {
            let config = loaded.config;
            let settings = Settings {
                rules: config.rules(),
                base_url: base_url(&config.server),
                prices: config.usage.prices,
                data: config.data,
                rotation_grace: config.keys.rotation_grace,
            };
            Ok((settings, None))
        }
        (Err(faults), Some(data)) => Ok((bare(screen.terminal.cwd.join(data)), Some(faults))),
        (Err(faults), None) => Err(wrong(&faults).hint("give --data DIR to go on without the configuration")),
    }
}

/// What holds where no configuration says anything.
pub(super) fn bare(data: PathBuf) -> Settings {
    Settings {
        data,
        rotation_grace: ROTATION_GRACE,
        rules: Rules::default(),
        base_url: BASE_URL.to_string(),
        prices: Prices::default(),
    }
}

/// All there is to say about the configuration, and the data directory, which `--data` and `EMBER_DATA` say where the
/// configuration can't.
pub(super) fn for_doctor(
    global: &Global,
    screen: &Screen<'_, '_>,
) -> (Result<Loaded, Faults>, Option<PathBuf>) {
    let flags = Flags { data: global.data.clone(), purpose: Purpose::Check, ..Flags::default() };
    let loaded = load(global, flags, screen);
    let data = match &loaded {
        Ok(loaded) => Some(loaded.config.data.clone()),
        Err(_) => named_data(global, screen).map(|data| screen.terminal.cwd.join(data)),
    };
    (loaded, data)
}

fn named_data(global: &Global, screen: &Screen<'_, '_>) -> Option<PathBuf> {
    global.data.clone().or_else(|| screen.terminal.variable("EMBER_DATA").map(PathBuf::from))
}

pub(super) fn for_up(
    global: &Global,
    options: &UpOptions,
    screen: &mut Screen<'_, '_>,
) -> Result<Loaded, CliError> {
    let flags = Flags {
        data: global.data.clone(),
        listen: options.listen.clone(),
        upstreams: options.upstream.clone(),
        purpose: Purpose::Serve,
        patience: PATIENCE,
    };
    warned(load(global, flags, screen), screen)
}

pub(super) fn for_serve(
    global: &Global,
    options: &ServeOptions,
    screen: &mut Screen<'_, '_>,
) -> Result<Loaded, CliError> {
    let flags = Flags {
        data: global.data.clone(),
        listen: options.listen.clone(),
        purpose: Purpose::Serve,
        patience: PATIENCE,
        ..Flags::default()
    };
    warned(load(global, flags, screen), screen)
}

pub(super) fn run(
    verb: &ConfigVerb,
    global: &Global,
    now: Timestamp,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let flags = |purpose| Flags { data: global.data.clone(), purpose, ..Flags::default() };
    match verb {
        ConfigVerb::Default => screen.data(config::EXAMPLE.trim_end()),
        ConfigVerb::Check => {
            let loaded = warned(load(global, flags(Purpose::Check), screen), screen)?;
            let shown = loaded.config.server.tls.as_ref().and_then(|tls| tls.certificate.as_ref());
            // A running server says it in its log.
            if let Some(complaint) = shown.and_then(|shown| shown.complaint(now)) {
                screen.warn(&format!("the certificate of server.tls.cert_file is not well: {complaint}"));
            }
            screen.note(&match &loaded.file {
                Some(file) => format!("{} is without fault", file.display()),
                None => "there is no configuration file; the defaults hold".to_string(),
            });
            Ok(())
        }
        ConfigVerb::Show { origin } => {
            let loaded = warned(load(global, flags(Purpose::Command), screen), screen)?;
            print(&loaded, *origin, screen)
        }
    }
}

fn load(global: &Global, flags: Flags, screen: &Screen<'_, '_>) -> Result<Loaded, Faults> {
    config::load(&Sources {
        file: global.config.as_deref(),
        environment: &screen.terminal.env,
        flags,
        directory: Some(&screen.terminal.cwd),
    })
}

fn warned(loaded: Result<Loaded, Faults>, screen: &mut Screen<'_, '_>) -> Result<Loaded, CliError> {
    let loaded = loaded.map_err(|faults| wrong(&faults))?;
    for warning in &loaded.warnings {
        screen.warn(warning);
    }
    Ok(loaded)
}

fn wrong(faults: &Faults) -> CliError {
    CliError::new(
        Exit::Configuration,
        format!("the configuration was refused, nothing was changed:\n{faults}"),
    )
    .hint("`ember config default` prints a complete one with every setting explained")
}

fn print(loaded: &Loaded, origin: bool, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let settings = loaded.settings();
    let rows = || {
        let row = |setting: &config::Setting| {
            let mut row = vec![setting.path.clone(), setting.value.trim().to_string()];
            row.extend(origin.then(|| setting.origin.clone()));
            row
        };
        settings.iter().map(row).collect::<Vec<_>>()
    };
    match screen.format {
        Format::Table if origin => screen.data(&table(&["SETTING", "VALUE", "ORIGIN"], &rows()).join("\n")),
        Format::Table => {
            let line = |setting: &config::Setting| format!("{} = {}", setting.path, setting.value.trim());
            screen.data(&clean(&settings.iter().map(line).collect::<Vec<_>>().join("\n")))
        }
        Format::Plain | Format::Csv => screen.data(&plain(&rows()).join("\n")),
        Format::Json => {
            let one = |setting: &config::Setting| serde_json::json!({ "setting": setting.path, "value": setting.value.trim(), "origin": setting.origin });
            let data: Vec<_> = settings.iter().map(one).collect();
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            screen
                .data(&format!("{:#}", serde_json::json!({ "object": "config", "file": file, "data": data })))
        }
    }
}
