//! What is served and what was used. Never: counting.

use crate::admin::Command;

use super::args::UsageOptions;
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
