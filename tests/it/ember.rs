//! A running Ember with a data directory of its own, and a plain HTTP client that shows every byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::pipe::{self, Pipe};

/// The longest anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ember"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Copies a program, in a process of its own: while it is written here, whatever another test starts would have it open, too,
/// and it could not be run ("Text file busy").
pub fn install(program: &Path, at: &Path) {
    assert!(Command::new("cp").arg("-p").arg(program).arg(at).status().unwrap().success());
}

/// A folder with a configuration and a data directory.
pub struct Home {
    pub folder: tempfile::TempDir,
}

impl Home {
    /// `settings` go into ember.toml below an address with a free port. With `EMBER_PROOF_TLS` set Ember speaks TLS, so
    /// that a test of the door holds for that, too.
    pub fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{settings}");
        if std::env::var_os("EMBER_PROOF_TLS").is_some() && !text.contains(pipe::SECTION) {
            pipe::Pair::new().put(folder.path());
            text = format!("{text}\n{}", pipe::SECTION);
        }
        std::fs::write(folder.path().join("ember.toml"), text).unwrap();
        Self { folder }
    }

    /// With the built-in model as the only one, and an account `ana@example.com`.
    pub fn with_echo() -> Self {
        let home = Self::new("[models]\necho = true\n");
        home.ok(&["account", "create", "ana@example.com", "--admin"]);
        home
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command line on this home, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.folder.path());
        command.arg("-c").arg(self.file("ember.toml")).arg("--data").arg(self.data()).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// With something on stdin.
    pub fn run_with(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What a command that must succeed prints on stdout, without the last line feed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_string()
    }

    /// A new key of `ana@example.com`.
    pub fn key(&self, name: &str) -> String {
        self.ok(&["key", "create", "--account", "ana@example.com", "--name", name])
    }

    pub fn serve(&self) -> Ember {
        Ember::start(self.command(&["serve"]))
    }
}

/// A server process; killed when dropped.
pub struct Ember {
    child: Child,
    pub address: SocketAddr,
    /// The certificate to expect, where it speaks TLS.
    pub trust: Option<PathBuf>,
    log: Arc<Mutex<String>>,
    out: Arc<Mutex<String>>,
}

impl Ember {
    /// Starts it and waits until it says where it listens.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (found, address) = std::sync::mpsc::channel();
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(address) = listens_on(&line) {
                    let _ = found.send(address);
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let address = address.recv_timeout(PATIENCE);
        let (address, is_tls) =
            address.unwrap_or_else(|_| panic!("it did not start: {}", log.lock().unwrap()));
        let trust = is_tls.then(|| command.get_current_dir().unwrap().join(pipe::CERT_FILE));
        let out = Arc::new(Mutex::new(String::new()));
        let (mut stdout, kept) = (child.stdout.take().unwrap(), Arc::clone(&out));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Some(count) = stdout.read(&mut part).ok().filter(|count| *count > 0) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..count]));
            }
        });
        Self { child, address, trust, log, out }
    }

    /// Starts it, and reads no further once it says where it listens: stderr is the caller's.
    pub fn start_unread(mut command: Command) -> (Self, BufReader<ChildStderr>) {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let (address, is_tls) = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it did not start");
            if let Some(found) = listens_on(&line) {
                break found;
            }
        };
        let trust = is_tls.then(|| command.get_current_dir().unwrap().join(pipe::CERT_FILE));
        (Self { child, address, trust, log: Arc::default(), out: Arc::default() }, log)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        let scheme = if self.trust.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Everything on stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Everything on stdout so far.
    pub fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    /// Waits for a line on stderr that contains `text`.
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("a log line with {text:?}"), || self.log().contains(text));
    }

    pub fn connect(&self) -> TcpStream {
        self.try_connect().unwrap()
    }

    pub fn try_connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends these bytes on a new connection and reads what comes until the end.
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(Pipe::open(self), bytes)
    }

    pub fn send(&self, bytes: &[u8]) -> Answer {
        Answer::parse(&self.raw(bytes))
    }

    /// The whole answer of a server that may go away before there is one.
    pub fn try_send(&self, bytes: &[u8]) -> Option<Answer> {
        let answer = exchange(Pipe::try_open(self).ok()?, bytes);
        let has_head = answer.windows(4).any(|window| window == b"\r\n\r\n");
        has_head.then(|| Answer::parse(&answer)).filter(|answer| answer.whole)
    }

    pub fn get(&self, path: &str, key: Option<&str>) -> Answer {
        self.send(request("GET", path, key, "").as_bytes())
    }

    pub fn post(&self, path: &str, key: Option<&str>, json: &str) -> Answer {
        self.send(request("POST", path, key, json).as_bytes())
    }

    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Ember {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that comes back for these bytes, until the end.
fn exchange(mut stream: Pipe, bytes: &[u8]) -> Vec<u8> {
    // The server may answer and close before everything was sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// The address that a line of the log names, and whether TLS is spoken there.
fn listens_on(line: &str) -> Option<(SocketAddr, bool)> {
    let (_, rest) = line.split_once("listening on http")?;
    let is_tls = rest.starts_with('s');
    let rest = rest.trim_start_matches('s').trim_start_matches("://");
    let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
    Some((rest[..end].parse().unwrap(), is_tls))
}

/// A request that asks for the connection to be closed after it.
pub fn request(method: &str, path: &str, key: Option<&str>, body: &str) -> String {
    let key = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    format!(
        "{method} {path} HTTP/1.1\r\nHost: ember.test\r\n{key}Connection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A chat request to the built-in model.
pub fn chat(prompt: &str, more: &str) -> String {
    let prompt = serde_json::Value::from(prompt);
    format!("{{\"model\":\"ember-echo\",\"messages\":[{{\"role\":\"user\",\"content\":{prompt}}}]{more}}}")
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub whole: bool,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs = lines.map(|line| line.split_once(':').unwrap());
        let headers =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_string())).collect();
        let mut answer = Self { status, headers, body: bytes[end + 4..].to_vec(), whole: true };
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, answer.whole) = unchunked(&answer.body);
        } else if let Some(length) = answer.header("content-length") {
            answer.whole = length == answer.body.len().to_string();
        }
        answer
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The `code` of an error in OpenAI's shape; panics when it is not exactly that shape.
    pub fn code(&self) -> String {
        let json = self.json();
        let error = json["error"].as_object().unwrap();
        let mut names: Vec<_> = error.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["code", "message", "param", "type"]);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some());
        error["code"].as_str().unwrap().to_string()
    }
}

fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap().trim(), 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            return (body, true);
        }
        if bytes.len() < size + 2 {
            body.extend_from_slice(&bytes[..bytes.len().min(size)]);
            return (body, false);
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All files below a folder, with what is in them.
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}
