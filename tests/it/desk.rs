//! Commands that race each other, a server that starts, stops or dies, and directories of other people.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::door;
use crate::ember::{Answer, Ember, Home, install, program};

/// Debian's and everyone's user without rights.
pub const NOBODY: u32 = 65_534;

fn admin() -> Home {
    let home = Home::new("[models]\necho = true\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn spawn(home: &Home, args: &[&str]) -> Child {
    home.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn list(home: &Home, what: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(&home.ok(&[what, "list", "-o", "json"])).unwrap();
    json["data"].as_array().unwrap().clone()
}

#[test]
fn law_2_core_dumps_are_off_and_no_other_process_of_the_user_reads_the_memory() {
    let home = Home::new("[models]\necho = true\n");
    let ember = if is_root() {
        fs::create_dir(home.data()).unwrap();
        chown(home.data(), Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(home.data(), Permissions::from_mode(0o700)).unwrap();
        Ember::start(as_nobody(&home, &["serve"]))
    } else {
        home.serve()
    };
    let process = PathBuf::from(format!("/proc/{}", ember.pid()));
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let cores = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().collect::<Vec<_>>(), ["0", "0", "bytes"]);
    // proc(5): what is of a process that is not dumpable is root's.
    assert_eq!(fs::metadata(process.join("mem")).unwrap().uid(), 0);
}

#[test]
fn of_commands_that_make_the_same_account_at_once_one_wins() {
    for running in [false, true] {
        let home = admin();
        let _server = running.then(|| home.serve());
        let racing: Vec<_> =
            (0..8).map(|_| spawn(&home, &["account", "create", "bob@example.com", "-o", "json"])).collect();
        let mut codes: Vec<_> =
            racing.into_iter().map(|child| exit(&child.wait_with_output().unwrap())).collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 7, 7, 7, 7, 7, 7, 7], "running: {running}");
        assert_eq!(list(&home, "account").len(), 2);
        let shown: Value =
            serde_json::from_str(&home.ok(&["account", "show", "bob@example.com", "-o", "json"])).unwrap();
        assert_eq!(shown["history"].as_array().unwrap().len(), 1, "one change, one line");
    }
}

#[test]
fn of_first_administrators_made_at_once_in_an_empty_place_each_is_there() {
    let home = Home::new("");
    let emails: Vec<_> = (0..8).map(|number| format!("admin{number}@example.com")).collect();
    let racing: Vec<_> =
        emails.iter().map(|email| spawn(&home, &["account", "create", email, "--admin"])).collect();
    for child in racing {
        let output = child.wait_with_output().unwrap();
        assert_eq!(exit(&output), 0, "{}", stderr(&output));
    }
    assert_eq!(list(&home, "account").len(), 8);
}

#[test]
fn keys_that_are_created_at_once_are_all_there_once() {
    for running in [false, true] {
        let home = admin();
        let server = running.then(|| home.serve());
        let create = ["key", "create", "--account", "ana@example.com", "--name", "app"];
        let racing: Vec<_> = (0..16).map(|_| spawn(&home, &create)).collect();
        let mut keys: Vec<String> = racing
            .into_iter()
            .map(|child| {
                let output = child.wait_with_output().unwrap();
                assert_eq!(exit(&output), 0, "{}", stderr(&output));
                String::from_utf8(output.stdout).unwrap().trim_end().to_string()
            })
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), list(&home, "key").len()), (16, 16), "running: {running}");
        let server = server.unwrap_or_else(|| home.serve());
        for key in &keys {
            assert_eq!(server.get("/v1/models", Some(key)).status, 200);
        }
    }
}

#[test]
fn what_a_command_does_is_in_force_at_once() {
    let home = admin();
    let server = home.serve();
    let key = home.key("app");
    let status = || server.get("/v1/models", Some(&key)).status;
    let code = || server.get("/v1/models", Some(&key)).code();
    assert_eq!(status(), 200);
    home.ok(&["key", "disable", "app"]);
    assert_eq!(code(), "api_key_disabled");
    home.ok(&["key", "enable", "app"]);
    assert_eq!(status(), 200);
    home.ok(&["account", "disable", "ana@example.com"]);
    assert_eq!(code(), "api_key_disabled");
    home.ok(&["account", "enable", "ana@example.com"]);
    assert_eq!(status(), 200);
    let second = home.ok(&["key", "rotate", "app", "--grace", "1h"]);
    assert_eq!((status(), server.get("/v1/models", Some(&second)).status), (200, 200));
    let third = home.ok(&["key", "rotate", "app", "--now"]);
    assert_eq!(code(), "api_key_revoked");
    assert_eq!(server.get("/v1/models", Some(&second)).code(), "api_key_revoked");
    assert_eq!(server.get("/v1/models", Some(&third)).status, 200);
    home.ok(&["key", "update", "app", "--models", "other"]);
    let models = server.get("/v1/models", Some(&third)).json();
    assert_eq!(models["data"].as_array().unwrap().len(), 0);
    home.ok(&["account", "delete", "ana@example.com", "-y"]);
    assert_eq!(server.get("/v1/models", Some(&third)).code(), "api_key_revoked");
}

#[test]
fn a_socket_that_a_killed_server_left_is_no_obstacle() {
    let home = admin();
    for _ in 0..3 {
        home.serve().kill();
        assert!(home.data().join("ember.sock").exists(), "there is nothing to test");
        home.key("offline");
        let server = home.serve();
        home.key("online");
        server.kill();
    }
    assert_eq!(list(&home, "key").len(), 6);
}

/// Law 4: a server comes up although a command has the store open, and the command is answered either way.
#[test]
fn a_command_during_the_start_of_a_server_harms_neither() {
    let home = admin();
    for round in 0..20 {
        let mut command = home.command(&["serve"]);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        let create = ["key", "create", "--account", "ana@example.com", "--name", "app"];
        let (first, second) = (spawn(&home, &create), spawn(&home, &["key", "list", "-o", "json"]));
        let server = Ember::start(command);
        for child in [first, second] {
            let output = child.wait_with_output().unwrap();
            assert_eq!(exit(&output), 0, "round {round}: {}", stderr(&output));
        }
        if round % 2 == 0 { server.kill() } else { assert!(server.stop().success()) }
    }
    assert_eq!(list(&home, "key").len(), 20);
}

/// Laws 4 and 12: what was acknowledged while the server stopped is there, and the file was closed.
#[test]
fn a_command_during_the_stop_of_a_server_is_done_or_says_what_to_look_for() {
    let home = admin();
    let mut known = 0;
    for round in 0..8 {
        let server = home.serve();
        let create = ["key", "create", "--account", "ana@example.com", "--name", "app"];
        let racing: Vec<_> = (0..4).map(|_| spawn(&home, &create)).collect();
        server.signal("TERM");
        for child in racing {
            let output = child.wait_with_output().unwrap();
            match exit(&output) {
                0 => known += 1,
                5 => assert!(stderr(&output).contains("look before you ask again"), "{}", stderr(&output)),
                other => panic!("round {round}: exit {other}: {}", stderr(&output)),
            }
        }
        assert!(server.stop().success());
    }
    assert!(list(&home, "key").len() >= known);
    assert!(known > 0);
}

/// The bit in redb's header that says that the file was not closed.
fn is_open(home: &Home) -> bool {
    fs::read(home.data().join("ember.redb")).unwrap()[9] & 2 != 0
}

/// Law 12: after a clean stop nothing has to be walked through, whatever was committed before.
#[test]
fn a_server_that_stops_closes_its_store() {
    let home = admin();
    assert!(!is_open(&home), "a command closes it");
    let server = home.serve();
    let key = home.key("app");
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    home.ok(&["key", "revoke", "app"]);
    assert!(is_open(&home), "there is nothing to test");
    assert!(server.stop().success());
    assert!(!is_open(&home));
    let server = home.serve();
    home.key("app");
    server.kill();
    assert!(is_open(&home));
}

#[test]
fn a_socket_path_that_is_too_long_for_the_system_works() {
    let top = tempfile::tempdir().unwrap();
    let deep = top.path().join("d".repeat(80)).join("e".repeat(80));
    fs::create_dir_all(&deep).unwrap();
    let home = Home { folder: tempfile::tempdir_in(&deep).unwrap() };
    fs::write(home.file("ember.toml"), "[server]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let server = home.serve();
    assert!(home.data().join("ember.sock").as_os_str().len() > 107, "there is nothing to test");
    let key = home.key("app");
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    assert_eq!(exit(&home.run(&["status"])), 0);
    server.kill();
    home.ok(&["key", "revoke", "app"]);
    assert_eq!(home.serve().get("/v1/models", Some(&key)).code(), "api_key_revoked");
}

#[test]
fn what_lies_in_the_sockets_place_is_not_removed() {
    let home = admin();
    fs::write(home.data().join("ember.sock"), "mine").unwrap();
    let output = home.run(&["serve"]);
    assert_eq!(exit(&output), 1);
    assert!(stderr(&output).contains("ember.sock is there and is no socket"), "{}", stderr(&output));
    assert_eq!(fs::read(home.data().join("ember.sock")).unwrap(), b"mine");
}

#[test]
fn another_version_at_either_end_of_the_socket_is_named() {
    let home = admin();
    let server = home.serve();
    let answer = |version: &str| {
        let header = format!("ember-version: {version}\r\n");
        door::ask(&home.data(), "GET", "/admin/v1/status", &header, "").unwrap()
    };
    assert_eq!(answer(env!("CARGO_PKG_VERSION")).status, 200);
    let refused = answer("0.0.0");
    assert_eq!((refused.status, refused.header("ember-version")), (426, Some(env!("CARGO_PKG_VERSION"))));
    assert!(refused.text().contains("restart"), "{}", refused.text());
    server.kill();
    for (answer, told) in [
        (
            "HTTP/1.1 426 Upgrade Required\r\nember-version: 9.9.9\r\ncontent-length: 0\r\n\r\n",
            "version 9.9.9",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "does not tell"),
    ] {
        let output = against(&home, answer, &["key", "list"]);
        let error = stderr(&output);
        assert_eq!(exit(&output), 5);
        assert!(error.contains(told) && error.contains("restart the server"), "{error}");
    }
    for answer in
        ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\nember-version: 0.1.0\r\ncontent-length: 9\r\n\r\n{}"]
    {
        let output = against(&home, answer, &["key", "revoke", "app"]);
        assert_eq!(exit(&output), 5, "{answer:?}");
        assert!(stderr(&output).contains("look before you ask again"), "{}", stderr(&output));
    }
}

/// What a command says to a server that gives this answer and hangs up.
fn against(home: &Home, answer: &str, args: &[&str]) -> Output {
    let socket = home.data().join("ember.sock");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    let child = spawn(home, args);
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 4096];
    assert!(stream.read(&mut request).unwrap() > 0);
    stream.write_all(answer.as_bytes()).unwrap();
    drop((stream, listener));
    child.wait_with_output().unwrap()
}

#[test]
fn a_directory_that_others_can_read_is_tightened() {
    for args in [&["key", "list"][..], &["serve"], &["up"]] {
        let home = admin();
        fs::set_permissions(home.data(), Permissions::from_mode(0o755)).unwrap();
        match args {
            ["key", "list"] => drop(home.ok(args)),
            _ => drop(Ember::start(home.command(args))),
        }
        assert_eq!(home.data().metadata().unwrap().mode() & 0o777, 0o700, "{args:?}");
    }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program where everyone can run it, and a command line as someone else.
pub fn as_nobody(home: &Home, args: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let copy = home.file("ember");
    if !copy.exists() {
        install(Path::new(env!("CARGO_BIN_EXE_ember")), &copy);
        fs::set_permissions(home.folder.path(), Permissions::from_mode(0o755)).unwrap();
    }
    let plain = home.command(args);
    let mut command = Command::new(copy);
    command.env_clear().args(plain.get_args()).current_dir(home.folder.path()).uid(NOBODY).gid(NOBODY);
    command.stdin(Stdio::null());
    command
}

/// Names the directory, whose it is, and leaves with exit code 4.
fn refused_by_name(output: &Output, data: &Path) {
    let error = stderr(output);
    assert_eq!(exit(output), 4, "{error}");
    assert!(error.contains(data.to_str().unwrap()) && error.contains("user 0"), "{error}");
}

#[test]
fn someone_elses_directory_is_refused_by_name() {
    if !is_root() {
        let output = program().args(["--data", "/usr", "key", "list"]).output().unwrap();
        return refused_by_name(&output, Path::new("/usr"));
    }
    let home = admin();
    for running in [false, true] {
        let _server = running.then(|| home.serve());
        for mode in [0o700, 0o755] {
            fs::set_permissions(home.data(), Permissions::from_mode(mode)).unwrap();
            for args in [&["key", "list"][..], &["status"], &["serve"], &["up"], &["backup", "/tmp/never"]] {
                refused_by_name(&as_nobody(&home, args).output().unwrap(), &home.data());
            }
        }
        fs::set_permissions(home.data(), Permissions::from_mode(0o700)).unwrap();
    }
}

/// Whose the files in the data directory are, and who may read them.
fn owners(home: &Home) -> Vec<(String, u32, u32)> {
    let entries = fs::read_dir(home.data()).unwrap().map(Result::unwrap);
    let fact = |entry: fs::DirEntry| {
        let facts = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), facts.uid(), facts.mode() & 0o7077)
    };
    entries.map(fact).collect()
}

/// As root, on the directory of someone else: everything stays that person's.
#[test]
fn a_command_as_root_leaves_files_with_the_directorys_owner() {
    if !is_root() {
        return eprintln!("not root: files of two users can't be made");
    }
    let home = Home::new("[models]\necho = true\nrefresh = \"50ms\"\n");
    let model = Ember::start({
        let other = Box::leak(Box::new(Home::with_echo()));
        other.key("up");
        other.command(&["serve"])
    });
    let upstream = format!("\n[[upstream]]\nname = \"local\"\nurl = \"http://{}\"\n", model.address);
    let settings = fs::read_to_string(home.file("ember.toml")).unwrap();
    fs::write(home.file("ember.toml"), settings + &upstream).unwrap();
    fs::create_dir(home.data()).unwrap();
    chown(home.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    let theirs = |home: &Home| owners(home).iter().all(|(_, uid, others)| *uid == NOBODY && *others == 0);
    fs::set_permissions(home.data(), Permissions::from_mode(0o755)).unwrap();
    let output = home.run(&["account", "create", "ana@example.com", "--admin"]);
    assert_eq!(exit(&output), 4, "others can read it and it is not ours to change: {}", stderr(&output));
    fs::set_permissions(home.data(), Permissions::from_mode(0o700)).unwrap();
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    assert!(theirs(&home), "{:?}", owners(&home));
    let server = home.serve();
    crate::ember::eventually("the socket", || home.data().join("ember.sock").exists());
    assert!(theirs(&home), "while root serves: {:?}", owners(&home));
    home.key("by-root");
    home.ok(&["backup", "copy.redb"]);
    assert!(server.stop().success());
    assert!(theirs(&home), "after root served: {:?}", owners(&home));
    let server = Ember::start(as_nobody(&home, &["serve"]));
    let key = home.key("by-root-while-theirs-runs");
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    assert_eq!(exit(&as_nobody(&home, &["key", "list"]).output().unwrap()), 0);
    assert!(server.stop().success());
    home.ok(&["restore", "copy.redb"]);
    assert!(theirs(&home), "after a restore: {:?}", owners(&home));
    drop(Ember::start(as_nobody(&home, &["serve"])));
}

/// Everything in the data directory but for the space kept back.
fn contents(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = crate::ember::files_below(&home.data());
    files.retain(|(path, _)| !path.ends_with("ballast"));
    files.sort();
    files
}

/// Law 4: a file that is not a whole store of ours is refused and left as it is.
fn refuses(home: &Home, what: &str) {
    let before = contents(home);
    for args in [
        &["key", "list"][..],
        &["account", "create", "eve@example.com", "--admin"],
        &["serve"],
        &["up"],
        &["backup", "copy.redb"],
    ] {
        let output = home.run(args);
        let error = stderr(&output);
        assert_eq!(exit(&output), 5, "{what}: {args:?}: {error}");
        assert!(error.contains("ember.redb"), "{what}: not named: {error}");
        assert!(!error.contains("panicked"), "{what}: {error}");
        assert!(contents(home) == before, "{what}: {args:?} changed it");
    }
}

#[test]
fn what_is_no_whole_store_of_ours_is_refused_and_left_as_it_is() {
    let home = admin();
    let file = home.data().join("ember.redb");
    let whole = fs::read(&file).unwrap();
    let put = |bytes: &[u8]| fs::write(&file, bytes).unwrap();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("a text", b"my notes\n".to_vec()),
        ("SQLite", [b"SQLite format 3\0".to_vec(), vec![0; 8192]].concat()),
        ("zeros", vec![0; 65_536]),
        ("the magic alone", whole[..9].to_vec()),
        ("one page", whole[..4096].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("all but a byte", whole[..whole.len() - 1].to_vec()),
    ] {
        put(&bytes);
        refuses(&home, what);
    }
    fs::remove_file(&file).unwrap();
    drop(redb::Database::create(&file).unwrap());
    refuses(&home, "another program's redb");
    put(&whole);
    make_newer(&file);
    refuses(&home, "a later version's");
    let error = stderr(&home.run(&["key", "list"]));
    assert!(error.contains("format 99") && error.contains("later version"), "{error}");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refuses(&home, "a directory");
    fs::remove_dir(&file).unwrap();
    let away = home.file("away.redb");
    fs::write(&away, &whole).unwrap();
    std::os::unix::fs::symlink(&away, &file).unwrap();
    refuses(&home, "a link");
    assert!(fs::read(&away).unwrap() == whole);
    fs::remove_file(&file).unwrap();
    put(&whole);
    assert_eq!(list(&home, "account").len(), 1);
}

/// Gives the sentinel row a format that is not known yet.
fn make_newer(file: &Path) {
    use redb::ReadableTable as _;
    const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("_ember");
    let database = redb::Database::open(file).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut table = write.open_table(TABLE).unwrap();
        let mut value = table.get(&b"sentinel"[..]).unwrap().unwrap().value()[4..].to_vec();
        value[8..12].copy_from_slice(&99u32.to_le_bytes());
        let mut sum = crc32fast::Hasher::new();
        for part in ["_ember", "sentinel"] {
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part.as_bytes());
        }
        sum.update(&value);
        let stored = [&sum.finalize().to_le_bytes()[..], &value].concat();
        table.insert(&b"sentinel"[..], stored.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

/// A stranger's request on the socket: bounded, answered, and no harm to the next one.
#[test]
fn nonsense_on_the_socket_is_answered_and_forgotten() {
    let home = admin();
    let server = home.serve();
    for (method, path, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/admin/v1", "", 404),
        ("GET", "/v1/models", "", 404),
        ("PUT", "/admin/v1/keys", "", 405),
        ("POST", "/admin/v1/keys", "", 400),
        ("POST", "/admin/v1/keys", "{}", 400),
        ("POST", "/admin/v1/keys", "[1]", 400),
        (
            "POST",
            "/admin/v1/keys",
            r#"{"account":"ana@example.com","name":"a","environment":"dev","x":1}"#,
            400,
        ),
        (
            "POST",
            "/admin/v1/keys",
            r#"{"account":"ana@example.com","name":"a\u001bb","environment":"dev"}"#,
            400,
        ),
        (
            "POST",
            "/admin/v1/keys",
            r#"{"account":"ana@example.com","name":"a","environment":"dev","expires_at":"2020-01-01T00:00:00Z"}"#,
            400,
        ),
        ("POST", "/admin/v1/keys/%ff/revoke", "{}", 404),
        ("POST", "/admin/v1/keys/nothing/revoke", "{}", 404),
        ("GET", "/admin/v1/keys?limit=0", "", 400),
        ("GET", "/admin/v1/keys?limit=1001", "", 400),
        ("GET", "/admin/v1/keys?limit=1&limit=2", "", 400),
        ("GET", "/admin/v1/keys?frobnicate=1", "", 400),
    ] {
        let answer = door::ask(&home.data(), method, path, "", body).unwrap();
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{method} {path}");
    }
    let socket = home.data().join("ember.sock");
    for bytes in [
        &b""[..],
        b"\0\0\0",
        b"GET",
        b"POST /admin/v1/keys HTTP/1.1\r\nHost: e\r\nContent-Length: 100\r\n\r\n{",
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bytes).unwrap();
    }
    let long = "x".repeat(2 << 20);
    let refused = door::ask(&home.data(), "POST", "/admin/v1/keys", "", &long);
    assert!(refused.is_none_or(|answer: Answer| answer.status == 413));
    home.key("app");
    assert_eq!(list(&home, "key").len(), 1);
    drop(server);
}
