//! Completions for shells and manual pages, made from the definitions of the commands. Never: what commands do.

use std::io::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::http::admin::VERSION;

use super::args::{Args, CompletionsOptions, ManOptions};
use super::error::CliError;
use super::terminal::Screen;

/// The name under which the program is called.
const PROGRAM: &str = "ember";

/// A script for stdout.
pub(super) fn completions(options: &CompletionsOptions, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Args::command(), PROGRAM, &mut script);
    text(&script, screen)
}

/// The page of `ember` for stdout, or a file for each command.
pub(super) fn man(options: &ManOptions, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let command = complete(Args::command());
    let Some(dir) = &options.dir else {
        return text(&rendered(&page(&command)), screen);
    };
    let dir = screen.terminal.cwd.join(dir);
    let failed = |error| CliError::of_file(&error, format!("{} can't be written: {error}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let pages = write_pages(&command, &dir)?;
    screen.note(&format!("{pages} pages are in {}.", dir.display()));
    Ok(())
}

/// With all that clap works out of it: full names, the global flags on every command.
fn complete(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

/// Writes the page of a command and of all below it. Returns how many.
fn write_pages(command: &Command, dir: &Path) -> Result<usize, CliError> {
    let page = page(command);
    let path = dir.join(page.get_filename());
    std::fs::write(&path, rendered(&page)).map_err(|error| {
        CliError::of_file(&error, format!("{} can't be written: {error}", path.display()))
    })?;
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    below.map(|one| write_pages(one, dir)).try_fold(1, |sum, pages| Ok(sum + pages?))
}

fn page(command: &Command) -> Man {
    Man::new(command.clone()).source(format!("{PROGRAM} {VERSION}")).manual("Ember")
}

fn rendered(page: &Man) -> Vec<u8> {
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = page.render(&mut text).and_then(|()| text.flush());
    text
}

fn text(bytes: &[u8], screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    screen.data(String::from_utf8_lossy(bytes).trim_end())
}
