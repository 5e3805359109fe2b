//! What keys and accounts have used of their limits, as it is kept on disk. Never: what the limits are.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::{Commit, CommitError, Store, Table, Trouble, Write};
use crate::types::{AccountId, KeyId, Timestamp};

use super::record::{decode, decode_as, encode_as};

/// Holder -> what it has used of its limits.
const LIMITS_USED: Table = Table("limits_used");

const VERSION_2: u8 = 2;

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

/// What was used of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateUsed {
    /// How long it takes until nobody has to wait for it any more.
    pub debt: Duration,
    /// How long it would take if nobody were spared more than the longest wait; at least `debt`.
    pub owed: Duration,
    /// The limit that both are counted by; none where that was never written down.
    pub max: Option<NonZeroU64>,
}

/// What a holder has used of its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Used {
    /// What was used of each rate at `at`, by the rates' numbers.
    pub rates: [RateUsed; 2],
    /// When that was.
    pub at: Timestamp,
    /// Of each budget that there is.
    pub budgets: Vec<Spent>,
}

/// Of each rate its debt alone.
#[derive(Deserialize)]
struct UsedV1 {
    debts_ns: [u64; 2],
    at: i64,
    /// Budget, beginning of its period, amount.
    budgets: Vec<(u8, i64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct UsedV2 {
    /// Nanoseconds of the debt, seconds and nanoseconds of what is owed, limit or 0.
    rates: [(u64, u64, u32, u64); 2],
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
    let rate = |RateUsed { debt, owed, max }: RateUsed| {
        (nanos(debt), owed.as_secs(), owed.subsec_nanos(), max.map_or(0, NonZeroU64::get))
    };
    let spent = |spent: &Spent| (spent.budget, spent.since.as_millis(), spent.amount);
    let row = UsedV2 {
        rates: used.rates.map(rate),
        at: used.at.as_millis(),
        budgets: used.budgets.iter().map(spent).collect(),
    };
    encode_as(VERSION_2, &row)
}

fn read_row(bytes: &[u8]) -> Result<Used, Trouble> {
    let (rates, at, budgets) = match bytes.first() {
        Some(&VERSION_2) => {
            let UsedV2 { rates, at, budgets } = decode_as(VERSION_2, LIMITS_USED, bytes)?;
            (rates.map(read_rate), at, budgets)
        }
        Some(_) | None => {
            let UsedV1 { debts_ns, at, budgets } = decode(LIMITS_USED, bytes)?;
            let rate = |debt| RateUsed { debt, owed: debt, max: None };
            (debts_ns.map(Duration::from_nanos).map(rate), at, budgets)
        }
    };
    let spent = |(budget, since, amount)| Spent { budget, since: Timestamp::from_millis(since), amount };
    let budgets = budgets.into_iter().map(spent).collect();
    Ok(Used { rates, at: Timestamp::from_millis(at), budgets })
}

fn read_rate((debt, seconds, nanos, max): (u64, u64, u32, u64)) -> RateUsed {
    let owed = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
    RateUsed { debt: Duration::from_nanos(debt), owed, max: NonZeroU64::new(max) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn used() -> Used {
        let (debt, owed) = (Duration::from_nanos(5), Duration::new(150, 7));
        let spent = Spent { budget: 3, since: Timestamp::from_millis(150), amount: 300 };
        Used {
            rates: [RateUsed { debt, owed, max: NonZeroU64::new(300) }, RateUsed::default()],
            at: Timestamp::from_millis(2),
            budgets: vec![spent],
        }
    }

    #[test]
    fn what_was_written_is_read_and_keys_are_not_accounts() {
        let ledger = Ledger::new(Arc::new(MemoryStore::new()));
        let id = [0x11; 16];
        let key = Holder::Key(KeyId::from_bytes(&id).unwrap());
        let account = Holder::Account(AccountId::from_bytes(&id).unwrap());
        ledger.write(&[(key, used())]).unwrap();
        assert_eq!(ledger.read(key), Ok(Some(used())));
        assert_eq!(ledger.read(account), Ok(None));
        ledger.write(&[(key, Used::default()), (account, Used::default())]).unwrap();
        assert_eq!(ledger.read(key), Ok(Some(Used::default())));
    }

    #[test]
    fn the_second_version_never_changes() {
        let bytes = vec![2, 5, 0x96, 1, 7, 0xac, 2, 0, 0, 0, 0, 4, 1, 3, 0xac, 2, 0xac, 2];
        assert_eq!((row(&used()), read_row(&bytes)), (bytes, Ok(used())));
        for damaged in [&[][..], &[2], &[3, 5, 0, 4, 0], &[2, 5, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]] {
            assert_eq!(read_row(damaged), Err(Trouble::Damaged { table: "limits_used" }), "{damaged:?}");
        }
        let far = [&[2, 0][..], &[0xff; 9], &[1], &[0xff; 4], &[15, 0, 0, 0, 0, 0, 4, 0]].concat();
        assert_eq!(read_row(&far).unwrap().rates[0].owed, Duration::new(u64::MAX, 999_999_999));
    }

    #[test]
    fn the_first_version_stays_readable() {
        let debt = Duration::from_nanos(5);
        let first = RateUsed { debt, owed: debt, max: None };
        let old = Used { rates: [first, RateUsed::default()], ..used() };
        assert_eq!(read_row(&[1, 5, 0, 4, 1, 3, 0xac, 2, 0xac, 2]), Ok(old));
        for damaged in [&[1][..], &[1, 5, 0, 4, 0, 0]] {
            assert_eq!(read_row(damaged), Err(Trouble::Damaged { table: "limits_used" }), "{damaged:?}");
        }
    }
}
