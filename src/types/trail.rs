//! Where a chain of hashes stands: how many links it has and the hash of the last one. Never: what is linked.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};

/// The number and the hash of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailHead {
    /// The first link is 1; 0 stands before it.
    pub sequence: u64,
    /// SHA-256 over what is linked and everything before it.
    pub hash: [u8; 32],
}

/// The text is not what `ember status` prints as the head of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the head of an audit trail; it is a number, a colon and 64 hexadecimal digits")]
pub struct TrailHeadError;

impl TrailHead {
    /// What stands before the first link.
    pub const START: Self = Self { sequence: 0, hash: [0; 32] };

    /// The head after one more link: SHA-256 over the hash before it, its number (big endian), its id and its bytes.
    #[must_use]
    pub fn next(&self, id: &[u8], bytes: &[u8]) -> Self {
        let sequence = self.sequence + 1;
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(&sequence.to_be_bytes());
        context.update(id);
        context.update(bytes);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self { sequence, hash }
    }

    /// As it is stored: the number (big endian), then the hash.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        [&self.sequence.to_be_bytes()[..], &self.hash].concat()
    }

    /// What was stored; none for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sequence, hash) = bytes.split_first_chunk::<8>()?;
        Some(Self { sequence: u64::from_be_bytes(*sequence), hash: hash.try_into().ok()? })
    }
}

impl fmt::Display for TrailHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.sequence)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for TrailHead {
    type Err = TrailHeadError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sequence, digits) = text.trim().split_once(':').ok_or(TrailHeadError)?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TrailHeadError);
        }
        if sequence.is_empty() || !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TrailHeadError);
        }
        let mut hash = [0; 32];
        for (byte, place) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[place..place + 2], 16).map_err(|_| TrailHeadError)?;
        }
        Ok(Self { sequence: sequence.parse().map_err(|_| TrailHeadError)?, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_nothing_else_is_one() {
        let head = TrailHead::START.next(b"id", b"bytes").next(b"id", b"bytes");
        assert_eq!(head.to_string().parse(), Ok(head));
        assert_eq!(TrailHead::from_bytes(&head.to_bytes()), Some(head));
        let text = head.to_string();
        for odd in [
            "",
            "2",
            "2:",
            ":00",
            &text[1..],
            &text[..text.len() - 1],
            &format!("+{text}"),
            &format!("{text}0"),
        ] {
            assert_eq!(odd.parse::<TrailHead>(), Err(TrailHeadError), "{odd}");
        }
        assert_eq!(TrailHead::from_bytes(&head.to_bytes()[1..]), None);
    }

    #[test]
    fn every_part_of_a_link_counts() {
        let base = TrailHead::START.next(b"id", b"bytes");
        assert_eq!(base.hash[..4], [0x85, 0xb3, 0xa2, 0x05]);
        let other = TrailHead { sequence: 1, ..TrailHead::START };
        for changed in
            [other.next(b"id", b"bytes"), base.next(b"id", b"bytes"), TrailHead::START.next(b"ix", b"bytes")]
        {
            assert_ne!(changed.hash, base.hash);
        }
    }
}
