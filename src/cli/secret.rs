//! Showing a new key once: on the terminal, alone on a pipe, or in a file of its own. Never: kept anywhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};

use crate::admin::{KeyView, Reply, wire};
use crate::types::{Key, Timestamp};

use super::args::Format;
use super::error::{CliError, Exit};
use super::ignored::is_exposed;
use super::moment::both;
use super::show;
use super::table::sheet;
use super::terminal::Screen;

/// A new file, mode 0600, that waits for a key.
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
}

impl SecretFile {
    /// Makes it, or takes an empty one of ours that a command left behind when it was killed; whatever else is there
    /// already is left alone.
    pub(super) fn create(path: &Path, screen: &mut Screen<'_, '_>) -> Result<Self, CliError> {
        let path = screen.terminal.cwd.join(path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let made = match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => left_behind(&path),
            made => made,
        };
        let file = made.and_then(held_empty).map_err(|error| unmade(&path, &error))?;
        if is_exposed(&path) {
            screen.warn(&format!(
                "{} may end up in version control: add it to .gitignore before you commit",
                path.display()
            ));
        }
        Ok(Self { path, file })
    }

    /// Takes the file away again: there is no key.
    pub(super) fn discard(self) {
        // An empty file that stays does no harm, and the reason why there is no key is told already.
        let _ = std::fs::remove_file(&self.path);
    }

    fn write(&mut self, secret: &Key) -> io::Result<()> {
        writeln!(self.file, "{}", secret.expose())?;
        self.file.sync_all()
    }
}

fn left_behind(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
    opened.map_err(|_| io::ErrorKind::AlreadyExists.into())
}

/// The file, if nobody else waits with it for a key and it has none.
fn held_empty(file: File) -> io::Result<File> {
    let taken = || io::Error::from(io::ErrorKind::AlreadyExists);
    let lock = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    // A file system without locks still tells what is in the file.
    if lock == Err(rustix::io::Errno::WOULDBLOCK) {
        return Err(taken());
    }
    let facts = file.metadata()?;
    let is_ours = facts.uid() == rustix::process::geteuid().as_raw() && facts.nlink() == 1;
    let is_empty = facts.is_file() && facts.len() == 0 && facts.mode() & 0o077 == 0;
    if is_ours && is_empty { Ok(file) } else { Err(taken()) }
}

fn unmade(path: &Path, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let sentence = format!("{} is there already; nothing was issued", path.display());
        return CliError::new(Exit::Conflict, sentence).hint("choose another file, or move that one away");
    }
    CliError::of_file(error, format!("{} can't be made: {error}; nothing was issued", path.display()))
}

/// Shows a key that was just issued; the last thing that ever has it.
pub(super) fn show(
    key: &KeyView,
    secret: &Key,
    file: Option<SecretFile>,
    now: Timestamp,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    match file {
        None => on_stdout(key, secret, now, screen).map_err(|error| lost(key, &error.message)),
        Some(mut file) => {
            let path = file.path.display().to_string();
            file.write(secret).map_err(|error| lost(key, &format!("{path} can't be written: {error}")))?;
            beside_file(key, &path, now, screen)
        }
    }
}

/// What is said when the key itself is in a file.
fn beside_file(
    key: &KeyView,
    path: &str,
    now: Timestamp,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    if screen.format == Format::Json {
        return screen.data(&wire::encode_pretty(&Reply::Key(key.clone()))?);
    }
    screen.note(&format!("The key is in {path} and nowhere else."));
    facts(key, now).iter().for_each(|line| screen.note(line));
    Ok(())
}

fn on_stdout(
    key: &KeyView,
    secret: &Key,
    now: Timestamp,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    match screen.format {
        Format::Json => screen.data(&wire::encode_issued(key, secret)?),
        Format::Table if screen.terminal.stdout_is_terminal => {
            let mut lines = vec![String::new(), format!("  {}", screen.bold(secret.expose())), String::new()];
            lines.push("This is shown once; put it where your application finds it.".to_string());
            lines.extend(facts(key, now));
            screen.data(&lines.join("\n"))
        }
        Format::Table | Format::Plain => {
            screen.data(secret.expose())?;
            facts(key, now).iter().for_each(|line| screen.note(line));
            Ok(())
        }
    }
}

fn facts(key: &KeyView, now: Timestamp) -> Vec<String> {
    let mut pairs = vec![
        ("Key", format!("{} ({})", key.name, key.environment)),
        ("Account", show::owner(key)),
        ("Id", key.id.to_string()),
        ("Expires", key.expires_at.map_or_else(|| "never".to_string(), |end| both(end, now))),
    ];
    let old = key.secrets.get(1).and_then(|old| old.valid_until.map(|end| (old.last4, end)));
    if let Some((last4, end)) = old {
        pairs.push(("Old one", format!("...{last4} works until {}", both(end, now))));
    }
    sheet(&pairs)
}

/// The key is issued and nobody has it.
fn lost(key: &KeyView, reason: &str) -> CliError {
    let reason = if reason.is_empty() { "nobody reads the output any more" } else { reason };
    let sentence = format!("key {} ({}) was issued, but it could not be shown: {reason}", key.name, key.id);
    CliError::new(Exit::Failure, sentence)
        .hint(format!("nobody has it; get a new one with `ember key rotate {} --now` or revoke it", key.id))
}
