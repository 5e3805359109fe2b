//! Servers that fail before their answer began.

use tokio::time::Instant;

use super::server::Standing;
use super::*;
use crate::types::{Ending, Tokens, TokensSource};

fn prompt_of_ask() -> (Tokens, TokensSource) {
    (Tokens { prompt: ASK.len() as u64 / 4, completion: 0, cached: 0 }, TokensSource::Estimated)
}

async fn fault_after(answer: &str) -> RelayFault {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(answer));
    let refused = reply.map(|reply| reply.status).unwrap_err();
    assert_eq!(refused.report.read().ending, Ending::ServerDied);
    assert_eq!(refused.report.read().tokens, (refused.fault == RelayFault::BrokeOff).then(prompt_of_ask));
    assert!(!model.is_asked_again().await, "asked twice");
    relay.is_settled(1);
    refused.fault
}

#[tokio::test]
async fn garbage_redirects_upgrades_and_compression_are_invalid() {
    let long = "x".repeat(100_000);
    for answer in [
        "hello\r\n\r\n",
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 302 Found\r\nlocation: http://evil/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 600 What\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        &format!("HTTP/1.1 200 OK\r\nx: {long}"),
    ] {
        assert_eq!(fault_after(answer).await, RelayFault::Invalid, "{answer:.60}");
    }
}

#[tokio::test]
async fn bug_no_content_is_no_end_of_a_stream() {
    for (ask, head) in [
        (ASK_STREAM, "HTTP/1.1 204 No Content\r\n\r\n"),
        (ASK_STREAM, "HTTP/1.1 205 Reset Content\r\n\r\n"),
        (ASK_STREAM, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        (ASK, "HTTP/1.1 204 No Content\r\ncontent-type: text/event-stream\r\n\r\n"),
    ] {
        let model = Model::start().await;
        let relay = Relay::to(vec![model.settings()]);
        let (reply, _) = tokio::join!(relay.ask(ask), model.answer(head));
        let refused = reply.map(|reply| reply.status).unwrap_err();
        assert_eq!((refused.fault, refused.report.read().ending), (RelayFault::Invalid, Ending::ServerDied));
        relay.is_settled(1);
    }
}

#[tokio::test]
async fn after_any_connection_that_was_not_as_it_should_be_the_kernel_is_asked() {
    for answer in ["SSH-2.0-OpenSSH_9\r\n", ""] {
        let model = Model::start().await;
        let relay = Relay::to(vec![model.settings()]);
        let server = Arc::clone(&relay.upstreams.catalogue.servers()[0]);
        let script = async {
            let mut peer = model.accept().await;
            peer.request().await;
            peer.say(&json_answer("{}")).await;
            peer
        };
        let (reply, mut peer) = tokio::join!(relay.ask(ASK), script);
        all(reply.unwrap().body).await;
        assert!(!server.pool.believes_nothing());
        let script = async {
            peer.request().await;
            peer.say(answer).await;
            drop(peer);
        };
        let (reply, ()) = tokio::join!(relay.ask(ASK), script);
        assert!(reply.is_err() && server.pool.believes_nothing(), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_of_embers_own_key_is_told_apart() {
    for status in ["401 Unauthorized", "403 Forbidden", "407 Proxy"] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_eq!(fault_after(&answer).await, RelayFault::AuthRefused, "{status}");
    }
}

#[tokio::test]
async fn an_error_that_shows_the_servers_key_or_is_too_long_to_search_is_invalid() {
    let long = "x".repeat((1 << 20) + 1);
    for body in [
        &format!("bad key: {SERVER_KEY}!"),
        &format!(r#"{{"error":"Bearer {}"}}"#, SERVER_KEY.replace('/', "\\/")),
        &format!(r#"{{"error":"Bearer {}"}}"#, SERVER_KEY.replace('/', "\\u002F").replace('k', "\\u006b")),
        &long,
    ] {
        let answer = format!("HTTP/1.1 500 Oh\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        assert_eq!(fault_after(&answer).await, RelayFault::Invalid, "{body:.60}");
    }
}

#[tokio::test]
async fn without_a_key_of_its_own_a_servers_long_error_passes_as_it_comes() {
    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { api_key: None, ..model.settings() }]);
    let long = "x".repeat(3 << 20);
    let answer = format!("HTTP/1.1 500 Oh\r\ncontent-length: {}\r\n\r\n{long}", long.len());
    let asking = async { all(relay.ask(ASK).await.unwrap().body).await };
    let (said, seen) = tokio::join!(asking, model.answer(&answer));
    assert!(said == (long, None));
    assert!(!seen.contains("authorization"));
    relay.is_settled(1);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_head_is_not_tried_again() {
    assert_eq!(fault_after("").await, RelayFault::BrokeOff);
    assert_eq!(fault_after("HTTP/1.1 200 O").await, RelayFault::BrokeOff);

    let (first, second) = (Model::start().await, Model::start().await);
    let relay = Relay::to(vec![first.settings(), settings("two", second.port())]);
    let script = async {
        let mut peer = first.accept().await;
        peer.request().await;
        peer.reset();
    };
    let (reply, ()) = tokio::join!(relay.ask(ASK), script);
    assert_eq!(reply.unwrap_err().fault, RelayFault::BrokeOff);
    assert!(!second.is_asked_again().await && !first.is_asked_again().await);
    relay.is_settled(1);
}

#[tokio::test]
async fn another_server_is_asked_when_one_cannot_be_reached_and_the_failed_one_last() {
    let model = Model::start().await;
    let relay = Relay::to(vec![settings("down", closed_port().await), settings("two", model.port())]);
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer("{}")));
    let reply = reply.unwrap();
    assert_eq!(reply.report.read().upstream.as_deref(), Some("two"));
    drop(reply);
    let health = relay.upstreams.health();
    assert_eq!(health[0].fault, Some(RelayFault::Unreachable));
    let model = relay.upstreams.catalogue.candidates("real");
    let standing = model
        .map_or(Vec::new(), |model| model.iter().map(|one| one.server.standing(Instant::now())).collect());
    assert_eq!(standing, [Standing::Failing, Standing::Well]);
    relay.is_settled(1);
}

#[tokio::test]
async fn the_only_server_is_never_shut_out_by_its_own_errors() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    for _ in 0..3 {
        let (reply, _) = tokio::join!(relay.ask(ASK), model.answer("garbage\r\n\r\n"));
        assert_eq!(reply.unwrap_err().fault, RelayFault::Invalid);
    }
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_to_be_reached_is_said() {
    let relay = Relay::to(vec![settings("down", closed_port().await), settings("two", closed_port().await)]);
    assert_eq!(relay.ask(ASK).await.unwrap_err().fault, RelayFault::Unreachable);
    let missing = ServerSettings { address: Address::Unix("/nonexistent".into()), ..settings("one", 1) };
    assert_eq!(Relay::to(vec![missing]).ask(ASK).await.unwrap_err().fault, RelayFault::Unreachable);
    relay.is_settled(1);
}

#[tokio::test]
async fn an_unknown_model_is_refused_unseen() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let refused = relay.ask(r#"{"model":"nobodys"}"#).await.unwrap_err();
    assert_eq!(refused.fault, RelayFault::UnknownModel);
    assert_eq!(refused.report.read().ending, Ending::Refused);
    assert!(!model.is_asked_again().await);
    relay.is_settled(1);
}

#[tokio::test]
async fn a_full_server_takes_no_more_and_the_least_busy_is_asked() {
    let (first, second) = (Model::start().await, Model::start().await);
    let one_each =
        |name: &str, model: &Model| ServerSettings { in_flight_max: 1, ..settings(name, model.port()) };
    let relay = Relay::to(vec![one_each("one", &first), one_each("two", &second)]);
    let stream = format!("{STREAM_HEAD}{:x}\r\n{EVENT}\r\n", EVENT.len());
    let (to_first, _) = tokio::join!(relay.ask(ASK_STREAM), first.answer(&stream));
    let (to_second, _) = tokio::join!(relay.ask(ASK_STREAM), second.answer(&stream));
    let to_first = to_first.unwrap();
    assert_eq!(relay.in_flight(), 2);
    let fault = relay.ask(ASK).await.unwrap_err().fault;
    assert_eq!(fault, RelayFault::Overloaded { retry_after: Duration::from_secs(1) });
    drop(to_first);
    assert_eq!(relay.in_flight(), 1);
    let (reply, _) = tokio::join!(relay.ask(ASK), first.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200);
    drop(to_second);
    relay.is_settled(4);
}

#[tokio::test]
async fn a_server_that_is_silent_before_its_head_is_too_slow() {
    let short = Duration::from_millis(20);
    for (first_byte_timeout, total_timeout, body) in
        [(short, SOON, ASK_STREAM), (short, SOON, ASK), (SOON, short, ASK)]
    {
        let model = Model::start().await;
        let relay = Relay::to(vec![ServerSettings { first_byte_timeout, total_timeout, ..model.settings() }]);
        let script = async {
            let mut peer = model.accept().await;
            peer.request().await;
            peer.is_left().await;
        };
        let (reply, ()) = tokio::join!(relay.ask(body), script);
        let refused = reply.unwrap_err();
        assert_eq!(refused.fault, RelayFault::Timeout);
        assert_eq!(refused.report.read().ending, Ending::Timeout);
        relay.is_settled(1);
    }
}

#[tokio::test]
async fn settings_that_make_no_request_are_refused_by_name_and_without_the_key() {
    let bad = [
        ServerSettings { prefix: "v 1".to_string(), ..settings("s", 1) },
        ServerSettings { prefix: "/a?b".to_string(), ..settings("s", 1) },
        ServerSettings { health_path: Some("health".to_string()), ..settings("s", 1) },
        ServerSettings { health_path: Some("/h?x".to_string()), ..settings("s", 1) },
        ServerSettings { prefix: "http://x/y".to_string(), ..settings("s", 1) },
        ServerSettings { api_key: Some(Secret::new("hidden\n".to_string())), ..settings("s", 1) },
        ServerSettings { api_key: Some(Secret::new(String::new())), ..settings("s", 1) },
        ServerSettings { address: Address::Tcp { host: "a/b".to_string(), port: 1 }, ..settings("s", 1) },
    ];
    for settings in bad {
        let fault = Upstreams::new(vec![settings], None, SOON, &Fixed, &dice()).err().unwrap().to_string();
        assert!(fault.contains("'s'") && !fault.contains("hidden"), "{fault}");
    }
}

#[tokio::test]
async fn bug_a_prompt_that_was_sent_and_never_answered_is_counted() {
    let short = Duration::from_millis(20);
    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { first_byte_timeout: short, ..model.settings() }]);
    let script = async {
        let mut peer = model.accept().await;
        peer.request().await;
        peer.is_left().await;
    };
    let (reply, ()) = tokio::join!(relay.ask(ASK), script);
    assert_eq!(reply.unwrap_err().report.read().tokens, Some(prompt_of_ask()), "too slow");

    let relay = Relay::to(vec![model.settings()]);
    let asked = request(ASK);
    let report = asked.report.clone();
    let mut asking = Box::pin(relay.send(asked));
    let mut peer = tokio::select! {
        _ = &mut asking => panic!("nobody answered"),
        peer = async { let mut peer = model.accept().await; peer.request().await; peer } => peer,
    };
    drop(asking);
    peer.is_left().await;
    assert_eq!(report.read().tokens, Some(prompt_of_ask()), "hung up");
    assert_eq!(report.read().ending, Ending::ClientGone);
    assert_eq!(relay.door.meter.totals().tokens, prompt_of_ask().0);

    let relay = Relay::to(vec![settings("down", closed_port().await)]);
    assert_eq!(relay.ask(ASK).await.unwrap_err().report.read().tokens, None, "never sent");
}

#[tokio::test]
async fn bug_a_server_that_answers_that_it_cannot_is_asked_last() {
    for status in ["502 Bad Gateway", "503 Loading", "504 Gateway Timeout"] {
        let (loading, healthy) = (Model::start().await, Model::start().await);
        let relay = Relay::to(vec![settings("loading", loading.port()), settings("healthy", healthy.port())]);
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
        let (reply, _) = tokio::join!(relay.ask(ASK), loading.answer(&answer));
        let reply = reply.unwrap();
        assert_eq!(reply.status.as_str(), &status[..3]);
        assert_eq!(all(reply.body).await, ("{}".to_string(), None));
        let (reply, _) = tokio::join!(relay.ask(ASK), healthy.answer(json_answer("{}")));
        assert_eq!(reply.unwrap().status, 200);
    }
}

#[tokio::test]
async fn bug_a_server_whose_list_cannot_be_read_is_asked_after_those_that_are_up() {
    let (down, up) = (Model::start().await, Model::start().await);
    let relay = Relay::to(vec![settings("down", down.port()), settings("up", up.port())]);
    let list = json_answer(r#"{"object":"list","data":[{"id":"real"}]}"#);
    let failing = "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n";
    tokio::join!(down.answer(failing), up.answer(&list), relay.upstreams.look());
    let (reply, _) = tokio::join!(relay.ask(ASK), up.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200);

    let only = Model::start().await;
    let relay = Relay::to(vec![only.settings()]);
    tokio::join!(only.answer(failing), relay.upstreams.look());
    let (reply, _) = tokio::join!(relay.ask(ASK), only.answer(json_answer("{}")));
    assert_eq!(reply.unwrap().status, 200, "the only one is asked all the same");
}

#[tokio::test]
async fn bug_a_server_without_a_key_forbids_the_request_and_not_the_key() {
    let model = Model::start().await;
    let relay = Relay::to(vec![ServerSettings { api_key: None, ..model.settings() }]);
    let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 8\r\n\r\nflagged!";
    let asking = async {
        let reply = relay.ask(ASK).await.unwrap();
        (reply.status, all(reply.body).await)
    };
    let ((status, said), _) = tokio::join!(asking, model.answer(forbidden));
    assert_eq!((status.as_u16(), said), (403, ("flagged!".to_string(), None)));
}

#[tokio::test]
async fn bug_a_refused_key_is_told_once_until_the_server_answers() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    let server = relay.upstreams.catalogue.servers().remove(0);
    let refusal = "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n";
    let (refused, _) = tokio::join!(relay.ask(ASK), model.answer(refusal));
    assert_eq!(refused.unwrap_err().fault, RelayFault::AuthRefused);
    assert!(!server.refused_key(), "told by the request");
    let (reply, _) = tokio::join!(relay.ask(ASK), model.answer(json_answer("{}")));
    all(reply.unwrap().body).await;
    assert!(server.refused_key(), "news again");
}

impl Relay {
    /// What it says of the first server, when asked again and again and answered so; and how many there were by then.
    async fn after(&self, model: &Model, times: usize, answer: &str) -> ServerHealth {
        for _ in 0..times {
            let asking = async {
                if let Ok(reply) = self.ask(ASK).await {
                    all(reply.body).await;
                }
            };
            tokio::join!(asking, model.answer(answer));
        }
        self.upstreams.health().remove(0)
    }
}

fn error(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}")
}

#[tokio::test]
async fn bug_errors_open_the_circuit_and_what_says_nothing_of_the_server_does_not_keep_it_closed() {
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    assert_eq!(relay.after(&model, 18, &error("500 Oh")).await.state, UpstreamState::Unknown);
    assert_eq!(relay.after(&model, 3, &error("429 Slowly")).await.state, UpstreamState::Unknown);
    assert_eq!(relay.after(&model, 1, &error("503 Full")).await.state, UpstreamState::Unknown);
    let health = relay.after(&model, 1, &error("500 Oh")).await;
    assert_eq!((health.state, health.fault), (UpstreamState::Open, Some(RelayFault::Refused)));
    assert!(health.failures.contains(&("refused", 20)), "{:?}", health.failures);
    assert_eq!(relay.after(&model, 1, &error("400 Bad")).await.state, UpstreamState::Unknown, "answered");
}

#[tokio::test]
async fn bug_what_may_be_the_callers_doing_does_not_open_the_circuit() {
    let long = "x".repeat((1 << 20) + 1);
    let long = format!("HTTP/1.1 400 Oh\r\ncontent-length: {}\r\n\r\n{long}", long.len());
    let forbidden = error("403 Flagged");
    // Even from many keys; and failures of one key not soon.
    for (answer, times) in [(&forbidden, 25), (&long, 21), (&String::new(), 19)] {
        let model = Model::start().await;
        let relay = Relay::to(vec![model.settings()]);
        assert_eq!(relay.after(&model, times, answer).await.state, UpstreamState::Unknown, "{answer:.40}");
    }
    let model = Model::start().await;
    let relay = Relay::to(vec![model.settings()]);
    assert_eq!(
        relay.after(&model, 3, &error("401 No")).await.state,
        UpstreamState::Open,
        "the key is Ember's"
    );
}
