//! `ember audit`: the trail in pages, as it grows, and whether it is what was written. Never: how that is found out.

use std::thread::sleep;
use std::time::Duration;

use crate::admin::{AuditNews, AuditPage, Command, HistoryLine, Reply};
use crate::registry::{AuditFilter, PAGE_MAX, TrailFault, Verification};
use crate::types::TrailHead;

use super::args::AuditOptions;
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::terminal::Screen;

/// How long to wait before asking again what is new.
const POLL_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(
    options: &AuditOptions,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    match (options.verify, options.follow) {
        (Some(noted), _) => verify(noted, desk, screen),
        (None, true) => follow(options, desk, screen),
        (None, false) => list(options, desk, screen),
    }
}

fn filter(options: &AuditOptions) -> AuditFilter {
    AuditFilter { action: options.action.clone(), search: options.search.clone() }
}

/// The newest events first, read in pages.
fn list(options: &AuditOptions, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let wanted = options.limit as usize;
    let mut entries: Vec<HistoryLine> = Vec::new();
    let mut before = None;
    loop {
        let limit = (wanted - entries.len()).min(PAGE_MAX);
        let command = Command::AuditList { filter: filter(options), before, limit };
        let Reply::Audit(page) = desk.ask(&command)? else { return Err(show::unexpected()) };
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() || entries.len() >= wanted {
            show::reply(&Reply::Audit(AuditPage { entries, next: before }), desk.now(), screen)?;
            if before.is_some() {
                screen.note("There are earlier events; --limit shows more.");
            }
            return Ok(());
        }
    }
}

/// Step by step from the beginning to the end, or to the first event that does not fit.
fn verify(noted: Option<TrailHead>, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let (mut checked, mut after) = (0, None);
    loop {
        let reply = desk.ask(&Command::AuditVerify { noted, after })?;
        let Reply::AuditVerified(found) = reply else { return Err(show::unexpected()) };
        checked += found.checked;
        after = found.next;
        if after.is_some() {
            continue;
        }
        let fault = found.fault.clone();
        show::reply(&Reply::AuditVerified(Verification { checked, ..found }), desk.now(), screen)?;
        return fault.map_or(Ok(()), |fault| Err(refusal(&fault)));
    }
}

fn refusal(fault: &TrailFault) -> CliError {
    let id = fault.event.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
    let event = fault.sequence.map(|number| format!("event {number}{id}: "));
    let event = event.or_else(|| fault.event.as_ref().map(|id| format!("event {id}: "))).unwrap_or_default();
    CliError::new(Exit::Failure, format!("the audit trail does not fit: {event}{}", fault.what)).hint(
        "docs/security.md says what this proves and what not; keep a copy of the data directory as it is",
    )
}

/// What is new, again and again, until someone interrupts it or nobody reads on.
fn follow(options: &AuditOptions, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let filter = filter(options);
    let (mut after, mut is_away) = (None, false);
    loop {
        match news(desk, &filter, after) {
            Ok(news) => {
                tell(after, &news, screen);
                is_away = false;
                let (next, has_more) = (news.next, news.has_more);
                show::events(&news.entries, desk.now(), screen)?;
                after = Some(next);
                if has_more {
                    continue;
                }
            }
            Err(error) if after.is_some() && error.exit == Exit::Unreachable => {
                if !is_away {
                    screen.warn("the server does not answer; going on when it is back");
                }
                is_away = true;
            }
            Err(error) => return Err(error),
        }
        sleep(POLL_EVERY);
    }
}

fn news(desk: &Desk<'_>, filter: &AuditFilter, after: Option<u64>) -> Result<AuditNews, CliError> {
    let command = Command::AuditNews { filter: filter.clone(), after, limit: PAGE_MAX };
    let Reply::AuditNews(news) = desk.ask_running(&command)? else { return Err(show::unexpected()) };
    Ok(news)
}

fn tell(after: Option<u64>, news: &AuditNews, screen: &mut Screen<'_, '_>) {
    match after {
        None => screen.note(&format!("Following from event {} on; Ctrl-C ends it.", news.next + 1)),
        Some(after) if news.next < after => screen.warn(
            "the trail is shorter than it was, so an older copy of the store was put in its place; going on from its end",
        ),
        Some(_) => {}
    }
}
