//! The data directory and the files in it: whose they are, who else can read them, what does not belong there. Never:
//! what is in the files.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::finding::{Finding, or_ok};

const CHECK: &str = "data directory";

/// Names, or beginnings of names, of what Ember itself puts there.
const OWN: [&str; 8] = [
    "ember.redb",
    "ballast",
    "models.json",
    "ember.sock",
    ".ember-copy-",
    "restore.tmp",
    "acme",
    "lost+found",
];

pub(super) fn check(data: &Path) -> Vec<Finding> {
    let named = data.display();
    let facts = match fs::metadata(data) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let next = "`ember up` makes one; or name yours with --data, EMBER_DATA or in the configuration";
            return vec![Finding::fail(CHECK, format!("{named} is not there"), next)];
        }
        Err(error) => {
            let next = "run this as the directory's owner or as root";
            return vec![Finding::fail(CHECK, format!("{named} can't be looked at: {error}"), next)];
        }
    };
    if !facts.is_dir() {
        return vec![Finding::fail(
            CHECK,
            format!("{named} is no directory"),
            "name another one with --data",
        )];
    }
    let mut findings: Vec<_> = ownership(data, &facts).into_iter().collect();
    match fs::read_dir(data) {
        Ok(entries) => {
            for entry in entries.flatten() {
                let Ok(theirs) = entry.metadata() else { continue };
                findings.extend(file(&entry.path(), &theirs, &facts));
            }
        }
        Err(error) => {
            let next = "run this as the directory's owner or as root";
            findings.push(Finding::fail(CHECK, format!("{named} can't be listed: {error}"), next));
        }
    }
    let found = format!("{named}, mode {:o}, owner {}", facts.mode() & 0o7777, facts.uid());
    or_ok(findings, CHECK, found)
}

fn ownership(data: &Path, facts: &Metadata) -> Option<Finding> {
    let (named, owner, mode) = (data.display(), facts.uid(), facts.mode() & 0o7777);
    let me = rustix::process::geteuid().as_raw();
    if me != 0 && me != owner {
        let next = "run ember as that user or as root";
        return Some(Finding::fail(CHECK, format!("{named} is user {owner}'s, and this is user {me}"), next));
    }
    (mode & 0o077 != 0).then(|| {
        let found = format!("others can enter or read {named} (mode {mode:o})");
        Finding::warn(CHECK, found, format!("chmod 700 {named}"))
    })
}

/// What is wrong with one file.
fn file(path: &Path, facts: &Metadata, directory: &Metadata) -> Option<Finding> {
    let named = path.display();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !OWN.iter().any(|own| name.starts_with(own)) {
        let next = "move it elsewhere: the directory is for Ember's own files";
        return Some(Finding::warn(CHECK, format!("{named} is not Ember's"), next));
    }
    if facts.uid() != directory.uid() && name != "lost+found" {
        let found = format!("{named} is user {}'s, the directory user {}'s", facts.uid(), directory.uid());
        let all = if facts.is_dir() { "-R " } else { "" };
        let next = format!("as root: chown {all}{}:{} {named}", directory.uid(), directory.gid());
        return Some(Finding::fail(CHECK, found, next));
    }
    let others = facts.mode() & 0o077;
    (others != 0 && (facts.is_file() || facts.file_type().is_dir()) && name != "lost+found").then(|| {
        let found = format!("others could use {named} (mode {:o})", facts.mode() & 0o7777);
        Finding::warn(CHECK, found, format!("chmod go= {named}"))
    })
}
