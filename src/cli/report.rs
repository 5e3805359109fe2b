//! What is served and what was used. Never: counting.

use crate::admin::{Command, Reply, UsageAsk, wire};
use crate::meter::Step;

use super::args::{Format, UsageOptions, UsageVerb};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::terminal::Screen;
use super::value::By;

pub(super) fn models(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    show::reply(&desk.ask_server(&Command::Models)?, desk.now(), screen)
}

pub(super) fn usage(
    options: &UsageOptions,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    if let Some(UsageVerb::Verify) = options.verb {
        return verify(desk, screen);
    }
    let account = options.account.clone();
    let is_short = options.by.is_none() && options.since.is_none() && options.until.is_none();
    let command = if is_short && options.key.is_none() && screen.format != Format::Csv {
        Command::Usage { account }
    } else {
        let By(group, step) = options.by.unwrap_or(By(None, Some(Step::Day)));
        let since = options.since.map(|since| since.point(desk.now()));
        let (key, until) = (options.key.clone(), options.until);
        Command::UsageReport(UsageAsk { account, key, since, until, group, step })
    };
    let reply = desk.ask(&command)?;
    match (&reply, screen.format) {
        (Reply::UsageReport(report), Format::Csv) => screen.data(wire::usage_csv(report)?.trim_end()),
        _ => show::reply(&reply, desk.now(), screen),
    }
}

/// A check, too: only records that add up are a good end.
fn verify(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let reply = desk.ask(&Command::UsageVerify)?;
    let Reply::UsageProof(proof) = &reply else { return Err(show::unexpected()) };
    show::reply(&reply, desk.now(), screen)?;
    if proof.faults == 0 {
        return Ok(());
    }
    let sentence = format!("{} counters are not the sum of their records", proof.faults);
    Err(CliError::new(Exit::Conflict, sentence)
        .hint("the records or the counters were changed from outside; a backup from before tells which"))
}
