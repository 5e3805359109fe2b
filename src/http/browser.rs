//! Requests that browsers make under /v1: what tells them, which may pass, and the headers of CORS (the Fetch standard,
//! 3.3) for the origins that the operator named. Never: whose key it is.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::answer::Content;
use super::draft::Draft;
use super::request::Noted;
use super::route::{Authority, Found};

/// The origins whose pages may use keys that allow it: scheme, host and port, as browsers write them.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<HeaderValue>);

/// What a page may read of an answer, beside what it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, \
     x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens, retry-after, \
     retry-after-ms, x-should-retry, openai-processing-ms, x-ember-warning",
);
/// What a page may send that does not say what it wants to send.
const USUAL_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// How long a browser may remember a preflight's answer.
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");
const VARY_BY: HeaderValue = HeaderValue::from_static("origin");
const VARY_BY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
/// The longest list of headers that a preflight is answered with.
const ASKED_BYTES_MAX: usize = 2048;

/// Whether a browser made the request. Node's own fetch sends `sec-fetch-mode`, and is none.
pub(super) fn made(noted: &Noted<'_>) -> bool {
    noted.origin().is_some() || noted.is_fetched()
}

/// What CORS has to say about one request.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    /// The request's origin, if it is one of those that were named.
    allowed: Option<HeaderValue>,
    /// Whether the answer depends on the origin.
    varies: bool,
}

impl Origins {
    /// From texts that were found to be origins.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect())
    }

    /// What holds for a request to this path.
    pub(super) fn cors(&self, path: &str, headers: &HeaderMap) -> Cors {
        if self.0.is_empty() || !(path == "/v1" || path.starts_with("/v1/")) {
            return Cors::default();
        }
        let mut named = headers.get_all(ORIGIN).iter();
        let first = named.next().filter(|origin| self.0.contains(origin));
        let allowed = if named.next().is_some() { None } else { first.cloned() };
        Cors { allowed, varies: true }
    }
}

impl Cors {
    /// Whether the request comes from an origin that was named.
    pub(super) const fn is_allowed(&self) -> bool {
        self.allowed.is_some()
    }

    /// The answer to a preflight: it carries no key, asks about a route that takes one, and does nothing.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap, found: &Found<'_>) -> Option<Draft> {
        let Found::WrongMethod(route, methods) = found else { return None };
        let is_one = *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_one || !self.is_allowed() || route.authority != Authority::Bearer {
            return None;
        }
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked_headers(headers));
        answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        answer.insert(VARY, VARY_BY_PREFLIGHT);
        Some(Draft::new(StatusCode::NO_CONTENT, answer, Content::Full(bytes::Bytes::new())))
    }

    /// Lets the page that asked read the answer, whatever it is.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        if self.varies && !headers.contains_key(VARY) {
            headers.insert(VARY, VARY_BY);
        }
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The names that the preflight asks for, if they are names. Which headers have an effect is decided when they come.
fn asked_headers(headers: &HeaderMap) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_, ".contains(byte);
    let mut asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    match (asked.next(), asked.next()) {
        (Some(names), None)
            if !names.is_empty() && names.len() <= ASKED_BYTES_MAX && names.as_bytes().iter().all(plain) =>
        {
            names.clone()
        }
        _ => USUAL_HEADERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn browsers_are_told_by_what_only_they_send() {
        for browser in [
            &[("origin", "https://a.test")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-dest", "empty"), ("sec-fetch-mode", "cors")],
        ] {
            assert!(made(&Noted::read(&headers(browser))), "{browser:?}");
        }
        for program in
            [&[][..], &[("sec-fetch-mode", "cors"), ("user-agent", "node"), ("accept-language", "*")]]
        {
            assert!(!made(&Noted::read(&headers(program))), "{program:?}");
        }
    }

    #[test]
    fn only_the_very_origin_that_was_named_is_allowed_and_only_under_v1() {
        let origins = Origins::new(&["https://app.test".to_string(), "http://localhost:3000".to_string()]);
        let is_allowed =
            |path: &str, pairs: &[(&'static str, &str)]| origins.cors(path, &headers(pairs)).is_allowed();
        for origin in ["https://app.test", "http://localhost:3000"] {
            assert!(is_allowed("/v1/models", &[("origin", origin)]), "{origin}");
            assert!(!is_allowed("/admin/v1/keys", &[("origin", origin)]), "{origin}");
        }
        for origin in [
            "null",
            "*",
            "",
            "http://app.test",
            "https://app.test:8443",
            "https://app.test.evil.test",
            "https://app.test/",
            "https://evil-app.test",
            "https://app.test https://app.test",
        ] {
            assert!(!is_allowed("/v1/models", &[("origin", origin)]), "{origin}");
        }
        let twice = [("origin", "https://app.test"), ("origin", "https://evil.test")];
        assert!(!is_allowed("/v1/models", &twice));
        let nobody = Origins::default();
        assert!(!nobody.cors("/v1/models", &headers(&[("origin", "https://app.test")])).is_allowed());
    }

    #[test]
    fn law_1_a_preflight_is_about_a_route_that_takes_keys_and_nothing_else() {
        let origins = Origins::new(&["https://app.test".to_string()]);
        let asks = [("origin", "https://app.test"), ("access-control-request-method", "POST")];
        let answer = |method: Method, path: &str, pairs: &[(&'static str, &str)]| {
            let headers = headers(pairs);
            origins.cors(path, &headers).preflight(&method, &headers, &route::find(&method, path))
        };
        let draft = answer(Method::OPTIONS, "/v1/chat/completions", &asks).unwrap();
        assert_eq!(draft.status.as_u16(), 204);
        assert_eq!(draft.headers[ACCESS_CONTROL_ALLOW_METHODS], "POST");
        for (method, path, pairs) in [
            (Method::OPTIONS, "/v1/nothing", &asks[..]),
            (Method::OPTIONS, "/v1//models", &asks),
            (Method::OPTIONS, "/healthz", &asks),
            (Method::OPTIONS, "/admin/v1/keys", &asks),
            (Method::OPTIONS, "/v1/models", &asks[..1]),
            (Method::OPTIONS, "/v1/models", &asks[1..]),
            (Method::POST, "/v1/models", &asks),
            (Method::GET, "/v1/models", &asks),
        ] {
            assert!(answer(method.clone(), path, pairs).is_none(), "{method} {path} {pairs:?}");
        }
    }
}
