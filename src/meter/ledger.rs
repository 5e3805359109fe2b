//! What keys and accounts have used of their limits, as it is kept on disk. Never: what the limits are.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Commit, CommitError, Store, Table, Trouble, Write};
use crate::types::{AccountId, KeyId, Timestamp};

use super::record::{decode, encode};

/// Holder -> what it has used of its limits.
const LIMITS_USED: Table = Table("limits_used");

/// Whoever has limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A key.
    Key(KeyId),
    /// An account: all its keys together.
    Account(AccountId),
}

/// What was used of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Where the budget stands in the list of budgets; a number on disk never changes its meaning.
    pub budget: u8,
    /// When its period began.
    pub since: Timestamp,
    /// How much, in its own units. On disk a little more than was used, so that a crash forgets nothing.
    pub amount: u64,
}

/// What a holder has used of its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// How long, at `at`, it takes each rate until nothing of what was used counts any more; by the rates' numbers.
    pub debts: [Duration; 2],
    /// When that was.
    pub at: Timestamp,
    /// Of each budget that there is.
    pub budgets: Vec<Spent>,
}

#[derive(Serialize, Deserialize)]
struct UsedV1 {
    debts_ns: [u64; 2],
    at: i64,
    /// Budget, beginning of its period, amount.
    budgets: Vec<(u8, i64, u64)>,
}

/// Reads and writes what was used. All calls block.
pub struct Ledger {
    store: Arc<dyn Store>,
}

impl Ledger {
    /// The ledger in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// What a holder had used when it was last written down; none when it never was.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn read(&self, holder: Holder) -> Result<Option<Used>, Trouble> {
        let row = self.store.get(LIMITS_USED, &row_key(holder))?;
        row.as_deref().map(read_row).transpose()
    }

    /// Writes down what holders have used, all or nothing.
    ///
    /// # Errors
    /// [`CommitError`].
    pub fn write(&self, all: &[(Holder, Used)]) -> Result<(), CommitError> {
        let put = |(holder, used): &(Holder, Used)| Write::Put {
            table: LIMITS_USED,
            key: row_key(*holder),
            value: row(used),
        };
        self.store.commit(Commit { writes: all.iter().map(put).collect(), ..Commit::default() })
    }
}

fn row_key(holder: Holder) -> Vec<u8> {
    match holder {
        Holder::Key(key) => [&b"k"[..], key.as_bytes()].concat(),
        Holder::Account(account) => [&b"a"[..], account.as_bytes()].concat(),
    }
}

fn row(used: &Used) -> Vec<u8> {
    let nanos = |debt: Duration| u64::try_from(debt.as_nanos()).unwrap_or(u64::MAX);
    let spent = |spent: &Spent| (spent.budget, spent.since.as_millis(), spent.amount);
    encode(&UsedV1 {
        debts_ns: used.debts.map(nanos),
        at: used.at.as_millis(),
        budgets: used.budgets.iter().map(spent).collect(),
    })
}

fn read_row(bytes: &[u8]) -> Result<Used, Trouble> {
    let UsedV1 { debts_ns, at, budgets } = decode(LIMITS_USED, bytes)?;
    let spent = |(budget, since, amount)| Spent { budget, since: Timestamp::from_millis(since), amount };
    Ok(Used {
        debts: debts_ns.map(Duration::from_nanos),
        at: Timestamp::from_millis(at),
        budgets: budgets.into_iter().map(spent).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_was_written_is_read_and_keys_are_not_accounts() {
        let ledger = Ledger::new(Arc::new(MemoryStore::new()));
        let id = [0x11; 16];
        let key = Holder::Key(KeyId::from_bytes(&id).unwrap());
        let account = Holder::Account(AccountId::from_bytes(&id).unwrap());
        let spent = Spent { budget: 3, since: Timestamp::from_millis(150), amount: 300 };
        let used = Used {
            debts: [Duration::from_nanos(5), Duration::from_secs(60)],
            at: Timestamp::from_millis(2),
            budgets: vec![spent],
        };
        ledger.write(&[(key, used.clone())]).unwrap();
        assert_eq!(ledger.read(key), Ok(Some(used)));
        assert_eq!(ledger.read(account), Ok(None));
        ledger.write(&[(key, Used::default()), (account, Used::default())]).unwrap();
        assert_eq!(ledger.read(key), Ok(Some(Used::default())));
    }

    #[test]
    fn the_first_version_never_changes() {
        let spent = Spent { budget: 3, since: Timestamp::from_millis(150), amount: 300 };
        let used = Used {
            debts: [Duration::from_nanos(5), Duration::ZERO],
            at: Timestamp::from_millis(2),
            budgets: vec![spent],
        };
        let bytes = vec![1, 5, 0, 4, 1, 3, 0xac, 2, 0xac, 2];
        assert_eq!((row(&used), read_row(&bytes)), (bytes, Ok(used)));
        for damaged in [&[][..], &[1], &[2, 5, 0, 4, 0], &[1, 5, 0, 4, 0, 0]] {
            assert_eq!(read_row(damaged), Err(Trouble::Damaged { table: "limits_used" }), "{damaged:?}");
        }
    }
}
