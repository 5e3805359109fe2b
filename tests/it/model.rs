//! A model server whose every byte a test says: it hands each request over and waits to be told what to answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::ember::{Home, PATIENCE};

/// How fast the server must learn that nobody wants its answer any more (laws 3 and 9).
pub const SOON: Duration = Duration::from_secs(1);

/// The head of an answer that streams, on a connection that is not used again.
pub const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\
                          Transfer-Encoding: chunked\r\n\r\n";

pub struct ModelServer {
    pub address: SocketAddr,
    calls: Receiver<Call>,
}

impl ModelServer {
    /// Answers its list of models (`m` alone) by itself, and nothing else.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// At this address of this machine.
    pub fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (give, calls) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let give = give.clone();
                std::thread::spawn(move || take_requests(stream, &give));
            }
        });
        Self { address, calls }
    }

    /// Its section in ember.toml; `more` are lines of it.
    pub fn section(&self, more: &str) -> String {
        format!(
            "[[upstream]]\nname = \"scripted\"\nurl = \"http://{}\"\nmodels = [\"m\"]\n{more}\n",
            self.address
        )
    }

    /// A home in front of it; `server` are lines of the section `[server]`.
    pub fn home(&self, server: &str, upstream: &str) -> Home {
        home(&format!("{server}\n{}", self.section(upstream)))
    }

    /// The next request.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("no request came to the model server")
    }

    /// The next request, if it is here already.
    pub fn call_by_now(&self) -> Option<Call> {
        self.calls.try_recv().ok()
    }

    /// Whether no request waits here.
    pub fn is_untouched(&self) -> bool {
        self.call_by_now().is_none()
    }
}

/// A home with these settings and an account.
pub fn home(settings: &str) -> Home {
    let home = Home::new(settings);
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn take_requests(mut stream: TcpStream, give: &Sender<Call>) {
    const LIST: &str =
        r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"test"}]}"#;
    let Some((head, body)) = read_request(&mut stream) else { return };
    let mut call = Call { stream, head, body };
    if call.head.starts_with("GET /v1/models ") {
        call.json("200 OK", LIST);
    } else {
        let _ = give.send(call);
    }
}

pub fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    let mut rest = vec![0; usize::saturating_sub(length, body.len())];
    stream.read_exact(&mut rest).ok()?;
    body.append(&mut rest);
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found =
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let first = found.next();
    assert_eq!(found.next(), None, "{name} twice");
    first
}

/// A request that came to the model server, and the connection to answer it on. Dropped, it hangs up.
pub struct Call {
    stream: TcpStream,
    pub head: String,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Sends these bytes; panics when nobody takes them.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// One chunk of a chunked body.
    pub fn chunk(&mut self, text: &str) {
        self.say(format!("{:x}\r\n{text}\r\n", text.len()));
    }

    /// One event, which generates `text`.
    pub fn event(&mut self, text: &str) {
        self.chunk(&format!("data: {}\n\n", delta(text)));
    }

    /// The end mark and the end.
    pub fn done(&mut self) {
        self.chunk("data: [DONE]\n\n");
        self.say("0\r\n\r\n");
    }

    /// A whole answer, on a connection that is not used again.
    pub fn json(&mut self, status: &str, body: &str) {
        self.say(json_answer(status, "Connection: close\r\n", body));
    }

    /// A whole answer, on a connection that may be used again.
    pub fn json_and_stay(&mut self, status: &str, body: &str) {
        self.say(json_answer(status, "", body));
    }

    /// Whether another request came on this connection.
    pub fn is_used_again(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let came = self.stream.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        self.stream.set_nonblocking(false).unwrap();
        came
    }

    /// Writes until the other side takes nothing more for now; says whether it was still there then.
    pub fn flood(&mut self) -> bool {
        let events = format!("data: {}\n\n", delta(&"flood ".repeat(1000))).repeat(10);
        self.stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let chunk = format!("{:x}\r\n{events}\r\n", events.len());
        loop {
            if let Err(error) = self.stream.write_all(chunk.as_bytes()) {
                return error.kind() == ErrorKind::WouldBlock;
            }
        }
    }

    /// How long Ember takes to close this connection from now on; panics when it does not.
    pub fn time_to_end(&mut self) -> Duration {
        let began = Instant::now();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match self.stream.read(&mut [0; 16]) {
            Ok(0) => began.elapsed(),
            Ok(_) => panic!("more than one request on the connection"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection stays open"),
            Err(_) => began.elapsed(),
        }
    }

    /// The next request on the same connection.
    pub fn next(mut self) -> Self {
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (head, body) = read_request(&mut self.stream).expect("the connection is not used again");
        Self { stream: self.stream, head, body }
    }

    /// Breaks the connection off, so that nothing of it looks like an end.
    pub fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

pub fn json_answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// A chunk of a chat answer, as JSON.
pub fn delta(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(
        "{{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}}}}]}}"
    )
}
