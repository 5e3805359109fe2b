//! Files below a path, as git would see them: what a .gitignore leaves out is left out, and so is .git itself; links
//! are not followed. Never: what is in the files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::{DirEntry, WalkBuilder};

use crate::types::Sighting;

use super::haul::Haul;
use super::sieve::Sieve;

/// Looks through everything at and below a path. What can't be read becomes a warning.
pub(super) fn scan(typed: &Path, cwd: &Path, no_ignore: bool, haul: &mut Haul, sieve: &mut Sieve) {
    let root = cwd.join(typed);
    let mut walk = WalkBuilder::new(&root);
    walk.hidden(false).ignore(false).git_global(!no_ignore).git_ignore(!no_ignore).git_exclude(!no_ignore);
    walk.follow_links(false).sort_by_file_name(OsStr::cmp);
    walk.filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git");
    for entry in walk.build() {
        match entry {
            Ok(entry) => look(&entry, &shown(entry.path(), &root, typed), haul, sieve),
            Err(error) if error.io_error().is_some_and(is_gone) => {}
            Err(error) => haul.warn(&error.to_string()),
        }
    }
}

fn look(entry: &DirEntry, path: &str, haul: &mut Haul, sieve: &mut Sieve) {
    haul.add_name(entry.file_name().as_bytes(), None, path);
    let is_named = entry.depth() == 0;
    // What was named may be a pipe, or a link to a file.
    let is_file = match entry.file_type() {
        Some(kind) if kind.is_file() => true,
        Some(kind) if is_named => !kind.is_dir() && !fs::metadata(entry.path()).is_ok_and(|to| to.is_dir()),
        Some(_) | None => false,
    };
    if !is_file {
        return;
    }
    let read = File::open(entry.path())
        .and_then(|mut file| haul.add_text(None, Some(path), |found| sieve.sift(&mut file, found)));
    match read {
        Err(error) if !is_gone(&error) => haul.warn(&format!("{path} can't be read: {error}")),
        Ok(()) | Err(_) => {}
    }
}

/// A file may go while one walks.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// A path as it was typed, and what is below it; masked.
fn shown(path: &Path, root: &Path, typed: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    let whole = match below.as_os_str().is_empty() {
        true => typed.to_path_buf(),
        false if typed == Path::new(".") => below.to_path_buf(),
        false => typed.join(below),
    };
    Sighting::mask(&whole.to_string_lossy())
}
