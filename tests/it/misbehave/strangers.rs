//! Law 11, and that a model server is who its configuration says: nobody else is asked in its place, nothing is written to
//! one that can't show its name, and nobody's key reaches the other side.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::{ServerConnection, StreamOwned};

use super::rogue::{Rogue, SERVER_KEY, say, section};
use crate::ember::{Answer, Home, eventually, request};
use crate::model::{home, json_answer, read_request};
use crate::proof;
use crate::secured::{Authority, MODERN, config};
use crate::wire::Wire;

const CHAT: &str = "/v1/chat/completions";

/// Has `serve` deal with every connection, in threads of their own.
fn listening(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Counts who comes.
fn elsewhere() -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let address = listening(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    (address, count)
}

/// Every way to say that something is elsewhere.
fn ways_elsewhere(address: SocketAddr) -> Vec<Vec<u8>> {
    let targets = [
        format!("http://{address}{CHAT}"),
        format!("https://{address}{CHAT}"),
        format!("//{address}{CHAT}"),
        "/v1/elsewhere".to_string(),
        "".to_string(),
    ];
    let statuses = [300, 301, 302, 303, 305, 307, 308];
    let redirections = statuses.iter().flat_map(|status| {
        let say =
            move |target| format!("HTTP/1.1 {status} Go\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n");
        targets.iter().map(say)
    });
    let hints = [
        format!("Refresh: 0; url=http://{address}/"),
        format!("Alt-Svc: http/1.1=\"{address}\""),
        format!("Location: http://{address}/\r\nContent-Location: http://{address}/"),
        format!("Link: <http://{address}/>; rel=\"preload\""),
    ];
    let hints = hints.iter().map(|hint| {
        format!(
            "HTTP/1.1 103 Early\r\n{hint}\r\n\r\nHTTP/1.1 200 OK\r\n{hint}\r\nContent-Length: 2\r\n\r\n{{}}"
        )
    });
    redirections.chain(hints).map(String::into_bytes).collect()
}

#[test]
fn a_server_that_says_go_elsewhere_is_not_obeyed() {
    let (address, visits) = elsewhere();
    let ways = ways_elsewhere(address);
    let rogue = Rogue::start(ways.iter().map(|way| vec![say(way)]).collect());
    let checks = Arc::new(AtomicUsize::new(0));
    let (checked, said) = (Arc::clone(&checks), ways.clone());
    // Its list and its health are elsewhere, too.
    let lists = listening(move |mut stream| {
        while read_request(&mut stream).is_some() {
            let number = checked.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(&said[number % said.len()]);
        }
    });
    let health = "health_path = \"/health\"\nhealth_interval = \"10ms\"";
    let home = home(&format!("{}{}", rogue.section("m", ""), section("list", lists, health)));
    let (key, ember) = (home.key("app"), home.serve());
    for (case, way) in ways.iter().enumerate() {
        let answer = ember.post(CHAT, Some(&key), &format!("{{\"model\":\"m\",\"case\":{case}}}"));
        if way.starts_with(b"HTTP/1.1 3") {
            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid"));
        } else {
            assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
        }
        let names = ["location", "content-location", "refresh", "alt-svc", "link"];
        assert!(names.iter().all(|name| answer.header(name).is_none()), "{answer:?}");
    }
    assert_eq!(rogue.asked(), ways.len(), "a redirection within the server was followed");
    eventually("checks that met all ways", || checks.load(Ordering::SeqCst) > ways.len());
    let visits = visits.load(Ordering::SeqCst);
    assert_eq!(visits, 0);
    proof::show("redirections followed, of those", format!("{visits} of {}", 2 * ways.len()), "0");
}

#[test]
fn a_server_under_a_wrong_name_gets_not_a_byte() {
    let (authority, requests) = (Authority::new(), proof::size(20, 1000));
    let (handshakes, heard) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shown = config(authority.issue(&["other.test"]), MODERN);
    let (came, read) = (Arc::clone(&handshakes), Arc::clone(&heard));
    let address = listening(move |stream| {
        came.fetch_add(1, Ordering::SeqCst);
        let mut wire = StreamOwned::new(ServerConnection::new(Arc::clone(&shown)).unwrap(), stream);
        let mut bytes = [0; 4096];
        while let Some(count) = wire.read(&mut bytes).ok().filter(|count| *count > 0) {
            read.fetch_add(count, Ordering::SeqCst);
        }
    });
    let url = format!("https://{address}");
    let home = home(&format!(
        "[[upstream]]\nname = \"m\"\nurl = \"{url}\"\nmodels = [\"m\"]\nca_file = \"ca.pem\"\n"
    ));
    std::fs::write(home.file("ca.pem"), &authority.pem).unwrap();
    let (key, ember) = (home.key("app"), home.serve());
    let before = handshakes.load(Ordering::SeqCst);
    for number in 0..requests {
        let stream = number % 2 == 0;
        let answer = ember.post(CHAT, Some(&key), &format!("{{\"model\":\"m\",\"stream\":{stream}}}"));
        assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_unavailable"));
    }
    eventually("a handshake for each", || handshakes.load(Ordering::SeqCst) >= before + requests);
    let heard = heard.load(Ordering::SeqCst);
    assert_eq!(heard, 0);
    proof::show(
        "bytes of a request that a server under a wrong name got, requests",
        format!("{heard}, {requests}"),
        "0",
    );
}

/// Says all that it heard in its errors, and says it in a way that is hard to search.
fn echoed(number: usize, head: &str, body: &[u8]) -> String {
    const STATUSES: [&str; 6] = ["400 Bad", "404 No", "422 No", "429 Slow", "500 Oh", "503 Busy"];
    let heard = format!("{head}{}", String::from_utf8_lossy(body)).replace(['\r', '\n', '"'], " ");
    let heard = match number % 4 {
        0 => heard,
        1 => heard.replace('/', "\\/"),
        2 => heard.replace('k', "\\u006b").replace('-', "\\u002D"),
        _ => heard.replace('s', "\\u0073"),
    };
    let error = format!("{{\"error\":{{\"message\":\"{heard}\"}}}}");
    let status = STATUSES[number % STATUSES.len()];
    if number.is_multiple_of(2) {
        return json_answer(status, &format!("OpenAI-Heard: {SERVER_KEY}\r\n"), &error);
    }
    let chunks = error
        .as_bytes()
        .chunks(7)
        .map(|part| format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part)));
    format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.collect::<String>())
}

/// A caller who says his key wherever there is room for it.
fn careless(key: &str, number: usize) -> String {
    let body = format!("{{\"model\":\"m\",\"n\":{number}}}");
    let headers = format!(
        "\r\nUser-Agent: app {key}\r\nOpenAI-Organization: {key}\r\nTraceparent: {key}\r\nX-Api-Key: {key}\r\nCookie: k={key}\r\n"
    );
    let path = format!("{CHAT}?key={key}");
    request("POST", &path, Some(key), &body)
        .replacen("\r\n", &headers, 1)
        .replace("Connection: close\r\n", "")
}

#[test]
fn law_11_no_key_crosses_in_either_direction() {
    const CALLERS: usize = 4;
    let requests = proof::size(200, 10_000);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SERVER_KEY).unwrap();
    let (heard, crossed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, crosses) = (Arc::clone(&heard), Arc::clone(&crossed));
    let address = listening(move |mut stream| {
        while let Some((head, body)) = read_request(&mut stream) {
            let number = count.fetch_add(1, Ordering::SeqCst);
            assert!(head.contains(SERVER_KEY), "the server's own key is not there");
            let shows = memchr::memmem::find(&[head.as_bytes(), &body].concat(), b"ember_").is_some();
            crosses.fetch_or(shows, Ordering::SeqCst);
            // One in three is an answer, with the key in a header that goes back.
            let answer = match number % 3 {
                0 => json_answer("200 OK", &format!("OpenAI-Heard: {SERVER_KEY}\r\n"), "{}"),
                _ => echoed(number, &head, &body),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let home: Home = home(&section("m", address, &format!("api_key_file = \"{}\"", secret.path().display())));
    let (key, ember) = (home.key("app"), home.serve());
    let replaced = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (ember, key, replaced) = (&ember, &key, &replaced);
            scope.spawn(move || {
                let mut wire = Wire::open(ember);
                for number in (caller..requests).step_by(CALLERS) {
                    wire.send(careless(key, number));
                    let answer: Answer = wire.answer();
                    let shown = format!("{answer:?} {}", answer.text());
                    assert!(!shown.contains("sk-of") && !shown.contains("0123456789"), "{shown}");
                    match answer.status {
                        200 => assert_eq!(answer.text(), "{}"),
                        _ => {
                            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_invalid"));
                            replaced.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    assert!(!crossed.load(Ordering::SeqCst), "a caller's key reached the server");
    let replaced = replaced.load(Ordering::SeqCst);
    assert!(replaced > requests / 2, "{replaced} errors were replaced");
    assert!(!ember.log().contains(SERVER_KEY) && !ember.log().contains(&key));
    proof::show_none(
        "requests in which a caller's key reached a server or a server's key a caller",
        requests,
    );
}

#[test]
fn a_server_whose_door_nobody_opens_is_given_up_in_time() {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    // As many as have room before the door; the next ones get no answer from the kernel.
    let wait = std::time::Duration::from_millis(300);
    let before_the_door: Vec<TcpStream> =
        std::iter::repeat_with(|| TcpStream::connect_timeout(&address, wait))
            .map_while(Result::ok)
            .take(64)
            .collect();
    assert!(before_the_door.len() < 64, "everyone is let in");
    let good = Rogue::start(vec![vec![say(json_answer("200 OK", "Connection: close\r\n", "{}"))]]);
    let deaf = section("deaf", address, "connect_timeout = \"500ms\"");
    let home = home(&format!("{deaf}{}", good.section("good", "")));
    let (key, ember) = (home.key("app"), home.serve());
    for stream in [false, true] {
        let began = std::time::Instant::now();
        let answer = ember.post(CHAT, Some(&key), &format!("{{\"model\":\"deaf\",\"stream\":{stream}}}"));
        assert_eq!((answer.status, answer.code().as_str()), (504, "upstream_timeout"));
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(ember.post(CHAT, Some(&key), "{\"model\":\"good\",\"case\":0}").status, 200);
    }
    ember.wait_for_log("\"ending\":\"timeout\"");
    drop(before_the_door);
}
