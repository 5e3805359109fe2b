//! Public identifiers: a UUIDv7 (RFC 9562) in 26 characters of Crockford's base32, behind a word that says what it names.
//! Never: secrets; whoever holds an id holds nothing.

use std::fmt;
use std::str::FromStr;

use super::{Key, Random, RandomUnavailable, Timestamp, is_control};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LENGTH: usize = 26;

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an id; one begins with {prefix} and goes on with 26 letters and digits")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The word every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new one; ids made later sort later (to the millisecond).
            ///
            /// # Errors
            /// [`RandomUnavailable`] when the random source fails.
            pub fn generate(now: Timestamp, random: &dyn Random) -> Result<Self, RandomUnavailable> {
                uuid_v7(now, random).map(Self)
            }

            /// The sixteen bytes, as stored.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Its text.
            #[must_use]
            pub fn text(&self) -> [u8; $prefix.len() + TEXT_LENGTH] {
                let mut text = [0; $prefix.len() + TEXT_LENGTH];
                let (word, digits) = text.split_at_mut($prefix.len());
                word.copy_from_slice($prefix.as_bytes());
                encode(&self.0, digits);
                text
            }

            /// The first and the last id whose text begins with `text`; none when no id's does.
            #[must_use]
            pub fn range_of_prefix(text: &str) -> Option<(Self, Self)> {
                let digits = text.strip_prefix($prefix)?;
                let first = decode(&format!("{digits:0<26}"))?;
                let last = match digits {
                    "" => [u8::MAX; 16],
                    _ => decode(&format!("{digits:z<26}"))?,
                };
                Some((Self(first), Self(last)))
            }

            /// The id whose bytes these are; none for another length.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // It has nothing but letters and digits of ASCII.
                f.pad(std::str::from_utf8(&self.text()).unwrap_or_default())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .map(Self)
                    .ok_or_else(|| IdError { text: shown(text), prefix: $prefix })
            }
        }
    };
}

id!(
    /// Names a key for good; survives rotation.
    KeyId,
    "key_"
);
id!(
    /// Names an account.
    AccountId,
    "acct_"
);
id!(
    /// Names a line of the audit log; sorts by time.
    EventId,
    "evt_"
);
id!(
    /// Names a browser that is signed in.
    SessionId,
    "ses_"
);
id!(
    /// Names an invitation.
    InviteId,
    "inv_"
);
id!(
    /// Names an administrator's token.
    TokenId,
    "tok_"
);
id!(
    /// Names a request that brought no usable `x-request-id` of its own.
    RequestId,
    "req_"
);

impl EventId {
    /// The same with a place among those of its millisecond: the twelve bits behind the time (RFC 9562, 6.2, method 1).
    #[must_use]
    pub const fn in_order(mut self, place: u16) -> Self {
        let [high, low] = place.to_be_bytes();
        self.0[6] = 0x70 | (high & 0x0f);
        self.0[7] = low;
        self
    }
}

/// What was typed, cut short; a secret, put there by mistake, is not given back.
fn shown(text: &str) -> String {
    if Key::may_be_in(text) {
        return "(a secret)".to_string();
    }
    text.chars().filter(|c| !is_control(*c)).take(80).collect()
}

fn uuid_v7(now: Timestamp, random: &dyn Random) -> Result<[u8; 16], RandomUnavailable> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes[6..])?;
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Ok(bytes)
}

/// 128 bits as 26 digits of five bits, the first of which holds only three.
fn encode(bytes: &[u8; 16], text: &mut [u8]) {
    /// What fits into 64 bits: shifts of more are dear.
    const AT_ONCE: usize = 12;
    let mut value = u128::from_be_bytes(*bytes);
    for part in text.rchunks_mut(AT_ONCE) {
        let mut digits = value as u64;
        for digit in part.iter_mut().rev() {
            *digit = ALPHABET[(digits & 31) as usize];
            digits >>= 5;
        }
        value >>= 5 * AT_ONCE;
    }
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT_LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0_u128, |value, byte| {
            let digit = ALPHABET.iter().position(|&known| known == byte)?;
            Some((value << 5) | digit as u128)
        })
        .map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fixed(u8);
    impl Random for Fixed {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let id = KeyId::generate(Timestamp::from_millis(0x0123_4567_89ab), &Fixed(0xff)).unwrap();
        assert_eq!(&id.as_bytes()[..6], &[0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        assert_eq!(id.as_bytes()[6] >> 4, 7);
        assert_eq!(id.as_bytes()[8] >> 6, 2);
    }

    #[test]
    fn later_ids_sort_later_as_text_too() {
        let early = KeyId::generate(Timestamp::from_millis(1_000), &Fixed(0xff)).unwrap();
        let late = KeyId::generate(Timestamp::from_millis(1_001), &Fixed(0)).unwrap();
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn another_kind_of_id_is_refused() {
        let account = AccountId::generate(Timestamp::from_millis(1), &Fixed(1)).unwrap().to_string();
        assert!(account.parse::<KeyId>().is_err());
    }

    proptest! {
        #[test]
        fn every_id_is_within_the_range_of_each_of_its_beginnings(bytes: [u8; 16], length in 0_usize..=26) {
            let id = KeyId(bytes);
            let text = id.to_string();
            let (first, last) = KeyId::range_of_prefix(&text[..4 + length]).unwrap();
            prop_assert!(first <= id && id <= last);
            prop_assert!(first.to_string().starts_with(&text[..4 + length]));
            prop_assert!(length == 0 || last.to_string().starts_with(&text[..4 + length]));
        }

        #[test]
        fn text_and_bytes_are_one(bytes: [u8; 16]) {
            let id = KeyId(bytes);
            prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        }
    }
}
