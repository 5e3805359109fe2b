//! The beginning and the end of a server: what `up` makes, shows and refuses, and how a stop is carried out.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ember::{Answer, Ember, Home, chat, eventually, files_below, request};
use crate::model::{Call, ModelServer, SOON, STREAM};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";
const ASK: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;

/// A server with a stream under way.
fn streaming(server: &str) -> (Home, Ember, ModelServer, Wire, Call) {
    let model = ModelServer::start();
    let home = model.home(server, "");
    let key = home.key("app");
    let ember = home.serve();
    let mut wire = Wire::open(&ember);
    wire.send(request("POST", CHAT, Some(&key), ASK));
    let mut call = model.call();
    call.say(STREAM);
    call.event("one");
    wire.read_until("one");
    (home, ember, model, wire, call)
}

fn refuses_connections(ember: &Ember) -> bool {
    TcpStream::connect(ember.address).is_err()
}

#[test]
fn a_stop_lets_what_is_under_way_finish_and_takes_nothing_new() {
    for signal in ["TERM", "INT"] {
        let (_home, mut ember, _model, mut wire, mut call) = streaming("");
        let mut idle = Wire::open(&ember);
        idle.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        idle.answer();
        let mut silent = Wire::open(&ember);
        ember.signal(signal);
        eventually("a closed door", || refuses_connections(&ember));
        assert!(idle.time_to_end() < SOON && silent.time_to_end() < SOON, "idle connections are ended");
        call.event("two");
        wire.read_until("two");
        call.done();
        wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
        assert_eq!(ember.wait().code(), Some(0), "{signal}: {}", ember.log());
    }
}

#[test]
fn a_stop_without_anything_under_way_is_quick() {
    let home = Home::with_echo();
    let mut ember = home.serve();
    let mut kept = Wire::open(&ember);
    kept.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    kept.answer();
    let began = Instant::now();
    ember.signal("TERM");
    assert_eq!(ember.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(!home.data().join("ember.sock").exists() || home.run(&["status"]).status.code() == Some(5));
}

#[test]
fn law_6_a_stream_that_outlasts_the_drain_is_cut_with_an_error() {
    let (_home, mut ember, _model, mut wire, mut call) = streaming("drain_timeout = \"300ms\"");
    let began = Instant::now();
    ember.signal("TERM");
    call.time_to_end();
    assert!(began.elapsed() >= Duration::from_millis(270), "cut before its time");
    let rest = String::from_utf8(wire.rest().0).unwrap();
    assert!(rest.contains(r#""code":"overloaded""#), "{rest}");
    assert!(!rest.ends_with("0\r\n\r\n") && !rest.contains("[DONE]"), "a clean end: {rest}");
    assert_eq!(ember.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn what_has_not_begun_by_the_end_of_the_drain_is_told_so() {
    let model = ModelServer::start();
    let home = model.home("drain_timeout = \"300ms\"", "");
    let key = home.key("app");
    let mut ember = home.serve();
    let mut wire = Wire::open(&ember);
    wire.send(request("POST", CHAT, Some(&key), ASK));
    let mut call = model.call();
    ember.signal("TERM");
    call.time_to_end();
    let answer = Answer::parse(&wire.rest().0);
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(ember.wait().code(), Some(0));
}

#[test]
fn a_client_that_reads_nothing_does_not_hold_the_end_up() {
    let model = ModelServer::start();
    let home = model.home("drain_timeout = \"300ms\"", "");
    let key = home.key("app");
    let mut ember = home.serve();
    let mut wire = Wire::open(&ember);
    wire.send(request("POST", CHAT, Some(&key), ASK));
    let mut call = model.call();
    call.say(STREAM);
    assert!(call.flood());
    let began = Instant::now();
    ember.signal("TERM");
    assert_eq!(ember.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!Answer::parse(&wire.rest().0).whole);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for signals in [["TERM", "TERM"], ["INT", "INT"], ["TERM", "INT"]] {
        let (_home, mut ember, _model, mut wire, _call) = streaming("");
        ember.signal(signals[0]);
        ember.wait_for_log("draining");
        let began = Instant::now();
        ember.signal(signals[1]);
        assert_eq!(ember.wait().code(), Some(130), "{signals:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert!(!wire.rest().0.ends_with(b"0\r\n\r\n"));
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn up(home: &Home, more: &[&str]) -> Ember {
    Ember::start(home.command(&[&["up"], more].concat()))
}

fn echo_home() -> Home {
    Home::new("[models]\necho = true\n")
}

fn key_in(text: &str) -> String {
    let at = text.find("ember_dev_").unwrap_or_else(|| panic!("no key: {text}"));
    text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn answers(ember: &Ember, key: &str) -> bool {
    ember.post(CHAT, Some(key), &chat("hello", "")).status == 200
}

#[test]
fn up_makes_an_administrator_and_a_key_once() {
    let home = echo_home();
    let ember = up(&home, &[]);
    eventually("the snippets", || ember.out().contains("choices[0]"));
    let out = ember.out();
    let key = key_in(&out);
    let password = out.lines().find_map(|line| line.trim().strip_prefix("Password")).unwrap().trim();
    let password = password.split(' ').next().unwrap();
    assert!(out.contains("admin@localhost") && out.contains(&format!("{}/v1", ember.url())), "{out}");
    eventually("the model", || answers(&ember, &key));
    assert_eq!((mode(&home.data()), mode(&home.data().join("ember.redb"))), (0o700, 0o600));
    assert!(ember.stop().success());
    // Law 2: what was shown is nowhere else.
    for (path, bytes) in files_below(home.folder.path()) {
        for secret in [key.as_str(), password] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret in {}", path.display());
        }
    }
    let again = up(&home, &[]);
    eventually("the announcement", || again.out().contains("already"));
    assert!(!again.out().contains("ember_dev_") && !again.out().contains("Password"), "{}", again.out());
    eventually("the model", || answers(&again, &key));
    assert_eq!(home.ok(&["key", "list", "-o", "plain"]).lines().count(), 1);
    assert_eq!(home.ok(&["account", "list", "-o", "plain"]).lines().count(), 1);
}

#[test]
fn the_curl_line_that_up_prints_works() {
    let home = echo_home();
    let ember = up(&home, &[]);
    eventually("the snippets", || ember.out().contains("choices[0]"));
    let out = ember.out();
    let curl: String = out[out.find("curl").unwrap()..].split("\n\n").next().unwrap().into();
    eventually("the model", || answers(&ember, &key_in(&out)));
    let mut command = std::process::Command::new("sh");
    if let Some(trusted) = &ember.trust {
        command.env("CURL_CA_BUNDLE", trusted);
    }
    let said = command.arg("-c").arg(format!("{curl} --silent --fail")).output().unwrap();
    assert!(said.status.success(), "{curl}\n{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stdout).contains("chat.completion"));
}

#[test]
fn up_writes_its_secrets_into_a_file_that_is_new_and_closed_to_others() {
    let home = echo_home();
    let file = home.file("secrets.env");
    let out = ["--out", file.to_str().unwrap()];
    std::fs::write(&file, "precious").unwrap();
    let refused = home.run(&[&["up", "--listen", "127.0.0.1:0"], &out[..]].concat());
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("secrets.env") && stderr.contains("--out"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(home.ok(&["account", "list", "-o", "plain"]), "", "nothing was made that nobody was shown");
    std::fs::remove_file(&file).unwrap();
    let ember = up(&home, &out);
    assert_eq!(mode(&file), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let key = key_in(&text);
    assert!(
        text.contains("# Password: ") && text.contains(&format!("OPENAI_BASE_URL={}/v1", ember.url())),
        "{text}"
    );
    assert!(!ember.out().contains(&key) && !ember.log().contains(&key));
    eventually("the model", || answers(&ember, &key));
    assert!(ember.stop().success());
    // The same command again serves again, and leaves the file alone.
    let again = up(&home, &out);
    eventually("the model", || answers(&again, &key));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn an_address_that_is_taken_is_said_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for verb in ["up", "serve"] {
        let home = echo_home();
        let output = home.run(&[verb, "--listen", &address]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {stderr}");
        assert!(stderr.contains(&address) && stderr.contains("--listen"), "{verb}: {stderr}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("ember_dev_"), "a key that leads nowhere");
        assert_eq!(home.ok(&["account", "list", "-o", "plain"]), "");
    }
}

/// The command with `JOURNAL_STREAM` as systemd sets it: its stdout's device and inode.
fn into_the_journal(command: &std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "JOURNAL_STREAM=$(stat -Lc %d:%i /proc/$$/fd/1); export JOURNAL_STREAM; exec \"$@\"",
        "sh",
    ]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.env_clear().env("PATH", "/usr/bin:/bin");
    shell.current_dir(command.get_current_dir().unwrap());
    shell
}

#[test]
fn bug_an_inherited_journal_stream_does_not_hide_the_first_key() {
    let home = echo_home();
    let mut command = home.command(&["up"]);
    command.env("JOURNAL_STREAM", "8:12345");
    let ember = Ember::start(command);
    eventually("the first key", || ember.out().contains("ember_dev_"));
}

#[test]
fn where_output_is_kept_up_makes_no_secret_and_says_what_does() {
    let home = echo_home();
    let ember = Ember::start(into_the_journal(&home.command(&["up"])));
    eventually("the announcement", || ember.out().contains("ember key create"));
    assert!(!ember.out().contains("ember_dev_") && !ember.log().contains("ember_dev_"));
    assert!(ember.out().contains("ember account create"), "{}", ember.out());
    assert_eq!(home.ok(&["account", "list", "-o", "plain"]), "");
    // With a file to put them into it makes them all the same.
    assert!(ember.stop().success());
    let file = home.file("secrets.env");
    let command = home.command(&["up", "--out", file.to_str().unwrap()]);
    let ember = Ember::start(into_the_journal(&command));
    let key = key_in(&std::fs::read_to_string(&file).unwrap());
    eventually("the model", || answers(&ember, &key));
    assert!(!ember.out().contains("ember_dev_") && !ember.log().contains("ember_dev_"));
}

#[test]
fn serve_makes_nothing_and_says_how_to_begin() {
    let home = echo_home();
    let ember = home.serve();
    ember.wait_for_log("account create");
    ember.wait_for_log("key create");
    assert_eq!(ember.get("/v1/models", None).code(), "invalid_api_key");
    assert_eq!(ember.get("/v1/models", Some("ember_dev_x")).code(), "invalid_api_key");
    assert_eq!(home.ok(&["key", "list", "-o", "plain"]), "");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let key = home.key("first");
    assert_eq!(ember.get("/v1/models", Some(&key)).status, 200, "at once effective");
}

#[test]
fn up_uses_the_model_servers_it_is_given() {
    let (one, two) = (ModelServer::start(), ModelServer::start());
    let home = Home::new("");
    let (first, second) = (format!("http://{}", one.address), format!("http://{}/v1", two.address));
    let ember = up(&home, &["--upstream", &first, "--upstream", &second]);
    eventually("the snippets", || ember.out().contains("choices[0]"));
    let key = key_in(&ember.out());
    assert!(ember.out().contains("Models: m\n"), "{}", ember.out());
    let mut wire = Wire::open(&ember);
    wire.send(request("POST", CHAT, Some(&key), ASK));
    let mut call = one.call();
    assert!(call.head.starts_with(&format!("POST {CHAT} HTTP/1.1\r\n")), "{}", call.head);
    // The first is busy: the second is asked.
    let mut other = Wire::open(&ember);
    other.send(request("POST", CHAT, Some(&key), ASK));
    let mut second = two.call();
    assert!(second.head.starts_with(&format!("POST {CHAT} HTTP/1.1\r\n")), "{}", second.head);
    for (call, wire) in [(&mut call, &mut wire), (&mut second, &mut other)] {
        call.say(STREAM);
        call.done();
        wire.read_until("[DONE]\n\n\r\n0\r\n\r\n");
    }
}
