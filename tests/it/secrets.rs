//! Laws 2 and 11: what is secret is in no log, no file and no answer but its own, at the finest level of logging.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};

use aho_corasick::AhoCorasick;

use crate::door;
use crate::ember::{Ember, Home, chat, files_below, request};
use crate::proof;

const PROMPT: &str = "canary-prompt-7f3a9c51d2";
const PASSWORD: &str = "canary-password-0b8e44aa17";
const UPSTREAM_KEY: &str = "sk-canary-upstream-key-e61d90c2b7";

/// A model server that keeps all it gets. Asked to leak, it answers with an error that holds the key it was given.
struct Model {
    address: SocketAddr,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Model {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || answer(stream, &kept));
            }
        });
        Self { address, got }
    }
}

fn answer(mut stream: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut text = Vec::new();
    let mut piece = [0; 65_536];
    while !is_whole(&text) {
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => text.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    kept.lock().unwrap().extend_from_slice(&text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let (status, kind, body) = if text.starts_with("GET ") {
        (200, "application/json", r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#.to_string())
    } else if let Some((_, status)) = text.split_once("leak ") {
        let body = format!("{{\"error\":{{\"message\":\"bad key: {UPSTREAM_KEY}\",\"type\":\"x\"}}}}");
        (status[..3].parse().unwrap(), "application/json", body)
    } else if text.contains("\"stream\":true") {
        let chunk = r#"{"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}"#;
        (200, "text/event-stream", format!("data: {chunk}\n\ndata: [DONE]\n\n"))
    } else {
        (
            200,
            "application/json",
            r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#.to_string(),
        )
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all((head + &body).as_bytes());
}

fn is_whole(text: &[u8]) -> bool {
    let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    text.len() >= end + 4 + length.unwrap_or(0)
}

/// All that was written anywhere but where it had to be.
#[derive(Default)]
struct Haystack(Vec<(String, Vec<u8>)>);

impl Haystack {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((name.into(), bytes.into()));
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    fn add_files(&mut self, folder: PathBuf) {
        for (path, bytes) in files_below(&folder) {
            // The space kept back for denials.
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            self.add(path.display().to_string(), bytes);
        }
    }

    /// Where a text stands.
    fn hits(&self, secret: &str) -> Vec<String> {
        let secret = [secret.to_string()];
        self.hits_of(&secret).into_iter().map(|(_, place)| place.to_string()).collect()
    }

    /// Which of the texts stand where, in one reading of all that there is.
    fn hits_of<'a>(&'a self, secrets: &'a [String]) -> BTreeSet<(&'a str, &'a str)> {
        let owned = |secret: &'a String| forms(secret).into_iter().map(move |form| (form, secret.as_str()));
        let (needles, owners): (Vec<_>, Vec<_>) = secrets.iter().flat_map(owned).unzip();
        let finder = AhoCorasick::new(&needles).unwrap();
        let places = |(name, bytes): &'a (String, Vec<u8>)| {
            let found = finder.find_overlapping_iter(bytes).map(|found| owners[found.pattern().as_usize()]);
            found.map(|owner| (owner, name.as_str())).collect::<BTreeSet<_>>()
        };
        self.0.iter().flat_map(places).collect()
    }

    /// A line that has the text, to see how it came there.
    fn line(&self, text: &str) -> Option<String> {
        let lines =
            self.0.iter().filter_map(|(_, bytes)| std::str::from_utf8(bytes).ok()).flat_map(str::lines);
        lines.into_iter().find(|line| line.contains(text)).map(ToString::to_string)
    }
}

/// A text as it is, in hexadecimal, in base64 at any of its three alignments.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_string(), hex.to_uppercase(), hex];
    for skip in 0..3 {
        let inner = base64(&secret.as_bytes()[skip..skip + (secret.len() - skip) / 3 * 3]);
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner);
    }
    forms
}

/// RFC 4648 without padding; the length is a multiple of three.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks_exact(3) {
        let value = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(value >> shift) as usize & 63]));
        }
    }
    text
}

fn home(model: &Model) -> Home {
    let home = Home::new(&format!(
        "[log]\nformat = \"json\"\n[models]\necho = true\nrefresh = \"100ms\"\n\n[[upstream]]\nname = \"local\"\n\
         url = \"http://{}\"\napi_key_file = \"upstream.key\"\n",
        model.address
    ));
    fs::write(home.file("upstream.key"), format!("{UPSTREAM_KEY}\n")).unwrap();
    home
}

/// A command at the finest level; its stderr is kept, its stdout given back.
fn run(home: &Home, stack: &mut Haystack, args: &[&str], stdin: &str) -> Output {
    let output = home.run_with(&[&["-vv"], args].concat(), stdin);
    stack.add(format!("stderr of {}", args.join(" ")), output.stderr.clone());
    output
}

fn issued(home: &Home, stack: &mut Haystack, args: &[&str]) -> String {
    let output = run(home, stack, args, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_string()
}

/// Requests with the key in all places where it belongs and does not belong.
fn use_key(server: &Ember, stack: &mut Haystack, key: &str) {
    let bearer = format!("Authorization: Bearer {key}\r\n");
    let raw = |first: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "{first} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let own = chat(PROMPT, "").replace("ember-echo", "m");
    let stream = chat(PROMPT, ",\"stream\":true").replace("ember-echo", "m");
    let requests = [
        request("GET", "/v1/models", Some(key), ""),
        request("POST", "/v1/chat/completions", Some(key), &own),
        request("POST", "/v1/chat/completions", Some(key), &stream),
        request("POST", "/v1/chat/completions", Some(key), &chat(PROMPT, "")),
        request("POST", "/v1/chat/completions", Some(key), &own.replace('}', "")),
        request("POST", "/v1/chat/completions", Some(key), &own.replace("\"m\"", "\"absent\"")),
        request("POST", "/v1/chat/completions", Some(key), &own.replace("\"m\"", &format!("\"{key}\""))),
        request("GET", &format!("/v1/models/{key}"), Some(key), ""),
        request("GET", &format!("/v1/{key}?key={key}"), Some(key), ""),
        request("GET", &format!("/v1/models?key={key}"), None, ""),
        request("GET", "/v1/models", Some(&key[..key.len() - 1]), ""),
        request("GET", "/v1/models", Some(&key.replace("ember_", "EMBER_")), ""),
        raw("GET /v1/models", &format!("{bearer}{bearer}"), ""),
        raw("GET /v1/models", &format!("{bearer}X-Request-Id: {key}\r\n"), ""),
        raw("POST /v1/chat/completions", &format!("{bearer}X-Request-Id: {key}\r\n"), &own),
        raw(
            "POST /v1/chat/completions",
            &format!("{bearer}User-Agent: {key}\r\nOpenAI-Project: {key}\r\n"),
            &own,
        ),
        raw("POST /v1/chat/completions", &format!("{bearer}Cookie: k={key}\r\nX-Api-Key: {key}\r\n"), &own),
        raw(&format!("{key} /v1/models"), &bearer, ""),
        raw("GET /v1/models", &format!("{bearer}Content-Encoding: {key}\r\n"), ""),
        raw("GET /v1/models", &format!("Host: {key}\r\n{bearer}"), ""),
        raw("POST /v1/chat/completions", &format!("{bearer}Transfer-Encoding: {key}\r\n"), &own),
    ];
    for request in requests {
        let answer = server.raw(request.as_bytes());
        // Whoever sent the key in a place of its own may be told that place.
        if !request.contains(&format!("model\":\"{key}")) && !request.contains(&format!("/v1/models/{key}")) {
            stack.add(format!("answer to {}", &request[..20]), answer);
        }
    }
}

fn create(home: &Home, stack: &mut Haystack, name: &str) -> String {
    issued(home, stack, &["key", "create", "--account", "ana@example.com", "--name", name])
}

fn online_keys(home: &Home, stack: &mut Haystack, count: usize) -> Vec<String> {
    let mut keys: Vec<_> =
        (0..count).map(|number| create(home, stack, &format!("online-{number}"))).collect();
    keys.push(issued(home, stack, &["key", "rotate", "online-0"]));
    keys.push(issued(home, stack, &["key", "rotate", "offline-0", "--now"]));
    keys
}

/// Everything that shows something of keys, but not the keys themselves.
fn look_around(home: &Home, stack: &mut Haystack, key: &str) {
    for (method, path) in
        [("GET", format!("/admin/v1/keys/{key}")), ("POST", "/admin/v1/keys/verify".to_string())]
    {
        let body = format!("{{\"key\":\"{key}\",\"key2\":\"{PROMPT}\"}}");
        let answer = door::ask(&home.data(), method, &path, "", &body).unwrap();
        stack.add("answer at the door", answer.body);
    }
    for args in [
        &["key", "list"][..],
        &["key", "show", "door", "-o", "json"],
        &["status", "-o", "json"],
        &["config", "show", "--origin", "-o", "json"],
    ] {
        let output = run(home, stack, args, "");
        stack.add(format!("stdout of {args:?}"), output.stdout);
    }
}

fn back_up(home: &Home, stack: &mut Haystack, name: &str) {
    assert!(run(home, stack, &["backup", name], "").status.success());
    stack.add(name, fs::read(home.file(name)).unwrap());
}

/// Laws 2 and 11.
#[test]
fn no_secret_is_anywhere_but_where_it_has_to_be() {
    let model = Model::start();
    let home = home(&model);
    let mut stack = Haystack::default();
    let created = ["account", "create", "ana@example.com", "--admin", "--password-stdin"];
    assert!(run(&home, &mut stack, &created, PASSWORD).status.success());
    let half = proof::size(20, 1000) / 2;
    let mut keys: Vec<_> =
        (0..half).map(|number| create(&home, &mut stack, &format!("offline-{number}"))).collect();
    let server = Ember::start(home.command(&["-vv", "serve"]));
    let made = online_keys(&home, &mut stack, half);
    tell_of_memory(&server, "when they were made", &made);
    keys.extend(made);
    let (id, last) = door::create(&home, "door").unwrap();
    keys.push(last.clone());
    assert!(run(&home, &mut stack, &["account", "passwd", "ana@example.com"], PASSWORD).status.success());
    crate::ember::eventually("the model", || server.get("/v1/models", Some(&last)).text().contains("\"m\""));
    for key in &keys {
        use_key(&server, &mut stack, key);
        let verified = run(&home, &mut stack, &["key", "verify"], key);
        stack.add("stdout of key verify", verified.stdout);
    }
    tell_of_memory(&server, "when they were used", &keys);
    look_around(&home, &mut stack, &keys[0]);
    back_up(&home, &mut stack, "live.redb");
    assert!(run(&home, &mut stack, &["key", "revoke", "door"], "").status.success());
    use_key(&server, &mut stack, &last);
    stack.add("command line", fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap());
    stack.add_files(home.data());
    server.signal("TERM");
    server.wait_for_log("draining");
    stack.add("log", server.log());
    drop(server);
    back_up(&home, &mut stack, "offline.redb");
    assert!(stack.0.iter().any(|(name, _)| name.ends_with("models.json")), "the model list is on disk");
    assert!(!stack.hits(&id).is_empty(), "the log names keys by id, so there is something to search");
    assert!(!stack.hits("offline-3").is_empty());
    none_is_found(&stack, &keys);
    proof::show("issued keys that were searched raw, as hex and as base64", keys.len(), "1,000");
    let searched = format!("{} kB in {} pieces", stack.bytes() / 1000, stack.0.len());
    proof::show("data file, backups, logs at the finest level, errors and answers searched", searched, "all");
    let mut got = Haystack::default();
    got.add("what the model server got", model.got.lock().unwrap().clone());
    assert!(!got.hits(UPSTREAM_KEY).is_empty() && !got.hits(PROMPT).is_empty(), "it was asked");
    assert!(got.hits_of(&keys).is_empty(), "a caller's key crossed over");
    proof::show_none("keys that were found", keys.len());
}

fn none_is_found(stack: &Haystack, keys: &[String]) {
    let others = [PROMPT, PASSWORD, UPSTREAM_KEY].map(str::to_string);
    // Wherever the whole stands its end stands, too, in base64 as well.
    let end = |secret: &String| secret[secret.len() - 20..].to_string();
    let ends: Vec<_> = keys.iter().chain(&others).map(end).collect();
    // The built-in model and the scripted one give prompts back to whoever sent them.
    let is_elsewhere =
        |(end, place): &(&str, &str)| !PROMPT.ends_with(end) || !place.starts_with("answer to POST");
    let first = stack.hits_of(&ends).into_iter().find(is_elsewhere);
    assert!(first.is_none(), "a secret stands in {first:?}: {:?}", stack.line(first.unwrap().0));
}

/// Law 2 asks for a figure here and for no bound: how many of the keys the running server's memory still has.
fn tell_of_memory(server: &Ember, when: &str, keys: &[String]) {
    let memory = match memory_of(server.pid()) {
        Ok(memory) => memory,
        Err(error) => {
            proof::show(&format!("keys found in process memory {when}"), error.kind(), "be reported");
            return;
        }
    };
    assert!(!memory.hits(UPSTREAM_KEY).is_empty(), "it is really read: the server needs that one");
    let hits = memory.hits_of(keys);
    let found: BTreeSet<_> = hits.iter().map(|(key, _)| key).collect();
    let found = format!("{} of {}", found.len(), keys.len());
    proof::show(&format!("keys found in process memory {when}"), found, "be reported");
    for (name, _) in &memory.0 {
        let count = hits.iter().filter(|(_, place)| place == name).count();
        if count > 0 {
            proof::show(&format!("of these in {name} {when}"), count, "be reported");
        }
    }
}

/// All that a process can read of its own memory, by what it was mapped for.
fn memory_of(pid: u32) -> std::io::Result<Haystack> {
    let memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let name = fields.get(5).copied().unwrap_or("anonymous memory");
        if !fields[1].starts_with('r') || name.starts_with("[v") {
            continue;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // It may have been given back meanwhile.
        if memory.read_exact_at(&mut bytes, start).is_ok() {
            let kind = if name.starts_with('/') { "mapped files" } else { name };
            parts.entry(kind.to_string()).or_default().extend(bytes);
        }
    }
    Ok(Haystack(parts.into_iter().collect()))
}

/// Law 11, the other way.
#[test]
fn a_model_servers_error_that_holds_embers_key_reaches_nobody() {
    let model = Model::start();
    let home = home(&model);
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let key = home.key("app");
    let server = Ember::start(home.command(&["-vv", "serve"]));
    crate::ember::eventually("the model", || server.get("/v1/models", Some(&key)).text().contains("\"m\""));
    for status in [400, 401, 403, 404, 422, 429, 500, 503] {
        for more in ["", ",\"stream\":true"] {
            let body = chat(&format!("leak {status}"), more).replace("ember-echo", "m");
            let answer = server.post("/v1/chat/completions", Some(&key), &body);
            assert_eq!(answer.status, 502, "{status}: {}", answer.text());
            let mut stack = Haystack::default();
            stack.add("answer", answer.body.clone());
            stack.add("headers", format!("{:?}", answer.headers));
            assert_eq!(stack.hits(UPSTREAM_KEY), Vec::<String>::new(), "{status}");
            answer.code();
        }
    }
    let mut stack = Haystack::default();
    stack.add("log", server.log());
    assert_eq!(stack.hits(UPSTREAM_KEY), Vec::<String>::new());
}
