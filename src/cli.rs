//! The command line: parses it, asks the running server or the file, prints the answer.
//! Never: rules (the registry has them), what serving is (`main` hands it in as [`Services`]).

mod account;
mod args;
mod audit;
mod backup;
mod compact;
mod desk;
mod doctor;
mod error;
mod ignored;
mod invite;
mod key;
mod leak;
mod manual;
mod moment;
mod reload;
mod report;
mod restore;
mod scan;
mod secret;
mod session;
mod settings;
mod show;
mod size;
mod socket;
mod table;
mod terminal;
#[cfg(test)]
mod tests;
mod token;
mod upstream;
mod value;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};

use crate::admin::{Command, Reply};
use crate::config::{Loaded, UpstreamConfig};
use crate::http::admin::{Snapshot, VERSION};
use crate::meter::Meter;
use crate::registry::{Registry, Rules};
use crate::store::{CompactStep, Compacted};
use crate::types::Clock;
use crate::upstream::Probe;

pub use args::{Color, Format, Global, ServeOptions, UpOptions};
pub use error::{CliError, Exit, OpenError};
pub use terminal::{Screen, Terminal};

use args::{Args, ModelVerb, StatusOptions, UsageOptions, Verb};
use desk::Desk;
use terminal::clean;

/// What stands above the command line; `main` hands it in.
pub trait Services {
    /// The first minute, then serves until it is told to stop.
    ///
    /// # Errors
    /// [`CliError`].
    fn up(&self, loaded: Loaded, global: &Global, options: &UpOptions) -> Result<(), CliError>;

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// [`CliError`].
    fn serve(&self, loaded: Loaded, global: &Global, options: &ServeOptions) -> Result<(), CliError>;

    /// Opens the store in a data directory, to be used by the operator's rules; with `create`, makes directory and store
    /// when there is none.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open(&self, data: &Path, create: bool, rules: &Rules) -> Result<Opened, OpenError>;

    /// Opens one store file by its path, as it lies. Keeps no space back beside it.
    ///
    /// # Errors
    /// [`OpenError`].
    fn open_file(&self, file: &Path) -> Result<Opened, OpenError>;

    /// Opens one store file to be looked at: nothing is written and nothing changed, whatever state it is in.
    ///
    /// # Errors
    /// [`OpenError`].
    fn look(&self, file: &Path) -> Result<Looked, OpenError>;

    /// Makes the store's file in a data directory as small as what is in it. `told` hears several times a second what is
    /// being done, and how many bytes the file has.
    ///
    /// # Errors
    /// [`OpenError`].
    fn compact(&self, data: &Path, told: &mut dyn FnMut(CompactStep, u64)) -> Result<Compacted, OpenError>;

    /// Asks model servers how they are, all at once; the answers are in their order.
    ///
    /// # Errors
    /// A sentence, when one of them can't even be asked.
    fn probe(&self, upstreams: Vec<UpstreamConfig>) -> Result<Vec<Probe>, String>;

    /// Starts log lines on stderr for a command that does not serve: what went wrong, and more with each `-v`.
    fn start_log(&self, verbose: u8);

    /// The time.
    fn clock(&self) -> &dyn Clock;
}

/// A store that this process has open, until it is dropped.
pub struct Opened {
    /// Where the rules are.
    pub registry: Arc<Registry>,
    /// What was used.
    pub meter: Arc<Meter>,
    /// Makes a copy of it.
    pub snapshot: Snapshot,
}

/// A store that this process looks at and does not change, until it is dropped.
pub struct Looked {
    /// Where the rules are.
    pub registry: Arc<Registry>,
    /// What was used.
    pub meter: Arc<Meter>,
}

/// Does what a command line says. `args` begins with the program's name. The result is the exit code.
#[must_use]
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    terminal: &mut Terminal<'_>,
    services: &dyn Services,
) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = match parse(&args, terminal) {
        Ok(parsed) => parsed,
        Err(exit) => return exit as u8,
    };
    let mut screen = Screen::new(terminal, &parsed.global);
    match carry_out(&parsed, &mut screen, services) {
        Ok(()) => Exit::Ok as u8,
        Err(error) => {
            screen.error(&error);
            error.exit as u8
        }
    }
}

fn carry_out(args: &Args, screen: &mut Screen<'_, '_>, services: &dyn Services) -> Result<(), CliError> {
    let global = &args.global;
    if global.output == Format::Csv && !matches!(args.verb, Verb::Usage(UsageOptions { verb: None, .. })) {
        return Err(CliError::new(
            Exit::Usage,
            "csv is there for `ember usage` only; use table, json or plain",
        ));
    }
    match &args.verb {
        Verb::Up(options) => services.up(settings::for_up(global, options, screen)?, global, options),
        Verb::Serve(options) => {
            services.serve(settings::for_serve(global, options, screen)?, global, options)
        }
        Verb::Config(verb) => settings::run(verb, global, services.clock().now(), screen),
        Verb::Reload => reload::run(global, screen, services),
        Verb::Completions(options) => manual::completions(options, screen),
        Verb::Man(options) => manual::man(options, screen),
        Verb::Version => version(screen),
        Verb::Account(verb) => account::run(verb, &desk(global, screen, services)?, screen),
        Verb::Key(verb) => key::run(verb, &desk(global, screen, services)?, screen),
        Verb::Invite(verb) => invite::run(verb, &desk(global, screen, services)?, screen),
        Verb::Token(verb) => token::run(verb, &desk(global, screen, services)?, screen),
        Verb::Model(ModelVerb::List) => report::models(&desk(global, screen, services)?, screen),
        Verb::Upstream(verb) => upstream::run(verb, &desk(global, screen, services)?, screen),
        Verb::Audit(options) => audit::run(options, &desk(global, screen, services)?, screen),
        Verb::Usage(options) => report::usage(options, &desk(global, screen, services)?, screen),
        Verb::Scan(options) => scan::run(options, screen, |screen| desk(global, screen, services)),
        Verb::Status(options) => status(options, &desk(global, screen, services)?, screen),
        Verb::Backup { file } => backup::run(file, &desk(global, screen, services)?, screen),
        Verb::Restore { file } => restore::run(file, &desk(global, screen, services)?, screen),
        Verb::Doctor(options) => doctor::run(options, global, services, screen),
        Verb::Compact => compact::run(&desk(global, screen, services)?, screen),
    }
}

fn desk<'s>(
    global: &Global,
    screen: &mut Screen<'_, '_>,
    services: &'s dyn Services,
) -> Result<Desk<'s>, CliError> {
    services.start_log(global.verbose);
    let settings = settings::for_command(global, screen)?;
    Ok(Desk::new(services, settings, screen.terminal.uid))
}

fn version(screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match screen.format {
        Format::Table => screen.data(&format!("ember {VERSION}")),
        Format::Plain | Format::Csv => screen.data(VERSION),
        Format::Json => {
            let json = serde_json::json!({ "object": "version", "version": VERSION });
            screen.data(&format!("{json:#}"))
        }
    }
}

/// A health check, too: only a server that runs is a good end.
fn status(options: &StatusOptions, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    if let Some(every) = options.watch {
        return watch::run(every, options.count, desk, screen);
    }
    let reply = desk.ask(&Command::Status)?;
    let running = matches!(&reply, Reply::Status(status) if status.server.is_some());
    show::reply(&reply, desk.now(), screen)?;
    if running { Ok(()) } else { Err(CliError::silent(Exit::Unreachable)) }
}

/// What was typed, if it makes sense; else everything was said.
fn parse(args: &[OsString], terminal: &mut Terminal<'_>) -> Result<Args, Exit> {
    if let Some(leak) = args.iter().find_map(|argument| leak::find(argument)) {
        let _ = terminal.stderr.write_all(leak.refusal().as_bytes());
        return Err(Exit::Usage);
    }
    let parsed = Args::command()
        .try_get_matches_from(args)
        .and_then(|mut matches| Args::from_arg_matches_mut(&mut matches));
    parsed.map_err(|fault| explain(&fault, args, terminal))
}

/// Prints what clap says: help and version as data, faults as errors, without what acts on a terminal.
fn explain(fault: &clap::Error, args: &[OsString], terminal: &mut Terminal<'_>) -> Exit {
    let is_fault = fault.use_stderr();
    let is_terminal = if is_fault { terminal.stderr_is_terminal } else { terminal.stdout_is_terminal };
    let never = args.iter().any(|argument| argument == "--color=never")
        || args.windows(2).any(|two| two[0] == "--color" && two[1] == "never");
    let odd = args.iter().any(|argument| {
        let text = argument.to_string_lossy();
        clean(&text) != text
    });
    let rendered = fault.render();
    let text = match terminal.wants_color(is_terminal) && !never && !odd {
        true => rendered.ansi().to_string(),
        false => clean(&rendered.to_string()),
    };
    let out = if is_fault { &mut terminal.stderr } else { &mut terminal.stdout };
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if is_fault { Exit::Usage } else { Exit::Ok }
}
