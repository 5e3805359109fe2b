//! What the fuzzer holds the public door to: its routes, and the key that a request brings. Never: heads byte by byte
//! (`framing` has its own), commands.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};

use super::admin;
use super::dashboard::PAGES;
use super::request::{Noted, request_id};
use super::route::{Authority, Found, ROUTES, Route, find, unescaped};
use crate::types::{Key, Random, RandomUnavailable, Timestamp};

pub use super::framing::fuzz::head;

const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PATCH,
    Method::DELETE,
    Method::PUT,
    Method::OPTIONS,
    Method::CONNECT,
];

/// Panics unless a method (by the first byte) and a path lead where the table of routes says, byte for byte: what is odd is
/// refused, and nothing that some other reader takes for a path under /v1 reaches a handler without a key (law 1).
pub fn router(bytes: &[u8]) {
    let Some((number, path)) = bytes.split_first() else { return };
    let method = &METHODS[usize::from(*number) % METHODS.len()];
    if let Ok(path) = std::str::from_utf8(path) {
        routed(method, path);
    }
    if let Ok(uri) = Uri::try_from(path) {
        routed(method, uri.path());
    }
}

fn routed(method: &Method, path: &str) {
    let found = find(method, path);
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    let there: Vec<&Route> = ROUTES.iter().chain(&PAGES).filter(|route| fits(route.pattern, path)).collect();
    let first = there.iter().find(|route| route.method == wanted);
    match (found, first) {
        (Found::Odd, _) => assert!(!is_plain(path), "refused for nothing: {path:?}"),
        _ if !is_plain(path) => panic!("not refused: {path:?}"),
        (Found::Route(route, rest), Some(first)) => {
            assert!(std::ptr::eq(route, *first), "another route: {path:?}");
            assert_eq!(route.pattern.replace("{}", rest).replace('*', rest), path, "another rest");
            guarded(route, path);
            assert_eq!(unescaped(rest), admin::fuzz::unescaped(rest), "escapes are undone in one way");
        }
        (Found::WrongMethod(route, allow), None) => {
            assert!(there.iter().any(|one| std::ptr::eq(*one, route)), "not among those there: {path:?}");
            assert_eq!(allow, allowed(&there), "{path:?}");
        }
        (Found::Nothing, None) => assert!(there.is_empty(), "not found: {path:?}"),
        (found, first) => panic!("{method} {path:?}: {found:?}, not {first:?}"),
    }
}

/// Keys are for what is under /v1 and for nothing else, however others would read the path.
fn guarded(route: &Route, path: &str) {
    assert_eq!(route.authority == Authority::Bearer, path.starts_with("/v1/"), "{path:?}");
    if matches!(route.authority, Authority::Anyone | Authority::Visitor) {
        let lenient = made_right(path);
        assert!(!lenient.starts_with("/v1/") && lenient != "/v1", "{path:?} is {lenient:?} to others");
    }
}

/// A path as the most helpful of servers would read it.
fn made_right(path: &str) -> String {
    let mut path = path.to_string();
    for _ in 0..3 {
        path = String::from_utf8_lossy(&percent_decoded(path.as_bytes())).into_owned();
    }
    let path = path.to_ascii_lowercase().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) if *byte == b'%' => {
                decoded.push(escaped);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// Whether a path is one that may be meant: not odd.
fn is_plain(path: &str) -> bool {
    let takes_escapes = ["/v1/models/", "/admin/v1/"].iter().any(|start| path.starts_with(start));
    let is_known =
        |c: char| c.is_ascii_alphanumeric() || "-._~:@+,=".contains(c) || (c == '%' && takes_escapes);
    let is_segment = |segment: &str| !["", ".", ".."].contains(&segment) && segment.chars().all(is_known);
    path == "/" || path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_segment))
}

/// Whether a path is what a pattern says, segment by segment.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    let is_open = pattern.last() == Some(&"*");
    let fixed = if is_open { pattern.len() - 1 } else { pattern.len() };
    let is_long = if is_open { path.len() > fixed } else { path.len() == fixed };
    let alike = |(one, other): (&&str, &&str)| one == other || (*one == "{}" && !other.is_empty());
    is_long && pattern[..fixed].iter().zip(&path).all(alike)
}

fn allowed(there: &[&Route]) -> String {
    let has = |method: &Method| there.iter().any(|route| route.method == method);
    let all = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];
    let names = all.iter().filter(|method| has(method)).map(Method::as_str);
    names.collect::<Vec<_>>().join(", ").replace("GET", "GET, HEAD")
}

/// Panics unless the value of an Authorization header is read for what RFC 9110 has in it, and its key as documented. By
/// the first byte the value gets the scheme put before it, and the key's checksum behind it.
pub fn bearer(bytes: &[u8]) {
    let Some((how, text)) = bytes.split_first() else { return };
    let text = if how & 1 == 0 { text.to_vec() } else { crate::types::fuzz::with_checksum(text) };
    crate::types::fuzz::key(&text);
    let scheme = if how & 2 == 0 { &b""[..] } else { b"Bearer " };
    let Ok(value) = HeaderValue::from_bytes(&[scheme, &text].concat()) else { return };
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, value.clone())]);
    let noted = Noted::read(&headers).bearer().ok().flatten();
    let scheme = value.as_bytes().get(..7).filter(|word| word.eq_ignore_ascii_case(b"bearer "));
    let wanted = scheme.map(|_| value.as_bytes()[7..].trim_ascii());
    assert_eq!(noted, wanted, "what stands behind the scheme");
    wanted.into_iter().for_each(crate::types::fuzz::key);
    named(&value);
    headers.append(AUTHORIZATION, value);
    assert!(Noted::read(&headers).bearer().is_err(), "two headers are refused whatever they hold");
}

/// A caller's id for his request is logged and sent on, so no key may be in it.
fn named(value: &HeaderValue) {
    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            bytes.fill(7);
            Ok(())
        }
    }
    let headers = HeaderMap::from_iter([(super::request::REQUEST_ID, value.clone())]);
    let id = request_id(&headers, Timestamp::default(), &Sevens);
    assert!(!Key::may_be_among(id.as_bytes()) && (1..=128).contains(&id.len()));
    assert!(id.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)));
}
