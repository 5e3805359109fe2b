//! The table of keys: filtered, searched, sorted, page by page. Never: one key's life.

use std::cmp::Ordering;
use std::time::Duration;

use crate::admin::{Command, KeyView, Reply};
use crate::registry::{KeyFilter, PAGE_MAX};
use crate::types::{AccountId, Environment, KeyStatus, ModelScope};

use super::Dashboard;
use super::frame::{choices, counted, grouped};
use super::page::{Choice, KeyRow, KeysPage};
use super::visit::{PageAnswer, Refused, Visit};

/// Rows of one page.
const ROWS: usize = 50;
/// A key that was used within this time is in use.
const FRESH_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What the form above the table says.
struct Wish<'a> {
    search: &'a str,
    environment: &'a str,
    status: &'a str,
    sort: &'a str,
    account: &'a str,
    unused: &'a str,
    page: usize,
}

impl Dashboard {
    pub(super) fn keys(&self, visit: &Visit) -> Result<PageAnswer, Refused> {
        let person = visit.person()?;
        let wish = Wish::of(visit);
        let own = person.account.id.to_string();
        let account = match wish.account {
            "all" if person.is_admin() => None,
            id if person.is_admin() && id.parse::<AccountId>().is_ok() => Some(id.to_string()),
            _ => Some(own.clone()),
        };
        let shows_owner = account.as_ref() != Some(&own);
        let filter = KeyFilter {
            account,
            environment: wish.environment.parse::<Environment>().ok(),
            status: KeyStatus::ALL.into_iter().find(|status| status.as_str() == wish.status),
            search: Some(wish.search.to_string()).filter(|text| !text.is_empty()),
            newest_first: true,
        };
        let unused = UNUSED.iter().find(|(word, _)| *word == wish.unused).and_then(|(word, _)| days(word));
        let is_filtered = unused.is_some()
            || filter.environment.is_some()
            || filter.status.is_some()
            || filter.search.is_some();
        let command = Command::KeyList { filter, unused, after: None, limit: PAGE_MAX };
        let Reply::Keys(page) = self.ask(visit, &command)? else { return Err(Refused::Broken) };
        let (mut keys, has_more) = (page.entries, page.has_more);
        sort(&mut keys, wish.sort);
        let (first, last) = bounds(wish.page, keys.len());
        let mut all = KeysPage {
            frame: self.frame(visit, "Keys", "keys"),
            keys: keys[first..last].iter().map(|key| self.key_row(visit, key)).collect::<Result<_, _>>()?,
            has_none: keys.is_empty() && !is_filtered && !shows_owner,
            search: wish.search.to_string(),
            environments: choices(&ENVIRONMENTS, wish.environment),
            statuses: choices(&STATUSES, wish.status),
            unused: choices(&UNUSED, wish.unused),
            sorts: choices(&SORTS, wish.sort),
            owners: owners(person.is_admin(), wish.account),
            shows_owner,
            range: range(first, last, keys.len(), has_more),
            previous: String::new(),
            next: String::new(),
            is_filtered,
        };
        if wish.page > 1 && first > 0 {
            all.previous = wish.link(wish.page - 1);
        }
        if last < keys.len() {
            all.next = wish.link(wish.page + 1);
        }
        PageAnswer::page(&all)
    }

    pub(super) fn key_row(&self, visit: &Visit, key: &KeyView) -> Result<KeyRow, Refused> {
        let freshness = match key.last_used_at {
            None => "never",
            Some(used) if self.now().as_millis() - used.as_millis() < FRESH_MS => "fresh",
            Some(_) => "stale",
        };
        Ok(KeyRow {
            id: key.id.to_string(),
            name: key.name.to_string(),
            last4: key.last4.map(|last4| last4.to_string()).unwrap_or_default(),
            environment: key.environment.to_string(),
            models: match &key.policy.models {
                ModelScope::All => "All models".to_string(),
                ModelScope::Only(models) => match models.iter().next() {
                    Some(only) if models.len() == 1 => only.to_string(),
                    _ => counted(models.len(), "model"),
                },
            },
            owner: key.owner.as_ref().map_or_else(|| key.account.to_string(), ToString::to_string),
            created: self.moment(key.created_at),
            used: key.last_used_at.map(|point| self.moment(point)),
            freshness: freshness.to_string(),
            spark: self.spark(visit, key)?,
            expires: key.expires_at.map(|point| self.moment(point)),
            status: key.status.as_str().to_string(),
        })
    }
}

pub(super) const ENVIRONMENTS: [(&str, &str); 4] =
    [("", "All"), ("dev", "Development"), ("staging", "Staging"), ("prod", "Production")];
const STATUSES: [(&str, &str); 5] = [
    ("", "All"),
    ("active", "Active"),
    ("disabled", "Disabled"),
    ("expired", "Expired"),
    ("revoked", "Revoked"),
];
const UNUSED: [(&str, &str); 4] =
    [("", "Used or not"), ("7d", "Not for 7 days"), ("30d", "Not for 30 days"), ("90d", "Not for 90 days")];
const SORTS: [(&str, &str); 4] =
    [("created", "Newest"), ("name", "Name"), ("used", "Last used"), ("expires", "Expiry")];

impl<'a> Wish<'a> {
    fn of(visit: &'a Visit) -> Self {
        let query = &visit.query;
        let sort = query.text("sort");
        Self {
            search: query.text("search"),
            environment: query.text("environment"),
            status: query.text("status"),
            sort: if sort.is_empty() { "created" } else { sort },
            account: query.text("account"),
            unused: query.text("unused"),
            page: query.text("page").parse().unwrap_or(1).max(1),
        }
    }

    /// The same list, another page of it.
    fn link(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let words = [
            ("search", self.search),
            ("environment", self.environment),
            ("status", self.status),
            ("sort", self.sort),
            ("account", self.account),
            ("unused", self.unused),
        ];
        for (name, value) in words.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        query.append_pair("page", &page.to_string());
        format!("/dashboard/keys?{}", query.finish())
    }
}

/// So many days, from a word like `30d`.
fn days(word: &str) -> Option<Duration> {
    let days: u64 = word.strip_suffix('d')?.parse().ok()?;
    Some(Duration::from_secs(days * 24 * 60 * 60))
}

fn owners(is_admin: bool, chosen: &str) -> Vec<Choice> {
    if !is_admin {
        return Vec::new();
    }
    let mut options = vec![("", "Me"), ("all", "Everyone")];
    if chosen.parse::<AccountId>().is_ok() {
        options.push((chosen, "One account"));
    }
    choices(&options, chosen)
}

fn sort(keys: &mut [KeyView], by: &str) {
    let name = |key: &KeyView| key.name.as_str().to_lowercase();
    let end = |key: &KeyView| (key.expires_at.is_none(), key.expires_at, key.id);
    // One type of comparison, so one sorting routine and not four.
    let order: &dyn Fn(&KeyView, &KeyView) -> Ordering = match by {
        "name" => &|one, other| (name(one), one.id).cmp(&(name(other), other.id)),
        "used" => &|one, other| (other.last_used_at, other.id).cmp(&(one.last_used_at, one.id)),
        "expires" => &|one, other| end(one).cmp(&end(other)),
        _ => &|one, other| other.id.cmp(&one.id),
    };
    keys.sort_by(order);
}

/// The rows of a page; a page beyond the end is the last one.
fn bounds(page: usize, count: usize) -> (usize, usize) {
    let last_page = count.div_ceil(ROWS).max(1);
    let first = (page.min(last_page) - 1) * ROWS;
    (first, (first + ROWS).min(count))
}

fn range(first: usize, last: usize, count: usize, has_more: bool) -> String {
    if count == 0 {
        return String::new();
    }
    let all = grouped(count as u64);
    if has_more {
        return format!("{}-{last} of the {all} newest keys that fit; search for others", first + 1);
    }
    if count <= ROWS { counted(count, "key") } else { format!("{}-{last} of {all} keys", first + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_every_row_once() {
        assert_eq!(bounds(1, 0), (0, 0));
        assert_eq!(bounds(1, 50), (0, 50));
        assert_eq!((bounds(1, 51), bounds(2, 51), bounds(9, 51)), ((0, 50), (50, 51), (50, 51)));
    }
}
