//! What callers are told of their limits in headers. Never: what the limits are.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

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

/// Says what is left (OpenAI's `x-ratelimit-*`), where there is a limit.
pub(super) fn tell(allowances: Allowances, headers: &mut HeaderMap) {
    let both = [allowances.requests, allowances.tokens];
    if both.iter().all(Option::is_none) {
        return;
    }
    // All values are parts of one text: one allocation, not six.
    let mut text = Vec::with_capacity(TEXT_BYTES);
    let mut write = |Allowance { max, left, reset }| {
        number(max, &mut text);
        let max = text.len();
        number(left, &mut text);
        let left = text.len();
        if let Some(reset) = reset {
            write_span(reset, &mut text);
        }
        [max, left, text.len()]
    };
    let ends = both.map(|allowance| allowance.map(&mut write));
    let text = Bytes::from(text);
    let mut begin = 0;
    for (names, ends) in NAMES.iter().zip(ends) {
        let Some(ends) = ends else { continue };
        for (name, end) in names.iter().zip(ends) {
            let value = std::mem::replace(&mut begin, end)..end;
            if !value.is_empty()
                && let Ok(value) = HeaderValue::from_maybe_shared(text.slice(value))
            {
                headers.insert(name, value);
            }
        }
    }
}

fn number(number: u64, to: &mut Vec<u8>) {
    to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A time as OpenAI writes it: `12ms`, `1.5s`, `6m0s`, `23h59m59s`. Rounded up, so that it is not too early.
pub(super) fn span(time: Duration) -> String {
    let mut text = Vec::new();
    write_span(time, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn write_span(time: Duration, to: &mut Vec<u8>) {
    let part = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    let millis = time.as_secs().saturating_mul(1000).saturating_add(part);
    let (seconds, rest) = (millis / 1000, millis % 1000);
    match seconds {
        0 => {
            number(millis, to);
            to.extend_from_slice(b"ms");
        }
        1..60 => {
            number(seconds, to);
            if rest > 0 {
                let digits = [rest / 100, rest / 10 % 10, rest % 10];
                let shown = digits.iter().rposition(|digit| *digit > 0).map_or(0, |last| last + 1);
                to.push(b'.');
                to.extend(digits[..shown].iter().map(|digit| b'0' + *digit as u8));
            }
            to.push(b's');
        }
        _ => {
            let seconds = millis.div_ceil(1000);
            if seconds >= 3600 {
                number(seconds / 3600, to);
                to.push(b'h');
            }
            number(seconds / 60 % 60, to);
            to.push(b'm');
            number(seconds % 60, to);
            to.push(b's');
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
    fn only_what_is_limited_is_told_and_each_under_its_name() {
        let told = |requests, tokens| {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-limit-tokens", HeaderValue::from_static("a model server's"));
            tell(Allowances { requests, tokens }, &mut headers);
            let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_string());
            NAMES.clone().map(|names| names.map(|name| text(name.as_str())))
        };
        let some = |values: [&str; 3]| values.map(|value| Some(value.to_string()));
        let allowance = |max, left, reset| Some(Allowance { max, left, reset });
        let most = allowance(u64::MAX, u64::MAX, Some(Duration::MAX));
        let longest = "5124095576030h25m52s";
        assert_eq!(
            told(most, allowance(40, 0, Some(Duration::from_secs(61)))),
            [some(["18446744073709551615", "18446744073709551615", longest]), some(["40", "0", "1m1s"])]
        );
        let server = Some("a model server's".to_string());
        assert_eq!(
            told(allowance(7, 6, None), None),
            [[Some("7".to_string()), Some("6".to_string()), None], [server.clone(), None, None]]
        );
        assert_eq!(
            told(None, allowance(2, 1, Some(Duration::ZERO))),
            [[None, None, None], some(["2", "1", "0ms"])]
        );
        assert_eq!(told(None, None), [[None, None, None], [server, None, None]]);
    }
}
