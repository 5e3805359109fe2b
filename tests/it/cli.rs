//! The command line, with the server stopped and running.

use std::collections::BTreeSet;
use std::io::pipe;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use ember_gateway::types::{Environment, Key, Random, RandomUnavailable};
use serde_json::Value;

use crate::ember::Home;
use crate::transcript::replay;

fn commands() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/commands.txt")
}

/// With links that look the same whatever port is free.
const SETTINGS: &str = "public_url = \"https://ember.example.com\"\n[dashboard]\nsign_up = \"invite\"\n";

/// A process that changes the store itself logs what it did.
fn is_log(line: &str) -> bool {
    line.contains(" INFO audit: ")
}

#[test]
fn a_session_with_the_server_stopped_is_as_it_is_written_down() {
    replay(&Home::new(SETTINGS), &commands(), is_log);
}

#[test]
fn the_same_session_with_the_server_running_is_no_different() {
    let home = Home::new(SETTINGS);
    let _server = home.serve();
    replay(&home, &commands(), is_log);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("it was killed: {}", text(&output.stderr)))
}

/// The exit code and the error, which must be one.
fn refused(output: &Output) -> (i32, String) {
    let error = text(&output.stderr);
    assert!(error.contains("error: "), "{error}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    (exit(output), error)
}

fn home() -> Home {
    let home = Home::new("");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn json(home: &Home, args: &[&str]) -> Value {
    serde_json::from_str(&home.ok(&[args, &["-o", "json"]].concat())).unwrap()
}

struct Same(u8);

impl Random for Same {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(self.0);
        Ok(())
    }
}

/// A key of the right shape that nobody issued.
fn never_issued() -> String {
    Key::generate(Environment::Dev, &Same(7)).unwrap().expose().to_string()
}

#[test]
fn a_piped_key_stands_alone_on_stdout_and_nowhere_else() {
    let home = home();
    for running in [false, true] {
        let _server = running.then(|| home.serve());
        let output = home.run(&["key", "create", "--account", "ana@example.com", "--name", "piped"]);
        let key = text(&output.stdout);
        assert!(Key::parse(key.strip_suffix('\n').unwrap().as_bytes()).is_ok(), "{key:?}");
        assert!(!text(&output.stderr).contains(key.trim()));
        let quiet = home.run(&["-q", "key", "create", "--account", "ana@example.com", "--name", "quiet"]);
        assert_eq!(exit(&quiet), 0);
        assert!(Key::parse(text(&quiet.stdout).trim_end().as_bytes()).is_ok());
    }
}

#[test]
fn a_key_in_a_file_is_for_its_owner_only_and_never_replaces_one() {
    let home = home();
    let file = home.file("a key.txt");
    let path = file.to_str().unwrap();
    let create = ["key", "create", "--account", "ana@example.com", "--name", "filed", "--out", path];
    let output = home.run(&create);
    assert_eq!((exit(&output), text(&output.stdout)), (0, String::new()));
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(Key::parse(key.trim_end().as_bytes()).is_ok());
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!text(&output.stderr).contains(key.trim_end()));
    assert_eq!(refused(&home.run(&create)).0, 7);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), key);
    let rotate = home.run(&["key", "rotate", "filed", "--out", path]);
    assert_eq!(refused(&rotate).0, 7);
    let status = json(&home, &["key", "list"]);
    assert_eq!(status["data"].as_array().unwrap().len(), 1, "a key that could not be kept was issued");
    assert_eq!(status["data"][0]["secrets"].as_array().unwrap().len(), 1);
    let nowhere = home.run(&["key", "rotate", "filed", "--out", "/no/such/directory/key"]);
    assert_eq!(refused(&nowhere).0, 1);
    let other = home.file("other.txt");
    let failed = home.run(&["key", "rotate", "nothing", "--out", other.to_str().unwrap()]);
    assert_eq!(refused(&failed).0, 6);
    assert!(!other.exists(), "an empty file was left");
    let listed = home.run(&["key", "rotate", "filed", "--out", other.to_str().unwrap(), "-o", "json"]);
    let told: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(told.get("key").is_none(), "the key is in the file and nowhere else");
}

#[test]
fn a_whole_key_on_the_command_line_is_refused_without_an_echo() {
    let home = home();
    let key = home.key("app");
    let lines: [&[&str]; 7] = [
        &["key", "show", &key],
        &["key", "revoke", &key, "-y"],
        &["key", "create", "--account", "ana@example.com", "--name", &key],
        &["key", "create", "--account", "ana@example.com", &format!("--name=my {key}!")],
        &["key", "revoke", "app", "--reason", &format!("found {key} in a repository")],
        &["account", "create", &format!("x{key}@example.com")],
        &["--data", &format!("/tmp/{key}"), "key", "list"],
    ];
    for line in lines {
        let output = home.run(line);
        let (code, error) = refused(&output);
        assert_eq!(code, 2, "{error}");
        assert!(!error.contains(&key[10..]), "it was echoed: {error}");
    }
    assert_eq!(json(&home, &["key", "show", "app"])["status"], "active");
}

#[test]
fn every_exit_code_says_what_went_wrong() {
    let home = home();
    assert_eq!(exit(&home.run(&["status"])), 5, "no server runs");
    let unknown = home.run_with(&["key", "verify"], &never_issued());
    let (code, error) = refused(&unknown);
    assert_eq!(code, 6);
    assert!(error.contains("never issued"), "{error}");
    assert!(!error.contains(&never_issued()));
    let empty = Home::new("");
    for command in [["key", "list"], ["account", "list"], ["token", "list"], ["model", "list"]] {
        let (code, error) = refused(&empty.run(&command));
        assert_eq!(code, 6, "{error}");
        assert!(error.contains("hint: ") && error.contains("ember up"), "{error}");
    }
    assert_eq!(exit(&empty.run(&["status"])), 6);
    assert_eq!(refused(&empty.run(&["account", "create", "ana@example.com"])).0, 6);
    assert!(!empty.data().exists(), "only up, serve and the first administrator make a store");
    let faulty = Home::new("lisen = 1\n");
    assert_eq!(refused(&faulty.run(&["config", "check"])).0, 3);
    assert_eq!(refused(&faulty.run(&["serve"])).0, 3);
    assert!(!faulty.data().exists());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for verb in ["serve", "up"] {
        let output = home.run(&[verb, "--listen", &address]);
        let error = text(&output.stderr);
        assert_eq!(exit(&output), 1);
        assert!(error.contains(&address) && error.contains("--listen"), "{error}");
    }
}

#[test]
fn nobody_is_invited_where_sign_up_is_closed() {
    let home = home();
    for running in [false, true] {
        let _server = running.then(|| home.serve());
        let (code, error) = refused(&home.run(&["invite", "create", "bob@example.com"]));
        assert_eq!(code, 4, "{error}");
        assert!(error.contains("dashboard.sign_up = \"invite\"") && error.contains("reset link"), "{error}");
        assert_eq!(json(&home, &["invite", "list"])["data"].as_array().unwrap().len(), 0);
    }
}

#[test]
fn a_link_begins_with_the_url_that_the_server_is_reached_by() {
    let home = home();
    let server = home.serve();
    let reset = home.run(&["account", "reset", "ana@example.com"]);
    let (link, said) = (text(&reset.stdout), text(&reset.stderr));
    assert!(link.starts_with(&format!("http://{}/reset/ember_reset_", server.address)), "{said}");
    assert!(said.contains("server.public_url") && !said.contains(link.trim_end()), "{said}");
}

#[test]
fn the_models_are_known_to_a_running_server_only() {
    let home = Home::with_echo();
    let (code, error) = refused(&home.run(&["model", "list"]));
    assert_eq!(code, 5, "{error}");
    assert!(error.contains("no server runs") && error.contains("hint: "), "{error}");
    let _server = home.serve();
    let models = json(&home, &["model", "list"]);
    assert_eq!(models["data"][0]["id"], "ember-echo");
    assert!(home.ok(&["model", "list", "-o", "plain"]).starts_with("ember-echo\t"));
}

#[test]
fn a_key_must_be_revocable_with_a_broken_configuration() {
    let home = home();
    home.key("app");
    std::fs::write(home.file("ember.toml"), "[server]\nlisen = 1\n").unwrap();
    let output = home.run(&["key", "revoke", "app"]);
    assert_eq!(exit(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("did you mean 'server.listen'"));
}

#[test]
fn an_end_is_a_length_of_time_a_day_or_never() {
    let home = home();
    let end = |when: &str| {
        let create = ["key", "create", "--account", "ana@example.com", "--name", "k", "--expires", when];
        json(&home, &create)["expires_at"].clone()
    };
    assert_eq!(end("2099-02-28"), "2099-02-28T23:59:59.999Z");
    assert_eq!(end("2099-02-28T12:00:00+02:00"), "2099-02-28T10:00:00.000Z");
    assert_eq!(end("never"), Value::Null);
    let now = json(&home, &["account", "show", "ana@example.com"])["created_at"].clone();
    let (now, end) = (now.as_str().unwrap().to_string(), end("90d").as_str().unwrap().to_string());
    let parsed = |text: &str| text.parse::<ember_gateway::types::Timestamp>().unwrap();
    let days = parsed(&end).since(parsed(&now)).as_secs() / 86_400;
    assert_eq!(days, 90);
}

#[test]
fn a_closed_pipe_is_no_error_unless_a_secret_was_lost_in_it() {
    let home = home();
    home.key("app");
    let closed = |args: &[&str]| {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        home.command(args).stdout(writer).stderr(std::process::Stdio::piped()).output().unwrap()
    };
    for args in
        [&["key", "list"][..], &["account", "list", "-o", "json"], &["config", "default"], &["--help"]]
    {
        let output = closed(args);
        assert_eq!((exit(&output), text(&output.stderr)), (0, String::new()), "{args:?}");
    }
    for (args, lost, remedy) in [
        (
            &["key", "create", "--account", "ana@example.com", "--name", "lost"][..],
            "key lost (key_",
            "ember key rotate key_",
        ),
        (&["token", "create", "lost"], "token lost (tok_", "ember token revoke tok_"),
        (&["account", "reset", "ana@example.com"], "ana@example.com", "ember account reset"),
    ] {
        let output = closed(args);
        let error = text(&output.stderr);
        assert_eq!(exit(&output), 1);
        assert!(error.contains(lost) && error.contains(remedy), "{error}");
    }
}

/// What would act on a terminal, tabs and line ends aside. JSON is for programs and has invisible characters as they
/// are.
fn acts(text: &str, json: bool) -> BTreeSet<char> {
    let formats =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(|c| (c.is_control() && !"\n\t".contains(*c)) || (!json && formats(*c))).collect()
}

#[test]
fn nothing_that_acts_on_a_terminal_is_printed() {
    let nasty = "a\u{1b}[31m\u{7f}\u{9b}2J\u{202e}\u{2066}\u{7}b";
    let home = home();
    home.key("app");
    let hidden = "x\u{202e}y\u{200b}z";
    let folder = home.file(nasty);
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(home.file("ember.toml"), folder.join("ember.toml")).unwrap();
    let place = folder.join("data");
    let outputs = [
        vec!["key", "show", nasty],
        vec!["key", "create", "--account", nasty, "--name", "x"],
        vec!["key", "create", "--account", "ana@example.com", "--name", nasty],
        vec!["key", "create", "--account", "ana@example.com", "--name", "x", "--models", nasty],
        vec!["account", "create", nasty],
        vec!["account", "create", "bob@example.com", "--name", nasty],
        vec!["key", "revoke", "app", "--reason", nasty],
        vec!["key", "revoke", "app", "--reason", hidden],
        vec!["key", "update", "app", "--models", hidden],
        vec![nasty],
        vec!["key", "show", "app"],
        vec!["key", "list"],
        vec!["key", "list", "-o", "plain"],
        vec!["key", "show", "app", "-o", "json"],
        vec!["--data", place.to_str().unwrap(), "key", "list"],
        vec!["--data", place.to_str().unwrap(), "config", "show"],
        vec!["--data", place.to_str().unwrap(), "config", "show", "--origin"],
        vec!["--data", place.to_str().unwrap(), "config", "show", "-o", "json"],
        vec!["--data", place.to_str().unwrap(), "config", "show", "-o", "plain"],
        vec!["account", "update", "ana@example.com", "--name", nasty],
        vec!["account", "sign-out", nasty],
        vec!["invite", "create", nasty],
        vec!["invite", "revoke", nasty],
        vec!["token", "create", nasty],
        vec!["token", "revoke", nasty],
        vec!["audit"],
        vec!["audit", "--search", nasty],
        vec!["usage", "--account", nasty],
        vec!["backup", nasty],
        vec!["restore", nasty],
    ];
    for (args, output) in outputs.iter().map(|args| (args, home.run(args))) {
        assert_eq!(
            acts(&text(&output.stdout), args.contains(&"json")),
            BTreeSet::new(),
            "stdout of {args:?}"
        );
        assert_eq!(acts(&text(&output.stderr), false), BTreeSet::new(), "stderr of {args:?}");
    }
}

/// Where more keys fit than are looked at, none may be taken for the only one.
#[test]
fn a_name_that_many_revoked_keys_had_finds_the_one_that_lives() {
    let home = home();
    let _server = home.serve();
    for number in 0..25 {
        home.key("app");
        if number < 24 {
            home.ok(&["key", "revoke", "app"]);
        }
    }
    let live = json(&home, &["key", "list", "--status", "active"])["data"][0]["id"].clone();
    assert_eq!(json(&home, &["key", "show", "app"])["id"], live);
    assert_eq!(json(&home, &["key", "show", "key_"])["id"], live);
}

#[test]
fn two_that_live_behind_many_revoked_ones_are_ambiguous() {
    let home = home();
    let _server = home.serve();
    home.key("keep");
    for _ in 0..19 {
        home.key("app");
        home.ok(&["key", "revoke", "app"]);
    }
    home.key("keep");
    for text in ["key_", "key_0"] {
        let (code, error) = refused(&home.run(&["key", "revoke", text]));
        assert_eq!(code, 7, "{error}");
    }
    let live = json(&home, &["key", "list", "--status", "active"]);
    assert_eq!(live["data"].as_array().unwrap().len(), 2, "the wrong key was revoked");
}

#[test]
fn the_configuration_is_checked_shown_and_printed() {
    let home = Home::new("[log]\nlevel = \"warn\"\n");
    assert_eq!(home.ok(&["config", "default"]), include_str!("../../ember.toml").trim_end());
    let check = home.run(&["config", "check"]);
    assert_eq!((exit(&check), text(&check.stdout)), (0, String::new()));
    let shown = home.ok(&["config", "show", "--origin", "-o", "plain"]);
    let row = |name: &str| {
        let line = shown.lines().find(|line| line.split('\t').next() == Some(name)).unwrap().to_string();
        line.split('\t').skip(1).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(row("log.level")[0], "\"warn\"");
    assert!(row("log.level")[1].ends_with("ember.toml:4"), "{:?}", row("log.level"));
    assert_eq!(row("log.format")[1], "default");
    assert_eq!(row("data")[1], "--data");
    let shown = json(&home, &["config", "show"]);
    assert_eq!(shown["object"], "config");
    assert!(shown["data"].as_array().unwrap().len() > 20);
    assert!(!home.data().exists(), "looking at the configuration makes nothing");
}

#[test]
fn the_status_of_a_running_server_has_the_documented_members() {
    let home = Home::with_echo();
    let key = home.key("app");
    let server = home.serve();
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    let status = json(&home, &["status"]);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(members(&status), "accounts audit_head denials_owed keys object running server");
    assert_eq!(
        members(&status["server"]),
        "connections errors in_flight listen pid requests started_at tokens upstreams version waiting"
    );
    assert_eq!((&status["accounts"], &status["keys"]), (&1.into(), &1.into()));
    assert_eq!(status["server"]["pid"], server.pid());
    assert_eq!(status["server"]["listen"][0], format!("http://{}", server.address));
    assert_eq!(home.ok(&["version", "-o", "plain"]), env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_list_of_several_pages_is_whole_in_every_format() {
    const KEYS: usize = 2_050;
    let home = home();
    let server = home.serve();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let home = &home;
            scope.spawn(move || {
                for number in (thread..KEYS).step_by(16) {
                    crate::door::create(home, &format!("app-{number}")).unwrap();
                }
            });
        }
    });
    let lists = |home: &Home| {
        let plain = home.ok(&["key", "list", "-o", "plain"]);
        let ids: Vec<String> =
            plain.lines().map(|line| line.rsplit('\t').next().unwrap().to_string()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), KEYS);
        let all = json(home, &["key", "list"]);
        let same = all["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap());
        assert!(same.eq(ids.iter()), "the same in the same order");
        assert_eq!(
            (&all["has_more"], all["last_id"].as_str()),
            (&false.into(), ids.last().map(String::as_str))
        );
        assert_eq!(home.ok(&["key", "list"]).lines().count(), KEYS + 1);
        ids
    };
    let online = lists(&home);
    assert!(server.stop().success());
    assert_eq!(lists(&home), online);
}
