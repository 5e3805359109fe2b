//! How Ember is. Never: how it is found out.

use std::collections::BTreeMap;

use crate::types::{Timestamp, Tokens, TrailHead};

/// How Ember is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Accounts in the store, deleted ones included.
    pub accounts: u64,
    /// Keys in the store, revoked ones included.
    pub keys: u64,
    /// Whether something is denied in memory that is not on disk yet.
    pub denials_owed: bool,
    /// Where the chain of the audit trail ends.
    pub audit_head: TrailHead,
    /// What the server says of itself; none when none runs.
    pub server: Option<ServerStatus>,
}

/// What a running server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it began to serve.
    pub started_at: Timestamp,
    /// The addresses it listens on.
    pub listen: Vec<String>,
    /// The model servers behind it.
    pub upstreams: Vec<UpstreamStatus>,
    /// Requests admitted and ended since it began.
    pub requests: u64,
    /// Tokens of these.
    pub tokens: Tokens,
    /// Requests under way on the public door, of whatever kind.
    pub in_flight: u64,
    /// Open connections of the public door.
    pub connections: u64,
    /// Requests that it refused or whose answer it broke off since it began, by the error's code.
    pub errors: BTreeMap<String, u64>,
}

/// How a model server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// What the configuration calls it.
    pub name: String,
    /// Whether requests are sent to it.
    pub healthy: bool,
    /// How many models it serves.
    pub models: u64,
    /// Requests it works on.
    pub in_flight: u64,
    /// Requests that wait for it.
    pub waiting: u64,
    /// What is wrong, or empty.
    pub detail: String,
}
