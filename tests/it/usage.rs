//! What requests used is on disk a moment later: seen in a backup of the running server, and after its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ember_gateway::meter::{Meter, Sums};
use ember_gateway::store::{RedbStore, StoreOptions};
use ember_gateway::types::{Clock, Timestamp};

use crate::ember::{Ember, Home, chat, eventually};

/// The moment that the test looks back from.
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// The sums of the whole server's last day in a store that nobody has open.
fn sums(file: &Path) -> Sums {
    #[expect(clippy::disallowed_methods, reason = "the server under test has the machine's clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap());
    let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    let store = RedbStore::open(file, options).unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    Meter::new(Arc::new(Still(now)), Arc::new(store)).sums(None, day).unwrap()
}

/// Sends a request and adds what its answer says was used.
fn ask(server: &Ember, key: &str, sum: &mut Sums) {
    let answer = server.post("/v1/chat/completions", Some(key), &chat("count me", ""));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let usage = answer.json()["usage"].clone();
    sum.requests += 1;
    sum.tokens.prompt += usage["prompt_tokens"].as_u64().unwrap();
    sum.tokens.completion += usage["completion_tokens"].as_u64().unwrap();
    sum.tokens.cached += usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
}

#[test]
fn usage_is_on_disk_soon_and_whole_after_the_end() {
    let home = Home::with_echo();
    let key = home.key("app");
    let mut used = Sums::default();
    let server = home.serve();
    (0..3).for_each(|_| ask(&server, &key, &mut used));
    let mut copies = 0;
    eventually("the sums in a backup", || {
        copies += 1;
        let copy = format!("copy-{copies}.redb");
        home.ok(&["backup", &copy]);
        let found = sums(&home.file(&copy));
        assert!(found.requests <= used.requests, "{found:?} of {used:?}");
        found == used
    });
    server.kill();
    let server = home.serve();
    ask(&server, &key, &mut used);
    assert!(server.stop().success());
    assert_eq!(sums(&home.data().join("ember.redb")), used);
    assert!(used.tokens.prompt > 0 && used.tokens.completion > 0);
}
