//! Where accounts have signed in from: tries from there are counted apart from strangers'. Never: how tries are counted.

use std::cmp::Reverse;
use std::ops::Bound;

use crate::store::{Row, Write};
use crate::types::{AccountId, Place, Timestamp};

use super::table::{KNOWN_PLACES, end_of, place_row};
use super::{PAGE_MAX, Registry, RegistryError};

/// Places kept of one account; a new one takes the place of the one that was used longest ago.
const PLACES_MAX: usize = 20;

impl Registry {
    /// Whether an account has signed in from this place before.
    pub(super) fn is_known_at(&self, account: AccountId, place: &Place) -> Result<bool, RegistryError> {
        let row = place_row(account, place.neighbourhood());
        Ok(self.store.get(KNOWN_PLACES, &row)?.is_some())
    }

    /// The writes that keep a place and those that make room for it.
    pub(super) fn known_now(
        &self,
        account: AccountId,
        place: &Place,
        now: Timestamp,
    ) -> Result<Vec<Write>, RegistryError> {
        let own = place_row(account, place.neighbourhood());
        let mut others = self.places(account)?;
        others.retain(|(row, _)| *row != own);
        // The value is the time of the last sign-in, the earlier the smaller.
        others.sort_by(|(_, one), (_, other)| Reverse(one).cmp(&Reverse(other)));
        let mut writes: Vec<_> = others.into_iter().skip(PLACES_MAX - 1).map(removal).collect();
        let value = now.as_millis().to_be_bytes().to_vec();
        writes.push(Write::Put { table: KNOWN_PLACES, key: own, value });
        Ok(writes)
    }

    /// The writes that make every place a stranger's again.
    pub(super) fn known_nowhere(&self, account: AccountId) -> Result<Vec<Write>, RegistryError> {
        Ok(self.places(account)?.into_iter().map(removal).collect())
    }

    fn places(&self, account: AccountId) -> Result<Vec<Row>, RegistryError> {
        let prefix = account.as_bytes();
        let end = end_of(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        Ok(self.store.scan(KNOWN_PLACES, Bound::Included(prefix), to, PAGE_MAX)?)
    }
}

fn removal((row, _): Row) -> Write {
    Write::Delete { table: KNOWN_PLACES, key: row }
}
