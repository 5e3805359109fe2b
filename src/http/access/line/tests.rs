//! Lines are, byte for byte, what the formatter of all other lines makes of the same.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::types::{Random, RandomUnavailable, Timestamp};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tell(line: &Line<'_>) {
    let tokens = line.tokens.map(|(tokens, _)| tokens);
    tracing::info!(
        target: "access",
        request_id = std::str::from_utf8(line.request_id).unwrap(),
        peer = %line.peer,
        method = line.method,
        route = line.route,
        status = line.status,
        code = line.code,
        key = line.key.map(|key| key.to_string()),
        account = line.account.map(|account| account.to_string()),
        model = line.model,
        upstream = line.upstream,
        bytes_in = line.bytes_in,
        bytes_out = line.bytes_out,
        prompt_tokens = tokens.map(|tokens| tokens.prompt),
        completion_tokens = tokens.map(|tokens| tokens.completion),
        cached_tokens = tokens.map(|tokens| tokens.cached),
        tokens_source = line.tokens.map(|(_, source)| source.as_str()),
        queued_ms = line.queued_ms,
        first_byte_ms = line.first_byte_ms,
        duration_ms = line.duration_ms,
        ending = line.ending.as_str(),
        "request"
    );
}

/// What the formatter of all other lines makes of it.
fn formatted(line: &Line<'_>, look: Look) -> String {
    let kept = Kept::default();
    let to = kept.clone();
    let layer = tracing_subscriber::fmt::layer().with_writer(move || to.clone()).with_target(true);
    let registry = tracing_subscriber::registry();
    let tell = || tell(line);
    match look {
        Look::Json => {
            tracing::subscriber::with_default(registry.with(layer.json().flatten_event(true)), tell);
        }
        Look::Text => tracing::subscriber::with_default(registry.with(layer.with_ansi(false)), tell),
        Look::Colour => tracing::subscriber::with_default(registry.with(layer.with_ansi(true)), tell),
    }
    String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
}

fn written(line: &Line<'_>, look: Look, timestamp: &str) -> String {
    let mut text = Vec::new();
    line.write(look, timestamp.as_bytes().try_into().unwrap(), &mut text);
    String::from_utf8(text).unwrap()
}

fn assert_is_as_formatted(line: &Line<'_>) {
    for (look, begin) in [(Look::Json, 14), (Look::Text, 0), (Look::Colour, 4)] {
        let wanted = formatted(line, look);
        assert_eq!(written(line, look, &wanted[begin..begin + 27]), wanted);
    }
}

fn sparse() -> Line<'static> {
    Line {
        request_id: b"req_1",
        peer: [127, 0, 0, 1].into(),
        method: "GET",
        route: "-",
        status: None,
        code: None,
        key: None,
        account: None,
        model: None,
        upstream: None,
        bytes_in: 0,
        bytes_out: 0,
        tokens: None,
        queued_ms: None,
        first_byte_ms: None,
        duration_ms: 0,
        ending: Ending::ClientGone,
    }
}

struct Fives;

impl Random for Fives {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(0x5a);
        Ok(())
    }
}

fn whole() -> Line<'static> {
    let now = Timestamp::from_millis(1_800_000_000_000);
    Line {
        peer: "2001:db8::7".parse().unwrap(),
        method: "other",
        route: "/v1/models/*",
        status: Some(502),
        code: Some("upstream_error"),
        key: Some(KeyId::generate(now, &Fives).unwrap()),
        account: Some(AccountId::generate(now, &Fives).unwrap()),
        model: Some("meta-llama/Llama-3.1-8B"),
        upstream: Some("gpu-1"),
        bytes_in: u64::MAX,
        bytes_out: 680,
        tokens: Some((Tokens { prompt: 9, completion: 100, cached: 3 }, TokensSource::Reported)),
        queued_ms: Some(12),
        first_byte_ms: Some(3456),
        duration_ms: u64::MAX,
        ending: Ending::ServerDied,
        ..sparse()
    }
}

#[test]
fn a_line_is_as_all_other_lines_are() {
    assert_is_as_formatted(&sparse());
    assert_is_as_formatted(&whole());
    assert_is_as_formatted(&Line { peer: [255, 10, 0, 99].into(), ..whole() });
}

#[test]
fn whatever_a_name_has_in_it_a_line_stays_one_line() {
    for model in
        ["", "a\"b", "a\\b", "a\nb\r\t", "\u{1}\u{7f}", "\u{1b}[31mred", "modèle/模型", "\u{2028}\u{202e}"]
    {
        let line = Line { model: Some(model), ..whole() };
        assert_is_as_formatted(&line);
        let json = written(&line, Look::Json, "2027-01-15T08:00:00.000000Z");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["model"], json.matches('\n').count()), (&model.into(), 1));
    }
}
