//! The traces of all keys: what came in since the last writing in memory, the rest in the store. Never: what a trace
//! tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Commit, CommitError, Store, Trouble, Write};
use crate::types::{KeyId, Timestamp};

use super::trace::KeyTrace;
use super::trace_record::{KEY_TRACES, decode_trace, encode_trace};

/// Keys with something that is not written down yet. Only while the disk fails for long are there so many; then the
/// traces of further keys are not kept.
const KEYS_MAX: usize = 50_000;
/// Keys of one commit.
const COMMIT_KEYS_MAX: usize = 500;
/// How often a trace is read anew because it was written down meanwhile.
const READS_MAX: usize = 64;

/// Remembers who used each key. What it takes is in memory, and seen by every reader, until [`Traces::flush`] has
/// written it down.
pub struct Traces {
    store: Arc<dyn Store>,
    state: Mutex<State>,
    /// Held during a whole flush, so that there is one at a time.
    flushing: Mutex<()>,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<KeyId, KeyTrace>,
    /// Taken out of `pending`, to be put together with what is stored.
    taken: BTreeMap<KeyId, KeyTrace>,
    /// Whole traces on their way into the store. Writing them twice is the same as once.
    whole: BTreeMap<KeyId, KeyTrace>,
    /// How often `whole` was filled: while it stands, so does what is stored, or `whole` has it.
    rounds: u64,
}

impl Traces {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, state: Mutex::default(), flushing: Mutex::default() }
    }

    /// A request with a good key that came `at` that time; `agent` is its user-agent, `is_old` says that the secret was
    /// rotated.
    pub fn see(&self, key: KeyId, address: IpAddr, agent: &[u8], at: Timestamp, is_old: bool) {
        self.note(key, |trace| trace.see(address, agent, at, is_old));
    }

    /// A request of a browser that was refused when it came.
    pub fn refuse_browser(&self, key: KeyId, origin: &[u8], at: Timestamp) {
        self.note(key, |trace| trace.refuse_browser(origin, at));
    }

    /// What is known of a key's use.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn of(&self, key: KeyId) -> Result<KeyTrace, Trouble> {
        for _ in 0..READS_MAX {
            let (whole, newer, rounds) = self.state().of(key);
            if let Some(whole) = whole {
                return Ok(whole.with(&newer));
            }
            let stored = self.stored(key)?;
            if self.state().rounds == rounds {
                return Ok(stored.with(&newer));
            }
        }
        Err(Trouble::Unavailable(
            "a key's trace was written down over and over while it was read".to_string(),
        ))
    }

    /// Whether something is not written down yet.
    #[must_use]
    pub fn owes(&self) -> bool {
        let state = self.state();
        !(state.pending.is_empty() && state.taken.is_empty() && state.whole.is_empty())
    }

    /// Writes down what came in so far, in as many commits as it takes. What the disk does not take stays in memory for
    /// the next time. Blocks.
    ///
    /// # Errors
    /// [`CommitError`], when something was not written down or that is not known.
    pub fn flush(&self) -> Result<(), CommitError> {
        let _alone = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.state().pending.len() + 2 * COMMIT_KEYS_MAX;
        while self.owes() && left > 0 {
            left = left.saturating_sub(COMMIT_KEYS_MAX);
            if self.state().whole.is_empty() {
                self.put_together()?;
            }
            let writes = self.state().whole.iter().map(write).collect();
            self.store.commit(Commit { writes, ..Commit::default() })?;
            self.state().whole.clear();
        }
        Ok(())
    }

    fn put_together(&self) -> Result<(), Trouble> {
        let taken = self.state().take();
        let mut whole = BTreeMap::new();
        for (key, newer) in &taken {
            whole.insert(*key, self.stored(*key)?.with(newer));
        }
        let mut state = self.state();
        state.taken.clear();
        state.whole = whole;
        state.rounds += 1;
        Ok(())
    }

    fn stored(&self, key: KeyId) -> Result<KeyTrace, Trouble> {
        let row = self.store.get(KEY_TRACES, key.as_bytes())?;
        match row.as_deref().map(decode_trace) {
            Some(Err(Trouble::Damaged { .. })) => {
                tracing::error!(%key, "who used a key is damaged on disk; it begins anew");
                Ok(KeyTrace::default())
            }
            Some(read) => read,
            None => Ok(KeyTrace::default()),
        }
    }

    fn note(&self, key: KeyId, tell: impl FnOnce(&mut KeyTrace)) {
        let mut state = self.state();
        if let Some(trace) = state.pending.get_mut(&key) {
            tell(trace);
        } else if state.pending.len() < KEYS_MAX {
            tell(state.pending.entry(key).or_default());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What `whole` has of a key, what came in that is neither there nor in the store, and the round.
    fn of(&self, key: KeyId) -> (Option<KeyTrace>, KeyTrace, u64) {
        let parts = [&self.taken, &self.pending];
        let newer = parts.iter().filter_map(|part| part.get(&key)).fold(KeyTrace::default(), KeyTrace::with);
        (self.whole.get(&key).cloned(), newer, self.rounds)
    }

    /// What is to be put together next: what was left over, else a part of what is pending.
    fn take(&mut self) -> BTreeMap<KeyId, KeyTrace> {
        while self.taken.len() < COMMIT_KEYS_MAX
            && let Some((key, newer)) = self.pending.pop_first()
        {
            let left = self.taken.remove(&key).unwrap_or_default();
            self.taken.insert(key, left.with(&newer));
        }
        self.taken.clone()
    }
}

fn write((key, trace): (&KeyId, &KeyTrace)) -> Write {
    Write::Put { table: KEY_TRACES, key: key.as_bytes().to_vec(), value: encode_trace(trace) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::MemoryStore;

    const NOW: Timestamp = Timestamp::from_millis(5);

    fn key(number: u32) -> KeyId {
        let mut bytes = [1; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        KeyId::from_bytes(&bytes).unwrap()
    }

    fn traces(store: &Arc<MemoryStore>) -> Traces {
        let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(store);
        Traces::new(store)
    }

    fn requests(traces: &Traces, key: KeyId) -> u64 {
        traces.of(key).unwrap().users.iter().map(|seen| seen.requests).sum()
    }

    #[test]
    fn a_use_is_seen_at_once_and_after_every_flush_and_counts_once() {
        let store = Arc::new(MemoryStore::default());
        let counting = traces(&store);
        for round in 1..=5 {
            counting.see(key(1), "192.0.2.1".parse().unwrap(), b"node", NOW, false);
            assert_eq!(requests(&counting, key(1)), round);
            counting.flush().unwrap();
            assert!(!counting.owes());
            assert_eq!((requests(&counting, key(1)), requests(&traces(&store), key(1))), (round, round));
        }
    }

    #[test]
    fn law_12_more_keys_than_fit_are_not_remembered_and_all_others_are_written() {
        let store = Arc::new(MemoryStore::default());
        let counting = traces(&store);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let all = u32::try_from(KEYS_MAX).unwrap();
        (0..all + 1).for_each(|number| counting.see(key(number), address, b"node", NOW, false));
        assert_eq!((requests(&counting, key(all - 1)), requests(&counting, key(all))), (1, 0));
        counting.flush().unwrap();
        assert!(!counting.owes());
        let read = traces(&store);
        assert!((0..all).all(|number| requests(&read, key(number)) == 1));
    }

    #[test]
    fn a_reader_notices_that_something_was_written_down_meanwhile() {
        let store = Arc::new(MemoryStore::default());
        let counting = traces(&store);
        counting.see(key(1), "192.0.2.1".parse().unwrap(), b"node", NOW, false);
        let (whole, newer, rounds) = counting.state().of(key(1));
        assert_eq!((whole, newer.users.len()), (None, 1));
        counting.flush().unwrap();
        assert_ne!(
            counting.state().rounds,
            rounds,
            "what was in memory is in the store now, and counts once"
        );
    }

    #[test]
    fn readers_see_every_use_once_while_it_is_written_down() {
        let store = Arc::new(MemoryStore::default());
        let counting = traces(&store);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let (counting, done) = (&counting, AtomicBool::new(false));
        std::thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    counting.flush().unwrap();
                }
            });
            for round in 1..=3000 {
                counting.see(key(1), address, b"node", NOW, false);
                assert_eq!(requests(counting, key(1)), round);
            }
            done.store(true, Ordering::Relaxed);
            flusher.join().unwrap();
        });
    }
}
