//! What the fuzzer holds the store's own rows to. Never: where rows lie.

use super::row::{Reading, Sentinel, seal, unseal};

/// Panics unless the bytes behind an `S` are the sentinel of a store that reads the same when it is written, newer, or foreign; and
/// unless a value comes back from under its seal, and from under no other.
pub fn rows(bytes: &[u8]) {
    const NEWEST: u32 = 1;
    let Some(bytes) = bytes.strip_prefix(b"S") else { return };
    match Sentinel::read(bytes, NEWEST) {
        Reading::Ours(sentinel) => {
            assert_eq!(
                Sentinel::read(&sentinel.to_bytes(), NEWEST),
                Reading::Ours(sentinel),
                "another sentinel"
            );
        }
        Reading::Newer(format) => assert!(format > NEWEST),
        Reading::Foreign => {}
    }
    let (key, value) = bytes.split_at(bytes.len() / 2);
    assert_eq!(unseal("keys", key, &seal("keys", key, value)), Some(value));
    if let Some(sealed) = unseal("keys", key, value) {
        assert_eq!(seal("keys", key, sealed), value, "another seal");
    }
}
