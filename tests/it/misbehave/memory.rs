//! Law 12: what a model server sends without end takes little memory of Ember's, however fast its caller reads.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::rogue::{Act, Rogue, chunk, say};
use crate::ember::{Ember, request};
use crate::model::{STREAM, home};
use crate::pipe::Pipe;
use crate::proof;
use crate::rest::anonymous_bytes;

/// What one stream may take: the event that is looked into (1 MiB), while it is moved once more, and what is on its way.
const EACH_MAX: u64 = 4 << 20;
/// What a slow reader has taken at the least when he is looked at: more than any refusal is long.
const SLOW_LEAST: usize = 8 << 10;
const MEGABYTE: usize = 1 << 20;
const EVENT: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";

/// What comes without end: its name, and how it begins and goes on.
fn endless(bytes: usize) -> [(&'static str, Vec<Act>); 4] {
    let size = format!("{bytes:x}\r\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let flood = |piece: &[u8]| Act::Flood(piece.to_vec(), bytes);
    let line = vec![b'x'; 64 << 10];
    [
        ("one line", vec![say(STREAM), chunk(EVENT), say(&size), say("data: "), flood(&line)]),
        (
            "one event",
            vec![
                say(STREAM),
                chunk(EVENT),
                say(&size),
                flood(&b"data: xxxxxxxxxxxxxxxxxxxxxx\n".repeat(2000)),
            ],
        ),
        ("one answer", vec![say(format!("{head}Content-Length: {}\r\n\r\n", bytes + 1)), flood(&line)]),
        ("one answer of any length", vec![say(format!("{head}\r\n[")), flood(&vec![b'1'; 64 << 10])]),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Fast,
    /// Takes a little now and then.
    Slow,
}

/// An Ember of its own for each figure: what one load has left is free for the next.
struct Scene {
    ember: Ember,
    key: String,
    /// All that was read.
    read: AtomicU64,
    /// Who goes on reading.
    readers: AtomicUsize,
    is_over: AtomicBool,
}

/// A reader, who leaves however he ends.
struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scene {
    fn new(ember: Ember, key: &str) -> Self {
        let (read, readers, is_over) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Self { ember, key: key.to_string(), read, readers, is_over }
    }

    fn read(&self, case: usize, more: &str, reader: Reader) {
        let _leaves = Leaves(&self.readers);
        let body = format!("{{\"model\":\"m\",\"case\":{case}{more}}}");
        let mut pipe = Pipe::open(&self.ember);
        pipe.write_all(request("POST", "/v1/chat/completions", Some(&self.key), &body).as_bytes()).unwrap();
        let mut part = vec![0; 64 << 10];
        let part = if reader == Reader::Fast { &mut part[..] } else { &mut part[..4096] };
        while let Some(count) = pipe.read(part).ok().filter(|count| *count > 0) {
            self.read.fetch_add(count as u64, Ordering::Relaxed);
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            if reader == Reader::Slow {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// So many of them at once: by how much the memory grew at most, for each.
    fn growth(&self, case: usize, more: &str, reader: Reader, count: usize) -> u64 {
        self.readers.store(count, Ordering::SeqCst);
        let before = anonymous_bytes(&self.ember);
        let mut most = before;
        std::thread::scope(|scope| {
            (0..count).for_each(|_| drop(scope.spawn(|| self.read(case, more, reader))));
            // The slow ones never come to an end.
            let mut looks = if reader == Reader::Slow { proof::size(200, 2000) } else { usize::MAX };
            while self.readers.load(Ordering::SeqCst) > 0 && looks > 0 {
                most = most.max(anonymous_bytes(&self.ember));
                std::thread::sleep(Duration::from_millis(5));
                looks -= 1;
            }
            self.is_over.store(true, Ordering::SeqCst);
        });
        (most - before) / count as u64
    }
}

#[test]
fn law_12_what_comes_without_end_takes_little_memory_however_it_is_read() {
    let bytes = proof::size(24 * MEGABYTE, 2048 * MEGABYTE);
    let cases = endless(bytes);
    let rogue = Rogue::start(cases.iter().map(|(_, acts)| acts.clone()).collect());
    let home = home(&rogue.section("m", "total_timeout = \"1h\""));
    let key = home.key("app");
    let watched = ",\"stream\":true";
    let asked_for = ",\"stream\":true,\"stream_options\":{\"include_usage\":true}";
    let mut worst = 0;
    for (case, (what, _)) in cases.iter().enumerate() {
        let asks: &[&str] = if what.contains("answer") { &[""] } else { &[watched, asked_for] };
        for (reader, count) in [(Reader::Slow, proof::size(32, 200)), (Reader::Fast, 8)] {
            for more in asks {
                let scene = Scene::new(home.serve(), &key);
                assert_eq!(scene.ember.get("/v1/models", Some(&key)).status, 200);
                let each = scene.growth(case, more, reader, count);
                let (read, how) = (
                    scene.read.load(Ordering::SeqCst),
                    if reader == Reader::Fast { "fast" } else { "slowly" },
                );
                eprintln!("{what} {more}, {count} read {how}, {read} bytes of {bytes}: {each} bytes each");
                assert!(each <= EACH_MAX, "{what}, {count} read {how}: {each} bytes each");
                let least = if reader == Reader::Slow { SLOW_LEAST } else { bytes };
                assert!(read >= (count * least) as u64, "{what}, {count} read {how}: {read} bytes");
                worst = worst.max(each);
            }
        }
    }
    let what = format!(
        "memory that a stream takes while {} MB come in one line, event or answer, KiB",
        bytes / MEGABYTE
    );
    proof::show(&what, worst / 1024, "at most 4,096");
}
