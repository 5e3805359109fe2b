//! Where access lines go: whether they are wanted, and the time that stands in them. Never: who takes them, what is in
//! them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::types::{Clock, Timestamp};

use super::line::{Line, Look, Moment};

/// Takes a whole line, the line feed with it. Does not wait for whoever reads it.
pub type TakeLine = Box<dyn Fn(&[u8]) + Send + Sync>;

/// Where access lines go.
pub struct AccessLog {
    look: Look,
    is_on: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    take: TakeLine,
}

/// Lines are up to about 600 bytes; a long id and a long name make one of a thousand.
const LINE_BYTES: usize = 1024;

thread_local! {
    static PEN: RefCell<Pen> = const { RefCell::new(Pen::new()) };
}

impl AccessLog {
    /// Lines are written while `is_on`.
    #[must_use]
    pub fn new(look: Look, is_on: Arc<AtomicBool>, clock: Arc<dyn Clock>, take: TakeLine) -> Self {
        Self { look, is_on, clock, take }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn write(&self, line: &Line<'_>) {
        let now = self.clock.now_micros();
        let write = |pen: &mut Pen| (self.take)(pen.write(line, self.look, now));
        // Nobody else has this thread's, but when the thread ends.
        let written = PEN.try_with(|pen| {
            pen.try_borrow_mut().is_ok_and(|mut pen| {
                write(&mut pen);
                true
            })
        });
        if !matches!(written, Ok(true)) {
            write(&mut Pen::new());
        }
    }
}

/// What a thread writes lines with: a place for one, and the text of the second that it is in.
struct Pen {
    line: Vec<u8>,
    second: u64,
    timestamp: Moment,
}

/// Where the fraction stands.
const FRACTION: std::ops::Range<usize> = 20..26;

impl Pen {
    const fn new() -> Self {
        Self { line: Vec::new(), second: 0, timestamp: *b"1970-01-01T00:00:00.000000Z" }
    }

    fn write(&mut self, line: &Line<'_>, look: Look, now_micros: u64) -> &[u8] {
        self.set(now_micros);
        self.line.clear();
        self.line.reserve(LINE_BYTES);
        line.write(look, &self.timestamp, &mut self.line);
        &self.line
    }

    fn set(&mut self, now_micros: u64) {
        let (second, mut fraction) = (now_micros / 1_000_000, now_micros % 1_000_000);
        if second != self.second {
            let point = Timestamp::from_millis(i64::try_from(second * 1000).unwrap_or(i64::MAX)).to_string();
            let upto = FRACTION.start - 1;
            // A clock may go wrong by thousands of years, beyond what has a text.
            if let Some(point) = point.as_bytes().get(..upto) {
                self.timestamp[..upto].copy_from_slice(point);
            }
            self.second = second;
        }
        for digit in self.timestamp[FRACTION].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_to_the_microsecond_whatever_was_before() {
        let mut pen = Pen::new();
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (1_800_000_000_123_456, "2027-01-15T08:00:00.123456Z"),
            (1_800_000_000_999_999, "2027-01-15T08:00:00.999999Z"),
            (1_800_000_001_000_000, "2027-01-15T08:00:01.000000Z"),
            (1_799_999_999_000_010, "2027-01-15T07:59:59.000010Z"),
            (253_370_764_800_000_000, "9999-01-01T00:00:00.000000Z"),
            (u64::MAX, "9999-01-01T00:00:00.551615Z"),
        ] {
            pen.set(micros);
            assert_eq!(std::str::from_utf8(&pen.timestamp).unwrap(), text);
        }
    }
}
