//! Proves that what the records say is what the counters say. Never: repairs.

use std::ops::Bound;
use std::sync::PoisonError;

use crate::store::Trouble;
use crate::types::{AccountId, KeyId};

use super::Meter;
use super::figures::Figures;
use super::hour::Hours;
use super::line::{Line, Owner};
use super::read::{Whose, after, row_of};
use super::record::{self, ACCOUNTS, KEYS, Tally};

/// Keys whose records are added up together.
const KEYS_AT_ONCE: usize = 500;

/// Faults that are listed; more are only counted.
const LISTED_MAX: usize = 100;

/// What a proof has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// Accounts looked at.
    pub accounts: u64,
    /// Keys looked at.
    pub keys: u64,
    /// Records added up.
    pub records: u64,
    /// Requests that the whole server's counter has.
    pub requests: u64,
    /// What is wrong: the first 100.
    pub wrong: Vec<Wrong>,
    /// How many things are wrong.
    pub faults: u64,
}

/// A counter that is not the sum of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Whose; none for the whole server's.
    pub account: Option<AccountId>,
    /// Which key's; none for the account's own.
    pub key: Option<KeyId>,
    /// Requests and tokens, prompt and completion together, that the counter has.
    pub counted: (u64, u64),
    /// The same of what it is the sum of.
    pub found: (u64, u64),
}

impl Meter {
    /// Adds up everything that is in the store. A key's counter must be the sum of its records and of those that are
    /// past their time; an account's the sum of its keys'; the whole server's the sum of the accounts', and of its
    /// own records. Reads all records; while one account is looked at, nothing is written down. Blocks.
    ///
    /// # Errors
    /// [`Trouble`] of the store.
    pub fn verify(&self) -> Result<Proof, Trouble> {
        let mut proof = Proof::default();
        self.verify_whole(&mut proof)?;
        let mut last = Owner::WHOLE.account_bytes().to_vec();
        // Every record lies between two accounts, or behind the last.
        let mut from = next(Owner::WHOLE.as_bytes().to_vec());
        loop {
            // Which account comes next, and what is its own, must be one state: others begin to be used meanwhile.
            let _still = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
            let page = self.store.scan(ACCOUNTS, Bound::Excluded(&last), Bound::Unbounded, 1)?;
            let Some((account, _)) = page.into_iter().next() else {
                // Behind an account of all ones there is nothing.
                if from > last {
                    let hours = self.hours_stored()?.unwrap_or(Hours::NONE);
                    self.verify_keys(hours, (&from, &[0xff; 32]), &[], &mut proof)?;
                }
                return Ok(proof);
            };
            self.verify_account(&account, &from, &mut proof)?;
            from = next([account.as_slice(), &[0xff; 16]].concat());
            last = account;
        }
    }

    fn verify_whole(&self, proof: &mut Proof) -> Result<(), Trouble> {
        let _still = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = Owner::WHOLE.account_bytes();
        let tally = self.tally(ACCOUNTS, &whole)?;
        proof.requests = tally.total.requests;
        let mut records = Figures::default();
        if let Some(hours) = self.hours_stored()? {
            self.stored(Whose::Whole, hours, &mut |_: &Line, figures: &Figures| {
                records = records.plus(*figures);
                Ok::<_, Trouble>(())
            })?;
        }
        proof.compare(Owner::WHOLE, tally.total, records.plus(tally.removed));
        let (mut accounts, mut last) = (Figures::default(), Bound::Excluded(whole.to_vec()));
        loop {
            let page = self.store.scan(ACCOUNTS, last.as_ref().map(Vec::as_slice), Bound::Unbounded, 1000)?;
            for (_, row) in &page {
                accounts = accounts.plus(record::decode_tally(ACCOUNTS, row)?.total);
            }
            match page.into_iter().next_back() {
                Some((account, _)) => last = Bound::Excluded(account),
                None => break,
            }
        }
        proof.compare(Owner::WHOLE, tally.total, accounts);
        Ok(())
    }

    /// An account, and the records between the one before and it, which must be none. Nothing may be written down
    /// meanwhile.
    fn verify_account(&self, account: &[u8], begin: &[u8], proof: &mut Proof) -> Result<(), Trouble> {
        let hours = self.hours_stored()?.unwrap_or(Hours::NONE);
        let tally = self.tally(ACCOUNTS, account)?;
        let end = [account, &[0xff; 16]].concat();
        let (mut keys, mut removed) = (Figures::default(), Figures::default());
        let mut from = begin.to_vec();
        loop {
            let page = self.store.scan(KEYS, Bound::Included(&from), Bound::Included(&end), KEYS_AT_ONCE)?;
            // Up to the last key of the page, or to the end: so every record of the account is in one of the pages.
            let last = if page.len() < KEYS_AT_ONCE { None } else { page.last() };
            let to = last.map_or(&end, |(key, _)| key).clone();
            let mut tallies = Vec::with_capacity(page.len());
            for (key, row) in &page {
                let tally = record::decode_tally(KEYS, row)?;
                keys = keys.plus(tally.total);
                removed = removed.plus(tally.removed);
                tallies.push((key.as_slice(), tally));
            }
            self.verify_keys(hours, (&from, &to), &tallies, proof)?;
            if last.is_none() {
                break;
            }
            from = next(to);
        }
        proof.accounts += 1;
        let owner = Owner::from_bytes(&[account, &[0; 16]].concat()).unwrap_or(Owner::NOBODY);
        proof.compare(owner, tally.total, keys);
        proof.compare(owner, tally.removed, removed);
        Ok(())
    }

    /// The keys from one to another, and all records of keys between.
    fn verify_keys(
        &self,
        hours: Hours,
        (from, to): (&[u8], &[u8]),
        tallies: &[(&[u8], Tally)],
        proof: &mut Proof,
    ) -> Result<(), Trouble> {
        let mut found = vec![Figures::default(); tallies.len()];
        let (Ok(first), Ok(last)) = (from.try_into(), to.try_into()) else { return Ok(()) };
        for hour in hours.each() {
            self.rows_between(
                &row_of(hour, first),
                &after(row_of(hour, last)),
                &mut |line: &Line, figures| {
                    proof.records += 1;
                    match tallies.binary_search_by_key(&line.owner.as_bytes().as_slice(), |(key, _)| key) {
                        Ok(place) => found[place] = found[place].plus(*figures),
                        // A record of a key that has no counter.
                        Err(_) => proof.compare(line.owner, Figures::default(), *figures),
                    }
                    Ok::<_, Trouble>(())
                },
            )?;
        }
        for ((key, tally), found) in tallies.iter().zip(found) {
            proof.keys += 1;
            let owner = Owner::from_bytes(key).unwrap_or(Owner::NOBODY);
            proof.compare(owner, tally.total, found.plus(tally.removed));
        }
        Ok(())
    }
}

impl Proof {
    fn compare(&mut self, owner: Owner, counted: Figures, found: Figures) {
        if counted == found {
            return;
        }
        self.faults += 1;
        if self.wrong.len() < LISTED_MAX {
            let sums = |of: Figures| (of.requests, of.tokens.prompt.saturating_add(of.tokens.completion));
            let (account, key) = (owner.account(), owner.key());
            self.wrong.push(Wrong { account, key, counted: sums(counted), found: sums(found) });
        }
    }
}

/// The key right after this one.
fn next(mut key: Vec<u8>) -> Vec<u8> {
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    key
}
