//! The audit trail of a real server: its chain holds through everything, shows what was changed, and is followed without
//! a gap.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use ember_gateway::registry::{NewAccount, Registry};
use ember_gateway::store::{Birth, Commit, RedbStore, Store, StoreOptions, Table, Write};
use ember_gateway::types::{Actor, Clock, Random, RandomUnavailable, Role, Timestamp};
use serde_json::Value;

use crate::door;
use crate::ember::{Ember, Home, PATIENCE, eventually};
use crate::visitor::Browser;

fn home(settings: &str) -> Home {
    let home = Home::new(&format!("{settings}\n[models]\necho = true\n[log]\naccess = false\n"));
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn head(home: &Home) -> String {
    let output = home.run(&["status", "-o", "json"]);
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["audit_head"].as_str().unwrap().to_string()
}

/// The exit code, and all that was said.
fn verify(home: &Home, noted: Option<&str>) -> (i32, String) {
    let mut args = vec!["audit", "--verify"];
    args.extend(noted);
    let Output { status, stdout, stderr } = home.run(&args);
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[track_caller]
fn holds(home: &Home, noted: Option<&str>) {
    let (code, said) = verify(home, noted);
    assert_eq!(code, 0, "{said}");
}

/// Makes keys from many threads at once until the server is gone or all are made; what was acknowledged.
fn make_keys(home: &Home, callers: usize, each: usize) -> BTreeSet<String> {
    std::thread::scope(|scope| {
        let caller = |caller: usize| {
            scope.spawn(move || {
                let names = (0..each).map(|number| format!("k{caller}-{number}"));
                names.map_while(|name| door::create(home, &name)).map(|(id, _)| id).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..callers).map(caller).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// `ember audit --follow` as a program reads it.
struct Follower {
    process: Child,
    lines: Receiver<Value>,
}

impl Follower {
    /// Returns when it follows.
    fn start(home: &Home) -> Self {
        let mut command = home.command(&["audit", "--follow", "-o", "json"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(process.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.contains("Following from event"), "{said}");
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { process, lines }
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_follower_sees_each_of_many_changes_once_and_goes_on_after_a_restart() {
    let home = home("");
    let server = home.serve();
    let follower = Follower::start(&home);
    let mut made = make_keys(&home, 8, 10);
    assert_eq!(made.len(), 80);
    let mut last = None;
    for _ in 0..80 {
        let event = follower.next();
        assert_eq!(
            (&event["action"], &event["origin"]),
            (&Value::from("key.created"), &Value::from("socket"))
        );
        assert!(made.remove(event["target"].as_str().unwrap()), "once only: {event}");
        let sequence = event["sequence"].as_u64().unwrap();
        assert!(last.is_none_or(|last| sequence == last + 1), "{sequence} after {last:?}");
        last = Some(sequence);
    }
    holds(&home, Some(&head(&home)));
    server.kill();
    home.key("beside");
    let server = home.serve();
    let event = follower.next();
    assert_eq!(
        (&event["origin"], event["sequence"].as_u64()),
        (&Value::from("file"), last.map(|last| last + 1))
    );
    home.key("after");
    assert_eq!(follower.next()["origin"], "socket");
    drop(server);
}

#[test]
fn the_chain_holds_after_kills_in_the_middle_of_many_changes() {
    let home = home("");
    for round in 0..4 {
        let server = home.serve();
        let noted = head(&home);
        let made = std::thread::scope(|scope| {
            let making = scope.spawn(|| make_keys(&home, 6, 60));
            let before: Vec<_> =
                (0..=round).filter_map(|number| door::create(&home, &format!("r{round}-{number}"))).collect();
            assert_eq!(before.len(), round + 1);
            server.kill();
            making.join().unwrap()
        });
        // By the file, then by a server.
        holds(&home, Some(&noted));
        let server = home.serve();
        holds(&home, Some(&noted));
        let trail = home.ok(&["audit", "--action", "key.created", "--limit", "5000", "-o", "json"]);
        assert!(made.iter().all(|id| trail.contains(id.as_str())), "what was acknowledged has its event");
        assert!(server.stop().success());
    }
}

#[test]
fn a_backup_tells_its_head_and_a_restored_store_is_held_against_it() {
    for running in [false, true] {
        let home = home("");
        let server = running.then(|| home.serve());
        home.key("one");
        let output = home.run(&["backup", "copy.redb"]);
        let said = String::from_utf8(output.stderr).unwrap();
        let noted = head(&home);
        assert!(said.contains(&format!("ends at {noted}")), "{said}");
        home.key("two");
        let later = head(&home);
        holds(&home, Some(&noted));
        holds(&home, Some(&later));
        if let Some(server) = server {
            assert!(server.stop().success());
        }
        let said = home.run(&["restore", "copy.redb"]).stderr;
        assert!(String::from_utf8(said).unwrap().contains(&noted));
        holds(&home, Some(&noted));
        let (code, said) = verify(&home, Some(&later));
        assert!(code == 1 && said.contains("cut off"), "{said}");
    }
}

#[test]
fn a_change_in_the_file_is_found_by_the_command() {
    const AUDIT: Table = Table("audit");
    let home = home("");
    home.key("one");
    home.key("two");
    holds(&home, None);
    let edit = |change: &dyn Fn(Vec<u8>, Vec<u8>) -> Write| {
        let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
        let store = RedbStore::open(&home.data().join("ember.redb"), options).unwrap();
        let mut rows = store.scan(AUDIT, Bound::Unbounded, Bound::Unbounded, 9).unwrap();
        let (key, value) = rows.swap_remove(1);
        store.commit(Commit { writes: vec![change(key, value)], ..Commit::default() }).unwrap();
    };
    edit(&|key, mut value| {
        let place = value.windows(3).position(|part| part == b"one").unwrap();
        value[place..place + 3].copy_from_slice(b"eno");
        Write::Put { table: AUDIT, key, value }
    });
    let (code, said) = verify(&home, None);
    assert!(code == 1 && said.contains("event 2 (evt_"), "{said}");
    let server = home.serve();
    assert_eq!(verify(&home, None).0, 1);
    let json = home.run(&["audit", "--verify", "-o", "json"]);
    let found: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json.status.code(), &found["fault"]["sequence"]), (Some(1), &Value::from(2)));
    assert!(server.stop().success());
    edit(&|key, _| Write::Delete { table: AUDIT, key });
    let (code, said) = verify(&home, None);
    assert!(code == 1 && said.contains("event 2 (evt_") && said.contains("not there"), "{said}");
    for (odd, code) in [("3", 2), ("x:y", 2), (&*"1:".repeat(9), 2)] {
        assert_eq!(verify(&home, Some(odd)).0, code, "{odd}");
    }
}

/// What was done long ago.
struct LongAgo;

impl Clock for LongAgo {
    fn now(&self) -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }
}

struct Counting(std::sync::atomic::AtomicU8);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Ok(())
    }
}

#[test]
fn a_server_removes_old_events_and_the_rest_still_holds() {
    let home = Home::new("[models]\necho = true\n[audit]\nretention = \"30d\"\n");
    std::fs::DirBuilder::new().mode(0o700).create(home.data()).unwrap();
    let birth = Birth { created_at: LongAgo.now(), store_id: [7; 16] };
    let options = StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    let store = Arc::new(RedbStore::create(&home.data().join("ember.redb"), birth, options).unwrap());
    let registry = Registry::new(store, Arc::new(LongAgo), Arc::new(Counting(1.into())), None);
    let (root, email) = (Actor::Machine { uid: 0 }, "ana@example.com".parse().unwrap());
    let new = NewAccount { email, name: None, role: Role::Admin, password: None };
    registry.create_account(root, &new).unwrap();
    for _ in 0..2 {
        registry.disable_account(root, "ana@example.com").unwrap();
        registry.enable_account(root, "ana@example.com").unwrap();
    }
    let noted = registry.trail_head().unwrap().to_string();
    assert!(noted.starts_with("5:"));
    drop(registry);
    home.key("young");
    let server = home.serve();
    eventually("the removal", || {
        home.ok(&["audit", "--action", "audit.trimmed", "-o", "plain"]).contains("events 1 to 5 removed")
    });
    let all = home.ok(&["audit", "-o", "plain"]);
    assert_eq!(all.lines().count(), 2, "{all}");
    holds(&home, Some(&noted));
    holds(&home, Some(&head(&home)));
    assert!(server.stop().success());
}

/// What the trail says of refusals: how many tries, at which address.
fn refusals(home: &Home) -> Vec<(u64, String)> {
    let json: Value =
        serde_json::from_str(&home.ok(&["audit", "--action", "refused.sign_in", "-o", "json"])).unwrap();
    let tries = |event: &Value| {
        let count = event["detail"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        (count, event["origin"].as_str().unwrap().to_string())
    };
    json["data"].as_array().unwrap().iter().map(tries).collect()
}

#[test]
fn a_hundred_refused_sign_ins_are_one_event_and_a_clean_stop_writes_it_down() {
    let home = home("");
    let server = home.serve();
    let mut browser = Browser::new(&server);
    for _ in 0..100 {
        assert_ne!(browser.sign_in("ana@example.com", "hunter2 hunter2").status, 303);
    }
    let bearer = |server: &Ember| server.get("/admin/v1/status", Some("ember_admin_nothing")).status;
    assert_eq!(bearer(&server), 401);
    assert!(server.stop().success());
    let told = refusals(&home);
    assert_eq!(told.iter().map(|(count, _)| count).sum::<u64>(), 100);
    // The minute may have ended in between.
    assert!(told.len() <= 2 && told.iter().all(|(_, origin)| origin == "127.0.0.1"), "{told:?}");
    let tokens = home.ok(&["audit", "--action", "refused.token", "-o", "plain"]);
    assert!(tokens.contains("1 try in the minute"), "{tokens}");
    assert!(!home.ok(&["audit", "--limit", "1000", "-o", "json"]).contains("hunter2"));
    holds(&home, None);
}

#[test]
fn a_change_by_a_person_says_from_which_address() {
    let home = home("trusted_proxies = [\"127.0.0.1\"]");
    home.run_with(&["account", "passwd", "ana@example.com"], "correct horse battery staple\n");
    let server = home.serve();
    let mut browser = Browser::of(&server, "ana@example.com");
    let answer = browser.submit("/dashboard/account", "/dashboard/account/name", &[("name", "Ana")]);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let token = home.ok(&["token", "create", "ci"]);
    let body = r#"{"account":"ana@example.com","name":"by token","environment":"dev"}"#;
    let raw = format!(
        "POST /admin/v1/keys HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nX-Forwarded-For: 192.0.2.9\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        server.address,
        token.trim(),
        body.len()
    );
    assert_eq!(server.send(raw.as_bytes()).status, 200);
    let json: Value = serde_json::from_str(&home.ok(&["audit", "-o", "json"])).unwrap();
    let origin = |action: &str| {
        let mut events = json["data"].as_array().unwrap().iter();
        events.find(|event| event["action"] == action).unwrap()["origin"].clone()
    };
    assert_eq!(origin("account.created"), "file");
    assert_eq!(origin("account.signed_in"), "127.0.0.1");
    assert_eq!(origin("account.renamed"), "127.0.0.1");
    assert_eq!(origin("token.created"), "socket");
    assert_eq!(origin("key.created"), "192.0.2.9");
    let page = browser.get("/dashboard/audit").text();
    assert!(page.contains(&head(&home)) && page.contains("192.0.2.9"), "{page}");
}
