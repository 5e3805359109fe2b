//! What is in the store, and whether it is what was written. Never: repairs anything.

use crate::admin::{Command, Reply};
use crate::cli::desk::Desk;
use crate::cli::error::CliError;
use crate::cli::show;
use crate::cli::size::size;
use crate::registry::{AuditFilter, TrailCursor};
use crate::store;
use crate::types::Timestamp;

use super::finding::Finding;
use super::holder::Witness;

const CHECK: &str = "store";
const RESTORE: &str = "keep a copy of the data directory as it is, and restore a backup (docs/operate.md)";

/// That it answers; with `deep`, that all of it is what was written.
pub(super) fn check(desk: &Desk<'_>, witness: &Witness, deep: bool) -> Vec<Finding> {
    let mut findings = match witness {
        Witness::Nobody => return Vec::new(),
        Witness::Server(_) | Witness::File(_) => vec![answers(desk, witness)],
    };
    match (deep, witness) {
        (false, _) | (true, Witness::Nobody) => {}
        (true, Witness::Server(_)) => findings.push(Finding::warn(
            CHECK,
            "the whole file is read only when no server runs",
            "stop it and ask again, or ask it: `ember audit --verify`, `ember usage verify`",
        )),
        (true, Witness::File(_)) => {
            findings.push(whole(desk));
            findings
                .push(trail(desk, witness).unwrap_or_else(|error| Finding::of_error("audit trail", error)));
            findings.push(usage(desk, witness).unwrap_or_else(|error| Finding::of_error("usage", error)));
        }
    }
    findings
}

/// When its newest event was written.
pub(super) fn newest(desk: &Desk<'_>, witness: &Witness) -> Option<Timestamp> {
    let command = Command::AuditList { filter: AuditFilter::default(), before: None, limit: 1 };
    match witness.ask(&command, desk) {
        Ok(Reply::Audit(page)) => page.entries.first().map(|event| event.at),
        Ok(_) | Err(_) => None,
    }
}

fn answers(desk: &Desk<'_>, witness: &Witness) -> Finding {
    let bytes = desk.data().join(super::DATABASE).metadata().map_or(0, |facts| facts.len());
    match witness.ask(&Command::Status, desk) {
        Ok(Reply::Status(status)) if status.denials_owed => Finding::fail(
            CHECK,
            "something is denied in memory that is not on disk yet",
            "make the disk well, and do not restart before: Ember keeps trying",
        ),
        Ok(Reply::Status(status)) => Finding::ok(
            CHECK,
            format!("accounts: {}, keys: {}, file: {}", status.accounts, status.keys, size(bytes)),
        ),
        Ok(_) => Finding::of_error(CHECK, show::unexpected()),
        Err(error) => Finding::of_error(CHECK, error),
    }
}

fn whole(desk: &Desk<'_>) -> Finding {
    match store::verify(&desk.data().join(super::DATABASE)) {
        Ok(found) => {
            let rows: u64 = found.tables.iter().map(|table| table.rows).sum();
            Finding::ok(CHECK, format!("all {rows} records are what was written (format {})", found.format))
        }
        Err(error) => Finding::fail(CHECK, error.to_string(), RESTORE),
    }
}

fn trail(desk: &Desk<'_>, witness: &Witness) -> Result<Finding, CliError> {
    const CHECK: &str = "audit trail";
    let (mut checked, mut after): (u64, Option<TrailCursor>) = (0, None);
    loop {
        let reply = witness.ask(&Command::AuditVerify { noted: None, after }, desk)?;
        let Reply::AuditVerified(found) = reply else { return Err(show::unexpected()) };
        checked += found.checked;
        if let Some(fault) = found.fault {
            let next = "`ember audit --verify` names it; docs/security.md says what this proves";
            return Ok(Finding::fail(CHECK, fault.what, next));
        }
        after = found.next;
        if after.is_none() {
            return Ok(Finding::ok(CHECK, format!("all {checked} events are what was written")));
        }
    }
}

fn usage(desk: &Desk<'_>, witness: &Witness) -> Result<Finding, CliError> {
    const CHECK: &str = "usage";
    let Reply::UsageProof(proof) = witness.ask(&Command::UsageVerify, desk)? else {
        return Err(show::unexpected());
    };
    Ok(match proof.faults {
        0 => Finding::ok(CHECK, format!("{} records add up to the counters", proof.records)),
        faults => {
            let found = format!("{faults} counters are not the sum of their records");
            Finding::fail(CHECK, found, "`ember usage verify` lists them")
        }
    })
}
