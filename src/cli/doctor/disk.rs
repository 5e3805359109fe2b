//! The disk under the data directory: what kind it is, and what is left on it. Never: what lies there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

use crate::cli::size::size;

use super::finding::{Finding, or_ok};

const CHECK: &str = "disk";

/// Below this, or a twentieth of the disk, it is time to make room.
const LOW_BYTES: u64 = 1 << 30;
const LOW_PART: u64 = 20;
/// Files that can still be made.
const LOW_FILES: u64 = 1000;

/// File systems over a network or in user space, by statfs(2)'s numbers.
const REMOTE: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
];
const MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
const OVERLAY: u64 = 0x794c_7630;

pub(super) fn check(data: &Path, ballast_bytes: u64) -> Vec<Finding> {
    let mut findings: Vec<_> = kind(data).into_iter().collect();
    findings.extend(space(data, ballast_bytes));
    findings.extend(ballast(data, ballast_bytes));
    findings
}

fn kind(data: &Path) -> Option<Finding> {
    // The number's width and sign differ from machine to machine.
    let number = rustix::fs::statfs(data).ok()?.f_type as u64 & 0xffff_ffff;
    let named =
        |list: &[(u64, &'static str)]| list.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    if let Some(name) = named(&REMOTE) {
        let found = format!("{} is on {name}, where locks and fsync may not hold", data.display());
        return Some(Finding::warn(CHECK, found, "move the data directory to a disk of this machine"));
    }
    if let Some(name) = named(&MEMORY) {
        let found = format!("{} is on {name}: everything is lost with the power", data.display());
        return Some(Finding::warn(CHECK, found, "move the data directory to a disk"));
    }
    (number == OVERLAY).then(|| {
        let found =
            format!("{} is on a container's own layer, which is lost with the container", data.display());
        Finding::warn(CHECK, found, "mount a volume there")
    })
}

fn space(data: &Path, ballast_bytes: u64) -> Vec<Finding> {
    let Ok(facts) = rustix::fs::statvfs(data) else { return Vec::new() };
    let (free, whole) = (facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize);
    let found = format!("{} of {} are free", size(free), size(whole));
    let mut findings = Vec::new();
    if facts.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let next = "mount it to be written; look into the system's log for why it is not";
        findings.push(Finding::fail(CHECK, format!("{} is mounted read-only", data.display()), next));
    }
    if free < ballast_bytes {
        let next =
            "make room now: soon nothing but taking rights away will work (docs/operate.md, \"A full disk\")";
        findings.push(Finding::fail(CHECK, found.clone(), next));
    } else if free < LOW_BYTES || free < whole / LOW_PART {
        findings.push(Finding::warn(CHECK, found.clone(), "make room"));
    }
    // A file system without a fixed number of them says 0 of 0.
    if facts.f_files > 0 && facts.f_favail < LOW_FILES {
        let left = format!("only {} more files can be made on it (inodes)", facts.f_favail);
        findings.push(Finding::warn(CHECK, left, "remove small files"));
    }
    or_ok(findings, CHECK, found)
}

fn ballast(data: &Path, wanted: u64) -> Option<Finding> {
    const CHECK: &str = "ballast";
    if wanted == 0 || !data.join("ember.redb").exists() {
        return None;
    }
    let next =
        "make room on the disk; a running server then takes it back by itself, and so does the next start";
    Some(match fs::metadata(data.join("ballast")) {
        Ok(facts) if facts.len() >= wanted && facts.blocks() * 512 >= wanted => {
            Finding::ok(CHECK, format!("{} are held back for a full disk", size(facts.len())))
        }
        Ok(facts) if facts.len() == 0 => {
            Finding::warn(CHECK, "it was given free because the disk was full", next)
        }
        Ok(facts) => Finding::warn(
            CHECK,
            format!("{} of {} are held back", size(facts.blocks() * 512), size(wanted)),
            next,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::warn(CHECK, "no space is held back for a full disk", "the next start makes it")
        }
        Err(error) => Finding::warn(CHECK, format!("it can't be looked at: {error}"), next),
    })
}
