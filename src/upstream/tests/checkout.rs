//! What a kept connection was told while nobody listened.

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, ServerName};

use super::*;
use crate::tls::Trust;

const FRESH: &str = "{\"fresh\":1}";

type Plain = std::net::TcpStream;
type Secured = StreamOwned<ServerConnection, Plain>;

/// A second request, after the server did `meanwhile` on the first one's connection and before the runtime could
/// hear of it.
fn second_answer<W: Read + Write + Send>(
    settings: impl FnOnce(u16) -> ServerSettings,
    wrap: impl Fn(Plain) -> W + Send + 'static,
    meanwhile: impl FnOnce(W) -> Option<W> + Send + 'static,
) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, gone) = channel::<()>();
    let (did, done) = channel::<()>();
    // Not waited for: with a stale answer nobody comes a second time.
    std::thread::spawn(move || {
        let answer = |text: &str| {
            let mut peer = wrap(listener.accept().unwrap().0);
            let mut asked = Vec::new();
            while !asked.ends_with(ASK.as_bytes()) {
                let mut part = [0; 4096];
                let count = peer.read(&mut part).unwrap();
                asked.extend_from_slice(&part[..count]);
            }
            peer.write_all(json_answer(text).as_bytes()).unwrap();
            peer
        };
        let first = answer("{}");
        gone.recv().unwrap();
        let _first = meanwhile(first);
        did.send(()).unwrap();
        let _waits = answer(FRESH).read(&mut [0; 16]);
    });
    runtime.block_on(async {
        let relay = Relay::to(vec![settings(port)]);
        all(relay.ask(ASK).await.unwrap().body).await;
        go.send(()).unwrap();
        // Blocks the only thread, so the reactor is not asked.
        done.recv().unwrap();
        Some(all(relay.ask(ASK).await.ok()?.body).await.0)
    })
}

/// What was said reaches the kernel's other end when the kernel likes: now and then that is too late.
fn is_fresh(second_answer: impl Fn() -> Option<String>) -> bool {
    (0..10).any(|_| second_answer().is_some_and(|answer| answer == FRESH))
}

fn plainly(meanwhile: impl FnOnce(Plain) -> Option<Plain> + Send + 'static) -> Option<String> {
    second_answer(|port| settings("one", port), |stream| stream, meanwhile)
}

fn by_tls(meanwhile: impl FnOnce(Secured) -> Option<Secured> + Send + 'static) -> Option<String> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let trust = Trust::from_pem("ca.pem", made.cert.pem().as_bytes()).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let secured = |port| {
        let secure = Secure::new("one".to_string(), "127.0.0.1".to_string(), port, name, &trust);
        ServerSettings { address: Address::Tls(Arc::new(secure)), ..settings("one", port) }
    };
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream| StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
    second_answer(secured, wrap, meanwhile)
}

fn say_more<W: Write>(mut peer: W) -> Option<W> {
    peer.write_all(json_answer("{\"stale\":1}").as_bytes()).unwrap();
    peer.flush().unwrap();
    Some(peer)
}

#[test]
fn bug_bytes_on_a_kept_connection_are_not_the_next_answer() {
    assert!(is_fresh(|| plainly(say_more)));
    assert!(is_fresh(|| by_tls(say_more)));
}

#[test]
fn bug_a_kept_connection_that_the_server_closed_is_not_used() {
    assert!(is_fresh(|| plainly(|_| None)));
    assert!(is_fresh(|| by_tls(|_| None)));
}

#[test]
fn a_kept_connection_over_which_tls_said_goodbye_is_not_used() {
    let goodbye = |mut peer: Secured| {
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        Some(peer)
    };
    assert!(is_fresh(|| by_tls(goodbye)));
}
