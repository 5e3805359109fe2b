//! The dashboard: pages for people, made of the same commands that the command line and the admin API have.
//! Never: rules, how a request arrives.

mod account;
mod accounts;
mod asset;
mod chart;
mod cookies;
mod csrf;
mod fields;
mod frame;
mod key;
mod keys;
mod once;
mod overview;
mod page;
mod people;
mod policy;
mod route;
mod seen;
mod usage;
mod visit;

use std::sync::Arc;

use http::{Method, StatusCode};

use crate::admin::{AdminError, Command, ModelView, Reply, run};
use crate::registry::Registry;
use crate::types::{Origin, Random, Ticket, TicketKind, Timestamp};

use super::admin::AdminDoor;
use super::route::Authority;

pub(super) use asset::ASSETS;
pub(super) use cookies::Jar;
pub(super) use csrf::{is_same_origin, is_token};
pub(super) use fields::Fields;
pub(super) use route::{PAGES, Page};
pub(super) use visit::{PageAnswer, Person, Refused, Visit};

use once::Once;
use page::{Frame, ProblemPage};

/// Everything pages are made with; one for the process. All calls may block.
pub(super) struct Dashboard {
    door: Arc<AdminDoor>,
    random: Arc<dyn Random>,
    once: Once,
}

impl Dashboard {
    pub(super) fn new(door: Arc<AdminDoor>, random: Arc<dyn Random>) -> Self {
        Self { door, random, once: Once::default() }
    }

    /// The page that a visit asks for, or the page that says why there is none. `genuine`: the request was made by a page
    /// of this site.
    pub(super) fn answer(&self, visit: &Visit, authority: Authority, genuine: bool) -> PageAnswer {
        let account = visit.person.as_ref().map(|person| person.account.id);
        let page = self.admitted(visit, authority, genuine).and_then(|()| {
            let _underway = account.map(|account| self.door.crowd.enter(account)).transpose()?;
            self.page(visit)
        });
        page.unwrap_or_else(|refused| self.refused(visit, refused))
    }

    /// Whoever a session's ticket belongs to, while it is good.
    pub(super) fn person(&self, text: Option<&str>) -> Result<Option<Person>, AdminError> {
        let ticket = text.and_then(|text| Ticket::parse(TicketKind::Session, text.as_bytes()));
        let Some(ticket) = ticket else { return Ok(None) };
        let found = self.registry().session(&ticket)?;
        Ok(found.map(|(session, account)| Person { session, account, ticket }))
    }

    /// A page about a refusal.
    pub(super) fn refused(&self, visit: &Visit, refused: Refused) -> PageAnswer {
        let (status, title, text) = match &refused {
            Refused::SignIn(next) => return PageAnswer::redirect(next.clone()),
            Refused::NotFound => (
                StatusCode::NOT_FOUND,
                "Not found",
                "There is nothing here, or it is not yours to see.".to_string(),
            ),
            Refused::Forged => (StatusCode::FORBIDDEN, "Not accepted", FORGED.to_string()),
            Refused::WrongHost => {
                (StatusCode::MISDIRECTED_REQUEST, "Another address", WRONG_HOST.to_string())
            }
            Refused::Admin(error) => {
                (visit::status_of(error), "That did not work", frame::capitalised(&error.detail))
            }
            Refused::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "Something broke", BROKEN.to_string()),
        };
        let frame = Frame { notice: None, ..self.frame(visit, title, "") };
        let page = ProblemPage { frame, status: status.as_u16(), text, request_id: visit.request_id.clone() };
        match (PageAnswer::page(&page), &refused) {
            (Ok(answer), Refused::Admin(error)) => answer.refused(error),
            (Ok(answer), _) => answer.status(status),
            (Err(_), _) => PageAnswer::redirect("/dashboard").status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Who may open the page, and whether a form is genuine.
    fn admitted(&self, visit: &Visit, authority: Authority, genuine: bool) -> Result<(), Refused> {
        let is_form = visit.method == Method::POST;
        match (&visit.person, authority) {
            (None, Authority::Member | Authority::Administrator) => {
                return Err(Refused::SignIn(sign_in_first(visit, is_form)));
            }
            (Some(person), Authority::Administrator) if !person.is_admin() => return Err(Refused::NotFound),
            _ => {}
        }
        let given = visit.form.text("csrf");
        if is_form && !(genuine && is_token(visit.form_secret(), given)) {
            return Err(Refused::Forged);
        }
        Ok(())
    }

    fn page(&self, visit: &Visit) -> Result<PageAnswer, Refused> {
        match visit.page {
            Page::Root => Ok(PageAnswer::redirect("/dashboard")),
            Page::SignInForm => self.sign_in_form(visit),
            Page::SignIn => self.sign_in(visit),
            Page::SignOut => self.sign_out(visit),
            Page::SignUpForm => self.sign_up_form(visit),
            Page::SignUp => self.sign_up(visit),
            Page::InviteForm => self.invite_form(visit),
            Page::AcceptInvite => self.accept_invite(visit),
            Page::ResetForm => self.reset_form(visit),
            Page::RedeemReset => self.redeem_reset(visit),
            Page::Overview => self.overview(visit),
            Page::Keys => self.keys(visit),
            Page::KeyNew => self.key_new(visit),
            Page::KeyCreate => self.key_create(visit),
            Page::Key => self.key(visit),
            Page::KeyEditForm => self.key_edit_form(visit),
            Page::KeyEdit => self.key_edit(visit),
            Page::KeyRotateForm => self.key_rotate_form(visit),
            Page::KeyRotate => self.key_rotate(visit),
            Page::KeyDisable => self.key_disable(visit),
            Page::KeyEnable => self.key_enable(visit),
            Page::KeyDeleteForm => self.key_delete_form(visit),
            Page::KeyDelete => self.key_delete(visit),
            Page::MyAccount => self.my_account(visit),
            Page::MyName => self.my_name(visit),
            Page::MyPassword => self.my_password(visit),
            Page::MyTheme => self.my_theme(visit),
            Page::EndOtherSessions => self.end_other_sessions(visit),
            Page::EndSession => self.end_session(visit),
            Page::Accounts => self.accounts(visit),
            Page::AccountNew => self.account_new(visit),
            Page::AccountCreate => self.account_create(visit),
            Page::InviteNew => self.invite_new(visit),
            Page::InviteCreate => self.invite_create(visit),
            Page::InviteRevoke => self.invite_revoke(visit),
            Page::Account => self.account(visit),
            Page::AccountEditForm => self.account_edit_form(visit),
            Page::AccountEdit => self.account_edit(visit),
            Page::AccountDisable => self.account_disable(visit),
            Page::AccountEnable => self.account_enable(visit),
            Page::AccountReset => self.account_reset(visit),
            Page::AccountSignOut => self.account_sign_out(visit),
            Page::AccountDeleteForm => self.account_delete_form(visit),
            Page::AccountDelete => self.account_delete(visit),
            Page::Models => self.models_page(visit),
            Page::Audit => self.audit(visit),
            Page::Usage => self.usage(visit),
            Page::UsageCsv => self.usage_csv(visit),
            Page::Nothing => Err(Refused::NotFound),
        }
    }

    fn registry(&self) -> &Registry {
        &self.door.registry
    }

    /// The registry as it is asked from where the visitor is.
    fn registry_for(&self, visit: &Visit) -> Registry {
        self.registry().asked_from(Origin::address(visit.place.address))
    }

    fn now(&self) -> Timestamp {
        self.door.clock.now()
    }

    /// The text that makes a form count once.
    fn mint(&self) -> Result<String, Refused> {
        Once::mint(&*self.random).map_err(|error| AdminError::unavailable(error.to_string()).into())
    }

    /// Has a command carried out for whoever is signed in.
    fn ask(&self, visit: &Visit, command: &Command) -> Result<Reply, Refused> {
        Ok(self.try_ask(visit, command)?)
    }

    /// The same, where a refusal is shown on the page that the form was on.
    fn try_ask(&self, visit: &Visit, command: &Command) -> Result<Reply, AdminError> {
        let person = visit.person.as_ref().ok_or_else(|| AdminError::invalid("nobody is signed in"))?;
        let (registry, terms) = (self.registry_for(visit), self.door.terms());
        run(&self.door.desk(&registry, &visit.ground.base_url, &terms), person.actor(), command)
    }

    /// The names of the models that are served.
    fn models(&self) -> Vec<String> {
        self.door.running.models().into_iter().map(|model: ModelView| model.name).collect()
    }
}

const FORGED: &str = "This form was not sent by a page of this site, or the page was too old. Go back, reload it and try \
                      again. Nothing was changed.";
const WRONG_HOST: &str = "This server is not known under this name. Use the address that its operator gave you; he sets it \
                          with server.public_url.";
const BROKEN: &str = "This page could not be made. The server's log says more under the number below.";

/// Where to go to sign in, and where to come back to.
fn sign_in_first(visit: &Visit, is_form: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if is_form {
        query.append_pair("done", "signed-in-again");
    } else if visit.target != "/dashboard" {
        query.append_pair("next", &visit.target);
    }
    let query = query.finish();
    if query.is_empty() { "/sign-in".to_string() } else { format!("/sign-in?{query}") }
}
