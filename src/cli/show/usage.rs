//! Reports of use and proofs of them as tables and lines. Never: adding up.

use crate::admin::{UsageProof, UsageReport, UsageRow};
use crate::cli::moment::Times;
use crate::cli::table::{sheet, table};
use crate::meter::{Group, Step};

/// Rows under a heading, and what they add up to.
pub(super) fn report_table(report: &UsageReport) -> Vec<String> {
    let mut heading = Vec::new();
    heading.extend(report.step.map(|step| match step {
        Step::Day => "DAY",
        Step::Hour => "HOUR",
    }));
    heading.extend(report.group.map(|group| match group {
        Group::Key => "KEY",
        Group::Account => "ACCOUNT",
        Group::Model => "MODEL",
        Group::Upstream => "UPSTREAM",
    }));
    let labels = heading.len();
    heading.extend(["REQUESTS", "PROMPT", "CACHED", "COMPLETION", "ERRORS", "FIRST TOKEN"]);
    let has_cost = report.total.cost.is_some();
    heading.extend(has_cost.then_some("COST"));
    let mut rows: Vec<_> = report.rows.iter().map(|row| line(report, row, labels)).collect();
    let mut total = line(report, &report.total, 0);
    let mut first = vec![String::new(); labels];
    if let Some(first) = first.first_mut() {
        *first = "total".to_string();
    }
    total.splice(0..0, first);
    rows.push(total);
    table(&heading, &rows)
}

fn line(report: &UsageReport, row: &UsageRow, labels: usize) -> Vec<String> {
    let mut cells = Vec::new();
    if labels > 0 {
        cells.extend(row.start.map(|start| match report.step {
            Some(Step::Day) => start.to_string().chars().take("2027-01-31".len()).collect(),
            Some(Step::Hour) | None => {
                start.to_string().chars().take("2027-01-31T12:00".len()).collect::<String>().replace('T', " ")
            }
        }));
        cells.extend(report.group.map(|group| named(row, group)));
    }
    let (figures, tokens) = (&row.figures, row.figures.tokens);
    let first = figures.first_token_ms.checked_div(figures.first_tokens);
    cells.extend(
        [figures.requests, tokens.prompt, tokens.cached, tokens.completion, figures.errors]
            .map(|n| n.to_string()),
    );
    cells.push(first.map_or_else(|| "-".to_string(), |mean| format!("{mean} ms")));
    if report.total.cost.is_some() {
        let currency = report.currency.as_ref().map_or_else(String::new, |word| format!(" {word}"));
        cells.push(row.cost.map_or_else(|| "-".to_string(), |cost| format!("{}{currency}", cost.short())));
    }
    cells
}

fn named(row: &UsageRow, group: Group) -> String {
    let name = row.name.clone().or_else(|| row.id.clone());
    let name = name.unwrap_or_else(|| match group {
        Group::Upstream => "(none)".to_string(),
        Group::Key | Group::Account | Group::Model => "(unknown)".to_string(),
    });
    match &row.owner {
        Some(owner) => format!("{name} ({owner})"),
        None => name,
    }
}

/// For programs: always the same cells, the sum is theirs to make.
pub(super) fn report_rows(report: &UsageReport, times: Times) -> Vec<Vec<String>> {
    let row = |row: &UsageRow| {
        let (figures, tokens) = (&row.figures, row.figures.tokens);
        let mut cells = vec![
            row.start.map(|start| times.absolute(start)).unwrap_or_default(),
            row.id.clone().unwrap_or_default(),
            row.name.clone().unwrap_or_default(),
        ];
        let numbers = [
            figures.requests,
            tokens.prompt,
            tokens.cached,
            tokens.completion,
            figures.estimated,
            figures.errors,
        ];
        cells.extend(numbers.map(|number| number.to_string()));
        cells.push(row.cost.map(|cost| cost.to_string()).unwrap_or_default());
        cells
    };
    // A table has its line of sums even when there is nothing else.
    let rows = report.rows.iter().map(row);
    match times {
        Times::Exact => rows.collect(),
        Times::ReadAt(_) => rows.chain([Vec::new()]).collect(),
    }
}

pub(super) fn proof_sheet(proof: &UsageProof) -> Vec<String> {
    let proven = if proof.faults == 0 { "yes" } else { "no" };
    let mut lines = sheet(&[
        ("Proven", proven.to_string()),
        ("Requests", proof.requests.to_string()),
        ("Accounts", proof.accounts.to_string()),
        ("Keys", proof.keys.to_string()),
        ("Records", proof.records.to_string()),
    ]);
    if proof.faults > 0 {
        lines.push(String::new());
        lines.extend(table(
            &["COUNTER", "REQUESTS", "OF RECORDS", "TOKENS", "OF RECORDS", "ID"],
            &wrong(proof),
        ));
    }
    lines
}

pub(super) fn proof_rows(proof: &UsageProof) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let mut rows = vec![
        row("proven", (proof.faults == 0).to_string()),
        row("requests", proof.requests.to_string()),
        row("accounts", proof.accounts.to_string()),
        row("keys", proof.keys.to_string()),
        row("records", proof.records.to_string()),
        row("faults", proof.faults.to_string()),
    ];
    rows.extend(wrong(proof).into_iter().map(|cells| [vec!["wrong".to_string()], cells].concat()));
    rows
}

fn wrong(proof: &UsageProof) -> Vec<Vec<String>> {
    let row = |one: &crate::admin::WrongCounter| {
        let numbers = [one.counted.0, one.found.0, one.counted.1, one.found.1];
        let mut cells = vec![one.of.clone()];
        cells.extend(numbers.map(|number| number.to_string()));
        cells.push(one.id.clone().unwrap_or_default());
        cells
    };
    proof.wrong.iter().map(row).collect()
}
