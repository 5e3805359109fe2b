//! What a row's bytes look like on disk: a checksum before every value, and the sentinel row that says whose
//! file it is. Never: where rows lie, or how they get there.

use crate::types::Timestamp;

/// The number of the format this version writes.
pub const FORMAT: u32 = 1;

/// The table that is the store's own; callers' tables have other names.
pub(super) const META: &str = "_ember";

/// The row that every Ember store has.
pub(super) const SENTINEL: &[u8] = b"sentinel";

const MAGIC: &[u8; 8] = b"EMBERKV\0";
const CHECKSUM_BYTES: usize = 4;

/// What was given when the store was created; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Birth {
    /// When.
    pub created_at: Timestamp,
    /// Random; tells one store from another.
    pub store_id: [u8; 16],
}

/// The sentinel row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sentinel {
    pub(super) format: u32,
    pub(super) birth: Birth,
}

/// What the sentinel row's bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Ours(Sentinel),
    /// Only the format's number is read: what follows it is not known here.
    Newer(u32),
    Foreign,
}

/// The value as it is stored: CRC-32 over table, key and value, then the value.
pub(super) fn seal(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(CHECKSUM_BYTES + value.len());
    stored.extend_from_slice(&checksum(table, key, value).to_le_bytes());
    stored.extend_from_slice(value);
    stored
}

/// The value that was stored; none when it, its key or its table is not what was written.
pub(super) fn unseal<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (sum, value) = stored.split_first_chunk::<CHECKSUM_BYTES>()?;
    (checksum(table, key, value) == u32::from_le_bytes(*sum)).then_some(value)
}

/// Lengths are part of the sum, so that no byte can change sides unnoticed.
fn checksum(table: &str, key: &[u8], value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&(table.len() as u64).to_le_bytes());
    sum.update(table.as_bytes());
    sum.update(&(key.len() as u64).to_le_bytes());
    sum.update(key);
    sum.update(value);
    sum.finalize()
}

impl Sentinel {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.birth.created_at.as_millis().to_le_bytes());
        bytes.extend_from_slice(&self.birth.store_id);
        bytes
    }

    /// `known` is the newest format that may be read.
    pub(super) fn read(bytes: &[u8], known: u32) -> Reading {
        let Some((format, rest)) = bytes.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk()) else {
            return Reading::Foreign;
        };
        let format = u32::from_le_bytes(*format);
        if format > known {
            return Reading::Newer(format);
        }
        let Some((created_at, store_id)) = rest.split_first_chunk::<8>() else { return Reading::Foreign };
        let Ok(store_id) = <[u8; 16]>::try_from(store_id) else { return Reading::Foreign };
        let created_at = Timestamp::from_millis(i64::from_le_bytes(*created_at));
        Reading::Ours(Self { format, birth: Birth { created_at, store_id } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_moved_or_changed_is_noticed() {
        let stored = seal("keys", b"ab", b"c");
        assert_eq!(unseal("keys", b"ab", &stored), Some(&b"c"[..]));
        for (table, key) in [("key", &b"sab"[..]), ("keys", b"a"), ("keys", b"aB"), ("accounts", b"ab")] {
            assert_eq!(unseal(table, key, &stored), None);
        }
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal("keys", b"ab", &flipped), None, "bit {bit}");
        }
        assert_eq!(unseal("keys", b"ab", &stored[..3]), None);
    }

    #[test]
    fn a_sentinel_is_ours_newer_or_foreign() {
        let birth = Birth { created_at: Timestamp::from_millis(5), store_id: [7; 16] };
        let sentinel = Sentinel { format: 2, birth };
        let mut bytes = sentinel.to_bytes();
        assert_eq!(Sentinel::read(&bytes, 2), Reading::Ours(sentinel));
        assert_eq!(Sentinel::read(&bytes, 1), Reading::Newer(2));
        assert_eq!(Sentinel::read(&bytes[..bytes.len() - 1], 2), Reading::Foreign);
        bytes[0] ^= 1;
        assert_eq!(Sentinel::read(&bytes, 2), Reading::Foreign);
    }
}
