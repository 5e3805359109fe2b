//! The commands about model servers. Never: speaking to them.

use crate::admin::{Command, Reply, UpstreamAsk};

use super::args::{Format, UpstreamVerb};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::terminal::Screen;

pub(super) fn run(verb: &UpstreamVerb, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match verb {
        UpstreamVerb::List => {
            show::reply(&desk.ask_server(&Command::Upstream(UpstreamAsk::List))?, desk.now(), screen)
        }
        UpstreamVerb::Test { upstream, model, stream } => {
            let (upstream, model, stream) = (upstream.clone(), model.clone(), *stream);
            test(&Command::Upstream(UpstreamAsk::Test { upstream, model, stream }), desk, screen)
        }
        UpstreamVerb::Drain { upstream } => {
            changed(&Command::Upstream(UpstreamAsk::Drain { upstream: upstream.clone() }), desk, screen)
        }
        UpstreamVerb::Undrain { upstream } => {
            changed(&Command::Upstream(UpstreamAsk::Undrain { upstream: upstream.clone() }), desk, screen)
        }
    }
}

/// A check, too: only a server that did all that was asked is a good end.
fn test(command: &Command, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let reply = desk.ask_server(command)?;
    let Reply::UpstreamTested(test) = &reply else { return Err(show::unexpected()) };
    show::reply(&reply, desk.now(), screen)?;
    let Some(failed) = test.steps.iter().find(|step| !step.ok) else { return Ok(()) };
    let sentence = format!("the model server {} failed at '{}': {}", test.name, failed.name, failed.detail);
    Err(CliError::new(Exit::Failure, sentence))
}

fn changed(command: &Command, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let reply = desk.ask_server(command)?;
    let Reply::Upstream(server) = &reply else { return Err(show::unexpected()) };
    if screen.format != Format::Table {
        return show::reply(&reply, desk.now(), screen);
    }
    let name = &server.name;
    let sentence = if matches!(command, Command::Upstream(UpstreamAsk::Drain { .. })) {
        let left = match server.in_flight {
            0 => "nothing is under way there".to_string(),
            1 => "1 request under way goes on".to_string(),
            count => format!("{count} requests under way go on"),
        };
        format!(
            "{name} gets no new requests; {left}. This lasts until `ember upstream undrain {name}` or a restart of Ember."
        )
    } else {
        format!("{name} gets requests again.")
    };
    screen.note(&sentence);
    if !server.detail.is_empty() {
        screen.note(&format!("{name}: {}", server.detail));
    }
    Ok(())
}
