//! Whole command lines against a store in a folder and against a door on a socket; nothing here serves.

mod people;
mod report;
mod scan;
mod screen;
mod store;
mod typed;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::admin::{
    AdminError, ModelServer, ModelView, Record, Reloaded, Running, ServerStatus, UpstreamState,
    UpstreamStatus, UpstreamTest,
};
use crate::config::{Loaded, UpstreamConfig};
use crate::http::admin::{AdminDoor, SOCKET, VERSION, serve_connection};
use crate::meter::Meter;
use crate::registry::{Registry, Rules};
use crate::store::{Birth, CompactStep, Compacted, RedbStore, StoreOptions};
use crate::types::{Clock, Key, ModelId, Random, RandomUnavailable, Timestamp, Tokens};
use crate::upstream::Probe;

use super::{
    CliError, Exit, Global, Looked, OpenError, Opened, ServeOptions, Services, Terminal, UpOptions, run,
};

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

    fn open(&self, data: &Path, create: bool, rules: &Rules) -> Result<Opened, OpenError> {
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
        self.registry(&file, rules.clone())
    }

    fn open_file(&self, file: &Path) -> Result<Opened, OpenError> {
        self.registry(file, Rules::default())
    }

    fn look(&self, file: &Path) -> Result<Looked, OpenError> {
        let opened = self.registry(file, Rules::default())?;
        Ok(Looked { registry: opened.registry, meter: opened.meter })
    }

    fn compact(&self, data: &Path, told: &mut dyn FnMut(CompactStep, u64)) -> Result<Compacted, OpenError> {
        told(CompactStep::Moving, 3 << 20);
        told(CompactStep::Proving, 1 << 20);
        Ok(crate::store::compact(&data.join("ember.redb"), |_| {})?)
    }

    fn probe(&self, _: Vec<UpstreamConfig>) -> Result<Vec<Probe>, String> {
        Ok(Vec::new())
    }

    fn start_log(&self, _: u8) {}

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

impl House {
    fn registry(&self, file: &Path, rules: Rules) -> Result<Opened, OpenError> {
        let store = Arc::new(RedbStore::open(file, options())?);
        let registry = Registry::new(store.clone(), self.clock.clone(), self.random.clone(), None);
        let registry = registry.with_rules(rules);
        let meter = Arc::new(Meter::new(self.clock.clone(), store.clone()));
        let copy = file.with_file_name("copy.tmp");
        let snapshot = Box::new(move || {
            store.snapshot_to(&copy).unwrap();
            let opened = std::fs::File::open(&copy).unwrap();
            std::fs::remove_file(&copy).unwrap();
            Ok(opened)
        });
        Ok(Opened { registry: Arc::new(registry), meter, snapshot })
    }
}

struct Seventh;
impl Running for Seventh {
    fn status(&self) -> ServerStatus {
        ServerStatus {
            version: VERSION.to_string(),
            pid: 4711,
            started_at: Timestamp::from_millis(1_795_000_000_000),
            listen: vec!["http://127.0.0.1:7411".to_string()],
            upstreams: Vec::new(),
            requests: 0,
            tokens: Tokens::default(),
            in_flight: 0,
            waiting: 0,
            connections: 0,
            errors: std::collections::BTreeMap::default(),
        }
    }

    fn models(&self) -> Vec<ModelView> {
        let server = |name: &str, state| ModelServer {
            name: name.to_string(),
            model: "meta/llama3".to_string(),
            state,
        };
        vec![ModelView {
            name: "llama3".to_string(),
            servers: vec![server("gpu-1", UpstreamState::Up), server("gpu-2", UpstreamState::Down)],
        }]
    }

    fn drain(&self, _: &str, _: bool) -> Option<UpstreamStatus> {
        None
    }

    fn test(&self, _: &str, _: Option<&ModelId>, _: bool) -> Result<Option<UpstreamTest>, AdminError> {
        Ok(None)
    }

    fn reload(&self, record: Record<'_>) -> Result<Reloaded, AdminError> {
        let reloaded = Reloaded::default();
        record(&reloaded).map(|()| reloaded)
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
        let opened = self.open(&self.data(), false, &Rules::default()).ok().unwrap();
        let registry = Arc::clone(&opened.registry);
        let door = AdminDoor::new(
            opened.registry,
            opened.meter,
            self.clock.clone(),
            Arc::new(Seventh),
            opened.snapshot,
            "http://127.0.0.1:7411".to_string(),
        );
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
    for word in ["revoked", "lost", "key.created", "key.rotated", "key.revoked", "on the machine", "UTC"] {
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
