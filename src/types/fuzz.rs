//! What the fuzzer holds keys and tickets to. Never: how a key is told from a good one.

use super::{Environment, Key, Ticket, TicketKind};

/// Panics unless exactly what has the documented shape and checksum is taken for a key or a ticket, comes back as it was
/// written, and is seen wherever it stands.
pub fn key(text: &[u8]) {
    let word = word_of(text);
    let is_key = Environment::ALL.iter().any(|one| word == Some(one.as_str()));
    let parsed = Key::parse(text);
    assert_eq!(parsed.is_ok(), is_key, "a key, or none");
    assert_eq!(Key::digest_of(text), parsed.as_ref().map(Key::digest).map_err(|error| *error), "one digest");
    if let Ok(key) = parsed {
        assert_eq!(key.expose().as_bytes(), text, "as it was written");
        assert!(text.ends_with(key.hint().as_bytes()), "its last four characters");
        for place in 0..text.len() {
            let mut other = text.to_vec();
            other[place] ^= 1;
            assert!(Key::parse(&other).is_err(), "one bit off at {place}, and still a key");
        }
    }
    for kind in TicketKind::ALL {
        let ticket = Ticket::parse(kind, text);
        assert_eq!(ticket.is_some(), word == Some(kind.as_str()), "a ticket, or none");
        assert!(ticket.is_none_or(|ticket| ticket.expose().as_bytes() == text), "as it was written");
    }
    if is_key || TicketKind::ALL.iter().any(|kind| word == Some(kind.as_str())) {
        for around in [&b""[..], b"ember_", b"\xff", b"_"] {
            assert!(Key::may_be_among(&[around, text, around].concat()), "seen wherever it stands");
        }
    }
}

/// The text with the checksum behind it that it needs.
pub(crate) fn with_checksum(text: &[u8]) -> Vec<u8> {
    [text, &checksum(text)].concat()
}

/// The word of what has the shape that docs/leaks.md tells to those who search for keys.
fn word_of(text: &[u8]) -> Option<&str> {
    let parts: Vec<&str> = std::str::from_utf8(text).ok()?.split('_').collect();
    let &["ember", word, secret] = parts.as_slice() else { return None };
    let is_plain = secret.len() == 38 && secret.chars().all(|c| c.is_ascii_alphanumeric());
    (is_plain && text.ends_with(&checksum(&text[..text.len() - 6]))).then_some(word)
}

/// CRC-32 (IEEE 802.3), bit by bit, in base 62.
fn checksum(text: &[u8]) -> [u8; 6] {
    let mut left = !text.iter().fold(u32::MAX, |sum, byte| {
        let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
        (0..8).fold(sum ^ u32::from(*byte), step)
    });
    let digits: Vec<u8> = (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').collect();
    let mut text = [0; 6];
    for place in text.iter_mut().rev() {
        *place = digits[(left % 62) as usize];
        left /= 62;
    }
    text
}
