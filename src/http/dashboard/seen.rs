//! Who used a key, as its page shows it. Never: what was used.

use crate::admin::KeyDetail;
use crate::meter::KeyUser;
use crate::types::moment::relative;

use super::Dashboard;
use super::frame::counted;
use super::page::{SeenLines, UserLine};

impl Dashboard {
    pub(super) fn seen_lines(&self, detail: &KeyDetail) -> SeenLines {
        let trace = &detail.trace;
        let mut lines = SeenLines {
            users: trace.users.iter().map(|seen| self.user_line(seen)).collect(),
            ..SeenLines::default()
        };
        if let Some(browsers) = &trace.browsers {
            let (count, last) = (times(browsers.requests), relative(browsers.last_at, self.now()));
            let origin =
                if browsers.origin.is_empty() { "a page that does not say" } else { &browsers.origin };
            lines.browsers = format!(
                "Refused {count}, last {last}, from {origin}. Anyone who opens that page can read the key."
            );
        }
        if let Some(old) = &trace.old_secret {
            let (count, last) = (times(old.requests), relative(old.last_at, self.now()));
            lines.old_secret = format!("Used {count}, last {last}, by {} from {}.", old.client, old.address);
        }
        if let Some(spread) = detail.spread {
            let (clients, networks) =
                (counted(spread.clients, "client"), counted(spread.networks, "network"));
            lines.hint = format!("{clients} in {networks} used this key within a week.");
        }
        lines
    }

    fn user_line(&self, seen: &KeyUser) -> UserLine {
        UserLine {
            client: seen.client.to_string(),
            address: seen.address.to_string(),
            requests: times(seen.requests),
            first: self.moment(seen.first_at),
            last: self.moment(seen.last_at),
        }
    }
}

fn times(requests: u64) -> String {
    if requests == 1 { "once".to_string() } else { format!("{requests} times") }
}
