//! Model servers behind https: who is believed and who is not, what is said when one is not, and that all that holds over
//! TCP (connections kept, hang-ups, broken streams) holds over TLS.

use std::net::TcpListener;

use rcgen::date_time_ymd;

use crate::ember::{Answer, Ember, Home};
use crate::model::{ModelServer, SOON, home};
use crate::secured::{Authority, Call, MODERN, OLDER, Secured, Shown, config, self_made};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","messages":[]}"#;
const ASK_STREAM: &str =
    r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
/// The head of a stream whose end only the end of the connection tells.
const ENDLESS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";

/// A home in front of a model server at an https URL, with `ca` in ca.pem.
fn home_at(url: &str, ca: &str, more: &str) -> Home {
    let home = home(&section(url, &format!("ca_file = \"ca.pem\"\n{more}")));
    std::fs::write(home.file("ca.pem"), ca).unwrap();
    home
}

fn section(url: &str, more: &str) -> String {
    format!("[[upstream]]\nname = \"gpu\"\nurl = \"{url}\"\nmodels = [\"m\"]\n{more}\n")
}

fn url(server: &Secured) -> String {
    format!("https://{}", server.address)
}

struct Scene {
    home: Home,
    ember: Ember,
    model: Secured,
    key: String,
}

fn scene(versions: &[&'static rustls::SupportedProtocolVersion]) -> Scene {
    let ca = Authority::new();
    let model = Secured::start(config(ca.issue(&["127.0.0.1"]), versions));
    let home = home_at(&url(&model), &ca.pem, "");
    scene_of(home, model)
}

/// Commands need ca.pem, so accounts and keys are made after it is there.
fn scene_of(home: Home, model: Secured) -> Scene {
    let key = home.key("app");
    let ember = home.serve();
    Scene { home, ember, model, key }
}

impl Scene {
    fn ask(&self, body: &str) -> Wire {
        ask(&self.ember, &self.key, body)
    }

    /// Asks until a request comes by another connection. What crosses with the end of the old one is lost, as over TCP.
    fn ask_anew(&self) -> (Wire, Call) {
        for _ in 0..10 {
            let mut wire = self.ask(ASK);
            while wire.is_silent(std::time::Duration::from_millis(5)) {
                if let Some(call) = self.model.call_by_now() {
                    return (wire, call);
                }
            }
            assert_eq!(wire.answer().status, 502);
        }
        panic!("the closed connection is used again and again")
    }
}

fn ask(ember: &Ember, key: &str, body: &str) -> Wire {
    let mut wire = Wire::open(ember);
    wire.send(format!(
        "POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    wire
}

fn many_requests_in_turn(versions: &[&'static rustls::SupportedProtocolVersion], talks: bool) {
    let scene = scene(versions);
    let mut wire = scene.ask(ASK);
    let mut call = scene.model.call();
    let first = call.connection;
    for number in 0..50 {
        let body = format!("{{\"n\":{number}}}");
        call.json(&body);
        assert_eq!(wire.answer().text(), body);
        if talks {
            call.small_talk();
        }
        wire = scene.ask(ASK);
        call = call.next();
    }
    call.json("{}");
    assert_eq!(wire.answer().status, 200);
    assert_eq!(call.connection, first);
    assert!(scene.model.is_untouched(), "all went over one connection");
}

#[test]
fn many_requests_go_over_one_connection_of_tls_1_3_with_its_tickets() {
    many_requests_in_turn(MODERN, false);
}

#[test]
fn what_tls_says_for_itself_between_answers_ends_no_connection() {
    many_requests_in_turn(MODERN, true);
}

#[test]
fn many_requests_go_over_one_connection_of_tls_1_2() {
    many_requests_in_turn(OLDER, false);
}

#[test]
fn a_connection_that_the_server_closed_is_not_used_again() {
    let scene = scene(MODERN);
    for says_so in [true, false] {
        let mut wire = scene.ask(ASK);
        let mut call = scene.model.call();
        call.json("{}");
        assert_eq!(wire.answer().status, 200);
        let _still_there = if says_so {
            call.close_notify();
            Some(call)
        } else {
            drop(call);
            None
        };
        let (mut wire, mut call) = scene.ask_anew();
        call.json("{\"right\":1}");
        assert_eq!(wire.answer().text(), "{\"right\":1}");
        call.close_notify();
    }
}

#[test]
fn the_name_is_sent_along_and_the_host_is_what_the_url_says() {
    let ca = Authority::new();
    let model = Secured::start(config(ca.issue(&["localhost"]), MODERN));
    let port = model.address.port();
    let scene = scene_of(home_at(&format!("https://localhost:{port}"), &ca.pem, ""), model);
    let mut wire = scene.ask(ASK);
    let mut call = scene.model.call();
    assert_eq!(call.wire.conn.server_name(), Some("localhost"));
    assert_eq!(call.wire.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(
        call.head.to_ascii_lowercase().contains(&format!("\r\nhost: localhost:{port}\r\n")),
        "{}",
        call.head
    );
    call.json("{}");
    assert_eq!(wire.answer().status, 200);
    let models: serde_json::Value =
        serde_json::from_str(&scene.home.ok(&["model", "list", "-o", "json"])).unwrap();
    assert!(models.to_string().contains("\"m\""), "{models}");
    let status = scene.home.ok(&["status", "-o", "json"]);
    assert!(status.contains("\"healthy\": true"), "{status}");
}

/// A server that is not believed: callers get 502 without a word of why, the log says it once, and `status` has it.
fn is_not_believed(shown: Shown, ca: &str, host: &str, said: &str) {
    let model = Secured::start(config(shown, MODERN));
    let address = format!("https://{host}:{}", model.address.port());
    refused(&home_at(&address, ca, ""), said);
    assert!(model.is_untouched(), "nothing of a request was written");
}

fn refused(home: &Home, said: &str) {
    let key = home.key("app");
    let ember = home.serve();
    ember.wait_for_log("no TLS to the model server");
    for _ in 0..3 {
        let answer = ember.post(CHAT, Some(&key), ASK);
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unavailable"));
        assert!(
            !answer.text().contains("certificate") && !answer.text().contains("TLS"),
            "{}",
            answer.text()
        );
    }
    let log = ember.log();
    assert!(log.contains(said), "{said:?} is not in {log}");
    assert_eq!(log.matches("no TLS to the model server").count(), 1, "{log}");
    assert!(home.ok(&["status", "-o", "json"]).contains("no TLS; the log says why"));
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let ca = Authority::new();
    let said = "localhost is expected, and the certificate is for other.test, 192.0.2.7";
    is_not_believed(ca.issue(&["other.test", "192.0.2.7"]), &ca.pem, "localhost", said);
    let said = "127.0.0.1 is expected, and the certificate is for localhost";
    is_not_believed(ca.issue(&["localhost"]), &ca.pem, "127.0.0.1", said);
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let ca = Authority::new();
    let old = ca.issue_with(&["127.0.0.1"], |params| params.not_after = date_time_ymd(2020, 1, 2));
    is_not_believed(old, &ca.pem, "127.0.0.1", "the certificate of 127.0.0.1 expired at 2020-01-02T00:00:00");
    let young = ca.issue_with(&["127.0.0.1"], |params| params.not_before = date_time_ymd(2200, 1, 2));
    is_not_believed(young, &ca.pem, "127.0.0.1", "is not valid before 2200-01-02T00:00:00");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_with_a_word_about_ca_file() {
    let said = "nobody who is trusted has issued the certificate of 127.0.0.1; name the certificate";
    let ours = Authority::new();
    for theirs in [Authority::named("another one"), Authority::new()] {
        is_not_believed(theirs.issue(&["127.0.0.1"]), &ours.pem, "127.0.0.1", said);
    }
}

#[test]
fn a_server_that_vouches_for_itself_is_believed_by_its_own_certificate_unless_it_claims_to_be_an_authority() {
    let shown = self_made(&["127.0.0.1"], false);
    let pem = shown.pem.clone();
    let model = Secured::start(config(shown, MODERN));
    let scene = scene_of(home_at(&url(&model), &pem, ""), model);
    let mut wire = scene.ask(ASK);
    scene.model.call().json("{}");
    assert_eq!(wire.answer().status, 200);

    let shown = self_made(&["127.0.0.1"], true);
    let pem = shown.pem.clone();
    is_not_believed(shown, &pem, "127.0.0.1", "says that it is an authority's (CA:TRUE)");
}

#[test]
fn a_plain_server_at_an_https_url_is_told_apart() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let home = home_at(&format!("https://{address}"), &Authority::new().pem, "");
    refused(&home, "what 127.0.0.1 says is no TLS; is it a server for http://?");
}

#[test]
fn a_handshake_that_hangs_takes_no_longer_than_connect_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let home = home_at(&format!("https://{address}"), &Authority::new().pem, "connect_timeout = \"300ms\"");
    let (key, ember) = (home.key("app"), home.serve());
    let began = std::time::Instant::now();
    let answer = ember.post(CHAT, Some(&key), ASK);
    assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn after_a_failed_handshake_the_next_server_gets_the_request() {
    let ca = Authority::new();
    let first = Secured::start(config(ca.issue(&["127.0.0.1"]), MODERN));
    let second = ModelServer::start();
    let sections = format!("{}\n{}", section(&url(&first), "ca_file = \"ca.pem\""), second.section(""));
    let home = home(&sections);
    std::fs::write(home.file("ca.pem"), &ca.pem).unwrap();
    let (key, ember) = (home.key("app"), home.serve());
    ember.wait_for_log("\"upstream\":\"gpu\"");
    let mut wire = ask(&ember, &key, ASK);
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    first.call().say(close);
    assert_eq!(wire.answer().status, 200, "the first is asked first");

    first.show(config(Authority::new().issue(&["127.0.0.1"]), MODERN));
    let mut wire = ask(&ember, &key, ASK);
    second.call().json("200 OK", "{\"second\":1}");
    assert_eq!(wire.answer().text(), "{\"second\":1}");
    ember.wait_for_log("nobody who is trusted has issued the certificate");
    assert!(first.is_untouched());

    // What is wrong is said anew when it is wrong again.
    first.show(config(ca.issue(&["127.0.0.1"]), MODERN));
    crate::ember::eventually("the first server to be up", || {
        home.ok(&["status", "-o", "json"]).matches("no TLS").count() == 0
    });
}

#[test]
fn law_6_a_tls_stream_that_is_cut_off_never_looks_like_a_whole_one() {
    let scene = scene(MODERN);
    let mut wire = scene.ask(ASK_STREAM);
    let mut call = scene.model.call();
    call.say(&format!("{ENDLESS}{EVENT}data: [DONE]\n\n"));
    call.close_notify();
    let whole = wire.answer();
    assert_eq!((whole.whole, whole.text().contains("error")), (true, false), "{}", whole.text());

    let mut wire = scene.ask(ASK_STREAM);
    let mut call = scene.model.call();
    call.say(&format!("{ENDLESS}{EVENT}"));
    drop(call);
    let cut = String::from_utf8(wire.rest().0).unwrap();
    assert!(cut.contains("upstream_unavailable") && !cut.contains("[DONE]"), "{cut}");
}

#[test]
fn law_6_an_answer_of_unknown_length_that_is_cut_off_is_not_whole() {
    let scene = scene(MODERN);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    let mut wire = scene.ask(ASK);
    let mut call = scene.model.call();
    call.say(&format!("{head}{{\"whole\":1}}"));
    call.close_notify();
    assert_eq!(wire.answer().text(), "{\"whole\":1}");

    let mut wire = scene.ask(ASK);
    let mut call = scene.model.call();
    call.say(&format!("{head}{{\"half\":"));
    drop(call);
    let answer = Answer::parse(&wire.rest().0);
    assert!(!answer.whole, "{answer:?}");
}

#[test]
fn law_9_a_hang_up_closes_the_tls_connection_within_a_second() {
    let scene = scene(MODERN);
    let before = scene.ask(ASK);
    let mut call = scene.model.call();
    drop(before);
    assert!(call.time_to_end() < SOON);

    let mut within = scene.ask(ASK_STREAM);
    let mut call = scene.model.call();
    call.say(&format!("{ENDLESS}{EVENT}"));
    within.read_until("\"a\"");
    drop(within);
    assert!(call.time_to_end() < SOON);
}

#[test]
fn law_13_a_ca_file_that_is_of_no_use_is_a_fault() {
    let ca = Authority::new().pem;
    let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (url, content, said) in [
        ("https://gpu", None, "ca.pem can't be read"),
        ("https://gpu", Some(""), "ca.pem has no certificate in PEM"),
        ("https://gpu", Some(damaged), "ca.pem: the certificate is damaged"),
        ("http://gpu", Some(&*ca), "ca_file has an effect only where url begins with https://"),
    ] {
        let home = Home::new(&section(url, "ca_file = \"ca.pem\""));
        if let Some(content) = content {
            std::fs::write(home.file("ca.pem"), content).unwrap();
        }
        for command in [&["config", "check"][..], &["serve"]] {
            let output = home.run(command);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{text}");
            assert!(text.contains("ember.toml:7:11: ") && text.contains(said), "{text}");
        }
    }
}

#[test]
fn without_ca_file_those_count_whom_the_system_trusts() {
    let ca = Authority::new();
    let model = Secured::start(config(ca.issue(&["127.0.0.1"]), MODERN));
    let home = home(&section(&url(&model), ""));
    let key = home.key("app");
    for (name, content) in [("system.pem", &*ca.pem), ("empty.pem", "")] {
        std::fs::write(home.file(name), content).unwrap();
    }
    let serve = |file: &str| {
        let mut command = home.command(&["serve"]);
        command.env("SSL_CERT_FILE", home.file(file));
        command
    };
    let refusal = serve("empty.pem").output().unwrap();
    let text = String::from_utf8(refusal.stderr).unwrap();
    assert_eq!(refusal.status.code(), Some(3), "{text}");
    assert!(text.contains("this system trusts no certificates") && text.contains("with ca_file"), "{text}");

    let ember = Ember::start(serve("system.pem"));
    let mut wire = ask(&ember, &key, ASK);
    model.call().json("{}");
    assert_eq!(wire.answer().status, 200);
    drop(ember);

    // One that is named takes their place.
    let text = std::fs::read_to_string(home.file("ember.toml")).unwrap() + "ca_file = \"other.pem\"\n";
    std::fs::write(home.file("ember.toml"), text).unwrap();
    std::fs::write(home.file("other.pem"), Authority::new().pem).unwrap();
    let ember = Ember::start(serve("system.pem"));
    assert_eq!(ember.post(CHAT, Some(&key), ASK).status, 502);
    assert!(model.is_untouched());
}

#[test]
fn a_key_that_would_travel_in_clear_is_warned_of() {
    for (url, warns) in [
        ("http://gpu.example.com", true),
        ("http://192.0.2.7:8000", true),
        ("http://10.0.0.7:8000", false),
        ("https://gpu.example.com", false),
    ] {
        let home = Home::new(&section(url, "api_key_file = \"upstream.key\""));
        std::fs::write(home.file("upstream.key"), "sk-0123456789").unwrap();
        std::fs::write(home.file("system.pem"), Authority::new().pem).unwrap();
        let mut check = home.command(&["config", "check"]);
        let output = check.env("SSL_CERT_FILE", home.file("system.pem")).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        assert_eq!(text.contains("in clear; use https://"), warns, "{url}: {text}");
    }
}

#[test]
fn the_doctor_says_on_stderr_what_does_not_fit() {
    let model = Secured::start(config(Authority::new().issue(&["127.0.0.1"]), MODERN));
    let home = home_at(&url(&model), &Authority::new().pem, "");
    let output = home.run(&["doctor"]);
    let (found, reason) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(found.contains("the warning on stderr says what does not fit"), "{found}");
    assert!(reason.contains("nobody who is trusted has issued the certificate"), "{reason}");
}
