//! The meter's tables and their bytes: a version, then postcard. A changed record gets a new version and the old one
//! stays readable here. Never: what is counted.

use serde::{Deserialize, Serialize};

use crate::store::{Table, Trouble};
use crate::types::{AccountId, Timestamp, Tokens};

use super::Sums;
use super::hour::Hour;

/// Key id -> when it was last used. A row stays when its key is revoked, as the key's record does.
pub(super) const LAST_USED: Table = Table("last_used");
/// Account id (zeros for the whole server) and hour -> sums.
pub(super) const USAGE_HOURS: Table = Table("usage_hours");
/// One row: how many batches were written to the tables above.
pub(super) const USAGE_BATCHES: Table = Table("usage_batches");

/// The key of that row.
pub(super) const WRITTEN: &[u8] = b"written";

const VERSION_1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct LastUsedV1 {
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct SumsV1 {
    requests: u64,
    prompt: u64,
    completion: u64,
    cached: u64,
}

#[derive(Serialize, Deserialize)]
struct BatchesV1 {
    written: u64,
}

/// The row of an hour; a subject's rows lie together, in the order of time.
pub(super) fn hour_row(subject: Option<AccountId>, hour: Hour) -> Vec<u8> {
    // No id is all zeros: an id has its version in it.
    let subject = subject.map_or([0; 16], |account| *account.as_bytes());
    [&subject[..], &hour.to_bytes()].concat()
}

pub(super) fn encode_last_used(at: Timestamp) -> Vec<u8> {
    encode(&LastUsedV1 { at: at.as_millis() })
}

pub(super) fn decode_last_used(bytes: &[u8]) -> Result<Timestamp, Trouble> {
    let record: LastUsedV1 = decode(LAST_USED, bytes)?;
    Ok(Timestamp::from_millis(record.at))
}

pub(super) fn encode_sums(sums: Sums) -> Vec<u8> {
    let Sums { requests, tokens: Tokens { prompt, completion, cached } } = sums;
    encode(&SumsV1 { requests, prompt, completion, cached })
}

pub(super) fn decode_sums(bytes: &[u8]) -> Result<Sums, Trouble> {
    let SumsV1 { requests, prompt, completion, cached } = decode(USAGE_HOURS, bytes)?;
    Ok(Sums { requests, tokens: Tokens { prompt, completion, cached } })
}

pub(super) fn encode_batches(written: u64) -> Vec<u8> {
    encode(&BatchesV1 { written })
}

pub(super) fn decode_batches(bytes: &[u8]) -> Result<u64, Trouble> {
    let record: BatchesV1 = decode(USAGE_BATCHES, bytes)?;
    Ok(record.written)
}

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(record, vec![VERSION_1]).unwrap_or_default()
}

pub(super) fn decode<'a, T: Deserialize<'a>>(table: Table, bytes: &'a [u8]) -> Result<T, Trouble> {
    let record = match bytes.split_first() {
        Some((&VERSION_1, body)) => postcard::take_from_bytes(body).ok(),
        Some(_) | None => None,
    };
    match record {
        Some((record, [])) => Ok(record),
        Some(_) | None => Err(Trouble::Damaged { table: table.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_stays_readable() {
        let tokens = Tokens { prompt: 300, completion: 2, cached: u64::MAX };
        let sums = Sums { requests: 1, tokens };
        let bytes = [&[1, 1, 0xac, 2, 2][..], &[0xff; 9], &[1]].concat();
        assert_eq!((decode_sums(&bytes), encode_sums(sums)), (Ok(sums), bytes));
        let at = Timestamp::from_millis(150);
        assert_eq!((decode_last_used(&[1, 0xac, 2]), encode_last_used(at)), (Ok(at), vec![1, 0xac, 2]));
        assert_eq!((decode_batches(&[1, 7]), encode_batches(7)), (Ok(7), vec![1, 7]));
    }

    #[test]
    fn anything_else_is_damage() {
        let damaged = Err(Trouble::Damaged { table: "usage_batches" });
        for bytes in [&[][..], &[1], &[2, 7], &[1, 7, 0]] {
            assert_eq!(decode_batches(bytes), damaged, "{bytes:?}");
        }
    }
}
