//! The key commands. Never: rules about keys.

mod revoke_all;

use std::time::Duration;

use crate::admin::{Command, KeyView, Reply};
use crate::registry::{KeyChanges, KeyFilter, NewKey, PAGE_MAX, Page, Rotation};
use crate::types::{Key, KeyId, Policy};

use super::args::{Format, KeyCreate, KeyRotate, KeyUpdate, KeyVerb};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::secret;
use super::show;
use super::terminal::Screen;

/// A key is far shorter; a whole file given by mistake is not read.
const KEY_BYTES_MAX: usize = 1024;

pub(super) fn run(verb: &KeyVerb, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match verb {
        KeyVerb::Create(args) => create(args, desk, screen),
        KeyVerb::List { account, env, status, search, unused } => {
            let (account, search) = (account.clone(), search.clone());
            let filter =
                KeyFilter { account, environment: *env, status: *status, search, newest_first: false };
            list(&filter, *unused, desk, screen)
        }
        KeyVerb::Show { key } => {
            let reply = desk.ask(&Command::KeyShow { key: key.clone() })?;
            show::reply(&reply, desk.now(), screen)
        }
        KeyVerb::Update(args) => done(&desk.ask(&update(args, desk))?, "updated", desk, screen),
        KeyVerb::Disable { key } => {
            done(&desk.ask(&Command::KeyDisable { key: key.clone() })?, "disabled", desk, screen)
        }
        KeyVerb::Enable { key } => {
            done(&desk.ask(&Command::KeyEnable { key: key.clone() })?, "enabled", desk, screen)
        }
        KeyVerb::Revoke(args) => match &args.key {
            Some(key) => {
                let key = asked(key, desk, screen)?;
                let command = Command::KeyRevoke { key, reason: args.reason.clone() };
                done(&desk.ask(&command)?, "revoked for good", desk, screen)
            }
            None => revoke_all::run(args, desk, screen),
        },
        KeyVerb::Rotate(args) => rotate(args, desk, screen),
        KeyVerb::Verify => verify(desk, screen),
    }
}

fn create(args: &KeyCreate, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let command = Command::KeyCreate(NewKey {
        account: args.account.clone(),
        name: args.name.clone(),
        environment: args.env,
        policy: args.policy.changes().applied_to(&Policy::default()),
        allow_browser: args.allow_browser,
        weight: args.weight,
        expires_at: args.expires.end(desk.now()),
    });
    secret::issue(&command, args.out.as_deref(), desk, screen)
}

fn rotate(args: &KeyRotate, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let grace = args.grace.unwrap_or(desk.settings.rotation_grace);
    let rotation = if args.now { Rotation::Now } else { Rotation::Grace(grace) };
    let command = Command::KeyRotate { key: args.key.clone(), rotation };
    secret::issue(&command, args.out.as_deref(), desk, screen)
}

fn update(args: &KeyUpdate, desk: &Desk<'_>) -> Command {
    let changes = KeyChanges {
        name: args.name.clone(),
        policy: args.policy.changes(),
        allow_browser: args.allow_browser,
        weight: args.weight,
        expires_at: args.expires.map(|expiry| expiry.end(desk.now())),
    };
    Command::KeyUpdate { key: args.key.clone(), changes }
}

/// Lines are printed page by page; a table needs all rows for its columns, and JSON is one document.
fn list(
    filter: &KeyFilter,
    unused: Option<Duration>,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let mut entries: Vec<KeyView> = Vec::new();
    let mut after: Option<KeyId> = None;
    loop {
        let command = Command::KeyList { filter: filter.clone(), unused, after, limit: PAGE_MAX };
        let Reply::Keys(page) = desk.ask(&command)? else { return Err(show::unexpected()) };
        entries.extend(page.entries);
        let is_first = after.is_none();
        after = entries.last().map(|key| key.id).or(after);
        let in_pages = screen.format == Format::Plain && (page.has_more || !is_first);
        if in_pages && !entries.is_empty() {
            let page = Page { entries: std::mem::take(&mut entries), has_more: page.has_more };
            show::reply(&Reply::Keys(page), desk.now(), screen)?;
        }
        if !page.has_more {
            let rest = Reply::Keys(Page { entries, has_more: false });
            return if in_pages { Ok(()) } else { show::reply(&rest, desk.now(), screen) };
        }
    }
}

/// The id of the key that the person at the terminal, if there is one, agreed to. Without a terminal nothing is
/// asked: revoking must be fast when it matters.
fn asked(text: &str, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<String, CliError> {
    if screen.yes() || !screen.can_ask() {
        return Ok(text.to_string());
    }
    let Reply::KeyDetail(detail) = desk.ask(&Command::KeyShow { key: text.to_string() })? else {
        return Err(show::unexpected());
    };
    let key = detail.key;
    screen.confirm(&format!(
        "Revoke key {} ({}) of {} ({})? It can't be undone.",
        key.name,
        key.environment,
        show::owner(&key),
        key.id
    ))?;
    Ok(key.id.to_string())
}

fn done(reply: &Reply, what: &str, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let Reply::Key(key) = reply else { return Err(show::unexpected()) };
    match screen.format {
        Format::Table => {
            screen.note(&format!("Key {} ({}, {}) is {what}.", key.name, key.environment, key.id));
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => show::reply(reply, desk.now(), screen),
    }
}

/// A good end only when the key would be admitted now.
fn verify(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let interactive = screen.terminal.stdin_is_terminal;
    if interactive {
        screen.note("Paste the key and press Enter:");
    }
    let text = screen.read(KEY_BYTES_MAX, interactive)?;
    if text.expose().trim().is_empty() {
        return Err(CliError::new(Exit::Usage, "no key came on stdin"));
    }
    let key = Key::parse(text.expose().trim().as_bytes())
        .map_err(|error| CliError::new(Exit::NotFound, error.to_string()))?;
    let reply = desk.ask(&Command::KeyVerify { key })?;
    let Reply::Verdict(verdict) = &reply else { return Err(show::unexpected()) };
    show::reply(&reply, desk.now(), screen)?;
    match verdict.stop {
        None => Ok(()),
        Some(_) => Err(CliError::silent(Exit::NotAllowed)),
    }
}
