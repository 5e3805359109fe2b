//! One's own account: name, password, sessions, theme. Never: other people's.

use crate::admin::{AdminError, Command, Reply};
use crate::registry::AccountChanges;
use crate::types::{DisplayName, Session};

use super::Dashboard;
use super::cookies::Jar;
use super::frame::{capitalised, choices, with_error};
use super::page::{MyAccountPage, SessionRow};
use super::policy;
use super::visit::{PageAnswer, Refused, Visit};

type Outcome = Result<PageAnswer, Refused>;

pub(super) const THEMES: [(&str, &str); 3] =
    [("auto", "As the system"), ("light", "Light"), ("dark", "Dark")];

impl Dashboard {
    pub(super) fn my_account(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.my_account_page(visit)?)
    }

    pub(super) fn my_name(&self, visit: &Visit) -> Outcome {
        let account = visit.person()?.account.id.to_string();
        let name = visit.form.parsed::<DisplayName>("name").map_err(AdminError::invalid);
        let renamed = name.and_then(|name| {
            let changes = AccountChanges { name: Some(name), ..AccountChanges::default() };
            self.try_ask(visit, &Command::AccountUpdate { account, changes })
        });
        match renamed {
            Ok(_) => Ok(PageAnswer::redirect("/dashboard/account?done=name")),
            Err(error) => self.my_account_with(visit, &error),
        }
    }

    pub(super) fn my_password(&self, visit: &Visit) -> Outcome {
        let (current, new) = (visit.form.secret("current"), visit.form.secret("password"));
        let session = &visit.person()?.session;
        match self.registry_for(visit).change_password(session, &current, &new, &visit.place) {
            Ok(signed_in) => Ok(self.entered(visit, &signed_in, "/dashboard/account?done=password")),
            Err(error) => self.my_account_with(visit, &error.into()),
        }
    }

    pub(super) fn my_theme(&self, visit: &Visit) -> Outcome {
        let wanted = visit.form.text("theme");
        let theme = THEMES.iter().find(|(value, _)| *value == wanted).map_or("auto", |(value, _)| value);
        let cookie = Jar::Theme.set(theme, visit.ground.is_secure);
        Ok(PageAnswer::redirect("/dashboard/account?done=theme").cookie(cookie))
    }

    pub(super) fn end_session(&self, visit: &Visit) -> Outcome {
        let session = visit.subject.parse().map_err(|_| Refused::NotFound)?;
        self.ask(visit, &Command::SessionEnd { session })?;
        Ok(PageAnswer::redirect("/dashboard/account?done=session-ended"))
    }

    pub(super) fn end_other_sessions(&self, visit: &Visit) -> Outcome {
        let person = visit.person()?;
        let account = person.account.id.to_string();
        self.ask(visit, &Command::SessionsEnd { account, keep: Some(person.session.id) })?;
        Ok(PageAnswer::redirect("/dashboard/account?done=sessions-ended"))
    }

    /// The sessions of an account, as rows.
    pub(super) fn session_rows(&self, visit: &Visit, account: &str) -> Result<Vec<SessionRow>, Refused> {
        let own = visit.person()?.session.id;
        let command = Command::SessionList { account: account.to_string() };
        let Reply::Sessions(sessions) = self.ask(visit, &command)? else { return Err(Refused::Broken) };
        let row = |session: &Session| SessionRow {
            id: session.id.to_string(),
            agent: browser(&session.place.agent),
            address: session.place.address.to_string(),
            began: self.moment(session.created_at),
            seen: self.moment(session.seen_at),
            is_this: session.id == own,
        };
        Ok(sessions.iter().map(row).collect())
    }

    fn my_account_page(&self, visit: &Visit) -> Result<MyAccountPage, Refused> {
        let account = &visit.person()?.account;
        Ok(MyAccountPage {
            frame: self.frame(visit, "Account", "account"),
            name: account.name.as_ref().map(ToString::to_string).unwrap_or_default(),
            role: account.role.as_str().to_string(),
            policy: policy::facts(&account.policy, &self.registry().rules().account_limits),
            themes: choices(&THEMES, &visit.theme),
            sessions: self.session_rows(visit, &account.id.to_string())?,
        })
    }

    fn my_account_with(&self, visit: &Visit, error: &AdminError) -> Outcome {
        let mut page = self.my_account_page(visit)?;
        page.frame = with_error(page.frame, capitalised(&error.detail));
        Ok(PageAnswer::page(&page)?.refused(error))
    }
}

/// What people call the browser that calls itself so.
fn browser(agent: &str) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iOS"),
        ("iPad", "iPadOS"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ];
    let named = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(&BROWSERS), named(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_string(),
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => "An unknown browser".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_as_people_know_them() {
        for (agent, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
                "Safari on iOS",
            ),
            ("", "An unknown browser"),
        ] {
            assert_eq!(browser(agent), name);
        }
    }
}
