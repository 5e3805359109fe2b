//! What a restored backup must not bring back: rights that were taken away after it was made.
//! Never: files, or what else a backup changes.

mod people;

use std::ops::Bound;

use crate::store::Table;
use crate::types::{
    Account, AccountStatus, Actor, AdminToken, Invite, KeyRecord, KeySecret, KeyStanding, Timestamp,
};

use super::audit::Action;
use super::denial::{Attempt, Intent};
use super::record::{decode_account, decode_key};
use super::table::{ACCOUNTS, KEYS};
use super::{PAGE_MAX, Registry, RegistryError};

/// A right that is gone in the present store and alive in the backup; it stays gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carried {
    /// An account was disabled or deleted since; in the backup it works.
    Account(Account),
    /// A key was revoked, disabled or given an earlier end since, or lost secrets.
    Key {
        /// The key as the restored store has it now.
        key: KeyRecord,
        /// What was carried over, in words.
        what: String,
    },
    /// An administrator's token was revoked since.
    Token(AdminToken),
    /// An invitation was used or revoked since, or another took its place.
    Invite(Invite),
    /// A link that sets this account's password was used since, or ended otherwise.
    Reset(Account),
    /// So many sessions were ended since.
    Sessions(usize),
}

impl Registry {
    /// Takes away in this registry, a restored backup, every right that was taken away in `present` since the
    /// backup was made. Calling it again changes nothing more.
    ///
    /// # Errors
    /// [`RegistryError::Store`] when one of the two can't be read or this one not written.
    pub fn carry_over(&self, actor: Actor, present: &Self) -> Result<Vec<Carried>, RegistryError> {
        let mut carried = Vec::new();
        present.each_row(ACCOUNTS, |id, bytes| {
            let account = decode_account(id, bytes)?;
            carried.extend(self.carry_account(actor, &account)?.map(Carried::Account));
            Ok(())
        })?;
        present.each_row(KEYS, |id, bytes| {
            let key = decode_key(id, bytes)?;
            carried.extend(self.carry_key(actor, &key)?);
            Ok(())
        })?;
        carried.extend(self.carry_people(actor, present)?);
        Ok(carried)
    }

    fn each_row(
        &self,
        table: Table,
        mut look: impl FnMut(&[u8], &[u8]) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rows = self.store.scan(table, from, Bound::Unbounded, PAGE_MAX)?;
            for (key, value) in &rows {
                look(key, value)?;
            }
            if rows.len() < PAGE_MAX {
                return Ok(());
            }
            last = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    fn carry_account(&self, actor: Actor, present: &Account) -> Result<Option<Account>, RegistryError> {
        let Some((restored, _)) = self.load_account(present.id)? else { return Ok(None) };
        let account = present.id;
        let intent = match (present.status, restored.status) {
            (AccountStatus::Deleted, AccountStatus::Active | AccountStatus::Disabled) => {
                Intent::DeleteAccount { actor, account }
            }
            (AccountStatus::Disabled, AccountStatus::Active) => Intent::DisableAccount { actor, account },
            (AccountStatus::Active, _)
            | (AccountStatus::Disabled, AccountStatus::Disabled | AccountStatus::Deleted)
            | (AccountStatus::Deleted, AccountStatus::Deleted) => return Ok(None),
        };
        Ok(Some(self.stop_account(&intent)?))
    }

    fn carry_key(&self, actor: Actor, present: &KeyRecord) -> Result<Option<Carried>, RegistryError> {
        if self.store.get(KEYS, present.id.as_bytes())?.is_none() {
            return Ok(None);
        }
        self.until_agreed(|| {
            let (restored, bytes) = self.load_key(present.id)?;
            let new = without_what_was_taken(&restored, present);
            let what = taken(&restored, &new);
            if what.is_empty() {
                return Ok(Attempt::Nothing(None));
            }
            let detail = format!("carried over at a restore: {what}");
            let commit = self.key_replacement(actor, action(&restored, &new), &new, bytes, detail)?;
            Ok(Attempt::denial(commit, Some(Carried::Key { key: new, what })))
        })
    }
}

/// The restored key, less every right that the present one has not.
fn without_what_was_taken(restored: &KeyRecord, present: &KeyRecord) -> KeyRecord {
    let standing = match (&present.standing, &restored.standing) {
        (_, KeyStanding::Revoked { .. }) | (KeyStanding::Active, _) => restored.standing.clone(),
        (KeyStanding::Revoked { .. } | KeyStanding::Disabled, _) => present.standing.clone(),
    };
    let secrets = restored.secrets.iter().filter_map(|secret| still_good(secret, present)).collect();
    let expires_at = earlier(restored.expires_at, present.expires_at);
    KeyRecord { standing, secrets, expires_at, ..restored.clone() }
}

/// A secret that a rotation replaced stays replaced, or keeps the end that its grace was given.
fn still_good(secret: &KeySecret, present: &KeyRecord) -> Option<KeySecret> {
    let now = present.secret(&secret.digest)?;
    Some(KeySecret { valid_until: earlier(secret.valid_until, now.valid_until), ..*secret })
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn taken(restored: &KeyRecord, new: &KeyRecord) -> String {
    let mut parts = Vec::new();
    if restored.standing != new.standing {
        parts.push(match new.standing {
            KeyStanding::Revoked { .. } => "revoked".to_string(),
            KeyStanding::Disabled => "disabled".to_string(),
            KeyStanding::Active => "active".to_string(),
        });
    }
    if restored.secrets != new.secrets {
        parts.push(match new.secrets.is_empty() {
            true => "rotated; its present secret is not in the backup, rotate it again".to_string(),
            false => "a secret that was rotated away".to_string(),
        });
    }
    if let (true, Some(end)) = (restored.expires_at != new.expires_at, new.expires_at) {
        parts.push(format!("ends {end}"));
    }
    parts.join("; ")
}

fn action(restored: &KeyRecord, new: &KeyRecord) -> Action {
    match &new.standing {
        standing if *standing == restored.standing => Action::KeyUpdated,
        KeyStanding::Revoked { .. } => Action::KeyRevoked,
        KeyStanding::Disabled => Action::KeyDisabled,
        KeyStanding::Active => Action::KeyUpdated,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::registry::table::{EPOCHS, INVITES, RESETS, SESSION_INDEX, SESSIONS, TICKETS, TOKENS};
    use crate::registry::{KeyChanges, NewAccount, NewInvite, NewKey, NewToken, Rotation, Rules, SignedIn};
    use crate::store::{Commit, MemoryStore, Store, Write};
    use crate::types::{Clock, Environment, Key, Place, Random, RandomUnavailable, Role, Secret, SignUp};

    struct Ticking(AtomicI64);
    impl Clock for Ticking {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_795_000_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    struct Counting(AtomicU64);
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            for byte in bytes {
                let step = self.0.fetch_add(1, Ordering::Relaxed);
                *byte = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            }
            Ok(())
        }
    }

    const ME: Actor = Actor::Machine { uid: 7 };

    fn registry(store: Arc<MemoryStore>, seed: u64) -> Registry {
        let rules = Rules { sign_up: SignUp::Invite, ..Rules::default() };
        Registry::new(store, Arc::new(Ticking(0.into())), Arc::new(Counting(seed.into())), None)
            .with_rules(rules)
    }

    /// A registry and a copy of it as it is now.
    struct Pair {
        present: Registry,
        backup: Registry,
    }

    impl Pair {
        fn new(prepare: impl FnOnce(&Registry)) -> Self {
            let store = Arc::new(MemoryStore::new());
            let present = registry(store.clone(), 1);
            prepare(&present);
            let copy = Arc::new(MemoryStore::new());
            let of_people = [SESSIONS, SESSION_INDEX, TICKETS, EPOCHS, INVITES, RESETS, TOKENS];
            let of_keys = ["accounts", "emails", "passwords", "keys", "digests", "key_index"].map(Table);
            for table in of_keys.into_iter().chain(of_people) {
                let rows = store.scan(table, Bound::Unbounded, Bound::Unbounded, 1000).unwrap();
                let writes = rows.into_iter().map(|(key, value)| Write::Put { table, key, value }).collect();
                copy.commit(Commit { writes, ..Commit::default() }).unwrap();
            }
            Self { present, backup: registry(copy, 99) }
        }

        fn carry(&self) -> Vec<Carried> {
            self.backup.carry_over(ME, &self.present).unwrap()
        }
    }

    fn account(registry: &Registry, email: &str) {
        let email = email.parse().unwrap();
        registry
            .create_account(ME, &NewAccount { email, name: None, role: Role::Member, password: None })
            .unwrap();
    }

    fn issue(registry: &Registry, account: &str, name: &str) -> Key {
        let new = NewKey::new(account, name.parse().unwrap(), Environment::Prod);
        registry.create_key(ME, &new).unwrap().1
    }

    fn works(registry: &Registry, key: &Key) -> bool {
        let Some((record, account)) = registry.by_digest(&key.digest()).unwrap() else { return false };
        let now = registry.clock.now();
        let fresh = |secret: &KeySecret| secret.valid_until.is_none_or(|end| end > now);
        account.status == AccountStatus::Active
            && record.status(now) == crate::types::KeyStatus::Active
            && record.secret(&key.digest()).is_some_and(fresh)
    }

    #[test]
    fn what_was_taken_away_since_stays_taken_away_and_the_rest_comes_back() {
        let mut keys = Vec::new();
        let pair = Pair::new(|registry| {
            account(registry, "ana@example.com");
            for name in ["kept", "revoked", "disabled", "rotated", "in-grace", "shortened"] {
                keys.push(issue(registry, "ana@example.com", name));
            }
        });
        let present = &pair.present;
        present.revoke_key(ME, "revoked", Some("lost")).unwrap();
        present.disable_key(ME, "disabled").unwrap();
        present.rotate_key(ME, "rotated", Rotation::Now).unwrap();
        present.rotate_key(ME, "in-grace", Rotation::Grace(Duration::from_secs(3600))).unwrap();
        let end = Timestamp::from_millis(1_795_000_100_000);
        let changes = KeyChanges { expires_at: Some(Some(end)), ..KeyChanges::default() };
        present.update_key(ME, "shortened", &changes).unwrap();
        assert!(keys.iter().all(|key| works(&pair.backup, key)), "all work in the backup");
        assert_eq!(pair.carry().len(), 5);
        let alive: Vec<bool> = keys.iter().map(|key| works(&pair.backup, key)).collect();
        assert_eq!(alive, [true, false, false, false, true, true]);
        let shown = |name| pair.backup.key(ME, name).unwrap();
        assert_eq!(shown("revoked").standing, present.key(ME, "revoked").unwrap().standing);
        assert!(shown("in-grace").secrets[0].valid_until.is_some());
        assert_eq!(shown("shortened").expires_at, Some(end));
        assert!(pair.carry().is_empty(), "once is enough");
        let history = pair.backup.key_history(shown("revoked").id).unwrap();
        assert!(history.last().is_some_and(|event| event.detail.contains("restore")), "{history:?}");
    }

    #[test]
    fn accounts_that_were_stopped_since_stay_stopped_with_their_keys() {
        let mut keys = Vec::new();
        let pair = Pair::new(|registry| {
            for email in ["a@example.com", "b@example.com", "c@example.com"] {
                account(registry, email);
                keys.push(issue(registry, email, "app"));
            }
        });
        pair.present.disable_account(ME, "a@example.com").unwrap();
        pair.present.delete_account(ME, "b@example.com").unwrap();
        let carried = pair.carry();
        let accounts = carried.iter().filter(|one| matches!(one, Carried::Account(_))).count();
        assert_eq!(accounts, 2);
        let alive: Vec<bool> = keys.iter().map(|key| works(&pair.backup, key)).collect();
        assert_eq!(alive, [false, false, true]);
        assert!(pair.backup.account(ME, "b@example.com").is_err());
    }

    #[test]
    fn what_was_revoked_in_the_backup_is_never_given_back() {
        let mut key = None;
        let pair = Pair::new(|registry| {
            account(registry, "a@example.com");
            key = Some(issue(registry, "a@example.com", "app"));
            registry.disable_key(ME, "app").unwrap();
        });
        pair.present.enable_key(ME, "app").unwrap();
        assert!(pair.carry().is_empty());
        assert!(!works(&pair.backup, &key.unwrap()), "the backup decides what it gives");
    }

    fn sign_in(registry: &Registry, email: &str) -> SignedIn {
        let account = registry.account(ME, email).unwrap();
        let place = Place::new("192.0.2.1".parse().unwrap(), "Firefox");
        registry.open_session(account.id, registry.epoch(account.id).unwrap(), &place).unwrap()
    }

    fn invite(registry: &Registry, email: &str) -> (Invite, crate::types::Ticket) {
        let (email, lifetime) = (email.parse().unwrap(), Duration::from_secs(3600));
        registry.create_invite(ME, &NewInvite { email, role: Role::Admin, lifetime }).unwrap()
    }

    fn token(registry: &Registry, name: &str) -> crate::types::Ticket {
        registry.create_token(ME, &NewToken { name: name.parse().unwrap(), expires_at: None }).unwrap().1
    }

    #[test]
    fn bug_no_way_in_that_was_closed_since_is_open_again() {
        let (mut sessions, mut links, mut resets, mut tokens) = (vec![], vec![], vec![], vec![]);
        let pair = Pair::new(|registry| {
            for email in ["a@example.com", "b@example.com", "c@example.com"] {
                account(registry, email);
                sessions.push(sign_in(registry, email));
                resets.push(registry.issue_reset(ME, email).unwrap().ticket);
            }
            links = ["x@example.com", "y@example.com"].map(|email| invite(registry, email)).into();
            tokens = ["ci", "cd"].map(|name| token(registry, name)).into();
        });
        let present = &pair.present;
        present.end_session(ME, sessions[0].session.id).unwrap();
        present.issue_reset(ME, "a@example.com").unwrap();
        present
            .set_password(ME, "b@example.com", &Secret::new("staple of batteries".to_string()), None)
            .unwrap();
        present.revoke_invite(ME, links[0].0.id).unwrap();
        present.revoke_token(ME, "ci").unwrap();
        sign_in(present, "c@example.com");
        let carried = pair.carry();
        let backup = &pair.backup;
        let signed_in: Vec<_> =
            sessions.iter().map(|one| backup.session(&one.ticket).unwrap().is_some()).collect();
        assert_eq!(signed_in, [false, false, true]);
        let resets: Vec<_> = resets.iter().map(|ticket| backup.reset_account(ticket).is_ok()).collect();
        assert_eq!(resets, [false, false, true]);
        let links: Vec<_> = links.iter().map(|(_, ticket)| backup.invite(ticket).is_ok()).collect();
        assert_eq!(links, [false, true]);
        let tokens: Vec<_> =
            tokens.iter().map(|ticket| backup.token_actor(ticket).unwrap().is_some()).collect();
        assert_eq!(tokens, [false, true]);
        assert!(matches!(
            &carried[..],
            [
                Carried::Token(_),
                Carried::Invite(_),
                Carried::Reset(_),
                Carried::Reset(_),
                Carried::Sessions(2)
            ]
        ));
        assert!(pair.carry().is_empty(), "once is enough");
        let left = backup.store.count(TICKETS).unwrap();
        assert_eq!(left, 4, "one session, one link, one invitation and one token");
    }
}
