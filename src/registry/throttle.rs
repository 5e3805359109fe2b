//! How often passwords may be tried: for each address, each account, and each account from an address it knows, so that
//! a stranger's tries do not lock the owner out. In memory, bounded. Never: whether a password is right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::types::{AccountId, Place, Timestamp};

use super::RegistryError;

/// Tries that come at once before waiting begins, and how long it takes until one more is allowed.
struct Pace {
    burst: i64,
    interval_ms: i64,
}

const PER_ADDRESS: Pace = Pace { burst: 20, interval_ms: 6_000 };
const PER_ACCOUNT: Pace = Pace { burst: 10, interval_ms: 30_000 };
const PER_KNOWN: Pace = Pace { burst: 10, interval_ms: 30_000 };
/// What a person makes or changes: each leaves an event for good.
const PER_WRITER: Pace = Pace { burst: 100, interval_ms: 1_000 };

/// Subjects kept in memory; the least busy ones are forgotten first.
const SUBJECTS_MAX: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Address(IpAddr),
    /// By what was typed, whether or not there is such an account.
    Account(String),
    Known(String, IpAddr),
    /// Whoever is signed in and proves that he knows his own password.
    Own(AccountId),
    /// Whoever is signed in and changes things.
    Writer(AccountId),
}

impl Subject {
    const fn pace(&self) -> &'static Pace {
        match self {
            Self::Address(_) => &PER_ADDRESS,
            Self::Account(_) => &PER_ACCOUNT,
            Self::Known(..) | Self::Own(_) => &PER_KNOWN,
            Self::Writer(_) => &PER_WRITER,
        }
    }
}

/// Counts tries that have not been shown to be right.
#[derive(Default)]
pub(super) struct Throttle {
    /// Until when each is busy, in milliseconds since 1970 (a leaky bucket as a meter: ITU-T I.371, GCRA).
    busy_until: Mutex<HashMap<Subject, i64>>,
}

/// A try that is under way, counted already; forgiven when it succeeds.
pub(super) struct Try<'a> {
    throttle: &'a Throttle,
    subjects: Vec<Subject>,
}

impl Throttle {
    /// Counts a try at an account's password. `known`: the account has signed in from this place before.
    ///
    /// # Errors
    /// [`RegistryError::TooMany`], with the wait.
    pub(super) fn begin(
        &self,
        account: &str,
        place: &Place,
        known: bool,
        now: Timestamp,
    ) -> Result<Try<'_>, RegistryError> {
        let (account, address) = (account.to_string(), place.neighbourhood());
        let owner = if known { Subject::Known(account, address) } else { Subject::Account(account) };
        self.count(vec![Subject::Address(address), owner], now)
    }

    /// Counts a try of whoever is signed in at his own password: strangers' tries do not stand in his way.
    ///
    /// # Errors
    /// [`RegistryError::TooMany`], with the wait.
    pub(super) fn begin_own(&self, account: AccountId, now: Timestamp) -> Result<Try<'_>, RegistryError> {
        self.count(vec![Subject::Own(account)], now)
    }

    /// Counts a change that a person makes.
    ///
    /// # Errors
    /// [`RegistryError::TooMany`], with the wait.
    pub(super) fn write(&self, account: AccountId, now: Timestamp) -> Result<(), RegistryError> {
        self.count(vec![Subject::Writer(account)], now).map(drop)
    }

    fn count(&self, subjects: Vec<Subject>, now: Timestamp) -> Result<Try<'_>, RegistryError> {
        let mut table = self.table();
        let waits = subjects.iter().filter_map(|subject| wait(&table, subject, now));
        if let Some(wait) = waits.max() {
            let sentence = format!("too many tries; wait {} before the next one", in_words(wait));
            return Err(RegistryError::TooMany { sentence, wait });
        }
        for subject in &subjects {
            let busy = busy_from(&table, subject, now) + subject.pace().interval_ms;
            table.insert(subject.clone(), busy);
        }
        shrink(&mut table, now);
        drop(table);
        Ok(Try { throttle: self, subjects })
    }

    /// The memory that the texts take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let text = |subject: &Subject| match subject {
            Subject::Address(_) | Subject::Own(_) | Subject::Writer(_) => 0,
            Subject::Account(text) | Subject::Known(text, _) => text.len(),
        };
        self.table().keys().map(text).sum()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Subject, i64>> {
        self.busy_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Try<'_> {
    /// It was right, or could not be looked at: it does not count.
    pub(super) fn forgive(self) {
        let mut table = self.throttle.table();
        for subject in &self.subjects {
            if let Some(busy) = table.get_mut(subject) {
                *busy -= subject.pace().interval_ms;
            }
        }
    }
}

/// From when on a subject is free, `now` at the earliest. What lies further off than any wait comes from a clock that was
/// set back since, and counts for nothing.
fn busy_from(table: &HashMap<Subject, i64>, subject: &Subject, now: Timestamp) -> i64 {
    let pace = subject.pace();
    let now = now.as_millis();
    let end = now + pace.burst * pace.interval_ms;
    table.get(subject).copied().filter(|busy| (now..=end).contains(busy)).unwrap_or(now)
}

fn wait(table: &HashMap<Subject, i64>, subject: &Subject, now: Timestamp) -> Option<Duration> {
    let pace = subject.pace();
    let over = busy_from(table, subject, now) - now.as_millis() - (pace.burst - 1) * pace.interval_ms;
    u64::try_from(over).ok().filter(|over| *over > 0).map(Duration::from_millis)
}

fn shrink(table: &mut HashMap<Subject, i64>, now: Timestamp) {
    if table.len() <= SUBJECTS_MAX {
        return;
    }
    table.retain(|_, busy| *busy > now.as_millis());
    if table.len() > SUBJECTS_MAX {
        let mut ends: Vec<_> = table.values().copied().collect();
        let (_, middle, _) = ends.select_nth_unstable(SUBJECTS_MAX / 2);
        let middle = *middle;
        table.retain(|_, busy| *busy > middle);
    }
}

fn in_words(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if seconds == 1 { "a second".to_string() } else { format!("{seconds} seconds") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(address: &str) -> Place {
        Place::new(address.parse().unwrap(), "test")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn fails(throttle: &Throttle, account: &str, from: &str, known: bool, now: Timestamp) -> bool {
        throttle.begin(account, &place(from), known, now).is_err()
    }

    #[test]
    fn strangers_tries_do_not_lock_the_owner_out() {
        let throttle = Throttle::default();
        for number in 0..10 {
            assert!(!fails(&throttle, "ana", &format!("203.0.113.{number}"), false, at(0)));
        }
        assert!(fails(&throttle, "ana", "203.0.113.99", false, at(0)), "strangers wait now");
        assert!(!fails(&throttle, "ana", "192.0.2.1", true, at(0)), "the owner does not");
        assert!(!fails(&throttle, "ana", "203.0.113.99", false, at(30)), "nor does anyone for ever");
    }

    #[test]
    fn an_address_can_not_go_through_the_accounts_nor_a_network_through_its_addresses() {
        let throttle = Throttle::default();
        for number in 0..20 {
            let from = format!("2001:db8::{number}");
            assert!(!fails(&throttle, &format!("user{number}"), &from, false, at(0)));
        }
        assert!(fails(&throttle, "user99", "2001:db8::99", false, at(0)));
        assert!(!fails(&throttle, "user99", "2001:db8:0:1::", false, at(0)), "another network");
    }

    #[test]
    fn a_right_try_does_not_count() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            throttle.begin("ana", &place("192.0.2.1"), false, at(0)).unwrap().forgive();
        }
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lock_anyone_out() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            assert!(!fails(&throttle, "ana", "192.0.2.1", false, at(31_536_000)));
        }
        assert!(!fails(&throttle, "ana", "192.0.2.1", false, at(30)), "a year earlier");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_whom_it_must_watch() {
        let throttle = Throttle::default();
        for _ in 0..10 {
            assert!(!fails(&throttle, "ana", "192.0.2.1", false, at(0)));
        }
        for number in 0..30_000_u32 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
            let _ = throttle.begin(&format!("user{number}"), &place(&address), false, at(0));
        }
        assert!(throttle.table().len() <= SUBJECTS_MAX + 2);
        assert!(fails(&throttle, "ana", "192.0.2.7", false, at(0)));
    }
}
