//! The commands about invitations. Never: rules about them.

use crate::admin::{Command, Reply};
use crate::registry::{INVITE_DEFAULT, NewInvite};
use crate::types::Role;

use super::args::{Format, InviteCreate, InviteVerb};
use super::desk::Desk;
use super::error::CliError;
use super::terminal::Screen;
use super::{secret, show};

pub(super) fn run(verb: &InviteVerb, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match verb {
        InviteVerb::Create(args) => create(args, desk, screen),
        InviteVerb::List => show::reply(&desk.ask(&Command::InviteList)?, desk.now(), screen),
        InviteVerb::Revoke { invite } => {
            revoked(&desk.ask(&Command::InviteRevoke { invite: *invite })?, desk, screen)
        }
    }
}

fn create(args: &InviteCreate, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let command = Command::InviteCreate(NewInvite {
        email: args.email.clone(),
        role: if args.admin { Role::Admin } else { Role::Member },
        lifetime: args.expires.unwrap_or(INVITE_DEFAULT),
    });
    secret::issue(&command, args.out.as_deref(), desk, screen)
}

fn revoked(reply: &Reply, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let Reply::Invite(invite) = reply else { return Err(show::unexpected()) };
    match screen.format {
        Format::Table => {
            screen.note(&format!("The invitation of {} ({}) is taken back.", invite.email, invite.id));
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => show::reply(reply, desk.now(), screen),
    }
}
