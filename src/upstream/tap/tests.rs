//! The tap against whole streams, however they are cut into chunks.

use proptest::prelude::*;

use super::*;

const USAGE: &str =
    r#"{"id":"c","choices":[ ],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#;
const TOKENS: Tokens = Tokens { prompt: 9, completion: 2, cached: 0 };

/// What a stream cut into chunks came to.
struct Outcome {
    sent: Vec<u8>,
    /// Before [`SseTap::finish`].
    boundary: bool,
    seen: (bool, Option<Tokens>, u64),
}

/// Runs `stream` through a tap, cut after each of `cuts` (in bytes, counted from the cut before), then as it comes.
fn run_cut(dialect: Dialect, strip: bool, stream: &[u8], cuts: &[usize]) -> Outcome {
    let mut tap = SseTap::new(dialect, strip);
    let (mut rest, mut sent) = (Bytes::copy_from_slice(stream), Vec::new());
    let mut pushed = 0;
    for cut in cuts.iter().copied().chain([usize::MAX]) {
        let chunk = rest.split_to(cut.min(rest.len()));
        pushed += chunk.len();
        for piece in tap.push(chunk) {
            assert!(!piece.is_empty());
            sent.extend_from_slice(&piece);
        }
        assert!(tap.held.len() <= SseTap::EVENT_BYTES_MAX);
        assert!(strip || sent.len() == pushed, "without strip_usage every byte goes on at once");
    }
    let boundary = tap.at_boundary();
    sent.extend_from_slice(&tap.finish());
    Outcome { sent, boundary, seen: (tap.ended(), tap.tokens(), tap.completion_estimate()) }
}

fn run(dialect: Dialect, strip: bool, stream: &str) -> Outcome {
    run_cut(dialect, strip, stream.as_bytes(), &[])
}

/// Every way of cutting in two, byte by byte, and in one piece come to the same.
fn run_every_cut(dialect: Dialect, strip: bool, stream: &str) -> Outcome {
    let whole = run(dialect, strip, stream);
    let bytes = vec![1; stream.len()];
    for cuts in (0..stream.len()).map(|at| vec![at]).chain([bytes]) {
        let cut = run_cut(dialect, strip, stream.as_bytes(), &cuts);
        assert_eq!(
            (&cut.sent, cut.boundary, cut.seen),
            (&whole.sent, whole.boundary, whole.seen),
            "{cuts:?}"
        );
    }
    whole
}

fn chat(content: &str) -> String {
    let content = serde_json::Value::from(content);
    format!(r#"{{"choices":[{{"index":0,"delta":{{"content":{content}}}}}],"usage":null}}"#)
}

#[test]
fn a_chat_without_its_usage_chunk() {
    for (end, pair) in [("\n", "\n\n"), ("\r\n", "\r\n\r\n"), ("\r", "\r\r")] {
        let before = format!("\u{feff}: hello{end}data: {}{pair}data:{}{pair}", chat(""), chat("hü"));
        let usage = format!(": x{end}id: 7{end}data: {USAGE}{pair}");
        let after = format!("data: [DONE]{pair}");
        let stream = format!("{before}{usage}{after}");

        let kept = run_every_cut(Dialect::Chat, false, &stream);
        assert_eq!(kept.sent, stream.as_bytes());
        let stripped = run_every_cut(Dialect::Chat, true, &stream);
        assert_eq!(String::from_utf8(stripped.sent).unwrap(), format!("{before}{after}"));
        for seen in [kept.seen, stripped.seen] {
            assert_eq!(seen, (true, Some(TOKENS), 1));
        }
    }
}

#[test]
fn a_usage_chunk_that_comes_first_leaves_the_byte_order_mark() {
    let stream = format!("\u{feff}data: {USAGE}\r\n\r\ndata: [DONE]\r\n\r\n");
    let stripped = run_every_cut(Dialect::Chat, true, &stream);
    assert_eq!(stripped.sent, "\u{feff}data: [DONE]\r\n\r\n".as_bytes());
}

#[test]
fn only_the_extra_usage_chunk_is_taken_out() {
    for data in [
        r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        r#"{"choices":[],"usage":null}"#,
        r#"{"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        r#"{"choices":[],"error":{"message":"m"},"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        r#"{"choices":null,"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        r#"{"choices":[],"x":{"usage":{}}}"#,
        r#"{"choices":[],"usage":{}"#,
        r#"[{"choices":[],"usage":{}}]"#,
    ] {
        let stream = format!("data: {data}\n\n");
        assert_eq!(run_every_cut(Dialect::Chat, true, &stream).sent, stream.as_bytes(), "{data}");
    }
    let lines = "data: {\"choices\":[],\ndata: \"error\":null,\ndata:\"usage\" :\ndata: {}}\n\n";
    assert_eq!(run_every_cut(Dialect::Chat, true, lines).sent, b"");
}

#[test]
fn a_response_ends_with_its_event() {
    let usage = r#""usage":{"input_tokens":5,"output_tokens":3,"input_tokens_details":{"cached_tokens":4}}"#;
    let tokens = Some(Tokens { prompt: 5, completion: 3, cached: 4 });
    for end in ["completed", "failed", "incomplete"] {
        let data = format!(r#"{{"type":"response.{end}","response":{{"output":[{{"text":"a"}}],{usage}}}}}"#);
        let delta = r#"{"type":"response.output_text.delta","delta":"response.completed"}"#;
        let named = format!("event: response.output_text.delta\ndata: {delta}\n\n");
        let seen = run_every_cut(Dialect::Responses, false, &named).seen;
        assert_eq!(seen, (false, None, 1));
        let stream = format!("{named}event: response.{end}\ndata: {data}\n\n");
        let seen = run_every_cut(Dialect::Responses, false, &stream).seen;
        assert_eq!(seen, (true, tokens, 1));
        let stream = format!("data: {delta}\n\ndata: {data}\n\n");
        let seen = run_every_cut(Dialect::Responses, true, &stream).seen;
        assert_eq!(seen, (true, tokens, 1));
    }
    assert!(!run(Dialect::Responses, false, "data: [DONE]\n\n").seen.0);
    assert!(!run(Dialect::Chat, false, "event: response.completed\ndata: {}\n\n").seen.0);
}

#[test]
fn what_counts_as_content() {
    for (data, counts) in [
        (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
        (r#"{"choices":[{"delta":{"content":null,"reasoning_content": "a"}}]}"#, true),
        (r#"{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}"#, true),
        (r#"{"choices":[{"text":" a"}]}"#, true),
        (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, false),
        ("[DONE]", false),
    ] {
        assert_eq!(
            run(Dialect::Chat, false, &format!("data: {data}\n\n")).seen.2,
            u64::from(counts),
            "{data}"
        );
    }
}

#[test]
fn boundaries_as_sent() {
    for (stream, boundary) in [
        ("", true),
        ("data: a\n\n", true),
        ("data: a\r\r", true),
        ("data: a\n", false),
        ("data: a\r\n", false),
        ("d", false),
        (": pi", false),
        (": ping\n", true),
        (": ping\ndata: a\n", false),
        ("data: a\n\n: ping\n\n\n", true),
    ] {
        assert_eq!(run_every_cut(Dialect::Chat, false, stream).boundary, boundary, "{stream:?}");
        assert!(run_every_cut(Dialect::Chat, true, stream).boundary, "held back: {stream:?}");
    }
    let mut tap = SseTap::new(Dialect::Chat, true);
    assert_eq!(tap.push(Bytes::from_static(b"data: a\n\ndata: b")).count(), 1);
    assert_eq!(tap.finish(), "data: b");
    assert!(!tap.at_boundary());
}

#[test]
fn an_end_mark_without_its_blank_line_counts_at_the_end() {
    for end in ["", "\n", "\r\n"] {
        let mut tap = SseTap::new(Dialect::Chat, true);
        assert_eq!(tap.push(Bytes::from(format!("data: [DONE]{end}"))).count(), 0);
        assert!(!tap.ended());
        assert_eq!(tap.finish(), format!("data: [DONE]{end}"));
        assert!(tap.ended());
    }
    assert!(!run(Dialect::Chat, false, "data: [DON").seen.0);
}

#[test]
fn whole_events_are_sent_on_without_a_copy() {
    let chunk = Bytes::from(format!("data: a\n\ndata: {USAGE}\n\ndata: b\n\ndata: c"));
    let mut tap = SseTap::new(Dialect::Chat, true);
    let pieces: Vec<Bytes> = tap.push(chunk.clone()).collect();
    assert_eq!(pieces, ["data: a\n\n", "data: b\n\n"]);
    assert!(pieces.iter().all(|piece| chunk.as_ptr_range().contains(&piece.as_ptr())));
    assert_eq!(tap.push(Bytes::from_static(b"\n\n")).collect::<Vec<_>>(), ["data: c\n\n"]);
}

#[test]
fn an_event_that_is_too_long_is_let_through() {
    let pad = |bytes: usize| format!("data: {{\"pad\":\"{}\",{}\n\n", "x".repeat(bytes), &USAGE[1..]);
    let frame = pad(0).len();
    let fits = pad(SseTap::EVENT_BYTES_MAX - frame);
    let long = pad(SseTap::EVENT_BYTES_MAX - frame + 1);
    for cuts in [vec![], vec![10], vec![long.len() - 1], vec![long.len() - 2, 1], vec![65_536; 20]] {
        let cut = |stream: &str, strip| run_cut(Dialect::Chat, strip, stream.as_bytes(), &cuts);
        assert_eq!(cut(&fits, true).sent, b"");
        assert_eq!(cut(&fits, false).seen, (false, Some(TOKENS), 0));
        let stream = format!("{long}data: {USAGE}\n\ndata: b\n\n");
        let stripped = cut(&stream, true);
        assert_eq!(stripped.sent, format!("{long}data: b\n\n").as_bytes());
        assert_eq!(stripped.seen, (false, Some(TOKENS), 0));
        assert_eq!(cut(&stream, false).seen, stripped.seen);
    }
    let long = pad(SseTap::EVENT_BYTES_MAX);
    let begun = format!("data: a\n\n{}", &long[..long.len() - 1]);
    let mut tap = SseTap::new(Dialect::Chat, true);
    assert_eq!(tap.push(Bytes::from(begun.clone())).collect::<Vec<_>>(), [begun]);
    assert!(!tap.at_boundary());
    assert_eq!(tap.push(Bytes::from_static(b"\n")).count(), 1);
    assert!(tap.at_boundary());
}

#[test]
fn an_error_event_is_one_event() {
    assert_eq!(error_event(r#"{"error":{}}"#), "data: {\"error\":{}}\n\n");
    assert_eq!(error_event("{\n}"), "data: {\ndata: }\n\n");
}

/// One event of a stream under test: its lines, and whether it is the extra usage chunk.
#[derive(Debug, Clone)]
struct Event {
    lines: Vec<String>,
    usage: Option<Tokens>,
    done: bool,
}

fn event() -> impl Strategy<Value = Event> {
    let plain = |lines: Vec<String>| Event { lines, usage: None, done: false };
    prop_oneof![
        "[^\r\n]{0,12}".prop_map(move |text| plain(vec![format!("data: {}", chat(&text))])),
        prop::collection::vec(
            "(data|event|: ?|id|x)(: ?)?[^\r\n]{0,6}|data: ?[\"usage:{}\\[\\] ]{0,16}",
            0..4
        )
        .prop_map(plain),
        (any::<u32>(), any::<u8>(), any::<bool>(), any::<bool>()).prop_map(
            |(prompt, completion, comment, split)| {
                let (prompt, completion) = (u64::from(prompt), u64::from(completion));
                let usage = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}}}"#);
                let (head, tail) = (r#"data:{"choices":[],"usage": "#.to_string(), usage);
                let mut lines = if split { vec![head, format!("data: {tail}")] } else { vec![head + &tail] };
                if comment {
                    lines.insert(0, ": {}".to_string());
                }
                Event { lines, usage: Some(Tokens { prompt, completion, cached: 0 }), done: false }
            }
        ),
        Just(Event { lines: vec!["data: [DONE]".to_string()], usage: None, done: true }),
    ]
}

/// Writes `events` with the line ends that `ends` chooses; gives the stream, and the stream without usage chunks.
fn write(mark: bool, events: &[Event], ends: &[u8]) -> (String, String) {
    let mut ends = ends.iter().cycle();
    let (mut stream, mut wanted) = (String::new(), String::new());
    if mark {
        stream.push('\u{feff}');
        wanted.push('\u{feff}');
    }
    for event in events {
        let from = stream.len();
        for line in event.lines.iter().map(String::as_str).chain([""]) {
            let end = match ends.next().map_or(0, |end| end % 3) {
                // An LF alone would belong to the CR before it.
                0 if !(line.is_empty() && stream.ends_with('\r')) => "\n",
                1 => "\r",
                _ => "\r\n",
            };
            stream.push_str(line);
            stream.push_str(end);
        }
        if event.usage.is_none() {
            wanted.push_str(&stream[from..]);
        }
    }
    (stream, wanted)
}

proptest! {
    #[test]
    fn what_is_sent_is_the_stream_without_usage_chunks(
        mark in any::<bool>(),
        events in prop::collection::vec(event(), 0..8),
        ends in prop::collection::vec(any::<u8>(), 1..9),
        cuts in prop::collection::vec(0..40_usize, 0..40),
        tail in "(data: [a-z]{0,5}\n?)?",
    ) {
        let mark = mark && events.first().is_some_and(|event| !event.lines.is_empty());
        let (mut stream, mut wanted) = write(mark, &events, &ends);
        stream.push_str(&tail);
        wanted.push_str(&tail);
        let last_usage = events.iter().filter_map(|event| event.usage).next_back();
        let done = events.iter().any(|event| event.done);
        let kept = run_cut(Dialect::Chat, false, stream.as_bytes(), &cuts);
        prop_assert_eq!(&kept.sent, stream.as_bytes());
        prop_assert_eq!(kept.boundary, tail.is_empty());
        let stripped = run_cut(Dialect::Chat, true, stream.as_bytes(), &cuts);
        prop_assert_eq!(String::from_utf8_lossy(&stripped.sent), String::from_utf8_lossy(wanted.as_bytes()));
        prop_assert!(stripped.boundary);
        prop_assert_eq!(kept.seen, stripped.seen);
        prop_assert_eq!((kept.seen.0, kept.seen.1), (done, last_usage));
    }

    #[test]
    fn cuts_change_nothing_whatever_the_bytes(
        stream in prop_oneof![
            "(data:|event:|response.completed|\\[DONE\\]|\"usage\":\\{\\}|\"choices\":\\[\\]|[{}, :\n\r\u{feff}ü]){0,30}",
            Just(format!("\n\r\ndata: {USAGE}\r\n\rdata: {USAGE}\n\r\n\n")),
        ],
        cuts in prop::collection::vec(0..12_usize, 0..60),
        responses in any::<bool>(),
        strip in any::<bool>(),
    ) {
        let dialect = if responses { Dialect::Responses } else { Dialect::Chat };
        let whole = run(dialect, strip, &stream);
        let cut = run_cut(dialect, strip, stream.as_bytes(), &cuts);
        prop_assert_eq!(&cut.sent, &whole.sent);
        prop_assert_eq!((cut.boundary, cut.seen), (whole.boundary, whole.seen));
    }

    #[test]
    fn no_input_panics(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
        let mut tap = SseTap::new(Dialect::Chat, true);
        let mut sent: Vec<u8> = chunks.iter().flat_map(|chunk| tap.push(Bytes::copy_from_slice(chunk))).flatten().collect();
        sent.extend_from_slice(&tap.finish());
        prop_assert_eq!(sent, chunks.concat());
    }
}

#[test]
fn bug_a_list_is_not_taken_for_the_usage_chunk() {
    let stream = "data: [{\"usage\":{\"prompt_tokens\":9}},[],null]\n\n";
    let stripped = run_every_cut(Dialect::Chat, true, stream);
    assert_eq!((stripped.sent.as_slice(), stripped.seen), (stream.as_bytes(), (false, None, 0)));
}

#[test]
fn bug_an_end_mark_that_is_too_long_to_be_looked_into_counts() {
    let pad = "x".repeat(SseTap::EVENT_BYTES_MAX);
    let event = |begin: &str| format!("{begin},\"x\":\"{pad}\"}}\n\n");
    let named = event("event: response.completed\ndata: {\"sequence_number\":1");
    let typed = event("data: { \"type\" : \"response.incomplete\"");
    let delta = event("event: response.output_text.delta\ndata: {\"type\":\"response.completed\"");
    let quoted = event("data: {\"type\":\"x\",\"delta\":\"response.completed\"");
    for strip in [false, true] {
        for (stream, ends) in [(&named, true), (&typed, true), (&delta, false), (&quoted, false)] {
            for cuts in
                [vec![], vec![700_000], vec![3, 5, 700_000], vec![stream.len() - 1], vec![1 << 20, 20]]
            {
                let outcome = run_cut(Dialect::Responses, strip, stream.as_bytes(), &cuts);
                assert_eq!(outcome.seen.0, ends, "{cuts:?} {:.60}", stream);
                assert!(outcome.sent == stream.as_bytes());
            }
            let unended = run(Dialect::Responses, strip, &stream[..stream.len() - 2]);
            assert!(!unended.seen.0, "cut short");
        }
        assert!(!run(Dialect::Chat, strip, &named).seen.0);
    }
}
