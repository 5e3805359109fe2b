//! How Ember is. Never: how it is found out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{Timestamp, Tokens, TrailHead, UpstreamState};

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
    /// Those of them that stand in line for a model server, or for several at once.
    pub waiting: u64,
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
    /// Where it listens, with no credentials.
    pub address: String,
    /// How it is, in one word.
    pub state: UpstreamState,
    /// Since when; none before the first change.
    pub since: Option<Timestamp>,
    /// Servers of a higher number are used when none of a lower one will do.
    pub priority: u32,
    /// Its share among servers of one priority.
    pub weight: u32,
    /// How long the last check of it took.
    pub latency: Option<Duration>,
    /// How many models it serves.
    pub models: u64,
    /// Requests it works on.
    pub in_flight: u64,
    /// Requests that wait for it.
    pub waiting: u64,
    /// What is wrong, or empty.
    pub detail: String,
}

/// How a model server did when it was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTest {
    /// What the configuration calls it.
    pub name: String,
    /// One after the other; the last one may have failed.
    pub steps: Vec<UpstreamStep>,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStep {
    /// `connect`, `health`, `models`, `answer`, `body`, `first_byte` or `stream`.
    pub name: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub detail: String,
}

impl UpstreamTest {
    /// Whether all went well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }
}
