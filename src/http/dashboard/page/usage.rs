//! The page about what was used, and the small picture of a key's last days.

use askama::Template;

use super::super::chart::Piece;
use super::{Choice, Frame};

/// `/dashboard/usage`: a GET form with `range`, `by`, `show` (and `account` for administrators).
#[derive(Template)]
#[template(path = "usage.html")]
pub(in crate::http) struct UsagePage {
    pub(in crate::http) frame: Frame,
    /// 24h, 7d, 30d, 90d.
    pub(in crate::http) ranges: Vec<Choice>,
    /// key, model, account, upstream.
    pub(in crate::http) groups: Vec<Choice>,
    /// tokens, requests.
    pub(in crate::http) shows: Vec<Choice>,
    /// For administrators: `` is everyone, `me` oneself; empty for members.
    pub(in crate::http) owners: Vec<Choice>,
    /// What the first column of the table is: `Key`.
    pub(in crate::http) group: String,
    /// `Tokens` or `Requests`.
    pub(in crate::http) unit: String,
    /// `hour` or `day`.
    pub(in crate::http) step: String,
    /// `The last 7 days, in UTC`.
    pub(in crate::http) span: String,
    pub(in crate::http) total: UsageLine,
    pub(in crate::http) lines: Vec<UsageLine>,
    /// Whether a cost is known.
    pub(in crate::http) has_cost: bool,
    /// None when there is nothing to show.
    pub(in crate::http) chart: Option<Chart>,
    /// The link to the same as CSV.
    pub(in crate::http) csv: String,
}

/// Bars over time.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Chart {
    /// What is to be seen, in a sentence.
    pub(in crate::http) text: String,
    /// The labels of the height: the highest, the middle; the ground is 0.
    pub(in crate::http) top: String,
    pub(in crate::http) middle: String,
    /// The times of the first, the middle and the last bar.
    pub(in crate::http) times: Vec<String>,
    pub(in crate::http) bars: Vec<Bar>,
    /// Names, from the ground up, each with its number from 1 on.
    pub(in crate::http) series: Vec<(usize, String)>,
}

/// A bar, with what it is made of.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Bar {
    /// Its time.
    pub(in crate::http) label: String,
    /// All of it together.
    pub(in crate::http) sum: String,
    /// The numbers of all series.
    pub(in crate::http) values: Vec<String>,
    pub(in crate::http) pieces: Vec<Piece>,
}

/// A line of the table.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct UsageLine {
    /// The number of its series.
    pub(in crate::http) series: usize,
    pub(in crate::http) name: String,
    /// Whose key it is, or empty.
    pub(in crate::http) owner: String,
    /// A page about it, or empty.
    pub(in crate::http) link: String,
    pub(in crate::http) requests: String,
    pub(in crate::http) prompt: String,
    pub(in crate::http) cached: String,
    pub(in crate::http) completion: String,
    pub(in crate::http) errors: String,
    /// `120 ms`, or empty.
    pub(in crate::http) first_token: String,
    /// `0.15 EUR`, or empty.
    pub(in crate::http) cost: String,
    /// How requests ended, but for those that are done: `3 client_gone, 1 cut`.
    pub(in crate::http) endings: String,
}

/// The last days of a key in small.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Spark {
    /// What is to be seen, in a sentence.
    pub(in crate::http) text: String,
    pub(in crate::http) pieces: Vec<Piece>,
}
