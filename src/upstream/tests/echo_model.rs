//! The relay in front of the built-in stand-in.

use std::task::Poll;

use super::*;
use crate::types::{Ending, TokensSource};

async fn relay(delay: Duration) -> Relay {
    let settings = ServerSettings {
        address: Address::Echo(echo::EchoSettings { delay }),
        models: Vec::new(),
        aliases: BTreeMap::from([(id("gpt"), id(echo::MODEL))]),
        api_key: None,
        ..settings("echo", 0)
    };
    let relay = Relay::to(vec![settings]);
    in_time(relay.upstreams.look()).await;
    relay
}

const HELLO: &str = r#"{"model":"gpt","messages":[{"role":"user","content":"Hello there"}],"stream":"#;

#[tokio::test]
async fn its_list_is_read_and_its_answers_are_counted() {
    let relay = relay(Duration::ZERO).await;
    assert!(relay.upstreams.entry(&ModelScope::All, echo::MODEL).is_ok());
    assert!(relay.upstreams.health()[0].up);
    for stream in ["true}", "false}"] {
        let reply = relay.ask(&format!("{HELLO}{stream}")).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.is_stream()), (200, stream == "true}"));
        let report = reply.report.clone();
        let (said, broken) = all(reply.body).await;
        assert_eq!(broken, None);
        assert_eq!(said.contains("\"usage\":{"), stream == "false}", "{said}");
        assert_eq!(said.ends_with(END), stream == "true}");
        assert!(
            matches!(report.read().tokens, Some((tokens, TokensSource::Reported)) if tokens.completion > 0)
        );
    }
    relay.is_settled(2);
    assert_eq!(relay.door.meter.totals().unfinished, 0);
}

#[tokio::test]
async fn hanging_up_frees_it() {
    let relay = relay(Duration::from_secs(60)).await;
    let mut reply = relay.ask(&format!("{HELLO}true}}")).await.unwrap();
    let report = reply.report.clone();
    assert!(next(&mut reply.body).await.unwrap().is_ok());
    drop(reply);
    assert_eq!(report.read().ending, Ending::ClientGone);
    relay.is_settled(1);
}

/// Polls a future at most so often; says whether it came to its end.
async fn polled<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(cx).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn hanging_up_at_any_moment_leaves_nothing_behind() {
    let relay = relay(Duration::from_millis(1)).await;
    let (mut requests, mut ended) = (0, false);
    while !ended {
        let pass = relay.door.pass("gpt").await;
        let asked = request(&format!("{HELLO}true}}"));
        let report = asked.report.clone();
        let whole = async { all(relay.upstreams.relay(pass, asked).await.unwrap().body).await };
        ended = polled(requests, whole).await;
        assert!(!ended || report.read().ending == Ending::Done);
        requests += 1;
        relay.is_settled(requests as u64);
    }
    assert!(requests > 9, "{requests}");
}
