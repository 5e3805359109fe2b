//! What is answered: plain data, and a new key once. Never: how it is written down or shown.

use crate::gate::Stop;
use crate::meter::{Figures, Group, KeyTrace, Spread, Step};
use crate::registry::{Event, Page, Verification};
use crate::types::{
    Account, AccountId, AdminToken, Cost, Email, Environment, EventId, Invite, Key, KeyHint, KeyId, KeyName,
    KeySecret, KeyStatus, Origin, Policy, Secret, Session, Ticket, Timestamp, Tokens, Weight,
};

use super::{Status, UpstreamState, UpstreamStatus, UpstreamTest};

/// The answer to a command.
pub enum Reply {
    /// An account as it is now.
    Account(Account),
    /// A page of accounts.
    Accounts(Page<Account>),
    /// An account with its history.
    AccountDetail(AccountDetail),
    /// A key as it is now.
    Key(KeyView),
    /// A page of keys.
    Keys(Page<KeyView>),
    /// How many keys were revoked.
    KeysRevoked(u64),
    /// A key with its history.
    KeyDetail(KeyDetail),
    /// A key with its new secret, which is nowhere else.
    Issued {
        /// The key as it is now.
        key: KeyView,
        /// The secret; to be shown once.
        secret: Key,
    },
    /// What a whole key is good for.
    Verdict(Verdict),
    /// A link that sets a password, once.
    Reset {
        /// Whose.
        account: Account,
        /// When it ends.
        expires_at: Timestamp,
        /// The whole URL; to be shown once.
        link: Secret,
    },
    /// An invitation with its link.
    Invited {
        /// The invitation.
        invite: Invite,
        /// The whole URL; to be shown once.
        link: Secret,
    },
    /// An invitation that was taken back.
    Invite(Invite),
    /// The invitations that wait.
    Invites(Vec<Invite>),
    /// A session that was ended.
    Session(Session),
    /// Sessions, the one used last first.
    Sessions(Vec<Session>),
    /// An administrator's token with its secret, which is nowhere else.
    TokenIssued {
        /// The token.
        token: AdminToken,
        /// The secret; to be shown once.
        secret: Ticket,
    },
    /// A token that was revoked.
    Token(AdminToken),
    /// All administrators' tokens.
    Tokens(Vec<AdminToken>),
    /// A page of the audit trail.
    Audit(AuditPage),
    /// What was committed to it lately.
    AuditNews(AuditNews),
    /// What a step of looking through it found.
    AuditVerified(Verification),
    /// The models that are served.
    Models(Vec<ModelView>),
    /// The model servers.
    Upstreams(Vec<UpstreamStatus>),
    /// A model server as it is now.
    Upstream(UpstreamStatus),
    /// How a model server did when it was tried.
    UpstreamTested(UpstreamTest),
    /// What was used.
    Usage(UsageView),
    /// What was used, line by line.
    UsageReport(Box<UsageReport>),
    /// Whether records and counters agree.
    UsageProof(UsageProof),
    /// What came of loading the configuration anew.
    Reloaded(Reloaded),
    /// How Ember is.
    Status(Status),
}

/// A configuration that was loaded anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// The file that was read, if any was there.
    pub file: Option<String>,
    /// The settings that changed and hold from now on, by name.
    pub changed: Vec<String>,
    /// The settings that changed and hold after a restart, by name.
    pub restart: Vec<String>,
    /// Sentences about what has no effect.
    pub warnings: Vec<String>,
}

/// An account and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountDetail {
    /// The account.
    pub account: Account,
    /// Oldest first.
    pub history: Vec<HistoryLine>,
}

/// A key and what was done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDetail {
    /// The key.
    pub key: KeyView,
    /// Oldest first.
    pub history: Vec<HistoryLine>,
    /// Who used it.
    pub trace: KeyTrace,
    /// How many different ones did lately, where that looks like more than one application.
    pub spread: Option<Spread>,
}

/// A key as it is shown: no digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// What it is called.
    pub name: KeyName,
    /// Its owner's address.
    pub owner: Option<Email>,
    /// Its owner.
    pub account: AccountId,
    /// What it is for.
    pub environment: Environment,
    /// What it may use, from where, and how much.
    pub policy: Policy,
    /// Whether requests of browsers may use it.
    pub allow_browser: bool,
    /// Its share where requests have to wait.
    pub weight: Weight,
    /// The newest secret's last four characters.
    pub last4: Option<KeyHint>,
    /// What it is now.
    pub status: KeyStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops.
    pub expires_at: Option<Timestamp>,
    /// When it was last used for a model; to the second.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it was revoked.
    pub revoked_reason: Option<String>,
    /// Its secrets, newest first.
    pub secrets: Vec<SecretView>,
}

/// A secret of a key as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretView {
    /// Its last four characters.
    pub last4: KeyHint,
    /// When it was issued.
    pub created_at: Timestamp,
    /// The end of its grace.
    pub valid_until: Option<Timestamp>,
}

/// A page of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<HistoryLine>,
    /// Before which event to go on; none at the end. A page may be empty and have more behind it.
    pub next: Option<EventId>,
}

/// Events that were committed lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditNews {
    /// In the order they were committed.
    pub entries: Vec<HistoryLine>,
    /// After which number to go on.
    pub next: u64,
    /// Whether there is more already.
    pub has_more: bool,
}

/// A line of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The event's id.
    pub id: EventId,
    /// Its number in the chain; none for one that is older than the chain.
    pub sequence: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub origin: Origin,
    /// Who: an id.
    pub actor: String,
    /// Who, for people: an address, where the id is an account's.
    pub actor_name: String,
    /// What.
    pub action: String,
    /// The id of what it was done to.
    pub target: String,
    /// The same for people: a key's name, an account's address; else the id.
    pub target_name: String,
    /// What changed, in words.
    pub detail: String,
}

/// A model as callers name it, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    /// Its public name.
    pub name: String,
    /// The servers that have it, in the order they are asked.
    pub servers: Vec<ModelServer>,
}

/// A server that has a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelServer {
    /// The server's name.
    pub name: String,
    /// What the model is called there.
    pub model: String,
    /// How it is.
    pub state: UpstreamState,
}

/// What was used in the hours that began within a day and within a week.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageView {
    /// The last 24 hours.
    pub day: UsageSums,
    /// The last 7 days.
    pub week: UsageSums,
}

/// Sums of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Requests that were admitted and have ended.
    pub requests: u64,
    /// Their tokens.
    pub tokens: Tokens,
}

/// What was used in a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// The beginning of the first hour.
    pub since: Timestamp,
    /// The end of what was asked for.
    pub until: Timestamp,
    /// What the rows are kept apart by.
    pub group: Option<Group>,
    /// The length of time that the rows are kept apart by.
    pub step: Option<Step>,
    /// The word behind costs.
    pub currency: Option<String>,
    /// By time, then the most requests first.
    pub rows: Vec<UsageRow>,
    /// All rows together.
    pub total: UsageRow,
}

/// A line of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// When its day or hour began.
    pub start: Option<Timestamp>,
    /// The key's or account's id.
    pub id: Option<String>,
    /// The key's, model's or server's name, the account's address. None: nobody knows, or there was none.
    pub name: Option<String>,
    /// The address of the key's owner.
    pub owner: Option<String>,
    /// The sums.
    pub figures: Figures,
    /// What the tokens cost; none when no model among them has a price.
    pub cost: Option<Cost>,
}

/// Whether records and counters agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageProof {
    /// Accounts looked at.
    pub accounts: u64,
    /// Keys looked at.
    pub keys: u64,
    /// Records added up.
    pub records: u64,
    /// Requests that the whole server's counter has.
    pub requests: u64,
    /// Counters that are not the sum of their parts.
    pub faults: u64,
    /// The first 100 of them.
    pub wrong: Vec<WrongCounter>,
}

/// A counter that is not the sum of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongCounter {
    /// `the whole server`, an account's address or id, a key's name or id with its account's.
    pub of: String,
    /// The key's or account's id; none for the whole server.
    pub id: Option<String>,
    /// Requests and tokens that the counter has.
    pub counted: (u64, u64),
    /// Requests and tokens that it should have.
    pub found: (u64, u64),
}

/// What a whole key is good for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The key it belongs to.
    pub key: KeyView,
    /// Why it would be refused; none when it would be admitted.
    pub stop: Option<Stop>,
}

impl SecretView {
    /// None of one that was met after its end.
    pub(super) fn of(secret: &KeySecret) -> Option<Self> {
        let KeySecret { hint: last4, created_at, valid_until, .. } = *secret;
        (valid_until != Some(KeySecret::OVER)).then_some(Self { last4, created_at, valid_until })
    }
}

impl HistoryLine {
    pub(super) fn of(event: Event, actor_name: String, target_name: String) -> Self {
        Self {
            target: event.target_id(),
            target_name,
            actor_name,
            id: event.id,
            sequence: Some(event.sequence).filter(|number| *number > 0),
            origin: event.origin,
            at: event.at,
            actor: event.actor.to_string(),
            action: event.action.as_str().to_string(),
            detail: event.detail,
        }
    }
}
