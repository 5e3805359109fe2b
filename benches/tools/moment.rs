//! The clock that all programs of a machine share, so that one can stamp what another reads.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Digits of a stamp as text.
pub(crate) const STAMP_DIGITS: usize = 20;

/// CLOCK_MONOTONIC, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A length in nanoseconds.
pub(crate) fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes a moment over `STAMP_DIGITS` bytes.
pub(crate) fn stamp(mut moment: u64, over: &mut [u8]) {
    for digit in over.iter_mut().rev() {
        *digit = b'0' + (moment % 10) as u8;
        moment /= 10;
    }
}

/// The number that a text begins with; 0 where it begins with none.
pub(crate) fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}
