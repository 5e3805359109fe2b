//! Showing a new secret once: on the terminal, alone on a pipe, or in a file of its own. Never: kept anywhere else.

mod file;
mod fresh;

use std::path::Path;

use crate::admin::{Command, Reply, wire};

use super::args::Format;
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::table::sheet;
use super::terminal::Screen;
use file::SecretFile;
use fresh::Fresh;

/// Asks for a secret and shows it; the last thing that ever has it. Its file is made before it is: one that can't be
/// kept is not made.
pub(super) fn issue(
    command: &Command,
    out: Option<&Path>,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let file = out.map(|path| SecretFile::create(path, screen)).transpose()?;
    let answer = desk.ask(command);
    match answer.as_ref().ok().and_then(|reply| Some((reply, Fresh::of(reply, desk.now())?))) {
        Some((reply, fresh)) => show(reply, &fresh, file, screen),
        None => {
            if let Some(file) = file {
                file.discard();
            }
            answer.and(Err(show::unexpected()))
        }
    }
}

fn show(
    reply: &Reply,
    fresh: &Fresh<'_>,
    file: Option<SecretFile>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    match file {
        None => on_stdout(reply, fresh, screen).map_err(|error| lost(fresh, &error.message))?,
        Some(mut file) => {
            let path = file.path.display().to_string();
            let written = file.write(fresh.text);
            written.map_err(|error| lost(fresh, &format!("{path} can't be written: {error}")))?;
            beside_file(reply, fresh, &path, screen)?;
        }
    }
    if fresh.stays_here() {
        screen.note("The link leads to this machine; server.public_url says what others reach it by.");
    }
    Ok(())
}

/// What is said when the secret itself is in a file.
fn beside_file(
    reply: &Reply,
    fresh: &Fresh<'_>,
    path: &str,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    if screen.format == Format::Json {
        return screen.data(&wire::encode_without_secret(reply)?);
    }
    screen.note(&format!("The {} is in {path} and nowhere else.", fresh.noun));
    sheet(&fresh.facts).iter().for_each(|line| screen.note(line));
    Ok(())
}

fn on_stdout(reply: &Reply, fresh: &Fresh<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match screen.format {
        Format::Json => screen.data(&wire::encode_pretty(reply)?),
        Format::Table if screen.terminal.stdout_is_terminal => {
            let mut lines = vec![String::new(), format!("  {}", screen.bold(fresh.text)), String::new()];
            lines.push(fresh.advice.to_string());
            lines.extend(sheet(&fresh.facts));
            screen.data(&lines.join("\n"))
        }
        Format::Table | Format::Plain | Format::Csv => {
            screen.data(fresh.text)?;
            sheet(&fresh.facts).iter().for_each(|line| screen.note(line));
            Ok(())
        }
    }
}

/// The secret is made and nobody has it.
fn lost(fresh: &Fresh<'_>, reason: &str) -> CliError {
    let reason = if reason.is_empty() { "nobody reads the output any more" } else { reason };
    let sentence = format!("{}, but it could not be shown: {reason}", fresh.done);
    CliError::new(Exit::Failure, sentence).hint(format!("nobody has it; {}", fresh.remedy))
}
