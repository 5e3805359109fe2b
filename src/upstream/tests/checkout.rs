//! What a kept connection was told while nobody listened.

use std::io::{Read, Write};
use std::sync::mpsc::channel;

use super::*;

/// A second request, after the server did `meanwhile` on the first one's connection and before the runtime could
/// hear of it.
fn second_answer(
    meanwhile: impl FnOnce(std::net::TcpStream) -> Option<std::net::TcpStream> + Send + 'static,
) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (go, gone) = channel::<()>();
    let (did, done) = channel::<()>();
    // Not waited for: with a stale answer nobody comes a second time.
    std::thread::spawn(move || {
        let answer = |text: &str| {
            let (mut peer, _) = listener.accept().unwrap();
            assert!(peer.read(&mut [0; 65536]).unwrap() > 0);
            peer.write_all(json_answer(text).as_bytes()).unwrap();
            peer
        };
        let first = answer("{}");
        gone.recv().unwrap();
        let _first = meanwhile(first);
        did.send(()).unwrap();
        answer("{\"fresh\":1}")
    });
    runtime.block_on(async {
        let relay = Relay::to(vec![settings("one", port)]);
        all(relay.ask(ASK).await.unwrap().body).await;
        go.send(()).unwrap();
        // Blocks the only thread, so the reactor is not asked.
        done.recv().unwrap();
        all(relay.ask(ASK).await.unwrap().body).await.0
    })
}

#[test]
fn bug_bytes_on_a_kept_connection_are_not_the_next_answer() {
    let stale = |mut peer: std::net::TcpStream| {
        peer.write_all(json_answer("{\"stale\":1}").as_bytes()).unwrap();
        Some(peer)
    };
    assert_eq!(second_answer(stale), "{\"fresh\":1}");
}

#[test]
fn bug_a_kept_connection_that_the_server_closed_is_not_used() {
    assert_eq!(second_answer(|_| None), "{\"fresh\":1}");
}
