//! Who used a key, as lines. Never: what was used.

use crate::admin::KeyDetail;
use crate::meter::KeyUser;
use crate::types::{Timestamp, counted};

use crate::cli::moment::{absolute, both};
use crate::cli::table::table;

/// What is added to a key's sheet: pairs of a name and a text.
pub(super) fn pairs(detail: &KeyDetail, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut pairs = Vec::new();
    if let Some(browsers) = &detail.trace.browsers {
        let origin = if browsers.origin.is_empty() { "a page that does not say" } else { &browsers.origin };
        let last = both(browsers.last_at, now);
        let requests = counted(browsers.requests, "request");
        pairs.push(("Browsers refused", format!("{requests}, last {last} from {origin}")));
    }
    if let Some(old) = &detail.trace.old_secret {
        let last = both(old.last_at, now);
        let requests = counted(old.requests, "request");
        pairs.push((
            "Old secret used",
            format!("{requests}, last {last} by {} from {}", old.client, old.address),
        ));
    }
    if let Some(spread) = detail.spread {
        pairs.push((
            "Hint",
            format!(
                "{} different clients and {} networks used this key within a week. With one key for each application \
                 you can see what each one uses and replace one alone: `ember key create`",
                spread.clients, spread.networks
            ),
        ));
    }
    pairs
}

/// A table of the users, if there are any.
pub(super) fn users(detail: &KeyDetail) -> Vec<String> {
    let row = |seen: &KeyUser| {
        vec![
            seen.client.to_string(),
            seen.address.to_string(),
            seen.requests.to_string(),
            absolute(seen.first_at),
            absolute(seen.last_at),
        ]
    };
    let rows: Vec<_> = detail.trace.users.iter().map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new()];
    lines.extend(table(&["CLIENT", "ADDRESS", "REQUESTS", "FIRST", "LAST"], &rows));
    lines
}
