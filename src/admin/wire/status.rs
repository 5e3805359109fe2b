//! How Ember is, as JSON. Never: anything else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, ServerStatus, Status};
use crate::types::Tokens;

use super::upstream::UpstreamJson;
use super::{time, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct StatusJson {
    object: String,
    running: bool,
    accounts: u64,
    keys: u64,
    denials_owed: bool,
    audit_head: String,
    server: Option<ServerJson>,
}

#[derive(Serialize, Deserialize)]
struct ServerJson {
    version: String,
    pid: u32,
    started_at: String,
    listen: Vec<String>,
    upstreams: Vec<UpstreamJson>,
    requests: u64,
    tokens: TokensJson,
    in_flight: u64,
    waiting: u64,
    connections: u64,
    errors: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokensJson {
    prompt: u64,
    completion: u64,
    cached: u64,
}

impl TokensJson {
    pub(super) fn of(tokens: Tokens) -> Self {
        let Tokens { prompt, completion, cached } = tokens;
        Self { prompt, completion, cached }
    }

    pub(super) fn read(self) -> Tokens {
        let Self { prompt, completion, cached } = self;
        Tokens { prompt, completion, cached }
    }
}

impl StatusJson {
    pub(super) fn of(status: &Status) -> Self {
        Self {
            object: "status".to_string(),
            running: status.server.is_some(),
            accounts: status.accounts,
            keys: status.keys,
            denials_owed: status.denials_owed,
            audit_head: status.audit_head.to_string(),
            server: status.server.as_ref().map(ServerJson::of),
        }
    }

    pub(super) fn read(self) -> Result<Status, AdminError> {
        Ok(Status {
            accounts: self.accounts,
            keys: self.keys,
            denials_owed: self.denials_owed,
            audit_head: self.audit_head.parse().map_err(unreadable)?,
            server: self.server.map(ServerJson::read).transpose()?,
        })
    }
}

impl ServerJson {
    fn of(server: &ServerStatus) -> Self {
        Self {
            version: server.version.clone(),
            pid: server.pid,
            started_at: server.started_at.to_string(),
            listen: server.listen.clone(),
            upstreams: server.upstreams.iter().map(UpstreamJson::of).collect(),
            requests: server.requests,
            tokens: TokensJson::of(server.tokens),
            in_flight: server.in_flight,
            waiting: server.waiting,
            connections: server.connections,
            errors: server.errors.clone(),
        }
    }

    fn read(self) -> Result<ServerStatus, AdminError> {
        Ok(ServerStatus {
            version: self.version,
            pid: self.pid,
            started_at: time(&self.started_at)?,
            listen: self.listen,
            upstreams: self.upstreams.into_iter().map(UpstreamJson::read).collect::<Result<_, _>>()?,
            requests: self.requests,
            tokens: self.tokens.read(),
            in_flight: self.in_flight,
            waiting: self.waiting,
            connections: self.connections,
            errors: self.errors,
        })
    }
}
