//! Answers that began: how they end, and what is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::sync::oneshot;

use super::*;
use crate::gate::Cut;
use crate::types::{Ending, Tokens, TokensSource};

/// An answer that has begun: its first event was read.
struct Begun {
    relay: Relay,
    peer: Peer,
    reply: Reply,
    stop: oneshot::Sender<()>,
}

async fn begun_with(change: impl FnOnce(&mut ServerSettings)) -> Begun {
    let model = Model::start().await;
    let mut settings = model.settings();
    change(&mut settings);
    let relay = Relay::to(vec![settings]);
    let (stop, stopped) = oneshot::channel();
    let mut asked = request(ASK_STREAM);
    asked.stop = stops(async { drop(stopped.await) });
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.say(STREAM_HEAD).await;
        peer.chunk(EVENT).await;
        peer
    };
    let (reply, peer) = tokio::join!(relay.send(asked), script);
    let mut reply = reply.unwrap();
    assert_eq!(next(&mut reply.body).await.unwrap().unwrap(), EVENT);
    Begun { relay, peer, reply, stop }
}

async fn begun() -> Begun {
    begun_with(|_| {}).await
}

/// Asserts how the rest of the answer breaks, and that nothing is left behind.
async fn breaks(begun: Begun, rest: &str, fault: RelayFault, at_boundary: bool) -> Peer {
    let Begun { relay, peer, reply, stop } = begun;
    let report = reply.report.clone();
    let broken = Broken { fault, at_boundary, is_stream: true };
    assert_eq!(all(reply.body).await, (rest.to_string(), Some(broken)));
    assert_eq!(report.read().ending, fault.ending());
    assert!(matches!(report.read().tokens, Some((_, TokensSource::Estimated))));
    relay.is_settled(1);
    assert_eq!(relay.door.meter.totals().unfinished, 1);
    drop(stop);
    peer
}

/// Whoever asks for bytes, told apart from all others.
#[derive(Default)]
struct Asker(AtomicBool);

impl Wake for Asker {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A client that takes nothing lets nobody ask for more than the first bytes, or for anything while none are there.
#[tokio::test]
async fn law_3_whoever_asked_once_is_woken_by_a_cut() {
    for rest in ["{\"a\":", ""] {
        for head in
            ["content-type: application/json\r\ncontent-length: 1000000", "content-type: text/event-stream"]
        {
            let model = Model::start().await;
            let relay = Relay::to(vec![model.settings()]);
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{rest}");
            let script = async {
                let mut peer = model.accept().await;
                peer.request().await;
                peer.say(&answer).await;
                peer
            };
            let (reply, _peer) = tokio::join!(relay.ask(ASK_STREAM), script);
            let mut body = reply.unwrap().body;
            let asker: Arc<Asker> = Arc::default();
            let waker = Waker::from(Arc::clone(&asker));
            let first = Pin::new(&mut body).poll_frame(&mut Context::from_waker(&waker));
            assert_eq!(first.is_ready(), !rest.is_empty());
            assert!(!asker.0.load(Ordering::SeqCst));
            relay.door.revoke();
            assert!(asker.0.load(Ordering::SeqCst), "{head}: {rest}");
            assert!(matches!(next(&mut body).await, Some(Err(Broken { fault: RelayFault::Cut(_), .. }))));
        }
    }
}

#[tokio::test]
async fn a_server_that_dies_between_events_breaks_the_stream_at_a_boundary() {
    let mut begun = begun().await;
    begun.peer.0.shutdown().await.unwrap();
    breaks(begun, "", RelayFault::BrokeOff, true).await;
}

#[tokio::test]
async fn a_server_that_dies_within_an_event_breaks_the_stream_within_it() {
    let mut begun = begun().await;
    begun.peer.chunk("data: {\"cho").await;
    begun.peer.0.shutdown().await.unwrap();
    breaks(begun, "data: {\"cho", RelayFault::BrokeOff, false).await;
}

#[tokio::test]
async fn a_server_that_dies_within_a_chunk_breaks_the_stream() {
    let mut begun = begun().await;
    begun.peer.say(&format!("ff\r\n{EVENT}")).await;
    begun.peer.0.shutdown().await.unwrap();
    breaks(begun, EVENT, RelayFault::BrokeOff, true).await;
}

#[tokio::test]
async fn a_clean_end_without_an_end_mark_is_none() {
    let mut begun = begun().await;
    begun.peer.say("0\r\n\r\n").await;
    breaks(begun, "", RelayFault::BrokeOff, true).await;
}

#[tokio::test]
async fn half_an_event_that_was_held_back_is_not_sent_when_the_server_dies() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{EVENT}data: {{\"choices\":[],\"us"
    );
    let (reply, _) = tokio::join!(relay.ask(r#"{"model":"real","stream":true}"#), model.answer(&answer));
    let broken = Broken { fault: RelayFault::BrokeOff, at_boundary: true, is_stream: true };
    assert_eq!(all(reply.unwrap().body).await, (EVENT.to_string(), Some(broken)));
}

#[tokio::test]
async fn an_end_mark_without_its_blank_line_counts() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: [DONE]\n";
    for asked in [ASK_STREAM, r#"{"model":"real","stream":true}"#] {
        let (reply, _) = tokio::join!(relay.ask(asked), model.answer(answer));
        assert_eq!(all(reply.unwrap().body).await, ("data: [DONE]\n".to_string(), None), "{asked}");
    }
    relay.is_settled(2);
    assert_eq!(relay.door.meter.totals().unfinished, 0);
}

#[tokio::test]
async fn what_happens_after_the_end_mark_spoils_nothing() {
    let mut begun = begun().await;
    begun.peer.chunk(END).await;
    begun.peer.say("garbage").await;
    begun.peer.reset();
    let report = begun.reply.report.clone();
    assert_eq!(all(begun.reply.body).await, (END.to_string(), None));
    assert_eq!(report.read().ending, Ending::Done);
    begun.relay.is_settled(1);
}

#[tokio::test]
async fn a_caller_who_leaves_after_the_end_mark_has_it_all() {
    let mut begun = begun().await;
    begun.peer.chunk(END).await;
    assert_eq!(next(&mut begun.reply.body).await.unwrap().unwrap(), END);
    let report = begun.reply.report.clone();
    drop(begun.reply);
    assert_eq!(report.read().ending, Ending::Done);
    begun.peer.is_left().await;
    begun.relay.is_settled(1);
}

#[tokio::test]
async fn a_short_answer_is_broken() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"a\":1";
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(answer));
    let broken = Broken { fault: RelayFault::BrokeOff, at_boundary: false, is_stream: false };
    assert_eq!(all(reply.unwrap().body).await, ("{\"a\":1".to_string(), Some(broken)));
    relay.is_settled(1);
}

#[tokio::test]
async fn an_answer_is_done_with_its_last_announced_byte() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    for said in ["", "{}"] {
        let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer(said)));
        let mut reply = reply.unwrap();
        if !said.is_empty() {
            assert_eq!(next(&mut reply.body).await.unwrap().unwrap(), said);
        }
        assert!(reply.body.is_end_stream());
        assert_eq!(reply.body.size_hint().exact(), Some(0));
        assert_eq!(reply.report.read().ending, Ending::Done);
    }
    relay.is_settled(2);
    assert_eq!(relay.door.meter.totals().unfinished, 0);
}

#[tokio::test]
async fn hanging_up_in_the_middle_closes_the_servers_connection_at_once() {
    let mut begun = begun().await;
    let report = begun.reply.report.clone();
    drop(begun.reply);
    begun.peer.is_left().await;
    let prompt = ASK_STREAM.len() as u64 / 4;
    let estimate = Tokens { prompt, completion: 1, cached: 0 };
    assert_eq!(report.read().tokens, Some((estimate, TokensSource::Estimated)));
    assert_eq!(report.read().ending, Ending::ClientGone);
    begun.relay.is_settled(1);
    assert_eq!(begun.relay.door.meter.totals().tokens, estimate);
}

#[tokio::test]
async fn hanging_up_before_the_answer_closes_the_servers_connection_at_once() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let asked = request(ASK);
    let report = asked.report.clone();
    let pass = relay.door.pass("real").await;
    let upstreams = Arc::clone(&relay.upstreams);
    let asking = tokio::spawn(async move { upstreams.relay(pass, asked).await });
    let mut peer = model.accept().await;
    peer.request().await;
    asking.abort();
    peer.is_left().await;
    assert!(asking.await.unwrap_err().is_cancelled());
    assert_eq!(report.read().ending, Ending::ClientGone);
    assert_eq!(report.read().upstream.as_deref(), Some("one"));
    relay.is_settled(1);
}

#[tokio::test]
async fn a_cut_breaks_the_stream_and_closes_the_servers_connection() {
    let begun = begun().await;
    begun.relay.door.revoke();
    let mut peer = breaks(begun, "", RelayFault::Cut(Cut::Revoked), true).await;
    peer.is_left().await;
}

#[tokio::test]
async fn a_cut_is_heard_by_one_who_waits_for_the_next_chunk() {
    let mut begun = begun().await;
    let (chunk, ()) = tokio::join!(next(&mut begun.reply.body), async { begun.relay.door.revoke() });
    assert_eq!(chunk.unwrap().unwrap_err().fault, RelayFault::Cut(Cut::Revoked));
    begun.peer.is_left().await;
}

#[tokio::test]
async fn a_cut_ends_the_wait_for_the_answer() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        relay.door.revoke();
        peer.is_left().await;
    };
    let (reply, ()) = tokio::join!(relay.ask(ASK), script);
    let refused = reply.unwrap_err();
    assert_eq!(refused.fault, RelayFault::Cut(Cut::Revoked));
    assert_eq!(refused.report.read().ending, Ending::Cut);
    relay.is_settled(1);
}

#[tokio::test]
async fn the_end_of_a_drain_breaks_the_stream() {
    let mut begun = begun().await;
    let (stop, _) = oneshot::channel();
    std::mem::replace(&mut begun.stop, stop).send(()).unwrap();
    breaks(begun, "", RelayFault::Stopped, true).await.is_left().await;
}

#[tokio::test]
async fn silence_in_the_middle_is_too_slow() {
    let begun = begun_with(|settings| settings.idle_timeout = Duration::from_millis(20)).await;
    breaks(begun, "", RelayFault::Timeout, true).await.is_left().await;
}

#[tokio::test]
async fn the_total_does_not_count_for_a_stream_but_for_any_other_answer() {
    let short = Duration::from_millis(20);
    let mut begun = begun_with(|settings| settings.total_timeout = short).await;
    tokio::time::sleep(2 * short).await;
    begun.peer.chunk(END).await;
    begun.peer.say("0\r\n\r\n").await;
    assert_eq!(all(begun.reply.body).await, (END.to_string(), None));

    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { total_timeout: short, ..model.settings() }]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await;
        peer
    };
    let (reply, mut peer) = tokio::join!(relay.ask(ASK), script);
    let broken = Broken { fault: RelayFault::Timeout, at_boundary: false, is_stream: false };
    assert_eq!(all(reply.unwrap().body).await, ("{".to_string(), Some(broken)));
    peer.is_left().await;
    relay.is_settled(1);
}

#[tokio::test]
async fn an_answer_without_usage_is_estimated() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let embeddings = || RelayRequest { endpoint: Endpoint::Embeddings, ..request(ASK) };
    for (asked, completion) in [(request(ASK), 2), (embeddings(), 0)] {
        let (reply, _) = tokio::join!(relay.send(asked), model.answer(json_answer("{\"a\": 10}")));
        let reply = reply.unwrap();
        let report = reply.report.clone();
        all(reply.body).await;
        let estimate = Tokens { prompt: ASK.len() as u64 / 4, completion, cached: 0 };
        assert_eq!(report.read().tokens, Some((estimate, TokensSource::Estimated)));
    }
}

#[tokio::test]
async fn bug_json_without_a_length_that_stops_before_its_end_is_broken() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let long = format!("{{\"a\":\"{}", "x".repeat(1 << 20));
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    let broken = Some(Broken { fault: RelayFault::BrokeOff, at_boundary: false, is_stream: false });
    let (json, text) = ("application/json; charset=utf-8", "text/plain");
    for (kind, said, how) in [
        (json, "{\"choices\":[{\"mess", broken),
        (json, "{\"a\":1}\n", None),
        (json, &deep, None),
        (json, "it is no JSON", None),
        (json, &long, None),
        (text, "{\"a", None),
    ] {
        let close = format!("HTTP/1.0 200 OK\r\ncontent-type: {kind}\r\n\r\n{said}");
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{said}\r\n0\r\n\r\n",
            said.len()
        );
        for answer in [close, chunked] {
            let asking = async {
                let reply = relay.ask(ASK).await.unwrap();
                let report = reply.report.clone();
                (all(reply.body).await, report.read().ending)
            };
            let ((got, ending), _) = tokio::join!(asking, model.answer(&answer));
            assert!(got == (said.to_string(), how), "{said:.60} {:?}", got.1);
            assert_eq!(ending == Ending::Done, how.is_none());
        }
    }
}

const LONG: Duration = Duration::from_secs(1);

/// So much time goes by at once.
async fn later() {
    tokio::time::pause();
    tokio::time::advance(LONG).await;
    tokio::time::resume();
}

#[tokio::test]
async fn bug_an_answer_is_over_when_it_was_asked_for_however_long_after_its_head() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let body = format!("{EVENT}{END}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let (reply, _) = tokio::join!(relay.ask(ASK_STREAM), model.answer(answer));
    let Reply { body: asked, report, .. } = reply.unwrap();
    later().await;
    assert_eq!(all(asked).await, (body, None));
    let report = report.read();
    let pace = report.pace.unwrap();
    assert!(report.first_byte < Some(LONG) && pace.first_token >= LONG && pace.end >= LONG, "{report:?}");
    let held = relay.upstreams.server("one").unwrap().slots.backlog().unwrap();
    assert!(held >= LONG / 8, "{held:?}");
    relay.is_settled(1);
}

#[tokio::test]
async fn bug_an_error_that_was_searched_is_over_when_its_last_byte_came() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.say("HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        later().await;
        peer.say("0\r\n\r\n").await;
        peer
    };
    let (reply, _peer) = tokio::join!(relay.ask(ASK), script);
    let reply = reply.unwrap();
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(all(reply.body).await, (String::new(), None));
    let held = relay.upstreams.server("one").unwrap().slots.backlog().unwrap();
    assert!(held >= LONG / 8, "{held:?}");
    relay.is_settled(1);
}
