//! Who used a key, as JSON. Never: what was used.

use serde::{Deserialize, Serialize};

use crate::admin::AdminError;
use crate::meter::{BrowserRefusals, KeyTrace, KeyUser, Spread};
use crate::types::ClientName;

use super::{time, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct TraceJson {
    users: Vec<UserJson>,
    /// Where so many different ones used it lately that it may be shared.
    spread: Option<SpreadJson>,
    browsers_refused: Option<BrowsersJson>,
    old_secret: Option<UserJson>,
}

#[derive(Serialize, Deserialize)]
struct UserJson {
    address: String,
    client: String,
    first_at: String,
    last_at: String,
    requests: u64,
}

#[derive(Serialize, Deserialize)]
struct SpreadJson {
    clients: usize,
    networks: usize,
}

#[derive(Serialize, Deserialize)]
struct BrowsersJson {
    requests: u64,
    last_at: String,
    origin: String,
}

impl TraceJson {
    pub(super) fn of(trace: &KeyTrace, spread: Option<Spread>) -> Self {
        Self {
            users: trace.users.iter().map(UserJson::of).collect(),
            spread: spread.map(|Spread { clients, networks }| SpreadJson { clients, networks }),
            browsers_refused: trace.browsers.as_ref().map(|browsers| BrowsersJson {
                requests: browsers.requests,
                last_at: browsers.last_at.to_string(),
                origin: browsers.origin.clone(),
            }),
            old_secret: trace.old_secret.as_ref().map(UserJson::of),
        }
    }

    pub(super) fn read(&self) -> Result<(KeyTrace, Option<Spread>), AdminError> {
        let browsers = |json: &BrowsersJson| -> Result<_, AdminError> {
            let origin = json.origin.clone();
            Ok(BrowserRefusals { requests: json.requests, last_at: time(&json.last_at)?, origin })
        };
        let trace = KeyTrace {
            users: self.users.iter().map(UserJson::read).collect::<Result<_, _>>()?,
            browsers: self.browsers_refused.as_ref().map(browsers).transpose()?,
            old_secret: self.old_secret.as_ref().map(UserJson::read).transpose()?,
        };
        let spread = self.spread.as_ref();
        Ok((trace, spread.map(|spread| Spread { clients: spread.clients, networks: spread.networks })))
    }
}

impl UserJson {
    fn of(seen: &KeyUser) -> Self {
        Self {
            address: seen.address.to_string(),
            client: seen.client.to_string(),
            first_at: seen.first_at.to_string(),
            last_at: seen.last_at.to_string(),
            requests: seen.requests,
        }
    }

    fn read(&self) -> Result<KeyUser, AdminError> {
        Ok(KeyUser {
            address: self.address.parse().map_err(unreadable)?,
            client: ClientName::kept(&self.client),
            first_at: time(&self.first_at)?,
            last_at: time(&self.last_at)?,
            requests: self.requests,
        })
    }
}
