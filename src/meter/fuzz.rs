//! What the fuzzer holds the meter's records to: whatever bytes a row has, they are refused or a record, and that is
//! written as what reads the same. Never: what is counted.

use super::record::{
    KEYS, decode_batches, decode_figures, decode_last_used, decode_old_hour, decode_open, decode_tally,
    encode_batches, encode_figures, encode_open, encode_tally, line_key, read_line_key,
};
use super::trace_record::{decode_trace, encode_trace};
use crate::store::Trouble;

/// Panics unless the bytes behind the first, which names a table, are refused or the same record when they are read,
/// written and read again.
pub fn records(bytes: &[u8]) {
    let Some((table, bytes)) = bytes.split_first() else { return };
    match table {
        b'F' => reads_again(bytes, decode_figures, encode_figures),
        b'Y' => reads_again(bytes, |bytes| decode_tally(KEYS, bytes), encode_tally),
        b'O' => reads_again(bytes, decode_open, encode_open),
        b'B' => reads_again(bytes, decode_batches, |written| encode_batches(*written)),
        b'N' => reads_again(bytes, read_line_key, line_key),
        b'T' => reads_again(bytes, decode_trace, encode_trace),
        // These are only read; nobody writes them any more.
        b'H' => drop(bytes.split_at_checked(20).map(|(key, value)| decode_old_hour(key, value))),
        b'L' => drop(decode_last_used(bytes)),
        _ => {}
    }
}

fn reads_again<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Trouble>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(record) = decode(bytes) {
        assert_eq!(decode(&encode(&record)), Ok(record), "another record");
    }
}
