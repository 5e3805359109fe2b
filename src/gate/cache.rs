//! The key records in memory: bounded, and never behind the last commit. Never: where records come from.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use crate::registry::{Change, Denial, DenialReason, DenialTarget};
use crate::types::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::types::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::types::{Account, KeyDigest, KeyId, KeyRecord, Timestamp};

use super::flight::Landed;
use super::news::News;
use super::signal::{Ears, Signal};
use super::{Cut, CutSignal, EndMet, Grant, Owner, Refusal, Stop};

/// One secret in memory. What it opens never changes (a change makes a new entry); only its cut is shared.
pub(super) struct Entry {
    grant: Grant,
    cut: Arc<Signal>,
    used: AtomicBool,
    /// Which ends were met while it was in memory: bits of [`MET_KEY`] and [`MET_SECRET`].
    met: AtomicU8,
}

/// The key's end was met.
const MET_KEY: u8 = 1;
/// The end of the grace of a secret that was replaced was met.
const MET_SECRET: u8 = 2;

impl Entry {
    fn new(grant: Grant, cut: Arc<Signal>) -> Arc<Self> {
        let met = AtomicU8::new(if grant.expiry_met { MET_KEY } else { 0 });
        Arc::new(Self { grant, cut, used: AtomicBool::new(true), met })
    }

    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Whether the secret may be used at `now`.
    pub(super) fn standing(&self, now: Timestamp) -> Result<(), Refusal> {
        if let Some(cut) = self.grant.cut().or_else(|| self.cut.given()) {
            return Err(Refusal::Cut(cut));
        }
        match self.grant.stop(now) {
            None => match self.met.load(Ordering::Relaxed) {
                0 => Ok(()),
                met if met & MET_KEY != 0 => Err(Refusal::Expired),
                _ => Err(Refusal::Cut(Cut::Replaced)),
            },
            Some(Stop::Cut(cut)) => Err(Refusal::Cut(cut)),
            Some(Stop::Expired) => Err(Refusal::Expired),
        }
    }

    /// Takes note of the ends that have passed at `now`; those that are news.
    pub(super) fn ends_met(&self, digest: KeyDigest, now: Timestamp) -> impl Iterator<Item = EndMet> {
        let grant = &self.grant;
        let ends = [
            (MET_KEY, grant.is_expired(now), EndMet::Key(grant.key, now)),
            (MET_SECRET, grant.is_replaced(now), EndMet::Secret(grant.key, digest, now)),
        ];
        let counts = grant.cut().is_none();
        let is_news = move |bit| self.met.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        ends.into_iter()
            .filter(move |(bit, is_past, _)| counts && *is_past && is_news(*bit))
            .map(|(_, _, end)| end)
    }

    pub(super) fn cut_signal(&self) -> CutSignal {
        self.cut.heard()
    }

    /// Whether requests hold the key open, under this entry or under an older one that shares its cut.
    fn in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || Arc::strong_count(&self.cut) > 1
    }
}

impl From<DenialReason> for Cut {
    fn from(reason: DenialReason) -> Self {
        match reason {
            DenialReason::Revoked => Self::Revoked,
            DenialReason::Disabled => Self::Disabled,
            DenialReason::Replaced => Self::Replaced,
            DenialReason::AccountDisabled => Self::AccountDisabled,
        }
    }
}

/// All entries, with the denials that are not committed yet.
pub(super) struct Cache {
    inner: RwLock<Inner>,
    cached_max: usize,
}

#[derive(Default)]
struct Inner {
    /// Only digests of keys that were issued are in here. Those come from the random source, so nobody can choose them
    /// to collide, and a hash that is quick is good enough.
    entries: FxHashMap<KeyDigest, Arc<Entry>>,
    by_key: FxHashMap<KeyId, Vec<KeyDigest>>,
    /// Digests in the order a clock's hand meets them when room is needed.
    ring: Vec<KeyDigest>,
    hand: usize,
    denials: HashMap<DenialTarget, (Cut, usize)>,
    news: News,
    ears: Arc<Ears>,
}

impl Cache {
    pub(super) fn new(cached_max: usize) -> Self {
        Self { inner: RwLock::default(), cached_max: cached_max.max(1) }
    }

    pub(super) fn get(&self, digest: &KeyDigest) -> Option<Arc<Entry>> {
        let inner = self.read();
        let entry = inner.entries.get(digest)?;
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(entry))
    }

    /// How many records there are, and how many there may be.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.read().ring.len(), self.cached_max)
    }

    /// How many commits were told.
    pub(super) fn commits(&self) -> u64 {
        self.read().news.told()
    }

    /// Keeps what was read for a digest after `commits` commits were told, with what was committed since put in. None
    /// when that can't be known, and it must be read again.
    pub(super) fn land(&self, digest: KeyDigest, found: Option<Grant>, commits: u64) -> Option<Landed> {
        let mut inner = self.write();
        let found = inner.news.since(commits)?.bring(&digest, found)?;
        let commits = inner.news.told();
        let entry = found.map(|grant| inner.keep(digest, grant, self.cached_max));
        Some(Landed { entry, commits })
    }

    /// Takes a committed change in.
    pub(super) fn changed(&self, change: &Change) {
        let mut inner = self.write();
        inner.news.tell(change);
        match change {
            Change::Key(record) => inner.key_changed(record),
            Change::Account(account) => inner.account_changed(account),
        }
    }

    pub(super) fn deny(&self, denial: Denial) {
        let mut inner = self.write();
        let cut = Cut::from(denial.because);
        inner.denials.entry(denial.target).or_insert((cut, 0)).1 += 1;
        for digest in inner.digests_of(&denial.target) {
            if let Some(entry) = inner.entries.get(&digest) {
                entry.cut.give(cut);
            }
        }
    }

    pub(super) fn lift(&self, denial: Denial) {
        let mut inner = self.write();
        if let Some((_, count)) = inner.denials.get_mut(&denial.target) {
            *count -= 1;
            if *count == 0 {
                inner.denials.remove(&denial.target);
            }
        }
        for digest in inner.digests_of(&denial.target) {
            inner.regrant(&digest, Grant::clone);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, digest: KeyDigest, grant: Grant, cached_max: usize) -> Arc<Entry> {
        if let Some(known) = self.entries.get(&digest) {
            return Arc::clone(known);
        }
        self.make_room(cached_max);
        let denied = self.denial_of(&digest, &grant);
        let entry = Entry::new(grant, Signal::new(denied, &self.ears));
        // Most keys have one secret.
        self.by_key.entry(entry.grant.key).or_insert_with(|| Vec::with_capacity(1)).push(digest);
        self.entries.insert(digest, Arc::clone(&entry));
        self.ring.push(digest);
        entry
    }

    fn key_changed(&mut self, record: &KeyRecord) {
        for digest in self.by_key.get(&record.id).cloned().unwrap_or_default() {
            self.regrant(&digest, |old| Grant::of(record, &digest, old.owner.clone()));
        }
    }

    fn account_changed(&mut self, account: &Account) {
        let owner = Owner::of(account);
        for digest in self.digests_of(&DenialTarget::Account(account.id)) {
            self.regrant(&digest, |old| old.under(owner.clone()));
        }
    }

    /// Gives an entry what it opens from now on. Running requests go on under the old one, unless it is cut; a
    /// secret that stands again starts with a fresh signal, since the old one was heard already.
    fn regrant(&mut self, digest: &KeyDigest, change: impl FnOnce(&Grant) -> Grant) {
        let Some(old) = self.entries.get(digest) else { return };
        let grant = change(&old.grant);
        let cut = grant.cut().or_else(|| self.denial_of(digest, &grant));
        let signal = if cut.is_none() && old.cut.given().is_some() {
            Signal::new(None, &self.ears)
        } else {
            Arc::clone(&old.cut)
        };
        if let Some(cut) = cut {
            signal.give(cut);
        }
        let mut met = old.met.load(Ordering::Relaxed);
        if grant.expires_at != old.grant.expires_at {
            met &= !MET_KEY;
        }
        let entry = Entry::new(grant, signal);
        entry.met.fetch_or(met, Ordering::Relaxed);
        self.entries.insert(*digest, entry);
    }

    fn denial_of(&self, digest: &KeyDigest, grant: &Grant) -> Option<Cut> {
        let targets = [
            DenialTarget::Key(grant.key),
            DenialTarget::Secret(*digest),
            DenialTarget::Account(grant.account),
        ];
        targets.iter().find_map(|target| self.denials.get(target)).map(|(cut, _)| *cut)
    }

    fn digests_of(&self, target: &DenialTarget) -> Vec<KeyDigest> {
        match target {
            DenialTarget::Key(id) => self.by_key.get(id).cloned().unwrap_or_default(),
            DenialTarget::Secret(digest) => vec![*digest],
            DenialTarget::Account(id) => {
                let owned = self.entries.iter().filter(|(_, entry)| entry.grant.account == *id);
                owned.map(|(digest, _)| *digest).collect()
            }
        }
    }

    /// Takes out entries that were not used since the hand last passed and that no request holds, until one more
    /// fits. When every entry is held, the cache grows instead: by no more than there are requests.
    fn make_room(&mut self, cached_max: usize) {
        // Each is met twice, and once more where another's going puts it before the hand again.
        let mut steps = self.ring.len() * 3;
        while self.ring.len() >= cached_max && steps > 0 {
            steps -= 1;
            self.hand %= self.ring.len();
            let entry = self.entries.get(&self.ring[self.hand]);
            let is_spare =
                entry.is_none_or(|entry| !entry.in_use() && !entry.used.swap(false, Ordering::Relaxed));
            if is_spare {
                self.forget(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    fn forget(&mut self, place: usize) {
        let digest = self.ring.swap_remove(place);
        if let Some(entry) = self.entries.remove(&digest)
            && let Some(digests) = self.by_key.get_mut(&entry.grant.key)
        {
            digests.retain(|known| *known != digest);
            if digests.is_empty() {
                self.by_key.remove(&entry.grant.key);
            }
        }
    }
}

#[cfg(test)]
impl Cache {
    /// How many entries there are, after a look at whether all parts tell the same.
    pub(super) fn checked_len(&self) -> usize {
        let inner = self.read();
        let ring: std::collections::HashSet<_> = inner.ring.iter().collect();
        assert_eq!(ring.len(), inner.ring.len(), "a digest is in the ring twice");
        assert!(inner.entries.keys().all(|digest| ring.contains(digest)), "an entry the hand never meets");
        assert_eq!(inner.ring.len(), inner.entries.len(), "the hand meets what is gone");
        for (digest, entry) in &inner.entries {
            assert!(inner.by_key[&entry.grant.key].contains(digest), "a key does not know its digest");
        }
        assert_eq!(inner.by_key.values().map(Vec::len).sum::<usize>(), inner.entries.len());
        assert!(inner.denials.values().all(|(_, count)| *count > 0), "a denial nobody made");
        inner.entries.len()
    }
}
