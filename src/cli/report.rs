//! What is served, what was done and what was used. Never: counting.

use crate::admin::{Command, HistoryLine, Reply};
use crate::registry::{AuditFilter, PAGE_MAX, Page};

use super::args::{AuditOptions, UsageOptions};
use super::desk::Desk;
use super::error::CliError;
use super::show;
use super::terminal::Screen;

pub(super) fn models(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    show::reply(&desk.ask_server(&Command::Models)?, desk.now(), screen)
}

pub(super) fn usage(
    options: &UsageOptions,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let reply = desk.ask(&Command::Usage { account: options.account.clone() })?;
    show::reply(&reply, desk.now(), screen)
}

/// The newest events first, read in pages.
pub(super) fn audit(
    options: &AuditOptions,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let filter = AuditFilter { action: options.action.clone(), search: options.search.clone() };
    let wanted = options.limit as usize;
    let mut entries: Vec<HistoryLine> = Vec::new();
    loop {
        let before = entries.last().map(|event| event.id);
        let limit = (wanted - entries.len()).min(PAGE_MAX);
        let command = Command::AuditList { filter: filter.clone(), before, limit };
        let Reply::Audit(page) = desk.ask(&command)? else { return Err(show::unexpected()) };
        entries.extend(page.entries);
        if !page.has_more || entries.len() >= wanted {
            let has_more = page.has_more;
            show::reply(&Reply::Audit(Page { entries, has_more }), desk.now(), screen)?;
            if has_more {
                screen.note("There are earlier events; --limit shows more.");
            }
            return Ok(());
        }
    }
}
