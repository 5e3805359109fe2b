//! Whole command lines against a store in a folder and against a door on a socket; nothing here serves.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::admin::ServerStatus;
use crate::config::Loaded;
use crate::http::admin::{AdminDoor, SOCKET, VERSION, serve_connection};
use crate::registry::Registry;
use crate::store::{self, Birth, RedbStore, StoreOptions};
use crate::types::{Clock, Key, Random, RandomUnavailable, Timestamp, Tokens};

use super::{CliError, Exit, Global, OpenError, Opened, ServeOptions, Services, Terminal, UpOptions, run};

/// A second later each time, so that histories have an order.
struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000 + 1000 * self.0.fetch_add(1, Ordering::Relaxed))
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        for byte in bytes {
            let step = self.0.fetch_add(1, Ordering::Relaxed);
            *byte = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        }
        Ok(())
    }
}

struct House {
    folder: tempfile::TempDir,
    clock: Arc<Ticking>,
    random: Arc<Counting>,
    /// How often the store was asked for.
    asked: AtomicU64,
}

impl Services for House {
    fn up(&self, loaded: Loaded, _: &Global, options: &UpOptions) -> Result<(), CliError> {
        let said = format!("up in {} {:?}", loaded.config.data.display(), options.upstream);
        Err(CliError::new(Exit::Interrupted, said))
    }

    fn serve(&self, loaded: Loaded, _: &Global, _: &ServeOptions) -> Result<(), CliError> {
        Err(CliError::new(Exit::Interrupted, format!("serve on {:?}", loaded.config.server.listen)))
    }

    fn open(&self, data: &Path, create: bool) -> Result<Opened, OpenError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !data.is_dir() && !create {
            let sentence = format!("there is no data directory {}; `ember up` makes one", data.display());
            return Err(OpenError::Missing(sentence));
        }
        std::fs::create_dir_all(data).unwrap();
        let file = data.join("ember.redb");
        if create && !file.exists() {
            let birth = Birth { created_at: self.clock.now(), store_id: [1; 16] };
            RedbStore::create(&file, birth, options())?;
        }
        self.open_file(&file)
    }

    fn open_file(&self, file: &Path) -> Result<Opened, OpenError> {
        let store = Arc::new(RedbStore::open(file, options())?);
        let registry = Registry::new(store.clone(), self.clock.clone(), self.random.clone(), None);
        let copy = file.with_file_name("copy.tmp");
        let snapshot = Box::new(move || {
            store.snapshot_to(&copy).unwrap();
            let opened = std::fs::File::open(&copy).unwrap();
            std::fs::remove_file(&copy).unwrap();
            Ok(opened)
        });
        Ok(Opened { registry: Arc::new(registry), snapshot })
    }

    fn start_log(&self, _: u8) {}

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

fn options() -> StoreOptions {
    StoreOptions { ballast_bytes: 0, ..StoreOptions::default() }
}

/// What a command line left behind.
struct End {
    code: u8,
    out: String,
    err: String,
}

/// How a command line is run.
#[derive(Default)]
struct Way<'a> {
    stdin: &'a str,
    terminal: bool,
    env: &'a [(&'a str, &'a str)],
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            clock: Arc::new(Ticking(0.into())),
            random: Arc::new(Counting(1.into())),
            asked: 0.into(),
        }
    }

    /// With an administrator, ana@example.com.
    fn with_ana() -> Self {
        let house = Self::new();
        house.ok(&["account", "create", "ana@example.com", "--admin"]);
        house
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run_so(&self, args: &[&str], way: &Way<'_>) -> End {
        let data = self.data();
        let mut all = vec!["--data", data.to_str().unwrap()];
        all.extend(args);
        self.run_without_data(&all, way)
    }

    fn run_without_data(&self, args: &[&str], way: &Way<'_>) -> End {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut all: Vec<OsString> = vec!["ember".into()];
        all.extend(args.iter().map(OsString::from));
        let code = run(
            all,
            &mut Terminal {
                stdin: Box::new(way.stdin.as_bytes()),
                stdout: Box::new(&mut out),
                stderr: Box::new(&mut err),
                stdin_is_terminal: way.terminal,
                stdout_is_terminal: way.terminal,
                stderr_is_terminal: way.terminal,
                env: way.env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
                cwd: self.folder.path().to_path_buf(),
                uid: rustix::process::geteuid().as_raw(),
            },
            self,
        );
        End { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }

    fn run(&self, args: &[&str]) -> End {
        self.run_so(args, &Way::default())
    }

    fn ok(&self, args: &[&str]) -> String {
        let end = self.run(args);
        assert_eq!(end.code, 0, "{args:?}: {}", end.err);
        end.out
    }

    /// A new key of ana's.
    fn key(&self, name: &str) -> String {
        let out = self.ok(&["key", "create", "--account", "ana@example.com", "--name", name]);
        let key = out.trim_end().to_string();
        assert!(Key::parse(key.as_bytes()).is_ok() && out == format!("{key}\n"), "the key alone: {out}");
        key
    }

    fn verify(&self, key: &str) -> u8 {
        self.run_so(&["key", "verify"], &Way { stdin: key, ..Way::default() }).code
    }

    /// A server's door over the store, until the end of the test.
    fn serve(&self) -> Arc<Registry> {
        let opened = self.open(&self.data(), false).ok().unwrap();
        let registry = Arc::clone(&opened.registry);
        let status = || ServerStatus {
            version: VERSION.to_string(),
            pid: 4711,
            started_at: Timestamp::from_millis(1_795_000_000_000),
            listen: vec!["http://127.0.0.1:7411".to_string()],
            upstreams: Vec::new(),
            requests: 0,
            tokens: Tokens::default(),
        };
        let door = AdminDoor::new(opened.registry, self.clock.clone(), Box::new(status), opened.snapshot);
        let (door, path) = (Arc::new(door), self.data().join(SOCKET));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve_connection(stream, Arc::clone(&door)));
                }
            });
        });
        registry
    }
}

const TERMINAL: Way<'static> = Way { stdin: "", terminal: true, env: &[] };

#[test]
fn a_key_lives_from_creation_to_revocation() {
    let house = House::with_ana();
    let key = house.key("app");
    assert_eq!(house.verify(&key), 0);
    house.ok(&["key", "disable", "app"]);
    assert_eq!(house.verify(&key), 4);
    house.ok(&["key", "enable", &key[key.len() - 4..]]);
    assert_eq!(house.verify(&format!("{key}\r\n")), 0);
    let second = house.ok(&["key", "rotate", "app"]);
    assert_eq!((house.verify(&key), house.verify(&second)), (0, 0), "within the grace");
    let third = house.ok(&["key", "rotate", "app", "--now"]);
    assert_eq!((house.verify(&key), house.verify(&second), house.verify(&third)), (4, 4, 0));
    house.ok(&["key", "revoke", "app", "--reason", "lost"]);
    assert_eq!(house.verify(&third), 4);
    let shown = house.ok(&["key", "show", "app"]);
    for word in ["revoked", "lost", "key.created", "key.rotated", "key.revoked", "uid:", "UTC"] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert!(!shown.contains(&key) && !shown.contains(third.trim()));
}

#[test]
fn the_answer_is_the_same_with_a_server_and_without() {
    let house = House::with_ana();
    let offline = house.key("offline");
    let without: Vec<_> = [
        &["key", "list", "-o", "json"][..],
        &["account", "show", "ana@example.com"],
        &["key", "list", "-o", "plain"],
    ]
    .map(|args| house.ok(args))
    .into();
    let _registry = house.serve();
    let with: Vec<_> = [
        &["key", "list", "-o", "json"][..],
        &["account", "show", "ana@example.com"],
        &["key", "list", "-o", "plain"],
    ]
    .map(|args| house.ok(args))
    .into();
    assert_eq!(without[0], with[0]);
    assert_eq!(without[2], with[2]);
    let online = house.key("online");
    assert_eq!((house.verify(&offline), house.verify(&online)), (0, 0));
    let end = house.run(&["status"]);
    assert!(
        end.code == 0 && end.out.contains("running, version") && end.out.contains("process 4711"),
        "{}",
        end.out
    );
    assert_eq!(house.run(&["key", "show", "nobody"]).code, 6);
    let restore = house.run(&["restore", "nothing.redb"]);
    assert_eq!(restore.code, 6, "{}", restore.err);
    house.ok(&["backup", "b.redb"]);
    let restore = house.run(&["restore", "b.redb"]);
    assert!(restore.code == 7 && restore.err.contains("stop it"), "{}", restore.err);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let house = House::new();
    for (args, code, word) in [
        (&["key", "list"][..], 6, "ember up"),
        (&["status"], 6, "ember up"),
        (&["account", "create", "ana@example.com"], 6, "--admin"),
        (&["account", "create", "nobody", "--admin"], 2, "no @"),
        (&["nonsense"], 2, "nonsense"),
        (&[], 2, "Usage"),
    ] {
        let end = house.run(args);
        assert!(
            end.code == code && end.err.contains(word) && end.out.is_empty(),
            "{args:?} {} {}",
            end.code,
            end.err
        );
    }
    assert!(!house.data().exists(), "nothing was made");
    let house = House::with_ana();
    house.key("app");
    house.key("app");
    for (args, code, word) in [
        (&["account", "create", "ana@example.com"][..], 7, "already"),
        (&["account", "show", "eve@example.com"], 6, "account list"),
        (&["account", "delete", "ana@example.com"], 2, "-y"),
        (&["key", "create", "--account", "eve@example.com", "--name", "x"], 6, "eve@example.com"),
        (&["key", "create", "--account", "ana@example.com", "--name", ""], 2, "empty"),
        (&["key", "create", "--account", "ana@example.com", "--name", "x", "--expires", "soon"], 2, "90d"),
        (
            &["key", "create", "--account", "ana@example.com", "--name", "x", "--expires", "2020-01-01"],
            2,
            "passed",
        ),
        (&["key", "create", "--account", "ana@example.com", "--name", "x", "--env", "test"], 2, "staging"),
        (&["key", "show", "app"], 7, "fits 2 keys"),
        (&["key", "show", "zzzz"], 6, "key list"),
        (&["key", "update", "app"], 2, "--name"),
        (&["key", "rotate", "app", "--grace", "1h", "--now"], 2, "--now"),
        (&["status"], 5, ""),
    ] {
        let end = house.run(args);
        assert!(end.code == code && end.err.contains(word), "{args:?} {}: {}", end.code, end.err);
        assert!(end.err.is_empty() || end.err.starts_with("error: "), "{}", end.err);
    }
    assert_eq!(house.verify("hunter2"), 6);
    assert_eq!(house.verify(concat!("ember_", "prod_", "0123456789ABCDEFGHIJKLMNOPQRSTUV", "04znqH")), 6);
}

#[test]
fn help_and_version_are_data() {
    let house = House::new();
    assert_eq!(house.ok(&["version"]), format!("ember {VERSION}\n"));
    assert_eq!(house.ok(&["version", "-o", "plain"]), format!("{VERSION}\n"));
    assert!(house.ok(&["key", "create", "--help"]).contains("ember key create --account"));
    assert!(house.ok(&["--version"]).contains(VERSION));
}

#[test]
fn serving_is_handed_on_with_the_flags() {
    let house = House::new();
    let end = house.run(&["up", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:1"]);
    assert!(end.code == 130 && end.err.contains("127.0.0.1:9"), "{}", end.err);
    let end = house.run(&["serve", "--listen", "127.0.0.1:1"]);
    assert!(end.code == 130 && end.err.contains("127.0.0.1:1"), "{}", end.err);
}

#[test]
fn a_whole_key_in_the_arguments_is_refused_and_never_repeated() {
    let house = House::with_ana();
    let key = house.key("app");
    for args in [
        &["key", "revoke", &key][..],
        &["key", "show", &format!("{key}\n")],
        &["key", "revoke", "app", "--reason", &format!("found {key} on a wiki")],
        &["account", "show", &key],
        &[&format!("--output={key}")],
    ] {
        let end = house.run(args);
        assert_eq!(end.code, 2);
        assert!(!end.err.contains(&key) && end.err.contains("whole key"), "{}", end.err);
    }
    assert_eq!(house.verify(&key), 0, "nothing was done");
}

#[test]
fn on_a_terminal_a_key_is_shown_once_and_said_to_be() {
    let house = House::with_ana();
    let end = house.run_so(
        &["key", "create", "--account", "ana@example.com", "--name", "app", "--expires", "90d"],
        &TERMINAL,
    );
    assert!(end.out.contains("shown once") && end.out.contains("in 90 days"), "{}", end.out);
    assert!(end.out.contains("\u{1b}["), "colour on a terminal");
    for (env, args) in [
        (&[("NO_COLOR", "1")][..], &["key", "list"][..]),
        (&[], &["--color", "never", "key", "create", "--account", "ana@example.com", "--name", "b"]),
    ] {
        let end = house.run_so(args, &Way { env, ..TERMINAL });
        assert!(end.code == 0 && !end.out.contains('\u{1b}'), "{}", end.out);
    }
}

#[test]
fn json_has_the_key_once_and_never_again() {
    let house = House::with_ana();
    let out = house.ok(&["key", "create", "--account", "ana@example.com", "--name", "app", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let key = json["key"].as_str().unwrap();
    assert!(Key::parse(key.as_bytes()).is_ok());
    assert_eq!((json["object"].as_str(), json["account"].as_str()), (Some("key"), Some("ana@example.com")));
    for args in [&["key", "list", "-o", "json"][..], &["key", "show", "app", "-o", "json"]] {
        assert!(!house.ok(args).contains(key));
    }
}

#[test]
fn a_key_goes_into_a_new_private_file_or_is_not_issued() {
    let house = House::with_ana();
    let create = |name: &str| {
        house.run(&["key", "create", "--account", "ana@example.com", "--name", name, "--out", "app.env"])
    };
    let end = create("one");
    assert!(end.code == 0 && end.out.is_empty() && end.err.contains(".gitignore"), "{}{}", end.out, end.err);
    let text = std::fs::read_to_string(house.file("app.env")).unwrap();
    assert_eq!(house.verify(&text), 0);
    assert_eq!(std::fs::metadata(house.file("app.env")).unwrap().permissions().mode() & 0o777, 0o600);
    let end = create("two");
    assert!(end.code == 7 && end.err.contains("nothing was issued"), "{}", end.err);
    assert_eq!(std::fs::read_to_string(house.file("app.env")).unwrap(), text);
    assert_eq!(house.ok(&["key", "list", "-o", "plain"]).lines().count(), 1);
    let end =
        house.run(&["key", "create", "--account", "eve@example.com", "--name", "x", "--out", "none.txt"]);
    assert!(end.code == 6 && !house.file("none.txt").exists(), "no file for a key that there is not");
}

#[test]
fn what_can_not_be_undone_is_asked_on_a_terminal() {
    let house = House::with_ana();
    let key = house.key("app");
    let answer = |stdin, args: &[&str]| house.run_so(args, &Way { stdin, ..TERMINAL });
    for stdin in ["", "\n", "n\n", "nay\n"] {
        let end = answer(stdin, &["key", "revoke", "app"]);
        assert!(
            end.code == 1 && end.err.contains("[y/N]") && end.err.contains("ana@example.com"),
            "{}",
            end.err
        );
    }
    assert_eq!(house.verify(&key), 0);
    assert_eq!(answer("y\n", &["key", "revoke", "app"]).code, 0);
    assert_eq!(house.verify(&key), 4);
    assert_eq!(answer("", &["account", "disable", "ana@example.com"]).code, 1);
    assert_eq!(answer("", &["account", "disable", "ana@example.com", "-y"]).code, 0);
    assert_eq!(house.run(&["account", "delete", "ana@example.com", "-y"]).code, 0);
}

#[test]
fn a_password_comes_on_stdin_only() {
    let house = House::with_ana();
    let passwd = |stdin, terminal| {
        house.run_so(&["account", "passwd", "ana@example.com"], &Way { stdin, terminal, env: &[] })
    };
    assert_eq!(passwd("correct horse\n", false).code, 0);
    assert_eq!(passwd("", false).code, 2);
    assert_eq!(passwd("short", false).code, 2);
    assert_eq!(passwd("correct horse\n", true).code, 2);
    let registry = house.open(&house.data(), false).ok().unwrap().registry;
    let me = crate::types::Actor::Machine { uid: 0 };
    let ana = registry.account(me, "ana@example.com").unwrap().id;
    let right = crate::types::Secret::new("correct horse".to_string());
    assert!(registry.password_matches(ana, &right).unwrap(), "without the line end");
}

#[test]
fn lists_are_aligned_for_people_and_bare_for_programs() {
    let house = House::with_ana();
    assert!(house.run(&["key", "list"]).err.contains("none"));
    house.key("a");
    house.ok(&[
        "key",
        "create",
        "--account",
        "ana@example.com",
        "--name",
        "longer name",
        "--env",
        "prod",
        "--expires",
        "30d",
    ]);
    let table = house.ok(&["key", "list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME         ENV   STATUS  ACCOUNT"), "{table}");
    assert!(lines[1].starts_with("a            dev   active  ana@example.com"), "{table}");
    assert!(lines[2].contains("in 30 days") && lines[2].contains(" UTC"), "{table}");
    let plain = house.ok(&["key", "list", "--env", "prod", "-o", "plain"]);
    assert_eq!(
        plain.split('\t').take(4).collect::<Vec<_>>(),
        ["longer name", "prod", "active", "ana@example.com"]
    );
}

#[test]
fn a_stale_socket_is_no_obstacle() {
    let house = House::with_ana();
    drop(UnixListener::bind(house.data().join(SOCKET)).unwrap());
    house.key("app");
}

#[test]
fn a_socket_path_may_be_longer_than_an_address_holds() {
    let mut house = House::new();
    let deep = house.folder.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    house.folder = tempfile::tempdir_in(&deep).unwrap();
    house.ok(&["account", "create", "ana@example.com", "--admin"]);
    house.key("app");
    let short = tempfile::tempdir().unwrap().path().join("s");
    std::fs::create_dir_all(short.parent().unwrap()).unwrap();
    // Bound under a short name and moved: a socket keeps working under its new one.
    let path = house.data().join(SOCKET);
    let listener = UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, &path).unwrap();
    assert!(super::socket::connect(&house.data()).unwrap().is_some());
    drop(listener);
    assert!(super::socket::connect(&house.data()).unwrap().is_none());
}

#[test]
fn a_store_that_stays_locked_is_told_and_not_waited_for_for_ever() {
    let house = House::with_ana();
    let held = house.open(&house.data(), false).ok().unwrap();
    let settings =
        super::settings::Settings { data: house.data(), rotation_grace: std::time::Duration::from_secs(1) };
    let desk = super::Desk::new(&house, settings, 0).impatient();
    let error = desk.ask(&crate::admin::Command::Status).err().unwrap();
    assert!(error.exit == Exit::Unreachable && error.message.contains("another process"), "{error}");
    drop(held);
    assert!(desk.ask(&crate::admin::Command::Status).is_ok());
}

#[test]
fn a_command_waits_for_a_server_that_is_starting() {
    let house = House::with_ana();
    let held = house.open(&house.data(), false).ok().unwrap();
    let before = house.asked.load(Ordering::SeqCst);
    let list = std::thread::scope(|threads| {
        let asking = threads.spawn(|| house.run(&["account", "list", "-o", "plain"]));
        while house.asked.load(Ordering::SeqCst) < before + 2 {
            std::thread::yield_now();
        }
        drop(held);
        asking.join().unwrap()
    });
    assert!(list.code == 0 && list.out.contains("ana@example.com"), "{}", list.err);
}

#[test]
fn a_backup_is_private_whole_and_never_replaces_a_file() {
    let house = House::with_ana();
    let key = house.key("app");
    let end = house.run(&["backup", "b.redb"]);
    assert!(end.code == 0 && end.err.contains("verified"), "{}", end.err);
    assert_eq!(std::fs::metadata(house.file("b.redb")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(store::verify(&house.file("b.redb")).is_ok());
    let bytes = std::fs::read(house.file("b.redb")).unwrap();
    assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()));
    assert_eq!(house.run(&["backup", "b.redb"]).code, 7);
    let left: Vec<_> =
        std::fs::read_dir(house.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the data directory and the backup: {left:?}");
}

#[test]
fn a_restore_brings_back_what_was_there_but_no_revoked_key() {
    let house = House::with_ana();
    let (kept, revoked) = (house.key("kept"), house.key("revoked"));
    house.ok(&["backup", "b.redb"]);
    house.ok(&["key", "revoke", "revoked"]);
    house.ok(&["key", "update", "kept", "--name", "renamed"]);
    let later = house.key("later");
    let end = house.run(&["restore", "b.redb"]);
    assert!(
        end.code == 0 && end.err.contains("Key revoked") && end.err.contains("stays: revoked"),
        "{}",
        end.err
    );
    assert_eq!((house.verify(&kept), house.verify(&revoked), house.verify(&later)), (0, 4, 6));
    assert!(house.ok(&["key", "list"]).contains("kept"), "the name of then");
    let mut names: Vec<_> = std::fs::read_dir(house.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "ballast")
        .collect();
    names.sort();
    assert!(names.len() == 2 && names[1].starts_with("ember.redb.before-restore-2026"), "{names:?}");
    assert!(store::verify(&house.data().join(&names[1])).is_ok(), "what was there is kept whole");
}

#[test]
fn a_restore_over_a_store_that_can_not_be_read_needs_a_yes() {
    let house = House::with_ana();
    let key = house.key("app");
    house.ok(&["backup", "b.redb"]);
    let path = house.data().join("ember.redb");
    std::fs::File::options().write(true).open(&path).unwrap().write_all(&[0; 4096]).unwrap();
    let end = house.run(&["restore", "b.redb"]);
    assert!(end.code == 7 && end.err.contains("would work again") && end.err.contains("-y"), "{}", end.err);
    assert_eq!(house.run(&["restore", "b.redb", "-y"]).code, 0);
    assert_eq!(house.verify(&key), 0);
}

#[test]
fn a_restore_into_nothing_makes_the_store() {
    let house = House::with_ana();
    let key = house.key("app");
    house.ok(&["backup", "b.redb"]);
    std::fs::remove_dir_all(house.data()).unwrap();
    house.ok(&["restore", "b.redb"]);
    assert_eq!(std::fs::metadata(house.data()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(house.verify(&key), 0);
    std::fs::write(house.file("junk"), b"junk").unwrap();
    assert_eq!(house.run(&["restore", "junk"]).code, 1);
    assert_eq!(house.verify(&key), 0);
}

#[test]
fn a_broken_configuration_stops_all_but_what_names_its_directory() {
    let house = House::with_ana();
    house.key("app");
    std::fs::write(house.file("ember.toml"), "colour = 1\n").unwrap();
    let end = house.run(&["config", "check"]);
    assert!(end.code == 3 && end.err.contains("ember.toml:1"), "{}", end.err);
    assert_eq!(house.run(&["serve"]).code, 3);
    let end = house.run(&["key", "disable", "app"]);
    assert!(end.code == 0 && end.err.contains("left out"), "{}", end.err);
    let without = &["key", "revoke", "app"];
    let end = house.run_without_data(without, &Way::default());
    assert!(end.code == 3 && end.err.contains("--data DIR"), "{}", end.err);
    let data = house.data();
    let env = &[("EMBER_DATA", data.to_str().unwrap())];
    let end = house.run_without_data(without, &Way { env, ..Way::default() });
    assert!(end.code == 0 && end.err.contains("left out"), "{}", end.err);
}

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let house = House::new();
    let shown = house.ok(&["config", "show", "--origin"]);
    assert!(shown.starts_with("SETTING") && shown.contains("--data"), "{shown}");
    assert!(house.ok(&["config", "default"]).contains("[server]"));
    house.ok(&["config", "check"]);
    let json: serde_json::Value = serde_json::from_str(&house.ok(&["config", "show", "-o", "json"])).unwrap();
    assert_eq!(json["object"], "config");
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let house = House::with_ana();
    let end = house.run(&["-q", "key", "create", "--account", "ana@example.com", "--name", "app"]);
    assert!(end.code == 0 && end.err.is_empty() && end.out.starts_with("ember_dev_"), "{}", end.err);
    assert!(house.run(&["-q", "key", "show", "x"]).err.starts_with("error: "));
}

/// A pipe whose reader is gone.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_quietly_but_a_key_is_not_lost_quietly() {
    let house = House::with_ana();
    let piped = |args: &[&str]| {
        let mut err = Vec::new();
        let mut all: Vec<OsString> = vec!["ember".into(), "--data".into(), house.data().into()];
        all.extend(args.iter().map(OsString::from));
        let mut terminal = Terminal {
            stdin: Box::new(&b""[..]),
            stdout: Box::new(Closed),
            stderr: Box::new(&mut err),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            env: Vec::new(),
            cwd: house.folder.path().to_path_buf(),
            uid: 0,
        };
        let code = run(all, &mut terminal, &house);
        drop(terminal);
        (code, String::from_utf8(err).unwrap())
    };
    assert_eq!(piped(&["account", "list"]), (0, String::new()));
    let (code, err) = piped(&["key", "create", "--account", "ana@example.com", "--name", "app"]);
    assert!(code == 1 && err.contains("was issued") && err.contains("rotate"), "{err}");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let house = House::with_ana();
    for args in [
        &["key", "show", "a\u{1b}[2Jb"][..],
        &["key", "create", "--account", "a", "--name", "a\u{1b}[2Jb"],
        &["\u{1b}[2J"],
        &["account", "show", "a\u{1b}]0;x\u{7}@b.c"],
        &["backup", "no\u{1b}[2Jthere/x"],
    ] {
        let end = house.run_so(args, &Way { env: &[("NO_COLOR", "1")], ..TERMINAL });
        assert!(end.code != 0 && !end.err.contains(['\u{1b}', '\u{7}']), "{args:?} {:?}", end.err);
    }
}

#[test]
fn bug_an_empty_file_that_a_killed_command_left_is_no_obstacle() {
    let house = House::with_ana();
    let out = house.file("key");
    let create = ["key", "create", "--account", "ana@example.com", "--name", "app", "--out", "key"];
    for (mode, text, code) in [(0o644, "", 7), (0o600, "x", 7), (0o600, "", 0), (0o600, "", 7)] {
        if code == 7 && !out.exists() || !text.is_empty() || mode == 0o644 {
            std::fs::write(&out, text).unwrap();
        } else if code == 0 {
            std::fs::write(&out, "").unwrap();
        }
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(house.run(&create).code, code, "{mode:o} {text:?}");
    }
    assert_eq!(house.verify(&std::fs::read_to_string(&out).unwrap()), 0);
}

#[test]
fn bug_words_name_what_is_wrong_and_say_it_once() {
    let house = House::with_ana();
    std::fs::write(house.file("junk"), b"junk").unwrap();
    for (args, code, word) in [
        (&["restore", "nope.redb"][..], 6, "there is no backup at"),
        (&["restore", "junk"], 1, "nothing was changed"),
        (&["key", "verify"], 2, "no key came on stdin"),
        (&["backup", "-"], 2, "stdout"),
    ] {
        let end = house.run(args);
        let said = end.err.matches("nothing was changed").count();
        assert!(
            end.code == code && end.err.contains(word) && said <= 1,
            "{args:?} {}: {}",
            end.code,
            end.err
        );
        assert!(!end.err.contains("ember up"), "{}", end.err);
    }
    let absent = House::new();
    std::fs::create_dir(absent.data()).unwrap();
    let end = absent.run(&["key", "list"]);
    assert!(end.code == 6 && end.err.matches("ember up").count() == 1, "{}", end.err);
    let locked = CliError::from(OpenError::Store(store::OpenError::Locked { path: house.data() }));
    assert!(
        locked.message.contains("a server or a command") && locked.hint.unwrap().contains("ember status")
    );
}
