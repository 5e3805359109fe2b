//! How many requests of one person are worked on at once, so that nobody takes all the places. Never: who may ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::admin::AdminError;
use crate::registry::RegistryError;
use crate::types::AccountId;

/// Requests of one person at once.
const REQUESTS_MAX: usize = 8;
const WAIT: Duration = Duration::from_secs(1);

/// Counts the requests under way of each person.
#[derive(Default)]
pub(in crate::http) struct Crowd(Mutex<HashMap<AccountId, usize>>);

/// One request; counted until it is dropped.
pub(in crate::http) struct Underway {
    crowd: Arc<Crowd>,
    account: AccountId,
}

impl Crowd {
    /// Counts one more.
    ///
    /// # Errors
    /// [`AdminError`] of too many.
    pub(in crate::http) fn enter(self: &Arc<Self>, account: AccountId) -> Result<Underway, AdminError> {
        let mut counts = self.counts();
        let count = counts.entry(account).or_default();
        if *count >= REQUESTS_MAX {
            let sentence = "this account asks for too much at once; try again in a second".to_string();
            return Err(RegistryError::TooMany { sentence, wait: WAIT }.into());
        }
        *count += 1;
        drop(counts);
        Ok(Underway { crowd: Arc::clone(self), account })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        let left = counts.get(&self.account).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => counts.remove(&self.account),
            left => counts.insert(self.account, left),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_takes_so_many_places_and_others_keep_theirs() {
        let crowd = Arc::new(Crowd::default());
        let [one, other] = [[1; 16], [2; 16]].map(|bytes| AccountId::from_bytes(&bytes).unwrap());
        let places: Vec<_> = (0..REQUESTS_MAX).map(|_| crowd.enter(one).ok().unwrap()).collect();
        assert!(crowd.enter(one).is_err() && crowd.enter(other).is_ok());
        drop(places);
        assert!(crowd.enter(one).is_ok());
        assert!(crowd.counts().is_empty(), "nobody is remembered");
    }
}
