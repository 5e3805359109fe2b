//! Having the running server load its configuration anew. Never: reading it for the server.

use crate::admin::{Command, Reply};

use super::args::Global;
use super::desk::Desk;
use super::error::CliError;
use super::terminal::Screen;
use super::{Services, settings, show};

pub(super) fn run(
    global: &Global,
    screen: &mut Screen<'_, '_>,
    services: &dyn Services,
) -> Result<(), CliError> {
    services.start_log(global.verbose);
    // Faults are for the server to tell: it knows which file it goes by.
    let (settings, _) = settings::to_reach(global, screen)?;
    let desk = Desk::new(services, settings, screen.terminal.uid);
    let reply = desk.ask_running(&Command::Reload)?;
    let Reply::Reloaded(reloaded) = &reply else { return Err(show::unexpected()) };
    for warning in &reloaded.warnings {
        screen.warn(warning);
    }
    for setting in &reloaded.restart {
        screen.warn(&format!("{setting} changed and needs a restart"));
    }
    if reloaded.changed.is_empty() && reloaded.restart.is_empty() {
        screen.note("The configuration was loaded anew; no setting changed.");
        if screen.format != super::Format::Json {
            return Ok(());
        }
    }
    show::reply(&reply, desk.now(), screen)
}
