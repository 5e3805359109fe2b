//! Signing in, up and out, and the links that set a password. Never: who may; the registry says.

use http::StatusCode;

use crate::admin::AdminError;
use crate::registry::{INVITE_GONE, Newcomer, RESET_GONE, RegistryError, SignedIn};
use crate::types::{DisplayName, Email, SignUp, Ticket, TicketKind};

use super::Dashboard;
use super::cookies::Jar;
use super::frame::{capitalised, with_error};
use super::page::{Frame, Notice, PasswordPage, SignInPage, SignUpPage};
use super::visit::{PageAnswer, Refused, Visit};

type Outcome = Result<PageAnswer, Refused>;

/// Where one goes who says nothing else.
const HOME: &str = "/dashboard";

impl Dashboard {
    pub(super) fn sign_in_form(&self, visit: &Visit) -> Outcome {
        if visit.person.is_some() {
            return Ok(PageAnswer::redirect(local(visit.query.text("next"))));
        }
        PageAnswer::page(&self.sign_in_page(visit, local(visit.query.text("next"))))
    }

    pub(super) fn sign_in(&self, visit: &Visit) -> Outcome {
        let next = local(visit.form.text("next"));
        let page = self.sign_in_page(visit, next);
        if visit.ground.refusal.is_some() {
            return Ok(PageAnswer::page(&page)?.status(StatusCode::FORBIDDEN));
        }
        let (email, password) = (visit.form.text("email"), visit.form.secret("password"));
        match self.registry_for(visit).sign_in(email, &password, &visit.place) {
            Ok(signed_in) => Ok(self.entered(visit, &signed_in, next)),
            Err(error) => {
                let error = AdminError::from(error);
                let frame = with_error(page.frame.clone(), capitalised(&error.detail));
                Ok(PageAnswer::page(&SignInPage { frame, ..page })?.refused(&error))
            }
        }
    }

    pub(super) fn sign_out(&self, visit: &Visit) -> Outcome {
        let person = visit.person()?;
        self.registry_for(visit).end_session(person.actor(), person.session.id)?;
        let gone = Jar::Session.clear(visit.ground.is_secure);
        Ok(PageAnswer::redirect("/sign-in?done=signed-out").cookie(gone))
    }

    pub(super) fn sign_up_form(&self, visit: &Visit) -> Outcome {
        if visit.person.is_some() {
            return Ok(PageAnswer::redirect(HOME));
        }
        PageAnswer::page(&self.sign_up_page(visit))
    }

    pub(super) fn sign_up(&self, visit: &Visit) -> Outcome {
        let page = self.sign_up_page(visit);
        if !page.refusal.is_empty() {
            return Ok(PageAnswer::page(&page)?.status(StatusCode::FORBIDDEN));
        }
        let email = match visit.form.text("email").parse::<Email>() {
            Ok(email) => email,
            Err(error) => return invalid_sign_up(page, &error.to_string()),
        };
        let newcomer = match newcomer(visit) {
            Ok(newcomer) => newcomer,
            Err(error) => return invalid_sign_up(page, &error),
        };
        match self.registry_for(visit).sign_up(&email, &newcomer) {
            Ok(()) => Ok(PageAnswer::redirect("/sign-in?done=signed-up")),
            Err(error) => refused_sign_up(page, error.into()),
        }
    }

    pub(super) fn invite_form(&self, visit: &Visit) -> Outcome {
        let page = self.invite_page(visit, &visit.subject)?;
        Ok(PageAnswer::page(&page)?.status(link_status(visit, &page.refusal)))
    }

    pub(super) fn accept_invite(&self, visit: &Visit) -> Outcome {
        let text = visit.form.text("ticket").to_string();
        let page = self.invite_page(visit, &text)?;
        let Some(ticket) =
            Ticket::parse(TicketKind::Invite, text.as_bytes()).filter(|_| page.refusal.is_empty())
        else {
            return Ok(PageAnswer::page(&page)?.status(link_status(visit, &page.refusal)));
        };
        let newcomer = match newcomer(visit) {
            Ok(newcomer) => newcomer,
            Err(error) => return invalid_sign_up(page, &error),
        };
        match self.registry_for(visit).accept_invite(&ticket, &newcomer) {
            Ok(signed_in) => Ok(self.entered(visit, &signed_in, "/dashboard?done=joined")),
            Err(error) => refused_sign_up(page, error.into()),
        }
    }

    pub(super) fn reset_form(&self, visit: &Visit) -> Outcome {
        let page = self.reset_page(visit, &visit.subject)?;
        Ok(PageAnswer::page(&page)?.status(link_status(visit, &page.refusal)))
    }

    pub(super) fn redeem_reset(&self, visit: &Visit) -> Outcome {
        let text = visit.form.text("ticket").to_string();
        let page = self.reset_page(visit, &text)?;
        let Some(ticket) =
            Ticket::parse(TicketKind::Reset, text.as_bytes()).filter(|_| page.refusal.is_empty())
        else {
            return Ok(PageAnswer::page(&page)?.status(link_status(visit, &page.refusal)));
        };
        match self.registry_for(visit).redeem_reset(&ticket, &visit.form.secret("password"), &visit.place) {
            Ok(signed_in) => Ok(self.entered(visit, &signed_in, "/dashboard?done=reset")),
            Err(error) => {
                let error = AdminError::from(error);
                let frame = with_error(page.frame.clone(), capitalised(&error.detail));
                Ok(PageAnswer::page(&PasswordPage { frame, ..page })?.refused(&error))
            }
        }
    }

    /// Hands the new session over; the one that the browser had ends.
    pub(super) fn entered(&self, visit: &Visit, signed_in: &SignedIn, next: &str) -> PageAnswer {
        if let Some(person) = &visit.person
            && let Err(error) = self.registry_for(visit).end_session(person.actor(), person.session.id)
        {
            tracing::debug!(%error, "a session that another takes the place of was over already");
        }
        let is_secure = visit.ground.is_secure;
        let session = Jar::Session.set(signed_in.ticket.expose(), is_secure);
        PageAnswer::redirect(next).cookie(session).cookie(Jar::Visitor.clear(is_secure))
    }

    fn sign_in_page(&self, visit: &Visit, next: &str) -> SignInPage {
        SignInPage {
            frame: self.frame(visit, "Sign in", ""),
            email: visit.form.text("email").to_string(),
            next: next.to_string(),
            has_sign_up: matches!(self.registry().rules().sign_up, SignUp::Open { .. }),
            refusal: visit.ground.refusal.clone().unwrap_or_default(),
        }
    }

    fn sign_up_page(&self, visit: &Visit) -> SignUpPage {
        let domains = match &self.registry().rules().sign_up {
            SignUp::Open { domains } => domains.clone(),
            SignUp::Invite | SignUp::Closed => Vec::new(),
        };
        let closed = self.registry().sign_up_refusal().map(capitalised);
        SignUpPage {
            frame: self.frame(visit, "Create an account", ""),
            ticket: String::new(),
            email: visit.form.text("email").to_string(),
            name: visit.form.text("name").to_string(),
            domains,
            refusal: visit.ground.refusal.clone().or(closed).unwrap_or_default(),
        }
    }

    /// A link may be for someone else than whoever is signed in: it begins a session of its own.
    fn link_frame(&self, visit: &Visit, title: &str) -> Frame {
        let mut frame = Frame { viewer: None, ..self.frame(visit, title, "") };
        if let Some(person) = &visit.person {
            let text = format!("You are signed in as {}. Going on signs you out here.", person.account.email);
            frame.notice = Some(Notice { is_error: false, text });
        }
        frame
    }

    fn invite_page(&self, visit: &Visit, ticket: &str) -> Result<SignUpPage, Refused> {
        let found = match Ticket::parse(TicketKind::Invite, ticket.as_bytes()) {
            Some(ticket) => unless_gone(self.registry().invite(&ticket))?,
            None => Err(INVITE_GONE.to_string()),
        };
        let (email, gone) = match found {
            Ok(invite) => (invite.email.to_string(), String::new()),
            Err(sentence) => (String::new(), capitalised(&sentence)),
        };
        Ok(SignUpPage {
            frame: self.link_frame(visit, "Join"),
            ticket: ticket.to_string(),
            email,
            name: visit.form.text("name").to_string(),
            domains: Vec::new(),
            refusal: visit.ground.refusal.clone().unwrap_or(gone),
        })
    }

    fn reset_page(&self, visit: &Visit, ticket: &str) -> Result<PasswordPage, Refused> {
        let found = match Ticket::parse(TicketKind::Reset, ticket.as_bytes()) {
            Some(ticket) => unless_gone(self.registry().reset_account(&ticket))?,
            None => Err(RESET_GONE.to_string()),
        };
        let (email, gone) = match found {
            Ok(account) => (account.email.to_string(), String::new()),
            Err(sentence) => (String::new(), capitalised(&sentence)),
        };
        Ok(PasswordPage {
            frame: self.link_frame(visit, "Set a password"),
            ticket: ticket.to_string(),
            email,
            refusal: visit.ground.refusal.clone().unwrap_or(gone),
        })
    }
}

/// A link that works, one that is over, and any over a connection that nobody may sign in over.
fn link_status(visit: &Visit, refusal: &str) -> StatusCode {
    match (refusal.is_empty(), visit.ground.refusal.is_some()) {
        (true, _) => StatusCode::OK,
        (false, true) => StatusCode::FORBIDDEN,
        (false, false) => StatusCode::NOT_FOUND,
    }
}

/// What a link leads to, or the sentence that it leads nowhere; trouble of the store stays trouble.
fn unless_gone<T>(found: Result<T, RegistryError>) -> Result<Result<T, String>, Refused> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(RegistryError::NotFound(sentence)) => Ok(Err(sentence)),
        Err(error) => Err(error.into()),
    }
}

fn newcomer(visit: &Visit) -> Result<Newcomer, String> {
    Ok(Newcomer {
        name: visit.form.parsed::<DisplayName>("name")?,
        password: visit.form.secret("password"),
        place: visit.place.clone(),
    })
}

fn invalid_sign_up(page: SignUpPage, sentence: &str) -> Outcome {
    let frame = with_error(page.frame.clone(), capitalised(sentence));
    Ok(PageAnswer::page(&SignUpPage { frame, ..page })?.status(StatusCode::BAD_REQUEST))
}

fn refused_sign_up(page: SignUpPage, error: AdminError) -> Outcome {
    let frame = with_error(page.frame.clone(), capitalised(&error.detail));
    Ok(PageAnswer::page(&SignUpPage { frame, ..page })?.refused(&error))
}

/// A page of the dashboard; anything else, another site above all, is the first one.
fn local(next: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/?=&%+".contains(&byte);
    let is_local = next == HOME || next.starts_with("/dashboard/") || next.starts_with("/dashboard?");
    if is_local && next.len() <= 1024 && !next.contains("//") && next.bytes().all(plain) {
        next
    } else {
        HOME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_on_to_the_dashboard_only() {
        for good in ["/dashboard", "/dashboard/keys?environment=prod&search=a%20b", "/dashboard?x=1"] {
            assert_eq!(local(good), good);
        }
        for bad in [
            "",
            "/",
            "//evil.test",
            "https://evil.test",
            "/\\evil.test",
            "/dashboardx",
            "/dashboard//evil.test",
            "/dashboard/\\evil",
            "/dashboard/\r\nset-cookie: a=b",
            "javascript:alert(1)",
            "/v1/models",
        ] {
            assert_eq!(local(bad), HOME, "{bad}");
        }
    }
}
