//! The client against servers whose every byte is written down. What the runtime reads at once is one part.

use std::pin::Pin;
use std::task::Waker;

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use super::*;

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    status: Result<u16, Unanswered>,
    body: String,
    broke: bool,
    kept: bool,
}

fn now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("this should not have to wait"),
    }
}

/// A server that says one part after the other, whenever it is waited for, and hangs up after the last.
struct Script<'a> {
    server: Option<DuplexStream>,
    parts: std::slice::Iter<'a, &'a [u8]>,
}

impl Script<'_> {
    fn say_next(&mut self) {
        let Some(part) = self.parts.next() else { return self.server = None };
        now(self.server.as_mut().unwrap().write_all(part)).unwrap();
    }

    fn until_ready<T>(&mut self, mut ask: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        loop {
            match ask(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => return done,
                Poll::Pending => self.say_next(),
            }
        }
    }
}

fn outcome(parts: &[&[u8]]) -> Outcome {
    let (here, server) = duplex(1 << 20);
    let mut script = Script { server: Some(server), parts: parts.iter() };
    let mut client = Connection::new(Wire::Echo(here));
    client.begin(|head| head.extend_from_slice(b"POST / HTTP/1.1\r\n\r\n"), Pieces::None);
    let status = script.until_ready(|cx| client.poll_head(cx)).map(|()| client.head().status().as_u16());
    let (mut body, mut broke) = (Vec::new(), false);
    while status.is_ok() && !broke {
        match script.until_ready(|cx| client.poll_body(cx)) {
            Some(Ok(bytes)) => {
                assert!(!bytes.is_empty());
                body.extend_from_slice(&bytes);
            }
            Some(Err(Broken)) => broke = true,
            None => break,
        }
    }
    // What is said after the answer is there before the connection is used again.
    while script.server.is_some() && script.parts.len() > 0 {
        script.say_next();
    }
    let kept = status.is_ok() && client.is_reusable() && client.is_quiet(Look::Kernel);
    Outcome { status, body: String::from_utf8(body).unwrap(), broke, kept }
}

fn good(status: u16, body: &str, kept: bool) -> Outcome {
    Outcome { status: Ok(status), body: body.to_string(), broke: false, kept }
}

fn broken(body: &str) -> Outcome {
    Outcome { status: Ok(200), body: body.to_string(), broke: true, kept: false }
}

fn none(why: Unanswered) -> Outcome {
    Outcome { status: Err(why), body: String::new(), broke: false, kept: false }
}

const KEPT: bool = true;

/// Answers by their heads.
fn heads() -> Vec<(String, Outcome)> {
    let invalid = || none(Unanswered::Invalid);
    let line = |line: &str| format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\nok");
    vec![
        (line("content-length: 2"), good(200, "ok", KEPT)),
        (line("Content-Length:2"), good(200, "ok", KEPT)),
        (line("content-length: 2\r\ncontent-length: 2"), good(200, "ok", KEPT)),
        (line("content-length: 2, 2"), good(200, "ok", KEPT)),
        (line("content-length: 2\r\nconnection: keep-alive"), good(200, "ok", KEPT)),
        (line("content-length: 2\r\nconnection: x, Close"), good(200, "ok", !KEPT)),
        (line("content-length: 2\r\nconnection: close\r\nconnection: keep-alive"), good(200, "ok", !KEPT)),
        (line("x: y"), good(200, "ok", !KEPT)),
        (line("content-length: 3"), broken("ok")),
        (line("content-length: 1"), good(200, "o", !KEPT)),
        (line("content-length: 2\r\ncontent-length: 3"), invalid()),
        (line("content-length: 2, 3"), invalid()),
        (line("content-length: +2"), invalid()),
        (line("content-length: 2a"), invalid()),
        (line("content-length:"), invalid()),
        (line("content-length: 2,"), invalid()),
        (line("content-length: 99999999999999999999"), invalid()),
        (line("content-length: 2\r\ntransfer-encoding: chunked"), invalid()),
        (line("transfer-encoding: gzip, chunked"), invalid()),
        (line("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), invalid()),
        (line("transfer-encoding: identity"), invalid()),
        (line("no colon"), invalid()),
        (line(" folded: x"), invalid()),
        (line(&["x: y"; 98].join("\r\n")), good(200, "ok", !KEPT)),
        (line(&["x: y"; 101].join("\r\n")), invalid()),
        (line(&format!("x: {}", "y".repeat(40 << 10))), good(200, "ok", !KEPT)),
        (line(&format!("x: {}", "y".repeat(70 << 10))), invalid()),
        ("HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok".into(), good(200, "ok", KEPT)),
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok".into(), good(200, "ok", KEPT)),
        ("HTTP/1.1 500 \r\ncontent-length: 0\r\n\r\n".into(), good(500, "", KEPT)),
        ("HTTP/1.1 204 No Content\r\n\r\n".into(), good(204, "", KEPT)),
        ("HTTP/1.1 304 Not Modified\r\n\r\n".into(), good(304, "", KEPT)),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".into(), good(304, "", !KEPT)),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n".into(), good(204, "", KEPT)),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n".into(), good(204, "", !KEPT)),
        ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n".into(), good(204, "", !KEPT)),
        ("HTTP/1.1 101 Switching\r\n\r\nwords".into(), good(101, "", !KEPT)),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".into(), good(200, "ok", !KEPT)),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok".into(), good(200, "ok", !KEPT)),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(), invalid()),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                .into(),
            good(200, "ok", KEPT),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n".into(), none(Unanswered::BrokeOff)),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(3000), invalid()),
        ("HTTP/1.1 200 OK\r\ncontent-le".into(), none(Unanswered::BrokeOff)),
        (String::new(), none(Unanswered::BrokeOff)),
        ("HTTP/2 200 OK\r\n\r\n".into(), invalid()),
        ("HTTP/1.1 99 No\r\n\r\n".into(), invalid()),
        ("HTTP/1.1 +20 No\r\n\r\n".into(), invalid()),
        ("<html>".into(), invalid()),
        ("SSH-2.0-OpenSSH_9.6\r\n".into(), invalid()),
        (format!("{}HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n", line("content-length: 2")), good(200, "ok", !KEPT)),
    ]
}

/// Answers by their chunks.
fn chunks() -> Vec<(String, Outcome)> {
    let aside = "x".repeat(15 << 10);
    let case = |chunks: &str, outcome| {
        (format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}"), outcome)
    };
    let wiki = "4\r\nWiki\r\n";
    vec![
        case("0\r\n\r\n", good(200, "", KEPT)),
        case(&format!("{wiki}5\r\npedia\r\n0\r\n\r\n"), good(200, "Wikipedia", KEPT)),
        case(&format!("{wiki}{wiki}{wiki}0\r\n\r\n"), good(200, "WikiWikiWiki", KEPT)),
        case("A\r\n0123456789\r\n0a\r\n0123456789\r\n000\r\n\r\n", good(200, "01234567890123456789", KEPT)),
        case("4 \t\r\nWiki\r\n0\r\n\r\n", good(200, "Wiki", KEPT)),
        case("4;a=\"b\"\r\nWiki\r\n0 ;x\r\n\r\n", good(200, "Wiki", KEPT)),
        case(&format!("4;{aside}\r\nWiki\r\n0\r\n\r\n"), good(200, "Wiki", KEPT)),
        case(&format!("4;{aside}\r\nWiki\r\n4;{aside}\r\nWiki\r\n0\r\n\r\n"), broken("Wiki")),
        case(&format!("{wiki}0\r\nx: y\r\nz:\r\n\r\n"), good(200, "Wiki", KEPT)),
        case(&format!("{wiki}0\r\nx: {aside}\r\n\r\n"), good(200, "Wiki", KEPT)),
        case(&format!("{wiki}0\r\nx: {aside}\r\ny: {aside}\r\n\r\n"), broken("Wiki")),
        case(&format!("{wiki}0\r\n{}\r\n", "x: y\r\n".repeat(101)), broken("Wiki")),
        case(&format!("{wiki}0\r\nno colon\r\n\r\n"), broken("Wiki")),
        case(&format!("{wiki}0\r\nx: y\n\r\n"), broken("Wiki")),
        case(&format!("{wiki}0\r\n\n"), broken("Wiki")),
        case(&format!("{wiki}0\r\n\r\nmore"), good(200, "Wiki", !KEPT)),
        case(&format!("{wiki}0\r\nx: y\r\n\r\nno\nmore"), good(200, "Wiki", !KEPT)),
        case(&format!("{wiki}0\r\n"), broken("Wiki")),
        case(wiki, broken("Wiki")),
        case("4\r\nWi", broken("Wi")),
        case("", broken("")),
        case(&format!("{wiki}\r\n0\r\n\r\n"), broken("Wiki")),
        case("4\r\nWikiX\r\n0\r\n\r\n", broken("Wiki")),
        case("4\nWiki\r\n0\r\n\r\n", broken("")),
        case("4;a\nb\r\nWiki\r\n0\r\n\r\n", broken("")),
        case("4 4\r\nWiki\r\n0\r\n\r\n", broken("")),
        case(" 4\r\nWiki\r\n0\r\n\r\n", broken("")),
        case(";\r\n\r\n", broken("")),
        case("-4\r\nWiki\r\n0\r\n\r\n", broken("")),
        case("0x4\r\nWiki\r\n0\r\n\r\n", broken("")),
        case("g\r\n", broken("")),
        case("00000000000000004\r\nWiki\r\n0\r\n\r\n", broken("")),
        case("ffffffffffffffff\r\nWiki", broken("Wiki")),
        case(
            &format!("{:x}\r\n{}\r\n0\r\n\r\n", 100 << 10, "y".repeat(100 << 10)),
            good(200, &"y".repeat(100 << 10), KEPT),
        ),
    ]
}

fn cases() -> Vec<(String, Outcome)> {
    heads().into_iter().chain(chunks()).collect()
}

#[test]
fn every_answer_is_taken_for_what_it_is_however_it_is_split_in_two() {
    for (answer, expected) in cases() {
        let (shown, bytes) = (&answer[..answer.len().min(120)], answer.as_bytes());
        assert_eq!(outcome(&[bytes]), expected, "{shown}");
        // Long ones only at their ends: there is nothing new in the middle.
        let near = |at: &usize| *at < 400 || bytes.len() - at < 200;
        for at in (1..bytes.len()).filter(near) {
            assert_eq!(outcome(&[&bytes[..at], &bytes[at..]]), expected, "split at {at}: {shown}");
        }
    }
}

#[test]
fn every_answer_is_taken_for_what_it_is_byte_by_byte() {
    for (answer, expected) in cases() {
        let bytes: Vec<&[u8]> = answer.as_bytes().chunks(1 + answer.len() / 4096).collect();
        assert_eq!(outcome(&bytes), expected, "{:.120}", answer);
    }
}

proptest! {
    #[test]
    fn any_split_of_the_same_bytes_gives_the_same_answer(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let cases = cases();
        let (answer, expected) = which.get(&cases);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(answer.len() + 1)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        cuts.dedup();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &answer.as_bytes()[cut[0]..cut[1]]).collect();
        prop_assert_eq!(&outcome(&parts), expected);
    }

    #[test]
    fn chunks_of_any_size_give_the_body_they_were_made_of(
        sizes in prop::collection::vec(prop_oneof![1..40_usize, 900..1200_usize, 7000..9000_usize], 0..12),
        read in prop_oneof![1..50_usize, 900..20_000_usize],
    ) {
        let (mut answer, mut body) = ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_string(), String::new());
        for (number, size) in sizes.into_iter().enumerate() {
            let data: String = ('a'..='z').cycle().skip(number).take(size).collect();
            answer += &format!("{size:x}\r\n{data}\r\n");
            body += &data;
        }
        answer += "0\r\n\r\n";
        let parts: Vec<&[u8]> = answer.as_bytes().chunks(read).collect();
        prop_assert_eq!(outcome(&parts), good(200, &body, KEPT));
    }
}

/// A client that has read the head of this answer, and its server.
fn answered(pipe: usize, request: Pieces, answer: &str) -> (Connection, DuplexStream) {
    let (here, mut server) = duplex(pipe);
    let mut client = Connection::new(Wire::Echo(here));
    client.begin(|head| head.extend_from_slice(b"HEAD"), request);
    now(server.write_all(answer.as_bytes())).unwrap();
    now(std::future::poll_fn(|cx| client.poll_head(cx))).unwrap();
    (client, server)
}

fn body(client: &mut Connection) -> Poll<Option<Result<Bytes, Broken>>> {
    client.poll_body(&mut Context::from_waker(Waker::noop()))
}

fn heard(server: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = [0; 4096];
    let mut read = ReadBuf::new(&mut bytes);
    let _ = Pin::new(server).poll_read(&mut Context::from_waker(Waker::noop()), &mut read);
    read.filled().to_vec()
}

#[test]
fn what_was_read_together_goes_on_together_and_the_end_is_known_with_the_last_byte() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n";
    let (mut client, _server) = answered(4096, Pieces::None, answer);
    assert!(!client.is_whole() && client.length().is_none());
    assert_eq!(body(&mut client), Poll::Ready(Some(Ok(Bytes::from_static(b"Wikipedia")))));
    assert!(client.is_whole() && client.is_reusable());
}

#[test]
fn a_chunk_goes_on_before_it_is_whole() {
    let (mut client, _server) =
        answered(4096, Pieces::None, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nbegin");
    assert_eq!(body(&mut client), Poll::Ready(Some(Ok(Bytes::from_static(b"begin")))));
    assert!(body(&mut client).is_pending());
}

#[test]
fn an_answer_that_comes_before_the_request_was_written_is_read_and_the_rest_still_written() {
    let pieces: Vec<Bytes> = (0..40).map(|number| Bytes::from(format!("{number:03}"))).collect();
    let (mut client, mut server) =
        answered(64, Pieces::Several(pieces.clone()), "HTTP/1.1 413 Big\r\ncontent-length: 6\r\n\r\nno");
    assert_eq!(client.head().status().as_u16(), 413);
    assert_eq!(body(&mut client), Poll::Ready(Some(Ok(Bytes::from_static(b"no")))));
    let mut request = Vec::new();
    while body(&mut client).is_pending() {
        match heard(&mut server) {
            more if more.is_empty() => now(server.write_all(b", no")).unwrap(),
            more => request.extend(more),
        }
    }
    assert_eq!(request, [b"HEAD".to_vec(), pieces.concat()].concat());
    assert!(client.is_whole() && !client.is_reusable(), "it answered what it had not heard");
}

#[test]
fn pieces_are_written_in_order_through_the_narrowest_pipe() {
    for pipe in 1..20 {
        let (here, mut server) = duplex(pipe);
        let mut client = Connection::new(Wire::Echo(here));
        let pieces: Vec<Bytes> = ["", "a", "bcd", "", "efghijklm", "n"].map(Bytes::from).to_vec();
        for pieces in [Pieces::Several(pieces.clone()), Pieces::One(pieces.concat().into()), Pieces::None] {
            let expected = [&b"HEAD"[..], &pieces.all().concat()].concat();
            client.begin(|head| head.extend_from_slice(b"HEAD"), pieces);
            let mut request = Vec::new();
            while request.len() < expected.len() {
                assert!(client.poll_head(&mut Context::from_waker(Waker::noop())).is_pending());
                request.extend(heard(&mut server));
            }
            assert_eq!(request, expected);
        }
    }
}

#[test]
fn a_request_of_which_nothing_could_be_written_was_not_sent() {
    let (here, server) = duplex(64);
    drop(server);
    let mut client = Connection::new(Wire::Echo(here));
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::None);
    assert_eq!(now(std::future::poll_fn(|cx| client.poll_head(cx))), Err(Unanswered::Unsent));

    let (here, server) = duplex(2);
    let mut client = Connection::new(Wire::Echo(here));
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::None);
    assert!(client.poll_head(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(server);
    assert_eq!(now(std::future::poll_fn(|cx| client.poll_head(cx))), Err(Unanswered::BrokeOff));
}

#[test]
fn one_connection_takes_one_answer_after_the_other_and_its_memory_does_not_grow() {
    let (here, mut server) = duplex(1 << 20);
    let mut client = Connection::new(Wire::Echo(here));
    for round in 0..500_usize {
        let said = "y".repeat(round * 37 % 5000);
        client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::None);
        let answer =
            format!("HTTP/1.1 200 OK\r\nx-round: {round}\r\ncontent-length: {}\r\n\r\n{said}", said.len());
        now(server.write_all(answer.as_bytes())).unwrap();
        now(std::future::poll_fn(|cx| client.poll_head(cx))).unwrap();
        assert_eq!(client.head().all("x-round").collect::<Vec<_>>(), [round.to_string().as_bytes()]);
        let mut read = Vec::new();
        while let Poll::Ready(Some(bytes)) = body(&mut client) {
            read.extend_from_slice(&bytes.unwrap());
        }
        assert_eq!(read, said.as_bytes());
        assert!(client.is_reusable());
        client.rest();
        assert!(client.read.capacity() <= 2 * READ_BYTES);
    }
}

fn head(client: &mut Connection) -> Poll<Result<(), Unanswered>> {
    client.poll_head(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn bug_a_connection_over_which_only_half_a_request_went_is_not_used_again() {
    let (here, mut server) = duplex(64);
    let mut client = Connection::new(Wire::Echo(here));
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::One(vec![b'x'; 500].into()));
    assert!(head(&mut client).is_pending());
    now(server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).unwrap();
    drop(server);
    assert_eq!(head(&mut client), Poll::Ready(Ok(())));
    assert!(client.is_whole() && !client.is_reusable());
}

#[tokio::test]
async fn bug_a_server_that_stopped_listening_is_not_waited_for_after_an_interim_answer() {
    let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let mut client = Connection::new(Wire::Unix(tokio::net::UnixStream::from_std(here).unwrap()));
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::One(vec![b'x'; 8 << 20].into()));
    std::future::poll_fn(|cx| {
        assert!(client.poll_head(cx).is_pending());
        if client.outgoing.is_untouched() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    io::Write::write_all(&mut &there, b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    there.shutdown(std::net::Shutdown::Read).unwrap();
    io::copy(&mut &there, &mut io::sink()).unwrap();
    let heard = std::future::poll_fn(|cx| client.poll_head(cx));
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), heard).await;
    assert_eq!(heard, Ok(Err(Unanswered::BrokeOff)));
}

#[test]
fn only_a_good_answer_to_a_whole_request_says_that_it_was_heard() {
    for (status, request, has_heard) in [
        ("200 OK", 1, true),
        ("201 Created", 1, true),
        ("200 OK", 500, false),
        ("204 No Content", 1, false),
        ("205 Reset Content", 1, false),
        ("304 Not Modified", 1, false),
        ("413 Big", 1, false),
        ("500 Oh", 1, false),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (client, _server) = answered(64, Pieces::One(vec![b'x'; request].into()), &answer);
        assert_eq!(client.has_heard_all(), has_heard, "{status} to {request}");
    }
}

#[test]
fn an_answer_that_began_before_the_request_was_written_is_early_wherever_its_head_ends() {
    let (mut client, mut server) = {
        let (here, server) = duplex(64);
        (Connection::new(Wire::Echo(here)), server)
    };
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::One(vec![b'x'; 100].into()));
    now(server.write_all(b"HTTP/1.1 200 OK\r\n")).unwrap();
    while !client.outgoing.is_written() {
        assert!(head(&mut client).is_pending());
        heard(&mut server);
    }
    now(server.write_all(b"content-length: 0\r\n\r\n")).unwrap();
    assert_eq!(head(&mut client), Poll::Ready(Ok(())));
    assert!(!client.has_heard_all());
}

#[tokio::test]
async fn bug_over_tls_a_request_whose_writing_failed_may_have_been_heard() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let trust = crate::tls::Trust::from_pem("ca.pem", made.cert.pem().as_bytes()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(std::sync::Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let there = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)).accept(stream).await.unwrap()
    };
    let here = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(trust.client(&[])).connect(name, stream).await.unwrap()
    };
    let (there, here) = tokio::join!(there, here);
    rustix::net::sockopt::set_socket_linger(there.get_ref().0, Some(std::time::Duration::ZERO)).unwrap();
    drop(there);
    // Until the runtime has heard of it, too.
    while !here.get_ref().0.ready(tokio::io::Interest::READABLE).await.unwrap().is_read_closed() {
        tokio::task::yield_now().await;
    }
    let mut client = Connection::new(Wire::Tls(Box::new(here)));
    client.begin(|head| head.extend_from_slice(b"HEAD"), Pieces::None);
    assert_eq!(std::future::poll_fn(|cx| client.poll_head(cx)).await, Err(Unanswered::BrokeOff));
}
