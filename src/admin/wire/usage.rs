//! Reports of use, and whether they can be proven, as JSON and as CSV. Never: adding up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, UsageProof, UsageReport, UsageRow, WrongCounter};
use crate::meter::{Figures, Group, Step};
use crate::types::Ending;

use super::status::TokensJson;
use super::{time, time_or_none, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct UsageReportJson {
    object: String,
    since: String,
    until: String,
    by: Vec<String>,
    currency: Option<String>,
    data: Vec<UsageRowJson>,
    total: UsageRowJson,
}

#[derive(Serialize, Deserialize)]
struct UsageRowJson {
    start: Option<String>,
    id: Option<String>,
    name: Option<String>,
    owner: Option<String>,
    requests: u64,
    tokens: TokensJson,
    estimated: u64,
    errors: u64,
    client_errors: u64,
    server_errors: u64,
    endings: BTreeMap<String, u64>,
    first_tokens: u64,
    first_token_ms: u64,
    duration_ms: u64,
    cost: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UsageProofJson {
    object: String,
    proven: bool,
    accounts: u64,
    keys: u64,
    records: u64,
    requests: u64,
    faults: u64,
    wrong: Vec<WrongJson>,
}

#[derive(Serialize, Deserialize)]
struct WrongJson {
    of: String,
    id: Option<String>,
    counted: CountJson,
    found: CountJson,
}

#[derive(Serialize, Deserialize)]
struct CountJson {
    requests: u64,
    tokens: u64,
}

const GROUPS: [(Group, &str); 4] = [
    (Group::Key, "key"),
    (Group::Account, "account"),
    (Group::Model, "model"),
    (Group::Upstream, "upstream"),
];
const STEPS: [(Step, &str); 2] = [(Step::Day, "day"), (Step::Hour, "hour")];

/// What a list of words keeps the lines of a report apart by: one of day and hour, one of the others.
///
/// # Errors
/// [`AdminError`] lists the words.
pub fn by(text: &str) -> Result<(Option<Group>, Option<Step>), AdminError> {
    let (mut group, mut step) = (None, None);
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let named = GROUPS.iter().find(|(_, known)| *known == word).map(|(one, _)| *one);
        let length = STEPS.iter().find(|(_, known)| *known == word).map(|(one, _)| *one);
        let twice = (named.is_some() && group.is_some()) || (length.is_some() && step.is_some());
        if twice || (named.is_none() && length.is_none()) {
            return Err(AdminError::invalid(
                "'by' is one of key, account, model, upstream, and one of day, hour, parted by a comma",
            ));
        }
        (group, step) = (named.or(group), length.or(step));
    }
    Ok((group, step))
}

/// The words that [`by`] reads.
#[must_use]
pub fn by_words(group: Option<Group>, step: Option<Step>) -> Vec<&'static str> {
    let step = STEPS.iter().filter(|(one, _)| Some(*one) == step).map(|(_, word)| *word);
    step.chain(GROUPS.iter().filter(|(one, _)| Some(*one) == group).map(|(_, word)| *word)).collect()
}

impl UsageReportJson {
    pub(super) fn of(report: &UsageReport) -> Self {
        let words = by_words(report.group, report.step);
        Self {
            object: "usage_report".to_string(),
            since: report.since.to_string(),
            until: report.until.to_string(),
            by: words.into_iter().map(str::to_string).collect(),
            currency: report.currency.clone(),
            data: report.rows.iter().map(UsageRowJson::of).collect(),
            total: UsageRowJson::of(&report.total),
        }
    }

    pub(super) fn read(self) -> Result<UsageReport, AdminError> {
        let (group, step) = by(&self.by.join(","))?;
        Ok(UsageReport {
            since: time(&self.since)?,
            until: time(&self.until)?,
            group,
            step,
            currency: self.currency,
            rows: self.data.into_iter().map(UsageRowJson::read).collect::<Result<_, _>>()?,
            total: self.total.read()?,
        })
    }
}

impl UsageRowJson {
    fn of(row: &UsageRow) -> Self {
        let figures = &row.figures;
        let ending = |ending: Ending| (ending.to_string(), figures.ended(ending));
        Self {
            start: row.start.map(|start| start.to_string()),
            id: row.id.clone(),
            name: row.name.clone(),
            owner: row.owner.clone(),
            requests: figures.requests,
            tokens: TokensJson::of(figures.tokens),
            estimated: figures.estimated,
            errors: figures.errors,
            client_errors: figures.client_errors,
            server_errors: figures.server_errors,
            endings: Ending::ALL.map(ending).into(),
            first_tokens: figures.first_tokens,
            first_token_ms: figures.first_token_ms,
            duration_ms: figures.duration_ms,
            cost: row.cost.map(|cost| cost.to_string()),
        }
    }

    fn read(self) -> Result<UsageRow, AdminError> {
        let ended = |ending: Ending| self.endings.get(ending.as_str()).copied().unwrap_or(0);
        let figures = Figures {
            requests: self.requests,
            endings: Ending::ALL.map(ended),
            tokens: self.tokens.read(),
            estimated: self.estimated,
            errors: self.errors,
            client_errors: self.client_errors,
            server_errors: self.server_errors,
            first_tokens: self.first_tokens,
            first_token_ms: self.first_token_ms,
            duration_ms: self.duration_ms,
        };
        Ok(UsageRow {
            start: time_or_none(self.start.as_deref())?,
            id: self.id,
            name: self.name,
            owner: self.owner,
            figures,
            cost: self.cost.map(|cost| cost.parse()).transpose().map_err(unreadable)?,
        })
    }
}

impl UsageProofJson {
    pub(super) fn of(proof: &UsageProof) -> Self {
        let count = |(requests, tokens)| CountJson { requests, tokens };
        let wrong = |one: &WrongCounter| WrongJson {
            of: one.of.clone(),
            id: one.id.clone(),
            counted: count(one.counted),
            found: count(one.found),
        };
        Self {
            object: "usage_proof".to_string(),
            proven: proof.faults == 0,
            accounts: proof.accounts,
            keys: proof.keys,
            records: proof.records,
            requests: proof.requests,
            faults: proof.faults,
            wrong: proof.wrong.iter().map(wrong).collect(),
        }
    }

    pub(super) fn read(self) -> UsageProof {
        let count = |count: CountJson| (count.requests, count.tokens);
        let wrong = |one: WrongJson| WrongCounter {
            of: one.of,
            id: one.id,
            counted: count(one.counted),
            found: count(one.found),
        };
        UsageProof {
            accounts: self.accounts,
            keys: self.keys,
            records: self.records,
            requests: self.requests,
            faults: self.faults,
            wrong: self.wrong.into_iter().map(wrong).collect(),
        }
    }
}

const COLUMNS: [&str; 15] = [
    "start",
    "id",
    "name",
    "owner",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "estimated",
    "errors",
    "client_errors",
    "server_errors",
    "first_token_ms_mean",
    "duration_ms",
    "cost",
];

/// A report as CSV (RFC 4180): a heading, a line for each row, then a column for each ending.
///
/// # Errors
/// [`AdminError`]; plain data has no reason to fail.
pub fn csv(report: &UsageReport) -> Result<String, AdminError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let heading = COLUMNS.into_iter().map(str::to_string).chain(Ending::ALL.map(|ending| ending.to_string()));
    let lines = std::iter::once(heading.collect()).chain(report.rows.iter().map(csv_row));
    let unwritable =
        |error: String| AdminError::unavailable(format!("the CSV could not be written: {error}"));
    for line in lines {
        let line: Vec<String> = line;
        writer.write_record(&line).map_err(|error| unwritable(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| unwritable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unwritable(error.to_string()))
}

fn csv_row(row: &UsageRow) -> Vec<String> {
    let (figures, tokens) = (&row.figures, row.figures.tokens);
    let mean = figures.first_token_ms.checked_div(figures.first_tokens);
    let mut cells = vec![
        row.start.map(|start| start.to_string()).unwrap_or_default(),
        row.id.clone().unwrap_or_default(),
        row.name.as_deref().map(harmless).unwrap_or_default(),
        row.owner.as_deref().map(harmless).unwrap_or_default(),
    ];
    let numbers = [
        figures.requests,
        tokens.prompt,
        tokens.completion,
        tokens.cached,
        figures.estimated,
        figures.errors,
        figures.client_errors,
        figures.server_errors,
    ];
    cells.extend(numbers.map(|number| number.to_string()));
    cells.push(mean.map(|mean| mean.to_string()).unwrap_or_default());
    cells.push(figures.duration_ms.to_string());
    cells.push(row.cost.map(|cost| cost.to_string()).unwrap_or_default());
    cells.extend(Ending::ALL.map(|ending| figures.ended(ending).to_string()));
    cells
}

/// A text that a spreadsheet takes for a text and for no formula.
fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_said_again() {
        for (text, words) in [("", vec![]), ("key", vec!["key"]), ("model, day", vec!["day", "model"])] {
            let (group, step) = by(text).unwrap();
            assert_eq!(by_words(group, step), words);
        }
        for text in ["week", "key,model", "day,hour", "key,key"] {
            assert!(by(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_no_formula_and_breaks_no_line() {
        let row = UsageRow { name: Some("=1+1,\"x\"\n".to_string()), ..UsageRow::default() };
        let report = UsageReport { rows: vec![row], ..UsageReport::default() };
        let text = csv(&report).unwrap();
        assert!(text.starts_with("start,id,name,owner,requests,"), "{text}");
        assert!(text.contains("\r\n,,\"'=1+1,\"\"x\"\"\n\",,0,0,"), "{text}");
        let mut read = ::csv::Reader::from_reader(text.as_bytes());
        let cells: Vec<_> = read.records().map(|record| record.unwrap().len()).collect();
        assert_eq!(cells, [COLUMNS.len() + Ending::ALL.len()]);
    }
}
