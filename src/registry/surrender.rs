//! A key taken away by whoever holds it: he found it where it should not be. Never: that he is asked who he is.

use std::net::IpAddr;

use crate::types::{Actor, KeyDigest, KeyId};

use super::denial::{Denial, DenialReason, DenialTarget, Intent};
use super::keys::checked_reason;
use super::{Registry, RegistryError};

/// A secret that someone holds and gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The key it belongs to.
    pub key: KeyId,
    /// The secret, known by its digest.
    pub secret: KeyDigest,
    /// Whether it was rotated, as far as is known in memory.
    pub is_old: bool,
    /// Where the holder is.
    pub address: IpAddr,
    /// What he says.
    pub reason: Option<String>,
}

/// The longest reason of a holder's, in characters; where he is stands before it.
const REASON_CHARS_MAX: usize = 100;

impl Registry {
    /// Revokes the key, or only the secret where a newer one is in its place: whoever still holds an old secret has no
    /// say about the new one. Needs no look-up to deny.
    ///
    /// # Errors
    /// [`RegistryError::Invalid`] for a reason that can't be kept; [`RegistryError::NotDurable`] when it is denied but
    /// not on disk yet.
    pub fn give_up(&self, held: &Held) -> Result<(), RegistryError> {
        let detail = detail(held)?;
        // The secret goes in any case; what else goes with it takes a look at the disk, which may hang.
        let secret = Denial { target: DenialTarget::Secret(held.secret), because: DenialReason::Revoked };
        self.door.iter().for_each(|door| door.deny(secret));
        let outcome = self.give_up_denied(held, detail);
        self.door.iter().for_each(|door| door.lift(secret));
        outcome
    }

    fn give_up_denied(&self, held: &Held, detail: String) -> Result<(), RegistryError> {
        let actor = Actor::Key { key: held.key };
        if self.is_old(held) {
            let detail = format!("the old secret was {detail}");
            let secrets = vec![held.secret];
            self.drop_secrets(&Intent::DropSecrets { actor, key: held.key, secrets, detail })
        } else {
            self.revoke(&Intent::RevokeKey { actor, key: held.key, reason: Some(detail) }).map(drop)
        }
    }

    /// What is on disk may be newer than what is in memory; where the disk can't be read, memory must do.
    fn is_old(&self, held: &Held) -> bool {
        self.load_key(held.key).map_or(held.is_old, |(record, _)| {
            record.secrets.first().is_some_and(|newest| newest.digest != held.secret)
        })
    }
}

fn detail(held: &Held) -> Result<String, RegistryError> {
    let said = match held.reason.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) if text.chars().count() > REASON_CHARS_MAX => {
            let sentence = format!("a reason has {REASON_CHARS_MAX} characters at most");
            return Err(RegistryError::Invalid(sentence));
        }
        Some(text) => format!(": {}", checked_reason(text)?),
        None => String::new(),
    };
    Ok(format!("revoked by whoever held it, from {}{said}", held.address.to_canonical()))
}
