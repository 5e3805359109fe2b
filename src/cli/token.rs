//! The commands about administrators' tokens. Never: rules about them.

use crate::admin::{Command, Reply};
use crate::registry::NewToken;
use crate::types::AdminToken;

use super::args::{Format, TokenCreate, TokenVerb};
use super::desk::Desk;
use super::error::CliError;
use super::terminal::Screen;
use super::{secret, show};

pub(super) fn run(verb: &TokenVerb, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match verb {
        TokenVerb::Create(args) => create(args, desk, screen),
        TokenVerb::List => show::reply(&desk.ask(&Command::TokenList)?, desk.now(), screen),
        TokenVerb::Revoke { token } => {
            let token = asked(token, desk, screen)?;
            revoked(&desk.ask(&Command::TokenRevoke { token })?, desk, screen)
        }
    }
}

fn create(args: &TokenCreate, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let new = NewToken { name: args.name.clone(), expires_at: args.expires.end(desk.now()) };
    secret::issue(&Command::TokenCreate(new), args.out.as_deref(), desk, screen)
}

/// The id of the token that the person at the terminal, if there is one, agreed to. Without a terminal nothing is
/// asked: revoking must be fast when it matters.
fn asked(text: &str, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<String, CliError> {
    if screen.yes() || !screen.can_ask() {
        return Ok(text.to_string());
    }
    let Reply::Tokens(tokens) = desk.ask(&Command::TokenList)? else { return Err(show::unexpected()) };
    let is_meant = |token: &&AdminToken| {
        [token.id.to_string(), token.name.to_string(), token.hint.to_string()].iter().any(|word| word == text)
    };
    let mut meant = tokens.iter().filter(is_meant);
    // None or several: nothing is revoked then, and the registry says why.
    let (Some(token), None) = (meant.next(), meant.next()) else { return Ok(text.to_string()) };
    screen.confirm(&format!("Revoke token {} ({})? It can't be undone.", token.name, token.id))?;
    Ok(token.id.to_string())
}

fn revoked(reply: &Reply, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let Reply::Token(token) = reply else { return Err(show::unexpected()) };
    match screen.format {
        Format::Table => {
            screen.note(&format!("Token {} ({}) is revoked for good.", token.name, token.id));
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => show::reply(reply, desk.now(), screen),
    }
}
