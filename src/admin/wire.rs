//! Commands and replies as JSON: what travels on the socket, what `-o json` prints and what docs/api.md describes.
//! Stable: members are added, never renamed. Never: methods, paths, status codes.

mod account;
mod audit;
mod key;
mod people;
mod policy;
mod reload;
mod reply;
mod request;
mod served;
mod status;
#[cfg(test)]
mod tests;
mod trace;
mod upstream;
mod usage;

use serde::Serialize;

use crate::types::Timestamp;

use super::{AdminError, Command, HistoryLine, Reply};

pub use usage::{by, by_words, csv as usage_csv};

pub use request::{
    account_create, account_update, body, invite_create, key_create, key_revoke, key_rotate, key_update,
    key_verify, keys_revoke, password, token_create, upstream_test,
};

/// The reply to `command` out of its JSON.
///
/// # Errors
/// [`AdminError`] when it is not such a reply.
pub fn decode(command: &Command, json: &[u8]) -> Result<Reply, AdminError> {
    reply::decode(command, json)
}

/// A reply as JSON in one line.
///
/// # Errors
/// [`AdminError`]; plain data has no reason to fail.
pub fn encode(reply: &Reply) -> Result<String, AdminError> {
    reply::with_json(reply, &|json| serde_json::to_string(json)).map_err(unwritable)
}

/// A reply as JSON over several lines, for people and files.
///
/// # Errors
/// [`AdminError`]; plain data has no reason to fail.
pub fn encode_pretty(reply: &Reply) -> Result<String, AdminError> {
    reply::with_json(reply, &|json| serde_json::to_string_pretty(json)).map_err(unwritable)
}

/// The same without the secret that a reply may have: it is handed over in another way.
///
/// # Errors
/// [`AdminError`]; plain data has no reason to fail.
pub fn encode_without_secret(reply: &Reply) -> Result<String, AdminError> {
    reply::without_secret(reply, &|json| serde_json::to_string_pretty(json)).map_err(unwritable)
}

/// A list as every list is written.
#[derive(Serialize, serde::Deserialize)]
struct ListJson<T> {
    object: String,
    data: Vec<T>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

impl<T> ListJson<T> {
    fn of(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> String) -> Self {
        let (first_id, last_id) = (data.first().map(&id), data.last().map(&id));
        Self { object: "list".to_string(), data, first_id, last_id, has_more }
    }
}

/// One event as one line of JSON.
///
/// # Errors
/// [`AdminError`] when it can't be written.
pub fn encode_event(line: &HistoryLine) -> Result<String, AdminError> {
    serde_json::to_string(&account::EventJson::of(line)).map_err(unwritable)
}

fn unwritable(error: serde_json::Error) -> AdminError {
    AdminError::unavailable(format!("the answer could not be written as JSON: {error}"))
}

/// The server that answers has this program's version, so this is a fault of Ember's.
fn unreadable(what: impl std::fmt::Display) -> AdminError {
    AdminError::unavailable(format!("the answer can't be read: {what}; please report this"))
}

fn time(text: &str) -> Result<Timestamp, AdminError> {
    text.parse().map_err(unreadable)
}

fn time_or_none(text: Option<&str>) -> Result<Option<Timestamp>, AdminError> {
    text.map(time).transpose()
}
