//! The key itself: `ember_<environment>_` + 32 base62 characters (190 random bits) + 6 base62 characters of CRC-32
//! over all before them. Never: who owns it, whether it is valid.

use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::branded;
use super::{Environment, Random, RandomUnavailable, TicketKind};

/// A whole key in clear, with the right shape and checksum; wiped when dropped.
///
/// It has no `Debug`, `Display`, `Clone` or `Serialize`, so it can't reach a log, an error or a record by accident:
///
/// ```compile_fail
/// fn show(key: &ember_gateway::types::Key) { println!("{key:?}"); }
/// ```
/// ```compile_fail
/// fn show(key: &ember_gateway::types::Key) { println!("{key}"); }
/// ```
/// ```compile_fail
/// fn copy(key: &ember_gateway::types::Key) -> ember_gateway::types::Key { key.clone() }
/// ```
/// ```compile_fail
/// fn save(key: &ember_gateway::types::Key) { serde_json::to_string(key); }
/// ```
/// ```
/// fn digest(key: &ember_gateway::types::Key) -> ember_gateway::types::KeyDigest { key.digest() }
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key(String);

/// The text has not the shape of a key, or its checksum is wrong. Says nothing else on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an Ember key: its shape or checksum is wrong")]
pub struct MalformedKey;

impl Key {
    /// Makes a new key for an environment.
    ///
    /// # Errors
    /// [`RandomUnavailable`] when the random source fails.
    pub fn generate(environment: Environment, random: &dyn Random) -> Result<Self, RandomUnavailable> {
        branded::generate(environment.as_str(), random).map(Self)
    }

    /// Takes the bytes after `Bearer ` for a key, when shape and checksum are right.
    ///
    /// # Errors
    /// [`MalformedKey`] otherwise.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedKey> {
        let (text, word) = branded::parse(text).ok_or(MalformedKey)?;
        word.parse::<Environment>().map_err(|_| MalformedKey)?;
        Ok(Self(text.to_string()))
    }

    /// The digest of the key that the bytes after `Bearer ` are, when shape and checksum are right; without a copy of it.
    ///
    /// # Errors
    /// [`MalformedKey`] otherwise.
    pub fn digest_of(text: &[u8]) -> Result<KeyDigest, MalformedKey> {
        let word = branded::word_of(text).ok_or(MalformedKey)?;
        word.parse::<Environment>().map_err(|_| MalformedKey)?;
        Ok(KeyDigest(branded::digest(text)))
    }

    /// Whether a key or a [`Ticket`](super::Ticket), or a part of one, may stand somewhere in a text; such a text must
    /// not be shown or kept.
    #[must_use]
    pub fn may_be_in(text: &str) -> bool {
        Self::may_be_among(text.as_bytes())
    }

    /// The same for bytes of any kind.
    #[must_use]
    pub fn may_be_among(text: &[u8]) -> bool {
        static BRAND: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(branded::BRAND));
        let Some(at) = BRAND.find(text) else { return false };
        let text = String::from_utf8_lossy(&text[at..]);
        let is_ours = |word: &str| {
            Environment::ALL.iter().any(|known| known.as_str() == word)
                || TicketKind::ALL.iter().any(|known| known.as_str() == word)
        };
        let mut rests = text.split(branded::BRAND).skip(1);
        rests.any(|rest| rest.split_once('_').is_some_and(|(word, _)| is_ours(word)))
    }

    /// The whole key, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(branded::digest(self.0.as_bytes()))
    }

    /// What is shown of it ever after.
    #[must_use]
    pub fn hint(&self) -> KeyHint {
        KeyHint(branded::last4(&self.0))
    }
}

/// SHA-256 of a whole key (FIPS 180-4). A fast hash is right here: 190 random bits can't be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest with these bytes, as read from a record.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The thirty-two bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The last four characters of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint([u8; 4]);

impl KeyHint {
    /// The hint with these characters; none when they are not base62.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 4]) -> Option<Self> {
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }

    /// The four characters.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().copied().map(char::from).collect();
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that differ from call to call, the unfair ones among them.
    struct Counting(std::sync::atomic::AtomicU64);
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            for byte in bytes {
                let step = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                *byte = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            }
            Ok(())
        }
    }

    fn key(seed: u64, environment: Environment) -> Key {
        Key::generate(environment, &Counting(seed.into())).unwrap()
    }

    #[test]
    fn a_key_has_the_documented_shape() {
        let key = key(7, Environment::Staging);
        let secret = key.expose().strip_prefix("ember_staging_").unwrap();
        assert_eq!(secret.len(), 38);
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(key.expose().ends_with(&key.hint().to_string()));
    }

    #[test]
    fn a_hint_is_made_of_digits_and_letters_and_comes_back_from_its_bytes() {
        let hint = key(7, Environment::Prod).hint();
        assert_eq!(KeyHint::from_bytes(*hint.as_bytes()), Some(hint));
        for bad in [*b"znq-", *b"\0\0\0\0", *b"zn\xc3\xa9"] {
            assert_eq!(KeyHint::from_bytes(bad), None);
        }
    }

    #[test]
    fn the_format_never_changes_under_issued_keys() {
        let text = concat!("ember_", "prod_", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "04znqH");
        let key = Key::parse(text.as_bytes()).map(|key| key.hint().to_string());
        assert_eq!(key.unwrap_or_default(), "znqH");
    }

    #[test]
    fn what_is_near_a_key_is_no_key() {
        let good = key(1, Environment::Dev);
        let good = good.expose();
        for bad in [
            "",
            "ember_",
            "ember_dev_",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good}0"),
            &format!(" {good}"),
            &good.replace("ember_dev_", "ember_prod_"),
            &good.replace("ember_dev_", "ember_test_"),
            &good.to_uppercase(),
            &good.replace("ember_dev_", "ember_d_ev_"),
            &good.replace("ember_dev_", "ember_"),
            &good.replace("ember_dev_", "ember__"),
            &good.replace('_', "\u{e9}"),
        ] {
            assert!(Key::parse(bad.as_bytes()).is_err(), "{bad}");
            assert!(Key::digest_of(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_seen_wherever_it_stands_in_a_text() {
        let good = key(1, Environment::Staging);
        let good = good.expose();
        for text in [good, &good[..20], &format!("a {good} b"), &format!("ember_ember_{good}")] {
            assert!(Key::may_be_in(text), "{text}");
        }
        for text in ["", "ember_", "ember_prod", "ember_test_1", "prod_ember", "ember prod_"] {
            assert!(!Key::may_be_in(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_key_made_is_a_key(seed: u64) {
            for environment in Environment::ALL {
                let key = key(seed, environment);
                let again = Key::parse(key.expose().as_bytes());
                prop_assert!(again.is_ok_and(|again| again.digest() == key.digest()));
                prop_assert_eq!(Key::digest_of(key.expose().as_bytes()), Ok(key.digest()));
            }
        }

        #[test]
        fn a_single_changed_byte_is_always_found(seed: u64, at in 0_usize..48, byte: u8) {
            let key = key(seed, Environment::Dev);
            let mut text = key.expose().as_bytes().to_vec();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            prop_assert!(Key::parse(&text).is_err() && Key::digest_of(&text).is_err());
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            prop_assert_eq!(Key::parse(&bytes).is_ok(), Key::digest_of(&bytes).is_ok());
        }
    }
}
