//! What callers are told of their limits in headers. Never: what the limits are.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::gate::{Allowance, Allowances};

static NAMES: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("x-ratelimit-limit-requests"),
        HeaderName::from_static("x-ratelimit-remaining-requests"),
        HeaderName::from_static("x-ratelimit-reset-requests"),
    ],
    [
        HeaderName::from_static("x-ratelimit-limit-tokens"),
        HeaderName::from_static("x-ratelimit-remaining-tokens"),
        HeaderName::from_static("x-ratelimit-reset-tokens"),
    ],
];

/// The texts of all values: numbers of twenty digits, and spans of 23 characters.
const TEXT_BYTES: usize = 2 * (20 + 20 + 23);

/// The names of what is told (OpenAI's `x-ratelimit-*`), in their order, where there is a limit of requests and one of
/// tokens.
pub(super) fn names(is_limited: [bool; 2]) -> impl Iterator<Item = HeaderName> {
    let limited = NAMES.iter().zip(is_limited).filter(|(_, is_limited)| *is_limited);
    limited.flat_map(|(names, _)| names.iter().cloned())
}

/// Says what is left, in the places of those names.
pub(super) fn fill<'a>(allowances: Allowances, mut places: impl Iterator<Item = &'a mut HeaderValue>) {
    let both = [allowances.requests, allowances.tokens];
    let count = 3 * both.iter().flatten().count();
    if count == 0 {
        return;
    }
    let mut text = Text { bytes: [0; TEXT_BYTES], length: 0 };
    let mut ends = [0; 6];
    for (ends, Allowance { max, left, reset }) in ends.chunks_exact_mut(3).zip(both.into_iter().flatten()) {
        text.number(max);
        ends[0] = text.length;
        text.number(left);
        ends[1] = text.length;
        if let Some(reset) = reset {
            text.span(reset);
        }
        ends[2] = text.length;
    }
    // All values are parts of one text: one allocation, not six.
    let mut text = Bytes::from_owner(text.bytes);
    let mut begin = 0;
    for end in ends.into_iter().take(count) {
        let value = text.split_to(end - std::mem::replace(&mut begin, end));
        if let (Some(place), Ok(value)) = (places.next(), HeaderValue::from_maybe_shared(value)) {
            *place = value;
        }
    }
}

/// The names of what can't be told although there is a limit: what never comes back has no time for it.
pub(super) fn untold(allowances: Allowances) -> impl Iterator<Item = &'static HeaderName> {
    let both = NAMES.iter().zip([allowances.requests, allowances.tokens]);
    both.filter(|(_, allowance)| allowance.is_some_and(|allowance| allowance.reset.is_none()))
        .map(|([_, _, reset], _)| reset)
}

/// A time as OpenAI writes it: `12ms`, `1.5s`, `6m0s`, `23h59m59s`. Rounded up, so that it is not too early.
pub(super) fn span(time: Duration) -> String {
    let mut text = Text { bytes: [0; TEXT_BYTES], length: 0 };
    text.span(time);
    String::from_utf8_lossy(&text.bytes[..text.length]).into_owned()
}

struct Text {
    bytes: [u8; TEXT_BYTES],
    length: usize,
}

impl Text {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.length..][..part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    fn span(&mut self, time: Duration) {
        let part = u64::from(time.subsec_nanos().div_ceil(1_000_000));
        let millis = time.as_secs().saturating_mul(1000).saturating_add(part);
        let (seconds, rest) = (millis / 1000, millis % 1000);
        match seconds {
            0 => {
                self.number(millis);
                self.put(b"ms");
            }
            1..60 => {
                self.number(seconds);
                if rest > 0 {
                    let digits = [rest / 100, rest / 10 % 10, rest % 10];
                    let shown = digits.iter().rposition(|digit| *digit > 0).map_or(0, |last| last + 1);
                    self.put(b".");
                    self.put(&digits.map(|digit| b'0' + digit as u8)[..shown]);
                }
                self.put(b"s");
            }
            _ => {
                let seconds = millis.div_ceil(1000);
                if seconds >= 3600 {
                    self.number(seconds / 3600);
                    self.put(b"h");
                }
                self.number(seconds / 60 % 60);
                self.put(b"m");
                self.number(seconds % 60);
                self.put(b"s");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_writes_them() {
        for (millis, text) in [
            (0, "0ms"),
            (12, "12ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (1001, "1.001s"),
            (1020, "1.02s"),
            (1120, "1.12s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (360_001, "6m1s"),
            (3_599_999, "1h0m0s"),
            (86_399_000, "23h59m59s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_nanos(1)), "1ms");
    }

    #[test]
    fn only_what_is_limited_is_told_and_each_in_its_place() {
        let told = |requests, tokens| {
            let allowances = Allowances { requests, tokens };
            let names: Vec<_> = names([requests.is_some(), tokens.is_some()]).collect();
            let mut values = vec![HeaderValue::from_static(""); names.len()];
            fill(allowances, values.iter_mut());
            let untold: Vec<_> = untold(allowances).collect();
            let pairs = names.iter().zip(&values).filter(|(name, _)| !untold.contains(name));
            let pair =
                |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
            pairs.map(pair).collect::<Vec<_>>()
        };
        let allowance = |max, left, reset| Some(Allowance { max, left, reset });
        let most = allowance(u64::MAX, u64::MAX, Some(Duration::MAX));
        assert_eq!(
            told(most, allowance(40, 0, Some(Duration::from_secs(61)))),
            [
                "x-ratelimit-limit-requests: 18446744073709551615",
                "x-ratelimit-remaining-requests: 18446744073709551615",
                "x-ratelimit-reset-requests: 5124095576030h25m52s",
                "x-ratelimit-limit-tokens: 40",
                "x-ratelimit-remaining-tokens: 0",
                "x-ratelimit-reset-tokens: 1m1s",
            ]
        );
        let requests = ["x-ratelimit-limit-requests: 7", "x-ratelimit-remaining-requests: 6"];
        assert_eq!(told(allowance(7, 6, None), None), requests);
        let tokens = ["x-ratelimit-limit-tokens: 2", "x-ratelimit-remaining-tokens: 1"];
        let both = [&requests[..], &tokens, &["x-ratelimit-reset-tokens: 0ms"]].concat();
        assert_eq!(told(allowance(7, 6, None), allowance(2, 1, Some(Duration::ZERO))), both);
        assert_eq!(told(None, allowance(2, 1, None)), tokens);
        assert!(told(None, None).is_empty());
    }
}
