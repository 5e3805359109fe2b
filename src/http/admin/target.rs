//! Paths and queries of the admin door: percent-encoding both ways (RFC 3986, 2.1). Never: what they mean.

use std::fmt::Write;

/// The text with everything but unreserved characters encoded.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The text that was encoded; none when it is not proper encoding of UTF-8.
pub(super) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(hex(digits[0])? << 4 | hex(digits[1])?);
            rest = after;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The pairs of a query, decoded; none when one is not proper.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((decode(name)?, decode(value)?))
        })
        .collect()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_encoding_is_refused() {
        for text in ["%", "%2", "%zz", "a%ff", "%+1"] {
            assert!(decode(text).is_none(), "{text}");
        }
        assert!(pairs("a").is_none());
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text: String) {
            let encoded = encode(&text);
            prop_assert!(!encoded.contains(['/', '?', '&', ' ', '#']));
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
