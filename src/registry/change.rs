//! What commits mean for whoever keeps keys in memory. Never: who that is.

use crate::store::Write;
use crate::types::{Account, KeyRecord};

use super::record::{decode_account, decode_key};
use super::table::{ACCOUNTS, KEYS};

/// A committed change of something that admission hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A key is now so.
    Key(KeyRecord),
    /// An account is now so.
    Account(Account),
}

/// The changes in a commit's writes, in their order.
#[must_use]
pub fn changes(writes: &[Write]) -> Vec<Change> {
    writes.iter().filter_map(change).collect()
}

fn change(write: &Write) -> Option<Change> {
    match write {
        Write::Put { table, key, value } if *table == KEYS => decode_key(key, value).ok().map(Change::Key),
        Write::Put { table, key, value } if *table == ACCOUNTS => {
            decode_account(key, value).ok().map(Change::Account)
        }
        Write::Put { .. } | Write::Delete { .. } => None,
    }
}
