//! The audit trail: one event for each change, in the commit that makes the change. Never: secrets.

use std::net::IpAddr;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use crate::store::Write;
use crate::types::{
    AccountId, Actor, Email, EventId, InviteId, KeyId, Origin, Timestamp, TokenId, is_control,
};

use super::access::administrators_only;
use super::chain::links;
use super::record::event::{decode_event, encode_event};
use super::table::{AUDIT, AUDIT_INDEX, audit_prefix, audit_row, end_of};
use super::{PAGE_MAX, Registry, RegistryError};

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// The word for it, on disk and on screen.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// Every word, in the order of the list.
            pub const WORDS: &[&str] = &[$($word,)*];

            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }
    };
}

actions! {
    /// An account was made.
    AccountCreated = "account.created",
    /// An account was switched off.
    AccountDisabled = "account.disabled",
    /// An account was switched on again.
    AccountEnabled = "account.enabled",
    /// An account was deleted.
    AccountDeleted = "account.deleted",
    /// A password was set.
    PasswordSet = "account.password_set",
    /// What an account's owner is called was changed.
    AccountRenamed = "account.renamed",
    /// What an account's keys together may use was changed.
    AccountUpdated = "account.updated",
    /// A link that sets a password was made.
    ResetIssued = "account.reset_issued",
    /// A person signed in.
    SignedIn = "account.signed_in",
    /// A session was ended.
    SignedOut = "account.signed_out",
    /// Someone was invited.
    InviteCreated = "invite.created",
    /// An invitation was taken.
    InviteUsed = "invite.used",
    /// An invitation was taken back.
    InviteRevoked = "invite.revoked",
    /// An administrator's token was made.
    TokenCreated = "token.created",
    /// An administrator's token was revoked.
    TokenRevoked = "token.revoked",
    /// A key was made.
    KeyCreated = "key.created",
    /// A key's name, expiry or policy changed.
    KeyUpdated = "key.updated",
    /// A key was switched off.
    KeyDisabled = "key.disabled",
    /// A key was switched on again.
    KeyEnabled = "key.enabled",
    /// A key was met after its end for the first time.
    KeyExpired = "key.expired",
    /// An old secret of a key was met after the end of its grace for the first time.
    GraceMet = "key.grace_over",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// A key got a new secret.
    KeyRotated = "key.rotated",
    /// Sign-ins were refused at one address in one minute.
    SignInRefused = "refused.sign_in",
    /// Administrators' tokens were refused at one address in one minute.
    TokenRefused = "refused.token",
    /// A model server was taken out of service.
    UpstreamDrained = "upstream.drained",
    /// A model server was put back into service.
    UpstreamUndrained = "upstream.undrained",
    /// A model server was asked for an answer, to try it.
    UpstreamTested = "upstream.tested",
    /// Old events were removed.
    TrailTrimmed = "audit.trimmed",
    /// The configuration was loaded anew.
    ConfigReloaded = "config.reloaded",
}

/// A line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id; sorts by time.
    pub id: EventId,
    /// Its number in the chain; 0 for events that are older than the chain, and until it is linked.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// What.
    pub action: Action,
    /// The id of the key, account, invitation or token it was done to; the address that was refused, as IPv6.
    pub target: [u8; 16],
    /// What changed, in words; never a secret.
    pub detail: String,
}

impl Event {
    /// The id of what it was done to, as it is shown.
    #[must_use]
    pub fn target_id(&self) -> String {
        let target = &self.target;
        let id = match self.action.as_str().split('.').next() {
            Some("key") => KeyId::from_bytes(target).map(|id| id.to_string()),
            Some("invite") => InviteId::from_bytes(target).map(|id| id.to_string()),
            Some("token") => TokenId::from_bytes(target).map(|id| id.to_string()),
            Some("refused") => refused_address(target),
            Some("audit" | "config" | "upstream") => None,
            _ => AccountId::from_bytes(target).map(|id| id.to_string()),
        };
        id.unwrap_or_default()
    }
}

fn refused_address(target: &[u8; 16]) -> Option<String> {
    let address = IpAddr::from(*target).to_canonical();
    (!address.is_unspecified()).then(|| address.to_string())
}

/// Which events a list shows; what is none filters nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// A word like `key.created`, or the part before its dot.
    pub action: Option<String>,
    /// A part of the detail, in any case; or who did it or what it was done to: an id, or an account's address.
    pub search: Option<String>,
}

/// A part of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// The newest first.
    pub entries: Vec<Event>,
    /// Before which event to go on; none when there are no more. A part may be empty and have more behind it.
    pub next: Option<EventId>,
}

/// What was committed lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// In the order they were committed.
    pub entries: Vec<Event>,
    /// After which number to go on.
    pub next: u64,
    /// Whether there is more already.
    pub has_more: bool,
}

/// A filter that makes sense, with what it looks for.
struct Wanted {
    action: Option<String>,
    /// In lower case.
    text: Option<String>,
    /// What ids must be one of.
    ids: Vec<String>,
}

impl Wanted {
    fn passes(&self, event: &Event) -> bool {
        let word = event.action.as_str();
        let action = |wanted: &str| is_about(word, wanted);
        let search = |text: &str| {
            event.detail.to_lowercase().contains(text)
                || self.ids.iter().any(|id| *id == event.target_id() || *id == event.actor.to_string())
        };
        self.action.as_deref().is_none_or(action) && self.text.as_deref().is_none_or(search)
    }
}

/// Whether an action's word is the one that is wanted, or begins with it before its dot.
fn is_about(word: &str, wanted: &str) -> bool {
    word == wanted || word.split('.').next() == Some(wanted)
}

/// The most events given of one thing's history.
pub const HISTORY_MAX: usize = 100;
/// The most events one call looks at for those that pass a filter.
const LOOKED_AT_MAX: usize = 20_000;
/// Rows of the index read at once.
const INDEX_ROWS: usize = 1000;

impl Registry {
    /// What was done to a key: the newest [`HISTORY_MAX`] events, oldest first.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn key_history(&self, key: KeyId) -> Result<Vec<Event>, RegistryError> {
        self.history(key.as_bytes())
    }

    /// What was done to an account: the newest [`HISTORY_MAX`] events, oldest first.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub fn account_history(&self, account: AccountId) -> Result<Vec<Event>, RegistryError> {
        self.history(account.as_bytes())
    }

    /// The events that pass a filter, the newest first, before another one. One call looks at 20,000 events at most.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::Store`].
    pub fn events(
        &self,
        actor: Actor,
        filter: &AuditFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<Trail, RegistryError> {
        administrators_only(actor)?;
        let wanted = self.wanted(filter)?;
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut entries, mut end) = (Vec::new(), before);
        for _ in 0..LOOKED_AT_MAX / INDEX_ROWS {
            let to = end.as_ref().map_or(Bound::Unbounded, |id| Bound::Excluded(&id.as_bytes()[..]));
            let rows = self.store.scan_back(AUDIT, Bound::Unbounded, to, INDEX_ROWS)?;
            let is_last = rows.len() < INDEX_ROWS;
            for (id, bytes) in &rows {
                let event = decode_event(id, bytes)?;
                if !wanted.passes(&event) {
                    end = Some(event.id);
                } else if entries.len() == limit {
                    return Ok(Trail { entries, next: end });
                } else {
                    end = Some(event.id);
                    entries.push(event);
                }
            }
            if is_last {
                return Ok(Trail { entries, next: None });
            }
        }
        Ok(Trail { entries, next: end })
    }

    /// The events that were committed after the one with this number and pass a filter, in their order; without a
    /// number, none, but from where to go on.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::Store`].
    pub fn news(
        &self,
        actor: Actor,
        filter: &AuditFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<News, RegistryError> {
        administrators_only(actor)?;
        let wanted = self.wanted(filter)?;
        let head = self.trail_head()?.sequence;
        // After an older copy of the store was put in its place the chain is shorter.
        let mut next = after.filter(|after| *after <= head).unwrap_or(head);
        let mut entries = Vec::new();
        let part = links(&*self.store, next, limit.clamp(1, PAGE_MAX))?;
        for link in &part {
            next = link.head.sequence;
            // One that was removed meanwhile is not told.
            if let Some(bytes) = self.store.get(AUDIT, &link.event)? {
                entries.push(decode_event(&link.event, &bytes)?);
            }
        }
        entries.retain(|event| wanted.passes(event));
        Ok(News { entries, next, has_more: next < head })
    }

    fn wanted(&self, filter: &AuditFilter) -> Result<Wanted, RegistryError> {
        let is_known = |wanted: &String| Action::WORDS.iter().any(|word| is_about(word, wanted));
        if filter.action.as_ref().is_some_and(|action| !is_known(action)) {
            let sentence = format!(
                "there is no such action; use one of {}, or the part before a dot",
                Action::WORDS.join(", ")
            );
            return Err(RegistryError::Invalid(sentence));
        }
        let mut ids: Vec<String> = filter.search.iter().cloned().collect();
        if let Some(email) = filter.search.as_ref().and_then(|text| text.parse::<Email>().ok()) {
            ids.extend(self.account_of(&email)?.map(|account| account.id.to_string()));
        }
        let text = filter.search.as_ref().map(|text| text.to_lowercase());
        Ok(Wanted { action: filter.action.clone(), text, ids })
    }

    pub(super) fn history(&self, target: &[u8; 16]) -> Result<Vec<Event>, RegistryError> {
        let prefix = audit_prefix(target);
        let end = end_of(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.store.scan_back(AUDIT_INDEX, Bound::Included(&prefix), to, HISTORY_MAX)?;
        let newest = rows.into_iter().rev().map(|(row, _)| row);
        let mut events = Vec::with_capacity(newest.len());
        for row in newest {
            let id = row.get(prefix.len()..).unwrap_or_default();
            if let Some(bytes) = self.store.get(AUDIT, id)? {
                events.push(decode_event(id, &bytes)?);
            }
        }
        Ok(events)
    }

    /// Says in the log what a commit that is durable now has changed: one line for each event.
    pub(super) fn log_events(writes: &[Write]) {
        for write in writes {
            if let Write::Put { table, key, value } = write
                && *table == AUDIT
                && let Ok(event) = decode_event(key, value)
            {
                let target = event.target_id();
                tracing::info!(target: "audit", event = %event.id, actor = %event.actor, from = %event.origin, sequence = event.sequence, action = event.action.as_str(), on = %target, "{}", shown(&event.detail));
            }
        }
    }

    /// The writes that put one event beside the change it tells of.
    pub(super) fn event(
        &self,
        actor: Actor,
        action: Action,
        target: &[u8; 16],
        detail: String,
    ) -> Result<Vec<Write>, RegistryError> {
        let at = self.clock.now();
        let place = self.events_made.fetch_add(1, Ordering::Relaxed);
        let id = EventId::generate(at, &*self.random)?.in_order(place);
        let (origin, target) = (self.origin, *target);
        let event = Event { id, sequence: 0, at, actor, origin, action, target, detail };
        Ok(vec![
            Write::Put { table: AUDIT, key: id.as_bytes().to_vec(), value: encode_event(&event) },
            Write::Put { table: AUDIT_INDEX, key: audit_row(&target, id), value: Vec::new() },
        ])
    }
}

/// The text as a log line has it, since a log may be read on a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { '\u{fffd}' } else { c }).collect()
}
