//! The headers that every answer of a kind has, kept ready in their order: an answer gets a copy, whose values are filled
//! in. To hash each name and find a place for it for each answer takes five times as long.
//! Never: what the values say.

use std::sync::LazyLock;

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::Allowances;

use super::{allowance, request};

pub(super) const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");
/// What every answer has, and what is filled in last.
const SEAL: [HeaderName; 2] = [request::REQUEST_ID, PROCESSING_MS];
/// Stands where a value will.
const BLANK: HeaderValue = HeaderValue::from_static("");

/// Places for that many at least in the index, which a copy has too: hyper keeps an answer's map for the next request.
const PLACES: usize = 6;
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

static BARE: LazyLock<HeaderMap> = LazyLock::new(|| ready([]));
static UNAUTHORIZED: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = ready([]);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    headers
});
/// By what there is a limit of.
static TYPED: LazyLock<[HeaderMap; 4]> = LazyLock::new(|| {
    [[false, false], [true, false], [false, true], [true, true]].map(|is_limited| {
        let limits = allowance::names(is_limited);
        ready([CONTENT_TYPE].into_iter().chain(limits))
    })
});

fn ready(names: impl IntoIterator<Item = HeaderName>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(PLACES);
    headers.extend(SEAL.into_iter().chain(names).map(|name| (name, BLANK)));
    headers
}

/// Those of an answer that has others of its own.
pub(super) fn bare() -> HeaderMap {
    BARE.clone()
}

/// Those of an answer to whoever brings no good key.
pub(super) fn unauthorized() -> HeaderMap {
    UNAUTHORIZED.clone()
}

/// Those of an answer of such a type, with what its caller is told of limits.
pub(super) fn of(media_type: Option<HeaderValue>, allowances: Allowances) -> HeaderMap {
    let is_limited = [allowances.requests.is_some(), allowances.tokens.is_some()];
    let mut headers = TYPED[usize::from(is_limited[0]) + 2 * usize::from(is_limited[1])].clone();
    let mut places = headers.values_mut().skip(SEAL.len());
    let is_typed = media_type.is_some();
    put(places.next(), media_type);
    allowance::fill(allowances, places);
    if !is_typed {
        headers.remove(CONTENT_TYPE);
    }
    for name in allowance::untold(allowances) {
        headers.remove(name);
    }
    headers
}

/// Fills in what every answer has. `headers` are of this file, and have at most got others since.
pub(super) fn seal(headers: &mut HeaderMap, id: HeaderValue, processing_ms: Option<HeaderValue>) {
    let is_timed = processing_ms.is_some();
    let mut places = headers.values_mut();
    put(places.next(), Some(id));
    put(places.next(), processing_ms);
    if !is_timed {
        headers.remove(PROCESSING_MS);
    }
}

fn put(place: Option<&mut HeaderValue>, value: Option<HeaderValue>) {
    if let (Some(place), Some(value)) = (place, value) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::Allowance;

    fn sealed(mut headers: HeaderMap, processing_ms: Option<&'static str>) -> Vec<(String, String)> {
        headers.append("retry-after", HeaderValue::from_static("1"));
        seal(&mut headers, HeaderValue::from_static("req_1"), processing_ms.map(HeaderValue::from_static));
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_string()))
            .collect();
        all.sort();
        all
    }

    fn with<'a>(others: &[(&'a str, &'a str)]) -> Vec<(String, String)> {
        let usual = [("retry-after", "1"), ("x-request-id", "req_1")];
        let mut all: Vec<_> =
            usual.iter().chain(others).map(|(n, v)| (n.to_string(), v.to_string())).collect();
        all.sort();
        all
    }

    #[test]
    fn each_value_stands_under_its_name_and_nothing_is_left_blank() {
        let json = Some(HeaderValue::from_static("application/json"));
        let typed = ("content-type", "application/json");
        let timed = ("openai-processing-ms", "7");
        assert_eq!(sealed(bare(), Some("7")), with(&[timed]));
        assert_eq!(sealed(bare(), None), with(&[]));
        assert_eq!(sealed(unauthorized(), Some("7")), with(&[typed, timed, ("www-authenticate", "Bearer")]));
        assert_eq!(sealed(of(json.clone(), Allowances::default()), Some("7")), with(&[typed, timed]));
        assert_eq!(sealed(of(None, Allowances::default()), None), with(&[]));
        let requests = [
            ("x-ratelimit-limit-requests", "3"),
            ("x-ratelimit-remaining-requests", "2"),
            ("x-ratelimit-reset-requests", "1s"),
        ];
        let tokens = [("x-ratelimit-limit-tokens", "5"), ("x-ratelimit-remaining-tokens", "4")];
        let allowances = Allowances {
            requests: Some(Allowance { max: 3, left: 2, reset: Some(Duration::from_secs(1)) }),
            tokens: Some(Allowance { max: 5, left: 4, reset: None }),
        };
        let both = [&requests[..], &tokens, &[typed, timed]].concat();
        assert_eq!(sealed(of(json.clone(), allowances), Some("7")), with(&both));
        assert_eq!(sealed(of(None, allowances), None), with(&[&requests[..], &tokens].concat()));
        let some = Allowances { tokens: None, ..allowances };
        assert_eq!(sealed(of(json.clone(), some), None), with(&[&requests[..], &[typed]].concat()));
        let some = Allowances { requests: None, ..allowances };
        assert_eq!(sealed(of(json, some), None), with(&[&tokens[..], &[typed]].concat()));
    }
}
