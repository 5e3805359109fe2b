//! `ember doctor`, as a program reads it: each check when all is well, and when it is not.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use ember_gateway::registry::{NewAccount, Registry};
use ember_gateway::store::{Commit, FORMAT, RedbStore, Store, StoreOptions, Table, Write};
use ember_gateway::types::{Actor, Clock, Random, RandomUnavailable, Role, Timestamp};
use serde_json::Value;

use crate::desk::{NOBODY, as_nobody, is_root};
use crate::ember::{Ember, Home, eventually, files_below, program};

/// What a doctor said.
pub struct Report {
    pub exit: i32,
    findings: Vec<Value>,
    text: String,
}

impl Report {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let json: Value = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(json["object"], "doctor");
        let findings = json["data"].as_array().unwrap().clone();
        assert!(findings.iter().all(|one| (one["level"] == "ok") == one["next"].is_null()), "{text}");
        Self { exit: output.status.code().unwrap(), findings, text }
    }

    /// What a check found at a level, put together; empty when it found nothing of it.
    pub fn found(&self, level: &str, check: &str) -> String {
        let of = self.findings.iter().filter(|one| one["level"] == level && one["check"] == check);
        of.map(|one| one["found"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
    }

    #[track_caller]
    pub fn has(&self, level: &str, check: &str, words: &str) {
        let found = self.found(level, check);
        assert!(found.contains(words), "no {level} of '{check}' with {words:?}:\n{}", self.text);
    }

    #[track_caller]
    pub fn has_none(&self, check: &str) {
        for level in ["warn", "fail"] {
            assert_eq!(self.found(level, check), "", "{}", self.text);
        }
    }
}

pub fn doctor(home: &Home, more: &[&str]) -> Report {
    let args = [&["doctor", "-o", "json"][..], more].concat();
    Report::of(&home.run(&args))
}

/// A home whose data directory nothing is said against.
fn well() -> Home {
    let home = Home::new("connections_max = 100\n[models]\necho = true\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

pub fn with_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

type Facts = Vec<(PathBuf, u32, Vec<u8>)>;

fn facts(data: &Path) -> Facts {
    let fact = |(path, bytes): (PathBuf, Vec<u8>)| (path.clone(), path.metadata().unwrap().mode(), bytes);
    let mut facts: Facts = files_below(data).into_iter().map(fact).collect();
    facts.sort();
    facts
}

#[test]
fn when_all_is_well_every_check_says_so_and_nothing_is_changed() {
    let home = well();
    home.key("app");
    let before = facts(&home.data());
    let report = doctor(&home, &["--deep"]);
    assert_eq!(report.exit, 0, "{}", report.text);
    for (check, words) in [
        ("configuration", "is without fault"),
        ("listeners", "127.0.0.1:0"),
        ("data directory", "mode 700"),
        ("disk", "are free"),
        ("ballast", "4.0 MiB are held back"),
        ("server", "none runs"),
        ("store", "accounts: 1, keys: 1"),
        ("store", "records are what was written (format 1)"),
        ("audit trail", "all 2 events"),
        ("usage", "add up"),
        ("clock", "UTC"),
        ("descriptors", "open files"),
    ] {
        report.has("ok", check, words);
    }
    assert!(facts(&home.data()) == before, "it changed something");
    let server = home.serve();
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 0, "{}", report.text);
    report.has("ok", "server", &format!("runs as process {}", server.pid()));
    report.has("ok", "store", "accounts: 1, keys: 1");
    report.has("ok", "descriptors", "the server may have");
    doctor(&home, &["--deep"]).has("warn", "store", "only when no server runs");
    server.kill();
    // What a kill left is for the next start to put in order.
    let before = facts(&home.data());
    let report = doctor(&home, &["--deep"]);
    report.has("ok", "server", "the socket of one that was killed is left");
    report.has("ok", "store", "are what was written");
    assert!(facts(&home.data()) == before, "it put the file in order");
}

#[test]
fn people_and_scripts_get_the_same_lines() {
    let home = well();
    with_mode(&home.data(), 0o755);
    let said = home.ok(&["doctor"]);
    let next = said.lines().skip_while(|line| !line.starts_with("warn  data directory")).nth(1);
    assert!(next.is_some_and(|line| line.trim().starts_with("-> chmod 700 ")), "{said}");
    let plain = String::from_utf8(home.run(&["doctor", "-o", "plain"]).stdout).unwrap();
    assert!(plain.lines().any(|line| line.starts_with("warn\tdata directory\t")), "{plain}");
    assert!(plain.lines().all(|line| line.split('\t').count() == 4), "{plain}");
}

#[test]
fn a_configuration_with_faults_is_told_and_the_rest_goes_on() {
    let home = well();
    fs::write(home.file("ember.toml"), "[server]\nlisten = 7\nport = 8\n").unwrap();
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 3);
    report.has("fail", "configuration", "ember.toml:2");
    report.has("fail", "configuration", "ember.toml:3");
    report.has("ok", "store", "accounts: 1");
    // Without --data nobody knows where the store is.
    let mut command = program();
    let output = command.arg("-c").arg(home.file("ember.toml")).args(["doctor", "-o", "json"]).output();
    let report = Report::of(&output.unwrap());
    assert_eq!(report.exit, 3);
    report.has("fail", "data directory", "only the configuration");
}

#[test]
fn what_others_can_do_with_the_configuration_is_told() {
    let model = Listed::start("127.0.0.1:0", Some("sesame-sesame"));
    let home = Home::new(&format!("{}api_key_file = \"gpu.key\"\n", model.section("")));
    let (config, key) = (home.file("ember.toml"), home.file("gpu.key"));
    fs::write(&key, "sesame-sesame\n").unwrap();
    with_mode(&config, 0o640);
    with_mode(&key, 0o640);
    let report = doctor(&home, &[]);
    report.has_none("configuration");
    report.has_none("secrets");
    report.has_none("upstream scripted");
    with_mode(&config, 0o644);
    with_mode(&key, 0o644);
    let report = doctor(&home, &[]);
    report.has("warn", "configuration", "everyone may read");
    report.has("warn", "secrets", "everyone may read the key in");
    assert!(!report.text.contains("sesame"));
    with_mode(&config, 0o646);
    doctor(&home, &[]).has("warn", "configuration", "everyone may write");
    let mut command = home.command(&["doctor", "-o", "json"]);
    let report = Report::of(&command.env("EMBER_LISTEN", "x").output().unwrap());
    report.has("warn", "configuration", "EMBER_LISTEN is not a variable of Ember's");
}

#[test]
fn what_is_open_to_the_network_is_told() {
    let open = "[server]\nlisten = \"0.0.0.0:0\"\npublic_url = \"http://ai.example.com\"\ntrusted_proxies = [\"0.0.0.0/0\"]\n\
                [dashboard]\nsign_up = \"open\"\n[log]\nlevel = \"debug\"\n[models]\necho = true\n";
    let home = well();
    let checks = ["listeners", "public URL", "proxies", "sign-up", "log"];
    let report = doctor(&home, &[]);
    checks.iter().for_each(|check| report.has_none(check));
    fs::write(home.file("ember.toml"), open).unwrap();
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 0, "a warning is no failure: {}", report.text);
    for (check, words) in
        checks.iter().zip(["0.0.0.0:0", "http://ai.example.com", "0.0.0.0/0", "make an account", "log.level"])
    {
        report.has("warn", check, words);
    }
    let local = open.replace("ai.example.com", "[::1]:7411");
    fs::write(home.file("ember.toml"), local).unwrap();
    doctor(&home, &[]).has_none("public URL");
    let narrow = open
        .replace("0.0.0.0:0", "[::1]:0")
        .replace("http://ai", "https://ai")
        .replace("0.0.0.0/0", "10.0.0.0/8")
        .replace("\"open\"", "\"open\"\nsign_up_domains = [\"example.com\"]");
    fs::write(home.file("ember.toml"), narrow.replace("debug", "info")).unwrap();
    let report = doctor(&home, &[]);
    checks.iter().for_each(|check| report.has_none(check));
}

#[test]
fn the_data_directory_and_its_files_are_looked_at() {
    let home = well();
    let data = home.data();
    with_mode(&data, 0o750);
    with_mode(&data.join("ballast"), 0o640);
    fs::write(data.join("notes.txt"), "").unwrap();
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 0, "{}", report.text);
    for words in ["(mode 750)", "ballast (mode 640)", "notes.txt is not Ember's"] {
        report.has("warn", "data directory", words);
    }
    if is_root() {
        chown(data.join("ember.redb"), Some(NOBODY), None).unwrap();
        let report = doctor(&home, &[]);
        assert_eq!(report.exit, 1);
        report.has("fail", "data directory", &format!("ember.redb is user {NOBODY}'s"));
        chown(data.join("ember.redb"), Some(0), None).unwrap();
        with_mode(&data, 0o700);
        let report = Report::of(&as_nobody(&home, &["doctor", "-o", "json"]).output().unwrap());
        assert_eq!(report.exit, 1);
        report.has("fail", "data directory", &format!("is user 0's, and this is user {NOBODY}"));
        report.has("fail", "server", "belongs to user 0");
    }
    let none = Home::new("");
    let report = doctor(&none, &[]);
    assert_eq!(report.exit, 1);
    report.has("fail", "data directory", "is not there");
    assert!(!none.data().exists(), "it made one");
    fs::create_dir(none.data()).unwrap();
    with_mode(&none.data(), 0o700);
    doctor(&none, &[]).has("fail", "store", "there is no store");
    assert_eq!(fs::read_dir(none.data()).unwrap().count(), 0, "it made something");
    fs::remove_dir(none.data()).unwrap();
    fs::write(none.data(), "").unwrap();
    doctor(&none, &[]).has("fail", "data directory", "is no directory");
}

/// A small disk in memory; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this user may not mount one, which is said where no test harness swallows it. Root must be able to.
    pub fn at(path: &Path, options: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Self(path.to_path_buf()));
        }
        assert!(!is_root(), "root can't mount a small disk at {}: {mounted:?}", path.display());
        let test = std::thread::current().name().unwrap_or_default().to_string();
        let _ = writeln!(std::io::stderr(), "not tried: no small disk can be mounted here: {test}");
        None
    }

    pub fn mount_again(&self, options: &str) {
        assert!(Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_read_only_or_in_memory_is_told() {
    let home = Home::new("[models]\necho = true\n");
    fs::create_dir(home.data()).unwrap();
    let Some(disk) = SmallDisk::at(&home.data(), "size=12m,mode=700") else { return };
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 0, "{}", report.text);
    report.has("warn", "disk", "tmpfs: everything is lost");
    report.has("warn", "disk", "of 12.0 MiB are free");
    fs::write(home.data().join("models.json"), vec![0; 7 << 20]).unwrap();
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 1);
    report.has("fail", "disk", "of 12.0 MiB are free");
    fs::remove_file(home.data().join("models.json")).unwrap();
    disk.mount_again("remount,ro");
    doctor(&home, &[]).has("fail", "disk", "mounted read-only");
    let elsewhere = home.data().join("made");
    let mut made = program();
    made.arg("-c").arg(home.file("ember.toml")).arg("--data").arg(elsewhere).arg("serve");
    for mut command in [home.command(&["serve"]), made] {
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains("name the directory in ReadWritePaths="), "{said}");
    }
    disk.mount_again("remount,rw,nr_inodes=20");
    doctor(&home, &[]).has("warn", "disk", "more files can be made");
}

#[test]
fn a_ballast_that_is_gone_is_told() {
    let home = well();
    let ballast = home.data().join("ballast");
    fs::write(&ballast, "").unwrap();
    doctor(&home, &[]).has("warn", "ballast", "the disk was full");
    fs::write(&ballast, "short").unwrap();
    doctor(&home, &[]).has("warn", "ballast", "of 4.0 MiB are held back");
    fs::remove_file(&ballast).unwrap();
    doctor(&home, &[]).has("warn", "ballast", "no space is held back");
    assert!(!ballast.exists());
}

#[test]
fn too_few_descriptors_are_told() {
    let home = well();
    let plain = home.command(&["doctor", "-o", "json"]);
    let limited = |descriptors: u32| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")]);
        Report::of(&shell.arg(plain.get_program()).args(plain.get_args()).output().unwrap())
    };
    let report = limited(227);
    assert_eq!(report.exit, 0);
    report.has("warn", "descriptors", "may have 227 open files; 100 connections");
    limited(228).has_none("descriptors");
}

/// A clock that is two days ahead, and numbers that need not surprise anyone.
struct Ahead;

impl Clock for Ahead {
    #[expect(clippy::disallowed_methods, reason = "a test of the clock needs the clock")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(now.as_millis() as i64).after(Duration::from_secs(2 * 86_400))
    }
}

impl Random for Ahead {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.iter_mut().enumerate().for_each(|(place, byte)| *byte = place as u8);
        Ok(())
    }
}

#[test]
fn a_clock_behind_the_store_is_told() {
    let home = well();
    let store = Arc::new(RedbStore::open(&home.data().join("ember.redb"), StoreOptions::default()).unwrap());
    let registry = Registry::new(store, Arc::new(Ahead), Arc::new(Ahead), None);
    let email = "bob@example.com".parse().unwrap();
    let new = NewAccount { email, name: None, role: Role::Member, password: None };
    registry.create_account(Actor::Ember, &new).unwrap();
    drop(registry);
    let report = doctor(&home, &[]);
    assert_eq!(report.exit, 0, "{}", report.text);
    report.has("warn", "clock", "the newest event in the store is 2 days later");
}

#[test]
fn whoever_has_the_store_without_serving_is_named() {
    let home = well();
    let held = RedbStore::open(&home.data().join("ember.redb"), StoreOptions::default()).unwrap();
    let report = doctor(&home, &["--deep"]);
    assert_eq!(report.exit, 1);
    report.has("fail", "server", "takes no commands");
    report.has("fail", "server", &format!("process {} (", std::process::id()));
    drop(held);
    assert_eq!(doctor(&home, &[]).exit, 0);
}

#[test]
fn a_server_of_another_version_is_told() {
    let home = well();
    let listener = UnixListener::bind(home.data().join("ember.sock")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        stream.write_all(b"HTTP/1.1 200 OK\r\nember-version: 9.9.9\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let report = doctor(&home, &[]);
    report.has("warn", "server", "version 9.9.9");
    server.join().unwrap();
}

/// A model server that has `m`, and wants a key or none.
struct Listed {
    address: SocketAddr,
}

impl Listed {
    fn start(bind: &str, key: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(bind).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut head = String::new();
                    while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
                    let wanted = key.map(|key| format!("authorization: Bearer {key}\r\n"));
                    let (status, body) = match wanted.is_none_or(|wanted| head.contains(&wanted)) {
                        true => ("200 OK", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#),
                        false => ("401 Unauthorized", r#"{"error":"no"}"#),
                    };
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    );
                    let _ = { stream }.write_all(answer.as_bytes());
                });
            }
        });
        Self { address }
    }

    fn section(&self, more: &str) -> String {
        let port = self.address.port();
        format!("[[upstream]]\nname = \"scripted\"\nurl = \"http://127.0.0.1:{port}\"\n{more}")
    }

    fn report(&self, more: &str) -> Report {
        let home = Home::new(&self.section(more));
        fs::write(home.file("key"), "sesame-sesame").unwrap();
        with_mode(&home.file("key"), 0o600);
        doctor(&home, &[])
    }
}

const CHECK: &str = "upstream scripted";
const KEY: &str = "api_key_file = \"key\"\n";

#[test]
fn a_model_server_that_is_used_though_none_is_configured_is_told() {
    let home = Home::new("");
    let open = Listed::start("127.0.0.1:0", None);
    let url = format!("http://{}", open.address);
    let server = Ember::start(home.command(&["up", "--upstream", &url]));
    eventually("its state is known", || doctor(&home, &[]).text.contains("nobody configured, is up"));
    assert!(server.stop().success());
    doctor(&home, &[]).has("warn", "upstream", "no model server is configured");
    let server = Ember::start(home.command(&["up"]));
    doctor(&home, &[]).has("warn", "upstream", "no model server is configured");
    assert!(server.stop().success());
}

#[test]
fn each_model_server_is_asked() {
    doctor(&Home::new(""), &[]).has("warn", "upstream", "no model server is configured");
    let open = Listed::start("127.0.0.1:0", None);
    let report = open.report("");
    report.has("ok", CHECK, "models: m");
    report.has_none(CHECK);
    open.report("models = [\"n\"]\n").has("warn", CHECK, "does not list its model n");
    let locked = Listed::start("127.0.0.1:0", Some("sesame-sesame"));
    locked.report(KEY).has("ok", CHECK, "answered within");
    locked.report("").has("fail", CHECK, "refuses the key");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let report = Listed { address: nobody }.report("");
    assert_eq!(report.exit, 1);
    report.has("fail", CHECK, "unreachable");
}

#[test]
fn a_model_server_that_others_reach_around_ember_is_told() {
    for everyone in ["0.0.0.0:0", "[::]:0"] {
        let Ok(_) = TcpListener::bind(everyone) else { continue };
        let report = Listed::start(everyone, None).report("");
        report.has("ok", CHECK, "models: m");
        report.has("warn", CHECK, "without a key, around Ember");
        // It answers anyone, so Ember's key for it keeps nobody out.
        Listed::start(everyone, None).report(KEY).has("warn", CHECK, "around Ember");
        Listed::start(everyone, Some("sesame-sesame")).report(KEY).has_none(CHECK);
    }
    Listed::start("127.0.0.1:0", None).report("").has_none(CHECK);
}

/// The same store with the number of a format that a later version writes.
pub fn from_the_future(file: &Path) {
    let database = redb::Database::open(file).unwrap();
    let write = database.begin_write().unwrap();
    {
        let definition = redb::TableDefinition::<&[u8], &[u8]>::new("_ember");
        let mut table = write.open_table(definition).unwrap();
        let value = [&b"EMBERKV\0"[..], &(FORMAT + 1).to_le_bytes(), &[0; 24]].concat();
        let mut sum = crc32fast::Hasher::new();
        for part in [&b"_ember"[..], b"sentinel"] {
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part);
        }
        sum.update(&value);
        let stored = [&sum.finalize().to_le_bytes()[..], &value].concat();
        table.insert(&b"sentinel"[..], stored.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

#[test]
fn a_store_that_cant_be_used_is_told_and_left_as_it_is() {
    let home = well();
    let file = home.data().join("ember.redb");
    let good = fs::read(&file).unwrap();
    from_the_future(&file);
    let newer = fs::read(&file).unwrap();
    for (bytes, words) in [
        (newer, "this version of Ember knows formats up to 1"),
        (Vec::new(), "it is empty"),
        (b"something else altogether".to_vec(), "another program wrote it"),
        (good[..good.len() / 3].to_vec(), "is damaged"),
    ] {
        fs::write(&file, &bytes).unwrap();
        let report = doctor(&home, &["--deep"]);
        assert_eq!(report.exit, 1);
        report.has("fail", "store", words);
        assert!(fs::read(&file).unwrap() == bytes, "{words}: it was changed");
    }
}

#[test]
fn deep_finds_a_damaged_record_and_an_event_that_was_taken_out() {
    const AUDIT: Table = Table("audit");
    let home = well();
    home.key("app");
    let file = home.data().join("ember.redb");
    let good = fs::read(&file).unwrap();
    let place = good.windows(15).rposition(|part| part == b"ana@example.com").unwrap();
    let mut bytes = good.clone();
    bytes[place] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let report = doctor(&home, &["--deep"]);
    assert_eq!(report.exit, 1, "{}", report.text);
    report.has("fail", "store", "is damaged");
    fs::write(&file, &good).unwrap();
    let store = RedbStore::open(&file, StoreOptions::default()).unwrap();
    let (from, to) = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let (key, _) = store.scan(AUDIT, from, to, 1).unwrap().remove(0);
    store.commit(Commit { writes: vec![Write::Delete { table: AUDIT, key }], ..Commit::default() }).unwrap();
    drop(store);
    let report = doctor(&home, &["--deep"]);
    assert_eq!(report.exit, 1);
    assert_ne!(report.found("fail", "audit trail"), "", "{}", report.text);
    assert_eq!(doctor(&home, &[]).exit, 0, "only --deep looks so far");
}
