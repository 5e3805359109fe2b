//! What Ember knows of the secrets that were found, and revoking those that could still be used. Never: where they
//! were found, how it is shown.

use std::time::Instant;

use crate::admin::{Command, KeyView, Reply, Verdict};
use crate::cli::desk::Desk;
use crate::cli::error::{CliError, Exit};
use crate::cli::show;
use crate::cli::terminal::Screen;
use crate::gate::{Cut, Stop};
use crate::types::{Key, SeenSecret, is_control};

use super::haul::{Loot, Place};

/// The longest place that a reason names.
const REASON_PLACE_CHARS_MAX: usize = 150;

/// A secret that was found, and what is known of it.
pub(super) struct Known {
    /// What is shown of it.
    pub(super) mark: String,
    pub(super) standing: Standing,
    /// Where it was found first.
    place: Place,
}

/// What is known of a secret.
pub(super) enum Standing {
    /// A key, but there was nobody to ask.
    Unknown,
    /// A link or token; these are not looked up.
    NotLookedUp,
    /// This Ember never made it.
    NeverIssued,
    /// What it is good for.
    Issued(Box<Verdict>),
    /// It was revoked just now.
    Revoked(Box<KeyView>),
}

impl Standing {
    /// In a word or two, for people.
    pub(super) fn words(&self, mark: &str) -> &'static str {
        match self {
            Self::Unknown => "unknown here",
            Self::NotLookedUp => "not looked up",
            Self::NeverIssued => "never issued here",
            Self::Revoked(_) => "revoked now",
            Self::Issued(verdict) => match verdict.stop {
                None if is_newest(&verdict.key, mark) => "live",
                None => "live until its grace ends",
                Some(Stop::Cut(Cut::Revoked)) => "revoked",
                Some(Stop::Cut(Cut::Replaced)) => "replaced",
                Some(Stop::Cut(Cut::Disabled)) => "disabled",
                Some(Stop::Cut(Cut::AccountDisabled)) => "account disabled",
                Some(Stop::Expired) => "expired",
            },
        }
    }

    /// The key it belongs to.
    pub(super) fn key(&self) -> Option<&KeyView> {
        match self {
            Self::Issued(verdict) => Some(&verdict.key),
            Self::Revoked(key) => Some(key),
            Self::Unknown | Self::NotLookedUp | Self::NeverIssued => None,
        }
    }
}

impl Known {
    /// The key that revoking would help: its newest secret was found, and it works or can be made to work again.
    /// Revoking it for an older secret would end the newer one, too.
    pub(super) fn to_revoke(&self) -> Option<&KeyView> {
        let Standing::Issued(verdict) = &self.standing else { return None };
        let is_dead = matches!(verdict.stop, Some(Stop::Cut(Cut::Revoked | Cut::Replaced)));
        Some(&verdict.key).filter(|key| !is_dead && key.revoked_at.is_none() && is_newest(key, &self.mark))
    }

    /// A key of which an older secret was found that works still.
    pub(super) fn in_grace(&self) -> Option<&KeyView> {
        let Standing::Issued(verdict) = &self.standing else { return None };
        Some(&verdict.key).filter(|key| verdict.stop.is_none() && !is_newest(key, &self.mark))
    }

    /// Revokes its key.
    ///
    /// # Errors
    /// [`CliError`]; the key may be denied all the same.
    pub(super) fn revoke(&mut self, desk: &Desk<'_>) -> Result<String, CliError> {
        let Some(key) = self.to_revoke() else { return Ok(String::new()) };
        let command = Command::KeyRevoke { key: key.id.to_string(), reason: Some(reason(&self.place)) };
        let Reply::Key(key) = desk.ask(&command)? else { return Err(show::unexpected()) };
        let told = format!("Key {} ({}, {}) is revoked for good.", key.name, key.environment, key.id);
        self.standing = Standing::Revoked(Box::new(key));
        Ok(told)
    }
}

/// Why a key is revoked. The registry keeps no control characters, nothing long, and nothing like a key.
fn reason(place: &Place) -> String {
    let place = place.to_string();
    let is_long = place.chars().count() > REASON_PLACE_CHARS_MAX;
    if is_long || place.chars().any(is_control) || Key::may_be_in(&place) {
        return "found by ember scan".to_string();
    }
    format!("found by ember scan in {}", if place.starts_with("-:") { "stdin" } else { &place })
}

fn is_newest(key: &KeyView, mark: &str) -> bool {
    key.last4.is_some_and(|last4| mark.ends_with(&last4.to_string()))
}

/// Looks every key up, once. Whoever can't be asked is not asked again, and why is said.
pub(super) fn look_up(
    secrets: Vec<Loot>,
    desk: Result<&Desk<'_>, &CliError>,
    screen: &mut Screen<'_, '_>,
) -> Vec<Known> {
    let has_keys = secrets.iter().any(|loot| matches!(loot.secret, SeenSecret::Key(_)));
    let mut desk = match desk {
        Ok(desk) if has_keys => ready(desk, screen),
        Err(error) if has_keys => silent(error, screen),
        Ok(_) | Err(_) => None,
    };
    let mut known = Vec::with_capacity(secrets.len());
    for Loot { mark, secret, place } in secrets {
        let standing = match (secret, desk) {
            (SeenSecret::Ticket(..), _) => Standing::NotLookedUp,
            (SeenSecret::Key(_), None) => Standing::Unknown,
            (SeenSecret::Key(key), Some(asked)) => match desk_says(asked.ask(&Command::KeyVerify { key })) {
                Ok(standing) => standing,
                Err(error) => {
                    desk = silent(&error, screen);
                    Standing::Unknown
                }
            },
        };
        known.push(Known { mark, standing, place });
    }
    known
}

fn desk_says(answer: Result<Reply, CliError>) -> Result<Standing, CliError> {
    match answer {
        Ok(Reply::Verdict(verdict)) => Ok(Standing::Issued(Box::new(verdict))),
        Ok(_) => Err(show::unexpected()),
        Err(error) if error.exit == Exit::NotFound => Ok(Standing::NeverIssued),
        Err(error) => Err(error),
    }
}

/// A desk that somebody sits at.
fn ready<'d, 's>(desk: &'d Desk<'s>, screen: &mut Screen<'_, '_>) -> Option<&'d Desk<'s>> {
    match desk.reach(false, Instant::now()) {
        Ok(_) => Some(desk),
        Err(error) if error.exit == Exit::NotFound => {
            screen.warn(&format!(
                "there is no Ember in {}, so that nobody here knows which keys are live; --data names another place, \
                 and `ember key verify` tells it where Ember runs",
                desk.data().display()
            ));
            None
        }
        Err(error) => silent(&error, screen),
    }
}

fn silent<'d, 's>(error: &CliError, screen: &mut Screen<'_, '_>) -> Option<&'d Desk<'s>> {
    screen.warn(&format!("which keys are live is not known: {}", error.message));
    None
}
