//! `ember scan`: finds keys that lie where they must not, says whose they are, and has them revoked. Never: a whole
//! secret in anything that is printed.

mod files;
mod git;
mod haul;
mod listing;
mod sieve;
mod standing;

use std::fs;
use std::io;
use std::path::Path;

use super::args::{Format, ScanOptions};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::terminal::Screen;
use crate::types::counted;
use haul::Haul;
use sieve::Sieve;
use standing::{Known, Standing};

/// So many commands are proposed.
const PROPOSED_MAX: usize = 20;

/// Looks, tells, and ends with exit code 0 only when nothing was found. The desk is asked for when there is something
/// to ask: a scan that finds nothing needs no Ember.
pub(super) fn run<'s, 'a, 'b>(
    options: &ScanOptions,
    screen: &mut Screen<'a, 'b>,
    desk: impl FnOnce(&mut Screen<'a, 'b>) -> Result<Desk<'s>, CliError>,
) -> Result<(), CliError> {
    must_be_there(options, screen)?;
    let haul = collect(options, screen)?;
    tell_unread(&haul, screen);
    if haul.finds.is_empty() {
        return end_clean(&haul, screen);
    }
    let Haul { secrets, finds, more, files, .. } = haul;
    let desk = desk(screen);
    let mut known = standing::look_up(secrets, desk.as_ref(), screen);
    let mut failed = None;
    if let (true, Ok(desk)) = (options.revoke, &desk) {
        failed = revoke_all(&mut known, desk, screen);
    }
    listing::print(&finds, &known, screen).map_err(with_finds)?;
    if more > 0 {
        screen.warn(&format!("{more} more finds are not listed; take these out and scan again"));
    }
    screen.note(&format!(
        "{} in {}: {} found.",
        counted(finds.len(), "place"),
        counted(files, "file"),
        counted(known.len(), "secret")
    ));
    if let Ok(desk) = &desk {
        failed = failed.or(offer(options, &mut known, desk, screen));
    }
    advise(&known, screen);
    Err(failed.unwrap_or_else(|| CliError::silent(Exit::Failure)))
}

/// Whoever stopped reading is not to be told that nothing was found.
fn with_finds(error: CliError) -> CliError {
    if error.exit == Exit::Ok { CliError::silent(Exit::Failure) } else { error }
}

/// Nothing is looked at when a path is mistyped.
fn must_be_there(options: &ScanOptions, screen: &Screen<'_, '_>) -> Result<(), CliError> {
    let of_git = options.git || options.staged;
    for path in &options.paths {
        if is_stdin(path) {
            if of_git {
                let sentence = "stdin is no git repository; --git and --staged take the path of one";
                return Err(CliError::new(Exit::Usage, sentence));
            }
        } else if let Err(error) = fs::symlink_metadata(screen.terminal.cwd.join(path)) {
            let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
            let exit = if is_forbidden { Exit::NotAllowed } else { Exit::NotFound };
            return Err(CliError::new(exit, format!("{} can't be read: {error}", path.display())));
        }
    }
    Ok(())
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn collect(options: &ScanOptions, screen: &mut Screen<'_, '_>) -> Result<Haul, CliError> {
    let (mut haul, mut sieve) = (Haul::default(), Sieve::new());
    let cwd = screen.terminal.cwd.clone();
    for path in &options.paths {
        if options.git {
            git::history(&cwd.join(path), &mut haul, &mut sieve)?;
        } else if options.staged {
            git::staged(&cwd.join(path), &mut haul, &mut sieve)?;
        } else if is_stdin(path) {
            let stdin = &mut screen.terminal.stdin;
            let read = haul.add_text(None, Some("-"), |found| sieve.sift(stdin, found));
            if let Err(error) = read {
                haul.warn(&format!("stdin can't be read: {error}"));
            }
        } else {
            files::scan(path, &cwd, options.no_ignore, &mut haul, &mut sieve);
        }
    }
    Ok(haul)
}

fn tell_unread(haul: &Haul, screen: &mut Screen<'_, '_>) {
    for warning in &haul.unread.warnings {
        screen.warn(warning);
    }
    if haul.unread.more > 0 {
        screen.warn(&format!("{} more could not be read", haul.unread.more));
    }
}

fn end_clean(haul: &Haul, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    if screen.format == Format::Json {
        listing::print(&[], &[], screen)?;
    }
    screen.note(&format!("No secret of Ember's in {} ({} bytes).", counted(haul.files, "file"), haul.bytes));
    if haul.unread.is_empty() { Ok(()) } else { Err(CliError::silent(Exit::NotAllowed)) }
}

/// Revokes whatever could be used; the result is the first failure.
fn revoke_all(known: &mut [Known], desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Option<CliError> {
    let mut failed = None;
    for one in known.iter_mut().filter(|one| one.to_revoke().is_some()) {
        let error = revoke(one, desk, screen);
        failed = failed.or(error);
    }
    failed
}

fn revoke(one: &mut Known, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Option<CliError> {
    match one.revoke(desk) {
        Ok(told) => {
            screen.note(&told);
            None
        }
        Err(error) => {
            screen.warn(&format!("{} was not revoked: {}", one.mark, error.message));
            Some(CliError::silent(error.exit))
        }
    }
}

/// Asks a person for each key, or says how to revoke it.
fn offer(
    options: &ScanOptions,
    known: &mut [Known],
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Option<CliError> {
    let ask = screen.can_ask() && !screen.yes();
    let (mut failed, mut proposed) = (None, 0);
    if options.revoke {
        return None;
    }
    for one in known.iter_mut() {
        let Some(key) = one.to_revoke() else { continue };
        let question = format!(
            "Revoke key {} ({}) of {} ({})? It can't be undone.",
            key.name,
            key.environment,
            show::owner(key),
            key.id
        );
        if !ask {
            proposed += 1;
            if proposed <= PROPOSED_MAX {
                screen.note(&format!("To revoke {}: ember key revoke {}", one.mark, key.id));
            }
        } else if screen.confirm(&question).is_ok() {
            let error = revoke(one, desk, screen);
            failed = failed.or(error);
        }
    }
    if proposed > PROPOSED_MAX {
        screen.note("There are more; --revoke revokes all of them.");
    }
    failed
}

/// What no question was about.
fn advise(known: &[Known], screen: &mut Screen<'_, '_>) {
    for key in known.iter().filter_map(Known::in_grace).take(PROPOSED_MAX) {
        screen.note(&format!(
            "An older secret of key {} works until its grace ends; `ember key revoke {}` would end the newer one, too.",
            key.name, key.id
        ));
    }
    if known.iter().any(|one| matches!(one.standing, Standing::NotLookedUp)) {
        screen.note(
            "Links and tokens are not looked up: `ember token list`, `ember invite list` and `ember account sessions` \
             show those that work.",
        );
    }
}
