//! Other people's accounts, for administrators: made, invited, stopped, deleted, given a new password. Never: rules.

use std::time::Duration;

use http::StatusCode;

use crate::admin::{AccountDetail, AdminError, Command, Reply};
use crate::registry::{AccountChanges, NewAccount, NewInvite};
use crate::types::{Account, AccountId, DisplayName, Email, Invite, InviteId, Role, Secret, Timestamp};

use super::Dashboard;
use super::frame::{capitalised, choices, told, with_error};
use super::page::{
    AccountDeletePage, AccountEditPage, AccountNewPage, AccountPage, AccountRow, AccountsPage, InvitePage,
    InviteRow, LinkPage,
};
use super::policy;
use super::visit::{PageAnswer, Refused, Visit};

type Outcome = Result<PageAnswer, Refused>;

const ROLES: [(&str, &str); 2] =
    [("member", "Member: own keys only"), ("admin", "Administrator: everything")];
const LIFETIMES: [(&str, &str); 3] = [("1d", "1 day"), ("7d", "7 days"), ("30d", "30 days")];
/// Accounts on one page.
const ROWS: usize = 500;

impl Dashboard {
    pub(super) fn accounts(&self, visit: &Visit) -> Outcome {
        let after = visit.query.text("after").parse::<AccountId>().ok();
        let Reply::Accounts(page) = self.ask(visit, &Command::AccountList { after, limit: ROWS })? else {
            return Err(Refused::Broken);
        };
        let Reply::Invites(invites) = self.ask(visit, &Command::InviteList)? else {
            return Err(Refused::Broken);
        };
        let last = page.entries.last().filter(|_| page.has_more);
        let own = visit.person()?.account.id;
        PageAnswer::page(&AccountsPage {
            frame: self.frame(visit, "Accounts", "accounts"),
            next: last.map(|account| format!("/dashboard/accounts?after={}", account.id)).unwrap_or_default(),
            accounts: page.entries.iter().map(|account| self.account_row(account, own)).collect(),
            invites: invites.iter().map(|invite| self.invite_row(invite)).collect(),
            can_invite: self.registry().rules().sign_up.takes_invites(),
        })
    }

    pub(super) fn account_new(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.account_new_page(visit))
    }

    /// Makes an account without a password, and the link to set one.
    pub(super) fn account_create(&self, visit: &Visit) -> Outcome {
        let made = wanted_account(visit).and_then(|new| self.try_ask(visit, &Command::AccountCreate(new)));
        match made {
            Ok(Reply::Account(account)) => self.reset_link(
                visit,
                &account.id.to_string(),
                "Hand this link over to set the first password",
            ),
            Ok(_) => Err(Refused::Broken),
            Err(error) => {
                let mut page = self.account_new_page(visit);
                page.frame = with_error(page.frame, capitalised(&error.detail));
                Ok(PageAnswer::page(&page)?.refused(&error))
            }
        }
    }

    pub(super) fn invite_new(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.invite_new_page(visit)?)
    }

    pub(super) fn invite_create(&self, visit: &Visit) -> Outcome {
        let once = visit.form.text("once");
        if !self.once.is_first(once) {
            return Ok(PageAnswer::redirect("/dashboard/accounts?done=link-sent-before"));
        }
        let made = wanted_invite(visit).and_then(|new| self.try_ask(visit, &Command::InviteCreate(new)));
        match made {
            Ok(Reply::Invited { invite, link }) => {
                let purpose = "Whoever opens it can make this account, once";
                self.link_page(visit, invite.email.as_str(), &link, purpose, invite.expires_at)
            }
            Ok(_) => Err(Refused::Broken),
            Err(error) => {
                self.once.forget(once);
                let mut page = self.invite_new_page(visit)?;
                page.frame = with_error(page.frame, capitalised(&error.detail));
                Ok(PageAnswer::page(&page)?.refused(&error))
            }
        }
    }

    pub(super) fn invite_revoke(&self, visit: &Visit) -> Outcome {
        let invite: InviteId = visit.subject.parse().map_err(|_| Refused::NotFound)?;
        self.ask(visit, &Command::InviteRevoke { invite })?;
        Ok(PageAnswer::redirect("/dashboard/accounts?done=invite-revoked"))
    }

    pub(super) fn account(&self, visit: &Visit) -> Outcome {
        let AccountDetail { account, history } = self.account_of(visit)?;
        PageAnswer::page(&AccountPage {
            frame: self.frame(visit, account.email.as_str(), "accounts"),
            account: self.account_row(&account, visit.person()?.account.id),
            policy: policy::facts(&account.policy, &self.registry().rules().account_limits),
            once: self.mint()?,
            sessions: self.session_rows(visit, &account.id.to_string())?,
            history: self.history(&history),
        })
    }

    pub(super) fn account_edit_form(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.account_edit_page(visit, &self.account_of(visit)?.account, None))
    }

    pub(super) fn account_edit(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        let changed = wanted_changes(visit).and_then(|changes| {
            self.try_ask(visit, &Command::AccountUpdate { account: account.id.to_string(), changes })
        });
        match changed {
            Ok(_) => Ok(to(&account, "account-updated")),
            Err(error) => {
                let page = self.account_edit_page(visit, &account, Some(&error));
                Ok(PageAnswer::page(&page)?.refused(&error))
            }
        }
    }

    pub(super) fn account_disable(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        self.ask(visit, &Command::AccountDisable { account: account.id.to_string() })?;
        Ok(to(&account, "account-disabled"))
    }

    pub(super) fn account_enable(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        self.ask(visit, &Command::AccountEnable { account: account.id.to_string() })?;
        Ok(to(&account, "account-enabled"))
    }

    pub(super) fn account_reset(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        if !self.once.is_first(visit.form.text("once")) {
            return Ok(PageAnswer::redirect("/dashboard/accounts?done=link-sent-before"));
        }
        self.reset_link(
            visit,
            &account.id.to_string(),
            "Whoever opens it can set this account's password, once",
        )
    }

    /// Signs an account out everywhere.
    pub(super) fn account_sign_out(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        self.ask(visit, &Command::SessionsEnd { account: account.id.to_string(), keep: None })?;
        Ok(to(&account, "account-signed-out"))
    }

    pub(super) fn account_delete_form(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.account_delete_page(visit, &self.account_of(visit)?.account))
    }

    pub(super) fn account_delete(&self, visit: &Visit) -> Outcome {
        let account = self.account_of(visit)?.account;
        if visit.form.text("email") != account.email.as_str() {
            let mut page = self.account_delete_page(visit, &account);
            let sentence =
                "That is not the account's address. Type it as it stands above; nothing was deleted.";
            page.frame = with_error(page.frame, sentence);
            return Ok(PageAnswer::page(&page)?.status(StatusCode::BAD_REQUEST));
        }
        self.ask(visit, &Command::AccountDelete { account: account.id.to_string() })?;
        Ok(PageAnswer::redirect("/dashboard/accounts?done=account-deleted"))
    }

    /// The account that the path names. Only a whole id names one here.
    fn account_of(&self, visit: &Visit) -> Result<AccountDetail, Refused> {
        let id: AccountId = visit.subject.parse().map_err(|_| Refused::NotFound)?;
        let Reply::AccountDetail(detail) =
            self.ask(visit, &Command::AccountShow { account: id.to_string() })?
        else {
            return Err(Refused::Broken);
        };
        Ok(detail)
    }

    fn reset_link(&self, visit: &Visit, account: &str, purpose: &str) -> Outcome {
        let command = Command::AccountReset { account: account.to_string() };
        let Reply::Reset { account, expires_at, link } = self.ask(visit, &command)? else {
            return Err(Refused::Broken);
        };
        self.link_page(visit, account.email.as_str(), &link, purpose, expires_at)
    }

    fn link_page(&self, visit: &Visit, email: &str, link: &Secret, purpose: &str, end: Timestamp) -> Outcome {
        PageAnswer::page(&LinkPage {
            frame: self.frame(visit, "A link to hand over", "accounts"),
            email: email.to_string(),
            link: link.expose().to_string(),
            purpose: format!("{purpose}."),
            expires: self.moment(end),
        })
    }

    fn account_row(&self, account: &Account, own: AccountId) -> AccountRow {
        AccountRow {
            id: account.id.to_string(),
            email: account.email.to_string(),
            name: account.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            role: account.role.as_str().to_string(),
            status: account.status.as_str().to_string(),
            created: self.moment(account.created_at),
            is_viewer: account.id == own,
        }
    }

    fn invite_row(&self, invite: &Invite) -> InviteRow {
        InviteRow {
            id: invite.id.to_string(),
            email: invite.email.to_string(),
            role: invite.role.as_str().to_string(),
            created: self.moment(invite.created_at),
            expires: self.moment(invite.expires_at),
        }
    }

    fn account_new_page(&self, visit: &Visit) -> AccountNewPage {
        AccountNewPage {
            frame: self.frame(visit, "Create an account", "accounts"),
            email: visit.form.text("email").to_string(),
            name: visit.form.text("name").to_string(),
            roles: choices(&ROLES, chosen(visit, "role", "member")),
        }
    }

    fn invite_new_page(&self, visit: &Visit) -> Result<InvitePage, Refused> {
        Ok(InvitePage {
            once: self.mint()?,
            frame: self.frame(visit, "Invite someone", "accounts"),
            email: visit.form.text("email").to_string(),
            roles: choices(&ROLES, chosen(visit, "role", "member")),
            expiries: choices(&LIFETIMES, chosen(visit, "expiry", "7d")),
        })
    }

    fn account_edit_page(
        &self,
        visit: &Visit,
        account: &Account,
        error: Option<&AdminError>,
    ) -> AccountEditPage {
        let frame = self.frame(visit, &format!("Edit {}", account.email), "accounts");
        let (served, defaults) = (self.models(), &self.registry().rules().account_limits);
        let name = account.name.as_ref().map(ToString::to_string).unwrap_or_default();
        AccountEditPage {
            id: account.id.to_string(),
            name: error.map_or(name, |_| visit.form.text("name").to_string()),
            policy: match error {
                Some(_) => policy::sent(&visit.form, served, defaults),
                None => policy::of(&account.policy, served, defaults),
            },
            frame: told(frame, error),
        }
    }

    fn account_delete_page(&self, visit: &Visit, account: &Account) -> AccountDeletePage {
        AccountDeletePage {
            frame: self.frame(visit, &format!("Delete {}", account.email), "accounts"),
            id: account.id.to_string(),
            email: account.email.to_string(),
        }
    }
}

fn wanted_account(visit: &Visit) -> Result<NewAccount, AdminError> {
    Ok(NewAccount {
        email: email(visit)?,
        name: visit.form.parsed::<DisplayName>("name").map_err(AdminError::invalid)?,
        role: role(visit)?,
        password: None,
    })
}

fn wanted_changes(visit: &Visit) -> Result<AccountChanges, AdminError> {
    let name = visit.form.parsed::<DisplayName>("name").map_err(AdminError::invalid)?;
    let name = visit.form.has("name").then_some(name);
    Ok(AccountChanges { name, policy: policy::wanted(&visit.form)? })
}

fn wanted_invite(visit: &Visit) -> Result<NewInvite, AdminError> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let days = match visit.form.text("expiry") {
        "1d" => 1,
        "7d" => 7,
        "30d" => 30,
        _ => return Err(AdminError::invalid("choose how long the link is to work")),
    };
    Ok(NewInvite { email: email(visit)?, role: role(visit)?, lifetime: DAY * days })
}

fn email(visit: &Visit) -> Result<Email, AdminError> {
    visit
        .form
        .text("email")
        .parse()
        .map_err(|error: crate::types::EmailError| AdminError::invalid(error.to_string()))
}

fn role(visit: &Visit) -> Result<Role, AdminError> {
    let wanted = visit.form.text("role");
    let known = [Role::Member, Role::Admin].into_iter().find(|role| role.as_str() == wanted);
    known.ok_or_else(|| AdminError::invalid("choose what the account may do"))
}

fn chosen<'a>(visit: &'a Visit, name: &str, default: &'a str) -> &'a str {
    visit.form.some(name).unwrap_or(default)
}

fn to(account: &Account, done: &str) -> PageAnswer {
    PageAnswer::redirect(format!("/dashboard/accounts/{}?done={done}", account.id))
}
