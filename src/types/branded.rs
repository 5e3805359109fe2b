//! The shape that all of Ember's own secrets share: `ember_<word>_` + 32 base62 characters from the random source (190
//! bits) + 6 base62 characters of CRC-32 over all before them. Never: what a word means.

use super::base62;
use super::{Random, RandomUnavailable};

/// How every such text begins; scanners look for it.
pub(super) const BRAND: &str = "ember_";
const RANDOM_LENGTH: usize = 32;
const CHECK_LENGTH: usize = 6;
/// Longer than any word.
const WORD_LENGTH: usize = 8;
/// No such text is longer.
pub(super) const LENGTH_MAX: usize = BRAND.len() + WORD_LENGTH + 1 + RANDOM_LENGTH + CHECK_LENGTH;

/// A new text with this word.
pub(super) fn generate(word: &str, random: &dyn Random) -> Result<String, RandomUnavailable> {
    let mut text = String::with_capacity(LENGTH_MAX);
    text.push_str(BRAND);
    text.push_str(word);
    text.push('_');
    base62::push_random(&mut text, RANDOM_LENGTH, random)?;
    let check = checksum(text.as_bytes());
    text.extend(check.iter().copied().map(char::from));
    Ok(text)
}

/// The text and its word, when shape and checksum are right.
pub(super) fn parse(bytes: &[u8]) -> Option<(&str, &str)> {
    let word = word_of(bytes)?;
    Some((std::str::from_utf8(bytes).ok()?, word))
}

/// The word of such a text, when shape and checksum are right. Copies nothing: these bytes are a secret.
pub(super) fn word_of(bytes: &[u8]) -> Option<&str> {
    let (start, secret) = bytes.split_at_checked(bytes.len().checked_sub(RANDOM_LENGTH + CHECK_LENGTH)?)?;
    let word = start.strip_prefix(BRAND.as_bytes())?.strip_suffix(b"_")?;
    // Every byte is looked at: that is one look at many.
    let is_base62 = secret.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
    if !is_base62 || word.contains(&b'_') {
        return None;
    }
    let (checked, check) = bytes.split_at(bytes.len() - CHECK_LENGTH);
    if check != checksum(checked) {
        return None;
    }
    std::str::from_utf8(word).ok()
}

/// The same for what the bytes begin with, whatever follows.
pub(super) fn parse_start(bytes: &[u8]) -> Option<(&str, &str)> {
    let rest = bytes.strip_prefix(BRAND.as_bytes())?;
    let word = rest.iter().take(WORD_LENGTH + 1).position(|byte| *byte == b'_')?;
    parse(bytes.get(..BRAND.len() + word + 1 + RANDOM_LENGTH + CHECK_LENGTH)?)
}

/// What may be shown of such a text: all but its secret, and the last four characters.
pub(super) fn mark(text: &str) -> String {
    let (start, secret) = text.split_at(text.len() - RANDOM_LENGTH - CHECK_LENGTH);
    format!("{start}...{}", &secret[secret.len() - 4..])
}

/// SHA-256 (FIPS 180-4). A fast hash is right here: 190 random bits can't be guessed.
pub(super) fn digest(text: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, text);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// The last four characters.
pub(super) fn last4(text: &str) -> [u8; 4] {
    let mut last4 = [0; 4];
    last4.copy_from_slice(&text.as_bytes()[text.len() - 4..]);
    last4
}

/// CRC-32 (IEEE 802.3) in base62, most significant digit first.
fn checksum(text: &[u8]) -> [u8; CHECK_LENGTH] {
    let mut value = crc32fast::hash(text);
    let mut digits = [b'0'; CHECK_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = base62::DIGITS[(value % 62) as usize];
        value /= 62;
    }
    digits
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Gives sevens alone.
    pub(in crate::types) struct Sevens;

    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(7);
            Ok(())
        }
    }

    #[test]
    fn the_longest_is_as_long_as_is_said_and_never_moves_while_it_is_made() {
        for word in ["w", "prod", "eightlet"] {
            let text = generate(word, &Sevens).unwrap();
            let room = BRAND.len() + WORD_LENGTH + 1 + RANDOM_LENGTH + CHECK_LENGTH;
            assert!(text.capacity() <= room, "{word}: it grew, and left a copy behind: {}", text.capacity());
            assert_eq!(parse(text.as_bytes()), Some((text.as_str(), word)));
            assert_eq!(parse_start(format!("{text} and more").as_bytes()), Some((text.as_str(), word)));
        }
        assert_eq!(generate("eightlet", &Sevens).unwrap().len(), LENGTH_MAX);
    }

    /// With the checksum that its beginning has.
    fn checked(start: &str) -> Vec<u8> {
        [start.as_bytes(), &checksum(start.as_bytes())].concat()
    }

    #[test]
    fn a_right_checksum_makes_no_wrong_shape_right() {
        let secret = "0".repeat(RANDOM_LENGTH);
        let good = checked(&format!("ember_prod_{secret}"));
        assert_eq!(word_of(&good), Some("prod"));
        for place in 0..RANDOM_LENGTH {
            for odd in ["-", "_", " ", "/", ":", "@", "[", "`", "{", "\u{7f}", "\0"] {
                let secret = format!("{}{odd}{}", &secret[..place], &secret[place + 1..]);
                assert_eq!(word_of(&checked(&format!("ember_prod_{secret}"))), None, "{odd:?} at {place}");
            }
        }
        let two = checked(&format!("ember_prod_--{}", &secret[2..]));
        assert_eq!(word_of(&two), None, "one does not make up for the other");
        for start in
            ["ember_a_b_", "ember__b_", "ember_prod", "Ember_prod_", "ember-prod_", "_prod_", "prod_", ""]
        {
            assert_eq!(word_of(&checked(&format!("{start}{secret}"))), None, "{start}");
        }
        let start = [b"ember_\xff_", secret.as_bytes()].concat();
        let broken = [&start[..], &checksum(&start)].concat();
        assert_eq!(word_of(&broken), None);
    }

    /// The example of FIPS 180-4.
    #[test]
    fn what_is_kept_is_sha_256() {
        let abc = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
            0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(digest(b"abc"), abc);
    }

    #[test]
    fn what_is_shown_is_the_start_and_the_last_four() {
        let text = format!("ember_prod_{}abcdef", "0".repeat(RANDOM_LENGTH));
        assert_eq!((mark(&text).as_str(), &last4(&text)), ("ember_prod_...cdef", b"cdef"));
    }

    /// CRC-32 of "123456789" is 0xcbf43926, says every description of it.
    #[test]
    fn the_checksum_is_crc_32_in_base62() {
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        assert_eq!(&checksum(b""), b"000000");
    }
}
