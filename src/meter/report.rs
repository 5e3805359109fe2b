//! Adds records up by what was asked for, and says what they cost at today's prices. Never: names of people and keys.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::store::Trouble;
use crate::types::{AccountId, Cost, KeyId, Prices, Timestamp};

use super::Meter;
use super::figures::Figures;
use super::hour::Hours;
use super::line::{Line, Name, Owner};
use super::read::Whose;

/// The most lines of a report.
pub(super) const LINES_MAX: usize = 20_000;

/// The most records that are read for a report.
pub(super) const RECORDS_MAX: usize = 3_000_000;

/// What records are kept apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Keys.
    Key,
    /// Accounts.
    Account,
    /// Models, by their public names.
    Model,
    /// Model servers.
    Upstream,
}

/// The length of time that records are kept apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Days in UTC.
    Day,
    /// Hours.
    Hour,
}

/// What a report is to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// One account's records; everyone's, without it.
    pub account: Option<AccountId>,
    /// One key's records; the key is the account's.
    pub key: Option<KeyId>,
    /// From the hour that this lies in.
    pub from: Timestamp,
    /// Up to the hour that this lies in; an hour that begins just then is not in.
    pub until: Timestamp,
    /// A line for each of these.
    pub group: Option<Group>,
    /// A line for each of these.
    pub step: Option<Step>,
}

/// Records added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReportLine {
    /// When its day or hour began.
    pub start: Option<Timestamp>,
    /// Whose: with [`Group::Account`] and [`Group::Key`]. None there: nobody knows any more.
    pub account: Option<AccountId>,
    /// The key: with [`Group::Key`]. None there: nobody knows any more.
    pub key: Option<KeyId>,
    /// The model or the server: with [`Group::Model`] and [`Group::Upstream`]. None there: there was none.
    pub name: Name,
    /// The sums.
    pub figures: Figures,
    /// What the tokens cost; none when no model among them has a price.
    pub cost: Option<Cost>,
}

/// The answer: by time, then the most requests first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The lines.
    pub lines: Vec<ReportLine>,
    /// All of them together.
    pub total: ReportLine,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// The store's.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// More than may be held in memory, or read.
    #[error("this is about more than {0}; ask for a shorter time, one account or one key, or by model")]
    TooMuch(&'static str),
}

impl Meter {
    /// Adds up the records that are asked for, those that are not written down yet included.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn report(&self, ask: &Ask, prices: &Prices) -> Result<Report, ReportError> {
        let (mut sums, mut records) = (Sheet::default(), 0);
        self.read(ask.whose(), Hours::between(ask.from, ask.until), &mut |line, figures| {
            records += 1;
            if records > RECORDS_MAX {
                return Err(ReportError::TooMuch("3,000,000 records"));
            }
            let model = line.model.as_deref();
            let cost = model.and_then(|model| prices.cost(model, figures.tokens));
            sums.add(ask.place(line), figures, cost)
        })?;
        Ok(sums.into_report())
    }
}

impl Ask {
    fn whose(&self) -> Whose {
        match (self.account, self.key, self.group) {
            (Some(account), Some(key), _) => Whose::Key(Owner::of(account, key)),
            (Some(account), None, _) => Whose::Account(account),
            (None, _, Some(Group::Key | Group::Account)) => Whose::All,
            (None, _, Some(Group::Model | Group::Upstream) | None) => Whose::Whole,
        }
    }

    /// The line of the report that a record belongs to.
    fn place(&self, line: &Line) -> Place {
        let start = self.step.map(|step| match step {
            Step::Day => line.hour.day(),
            Step::Hour => line.hour.start(),
        });
        let (owner, name) = match self.group {
            None => (None, None),
            Some(Group::Key) => (Some(line.owner), None),
            Some(Group::Account) => (Some(line.owner.keyless_too()), None),
            Some(Group::Model) => (None, line.model.clone()),
            Some(Group::Upstream) => (None, line.upstream.clone()),
        };
        Place { start, owner, name }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    start: Option<Timestamp>,
    owner: Option<Owner>,
    name: Name,
}

#[derive(Default)]
struct Sheet {
    lines: BTreeMap<Place, (Figures, Option<Cost>)>,
}

impl Sheet {
    fn add(&mut self, place: Place, figures: &Figures, cost: Option<Cost>) -> Result<(), ReportError> {
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&place) {
            return Err(ReportError::TooMuch("20,000 lines"));
        }
        let line = self.lines.entry(place).or_default();
        *line = (line.0.plus(*figures), both(line.1, cost));
        Ok(())
    }

    fn into_report(self) -> Report {
        let mut total = ReportLine::default();
        let lines = self.lines.into_iter().map(|(place, (figures, cost))| {
            total.figures = total.figures.plus(figures);
            total.cost = both(total.cost, cost);
            ReportLine {
                start: place.start,
                account: place.owner.and_then(Owner::account),
                key: place.owner.and_then(Owner::key),
                name: place.name,
                figures,
                cost,
            }
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_by_key(|line| (line.start, Reverse(line.figures.requests)));
        Report { lines, total }
    }
}

fn both(one: Option<Cost>, other: Option<Cost>) -> Option<Cost> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.plus(other)),
        (one, other) => one.or(other),
    }
}
