//! Laws 3 and 4 under `kill -9`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::door;
use crate::ember::{Ember, Home, chat, eventually};
use crate::proof;
use crate::visitor::{Browser, PASSWORD};

/// What is done how often: every day, and to prove it.
type Sizes = (usize, usize);

const KILLS_WHILE_CREATING: Sizes = (40, 2000);
const KILLS_AFTER_A_REVOCATION: Sizes = (40, 2000);
const KILLS_WHILE_REVOKING: Sizes = (20, 500);
const KILLS_WHILE_SIGNING_IN: Sizes = (20, 500);
const KILLS_IN_THE_FIRST_START: Sizes = (40, 500);
const KILLS_OF_COMMANDS: Sizes = (40, 500);
const CYCLES_OF_ONE_SERVER: Sizes = (200, 10_000);

fn times((small, full): Sizes) -> usize {
    proof::size(small, full)
}

/// Moments that look random and are the same in every run (Knuth's MMIX generator).
struct Moments(u64);

impl Moments {
    fn below(&mut self, end: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        end.mul_f64((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }
}

fn home() -> Home {
    let home = Home::new("[models]\necho = true\n[log]\naccess = false\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn list(home: &Home, what: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(&home.ok(&[what, "list", "-o", "json"])).unwrap();
    json["data"].as_array().unwrap().clone()
}

fn start(home: &Home, verb: &str) -> Child {
    home.command(&[verb]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// No key stands there twice, and all that were acknowledged stand there.
fn nothing_doubled_nothing_lost(home: &Home, acknowledged: &[(String, String)]) {
    let listed = list(home, "key");
    let column = |name: &str| -> BTreeSet<String> {
        listed.iter().map(|key| key[name].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(column("name").len(), listed.len(), "every name was asked for once");
    let ids = column("id");
    let lost: Vec<_> = acknowledged.iter().filter(|(id, _)| !ids.contains(id)).collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), acknowledged.len());
}

/// Law 4.
#[test]
fn every_acknowledged_key_survives_a_kill_in_the_midst_of_others() {
    let home = home();
    let (mut moments, number) = (Moments(1), AtomicU32::new(0));
    let mut acknowledged = Vec::new();
    let (mut rounds, wanted) = (0, times(KILLS_WHILE_CREATING));
    // On a slow machine the kills come later and later, until there was something to lose.
    while rounds < wanted || acknowledged.len() <= wanted {
        rounds += 1;
        assert!(rounds < 20 * wanted, "only {} keys", acknowledged.len());
        let server = home.serve();
        let made = Mutex::new(Vec::new());
        let wait = moments.below(Duration::from_millis(30 * (1 + (rounds / wanted) as u64)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let name = || format!("app-{}", number.fetch_add(1, Ordering::Relaxed));
                    while let Some(key) = door::create(&home, &name()) {
                        made.lock().unwrap().push(key);
                    }
                });
            }
            std::thread::sleep(wait);
            server.kill();
        });
        // A start that is killed, too, must not make it worse.
        let starting = start(&home, "serve");
        std::thread::sleep(moments.below(Duration::from_millis(30)));
        kill(starting);
        acknowledged.extend(made.into_inner().unwrap());
    }
    let server = home.serve();
    nothing_doubled_nothing_lost(&home, &acknowledged);
    for (id, key) in &acknowledged {
        assert_eq!(server.get("/v1/models", Some(key)).status, 200, "{id}");
    }
    proof::show("kills while keys were created", rounds, "2,000");
    proof::show_none("acknowledged keys that were lost", acknowledged.len());
}

/// Law 3.
#[test]
fn a_revocation_that_was_acknowledged_survives_a_kill_right_after_it() {
    let home = home();
    let mut server = home.serve();
    for round in 0..times(KILLS_AFTER_A_REVOCATION) {
        let (id, key) = door::create(&home, "app").unwrap();
        assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
        assert!(door::revoke(&home, &id));
        server.kill();
        server = home.serve();
        assert_eq!(server.get("/v1/models", Some(&key)).code(), "api_key_revoked", "round {round}");
    }
    let kills = times(KILLS_AFTER_A_REVOCATION);
    proof::show_none("revoked keys accepted after a kill right behind the revocation", kills);
}

/// Laws 3 and 4: what was acknowledged stands, what was not is whole, and whose revocation nobody asked for lives.
#[test]
fn every_acknowledged_revocation_survives_a_kill_in_the_midst_of_others() {
    const KEYS: usize = 24;
    let home = home();
    let mut server = home.serve();
    let (mut moments, mut revoked, mut living, mut halfway) = (Moments(4), 0, 0, 0);
    let (mut rounds, wanted) = (0, times(KILLS_WHILE_REVOKING));
    while rounds < wanted || halfway <= wanted / 4 {
        rounds += 1;
        assert!(rounds < 20 * wanted, "only {halfway} kills in the midst of revocations");
        let keys: Vec<_> = (0..KEYS).map(|_| door::create(&home, "app").unwrap()).collect();
        let next = AtomicUsize::new(0);
        let revoke = || {
            let places = std::iter::repeat_with(|| next.fetch_add(1, Ordering::SeqCst));
            let is_told = |place: &usize| keys.get(*place).is_some_and(|(id, _)| door::revoke(&home, id));
            places.take_while(is_told).collect::<Vec<_>>()
        };
        // So many are asked for first, and then something is under way.
        let asked = moments.below(Duration::from_secs(KEYS as u64)).as_secs() as usize;
        let wait = moments.below(Duration::from_millis(2));
        let acknowledged: BTreeSet<_> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(revoke));
            while next.load(Ordering::SeqCst) < asked {
                std::thread::yield_now();
            }
            std::thread::sleep(wait);
            server.signal("KILL");
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // It lets go of the file only when it is gone.
        server.kill();
        server = home.serve();
        let begun = next.into_inner().min(KEYS);
        for (place, (id, key)) in keys.iter().enumerate() {
            let answer = server.get("/v1/models", Some(key));
            let is_revoked = answer.status != 200;
            assert!(
                !is_revoked || answer.code() == "api_key_revoked",
                "round {rounds}: {id}: {}",
                answer.text()
            );
            assert!(is_revoked || !acknowledged.contains(&place), "round {rounds}: {id} was revoked");
            assert!(!is_revoked || place < begun, "round {rounds}: nobody revoked {id}");
        }
        (revoked, living) = (revoked + acknowledged.len(), living + KEYS - begun);
        halfway += usize::from(!acknowledged.is_empty() && begun < KEYS);
    }
    proof::show("kills while keys were revoked", rounds, "500");
    proof::show("of those with some revoked and some left", halfway, "a quarter");
    proof::show_none("acknowledged revocations that were lost", revoked);
    proof::show_none("keys that were lost and nobody revoked", living);
}

/// Laws 3 and 4, for sessions: one that was begun goes on after a kill, one that was ended does not.
#[test]
fn a_sign_in_and_a_sign_out_that_were_acknowledged_survive_a_kill() {
    let home = Home::new("[models]\necho = true\n[log]\naccess = false\n");
    let people = ["ana@example.com", "bob@example.com"];
    for email in people {
        let create = ["account", "create", email, "--admin", "--password-stdin"];
        assert!(home.run_with(&create, PASSWORD).status.success());
    }
    let (mut moments, mut begun, mut ended) = (Moments(3), 0, 0);
    let (mut rounds, wanted) = (0, times(KILLS_WHILE_SIGNING_IN));
    while rounds < wanted || begun.min(ended) <= wanted / 4 {
        rounds += 1;
        assert!(rounds < 20 * wanted, "only {begun} sessions, {ended} of them ended");
        let server = home.serve();
        // Whole rounds of all that is done come first on any machine, and the kill within one of them.
        let wait = moments.below(Duration::from_millis(400 * (1 + (rounds / wanted) as u64)));
        let sessions: Vec<_> = std::thread::scope(|scope| {
            let threads = people.map(|email| scope.spawn(|| sign_in_and_out(&server, email)));
            std::thread::sleep(wait);
            server.signal("KILL");
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // It lets go of the file only when it is gone.
        server.kill();
        let server = home.serve();
        for (cookies, is_over) in sessions {
            let status = Browser::with(&server, cookies).get("/dashboard").status;
            assert_eq!(status, if is_over { 303 } else { 200 }, "round {rounds}, signed out: {is_over}");
            begun += 1;
            ended += usize::from(is_over);
        }
        assert!(server.stop().success());
    }
    proof::show("kills while people signed in and out", rounds, "500");
    proof::show_none("sessions that were begun and lost", begun - ended);
    proof::show_none("sessions that were ended and accepted again", ended);
}

/// The cookies of sessions of which it is known whether they were ended, until the server goes away.
fn sign_in_and_out(server: &Ember, email: &str) -> Vec<(BTreeMap<String, String>, bool)> {
    let mut sessions = Vec::new();
    loop {
        let mut browser = Browser::new(server);
        let Some(answer) = browser.try_sign_in(email, PASSWORD) else { return sessions };
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookies = browser.cookies.clone();
        let is_to_end = sessions.len() % 2 == 1;
        if is_to_end && browser.try_sign_out().is_none() {
            return sessions;
        }
        sessions.push((cookies, is_to_end));
    }
}

/// Law 4, from the very first start on.
#[test]
fn a_first_start_that_was_killed_is_begun_again_and_makes_one_administrator() {
    let fresh = || Home::new("[models]\necho = true\n[log]\naccess = false\n");
    let began = Instant::now();
    let whole = fresh();
    Ember::start(whole.command(&["up"])).kill();
    let longest = began.elapsed() + Duration::from_millis(10);
    let rounds = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let round = rounds.fetch_add(1, Ordering::Relaxed);
                    if round as usize >= times(KILLS_IN_THE_FIRST_START) {
                        return;
                    }
                    // Half of them within the first 30 ms, where the file is made.
                    let end = if round.is_multiple_of(2) { Duration::from_millis(30) } else { longest };
                    one_first_start(&fresh(), Moments(u64::from(round) << 20).below(end), round);
                }
            });
        }
    });
    let kills = times(KILLS_IN_THE_FIRST_START);
    proof::show_none("first starts that did not work after a kill", kills);
}

fn one_first_start(home: &Home, wait: Duration, round: u32) {
    let starting = start(home, "up");
    std::thread::sleep(wait);
    kill(starting);
    let server = Ember::start(home.command(&["up"]));
    let (accounts, keys) = (list(home, "account"), list(home, "key"));
    assert_eq!((accounts.len(), keys.len()), (1, 1), "round {round}, killed after {wait:?}");
    assert_eq!((&accounts[0]["role"], &accounts[0]["email"]), (&"admin".into(), &"admin@localhost".into()));
    assert!(server.stop().success());
    let left: Vec<_> =
        std::fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".new")), "{left:?}");
}

/// Law 4 without a server.
#[test]
fn a_command_that_was_killed_does_not_harm_the_next_one() {
    let home = home();
    let (mut moments, mut acknowledged) = (Moments(2), Vec::new());
    let (mut rounds, wanted) = (0, times(KILLS_OF_COMMANDS));
    // On a slow machine the kills come later and later, until there was something to lose.
    while rounds < wanted || acknowledged.len() <= wanted / 10 {
        rounds += 1;
        assert!(rounds < 20 * wanted, "only {} keys", acknowledged.len());
        let name = format!("app-{rounds}");
        let mut command =
            home.command(&["key", "create", "--account", "ana@example.com", "--name", &name, "-o", "json"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moments.below(Duration::from_millis(30 * (1 + (rounds / wanted) as u64))));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if let Ok(key) = serde_json::from_slice::<Value>(&output.stdout) {
            acknowledged.push((key["id"].as_str().unwrap().to_string(), String::new()));
        }
        nothing_doubled_nothing_lost(&home, &acknowledged);
    }
    proof::show("kills of commands that create keys", rounds, "500");
    proof::show_none("keys lost to them", acknowledged.len());
}

/// Law 3: whoever asks after the answer to the revocation is refused, however hard the key is used meanwhile and however
/// many other keys come and go. Nobody whose key lives is.
#[test]
fn a_key_is_never_used_after_its_revocation_was_acknowledged() {
    const WORKERS: usize = 3;
    const BYSTANDERS: usize = 2;
    let home = home();
    let server = home.serve();
    let cycles = times(CYCLES_OF_ONE_SERVER);
    let [next, early, served] = [(); 3].map(|()| AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..BYSTANDERS {
            let (_, key) = door::create(&home, &format!("bystander-{number}")).unwrap();
            let (server, is_over, served) = (&server, &is_over, &served);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let answer = server.post("/v1/chat/completions", Some(&key), &chat("hello", ""));
                    assert_eq!(answer.status, 200, "a living key: {}", answer.text());
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let worker = || {
            loop {
                let round = next.fetch_add(1, Ordering::SeqCst);
                if round >= cycles {
                    return;
                }
                early.fetch_add(usize::from(one_life(&home, &server, round)), Ordering::SeqCst);
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        let outcomes: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        is_over.store(true, Ordering::SeqCst);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap());
    });
    let (early, served) = (early.into_inner(), served.into_inner());
    assert!(served > cycles / 10, "only {served} requests beside {cycles} cycles");
    proof::show("uses after a revocation under load", format!("0 in {cycles} cycles"), "0 in 10,000");
    proof::show("of those refused before the answer was read", early, "any");
    proof::show_none("refusals of living keys beside them", served);
}

/// A key is made, used, revoked while it is used, and used again; whether it was refused before the answer was read.
fn one_life(home: &Home, server: &Ember, round: usize) -> bool {
    let (id, key) = door::create(home, "app").unwrap();
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    let revoked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            for _ in 0..2000 {
                let late = revoked.load(Ordering::SeqCst);
                let answer = server.get("/v1/models", Some(&key));
                assert!(answer.status == 401 || !late, "round {round}: used after the revocation");
                if answer.status == 401 {
                    assert_eq!(answer.code(), "api_key_revoked");
                    return !late;
                }
            }
            panic!("round {round}: never refused");
        });
        assert!(door::revoke(home, &id));
        revoked.store(true, Ordering::SeqCst);
        assert_eq!(server.get("/v1/models", Some(&key)).code(), "api_key_revoked");
        user.join().unwrap()
    })
}

/// What a killed process had begun beside the store does not stay there for good.
#[test]
fn a_copy_that_a_killed_server_had_begun_is_cleared_away() {
    let home = home();
    let server = home.serve();
    for number in 0..200 {
        door::create(&home, &format!("app-{number}")).unwrap();
    }
    let copies = || {
        let names = std::fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains("snapshot")).count()
    };
    let mut backup = home.command(&["backup", "copy.redb"]);
    let mut child = backup.stderr(Stdio::null()).spawn().unwrap();
    eventually("a copy under way", || copies() > 0 || child.try_wait().unwrap().is_some());
    server.kill();
    child.wait().unwrap();
    let server = home.serve();
    assert_eq!(copies(), 0, "a whole copy of the store stays in the data directory");
    drop(server);
}
