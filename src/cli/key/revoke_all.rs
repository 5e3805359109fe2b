//! Revoking all keys of an account or of one of its environments. Never: which may be revoked.

use crate::admin::{Command, Reply};
use crate::cli::args::{Format, KeyRevoke};
use crate::cli::desk::Desk;
use crate::cli::error::CliError;
use crate::cli::show;
use crate::cli::terminal::Screen;
use crate::registry::{KeyFilter, PAGE_MAX};
use crate::types::{KeyId, KeyStatus, counted};

pub(super) fn run(args: &KeyRevoke, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let account = args.account.clone().unwrap_or_default();
    let whose = match args.env {
        Some(environment) => format!("of {account} ({environment})"),
        None => format!("of {account}"),
    };
    // Without a terminal nothing is asked: revoking must be fast when it matters.
    if !screen.yes() && screen.can_ask() {
        let question = match count(args, desk)? {
            1 => format!("Revoke the 1 key {whose}? It can't be undone."),
            count => format!("Revoke all {count} keys {whose}? It can't be undone."),
        };
        screen.confirm(&question)?;
    }
    let command = Command::KeyRevokeAll { account, environment: args.env, reason: args.reason.clone() };
    let reply = desk.ask(&command)?;
    let Reply::KeysRevoked(revoked) = reply else { return Err(show::unexpected()) };
    match screen.format {
        Format::Table => {
            screen.note(&format!("{} {whose} revoked for good.", counted(revoked, "key")));
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => show::reply(&reply, desk.now(), screen),
    }
}

/// How many there are to revoke now.
fn count(args: &KeyRevoke, desk: &Desk<'_>) -> Result<usize, CliError> {
    let filter = KeyFilter { account: args.account.clone(), environment: args.env, ..KeyFilter::default() };
    let (mut count, mut after): (usize, Option<KeyId>) = (0, None);
    loop {
        let command = Command::KeyList { filter: filter.clone(), unused: None, after, limit: PAGE_MAX };
        let Reply::Keys(page) = desk.ask(&command)? else { return Err(show::unexpected()) };
        count += page.entries.iter().filter(|key| key.status != KeyStatus::Revoked).count();
        after = page.entries.last().map(|key| key.id).or(after);
        if !page.has_more {
            return Ok(count);
        }
    }
}
