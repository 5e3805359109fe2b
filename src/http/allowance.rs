//! What callers are told of their limits in headers. Never: what the limits are.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::{Allowance, Allowances};

const NAMES: [[HeaderName; 3]; 2] = [
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

/// Says what is left (OpenAI's `x-ratelimit-*`), where there is a limit.
pub(super) fn tell(allowances: Allowances, headers: &mut HeaderMap) {
    for (names, allowance) in NAMES.iter().zip([allowances.requests, allowances.tokens]) {
        let Some(Allowance { max, left, reset }) = allowance else { continue };
        let [limit, remaining, resets] = names;
        headers.insert(limit, HeaderValue::from(max));
        headers.insert(remaining, HeaderValue::from(left));
        let reset = reset.and_then(|reset| HeaderValue::from_str(&span(reset)).ok());
        headers.extend(reset.map(|reset| (resets.clone(), reset)));
    }
}

/// A time as OpenAI writes it: `12ms`, `1.5s`, `6m0s`, `23h59m59s`. Rounded up, so that it is not too early.
pub(super) fn span(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (seconds, rest) = (millis / 1000, millis % 1000);
    match seconds {
        0 => format!("{millis}ms"),
        1..60 if rest == 0 => format!("{seconds}s"),
        1..60 => format!("{seconds}.{}s", format!("{rest:03}").trim_end_matches('0')),
        _ => {
            let seconds = millis.div_ceil(1000);
            let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            if hours == 0 { format!("{minutes}m{seconds}s") } else { format!("{hours}h{minutes}m{seconds}s") }
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
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (360_001, "6m1s"),
            (86_399_000, "23h59m59s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_nanos(1)), "1ms");
    }
}
