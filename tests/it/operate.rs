//! The recipes of docs/operate.md, run as they stand on a machine that is a directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::doctor::{SmallDisk, from_the_future};
use crate::ember::{Answer, Ember, install, request};
use crate::visitor::Browser;

const BOOK: &str = include_str!("../../docs/operate.md");

/// Every recipe, in the order of the book; each has its test below.
const RECIPES: [&str; 17] = [
    "everywhere",
    "backup",
    "backup-daily",
    "backup-verify",
    "restore",
    "move-old",
    "move-new",
    "rename",
    "upgrade",
    "downgrade",
    "password",
    "administrators",
    "leaked-key",
    "leaked-key-grace",
    "lost",
    "full-disk",
    "compact",
];

const PASSWORD: &str = "a new and long password";

/// What the book has under a name.
fn recipe(name: &str) -> &'static str {
    let start = format!("```sh recipe={name}\n");
    let (_, rest) = BOOK.split_once(&start).unwrap_or_else(|| panic!("the book has no recipe '{name}'"));
    rest.split("```").next().unwrap()
}

/// What the recipes may name: each lies in the machine's own directory. Anything else would be this computer's.
const PLACES: [&str; 5] =
    ["/etc/ember", "/etc/cron.daily/ember", "/var/lib/ember", "/var/backups/ember", "/usr/bin/ember"];

/// The service manager and the copier, as far as the recipes need them. A server that ended may stay as a zombie. While
/// the socket is active and the service is stopped alone, a caller comes at once.
const SYSTEMCTL: &str = r#"#!/bin/bash
set -eu
export EMBER_CONFIG=ROOT/etc/ember/ember.toml EMBER_DATA=ROOT/var/lib/ember
runs() { case "$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null)" in Z|"") return 1;; esac; }
start() {
    pid=$(cat ROOT/pid 2>/dev/null) && runs "$pid" && return 0
    ROOT/usr/bin/ember serve > /dev/null 2>> ROOT/log < /dev/null &
    echo $! > ROOT/pid
    until ROOT/usr/bin/ember --quiet status > /dev/null 2>&1; do runs "$!" || exit 1; sleep 0.05; done
}
stop() {
    pid=$(cat ROOT/pid 2>/dev/null) || return 0
    if runs "$pid"; then kill -TERM "$pid"; fi
    while runs "$pid"; do sleep 0.05; done
    rm ROOT/pid
}
verb=$1 now=no units=
shift
for word; do
    case "$word" in
        --now) now=yes;;
        ember|ember.service) units="$units service";;
        ember.socket) units="$units socket";;
        *) echo "Unit $word not loaded." >&2; exit 5;;
    esac
done
[ -n "$units" ]
case "$verb$now" in
    startno|enableyes) for unit in $units; do [ $unit = service ] && start || touch ROOT/socket; done;;
    stopno|disableyes)
        case "$units" in *socket*) rm -f ROOT/socket;; esac
        case "$units" in *service*) stop;; esac
        [ ! -e ROOT/socket ] || start;;
    restartno) stop; start;;
    *) exit 2;;
esac
"#;
const SCP: &str = "#!/bin/sh\nset -eu\nmkdir -p ROOT/new-machine\nwhile [ $# -gt 1 ]; do cp \"$1\" ROOT/new-machine/; shift; done\n\
                   [ \"$1\" = new-machine: ]\n";

/// A directory that is a machine: `/etc/ember`, `/var/lib/ember`, a service manager, and `/root` to be in.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    /// With nothing but the program and a configuration.
    fn bare(settings: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let machine = Self { root };
        for folder in ["etc/ember", "etc/cron.daily", "var/lib", "var/backups", "usr/bin", "bin", "root"] {
            fs::create_dir_all(machine.path(folder)).unwrap();
        }
        let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{settings}\n[models]\necho = true\n");
        fs::write(machine.path("etc/ember/ember.toml"), text).unwrap();
        install(Path::new(env!("CARGO_BIN_EXE_ember")), &machine.path("usr/bin/ember"));
        machine.tool("systemctl", SYSTEMCTL);
        machine.tool("scp", SCP);
        fs::write(machine.path("root/new-password"), PASSWORD).unwrap();
        machine
    }

    /// With an account, a key `app` and a server that runs.
    fn serving(settings: &str) -> (Self, String) {
        let machine = Self::bare(settings);
        let key = machine.settle();
        (machine, key)
    }

    /// A program that comes before the others.
    fn tool(&self, name: &str, text: &str) {
        let text = text.replace("ROOT", self.root.path().to_str().unwrap());
        write_program(&self.path(&format!("bin/{name}")), &text);
    }

    fn install_the_nightly_backup(&self) {
        write_program(&self.path("etc/cron.daily/ember"), &self.script(recipe("backup-daily")));
    }

    fn settle(&self) -> String {
        self.shell("ember account create ana@example.com --admin");
        let key = self.shell("ember key create --account ana@example.com --name app");
        self.shell("systemctl start ember");
        key
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    fn data(&self) -> PathBuf {
        self.path("var/lib/ember")
    }

    /// A script whose paths lie on this machine. Panics at one that would be this computer's own.
    fn script(&self, text: &str) -> String {
        let foreign = foreign_paths(text);
        assert!(foreign.is_empty(), "{foreign:?} are not this machine's: {text}");
        let root = self.root.path().to_str().unwrap();
        let mut script = text.to_string();
        for place in PLACES {
            script = script.replace(place, &format!("{root}{place}"));
        }
        // There is no user of that name here.
        script.replace("-o ember -g ember ", "").replace("-g ember ", "")
    }

    /// A command that finds this machine's programs first.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let root = self.root.path().to_str().unwrap();
        let path = format!("{root}/bin:{root}/usr/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        let mut command = Command::new(program);
        command.current_dir(self.path("root")).env_clear().env("PATH", path).stdin(Stdio::null());
        command
    }

    /// Lines of a shell on this machine, in the environment that the book asks for.
    fn run(&self, script: &str) -> Output {
        let script = self.script(&format!("{}\n{script}", recipe("everywhere")));
        self.command("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap()
    }

    /// Runs what lies in `/etc/cron.daily`, as `run-parts` does.
    fn every_night(&self) -> Output {
        let file = self.path("etc/cron.daily/ember");
        self.command(file).output().unwrap()
    }

    /// What lines that must succeed print.
    fn shell(&self, script: &str) -> String {
        let output = self.run(script);
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(output.status.success(), "{script}\n{out}\n{err}\n{log}");
        out.trim_end().to_string()
    }

    fn follow(&self, name: &str) -> String {
        self.shell(recipe(name))
    }

    /// What the server says to a key.
    fn answer(&self, key: &str) -> u16 {
        let status: Value = serde_json::from_str(&self.shell("ember status -o json")).unwrap();
        let address =
            status["server"]["listen"][0].as_str().unwrap().trim_start_matches("http://").to_string();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request("GET", "/v1/models", Some(key), "").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes).status
    }

    /// Stops the service and serves in its place.
    fn serve(&self) -> Ember {
        self.shell("systemctl stop ember");
        let mut command = Command::new(self.path("usr/bin/ember"));
        command.env_clear().arg("-c").arg(self.path("etc/ember/ember.toml")).arg("--data").arg(self.data());
        command.arg("serve").stdin(Stdio::null());
        Ember::start(command)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.path("pid")) {
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
    }
}

fn write_program(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o755)).unwrap();
}

/// The absolute paths in a script that lie in none of `PLACES`.
fn foreign_paths(script: &str) -> Vec<&str> {
    let script = script.strip_prefix("#!/bin/sh\n").unwrap_or(script);
    let ends = |letter: char| letter.is_whitespace() || "\"'`|&;<>()=,{}".contains(letter);
    let known = |word: &str| {
        let inside = |place: &str| {
            let rest = word.strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') && !rest.contains(".."))
        };
        PLACES.iter().any(|place| inside(place)) || word == "/dev/null" || word == "/dev/zero"
    };
    script.split(ends).filter(|word| word.starts_with('/') && !known(word)).collect()
}

fn names(folder: &Path, beginning: &str) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.starts_with(beginning)).collect()
}

#[test]
fn every_recipe_of_the_book_is_run() {
    let marks = BOOK.split("```sh recipe=").skip(1).map(|rest| rest.lines().next().unwrap());
    let found: Vec<_> = marks.collect();
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "a name is there twice");
    assert_eq!(found.as_slice(), &RECIPES);
    let source = include_str!("operate.rs");
    for name in found {
        let run = [format!("follow(\"{name}\")"), format!("recipe(\"{name}\")")];
        assert!(run.iter().any(|call| source.contains(call)), "no test runs '{name}'");
    }
}

#[test]
fn no_recipe_reaches_this_computer() {
    for name in RECIPES {
        assert_eq!(foreign_paths(recipe(name)), [""; 0], "{name}");
    }
    let bad = [
        "rm /usr/bin/vi",
        "x=/etc/passwd",
        "cat </etc/ember/../passwd",
        "a \"/var/lib\"",
        "(/bin/x)",
        "rm -r /",
    ];
    for script in bad {
        assert_eq!(foreign_paths(script).len(), 1, "{script}");
    }
}

#[test]
fn a_backup_is_made_every_night_verified_and_restored() {
    let (machine, key) = Machine::serving("");
    let backups = machine.path("var/backups/ember");
    machine.follow("backup");
    assert_eq!(fs::metadata(&backups).unwrap().permissions().mode() & 0o777, 0o700);
    machine.shell("touch -d '40 days ago' /var/backups/ember/ember-2020-01-01T000000.redb");
    machine.install_the_nightly_backup();
    // One that fails takes no old one away.
    machine.tool("ember", "#!/bin/sh\nexit 5\n");
    assert!(!machine.every_night().status.success());
    assert_eq!(names(&backups, "ember-2020").len(), 1, "it is the last one");
    fs::remove_file(machine.path("bin/ember")).unwrap();
    let night = machine.every_night();
    let said = String::from_utf8_lossy(&night.stderr).into_owned();
    assert!(night.status.success() && night.stdout.is_empty() && said.is_empty(), "{said}");
    assert_eq!(names(&backups, "ember-2020"), [""; 0], "old ones are removed");
    assert_eq!(names(&backups, "").len(), 2);
    machine.follow("backup-verify");
    // One that is damaged does not pass.
    let newest = machine.shell("ls -t /var/backups/ember/*.redb | head -n 1");
    let mut bytes = fs::read(&newest).unwrap();
    let place = bytes.windows(15).rposition(|part| part == b"ana@example.com").unwrap();
    bytes[place] ^= 1;
    fs::write(&newest, bytes).unwrap();
    assert!(!machine.run(recipe("backup-verify")).status.success());
    fs::remove_file(newest).unwrap();
    machine.shell("ember key revoke app");
    let late = machine.shell("ember key create --account ana@example.com --name late");
    machine.shell("systemctl start ember.socket");
    machine.follow("restore");
    assert_eq!((machine.answer(&key), machine.answer(&late)), (401, 401), "revoked stays revoked");
    assert_eq!(names(&machine.data(), "ember.redb.before-restore-").len(), 1);
}

#[test]
fn the_nightly_backup_makes_its_directory() {
    let (machine, _) = Machine::serving("");
    machine.install_the_nightly_backup();
    assert!(machine.every_night().status.success());
    let backups = machine.path("var/backups/ember");
    assert_eq!(fs::metadata(&backups).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(names(&backups, "ember-").len(), 1);
}

#[test]
fn a_move_takes_keys_along() {
    let (old, key) = Machine::serving("");
    old.shell("systemctl start ember.socket");
    old.follow("move-old");
    assert!(!old.path("pid").exists());
    let new = Machine::bare("");
    // As the package does.
    new.shell("systemctl start ember");
    for name in ["ember-move.redb", "ember.toml"] {
        fs::copy(old.path("new-machine").join(name), new.path("root").join(name)).unwrap();
    }
    let said = new.follow("move-new");
    assert!(said.contains("ok    store           accounts: 1, keys: 1"), "{said}");
    assert_eq!(new.answer(&key), 200);
    new.shell("ember audit --verify");
}

#[test]
fn another_host_name_is_in_new_links_and_no_key_changes() {
    let settings = "public_url = \"https://old.example.com\"\n[dashboard]\nsign_up = \"invite\"\n";
    let (machine, key) = Machine::serving(settings);
    machine.follow("rename");
    assert_eq!(machine.answer(&key), 200);
    let link = machine.shell("ember invite create bob@example.com");
    assert!(link.starts_with("https://new.example.com/"), "{link}");
}

#[test]
fn an_upgrade_and_the_way_back() {
    let (machine, key) = Machine::serving("");
    let program = machine.path("usr/bin/ember");
    for name in ["ember-new", "ember-old"] {
        install(&program, &machine.path("root").join(name));
    }
    machine.follow("upgrade");
    assert_eq!(machine.answer(&key), 200);
    let late = machine.shell("ember key create --account ana@example.com --name late");
    machine.shell("systemctl stop ember");
    // The version that runs now is an older one for this file.
    let file = machine.data().join("ember.redb");
    from_the_future(&file);
    let newer = fs::read(&file).unwrap();
    for line in ["ember key list", "ember serve", "ember backup never.redb", "ember compact"] {
        let output = machine.run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{line}: {said}");
        let words = "has format 2, this version of Ember knows formats up to 1";
        assert!(said.contains(words) && BOOK.contains(words), "{line}: {said}");
        assert!(fs::read(&file).unwrap() == newer, "{line} changed it");
    }
    machine.follow("downgrade");
    assert_eq!((machine.answer(&key), machine.answer(&late)), (200, 401));
    let kept = names(&machine.data(), "ember.redb.before-restore-");
    assert!(fs::read(machine.data().join(&kept[0])).unwrap() == newer, "the newer file is kept");
}

#[test]
fn a_forgotten_password_and_the_last_administrator_are_no_end() {
    let (machine, _) = Machine::serving("");
    machine.follow("password");
    machine.shell("ember account create bob@example.com");
    machine.shell("ember account disable ana@example.com");
    machine.follow("administrators");
    let server = machine.serve();
    assert_eq!(Browser::new(&server).sign_in("root@example.com", PASSWORD).status, 303);
    let mut browser = Browser::new(&server);
    assert_ne!(browser.sign_in("ana@example.com", PASSWORD).status, 303, "she is disabled");
    machine.shell("ember account enable ana@example.com");
    assert_eq!(browser.sign_in("ana@example.com", PASSWORD).status, 303);
    let page = browser.get("/dashboard/accounts");
    assert!(page.status == 200 && page.text().contains("bob@example.com"), "{}", page.status);
}

#[test]
fn a_leaked_key_is_denied_or_replaced() {
    let (machine, key) = Machine::serving("");
    machine.follow("leaked-key-grace");
    let fresh = fs::read_to_string(machine.path("root/app.key")).unwrap();
    assert_eq!((machine.answer(&key), machine.answer(fresh.trim())), (200, 200));
    machine.follow("leaked-key");
    assert_eq!((machine.answer(&key), machine.answer(fresh.trim())), (401, 401));
}

#[test]
fn a_lost_data_directory_is_begun_anew() {
    let (machine, key) = Machine::serving("");
    machine.shell("systemctl stop ember");
    fs::remove_dir_all(machine.data()).unwrap();
    machine.follow("lost");
    let fresh = fs::read_to_string(machine.path("root/app.key")).unwrap();
    assert_eq!((machine.answer(&key), machine.answer(fresh.trim())), (401, 200));
}

#[test]
fn a_full_disk_still_takes_rights_away() {
    let machine = Machine::bare("");
    fs::create_dir(machine.data()).unwrap();
    let Some(_disk) = SmallDisk::at(&machine.data(), "size=16m,mode=700") else { return };
    let key = machine.settle();
    let kept = machine.shell("ember key create --account ana@example.com --name kept");
    machine.run("cat /dev/zero > /var/lib/ember/ember.redb.before-format-0");
    // The file has some room inside of it, which is used up first.
    let create = "for n in $(seq 500); do ember key create --account ana@example.com --name n$n; done";
    let output = machine.run(create);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("the disk is full"), "{said}");
    assert_eq!(machine.answer(&kept), 200);
    machine.follow("full-disk");
    assert_eq!((machine.answer(&key), machine.answer(&kept)), (401, 200));
    let again = "until ember key create --account ana@example.com --name again; do sleep 0.2; done";
    machine.shell(again);
}

#[test]
fn a_compaction_keeps_everything() {
    let (machine, key) = Machine::serving("");
    machine.shell("systemctl start ember.socket");
    let said = machine.follow("compact");
    assert!(said.contains("Before  ") && said.contains("Now     "), "{said}");
    assert_eq!(machine.answer(&key), 200);
}
