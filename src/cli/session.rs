//! The sessions of an account: listing and ending them. Never: rules about sessions.

use crate::admin::{Command, Reply};
use crate::types::{Session, SessionId};

use super::args::Format;
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::terminal::Screen;

pub(super) fn list(account: &str, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    show::reply(&Reply::Sessions(of(account, desk)?), desk.now(), screen)
}

/// Ends one session of an account, or all of them.
pub(super) fn end(
    account: &str,
    session: Option<SessionId>,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let ended = match session {
        Some(session) => vec![one(account, session, desk)?],
        None => {
            let command = Command::SessionsEnd { account: account.to_string(), keep: None };
            let Reply::Sessions(ended) = desk.ask(&command)? else { return Err(show::unexpected()) };
            ended
        }
    };
    done(account, ended, desk, screen)
}

fn one(account: &str, wanted: SessionId, desk: &Desk<'_>) -> Result<Session, CliError> {
    if !of(account, desk)?.iter().any(|session| session.id == wanted) {
        let sentence = format!("account {account} has no session {wanted}");
        let hint = format!("`ember account sessions {account}` shows those there are");
        return Err(CliError::new(Exit::NotFound, sentence).hint(hint));
    }
    let Reply::Session(session) = desk.ask(&Command::SessionEnd { session: wanted })? else {
        return Err(show::unexpected());
    };
    Ok(session)
}

fn of(account: &str, desk: &Desk<'_>) -> Result<Vec<Session>, CliError> {
    let Reply::Sessions(sessions) = desk.ask(&Command::SessionList { account: account.to_string() })? else {
        return Err(show::unexpected());
    };
    Ok(sessions)
}

fn done(
    account: &str,
    ended: Vec<Session>,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    match screen.format {
        Format::Table => {
            screen.note(&match ended.as_slice() {
                [] => format!("Account {account} is not signed in anywhere."),
                [one] => format!("Account {account} is signed out at {}.", one.place.address),
                all => format!("Account {account} is signed out everywhere ({} sessions).", all.len()),
            });
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => {
            show::reply(&Reply::Sessions(ended), desk.now(), screen)
        }
    }
}
