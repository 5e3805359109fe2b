//! One request for a page: who asks, from where, with what; and what he is answered. Never: what is on the pages.

use http::header::HeaderValue;
use http::{Method, StatusCode};

use crate::admin::AdminError;
use crate::registry::{Problem, RegistryError};
use crate::types::{Account, Actor, Place, Role, Session, Ticket};

use super::fields::Fields;
use super::route::Page;
use crate::http::site::Ground;

/// Whoever is signed in.
pub(in crate::http) struct Person {
    pub(in crate::http) session: Session,
    pub(in crate::http) account: Account,
    pub(in crate::http) ticket: Ticket,
}

impl Person {
    pub(in crate::http) fn is_admin(&self) -> bool {
        self.account.role == Role::Admin
    }

    /// Who acts, for the registry.
    pub(in crate::http) fn actor(&self) -> Actor {
        Actor::Person { account: self.account.id, admin: self.is_admin() }
    }
}

/// A request for a page.
pub(in crate::http) struct Visit {
    pub(in crate::http) method: Method,
    /// Path and query, to come back to after signing in.
    pub(in crate::http) target: String,
    pub(in crate::http) page: Page,
    /// What stands for `{}` in the path.
    pub(in crate::http) subject: String,
    pub(in crate::http) ground: Ground,
    pub(in crate::http) place: Place,
    /// The visitor's cookie, which forms are tied to while nobody is signed in.
    pub(in crate::http) visitor: String,
    pub(in crate::http) theme: String,
    pub(in crate::http) query: Fields,
    pub(in crate::http) form: Fields,
    pub(in crate::http) person: Option<Person>,
    pub(in crate::http) request_id: String,
}

impl Visit {
    /// What forms are tied to.
    pub(super) fn form_secret(&self) -> &str {
        self.person.as_ref().map_or(&self.visitor, |person| person.ticket.expose())
    }

    /// Whoever is signed in; the router let nobody else through.
    pub(super) fn person(&self) -> Result<&Person, Refused> {
        self.person.as_ref().ok_or(Refused::NotFound)
    }
}

/// What a page answers.
pub(in crate::http) struct PageAnswer {
    pub(in crate::http) status: StatusCode,
    pub(in crate::http) html: String,
    pub(in crate::http) location: Option<String>,
    pub(in crate::http) cookies: Vec<HeaderValue>,
    /// In seconds.
    pub(in crate::http) retry_after: Option<u64>,
    /// It is CSV to be kept in a file of this name.
    pub(in crate::http) file: Option<&'static str>,
}

impl PageAnswer {
    pub(super) fn redirect(to: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SEE_OTHER,
            html: String::new(),
            location: Some(to.into()),
            cookies: Vec::new(),
            retry_after: None,
            file: None,
        }
    }

    pub(super) fn csv(text: String, file: &'static str) -> Self {
        Self { html: text, location: None, status: StatusCode::OK, file: Some(file), ..Self::redirect("") }
    }

    pub(super) fn page(template: &impl askama::Template) -> Result<Self, Refused> {
        let html = template.render().map_err(|_| Refused::Broken)?;
        Ok(Self { status: StatusCode::OK, html, location: None, ..Self::redirect("") })
    }

    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        self.cookies.extend(cookie);
        self
    }

    /// As an answer to what was refused: its status, and when to try again.
    pub(super) fn refused(self, error: &AdminError) -> Self {
        Self { status: status_of(error), retry_after: error.retry_after(), ..self }
    }
}

/// Why there is no page.
pub(in crate::http) enum Refused {
    /// There is none here, or not for this person.
    NotFound,
    /// The form was not sent by a page of this site, or by one that is too old.
    Forged,
    /// The request names another host.
    WrongHost,
    /// Nobody is signed in; with the page to go to afterwards.
    SignIn(String),
    /// A command was refused.
    Admin(AdminError),
    /// A template could not be filled, or the like.
    Broken,
}

impl From<AdminError> for Refused {
    /// What is not there, or not this person's, is no page.
    fn from(error: AdminError) -> Self {
        if error.problem == Problem::NotFound { Self::NotFound } else { Self::Admin(error) }
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        AdminError::from(error).into()
    }
}

/// The status that goes with a refusal.
pub(super) fn status_of(error: &AdminError) -> StatusCode {
    crate::http::admin::status_of(error.problem)
}
