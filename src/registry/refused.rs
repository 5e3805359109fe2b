//! Refused sign-ins and refused administrators' tokens, counted for each address and minute until they are written
//! down as one event. In memory, bounded. Never: what was typed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::Commit;
use crate::types::{Actor, Origin, Place, Timestamp};

use super::audit::Action;
use super::denial::Attempt;
use super::{Registry, RegistryError};

/// Addresses told apart in one minute; all others are counted together.
const ADDRESSES_MAX: usize = 50;
/// Accounts told apart at one address in one minute.
const ACCOUNTS_MAX: usize = 100;
/// Minutes that wait to be written down; while the disk is out of order longer, later ones count as the last of them.
const MINUTES_MAX: usize = 10;
const MINUTE_MS: i64 = 60_000;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    SignIn,
    Token,
}

/// Refusals of one kind at one address in one minute.
#[derive(Default)]
struct Tally {
    count: u64,
    /// Keyed hashes of what was typed as the account: only how many they are is of interest.
    accounts: HashSet<u64>,
}

/// No address stands for all that are not told apart.
type Minute = HashMap<(What, Option<IpAddr>), Tally>;

/// What was refused and is not written down yet.
#[derive(Default)]
pub(super) struct Refused {
    minutes: Mutex<BTreeMap<i64, Minute>>,
    hasher: RandomState,
}

impl Refused {
    fn count(&self, what: What, place: &Place, account: Option<&str>, now: Timestamp) {
        let mut minutes = self.minutes();
        let mut number = now.as_millis().div_euclid(MINUTE_MS);
        if minutes.len() >= MINUTES_MAX && !minutes.contains_key(&number) {
            number = minutes.last_key_value().map_or(number, |(last, _)| *last);
        }
        let minute = minutes.entry(number).or_default();
        let of = (what, Some(place.neighbourhood()));
        let is_told_apart = minute.contains_key(&of) || minute.len() < ADDRESSES_MAX;
        let tally = minute.entry(if is_told_apart { of } else { (what, None) }).or_default();
        tally.count += 1;
        if let Some(account) = account.filter(|_| tally.accounts.len() < ACCOUNTS_MAX) {
            tally.accounts.insert(self.hasher.hash_one(account));
        }
    }

    /// Takes out the first minute that is over, or any when `all` says so.
    fn take(&self, now: Timestamp, all: bool) -> Option<(i64, Minute)> {
        let mut minutes = self.minutes();
        let (number, _) = minutes.first_key_value()?;
        let is_over = *number < now.as_millis().div_euclid(MINUTE_MS);
        if is_over || all { minutes.pop_first() } else { None }
    }

    /// What could not be written down waits on.
    fn put_back(&self, number: i64, minute: Minute) {
        let mut minutes = self.minutes();
        let waiting = minutes.entry(number).or_default();
        for (of, tally) in minute {
            let into = waiting.entry(of).or_default();
            into.count += tally.count;
            into.accounts.extend(tally.accounts);
        }
    }

    fn minutes(&self) -> MutexGuard<'_, BTreeMap<i64, Minute>> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Counts a sign-in that was refused.
    pub(super) fn note_refused_sign_in(&self, account: &str, place: &Place) {
        let account: String = account.to_lowercase().chars().take(crate::types::Email::BYTES_MAX).collect();
        self.refused.count(What::SignIn, place, Some(&account), self.clock.now());
    }

    /// Counts an administrator's token, or what was given as one, that was refused.
    pub fn note_refused_token(&self, address: IpAddr) {
        self.refused.count(What::Token, &Place::new(address, ""), None, self.clock.now());
    }

    /// Writes down what was refused in the minutes that are over, one event for each address; with `all`, in this one,
    /// too. What the disk does not take is kept for the next time.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn write_down_refused(&self, all: bool) -> Result<(), RegistryError> {
        while let Some((number, minute)) = self.refused.take(self.clock.now(), all) {
            let written = self.until_agreed(|| {
                let mut writes = Vec::new();
                for ((what, address), tally) in &minute {
                    writes.extend(self.refusal(number, *what, *address, tally)?);
                }
                Ok(Attempt::Commit(Commit { writes, ..Commit::default() }, ()))
            });
            if let Err(error) = written {
                self.refused.put_back(number, minute);
                return Err(error);
            }
        }
        Ok(())
    }

    fn refusal(
        &self,
        minute: i64,
        what: What,
        address: Option<IpAddr>,
        tally: &Tally,
    ) -> Result<Vec<crate::store::Write>, RegistryError> {
        let at = Timestamp::from_millis(minute * MINUTE_MS);
        let whence = if address.is_none() { " from further addresses" } else { "" };
        let (action, detail) = match what {
            What::SignIn => {
                let more = if tally.accounts.len() >= ACCOUNTS_MAX { " or more" } else { "" };
                let (tries, accounts) = (plural(tally.count, "try", "tries"), tally.accounts.len() as u64);
                let accounts = format!("{}{more}", plural(accounts, "account", "accounts"));
                (Action::SignInRefused, format!("{tries} at {accounts}{whence} in the minute from {at}"))
            }
            What::Token => {
                let tries = plural(tally.count, "try", "tries");
                (Action::TokenRefused, format!("{tries}{whence} in the minute from {at}"))
            }
        };
        let target = match address {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
            Some(IpAddr::V6(address)) => address,
            None => Ipv6Addr::UNSPECIFIED,
        };
        let origin = address.map_or(Origin::Unknown, Origin::Address);
        self.asked_from(origin).event(Actor::Ember, action, &target.octets(), detail)
    }
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
