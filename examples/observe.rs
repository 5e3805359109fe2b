//! Measures what counting a request costs, and what showing the counts does.
//!
//!   cargo run --release --example observe        nanoseconds for a request that has ended; medians of rounds
//!   cargo run --release --example observe 1000   the same with so many models, and the text of all metrics

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ember_gateway::metrics::{Ended, Metrics, Model, Moment, Pace, Request};
use ember_gateway::types::{Ending, Tokens, TokensSource};

const ROUNDS: usize = 11;
const REQUESTS: u32 = 200_000;

/// A stream with all that can be known of one.
fn ended(model: &str) -> Ended<'_> {
    let tokens = Tokens { prompt: 900, completion: 300, cached: 100 };
    Ended {
        route: "/v1/chat/completions",
        operation: Some("chat"),
        model: Model::Known(model),
        upstream: Some("local"),
        status: Some(200),
        code: None,
        ending: Ending::Done,
        took: Duration::from_secs(4),
        overhead: Some(Duration::from_micros(80)),
        queued: None,
        stream: Some(Pace { first_token: Duration::from_millis(200), end: Duration::from_secs(4) }),
        tokens: Some((tokens, TokensSource::Reported)),
    }
}

/// A request that is turned away.
fn refused<'a>() -> Ended<'a> {
    Ended {
        model: Model::None,
        operation: None,
        upstream: None,
        status: Some(401),
        code: Some("invalid_api_key"),
        ending: Ending::Refused,
        overhead: None,
        stream: None,
        tokens: None,
        ..ended("")
    }
}

/// Nanoseconds each on every one of so many threads, with the gauge of requests under way: the median.
fn measure<'a>(metrics: &Arc<Metrics>, threads: usize, request: impl Fn(u32) -> Ended<'a> + Sync) -> u128 {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for number in 0..REQUESTS {
                            Request::begin(metrics).ended(&request(number));
                        }
                    });
                }
            });
            began.elapsed().as_nanos() / u128::from(REQUESTS)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn main() -> std::io::Result<()> {
    let models = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1_u32).max(1);
    let names: Vec<_> = (0..models).map(|number| format!("organisation/model-{number}-instruct")).collect();
    let metrics = Arc::new(Metrics::default());
    let mut out = std::io::stdout().lock();
    for threads in [1, 2] {
        let stream = measure(&metrics, threads, |number| ended(&names[(number % models) as usize]));
        let refusal = measure(&metrics, threads, |_| refused());
        writeln!(out, "{models} models, {threads} threads: a stream {stream} ns, a refusal {refusal} ns")?;
    }
    let mut texts: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let text = metrics.text(&Moment::default());
            (began.elapsed(), text.len(), text.lines().count())
        })
        .collect();
    texts.sort_unstable();
    let (took, bytes, lines) = texts[ROUNDS / 2];
    writeln!(out, "the text: {lines} lines, {bytes} bytes, {} us", took.as_micros())
}
