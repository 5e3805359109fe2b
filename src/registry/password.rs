//! Passwords of people: argon2id (RFC 9106) with OWASP's parameters. Never: kept, logged or compared in clear.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::types::{Random, Secret};

use super::RegistryError;

/// OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// argon2's own default.
const HASH_BYTES: usize = 32;
const CHARS_MIN: usize = 8;
const BYTES_MAX: usize = 1024;

/// Refuses what is too short to protect anything, or too long to be hashed.
pub(super) fn check(password: &Secret) -> Result<(), RegistryError> {
    let text = password.expose();
    if text.chars().count() < CHARS_MIN || text.len() > BYTES_MAX {
        let reason =
            format!("the password must have {CHARS_MIN} characters or more, and {BYTES_MAX} bytes at most");
        return Err(RegistryError::Invalid(reason));
    }
    Ok(())
}

/// The PHC string to keep of a password.
pub(super) fn hash(password: &Secret, random: &dyn Random) -> Result<String, RegistryError> {
    check(password)?;
    let text = password.expose();
    let mut bytes = [0; 16];
    random.fill(&mut bytes)?;
    let salt = SaltString::encode_b64(&bytes).map_err(unhashable)?;
    let hash = hasher()?.hash_password(text.as_bytes(), &salt).map_err(unhashable)?;
    Ok(hash.to_string())
}

/// Whether this is the password whose PHC string was kept; none when that is no such string.
pub(super) fn matches(password: &Secret, kept: &str) -> Option<bool> {
    // A longer one was never set, and must not cost more than others.
    let password = if password.expose().len() > BYTES_MAX { "" } else { password.expose() };
    let kept = PasswordHash::new(kept).ok()?;
    // A string that was cut short can still be read as one, and nothing would match it.
    kept.hash.filter(|hash| hash.len() == HASH_BYTES)?;
    match Argon2::default().verify_password(password.as_bytes(), &kept) {
        Ok(()) => Some(true),
        Err(argon2::password_hash::Error::Password) => Some(false),
        Err(_) => None,
    }
}

fn hasher() -> Result<Argon2<'static>, RegistryError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(unhashable)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn unhashable(error: impl std::fmt::Display) -> RegistryError {
    RegistryError::Store(format!("the password could not be hashed: {error}; nothing was changed"))
}
