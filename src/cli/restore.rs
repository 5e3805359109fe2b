//! `ember restore`: a backup takes the store's place in one step; rights taken away since stay taken away, and what
//! was there is kept beside it. Never: which rights those are (the registry says).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, lchown};
use std::path::{Path, PathBuf};

use crate::registry::Carried;
use crate::store;
use crate::types::{Origin, Timestamp};

use super::backup::{head_of, rename_new, sync_directory};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::terminal::Screen;
use super::{Opened, socket};

/// The store's file in the data directory.
const DATABASE: &str = "ember.redb";
/// Where the backup is made ready: in the data directory, so that it can take the store's place by a rename.
const STAGE: &str = "restore.tmp";

pub(super) fn run(file: &Path, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let backup = screen.terminal.cwd.join(file);
    let verified = store::verify(&backup).map_err(|error| bad_backup(&error))?;
    let head = head_of(&backup);
    let data = desk.data();
    refuse_running(desk)?;
    let present = present(desk, screen)?;
    make_directory(data)?;
    let stage = Stage::make(data, &backup)?;
    let carried = carry_over(desk, &stage, present.as_ref())?;
    let kept = stage.take_place(data, desk.now())?;
    drop(present);
    let rows: u64 = verified.tables.iter().map(|table| table.rows).sum();
    screen.note(&format!("Restored {rows} records from {}.", backup.display()));
    if let Some(head) = head {
        screen.note(&format!("The audit trail of the backup ends at {head}."));
    }
    if let Some(kept) = kept {
        screen.note(&format!("What was there is kept in {}.", kept.display()));
    }
    for one in &carried {
        screen.note(&line(one));
    }
    screen.note("Passwords are those of the backup; keys issued since it was made are unknown now.");
    Ok(())
}

fn bad_backup(error: &store::OpenError) -> CliError {
    let exit = match error {
        store::OpenError::NotFound { .. } => Exit::NotFound,
        store::OpenError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Exit::NotAllowed
        }
        store::OpenError::Exists { .. }
        | store::OpenError::Locked { .. }
        | store::OpenError::NotAnEmberStore { .. }
        | store::OpenError::Newer { .. }
        | store::OpenError::Damaged { .. }
        | store::OpenError::Io { .. } => Exit::Failure,
    };
    let sentence = match error {
        store::OpenError::NotFound { path } => {
            format!("there is no backup at {}; nothing was changed", path.display())
        }
        // It says itself that nothing was changed.
        store::OpenError::NotAnEmberStore { .. } => format!("the backup can't be used: {error}"),
        store::OpenError::Exists { .. }
        | store::OpenError::Locked { .. }
        | store::OpenError::Newer { .. }
        | store::OpenError::Damaged { .. }
        | store::OpenError::Io { .. } => format!("the backup can't be used: {error}; nothing was changed"),
    };
    CliError::new(exit, sentence)
}

fn refuse_running(desk: &Desk<'_>) -> Result<(), CliError> {
    match socket::connect(desk.data())? {
        None => Ok(()),
        Some(_) => Err(running(desk)),
    }
}

fn running(desk: &Desk<'_>) -> CliError {
    let sentence = format!("a server has the store in {} open; nothing was changed", desk.data().display());
    CliError::new(Exit::Conflict, sentence).hint("stop it, restore, and start it again")
}

/// The present store, held open so that no server starts meanwhile; none when there is none, or when it can't be
/// read and the operator goes on all the same.
fn present(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<Option<Opened>, CliError> {
    match desk.services.open(desk.data(), false, &desk.settings.rules) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.is_locked() => Err(running(desk)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) if !matches!(error, super::OpenError::Store(_)) => Err(error.into()),
        Err(error) => {
            let consequence = "the present store can't be read, so every key that was revoked, disabled or rotated \
                away after the backup was made would work again";
            screen.warn(&format!("{error}"));
            if !screen.yes() && !screen.can_ask() {
                return Err(CliError::new(Exit::Conflict, format!("{consequence}; nothing was changed"))
                    .hint("give -y to restore all the same, then revoke what must not work"));
            }
            screen.warn(consequence);
            screen.confirm("Restore all the same?")?;
            Ok(None)
        }
    }
}

fn make_directory(data: &Path) -> Result<(), CliError> {
    let made = match data.is_dir() {
        true => Ok(()),
        false => DirBuilder::new().recursive(true).mode(0o700).create(data),
    };
    made.map_err(|error| failed(data, &error))
}

fn carry_over(desk: &Desk<'_>, stage: &Stage, present: Option<&Opened>) -> Result<Vec<Carried>, CliError> {
    let Some(present) = present else { return Ok(Vec::new()) };
    let restored = desk.services.open_file(&stage.file)?;
    let carried = restored.registry.asked_from(Origin::File).carry_over(desk.actor(), &present.registry);
    Ok(carried.map_err(crate::admin::AdminError::from)?)
}

fn line(carried: &Carried) -> String {
    match carried {
        Carried::Account(account) => {
            format!("Account {} stays {}.", account.email, account.status.as_str())
        }
        Carried::Key { key, what } => {
            format!("Key {} ({}, {}) stays: {what}.", key.name, key.environment, key.id)
        }
        Carried::Token(token) => format!("Token {} ({}) stays revoked.", token.name, token.id),
        Carried::Invite(invite) => format!("The invitation to {} stays used or revoked.", invite.email),
        Carried::Reset(account) => {
            format!("The link that sets the password of {} stays used or replaced.", account.email)
        }
        Carried::Sessions(1) => "A session stays ended.".to_string(),
        Carried::Sessions(count) => format!("{count} sessions stay ended."),
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::of_file(error, format!("{} can't be written: {error}; the store is as it was", path.display()))
}

fn made_meanwhile(place: &Path) -> CliError {
    let sentence =
        format!("{} was made meanwhile and is left as it is; nothing was restored", place.display());
    CliError::new(Exit::Conflict, sentence).hint("restore again, if the backup is to take its place")
}

/// The backup, made ready in a directory of its own; gone when it is dropped before it took the store's place.
struct Stage {
    directory: PathBuf,
    file: PathBuf,
}

impl Stage {
    fn make(data: &Path, backup: &Path) -> Result<Self, CliError> {
        let directory = data.join(STAGE);
        // A stage that lies there was left by a restore that was broken off.
        let _ = fs::remove_dir_all(&directory);
        DirBuilder::new().mode(0o700).create(&directory).map_err(|error| failed(&directory, &error))?;
        let stage = Self { file: directory.join(DATABASE), directory };
        stage.fill(backup).map_err(|error| failed(&stage.file, &error))?;
        store::verify(&stage.file).map_err(|error| bad_backup(&error))?;
        Ok(stage)
    }

    fn fill(&self, backup: &Path) -> io::Result<()> {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        io::copy(&mut File::open(backup)?, &mut to)?;
        to.sync_all()
    }

    /// Puts the file in the store's place in one step and keeps what was there under another name.
    fn take_place(&self, data: &Path, now: Timestamp) -> Result<Option<PathBuf>, CliError> {
        let place = data.join(DATABASE);
        let owner = fs::metadata(data).map_err(|error| failed(data, &error))?;
        if rustix::process::geteuid().is_root() {
            lchown(&self.file, Some(owner.uid()), Some(owner.gid()))
                .map_err(|error| failed(&self.file, &error))?;
        }
        let kept = if place.exists() { Some(keep(&place, data, now)?) } else { None };
        sync_directory(data).map_err(|error| failed(data, &error))?;
        let placed = match &kept {
            Some(_) => fs::rename(&self.file, &place),
            // A store that was made meanwhile is not replaced.
            None => rename_new(&self.file, &place),
        };
        placed.map_err(|error| {
            let met = error.kind() == io::ErrorKind::AlreadyExists;
            if met { made_meanwhile(&place) } else { failed(&place, &error) }
        })?;
        sync_directory(data).map_err(|error| failed(data, &error))?;
        Ok(kept)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The next restore begins by taking it away.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Gives the present store a second name, which is not taken yet.
fn keep(place: &Path, data: &Path, now: Timestamp) -> Result<PathBuf, CliError> {
    const NAMES_MAX: usize = 100;
    let stem = format!("{DATABASE}.before-restore-{}", compact(now));
    for number in 1..=NAMES_MAX {
        let kept = data.join(if number == 1 { stem.clone() } else { format!("{stem}-{number}") });
        match fs::hard_link(place, &kept) {
            Ok(()) => return Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < NAMES_MAX => {}
            Err(error) => return Err(failed(&kept, &error)),
        }
    }
    Err(CliError::new(Exit::Conflict, format!("{stem} is there many times already; nothing was changed")))
}

/// `20261123T200103Z`.
fn compact(now: Timestamp) -> String {
    let text = now.to_string();
    let digits: String = text.chars().take(19).filter(|c| *c != '-' && *c != ':').collect();
    format!("{digits}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bug_a_store_that_was_made_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "backup").unwrap();
        fs::write(&to, "store").unwrap();
        let error = rename_new(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(made_meanwhile(&to).exit, Exit::Conflict);
        assert_eq!(fs::read(&to).unwrap(), b"store");
        fs::remove_file(&to).unwrap();
        rename_new(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"backup");
    }
}
