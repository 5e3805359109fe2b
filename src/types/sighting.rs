//! Whole secrets of Ember's wherever they stand in a text or in bytes: keys and tickets, by shape and checksum.
//! Never: where the bytes come from, whether a secret is valid.

use memchr::memmem;

use super::branded::{self, BRAND};
use super::{Key, Ticket, TicketDigest, TicketKind};

/// A whole secret that was seen.
pub struct Sighting {
    /// Where it begins.
    pub start: usize,
    /// How many bytes it has.
    pub length: usize,
    /// What may be shown of it: `ember_prod_...Ab12`.
    pub mark: String,
    /// The secret.
    pub secret: SeenSecret,
}

/// What kind of secret was seen.
pub enum SeenSecret {
    /// A key; it can be looked up.
    Key(Key),
    /// Something else that lets people or programs in.
    Ticket(TicketKind, TicketDigest),
}

impl Sighting {
    /// No secret has more bytes.
    pub const BYTES_MAX: usize = branded::LENGTH_MAX;

    /// Every whole secret in the bytes, from their start on; what stands around one does not matter.
    pub fn all_in(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let starts = memmem::find_iter(bytes, BRAND);
        starts.filter_map(|start| Self::at(bytes, start))
    }

    /// The text with nothing but the mark left of each whole secret in it.
    #[must_use]
    pub fn mask(text: &str) -> String {
        let (mut masked, mut rest) = (String::new(), 0);
        for seen in Self::all_in(text.as_bytes()) {
            masked.push_str(&text[rest..seen.start]);
            masked.push_str(&seen.mark);
            rest = seen.start + seen.length;
        }
        masked.push_str(&text[rest..]);
        masked
    }

    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let (text, _) = branded::parse_start(&bytes[start..])?;
        let secret = match Key::parse(text.as_bytes()) {
            Ok(key) => SeenSecret::Key(key),
            Err(_) => TicketKind::ALL.into_iter().find_map(|kind| {
                Ticket::parse(kind, text.as_bytes()).map(|ticket| SeenSecret::Ticket(kind, ticket.digest()))
            })?,
        };
        Some(Self { start, length: text.len(), mark: branded::mark(text), secret })
    }
}

impl SeenSecret {
    /// The same for the same secret, and another for every other.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        match self {
            Self::Key(key) => *key.digest().as_bytes(),
            Self::Ticket(_, digest) => *digest.as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Environment, Random, RandomUnavailable};
    use proptest::prelude::*;

    struct Same(u8);
    impl Random for Same {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    fn key(byte: u8, environment: Environment) -> String {
        Key::generate(environment, &Same(byte)).unwrap().expose().to_string()
    }

    #[test]
    fn secrets_are_seen_one_after_the_other_and_without_a_gap() {
        let (dev, staging) = (key(1, Environment::Dev), key(2, Environment::Staging));
        let reset = Ticket::generate(TicketKind::Reset, &Same(3)).unwrap();
        let text = format!("\u{0}member_{dev}{staging}x ember_dev_ {}", reset.expose());
        let seen: Vec<_> = Sighting::all_in(text.as_bytes()).collect();
        let wanted = [dev.as_str(), &staging, reset.expose()];
        assert_eq!(seen.len(), wanted.len());
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert_eq!(&text[seen.start..seen.start + seen.length], wanted);
            assert!(wanted.len() <= Sighting::BYTES_MAX);
            assert!(seen.mark.len() < 22 && wanted.ends_with(&seen.mark[seen.mark.len() - 4..]));
        }
        assert!(matches!(seen[2].secret, SeenSecret::Ticket(TicketKind::Reset, _)));
    }

    #[test]
    fn a_masked_text_keeps_all_but_the_secrets() {
        let key = key(1, Environment::Prod);
        let mark = format!("ember_prod_...{}", &key[key.len() - 4..]);
        assert_eq!(Sighting::mask(&format!("é/{key}/{key}.txt")), format!("é/{mark}/{mark}.txt"));
        assert_eq!(Sighting::mask("ember_prod_ and ember_"), "ember_prod_ and ember_");
    }

    #[test]
    fn what_is_near_a_secret_is_none() {
        let key = key(1, Environment::Prod);
        let almost = |from: &str, to: &str| key.replace(from, to);
        for bad in [
            almost("ember_prod_", "ember_dev_"),
            almost("ember_prod_", "ember_production_"),
            almost("ember_prod_", "Ember_prod_"),
            almost("ember_prod_", "ember_prod-"),
            key[..key.len() - 1].to_string(),
            format!("{} {}", &key[..30], &key[30..]),
        ] {
            assert_eq!(Sighting::all_in(bad.as_bytes()).count(), 0, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_seen_in_any_bytes(before: Vec<u8>, after: Vec<u8>, byte in 0_u8..248) {
            let key = key(byte, Environment::Staging);
            let bytes = [&before[..], key.as_bytes(), &after].concat();
            prop_assert!(Sighting::all_in(&bytes).any(|seen| seen.start == before.len()));
        }
    }
}
