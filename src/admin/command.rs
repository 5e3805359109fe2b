//! What can be asked. Never: who asks, or how it is carried out.

use std::time::Duration;

use crate::meter::{Group, Step};
use crate::registry::{
    AccountChanges, AuditFilter, KeyChanges, KeyFilter, NewAccount, NewInvite, NewKey, NewToken, Rotation,
    TrailCursor,
};
use crate::types::{
    AccountId, Environment, EventId, InviteId, Key, KeyId, ModelId, Secret, SessionId, Timestamp, TrailHead,
};

/// What a report of use is to be about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageAsk {
    /// By whom; by everyone, without it.
    pub account: Option<String>,
    /// With which key.
    pub key: Option<String>,
    /// From the hour that this lies in; without it, the last 7 days.
    pub since: Option<Timestamp>,
    /// Up to the hour that this lies in; without it, up to now.
    pub until: Option<Timestamp>,
    /// What the lines are kept apart by; one line for all without both.
    pub group: Option<Group>,
    /// A line for each day or hour.
    pub step: Option<Step>,
}

/// What is asked about model servers. `upstream` is what the configuration calls one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAsk {
    /// All of them and how they are.
    List,
    /// Send one no new requests, until Ember ends or it is put back.
    Drain {
        /// Which.
        upstream: String,
    },
    /// Send one requests again.
    Undrain {
        /// Which.
        upstream: String,
    },
    /// Try one.
    Test {
        /// Which.
        upstream: String,
        /// Ask this model for the shortest of answers, which costs tokens.
        model: Option<ModelId>,
        /// As a stream.
        stream: bool,
    },
}

/// One thing an operator can ask. Where a key is named, the text is an id, the beginning of one, a name or the last
/// four characters; where an account is named, its address or id.
pub enum Command {
    /// Make an account.
    AccountCreate(NewAccount),
    /// Accounts in the order they were made.
    AccountList {
        /// The last one already seen.
        after: Option<AccountId>,
        /// How many, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// One account and its history.
    AccountShow {
        /// Which.
        account: String,
    },
    /// Switch an account off.
    AccountDisable {
        /// Which.
        account: String,
    },
    /// Switch an account on again.
    AccountEnable {
        /// Which.
        account: String,
    },
    /// Delete an account and revoke its keys.
    AccountDelete {
        /// Which.
        account: String,
    },
    /// Set an account's password.
    AccountPassword {
        /// Which.
        account: String,
        /// The new password.
        password: Secret,
        /// The old one; whoever changes his own must know it.
        current: Option<Secret>,
    },
    /// Change what an account's owner is called, or what its keys together may use.
    AccountUpdate {
        /// Which.
        account: String,
        /// What is to change.
        changes: AccountChanges,
    },
    /// Make a link that sets an account's password, once.
    AccountReset {
        /// Which.
        account: String,
    },
    /// Invite someone to make an account.
    InviteCreate(NewInvite),
    /// The invitations that wait.
    InviteList,
    /// Take an invitation back.
    InviteRevoke {
        /// Which.
        invite: InviteId,
    },
    /// The sessions of an account.
    SessionList {
        /// Whose.
        account: String,
    },
    /// End a session.
    SessionEnd {
        /// Which.
        session: SessionId,
    },
    /// End all sessions of an account, but one where that is wanted.
    SessionsEnd {
        /// Whose.
        account: String,
        /// The one that goes on.
        keep: Option<SessionId>,
    },
    /// Make an administrator's token.
    TokenCreate(NewToken),
    /// The administrators' tokens.
    TokenList,
    /// Revoke a token.
    TokenRevoke {
        /// Its id, name or last four characters.
        token: String,
    },
    /// The audit trail, the newest events first.
    AuditList {
        /// Which of them.
        filter: AuditFilter,
        /// Events before this one.
        before: Option<EventId>,
        /// How many, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// The events that were committed after one of them, in their order.
    AuditNews {
        /// Which of them.
        filter: AuditFilter,
        /// The number of the last one already seen; without it, only where to go on is told.
        after: Option<u64>,
        /// How many to look at, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// One step of looking through the audit trail for what was changed in it.
    AuditVerify {
        /// A head that was noted earlier.
        noted: Option<TrailHead>,
        /// Where the last step ended.
        after: Option<TrailCursor>,
    },
    /// What models are served, and by which servers.
    Models,
    /// Something about model servers.
    Upstream(UpstreamAsk),
    /// What was used in the last day and week.
    Usage {
        /// By whom; by everyone, without it.
        account: Option<String>,
    },
    /// What was used in a time, by key, account, model, server, day or hour.
    UsageReport(UsageAsk),
    /// Whether the records of what was used add up to the counters.
    UsageVerify,
    /// Issue a key.
    KeyCreate(NewKey),
    /// Keys in the order they were made.
    KeyList {
        /// Which of them.
        filter: KeyFilter,
        /// Only those that were never used for a model, or not for so long.
        unused: Option<Duration>,
        /// The last one already seen.
        after: Option<KeyId>,
        /// How many, 1 to [`crate::registry::PAGE_MAX`].
        limit: usize,
    },
    /// One key and its history.
    KeyShow {
        /// Which.
        key: String,
    },
    /// Change a key's name, end or policy.
    KeyUpdate {
        /// Which.
        key: String,
        /// What is to change.
        changes: KeyChanges,
    },
    /// Switch a key off.
    KeyDisable {
        /// Which.
        key: String,
    },
    /// Switch a key on again.
    KeyEnable {
        /// Which.
        key: String,
    },
    /// Revoke a key for good.
    KeyRevoke {
        /// Which.
        key: String,
        /// Why; for the audit trail.
        reason: Option<String>,
    },
    /// Revoke all keys of an account for good.
    KeyRevokeAll {
        /// Whose.
        account: String,
        /// Only those of this environment.
        environment: Option<Environment>,
        /// Why; for the audit trail.
        reason: Option<String>,
    },
    /// Give a key a new secret.
    KeyRotate {
        /// Which.
        key: String,
        /// What becomes of the old secret.
        rotation: Rotation,
    },
    /// Whose key this is and whether it would be admitted.
    KeyVerify {
        /// The whole key.
        key: Key,
    },
    /// Load the configuration anew.
    Reload,
    /// How Ember is.
    Status,
}

impl Command {
    /// Whether it only looks; then asking it twice does no harm.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        match self {
            Self::AccountList { .. }
            | Self::AccountShow { .. }
            | Self::KeyList { .. }
            | Self::KeyShow { .. }
            | Self::KeyVerify { .. }
            | Self::InviteList
            | Self::SessionList { .. }
            | Self::TokenList
            | Self::AuditList { .. }
            | Self::AuditNews { .. }
            | Self::AuditVerify { .. }
            | Self::Models
            | Self::Upstream(UpstreamAsk::List)
            | Self::Usage { .. }
            | Self::UsageReport(_)
            | Self::UsageVerify
            | Self::Status => true,
            Self::AccountCreate(_)
            | Self::AccountDisable { .. }
            | Self::AccountEnable { .. }
            | Self::AccountDelete { .. }
            | Self::AccountPassword { .. }
            | Self::AccountUpdate { .. }
            | Self::AccountReset { .. }
            | Self::InviteCreate(_)
            | Self::InviteRevoke { .. }
            | Self::SessionEnd { .. }
            | Self::SessionsEnd { .. }
            | Self::TokenCreate(_)
            | Self::TokenRevoke { .. }
            | Self::Upstream(
                UpstreamAsk::Drain { .. } | UpstreamAsk::Undrain { .. } | UpstreamAsk::Test { .. },
            )
            | Self::KeyCreate(_)
            | Self::KeyUpdate { .. }
            | Self::KeyDisable { .. }
            | Self::KeyEnable { .. }
            | Self::KeyRevoke { .. }
            | Self::KeyRevokeAll { .. }
            | Self::KeyRotate { .. }
            | Self::Reload => false,
        }
    }
}
