//! Model servers killed under load and started again: what no server had seen is answered by another one, nothing is asked
//! twice, no server gets more at once than it takes, and the counts add up.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::ember::{Ember, Home, eventually};
use crate::model::{home, json_answer, read_request};

const CHAT: &str = "/v1/chat/completions";
/// Requests at once that a server takes.
const SLOTS: usize = 4;

/// A model server that can be killed and started again, at the same address.
struct Backend {
    address: SocketAddr,
    life: Mutex<Option<Life>>,
    seen: Arc<Seen>,
}

/// What a server had to do, in all its lives.
#[derive(Default)]
struct Seen {
    /// Who asked, in the order they came.
    users: Mutex<Vec<String>>,
    answered: AtomicUsize,
    most_at_once: AtomicUsize,
}

struct Life {
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
    ends: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Backend {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let life = Mutex::new(Some(Life::begin(listener, &seen)));
        Self { address, life, seen }
    }

    /// Nobody listens any more, and every connection is reset.
    fn kill(&self) {
        self.life.lock().unwrap().take().unwrap().end();
    }

    fn revive(&self) {
        let listener = TcpListener::bind(self.address).unwrap();
        *self.life.lock().unwrap() = Some(Life::begin(listener, &self.seen));
    }

    fn section(&self, name: &str) -> String {
        format!(
            "[[upstream]]\nname = \"{name}\"\nurl = \"http://{}\"\nmodels = [\"m\"]\nin_flight_max = {SLOTS}\n",
            self.address
        )
    }

    fn users(&self) -> Vec<String> {
        self.seen.users.lock().unwrap().clone()
    }
}

impl Life {
    fn begin(listener: TcpListener, seen: &Arc<Seen>) -> Self {
        let (listener, seen) = (Arc::new(listener), Arc::clone(seen));
        let (ends, streams) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (listening, ended, open) = (Arc::clone(&listener), Arc::clone(&ends), Arc::clone(&streams));
        let accepting = std::thread::spawn(move || {
            let busy = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listening.accept() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                open.lock().unwrap().push(stream.try_clone().unwrap());
                let (seen, busy) = (Arc::clone(&seen), Arc::clone(&busy));
                std::thread::spawn(move || serve(stream, &seen, &busy));
            }
        });
        Self { listener, accepting, ends, streams }
    }

    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes whoever accepts.
        rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both).unwrap();
        self.accepting.join().unwrap();
        drop(self.listener);
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, seen: &Seen, busy: &AtomicUsize) {
    const LIST: &str = r#"{"object":"list","data":[]}"#;
    while let Some((head, body)) = read_request(&mut stream) {
        if head.starts_with("GET ") {
            let _ = stream.write_all(json_answer("200 OK", "", LIST).as_bytes());
            continue;
        }
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let user = body["user"].as_str().unwrap().to_string();
        let at_once = busy.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        seen.users.lock().unwrap().push(user.clone());
        // As a model thinks.
        std::thread::sleep(Duration::from_millis(3));
        busy.fetch_sub(1, Ordering::SeqCst);
        let answer = json_answer("200 OK", "", &format!("{{\"user\":\"{user}\"}}"));
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        seen.answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn ask(ember: &Ember, key: &str, user: &str) -> Result<(), String> {
    let answer = ember.post(CHAT, Some(key), &format!("{{\"model\":\"m\",\"user\":\"{user}\"}}"));
    match answer.status {
        200 => {
            assert_eq!(answer.json()["user"], user, "somebody else's answer");
            Ok(())
        }
        502 => Err(answer.code()),
        other => panic!("{other}: {}", answer.text()),
    }
}

/// Asks until `enough`, as many callers at once as `callers`; gives how many requests there were, and the users who got
/// no answer.
fn load(
    ember: &Ember,
    key: &str,
    callers: usize,
    enough: &(dyn Fn(usize) -> bool + Sync),
) -> (usize, Vec<String>) {
    let (lost, asked) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| {
                loop {
                    let number = asked.fetch_add(1, Ordering::SeqCst);
                    if enough(number) {
                        asked.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                    let user = number.to_string();
                    if let Err(code) = ask(ember, key, &user) {
                        assert_eq!(code, "upstream_unavailable");
                        lost.lock().unwrap().push(user);
                    }
                }
            });
        }
    });
    (asked.into_inner(), lost.into_inner().unwrap())
}

fn server_status(home: &Home) -> serde_json::Value {
    let status: serde_json::Value = serde_json::from_str(&home.ok(&["status", "-o", "json"])).unwrap();
    status["server"].clone()
}

/// Every request was counted, every slot came back, and records and counters agree.
fn adds_up(home: &Home, requests: usize) {
    eventually("free slots", || {
        let servers = server_status(home);
        let servers = servers["upstreams"].as_array().unwrap();
        servers.iter().all(|one| (&one["in_flight"], &one["waiting"]) == (&0.into(), &0.into()))
    });
    eventually("all requests are counted", || server_status(home)["requests"] == requests);
    home.ok(&["usage", "verify"]);
}

#[test]
fn servers_killed_under_load_lose_only_what_they_had_in_hand() {
    const KILLS: usize = 8;
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let sections: String =
        backends.iter().enumerate().map(|(at, one)| one.section(&format!("gpu-{at}"))).collect();
    let home = home(&format!("[models]\nrefresh = \"100ms\"\n{sections}"));
    let key = home.key("app");
    let ember = home.serve();
    let is_over = AtomicBool::new(false);
    let (all, lost) = std::thread::scope(|scope| {
        scope.spawn(|| {
            // The first one always lives, and each of the others has work whenever it dies.
            let answered = |one: &Backend| one.seen.answered.load(Ordering::SeqCst);
            for victim in backends[1..].iter().cycle().take(KILLS) {
                let mark = answered(victim);
                eventually("it has work", || answered(victim) >= mark + 10);
                victim.kill();
                let mark = answered(&backends[0]);
                eventually("others go on", || answered(&backends[0]) >= mark + 10);
                victim.revive();
            }
            backends.iter().for_each(|one| {
                let mark = answered(one);
                eventually("all have work", || answered(one) >= mark + 10);
            });
            is_over.store(true, Ordering::SeqCst);
        });
        load(&ember, &key, 16, &|_| is_over.load(Ordering::SeqCst))
    });
    assert!(lost.len() <= KILLS * SLOTS, "{} lost in {KILLS} kills", lost.len());
    let users: Vec<String> = backends.iter().flat_map(Backend::users).collect();
    let different: HashSet<&String> = users.iter().collect();
    assert_eq!(users.len(), different.len(), "a request was sent to two servers");
    let answered: usize = backends.iter().map(|one| one.seen.answered.load(Ordering::SeqCst)).sum();
    assert!((all - lost.len()..=all).contains(&answered), "{answered} of {all}, {} lost", lost.len());
    for one in &backends {
        let most = one.seen.most_at_once.load(Ordering::SeqCst);
        assert!((1..=SLOTS).contains(&most), "{most} at once, where {SLOTS} may be");
    }
    adds_up(&home, all);
}

#[test]
fn requests_that_reach_nobody_are_all_answered_by_another_server() {
    let backends = [Backend::start(), Backend::start(), Backend::start()];
    let sections: String =
        backends.iter().enumerate().map(|(at, one)| one.section(&format!("gpu-{at}"))).collect();
    let home = home(&sections);
    let key = home.key("app");
    let ember = home.serve();
    let up = |count: u64| {
        let servers = server_status(&home);
        let servers = servers["upstreams"].as_array().unwrap();
        servers.iter().filter(|one| one["healthy"] == true).count() as u64 == count
    };
    eventually("all are up", || up(3));
    backends[1..].iter().for_each(Backend::kill);
    let (_, lost) = load(&ember, &key, 16, &|number| number >= 160);
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(backends[0].users().len(), 160);
    // One that comes back before a check has missed it stays shut out for as long as its circuit is open, and with no
    // request to try it until the next check, which is not soon.
    eventually("they are known to be down", || {
        let servers = server_status(&home);
        let servers = servers["upstreams"].as_array().unwrap();
        servers.iter().filter(|one| one["state"] == "down").count() == 2
    });
    backends[1..].iter().for_each(Backend::revive);
    eventually("they are back", || up(3));
    let (_, lost) = load(&ember, &key, 16, &|number| number >= 160);
    assert!(lost.is_empty(), "{lost:?}");
    assert!(backends[1..].iter().all(|one| !one.users().is_empty()), "they serve again");
    adds_up(&home, 320);
}

#[test]
fn a_kept_connection_that_died_meanwhile_costs_no_request() {
    let backend = Backend::start();
    let home = home(&backend.section("gpu"));
    let key = home.key("app");
    let ember = home.serve();
    for round in 0..20 {
        ask(&ember, &key, &format!("{round}")).unwrap();
        backend.kill();
        backend.revive();
    }
    assert_eq!(backend.users().len(), 20);
    adds_up(&home, 20);
}

#[test]
fn a_server_that_hangs_up_at_once_gets_a_few_requests_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(drop));
    let good = Backend::start();
    let bad = format!("[[upstream]]\nname = \"bad\"\nurl = \"http://{address}\"\nmodels = [\"m\"]\n");
    let home = home(&format!("{bad}{}", good.section("good")));
    let key = home.key("app");
    let ember = home.serve();
    let (_, lost) = load(&ember, &key, 1, &|number| number >= 100);
    assert!(lost.len() <= 3, "{lost:?}");
    assert_eq!(good.users().len(), 100 - lost.len());
    eventually("it is known", || {
        let servers = server_status(&home);
        let state = &servers["upstreams"][0]["state"];
        *state == "down" || *state == "open"
    });
    adds_up(&home, 100);
}
