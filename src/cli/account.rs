//! The account commands. Never: rules about accounts.

use crate::admin::{Command, Reply};
use crate::registry::{AccountChanges, NewAccount, PAGE_MAX, Page};
use crate::types::{Account, AccountId, Role, Secret};

use super::args::{AccountCreate, AccountVerb, Format};
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::terminal::Screen;
use super::{secret, session, show};

/// A password's bytes; the registry says how long it must be.
const PASSWORD_BYTES_MAX: usize = 1024;

pub(super) fn run(verb: &AccountVerb, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match verb {
        AccountVerb::Create(args) => create(args, desk, screen),
        AccountVerb::List => show::reply(&list(desk)?, desk.now(), screen),
        AccountVerb::Show { account } => {
            let reply = desk.ask(&Command::AccountShow { account: account.clone() })?;
            show::reply(&reply, desk.now(), screen)
        }
        AccountVerb::Update(args) => {
            let name = args.name.clone().map(|name| name.0);
            let changes = AccountChanges { name, policy: args.policy.changes() };
            let command = Command::AccountUpdate { account: args.account.clone(), changes };
            done(&desk.ask(&command)?, "updated", desk, screen)
        }
        AccountVerb::Reset { account, out } => {
            let command = Command::AccountReset { account: account.clone() };
            secret::issue(&command, out.as_deref(), desk, screen)
        }
        AccountVerb::Sessions { account } => session::list(account, desk, screen),
        AccountVerb::SignOut { account, session } => session::end(account, *session, desk, screen),
        AccountVerb::Enable { account } => {
            let reply = desk.ask(&Command::AccountEnable { account: account.clone() })?;
            done(&reply, "enabled", desk, screen)
        }
        AccountVerb::Disable { account } => {
            let id = asked(account, "Disable", "Its keys stop at once.", desk, screen)?;
            done(&desk.ask(&Command::AccountDisable { account: id })?, "disabled", desk, screen)
        }
        AccountVerb::Delete { account } => {
            refuse_unasked(account, screen)?;
            let id = asked(account, "Delete", "Its keys are revoked for good.", desk, screen)?;
            done(&desk.ask(&Command::AccountDelete { account: id })?, "deleted", desk, screen)
        }
        AccountVerb::Passwd { account } => {
            let command = Command::AccountPassword {
                account: account.clone(),
                password: password(screen)?,
                current: None,
            };
            done(&desk.ask(&command)?, "given a new password", desk, screen)
        }
    }
}

fn create(args: &AccountCreate, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let password = args.password_stdin.then(|| password(screen)).transpose()?;
    let has_password = password.is_some();
    let command = Command::AccountCreate(NewAccount {
        email: args.email.clone(),
        name: args.name.clone(),
        role: if args.admin { Role::Admin } else { Role::Member },
        password,
    });
    done(&desk.ask_or_create(&command, args.admin)?, "created", desk, screen)?;
    if !has_password {
        let email = &args.email;
        screen.note(&format!(
            "It has no password for the dashboard; `ember account reset {email}` makes a link where its owner sets one."
        ));
    }
    Ok(())
}

fn list(desk: &Desk<'_>) -> Result<Reply, CliError> {
    let mut entries: Vec<Account> = Vec::new();
    let mut after: Option<AccountId> = None;
    loop {
        let Reply::Accounts(page) = desk.ask(&Command::AccountList { after, limit: PAGE_MAX })? else {
            return Err(show::unexpected());
        };
        entries.extend(page.entries);
        after = entries.last().map(|account| account.id);
        if !page.has_more {
            return Ok(Reply::Accounts(Page { entries, has_more: false }));
        }
    }
}

/// The id of the account that the person at the terminal, if there is one, agreed to.
fn asked(
    text: &str,
    verb: &str,
    so_that: &str,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<String, CliError> {
    if screen.yes() || !screen.can_ask() {
        return Ok(text.to_string());
    }
    let Reply::AccountDetail(detail) = desk.ask(&Command::AccountShow { account: text.to_string() })? else {
        return Err(show::unexpected());
    };
    let account = detail.account;
    screen.confirm(&format!("{verb} account {} ({})? {so_that}", account.email, account.id))?;
    Ok(account.id.to_string())
}

/// What can't be undone needs a yes: typed, or -y.
fn refuse_unasked(account: &str, screen: &Screen<'_, '_>) -> Result<(), CliError> {
    if screen.yes() || screen.can_ask() {
        return Ok(());
    }
    Err(CliError::new(
        Exit::Usage,
        format!("deleting account {account} can't be undone, and nobody can be asked here"),
    )
    .hint("give -y to do it"))
}

fn done(reply: &Reply, what: &str, desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let Reply::Account(account) = reply else { return Err(show::unexpected()) };
    match screen.format {
        Format::Table => {
            screen.note(&format!("Account {} ({}) is {what}.", account.email, account.id));
            Ok(())
        }
        Format::Json | Format::Plain | Format::Csv => show::reply(reply, desk.now(), screen),
    }
}

fn password(screen: &mut Screen<'_, '_>) -> Result<Secret, CliError> {
    if screen.terminal.stdin_is_terminal {
        return Err(CliError::new(
            Exit::Usage,
            "the password is read from stdin, which is a terminal that would show it",
        )
        .hint("in bash: read -rs P; printf %s \"$P\" | ember account passwd EMAIL"));
    }
    let password = screen.read(PASSWORD_BYTES_MAX, false)?;
    if password.expose().is_empty() {
        return Err(CliError::new(Exit::Usage, "no password came on stdin; nothing was changed"));
    }
    Ok(password)
}
