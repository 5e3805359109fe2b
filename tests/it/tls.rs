//! Every promise of the door holds over TLS: answers, streams, hang-ups, timers, ends; and what is shown follows its
//! files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use crate::ember::{Answer, Ember, Home, chat, eventually, request};
use crate::model::{Call, ModelServer, SOON, STREAM, delta};
use crate::pipe::{self, BOTH_VERSIONS, CERT_FILE, KEY_FILE, Pair, Pipe, SECTION};
use crate::wire::{End, Wire};

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
/// A busy machine is late; a timer that does not work is later.
const LATE: Duration = Duration::from_secs(5);

/// A home with a certificate; `server` are lines of the section `[server]`, `more` other sections.
fn home(server: &str, more: &str) -> Home {
    let home = Home::new(&format!("{server}\n{SECTION}{more}"));
    Pair::new().put(home.folder.path());
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

struct Scene {
    home: Home,
    ember: Ember,
    model: ModelServer,
    key: String,
}

fn scene(server: &str) -> Scene {
    let model = ModelServer::start();
    let home = home(server, &model.section(""));
    let key = home.key("app");
    let ember = home.serve();
    Scene { home, ember, model, key }
}

impl Scene {
    fn open(&self, versions: &[&'static SupportedProtocolVersion]) -> Wire {
        let trusted = self.ember.trust.as_ref().unwrap();
        Wire::over(Pipe::tls(&self.ember, pipe::client(trusted, versions, &[b"http/1.1"])).unwrap())
    }

    /// A stream under way: its first event has arrived.
    fn streaming(&self, version: &'static SupportedProtocolVersion, http: &str) -> (Wire, Call) {
        let mut wire = self.open(&[version]);
        wire.send(request("POST", CHAT, Some(&self.key), ASK).replace("HTTP/1.1", http));
        let mut call = self.model.call();
        call.say(STREAM);
        call.event("one");
        wire.read_until("one");
        (wire, call)
    }
}

#[test]
fn both_versions_of_tls_carry_a_stream_event_by_event() {
    let scene = scene("");
    for version in BOTH_VERSIONS {
        let mut wire = scene.open(&[version]);
        wire.send(request("POST", CHAT, Some(&scene.key), ASK).replace("Connection: close\r\n", ""));
        let mut call = scene.model.call();
        call.say(STREAM);
        for word in ["one", "two", "three"] {
            call.event(word);
            // The next is not sent before this one has arrived.
            wire.read_until(&delta(word));
        }
        call.done();
        wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
        // The connection is used again, and closed with a goodbye.
        wire.send(request("GET", "/v1/models", Some(&scene.key), ""));
        let (rest, end) = wire.rest();
        assert_eq!((Answer::parse(&rest).status, end), (200, End::Closed), "{version:?}");
    }
    assert_eq!(scene.ember.get("/v1/models", None).code(), "invalid_api_key");
}

#[test]
fn older_versions_and_strangers_certificates_come_to_nothing() {
    let scene = scene("");
    let trusted = scene.home.file("other.pem");
    std::fs::write(&trusted, Pair::new().chain).unwrap();
    let config = pipe::client(&trusted, BOTH_VERSIONS, &[]);
    assert!(Pipe::tls(&scene.ember, config).is_err(), "a client must be able to tell who this is");
    // A hello of TLS 1.0, in a record of its own.
    let hello: Vec<u8> = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0]].concat();
    let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    let record = [&[22, 3, 1, 0, message.len() as u8][..], &message].concat();
    let mut wire = Wire::over(Pipe::plain(&scene.ember));
    wire.send(record);
    let (answer, _) = wire.rest();
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
}

#[test]
fn http_2_is_agreed_on_in_the_handshake() {
    let home = home("", "[models]\necho = true\n");
    let key = home.key("good");
    let ember = home.serve();
    crate::http2::run(async {
        let (mut client, _ended) = crate::http2::http2_client(&ember, None).await;
        for (key, status) in [(None, 401), (Some(key.as_str()), 200)] {
            let body = chat("hello there", ",\"stream\":true");
            let answer = client.send_request(crate::http2::http2_request("POST", CHAT, key, body)).await;
            let answer = answer.unwrap();
            assert_eq!(answer.status(), status);
            let text = answer.into_body().collect().await.unwrap().to_bytes();
            let is_whole = text.ends_with(b"data: [DONE]\n\n");
            assert_eq!(is_whole, status == 200, "{text:?}");
        }
    });
}

#[test]
fn law_9_a_hang_up_over_tls_ends_the_model_servers_connection() {
    let scene = scene("");
    for version in BOTH_VERSIONS {
        // While an answer is under way hyper reads nothing; the supervisor looks for a hang-up, also behind stray bytes.
        let ways = ["goodbye", "close", "reset"].map(|how| [(how, ""), (how, "\r\n")]);
        for (how, stray) in ways.into_iter().flatten() {
            let (mut wire, mut call) = scene.streaming(version, "HTTP/1.1");
            wire.send(stray);
            let mut kept = None;
            match how {
                "goodbye" => {
                    wire.half_close();
                    kept = Some(wire);
                }
                "close" => drop(wire),
                _ => wire.reset(),
            }
            let taken = call.time_to_end();
            drop(kept);
            assert!(taken < SOON, "{how} behind {stray:?} with {version:?}: {taken:?}");
        }
    }
    // Before the first byte, too.
    let mut wire = scene.open(&[&TLS13]);
    wire.send(request("POST", CHAT, Some(&scene.key), ASK));
    let mut call = scene.model.call();
    wire.half_close();
    assert!(call.time_to_end() < SOON);
}

#[test]
fn law_6_a_broken_stream_has_no_goodbye() {
    let scene = scene("");
    for version in BOTH_VERSIONS {
        for http in ["HTTP/1.1", "HTTP/1.0"] {
            let (mut wire, call) = scene.streaming(version, http);
            call.reset();
            let (rest, end) = wire.rest();
            let rest = String::from_utf8(rest).unwrap();
            assert!(rest.contains("upstream_unavailable"), "{http}: {rest}");
            assert!(!rest.contains("[DONE]") && !rest.ends_with("0\r\n\r\n"), "{http}: a clean end: {rest}");
            assert_eq!(end, End::Reset, "{http} with {version:?}");
        }
        // Whole without chunks: the goodbye alone says so.
        let (mut wire, mut call) = scene.streaming(version, "HTTP/1.0");
        call.done();
        let (rest, end) = wire.rest();
        assert!(String::from_utf8(rest).unwrap().ends_with("data: [DONE]\n\n"));
        assert_eq!(end, End::Closed, "{version:?}");
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused_under_tls_too() {
    let scene = scene("");
    let get = format!("GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", scene.key);
    let answers = |text: String| {
        let mut wire = scene.open(BOTH_VERSIONS);
        wire.send(text);
        String::from_utf8(wire.rest().0).unwrap()
    };
    let odd = answers(format!("{get}X: a\n\r\n"));
    assert!(odd.starts_with("HTTP/1.1 400"), "{odd}");
    let unreadable = answers("\u{1}\u{2}\r\n\r\n".to_string());
    assert!(unreadable.contains("x-request-id"), "{unreadable}");
    let both = answers(format!("{get}\r\n{get}\r\n"));
    assert_eq!(both.matches("HTTP/1.1 200").count(), 1, "sent before the answer: {both}");
}

#[test]
fn a_client_that_takes_nothing_over_tls_is_gone_and_one_that_is_slow_is_not() {
    let scene = scene("write_timeout = \"1s\"");
    let (mut wire, mut call) = scene.streaming(&TLS13, "HTTP/1.1");
    call.flood();
    assert!(call.time_to_end() < LATE);
    assert_eq!(wire.rest().1, End::Reset);
    scene.ember.wait_for_log("client_gone");
    // Much more than any buffer, taken in pauses that are shorter than the timeout.
    let (mut wire, mut call) = scene.streaming(&TLS13, "HTTP/1.1");
    let events = 800;
    let writer = std::thread::spawn(move || {
        for _ in 0..events {
            call.event(&"much ".repeat(5000));
        }
        call.done();
    });
    // A megabyte each time: the kernel takes no more before a good part of its buffer is free.
    for _ in 0..15 {
        for _ in 0..40 {
            wire.read_until("\n\n");
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    let (rest, end) = wire.rest();
    assert!(rest.ends_with(b"0\r\n\r\n"), "{end:?} after {} bytes: {}", rest.len(), scene.ember.log());
    assert_eq!(end, End::Closed);
    writer.join().unwrap();
}

#[test]
fn an_answer_that_had_to_wait_for_its_client_comes_to_its_end() {
    let scene = scene("");
    let mut wire = scene.open(BOTH_VERSIONS);
    wire.send(request("POST", CHAT, Some(&scene.key), ASK).replace("Connection: close\r\n", ""));
    let mut call = scene.model.call();
    call.say(STREAM);
    let said = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&said);
    let writer = std::thread::spawn(move || {
        for _ in 0..800 {
            call.event(&"much ".repeat(5000));
            counted.fetch_add(1, SeqCst);
        }
        call.done();
    });
    let mut before = 0;
    eventually("full buffers", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = said.load(SeqCst);
        now > 0 && std::mem::replace(&mut before, now) == now
    });
    assert!(before < 800, "nothing had to wait");
    for _ in 0..800 {
        wire.read_until("\n\n");
    }
    // The connection stays open, so that its close can't push out what is left.
    wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
    writer.join().unwrap();
    wire.send(request("GET", "/v1/models", Some(&scene.key), ""));
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn a_handshake_that_does_not_come_to_its_end_is_ended() {
    let scene = scene("header_timeout = \"300ms\"\nconnections_max = 2\n");
    let began = Instant::now();
    let firsts: [&[u8]; 4] = [b"", &[22], &[22, 3, 1, 2, 0, 1], b"GE"];
    // More than the cap: each holds its place until its time is over.
    let mut wires: Vec<Wire> = firsts
        .iter()
        .map(|first| {
            let mut wire = Wire::over(Pipe::plain(&scene.ember));
            wire.send(first);
            wire
        })
        .collect();
    wires.iter_mut().for_each(|wire| drop(wire.rest()));
    assert!(began.elapsed() >= Duration::from_millis(540), "{:?}", began.elapsed());
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
    // The same once the handshake is over.
    let mut silent = scene.open(BOTH_VERSIONS);
    assert!(silent.time_to_end() < LATE);
    let mut wire = scene.open(BOTH_VERSIONS);
    wire.send(request("GET", "/v1/models", Some(&scene.key), ""));
    assert_eq!(wire.answer().status, 200);
}

#[test]
fn plain_http_is_told_to_use_https_and_garbage_is_closed() {
    let scene = scene("");
    for text in [request("GET", "/healthz", None, ""), request("POST", CHAT, Some(&scene.key), ASK)] {
        let mut wire = Wire::over(Pipe::plain(&scene.ember));
        wire.send(text);
        let (answer, end) = wire.rest();
        let answer = Answer::parse(&answer);
        assert_eq!((answer.status, answer.whole, end), (400, true, End::Closed));
        assert!(answer.text().contains("https://"), "{}", answer.text());
        assert!(!scene.ember.log().contains(&scene.key));
    }
    for garbage in ["get / HTTP/1.1\r\n\r\n", "\0\0\0\0", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", " "] {
        let mut wire = Wire::over(Pipe::plain(&scene.ember));
        wire.send(garbage);
        assert_eq!(wire.rest().0, b"", "{garbage:?}");
    }
    assert!(scene.model.is_untouched());
}

#[test]
fn a_drain_over_tls_lets_a_stream_finish_and_ends_the_rest() {
    let mut scene = scene("");
    let (mut wire, mut call) = scene.streaming(&TLS12, "HTTP/1.1");
    let mut silent = scene.open(BOTH_VERSIONS);
    let mut shaking = Wire::over(Pipe::plain(&scene.ember));
    shaking.send([22]);
    scene.ember.signal("TERM");
    assert!(silent.time_to_end() < SOON && shaking.time_to_end() < SOON);
    call.done();
    wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
    assert_eq!(wire.rest().1, End::Closed);
    assert_eq!(scene.ember.wait().code(), Some(0), "{}", scene.ember.log());
}

/// The certificate that a new connection is shown.
fn shown(ember: &Ember, trusted: &Pair, home: &Home) -> bool {
    let file = home.file("trusted.pem");
    std::fs::write(&file, &trusted.chain).unwrap();
    let Ok(pipe) = Pipe::tls(ember, pipe::client(&file, BOTH_VERSIONS, &[])) else { return false };
    pipe.connection().peer_certificates().unwrap()[0] == trusted.der()
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_nobody_is_dropped() {
    let scene = scene("");
    let (mut wire, mut call) = scene.streaming(&TLS13, "HTTP/1.1");
    let first = std::fs::read_to_string(scene.home.file(CERT_FILE)).unwrap();
    let second = Pair::new();
    // Half of it first, for longer than a look takes.
    std::fs::write(scene.home.file(CERT_FILE), &second.chain).unwrap();
    scene.ember.wait_for_log("the old one is shown still");
    let old = Pair { chain: first, key: String::new() };
    assert!(shown(&scene.ember, &old, &scene.home));
    std::fs::write(scene.home.file(KEY_FILE), &second.key).unwrap();
    eventually("the new certificate", || shown(&scene.ember, &second, &scene.home));
    assert!(!shown(&scene.ember, &old, &scene.home));
    call.event("two");
    wire.read_until("two");
    call.done();
    wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
    assert_eq!(scene.ember.log().matches("the old one is shown still").count(), 1);
    assert!(!scene.ember.log().contains("PRIVATE KEY"));
}

#[test]
fn files_that_can_not_be_used_are_refused_before_anything_is_served() {
    let home = home("", "");
    let (other, good) = (Pair::new(), std::fs::read_to_string(home.file(CERT_FILE)).unwrap());
    let key = std::fs::read_to_string(home.file(KEY_FILE)).unwrap();
    home.ok(&["account", "create", "ops@example.com"]);
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (chain, private, said) in [
        (None, Some(&*key), "server.tls.cert_file"),
        (Some(&*good), None, "server.tls.key_file"),
        (Some("none"), Some(&key), "server.tls.cert_file"),
        (Some(damaged), Some(&key), "server.tls.cert_file"),
        (Some(&*good), Some("none"), "server.tls.key_file"),
        (Some(&*good), Some(&other.key), "server.tls.key_file"),
    ] {
        for (file, text) in [(CERT_FILE, chain), (KEY_FILE, private)] {
            let _ = std::fs::remove_file(home.file(file));
            if let Some(text) = text {
                std::fs::write(home.file(file), text).unwrap();
            }
        }
        let file = if said.contains("cert") { CERT_FILE } else { KEY_FILE };
        for args in [&["serve"][..], &["config", "check"]] {
            let output = home.run(args);
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{args:?}: {stderr}");
            assert!(stderr.contains(said) && stderr.contains(home.file(file).to_str().unwrap()), "{stderr}");
            assert!(!stderr.contains("PRIVATE KEY"), "{stderr}");
        }
        // A key must be revocable all the same.
        home.ok(&["key", "list"]);
    }
    let text = std::fs::read_to_string(home.file("ember.toml")).unwrap();
    std::fs::write(home.file("ember.toml"), text.replace("key_file = \"key.pem\"\n", "")).unwrap();
    let output = home.run(&["config", "check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8(output.stderr).unwrap().contains("needs server.tls.key_file"));
}

#[test]
fn bug_a_start_between_the_writes_of_a_pair_waits_for_the_second() {
    let home = home("", "");
    let other = Pair::new();
    std::fs::write(home.file(KEY_FILE), &other.key).unwrap();
    let (command, file) = (home.command(&["serve"]), home.file(CERT_FILE));
    let starts = std::thread::spawn(move || Ember::start(command));
    std::thread::sleep(Duration::from_millis(700));
    std::fs::write(file, &other.chain).unwrap();
    assert!(starts.join().unwrap().log().contains("listening"));
}

#[test]
fn what_a_certificate_lacks_is_said_and_served_all_the_same() {
    let home = home("", "");
    for (from, until, said) in
        [(-30, -1, "it expired on"), (1, 30, "it holds from"), (-1, 2, "it expires in")]
    {
        Pair::valid_days(from, until).put(home.folder.path());
        let output = home.run(&["config", "check"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.contains(said), "{stderr}");
        let ember = home.serve();
        ember.wait_for_log(said);
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(home.file(KEY_FILE), std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.run(&["config", "check"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("chmod 600"));
}

#[test]
fn a_credential_of_the_service_manager_is_a_key_file() {
    let home = home("", "");
    let text = std::fs::read_to_string(home.file("ember.toml")).unwrap();
    let text = text.replace("\"key.pem\"", "\"credential:tls\"");
    std::fs::write(home.file("ember.toml"), text).unwrap();
    std::fs::create_dir(home.file("credentials")).unwrap();
    std::fs::rename(home.file(KEY_FILE), home.file("credentials/tls")).unwrap();
    let serve = home.run(&["serve"]);
    assert_eq!(serve.status.code(), Some(3));
    assert!(String::from_utf8(serve.stderr).unwrap().contains("needs CREDENTIALS_DIRECTORY"));
    // What is handed to the service alone keeps nobody else from anything.
    let check = home.run(&["config", "check"]);
    let said = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success() && said.contains("credential:tls is handed to the service"), "{said}");
    home.ok(&["account", "create", "ops@example.com"]);
    let mut command = home.command(&["serve"]);
    command.env("CREDENTIALS_DIRECTORY", home.file("credentials"));
    assert_eq!(Ember::start(command).get("/healthz", None).status, 200);
}

#[test]
fn everything_that_is_said_of_the_address_says_https() {
    let home = Home::new(&format!("{SECTION}[models]\necho = true\n"));
    Pair::new().put(home.folder.path());
    let file = home.file("first.env");
    let ember = Ember::start(home.command(&["up", "--out", file.to_str().unwrap()]));
    eventually("the first key", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("OPENAI_API_KEY"))
    });
    let text = std::fs::read_to_string(&file).unwrap();
    let url = format!("https://{}", ember.address);
    assert!(text.contains(&format!("OPENAI_BASE_URL={url}/v1\n")), "another address than the certificate's");
    eventually("the announcement", || ember.out().contains(&format!("Ember serves on {url}\n")));
    assert!(home.ok(&["status"]).contains(&url));
    // People may sign in over it, and their cookies never go unencrypted.
    let page = ember.send(
        format!("GET /sign-in HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", ember.address).as_bytes(),
    );
    let cookie = page.header("set-cookie").unwrap();
    assert!(page.status == 200 && cookie.starts_with("__Host-") && cookie.contains("Secure"), "{cookie}");
    assert!(page.text().contains("type=\"password\""), "{}", page.text());
}

#[test]
fn an_open_door_without_tls_is_warned_of() {
    const SAID: &str = "keys travel unencrypted";
    for (listen, more, is_said) in [
        ("127.0.0.1:0", "", false),
        ("0.0.0.0:0", "", true),
        ("0.0.0.0:0", "trusted_proxies = [\"10.0.0.1\"]\n", false),
        ("0.0.0.0:0", SECTION, false),
    ] {
        let home = Home::new("");
        Pair::new().put(home.folder.path());
        std::fs::write(home.file("ember.toml"), format!("[server]\nlisten = \"{listen}\"\n{more}")).unwrap();
        let ember = home.serve();
        // What stands after the warning has been written.
        ember.signal("TERM");
        ember.wait_for_log("draining");
        assert_eq!(ember.log().contains(SAID), is_said, "{listen} {more}: {}", ember.log());
    }
}

#[test]
fn whoever_asks_for_a_proof_gets_nothing_else() {
    let scene = scene("");
    let trusted = scene.ember.trust.as_ref().unwrap();
    for inside in [&[&b"acme-tls/1"[..]][..], &[b"h2", b"acme-tls/1"]] {
        // Nothing is to be proven here.
        assert!(Pipe::tls(&scene.ember, pipe::client(trusted, BOTH_VERSIONS, inside)).is_err());
    }
}
