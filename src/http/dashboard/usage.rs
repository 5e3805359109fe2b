//! What was used, as bars and as a table. Never: adding up, where bars stand.

use crate::admin::{Command, KeyView, Reply, UsageAsk, UsageReport, UsageRow, lately, wire};
use crate::meter::{Group, Step};
use crate::types::{Cost, Ending, Timestamp};

use super::Dashboard;
use super::chart::{SERIES_MAX, ceiling, stacked};
use super::frame::{choices, grouped};
use super::page::{Bar, Chart, Spark, UsageLine, UsagePage};
use super::visit::{PageAnswer, Refused, Visit};

const RANGES: [(&str, &str); 4] =
    [("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days")];
const GROUPS: [(&str, &str); 4] =
    [("key", "Key"), ("model", "Model"), ("account", "Account"), ("upstream", "Model server")];
const SHOWS: [(&str, &str); 2] = [("tokens", "Tokens"), ("requests", "Requests")];
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const SPARK_DAYS: i64 = 7;

/// What the form above the chart says.
struct Wish {
    range: &'static str,
    group: (&'static str, &'static str),
    shows_tokens: bool,
    is_everyone: bool,
}

impl Dashboard {
    pub(super) fn usage(&self, visit: &Visit) -> Result<PageAnswer, Refused> {
        let is_admin = visit.person()?.is_admin();
        let wish = Wish::of(visit, is_admin);
        let report = self.usage_report(visit, &wish, true)?;
        let whole = self.usage_report(visit, &wish, false)?;
        let groups = if is_admin { &GROUPS[..] } else { &GROUPS[..2] };
        let show = if wish.shows_tokens { "tokens" } else { "requests" };
        let owners = [("", "Everyone"), ("me", "Me")];
        let names = series(&whole, wish.shows_tokens);
        let has_use = whole.total.figures.requests > 0;
        let range = RANGES.iter().find(|(word, _)| *word == wish.range).map_or("", |(_, text)| *text);
        PageAnswer::page(&UsagePage {
            frame: self.frame(visit, "Usage", "usage"),
            ranges: choices(&RANGES, wish.range),
            groups: choices(groups, wish.group.0),
            shows: choices(&SHOWS, show),
            owners: if is_admin {
                choices(&owners, if wish.is_everyone { "" } else { "me" })
            } else {
                Vec::new()
            },
            group: wish.group.1.to_string(),
            unit: if wish.shows_tokens { "Tokens" } else { "Requests" }.to_string(),
            step: if wish.range == "24h" { "hour" } else { "day" }.to_string(),
            span: format!("The last {range}, in UTC"),
            total: line(&whole.total, &whole, 0),
            lines: whole.rows.iter().map(|row| line(row, &whole, place(&names, row))).collect(),
            has_cost: whole.total.cost.is_some(),
            chart: has_use.then(|| wish.chart(&report, &names, self.now())),
            csv: wish.link("/dashboard/usage/csv"),
        })
    }

    /// The same numbers, each bar's, for a spreadsheet.
    pub(super) fn usage_csv(&self, visit: &Visit) -> Result<PageAnswer, Refused> {
        let wish = Wish::of(visit, visit.person()?.is_admin());
        let report = self.usage_report(visit, &wish, true)?;
        Ok(PageAnswer::csv(wire::usage_csv(&report)?, "ember-usage.csv"))
    }

    /// The small picture of a key that was used lately.
    pub(super) fn spark(&self, visit: &Visit, key: &KeyView) -> Result<Option<Spark>, Refused> {
        let first = day_of(self.now().as_millis()) - (SPARK_DAYS - 1) * DAY_MS;
        if key.last_used_at.is_none_or(|used| used.as_millis() < first) {
            return Ok(None);
        }
        let ask = UsageAsk {
            key: Some(key.id.to_string()),
            since: Some(Timestamp::from_millis(first)),
            step: Some(Step::Day),
            ..UsageAsk::default()
        };
        let Reply::UsageReport(report) = self.ask(visit, &Command::UsageReport(ask))? else {
            return Err(Refused::Broken);
        };
        let of = |day: i64| {
            let start = Timestamp::from_millis(first + day * DAY_MS);
            report.rows.iter().find(|row| row.start == Some(start)).map_or(0, |row| row.figures.requests)
        };
        let days: Vec<u64> = (0..SPARK_DAYS).map(of).collect();
        let numbers = days.iter().map(|day| grouped(*day)).collect::<Vec<_>>().join(", ");
        let top = days.iter().copied().max().unwrap_or(0);
        let bars: Vec<_> = days.into_iter().map(|day| vec![day]).collect();
        let pieces = stacked(&bars, top).into_iter().flatten().collect();
        Ok(Some(Spark { text: format!("Requests of the last 7 days: {numbers}"), pieces }))
    }

    fn usage_report(&self, visit: &Visit, wish: &Wish, by_time: bool) -> Result<UsageReport, Refused> {
        let own = visit.person()?.account.id.to_string();
        let (group, step) = wire::by(wish.group.0)?;
        let ask = UsageAsk {
            account: (!wish.is_everyone).then_some(own),
            key: None,
            since: Some(wish.since(self.now())),
            until: None,
            group,
            step: if by_time { Some(wish.step()) } else { step },
        };
        let Reply::UsageReport(mut report) = self.ask(visit, &Command::UsageReport(ask))? else {
            return Err(Refused::Broken);
        };
        if !wish.is_everyone {
            // Whose keys they are goes without saying.
            report.rows.iter_mut().for_each(|row| row.owner = None);
        }
        Ok(*report)
    }
}

impl Wish {
    fn of(visit: &Visit, is_admin: bool) -> Self {
        let text = |name| visit.query.text(name);
        let known = |list: &[(&'static str, &'static str)], word: &str| {
            list.iter().copied().find(|(known, _)| *known == word)
        };
        let groups = if is_admin { &GROUPS[..] } else { &GROUPS[..2] };
        Self {
            range: known(&RANGES, text("range")).map_or("7d", |(word, _)| word),
            group: known(groups, text("by")).unwrap_or(if is_admin { GROUPS[1] } else { GROUPS[0] }),
            shows_tokens: text("show") != "requests",
            is_everyone: is_admin && text("account") != "me",
        }
    }

    fn step(&self) -> Step {
        if self.range == "24h" { Step::Hour } else { Step::Day }
    }

    fn days(&self) -> i64 {
        match self.range {
            "30d" => 30,
            "90d" => 90,
            _ => 7,
        }
    }

    /// The beginning of the first bar.
    fn since(&self, now: Timestamp) -> Timestamp {
        match self.step() {
            Step::Hour => lately(now, std::time::Duration::from_secs(24 * 60 * 60)),
            Step::Day => Timestamp::from_millis(day_of(now.as_millis()) - (self.days() - 1) * DAY_MS),
        }
    }

    /// The beginnings of all bars.
    fn starts(&self, now: Timestamp) -> Vec<Timestamp> {
        let (count, length) = match self.step() {
            Step::Hour => (24, DAY_MS / 24),
            Step::Day => (self.days(), DAY_MS),
        };
        let first = self.since(now).as_millis();
        (0..count).map(|number| Timestamp::from_millis(first + number * length)).collect()
    }

    fn label(&self, start: Timestamp) -> String {
        let text = start.to_string();
        match self.step() {
            Step::Hour => text[11..16].to_string(),
            Step::Day => text[..10].to_string(),
        }
    }

    fn chart(&self, report: &UsageReport, names: &[Option<String>], now: Timestamp) -> Chart {
        let starts = self.starts(now);
        let mut bars = vec![vec![0_u64; names.len()]; starts.len()];
        for row in &report.rows {
            let bar = row.start.and_then(|start| starts.iter().position(|known| *known == start));
            let series = place(names, row);
            if let Some(value) = bar.and_then(|bar| bars[bar].get_mut(series - 1)) {
                *value = value.saturating_add(measure(row, self.shows_tokens));
            }
        }
        let sums: Vec<u64> =
            bars.iter().map(|bar| bar.iter().fold(0_u64, |sum, one| sum.saturating_add(*one))).collect();
        let top = ceiling(sums.iter().copied().max().unwrap_or(0).max(2));
        let (unit, most) = (if self.shows_tokens { "tokens" } else { "requests" }, sums.iter().max());
        let busiest = sums.iter().position(|sum| Some(sum) == most).unwrap_or(0);
        let label = |place: usize| starts.get(place).map(|start| self.label(*start)).unwrap_or_default();
        let text = format!(
            "{} bars of {unit}, from {} to {}. The highest is {} with {}.",
            starts.len(),
            label(0),
            label(starts.len() - 1),
            label(busiest),
            grouped(most.copied().unwrap_or(0)),
        );
        let pieces = stacked(&bars, top);
        let bar = |((start, values), (sum, pieces)): ((&Timestamp, &Vec<u64>), (u64, Vec<_>))| Bar {
            label: self.label(*start),
            sum: grouped(sum),
            values: values.iter().map(|value| grouped(*value)).collect(),
            pieces,
        };
        Chart {
            text,
            top: short(top),
            middle: short(top / 2),
            times: vec![label(0), label(starts.len() / 2), label(starts.len() - 1)],
            bars: starts.iter().zip(&bars).zip(sums.into_iter().zip(pieces)).map(bar).collect(),
            series: (1..)
                .zip(names.iter().map(|name| name.clone().unwrap_or_else(|| "Other".to_string())))
                .collect(),
        }
    }

    fn link(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("range", self.range).append_pair("by", self.group.0);
        if !self.is_everyone {
            query.append_pair("account", "me");
        }
        format!("{path}?{}", query.finish())
    }
}

/// The groups that have a colour of their own, the largest first; the last is all others, where there are more.
fn series(report: &UsageReport, by_tokens: bool) -> Vec<Option<String>> {
    let mut rows: Vec<_> = report.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(measure(row, by_tokens)));
    let all = rows.len();
    let own = if all > SERIES_MAX { SERIES_MAX - 1 } else { all };
    let mut names: Vec<_> = rows.into_iter().take(own).map(|row| Some(identity(row))).collect();
    names.extend((all > own).then_some(None));
    names
}

/// The number of a row's series, from 1 on.
fn place(names: &[Option<String>], row: &UsageRow) -> usize {
    let wanted = Some(identity(row));
    names.iter().position(|name| *name == wanted).unwrap_or(names.len().saturating_sub(1)) + 1
}

/// What a row is called; two keys of one name are told apart by their owners.
fn identity(row: &UsageRow) -> String {
    let name = row.name.clone().or_else(|| row.id.clone()).unwrap_or_else(|| "(unknown)".to_string());
    match &row.owner {
        Some(owner) => format!("{name} · {owner}"),
        None => name,
    }
}

fn measure(row: &UsageRow, by_tokens: bool) -> u64 {
    let tokens = row.figures.tokens;
    if by_tokens { tokens.prompt.saturating_add(tokens.completion) } else { row.figures.requests }
}

fn line(row: &UsageRow, report: &UsageReport, series: usize) -> UsageLine {
    let (figures, tokens) = (&row.figures, row.figures.tokens);
    let first = figures.first_token_ms.checked_div(figures.first_tokens);
    let currency = report.currency.as_deref().unwrap_or_default();
    let cost = |cost: Cost| format!("{} {currency}", cost.short()).trim_end().to_string();
    let link = match (report.group, &row.id) {
        (Some(Group::Key), Some(id)) => format!("/dashboard/keys/{id}"),
        (Some(Group::Account), Some(id)) => format!("/dashboard/accounts/{id}"),
        _ => String::new(),
    };
    let ended = Ending::ALL.into_iter().filter(|ending| *ending != Ending::Done);
    let ended = ended.filter(|ending| figures.ended(*ending) > 0);
    let ended: Vec<_> = ended
        .map(|ending| format!("{} {}", grouped(figures.ended(ending)), ending.as_str().replace('_', " ")))
        .collect();
    UsageLine {
        series,
        name: row.name.clone().or_else(|| row.id.clone()).unwrap_or_else(|| "(unknown)".to_string()),
        owner: row.owner.clone().unwrap_or_default(),
        link,
        requests: grouped(figures.requests),
        prompt: grouped(tokens.prompt),
        cached: grouped(tokens.cached),
        completion: grouped(tokens.completion),
        errors: grouped(figures.errors),
        first_token: first.map(|mean| format!("{} ms", grouped(mean))).unwrap_or_default(),
        cost: row.cost.map(cost).unwrap_or_default(),
        endings: ended.join(", "),
    }
}

const fn day_of(millis: i64) -> i64 {
    millis - millis.rem_euclid(DAY_MS)
}

/// A number in as few characters as it takes.
fn short(number: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let Some((unit, word)) = UNITS.into_iter().find(|(unit, _)| number >= *unit) else {
        return number.to_string();
    };
    let tenths = u128::from(number) * 10 / u128::from(unit);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{word}"),
        (whole, tenth) => format!("{whole}.{tenth}{word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Figures;

    fn row(name: &str, requests: u64) -> UsageRow {
        let figures = Figures { requests, ..Figures::default() };
        UsageRow { name: Some(name.to_string()), figures, ..UsageRow::default() }
    }

    #[test]
    fn eight_series_have_colours_and_the_last_is_all_others() {
        for count in [1, 8, 9, 20_u64] {
            let rows = (0..count).map(|number| row(&format!("key-{number}"), number + 1)).collect();
            let report = UsageReport { rows, ..UsageReport::default() };
            let names = series(&report, false);
            assert_eq!(names.len() as u64, count.min(8));
            assert_eq!(names.last().unwrap().is_none(), count > 8);
            assert_eq!(place(&names, &report.rows[count as usize - 1]), 1, "the largest is the first");
            assert_eq!(place(&names, &report.rows[0]), names.len());
        }
    }

    #[test]
    fn large_numbers_are_short() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1k"), (2_500, "2.5k"), (50_000_000, "50M")] {
            assert_eq!(short(number), text);
        }
    }
}
