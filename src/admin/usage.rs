//! What is asked about use. Never: counting.

use std::collections::HashMap;
use std::time::Duration;

use crate::meter::{Ask, Group, ReportError, ReportLine, Wrong};
use crate::registry::RegistryError;
use crate::types::{AccountId, Actor, KeyId, Timestamp};

use super::{
    AdminError, Desk, Reply, UsageAsk, UsageProof, UsageReport, UsageRow, UsageSums, UsageView, WrongCounter,
};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// The time that a report is about when nothing is said.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where the hours begin that began later than `since` ago: with the present one, 24 hours are 24.
#[must_use]
pub fn lately(now: Timestamp, since: Duration) -> Timestamp {
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    match now.as_millis().saturating_sub(since) {
        before @ 0.. => Timestamp::from_millis((before / HOUR_MS + 1) * HOUR_MS),
        _ => Timestamp::from_millis(0),
    }
}

impl Desk<'_> {
    /// What was used. Members ask for their own.
    pub(super) fn usage(&self, actor: Actor, account: Option<&str>) -> Result<Reply, AdminError> {
        let account = self.whose(actor, account)?;
        let sums = |hours: u64| {
            let since = Duration::from_secs(hours * 60 * 60);
            let sums = self.meter.sums(account, since).map_err(RegistryError::from)?;
            Ok::<_, AdminError>(UsageSums { requests: sums.requests, tokens: sums.tokens })
        };
        Ok(Reply::Usage(UsageView { day: sums(24)?, week: sums(7 * 24)? }))
    }

    /// What was used, line by line. Members ask for their own, and not by model server.
    pub(super) fn usage_report(&self, actor: Actor, ask: &UsageAsk) -> Result<Reply, AdminError> {
        if ask.group == Some(Group::Upstream) {
            self.registry.administrators_only(actor)?;
        }
        let mut account = self.whose(actor, ask.account.as_deref())?;
        let key = ask.key.as_deref().map(|key| self.registry.key(actor, key)).transpose()?;
        if let Some(key) = &key {
            if account.is_some_and(|account| account != key.account) {
                return Err(AdminError::invalid("this key is of another account; leave the account out"));
            }
            account = Some(key.account);
        }
        let now = self.clock.now();
        let from = ask.since.unwrap_or_else(|| lately(now, WEEK));
        // The millisecond that it is now is a part of the time up to now.
        let until = ask.until.unwrap_or_else(|| now.after(Duration::from_millis(1)));
        if until <= from {
            return Err(AdminError::invalid("the time ends before it begins; 'since' comes before 'until'"));
        }
        let key = key.map(|key| key.id);
        let asked = Ask { account, key, from, until, group: ask.group, step: ask.step };
        let report = self.meter.report(&asked, self.prices).map_err(|error| match error {
            ReportError::Trouble(trouble) => RegistryError::from(trouble).into(),
            ReportError::TooMuch(_) => AdminError::invalid(error.to_string()),
        })?;
        let mut names = Names::default();
        let rows = report.lines.into_iter().map(|line| self.row(line, ask.group, &mut names));
        Ok(Reply::UsageReport(Box::new(UsageReport {
            since: from,
            until,
            group: ask.group,
            step: ask.step,
            currency: self.prices.currency.clone(),
            rows: rows.collect::<Result<_, _>>()?,
            total: self.row(report.total, None, &mut names)?,
        })))
    }

    /// Whether records and counters agree.
    pub(super) fn usage_verify(&self, actor: Actor) -> Result<Reply, AdminError> {
        self.registry.administrators_only(actor)?;
        let proof = self.meter.verify().map_err(RegistryError::from)?;
        let mut names = Names::default();
        let wrong = proof.wrong.into_iter().map(|wrong| self.wrong_counter(wrong, &mut names));
        Ok(Reply::UsageProof(UsageProof {
            accounts: proof.accounts,
            keys: proof.keys,
            records: proof.records,
            requests: proof.requests,
            faults: proof.faults,
            wrong: wrong.collect::<Result<_, _>>()?,
        }))
    }

    /// The account that is meant. Members mean their own.
    fn whose(&self, actor: Actor, account: Option<&str>) -> Result<Option<AccountId>, AdminError> {
        Ok(match (account, actor) {
            (Some(text), _) => Some(self.registry.account(actor, text)?.id),
            (None, Actor::Person { account, admin: false }) => Some(account),
            (None, _) => None,
        })
    }

    fn row(&self, line: ReportLine, group: Option<Group>, names: &mut Names) -> Result<UsageRow, AdminError> {
        let ReportLine { start, account, key, name, figures, cost } = line;
        let blank = UsageRow { start, figures, cost, ..UsageRow::default() };
        let owner = |names: &mut Names| account.map(|account| names.account(self, account)).transpose();
        Ok(match group {
            None => blank,
            Some(Group::Key) => UsageRow {
                id: key.map(|key| key.to_string()),
                name: key.map(|key| names.key(self, key)).transpose()?,
                owner: owner(names)?,
                ..blank
            },
            Some(Group::Account) => {
                UsageRow { id: account.map(|account| account.to_string()), name: owner(names)?, ..blank }
            }
            Some(Group::Model | Group::Upstream) => {
                UsageRow { name: name.map(|name| name.to_string()), ..blank }
            }
        })
    }

    fn wrong_counter(&self, wrong: Wrong, names: &mut Names) -> Result<WrongCounter, AdminError> {
        let Wrong { account, key, counted, found } = wrong;
        let account_name = account.map(|account| names.account(self, account)).transpose()?;
        let account_name = account_name.unwrap_or_else(|| "the whole server".to_string());
        let id = key.map(|key| key.to_string()).or_else(|| account.map(|account| account.to_string()));
        let of = match key {
            Some(key) => format!("key {} of {account_name}", names.key(self, key)?),
            None => account_name,
        };
        Ok(WrongCounter { of, id, counted, found })
    }
}

/// Names that were looked up already.
#[derive(Default)]
struct Names {
    keys: HashMap<KeyId, String>,
    accounts: HashMap<AccountId, String>,
}

impl Names {
    /// A key's name, or its id.
    fn key(&mut self, desk: &Desk<'_>, key: KeyId) -> Result<String, AdminError> {
        if let Some(name) = self.keys.get(&key) {
            return Ok(name.clone());
        }
        let name = desk.registry.key_name(key)?.map_or_else(|| key.to_string(), |name| name.to_string());
        self.keys.insert(key, name.clone());
        Ok(name)
    }

    /// An account's address, or its id.
    fn account(&mut self, desk: &Desk<'_>, account: AccountId) -> Result<String, AdminError> {
        if let Some(name) = self.accounts.get(&account) {
            return Ok(name.clone());
        }
        let name = desk.owner(account)?.map_or_else(|| account.to_string(), |email| email.to_string());
        self.accounts.insert(account, name.clone());
        Ok(name)
    }
}
