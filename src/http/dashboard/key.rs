//! One key's life on the dashboard: made, shown once, looked at, changed, rotated, switched off and on, deleted.

use std::time::Duration;

use http::StatusCode;

use crate::admin::{AdminError, Command, KeyDetail, KeyView, Reply};
use crate::registry::{KeyChanges, NewKey, Rotation};
use crate::types::{AccountId, Environment, Key, KeyId, KeyName, ModelScope, Policy, Timestamp, Weight};

use super::Dashboard;
use super::frame::{choices, model_to_copy, told, with_error};
use super::keys::ENVIRONMENTS;
use super::page::{
    AccessForm, KeyDeletePage, KeyEditPage, KeyIssuedPage, KeyNewPage, KeyPage, KeyRotatePage, PolicyForm,
    SecretLine,
};
use super::policy;
use super::visit::{PageAnswer, Person, Refused, Visit};

type Outcome = Result<PageAnswer, Refused>;

const EXPIRIES: [(&str, &str); 5] = [
    ("never", "Never"),
    ("30d", "In 30 days"),
    ("90d", "In 90 days"),
    ("365d", "In a year"),
    ("date", "At the end of a day"),
];
const GRACES: [(&str, &str); 4] =
    [("now", "Now: the old secret stops at once"), ("1h", "1 hour"), ("24h", "24 hours"), ("7d", "7 days")];
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Dashboard {
    pub(super) fn key_new(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.key_new_page(visit, None)?)
    }

    pub(super) fn key_create(&self, visit: &Visit) -> Outcome {
        let once = visit.form.text("once");
        if !self.once.is_first(once) {
            return Ok(PageAnswer::redirect("/dashboard/keys?done=sent-before"));
        }
        let owner = visit.person()?.account.id;
        let new = self.wanted_key(visit, owner);
        let issued = new.and_then(|new| self.try_ask(visit, &Command::KeyCreate(new)));
        match issued {
            Ok(Reply::Issued { key, secret }) => self.issued(visit, &key, &secret, String::new()),
            Ok(_) => Err(Refused::Broken),
            Err(error) => {
                self.once.forget(once);
                Ok(PageAnswer::page(&self.key_new_page(visit, Some(&error))?)?.refused(&error))
            }
        }
    }

    pub(super) fn key(&self, visit: &Visit) -> Outcome {
        let detail = self.key_of(visit)?;
        let seen = self.seen_lines(&detail);
        let KeyDetail { key, history, .. } = detail;
        let secret = |one: &crate::admin::SecretView| SecretLine {
            last4: one.last4.to_string(),
            created: self.moment(one.created_at),
            until: one.valid_until.map(|end| self.moment(end)),
        };
        PageAnswer::page(&KeyPage {
            frame: self.frame(visit, key.name.as_str(), "keys"),
            key: self.key_row(visit, &key)?,
            policy: policy::facts(&key.policy, &self.registry().rules().key_limits),
            allow_browser: key.allow_browser,
            weight: Some(key.weight)
                .filter(|weight| *weight != Weight::default())
                .map(|weight| weight.to_string())
                .unwrap_or_default(),
            secrets: key.secrets.iter().map(secret).collect(),
            revoked: key.revoked_at.map(|at| self.moment(at)),
            reason: key.revoked_reason.clone().unwrap_or_default(),
            history: self.history(&history),
            seen,
        })
    }

    pub(super) fn key_edit_form(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.key_edit_page(visit, &self.key_of(visit)?.key, None))
    }

    pub(super) fn key_edit(&self, visit: &Visit) -> Outcome {
        let key = self.key_of(visit)?.key;
        let changed = self.wanted_changes(visit).and_then(|changes| {
            self.try_ask(visit, &Command::KeyUpdate { key: key.id.to_string(), changes })
        });
        match changed {
            Ok(_) => Ok(to(&key, "key-updated")),
            Err(error) => {
                let page = self.key_edit_page(visit, &key, Some(&error));
                Ok(PageAnswer::page(&page)?.refused(&error))
            }
        }
    }

    pub(super) fn key_rotate_form(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.key_rotate_page(visit, &self.key_of(visit)?.key, None)?)
    }

    pub(super) fn key_rotate(&self, visit: &Visit) -> Outcome {
        let key = self.key_of(visit)?.key;
        let once = visit.form.text("once");
        if !self.once.is_first(once) {
            return Ok(PageAnswer::redirect("/dashboard/keys?done=sent-before"));
        }
        let rotated = rotation(visit.form.text("grace")).and_then(|rotation| {
            self.try_ask(visit, &Command::KeyRotate { key: key.id.to_string(), rotation })
        });
        match rotated {
            Ok(Reply::Issued { key, secret }) => {
                let old = key.secrets.get(1).and_then(|old| Some((old.last4, old.valid_until?)));
                let old = match old {
                    Some((last4, end)) => {
                        format!("The old secret ...{last4} works for {} more.", self.left(end))
                    }
                    None => "The old secret stopped working, and what ran on it was cut.".to_string(),
                };
                self.issued(visit, &key, &secret, old)
            }
            Ok(_) => Err(Refused::Broken),
            Err(error) => {
                self.once.forget(once);
                let page = self.key_rotate_page(visit, &key, Some(&error))?;
                Ok(PageAnswer::page(&page)?.refused(&error))
            }
        }
    }

    pub(super) fn key_disable(&self, visit: &Visit) -> Outcome {
        let key = self.key_of(visit)?.key;
        self.ask(visit, &Command::KeyDisable { key: key.id.to_string() })?;
        Ok(to(&key, "key-disabled"))
    }

    pub(super) fn key_enable(&self, visit: &Visit) -> Outcome {
        let key = self.key_of(visit)?.key;
        self.ask(visit, &Command::KeyEnable { key: key.id.to_string() })?;
        Ok(to(&key, "key-enabled"))
    }

    pub(super) fn key_delete_form(&self, visit: &Visit) -> Outcome {
        PageAnswer::page(&self.key_delete_page(visit, &self.key_of(visit)?.key))
    }

    pub(super) fn key_delete(&self, visit: &Visit) -> Outcome {
        let key = self.key_of(visit)?.key;
        if visit.form.text("name") != key.name.as_str() {
            let mut page = self.key_delete_page(visit, &key);
            let sentence = "That is not the key's name. Type it as it stands above; nothing was deleted.";
            page.frame = with_error(page.frame, sentence);
            return Ok(PageAnswer::page(&page)?.status(StatusCode::BAD_REQUEST));
        }
        self.ask(visit, &Command::KeyRevoke { key: key.id.to_string(), reason: None })?;
        Ok(PageAnswer::redirect("/dashboard/keys?done=key-deleted"))
    }

    /// The key that the path names. Only a whole id names one here.
    fn key_of(&self, visit: &Visit) -> Result<KeyDetail, Refused> {
        let id: KeyId = visit.subject.parse().map_err(|_| Refused::NotFound)?;
        let Reply::KeyDetail(detail) = self.ask(visit, &Command::KeyShow { key: id.to_string() })? else {
            return Err(Refused::Broken);
        };
        Ok(detail)
    }

    /// The one page that has the key.
    fn issued(&self, visit: &Visit, key: &KeyView, secret: &Key, old: String) -> Outcome {
        let models = match &key.policy.models {
            ModelScope::Only(only) => only.iter().map(ToString::to_string).collect(),
            ModelScope::All => self.models(),
        };
        PageAnswer::page(&KeyIssuedPage {
            frame: self.frame(visit, "Your new key", "keys"),
            id: key.id.to_string(),
            name: key.name.to_string(),
            environment: key.environment.to_string(),
            key: secret.expose().to_string(),
            base_url: format!("{}/v1", visit.ground.base_url),
            model: model_to_copy(models),
            old,
        })
    }

    fn key_new_page(&self, visit: &Visit, error: Option<&AdminError>) -> Result<KeyNewPage, Refused> {
        let frame = self.frame(visit, "Create key", "keys");
        let environment = visit.form.text("environment");
        let expiry = visit.form.text("expiry");
        let (policy, access) = match error {
            Some(_) => self.limits_sent(visit),
            None => self.limits_of(visit, &Policy::default(), false, Weight::default()),
        };
        Ok(KeyNewPage {
            frame: told(frame, error),
            once: self.mint()?,
            name: visit.form.text("name").to_string(),
            environments: choices(
                &ENVIRONMENTS[1..],
                if environment.is_empty() { "dev" } else { environment },
            ),
            policy,
            access,
            expiries: choices(&EXPIRIES, if expiry.is_empty() { "never" } else { expiry }),
            date: visit.form.text("date").to_string(),
        })
    }

    fn key_edit_page(&self, visit: &Visit, key: &KeyView, error: Option<&AdminError>) -> KeyEditPage {
        let was_sent = error.is_some();
        let (policy, access) = match was_sent {
            true => self.limits_sent(visit),
            false => self.limits_of(visit, &key.policy, key.allow_browser, key.weight),
        };
        let mut expiries = vec![("keep", "As it is")];
        expiries.extend(EXPIRIES);
        let expiry = if was_sent { visit.form.text("expiry") } else { "keep" };
        KeyEditPage {
            frame: told(self.frame(visit, &format!("Edit {}", key.name), "keys"), error),
            id: key.id.to_string(),
            name: if was_sent { visit.form.text("name").to_string() } else { key.name.to_string() },
            policy,
            access,
            expiries: choices(&expiries, expiry),
            date: visit.form.text("date").to_string(),
        }
    }

    fn key_rotate_page(
        &self,
        visit: &Visit,
        key: &KeyView,
        error: Option<&AdminError>,
    ) -> Result<KeyRotatePage, Refused> {
        let grace = visit.form.text("grace");
        Ok(KeyRotatePage {
            frame: told(self.frame(visit, &format!("Rotate {}", key.name), "keys"), error),
            once: self.mint()?,
            id: key.id.to_string(),
            name: key.name.to_string(),
            last4: key.last4.map(|last4| last4.to_string()).unwrap_or_default(),
            graces: choices(&GRACES, if grace.is_empty() { "24h" } else { grace }),
        })
    }

    fn key_delete_page(&self, visit: &Visit, key: &KeyView) -> KeyDeletePage {
        KeyDeletePage {
            frame: self.frame(visit, &format!("Delete {}", key.name), "keys"),
            id: key.id.to_string(),
            name: key.name.to_string(),
            last4: key.last4.map(|last4| last4.to_string()).unwrap_or_default(),
            environment: key.environment.to_string(),
        }
    }

    fn wanted_key(&self, visit: &Visit, account: AccountId) -> Result<NewKey, AdminError> {
        Ok(NewKey {
            account: account.to_string(),
            name: visit.form.text("name").parse::<KeyName>().map_err(invalid)?,
            environment: visit.form.text("environment").parse::<Environment>().map_err(invalid)?,
            policy: policy::wanted(&visit.form)?.applied_to(&Policy::default()),
            allow_browser: policy::wanted_browser(&visit.form).unwrap_or_default(),
            weight: policy::wanted_weight(&visit.form)?.unwrap_or_default(),
            expires_at: self.wanted_end(visit)?.flatten(),
        })
    }

    fn wanted_changes(&self, visit: &Visit) -> Result<KeyChanges, AdminError> {
        Ok(KeyChanges {
            name: Some(visit.form.text("name").parse::<KeyName>().map_err(invalid)?),
            policy: policy::wanted(&visit.form)?,
            allow_browser: policy::wanted_browser(&visit.form),
            weight: policy::wanted_weight(&visit.form)?,
            expires_at: self.wanted_end(visit)?,
        })
    }

    /// A new end, or no end; none where it is to stay.
    fn wanted_end(&self, visit: &Visit) -> Result<Option<Option<Timestamp>>, AdminError> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let in_days = |days: u32| Ok(Some(Some(self.now().after(DAY * days))));
        match visit.form.text("expiry") {
            "keep" => Ok(None),
            "" | "never" => Ok(Some(None)),
            "30d" => in_days(30),
            "90d" => in_days(90),
            "365d" => in_days(365),
            _ => Timestamp::parse_end_of(visit.form.text("date")).map(|end| Some(Some(end))).map_err(invalid),
        }
    }

    /// The fields about what a key may use, as they were sent.
    fn limits_sent(&self, visit: &Visit) -> (PolicyForm, AccessForm) {
        let defaults = &self.registry().rules().key_limits;
        let policy = policy::sent(&visit.form, self.models(), defaults);
        (policy, policy::access_sent(&visit.form, is_admin(visit)))
    }

    /// The same fields about what is.
    fn limits_of(
        &self,
        visit: &Visit,
        policy: &Policy,
        allow_browser: bool,
        weight: Weight,
    ) -> (PolicyForm, AccessForm) {
        let form = policy::of(policy, self.models(), &self.registry().rules().key_limits);
        (form, policy::access_of(allow_browser, weight, is_admin(visit)))
    }

    /// How long until then, as `1 hour`.
    fn left(&self, end: Timestamp) -> String {
        crate::types::moment::length(end.since(self.now()))
    }
}

fn is_admin(visit: &Visit) -> bool {
    visit.person.as_ref().is_some_and(Person::is_admin)
}

fn rotation(grace: &str) -> Result<Rotation, AdminError> {
    match grace {
        "now" => Ok(Rotation::Now),
        "1h" => Ok(Rotation::Grace(HOUR)),
        "24h" => Ok(Rotation::Grace(24 * HOUR)),
        "7d" => Ok(Rotation::Grace(7 * 24 * HOUR)),
        _ => Err(AdminError::invalid("choose how long the old secret is to work")),
    }
}

fn to(key: &KeyView, done: &str) -> PageAnswer {
    PageAnswer::redirect(format!("/dashboard/keys/{}?done={done}", key.id))
}

fn invalid(error: impl std::fmt::Display) -> AdminError {
    AdminError::invalid(error.to_string())
}
