//! What a service manager and a container ask of the server: notices, a watchdog, sockets that are passed; and the
//! completions and manual pages of a package. `tests/service/run` tries the same with systemd's own tools.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::ember::{Answer, Ember, Home, PATIENCE, eventually, program, request};

/// A service manager's ear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn of(home: &Home) -> Self {
        let path = home.file("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn hears(&self) -> String {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).expect("no notice came");
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    fn waits_for(&self, line: &str) -> String {
        loop {
            let notice = self.hears();
            if notice.lines().any(|one| one == line) {
                return notice;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_when_it_is_ready_alive_and_stopping() {
    let home = Home::with_echo();
    let manager = Manager::of(&home);
    let mut command = home.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "100000");
    let mut ember = Ember::start(command);
    let ready = manager.hears();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on 127.0.0.1:"), "{ready}");
    assert_eq!(ember.get("/healthz", None).status, 200, "ready means that it answers");
    for _ in 0..5 {
        manager.waits_for("WATCHDOG=1");
    }
    let status = format!("STATUS=listening on {}; 1 of 1 model servers up", ember.address);
    manager.waits_for(&status);
    ember.signal("TERM");
    let stopping = manager.waits_for("STOPPING=1");
    assert!(stopping.contains("\nEXTEND_TIMEOUT_USEC=50000000\n"), "{stopping}");
    assert_eq!(ember.wait().code(), Some(0));
}

#[test]
fn without_a_watchdog_no_sign_of_life_is_sent() {
    for (name, value) in [("WATCHDOG_PID", "1"), ("WATCHDOG_USEC", "0")] {
        let home = Home::with_echo();
        let manager = Manager::of(&home);
        let mut command = home.command(&["serve"]);
        command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "1000").env(name, value);
        let mut ember = Ember::start(command);
        assert!(manager.hears().starts_with("READY=1\n"));
        ember.signal("TERM");
        assert!(manager.hears().starts_with("STOPPING=1\n"), "{name}={value}");
        ember.wait();
    }
}

/// A command line with a socket passed as systemd does, which is fd 3 and a variable with the process's own id.
fn with_socket(mut inner: Command, socket: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; export LISTEN_PID=${PID_OF:-$$} LISTEN_FDS=1; exec \"$0\" \"$@\"";
    command.env_clear().args(["-c", script]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(inner.get_current_dir().unwrap());
    inner.env_clear();
    command.stdin(socket.into());
    command
}

#[test]
fn a_restart_on_a_passed_socket_refuses_no_connection() {
    let home = Home::with_echo();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let serve = || Ember::start(with_socket(home.command(&["serve"]), socket.try_clone().unwrap()));
    let first = serve();
    assert_eq!(first.address, address);
    assert_eq!(first.get("/healthz", None).status, 200);
    assert!(first.log().contains("the service manager passed 127.0.0.1:"), "{}", first.log());
    assert!(first.log().contains("server.listen says 127.0.0.1:0, and that is not bound"), "{}", first.log());
    assert_eq!(first.stop().code(), Some(0));
    // Nobody serves now, and callers wait.
    let mut between = TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut between, request("GET", "/healthz", None, "").as_bytes()).unwrap();
    let second = serve();
    let mut answer = Vec::new();
    between.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Read::read_to_end(&mut between, &mut answer).unwrap();
    assert_eq!(Answer::parse(&answer).status, 200);
    assert_eq!(second.address, address);
}

#[test]
fn a_passed_socket_for_someone_else_is_left_alone() {
    let home = Home::with_echo();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = with_socket(home.command(&["serve"]), socket);
    command.env("PID_OF", "1");
    assert_ne!(Ember::start(command).address, address);
}

#[test]
fn a_passed_connection_is_refused_with_what_to_write_instead() {
    let home = Home::with_echo();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let output = with_socket(home.command(&["serve"]), connection).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("does not listen") && said.contains("no Accept=yes"), "{said}");
}

#[test]
fn in_a_container_loopback_is_said_to_be_the_containers_own() {
    let home = Home::with_echo();
    let mut command = home.command(&["serve"]);
    command.env("container", "podman");
    Ember::start(command).wait_for_log("nobody outside of it reaches this server");
    let mut command = home.command(&["serve", "--listen", "0.0.0.0:0"]);
    command.env("container", "podman");
    let open = Ember::start(command);
    eventually("an answer", || open.get("/healthz", None).status == 200);
    assert!(!open.log().contains("nobody outside"), "{}", open.log());
}

fn bash(script: &str) -> Output {
    let mut bash = Command::new("bash");
    let program = program();
    bash.args(["--norc", "-c", script]).env("EMBER", program.get_program()).output().unwrap()
}

#[test]
fn bash_completes_commands_and_flags() {
    for (words, wanted) in [
        ("ember key cr", "create"),
        ("ember completions po", "powershell"),
        ("ember key create --acc", "--account"),
        ("ember -o js", "json"),
    ] {
        let script = format!(
            "source <(\"$EMBER\" completions bash); COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _ember ember \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = bash(&script);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), wanted, "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn every_shell_gets_a_script_and_every_command_a_page() {
    let home = Home::new("this is no configuration, and none is needed");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.ok(&["completions", shell]);
        assert!(script.contains("key") && script.contains("ember"), "{shell}");
    }
    assert!(home.ok(&["man"]).contains(".TH ember 1"));
    let dir = home.file("a/man1");
    let said = home.run(&["man", "--dir", "a/man1"]);
    assert!(said.status.success() && said.stdout.is_empty());
    let entries =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<_> = entries.collect();
    assert!(String::from_utf8(said.stderr).unwrap().contains(&format!("{} pages", pages.len())));
    let named = |page: &String| {
        let text = std::fs::read_to_string(dir.join(page)).unwrap().replace('\\', "");
        let names = text.lines().filter_map(|line| line.strip_suffix("(1)")).map(|name| format!("{name}.1"));
        names.collect::<Vec<_>>()
    };
    let below: BTreeSet<_> = pages.iter().flat_map(named).collect();
    assert!(below.contains("ember-key-create.1") && below.contains("ember-man.1"), "{below:?}");
    assert!(below.is_subset(&pages), "commands without a page: {:?}", below.difference(&pages));
    assert_eq!(below.len() + 1, pages.len(), "every page but the first is named by another");
}

#[test]
fn the_unit_runs_commands_that_there_are() {
    let unit = include_str!("../../packaging/ember.service");
    let lines = unit.lines().filter(|line| line.starts_with("Exec"));
    let commands: Vec<_> = lines.map(|line| line.split_once("=/usr/bin/ember ").unwrap()).collect();
    let kinds: Vec<_> = commands.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["ExecStart", "ExecReload"]);
    for (_, words) in commands {
        let output = program().args(words.split(' ')).arg("--help").output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
