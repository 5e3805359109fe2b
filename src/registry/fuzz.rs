//! What the fuzzer holds the registry's records to: whatever bytes a row has, they are refused or a record, and that is
//! written as what reads the same. Never: rules.

use super::record::{decode_account, decode_key, encode_account, encode_key, event, people};
use crate::store::Trouble;

const ID: [u8; 16] = [7; 16];

/// Panics unless the bytes behind the first, which names a table, are refused or the same record when they are read,
/// written and read again.
pub fn records(bytes: &[u8]) {
    let Some((table, bytes)) = bytes.split_first() else { return };
    match table {
        b'a' => reads_again(bytes, |bytes| decode_account(&ID, bytes), encode_account, Clone::clone),
        b'k' => reads_again(bytes, |bytes| decode_key(&ID, bytes), encode_key, Clone::clone),
        b'e' => {
            reads_again(bytes, |bytes| event::decode_event(&ID, bytes), event::encode_event, Clone::clone)
        }
        b'r' => reads_again(bytes, people::decode_reset, people::encode_reset, Clone::clone),
        b's' => reads_again(
            bytes,
            |bytes| people::decode_session(&ID, bytes),
            people::encode_session,
            |kept| (kept.session.clone(), kept.epoch, kept.digest),
        ),
        b'i' => reads_again(
            bytes,
            |bytes| people::decode_invite(&ID, bytes),
            people::encode_invite,
            |kept| (kept.invite.clone(), kept.digest),
        ),
        b't' => reads_again(
            bytes,
            |bytes| people::decode_token(&ID, bytes),
            people::encode_token,
            |kept| (kept.token.clone(), kept.digest),
        ),
        _ => {}
    }
}

fn reads_again<T, P: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Trouble>,
    encode: impl Fn(&T) -> Vec<u8>,
    parts: impl Fn(&T) -> P,
) {
    if let Ok(record) = decode(bytes) {
        let again = decode(&encode(&record)).map(|again| parts(&again));
        assert_eq!(again, Ok(parts(&record)), "another record");
    }
}
