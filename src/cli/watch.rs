//! `ember status --watch`: how the running server does, again and again. Never: counting.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::admin::{Command, Reply, ServerStatus, UpstreamStatus};
use crate::types::{Gather, Timestamp, Tokens};

use super::args::Format;
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::show;
use super::table::{plain, sheet, table};
use super::terminal::{Screen, clean};

/// To the top left, and everything from there on away (ECMA-48, CUP and ED).
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

const UPSTREAMS: [&str; 5] = ["UPSTREAM", "STATE", "IN FLIGHT", "WAITING", "DETAIL"];

/// What a server said, and when it was heard.
struct Sample {
    server: ServerStatus,
    heard: Instant,
    at: Timestamp,
}

/// What became of the time between two samples.
struct Pace {
    interval: Duration,
    requests: u64,
    tokens: Tokens,
    errors: BTreeMap<String, u64>,
}

/// Looks `every` so often, `count` times or for ever.
///
/// # Errors
/// [`CliError`].
pub(super) fn run(
    every: Duration,
    count: Option<u64>,
    desk: &Desk<'_>,
    screen: &mut Screen<'_, '_>,
) -> Result<(), CliError> {
    let redraws = screen.format == Format::Table && screen.can_redraw();
    let mut last = sample(desk)?;
    if redraws {
        draw(&last, None, screen)?;
    }
    let (mut shown, mut is_away) = (0, false);
    while count.is_none_or(|count| shown < count) {
        sleep(every);
        match sample(desk) {
            Ok(next) => {
                show(&next, &Pace::between(&last, &next), redraws, screen)?;
                (last, shown, is_away) = (next, shown + 1, false);
            }
            // It may be restarting; one who counts wants to hear of it.
            Err(error) if error.exit == Exit::Unreachable && count.is_none() => {
                if !is_away {
                    screen.warn("the server does not answer; going on when it is back");
                }
                is_away = true;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sample(desk: &Desk<'_>) -> Result<Sample, CliError> {
    let Reply::Status(status) = desk.ask_running(&Command::Status)? else { return Err(show::unexpected()) };
    let server = status.server.ok_or_else(show::unexpected)?;
    Ok(Sample { server, heard: Instant::now(), at: desk.now() })
}

impl Pace {
    /// After a restart of the server, all that it counted is new.
    fn between(last: &Sample, next: &Sample) -> Self {
        let (old, new) = (&last.server, &next.server);
        let is_same = (old.pid, old.started_at) == (new.pid, new.started_at);
        let since = |old: u64, new: u64| if is_same { new.saturating_sub(old) } else { new };
        let errors = new.errors.iter().map(|(code, count)| {
            let before = old.errors.get(code).copied().unwrap_or_default();
            (code.clone(), since(before, *count))
        });
        Self {
            interval: next.heard.saturating_duration_since(last.heard),
            requests: since(old.requests, new.requests),
            tokens: Tokens {
                prompt: since(old.tokens.prompt, new.tokens.prompt),
                completion: since(old.tokens.completion, new.tokens.completion),
                cached: since(old.tokens.cached, new.tokens.cached),
            },
            errors: errors.filter(|(_, count)| *count > 0).gather(),
        }
    }

    /// In a second, with one decimal.
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn each_second(&self, count: u64) -> f64 {
        let rate = count as f64 / self.interval.as_secs_f64().max(0.001);
        (rate * 10.0).round() / 10.0
    }

    fn errors(&self) -> u64 {
        self.errors.values().sum()
    }
}

fn show(sample: &Sample, pace: &Pace, redraws: bool, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    match screen.format {
        Format::Table if redraws => draw(sample, Some(pace), screen),
        Format::Table => screen.data(&clean(&line(sample, pace))),
        Format::Json => screen.data(&json(sample, pace).to_string()),
        Format::Plain | Format::Csv => screen.data(&plain(&[cells(sample, pace)]).join("\n")),
    }
}

fn healthy(server: &ServerStatus) -> String {
    let up = server.upstreams.iter().filter(|one| one.state.is_healthy()).count();
    format!("{up} of {}", server.upstreams.len())
}

fn line(sample: &Sample, pace: &Pace) -> String {
    let server = &sample.server;
    format!(
        "{}  {} requests/s, {} tokens/s written, {} errors; {} in flight, {} waiting, {} upstreams up",
        sample.at,
        pace.each_second(pace.requests),
        pace.each_second(pace.tokens.completion),
        pace.errors(),
        server.in_flight,
        server.waiting,
        healthy(server)
    )
}

/// In the order that docs/metrics.md has.
fn cells(sample: &Sample, pace: &Pace) -> Vec<String> {
    let server = &sample.server;
    vec![
        sample.at.to_string(),
        pace.each_second(pace.requests).to_string(),
        pace.each_second(pace.tokens.prompt).to_string(),
        pace.each_second(pace.tokens.completion).to_string(),
        pace.errors().to_string(),
        server.in_flight.to_string(),
        server.waiting.to_string(),
        server.connections.to_string(),
    ]
}

fn json(sample: &Sample, pace: &Pace) -> serde_json::Value {
    let server = &sample.server;
    let upstreams = server.upstreams.iter().map(|one| {
        serde_json::json!({
            "name": one.name,
            "state": one.state.as_str(),
            "healthy": one.state.is_healthy(),
            "in_flight": one.in_flight,
            "waiting": one.waiting,
            "detail": one.detail,
        })
    });
    serde_json::json!({
        "object": "watch",
        "at": sample.at.to_string(),
        "interval_seconds": pace.interval.as_secs_f64(),
        "requests": pace.requests,
        "requests_per_second": pace.each_second(pace.requests),
        "prompt_tokens_per_second": pace.each_second(pace.tokens.prompt),
        "completion_tokens_per_second": pace.each_second(pace.tokens.completion),
        "errors": pace.errors,
        "in_flight": server.in_flight,
        "waiting": server.waiting,
        "connections": server.connections,
        "upstreams": upstreams.collect::<Vec<_>>(),
    })
}

/// The whole picture, in the place of the last.
fn draw(sample: &Sample, pace: Option<&Pace>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let server = &sample.server;
    let heading = clean(&format!("Ember {} at {}", server.version, sample.at));
    let mut lines = vec![screen.bold(&heading)];
    lines.extend(sheet(&pairs(server, pace)));
    lines.push(String::new());
    lines.extend(table(&UPSTREAMS, &server.upstreams.iter().map(row).collect::<Vec<_>>()));
    screen.data(&format!("{REDRAW}{}", lines.join("\n")))
}

fn pairs(server: &ServerStatus, pace: Option<&Pace>) -> [(&'static str, String); 7] {
    let rate = |count: fn(&Pace) -> u64| match pace {
        Some(pace) => format!("{}/s", pace.each_second(count(pace))),
        None => "...".to_string(),
    };
    let errors = pace.map(|pace| &pace.errors).filter(|errors| !errors.is_empty());
    [
        ("Requests", rate(|pace| pace.requests)),
        ("Tokens read", rate(|pace| pace.tokens.prompt)),
        ("Tokens written", rate(|pace| pace.tokens.completion)),
        ("In flight", server.in_flight.to_string()),
        ("Waiting", server.waiting.to_string()),
        ("Connections", server.connections.to_string()),
        ("Errors", errors.map_or_else(|| "none".to_string(), listed)),
    ]
}

fn row(one: &UpstreamStatus) -> Vec<String> {
    vec![
        one.name.clone(),
        one.state.as_str().to_string(),
        one.in_flight.to_string(),
        one.waiting.to_string(),
        one.detail.clone(),
    ]
}

fn listed(errors: &BTreeMap<String, u64>) -> String {
    errors.iter().map(|(code, count)| format!("{count} {code}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pid: u32, requests: u64, errors: u64, heard: Instant) -> Sample {
        let server = ServerStatus {
            version: "1".to_string(),
            pid,
            started_at: Timestamp::from_millis(0),
            listen: Vec::new(),
            upstreams: Vec::new(),
            requests,
            tokens: Tokens { prompt: 0, completion: requests * 10, cached: 0 },
            in_flight: 1,
            waiting: 0,
            connections: 2,
            errors: [("overloaded".to_string(), errors)].into(),
        };
        Sample { server, heard, at: Timestamp::from_millis(1000) }
    }

    #[test]
    fn rates_are_of_the_time_between_and_begin_anew_with_the_server() {
        let first = Instant::now();
        let later = first + Duration::from_secs(2);
        let last = sample(7, 100, 5, first);
        let pace = Pace::between(&last, &sample(7, 105, 5, later));
        assert_eq!((pace.requests, pace.tokens.completion, pace.errors()), (5, 50, 0));
        assert_eq!(pace.each_second(5).to_string(), "2.5");
        let pace = Pace::between(&last, &sample(8, 4, 1, later));
        assert_eq!((pace.requests, listed(&pace.errors)), (4, "1 overloaded".to_string()));
    }
}
