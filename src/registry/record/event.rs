//! The bytes of events on disk. Version 1 has no number in the chain and no origin. Never: rules, hashes.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::store::Trouble;
use crate::types::{EventId, Origin, Timestamp};

use super::super::audit::{Action, Event};
use super::super::table::AUDIT;
use super::{ActorV1, VERSION_1, damaged, decode};

const VERSION_2: u8 = 2;

#[derive(Serialize, Deserialize)]
struct EventV1 {
    at: i64,
    actor: ActorV1,
    action: String,
    target: [u8; 16],
    detail: String,
}

#[derive(Serialize, Deserialize)]
struct EventV2 {
    sequence: u64,
    at: i64,
    actor: ActorV1,
    origin: OriginV2,
    action: String,
    target: [u8; 16],
    detail: String,
}

#[derive(Serialize, Deserialize)]
enum OriginV2 {
    Unknown,
    Socket,
    File,
    /// As IPv6; an IPv4 address is mapped.
    Address([u8; 16]),
}

impl OriginV2 {
    const fn of(origin: Origin) -> Self {
        match origin {
            Origin::Unknown => Self::Unknown,
            Origin::Socket => Self::Socket,
            Origin::File => Self::File,
            Origin::Address(IpAddr::V4(address)) => Self::Address(address.to_ipv6_mapped().octets()),
            Origin::Address(IpAddr::V6(address)) => Self::Address(address.octets()),
        }
    }

    fn read(&self) -> Origin {
        match self {
            Self::Unknown => Origin::Unknown,
            Self::Socket => Origin::Socket,
            Self::File => Origin::File,
            Self::Address(octets) => Origin::address(Ipv6Addr::from(*octets).into()),
        }
    }
}

pub(in crate::registry) fn encode_event(event: &Event) -> Vec<u8> {
    let record = EventV2 {
        sequence: event.sequence,
        at: event.at.as_millis(),
        actor: ActorV1::of(event.actor),
        origin: OriginV2::of(event.origin),
        action: event.action.as_str().to_string(),
        target: event.target,
        detail: event.detail.clone(),
    };
    // Serialising plain data into memory has no way to fail; an empty record would be found as damaged.
    postcard::to_extend(&record, vec![VERSION_2]).unwrap_or_default()
}

pub(in crate::registry) fn decode_event(id: &[u8], bytes: &[u8]) -> Result<Event, Trouble> {
    let read = if is_unlinked(bytes) { read_first } else { read_second };
    read(id, bytes).ok_or_else(|| damaged(AUDIT))
}

/// Whether these are an event's bytes from before events were chained.
pub(in crate::registry) fn is_unlinked(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION_1)
}

fn read_first(id: &[u8], bytes: &[u8]) -> Option<Event> {
    let record: EventV1 = decode(bytes)?;
    Some(Event {
        id: EventId::from_bytes(id)?,
        sequence: 0,
        at: Timestamp::from_millis(record.at),
        actor: record.actor.read()?,
        origin: Origin::Unknown,
        action: Action::from_word(&record.action)?,
        target: record.target,
        detail: record.detail,
    })
}

fn read_second(id: &[u8], bytes: &[u8]) -> Option<Event> {
    let (&VERSION_2, body) = bytes.split_first()? else { return None };
    let (record, rest): (EventV2, _) = postcard::take_from_bytes(body).ok()?;
    rest.is_empty().then_some(())?;
    Some(Event {
        id: EventId::from_bytes(id)?,
        sequence: record.sequence,
        at: Timestamp::from_millis(record.at),
        actor: record.actor.read()?,
        origin: record.origin.read(),
        action: Action::from_word(&record.action)?,
        target: record.target,
        detail: record.detail,
    })
}

#[cfg(test)]
pub(in crate::registry) fn encode_unlinked(event: &Event) -> Vec<u8> {
    super::encode(&EventV1 {
        at: event.at.as_millis(),
        actor: ActorV1::of(event.actor),
        action: event.action.as_str().to_string(),
        target: event.target,
        detail: event.detail.clone(),
    })
}
