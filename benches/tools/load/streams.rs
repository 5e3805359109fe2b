//! Streams side by side: chunks, how long each was on its way, and how long the first one took.

use std::time::Duration;

use memchr::memmem;
use serde_json::{Value, json};

use crate::Failure;
use crate::moment;

use super::crowd::{Crowd, Watcher};
use super::script::{Script, Stream};
use super::{Common, Window, say, seconds, spread, together};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Chunks of each stream; when it has them it begins anew.
    #[arg(long, default_value_t = 1_000_000_000)]
    chunks: u64,
    /// Milliseconds between two chunks of a stream.
    #[arg(long, default_value_t = 20)]
    gap_ms: u64,
}

#[derive(Clone, Default)]
struct Progress {
    /// An event that has not come whole.
    carry: Vec<u8>,
    chunks: u64,
    is_done: bool,
}

struct Listener {
    streams: Vec<Progress>,
    /// Chunks that every stream must have.
    chunks: u64,
    begun: usize,
    times: Vec<u64>,
    first_times: Vec<u64>,
    /// The longest time that counts as no delay.
    delay_max: u64,
    delayed: u64,
}

impl Watcher for Listener {
    fn body(&mut self, number: usize, bytes: &[u8], asked_at: u64) {
        let now = moment::now();
        let mut carry = std::mem::take(&mut self.streams[number].carry);
        let mut rest = if carry.is_empty() {
            bytes
        } else {
            carry.extend_from_slice(bytes);
            &carry
        };
        while let Some(end) = memmem::find(rest, b"\n\n") {
            self.event(number, &rest[..end], now, asked_at);
            rest = &rest[end + 2..];
        }
        self.streams[number].carry = rest.to_vec();
    }

    fn whole(&mut self, number: usize, _: u64) -> Result<bool, Failure> {
        let stream = std::mem::take(&mut self.streams[number]);
        if !stream.is_done || stream.chunks != self.chunks || !stream.carry.is_empty() {
            return Err(format!("a stream ended after {} chunks", stream.chunks).into());
        }
        Ok(true)
    }
}

impl Listener {
    fn event(&mut self, number: usize, event: &[u8], now: u64, asked_at: u64) {
        const TEXT: &[u8] = br#""content":""#;
        let stream = &mut self.streams[number];
        if let Some(at) = memmem::find(event, TEXT) {
            let time = now.saturating_sub(moment::number(&event[at + TEXT.len()..]));
            if stream.chunks == 0 {
                self.begun += 1;
                self.first_times.push(now - asked_at);
            }
            stream.chunks += 1;
            self.times.push(time);
            self.delayed += u64::from(time > self.delay_max);
        } else if event == b"data: [DONE]" {
            stream.is_done = true;
        }
    }

    fn forget(&mut self) {
        self.times.clear();
        self.first_times.clear();
        self.delayed = 0;
    }
}

pub(super) fn run(options: &Options) -> Result<Value, Failure> {
    let common = &options.common;
    let stream = Stream { chunks: options.chunks, gap_ms: options.gap_ms };
    let mut crowd = Crowd::new(common, Script::new(common, Some(&stream))?)?;
    let mut listener = Listener {
        streams: vec![Progress::default(); common.connections],
        chunks: options.chunks,
        begun: 0,
        times: Vec::new(),
        first_times: Vec::new(),
        delay_max: moment::nanos(Duration::from_millis(options.gap_ms)) / 2,
        delayed: 0,
    };
    begin(&mut crowd, &mut listener, options)?;
    say(&json!({ "ready": true }))?;
    crowd.until(moment::now() + seconds(common.warm), &mut listener)?;
    listener.forget();
    let window = Window::begin(&common.process)?;
    crowd.until(moment::now() + seconds(common.seconds), &mut listener)?;
    let window = window.end()?;
    let about = json!({
        "chunks": listener.times.len(),
        "streams_begun": listener.first_times.len(),
        "delayed": listener.delayed,
        "reconnects": crowd.reconnects,
    });
    Ok(together([
        about,
        window,
        spread("chunk", &mut listener.times),
        spread("first_chunk", &mut listener.first_times),
    ]))
}

/// Begins all streams, spread over the time between two chunks, and waits until each has had its first.
fn begin(crowd: &mut Crowd<'_>, listener: &mut Listener, options: &Options) -> Result<(), Failure> {
    let connections = options.common.connections;
    let step = moment::nanos(Duration::from_millis(options.gap_ms)) / connections as u64;
    let mut at = moment::now();
    for number in 0..connections {
        crowd.ask(number, moment::now())?;
        at += step.max(20_000);
        crowd.until(at, listener)?;
    }
    while listener.begun < connections {
        crowd.turn(Duration::from_secs(1), listener)?;
    }
    Ok(())
}
