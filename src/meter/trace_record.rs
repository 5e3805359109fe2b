//! The bytes of a key's trace: a version, then postcard. A changed record gets a new version and the old one stays
//! readable here. Never: what is remembered.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::store::{Table, Trouble};
use crate::types::{ClientName, Timestamp};

use super::trace::{BrowserRefusals, KeyTrace, KeyUser};

/// Key id -> who used it. A row stays when its key is revoked, as the key's record does.
pub(super) const KEY_TRACES: Table = Table("key_traces");

const VERSION_1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct TraceV1 {
    users: Vec<UserV1>,
    browsers: Option<BrowsersV1>,
    old_secret: Option<UserV1>,
}

#[derive(Serialize, Deserialize)]
struct UserV1 {
    address: IpAddr,
    client: String,
    first_at: i64,
    last_at: i64,
    requests: u64,
}

#[derive(Serialize, Deserialize)]
struct BrowsersV1 {
    requests: u64,
    last_at: i64,
    origin: String,
}

impl UserV1 {
    fn of(seen: &KeyUser) -> Self {
        Self {
            address: seen.address,
            client: seen.client.as_str().to_string(),
            first_at: seen.first_at.as_millis(),
            last_at: seen.last_at.as_millis(),
            requests: seen.requests,
        }
    }

    fn read(self) -> KeyUser {
        KeyUser {
            address: self.address,
            client: ClientName::kept(&self.client),
            first_at: Timestamp::from_millis(self.first_at),
            last_at: Timestamp::from_millis(self.last_at),
            requests: self.requests,
        }
    }
}

pub(super) fn encode_trace(trace: &KeyTrace) -> Vec<u8> {
    let record = TraceV1 {
        users: trace.users.iter().map(UserV1::of).collect(),
        browsers: trace.browsers.as_ref().map(|browsers| BrowsersV1 {
            requests: browsers.requests,
            last_at: browsers.last_at.as_millis(),
            origin: browsers.origin.clone(),
        }),
        old_secret: trace.old_secret.as_ref().map(UserV1::of),
    };
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(&record, vec![VERSION_1]).unwrap_or_default()
}

pub(super) fn decode_trace(bytes: &[u8]) -> Result<KeyTrace, Trouble> {
    let record: Option<(TraceV1, &[u8])> = match bytes.split_first() {
        Some((&VERSION_1, body)) => postcard::take_from_bytes(body).ok(),
        Some(_) | None => None,
    };
    let Some((record, [])) = record else { return Err(Trouble::Damaged { table: KEY_TRACES.0 }) };
    Ok(KeyTrace {
        users: record.users.into_iter().map(UserV1::read).collect(),
        browsers: record.browsers.map(|browsers| BrowserRefusals {
            requests: browsers.requests,
            last_at: Timestamp::from_millis(browsers.last_at),
            origin: browsers.origin,
        }),
        old_secret: record.old_secret.map(UserV1::read),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_version_stays_readable() {
        let mut trace = KeyTrace::default();
        trace.see("192.0.2.7".parse().unwrap(), b"node", Timestamp::from_millis(150), true);
        trace.refuse_browser(b"https://a", Timestamp::from_millis(2));
        let seen = [&[0, 192, 0, 2, 7, 4][..], b"node", &[0xac, 2, 0xac, 2, 1]].concat();
        let bytes = [&[1, 1][..], &seen, &[1, 1, 4, 9], b"https://a", &[1], &seen].concat();
        assert_eq!((encode_trace(&trace), decode_trace(&bytes)), (bytes.clone(), Ok(trace)));
        assert_eq!(decode_trace(&[1, 0, 0, 0]), Ok(KeyTrace::default()));
        for damaged in [&[][..], &[2, 0, 0, 0], &[1, 0, 0], &[1, 0, 0, 0, 0]] {
            assert_eq!(decode_trace(damaged), Err(Trouble::Damaged { table: "key_traces" }), "{damaged:?}");
        }
    }
}
