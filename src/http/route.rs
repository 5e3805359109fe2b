//! The routes: one static table, matched on the raw path. What is odd is refused before matching, never normalised.

use http::Method;

use crate::upstream::Endpoint;

use super::dashboard::{PAGES, Page};

/// Who may call a route. Every route names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Authority {
    /// Anyone: it tells nothing about anyone.
    Anyone,
    /// Whoever brings a key.
    Bearer,
    /// Whoever brings an administrator's token, or is signed in.
    Operator,
    /// Anyone with a browser, before he is signed in.
    Visitor,
    /// Whoever is signed in.
    Member,
    /// Whoever is signed in as an administrator.
    Administrator,
}

/// What a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Health,
    Ready,
    Models,
    Model,
    Key,
    Relay(Endpoint),
    KeyRevoke,
    Admin,
    OpenApi,
    Asset,
    Page(Page),
}

#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: Method,
    /// A path; `{}` stands for one segment, a `*` at its end for the rest, slashes included.
    pub(super) pattern: &'static str,
    pub(super) authority: Authority,
    pub(super) target: Target,
}

pub(super) static ROUTES: [Route; 16] = [
    Route { method: Method::GET, pattern: "/healthz", authority: Authority::Anyone, target: Target::Health },
    Route { method: Method::GET, pattern: "/readyz", authority: Authority::Anyone, target: Target::Ready },
    Route {
        method: Method::GET,
        pattern: "/v1/models",
        authority: Authority::Bearer,
        target: Target::Models,
    },
    Route {
        method: Method::GET,
        pattern: "/v1/models/*",
        authority: Authority::Bearer,
        target: Target::Model,
    },
    Route { method: Method::GET, pattern: "/v1/key", authority: Authority::Bearer, target: Target::Key },
    relay("/v1/chat/completions", Endpoint::ChatCompletions),
    relay("/v1/completions", Endpoint::Completions),
    relay("/v1/embeddings", Endpoint::Embeddings),
    relay("/v1/responses", Endpoint::Responses),
    Route {
        method: Method::POST,
        pattern: "/v1/key/revoke",
        authority: Authority::Bearer,
        target: Target::KeyRevoke,
    },
    Route { method: Method::GET, pattern: "/assets/{}", authority: Authority::Anyone, target: Target::Asset },
    Route {
        method: Method::GET,
        pattern: "/admin/openapi.json",
        authority: Authority::Anyone,
        target: Target::OpenApi,
    },
    admin(Method::GET),
    admin(Method::POST),
    admin(Method::PATCH),
    admin(Method::DELETE),
];

/// The admin API has a table of its own.
const fn admin(method: Method) -> Route {
    Route { method, pattern: "/admin/v1/*", authority: Authority::Operator, target: Target::Admin }
}

const fn relay(pattern: &'static str, endpoint: Endpoint) -> Route {
    Route { method: Method::POST, pattern, authority: Authority::Bearer, target: Target::Relay(endpoint) }
}

/// Where a request leads.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// To a route; with what the `*` stands for.
    Route(&'static Route, &'a str),
    /// To a path that knows other methods: these.
    WrongMethod(&'static Route, &'static str),
    /// Nowhere.
    Nothing,
    /// The path can't be meant: empty segments, dots, escapes, bytes that paths don't have.
    Odd,
}

/// Whether a method and a raw path lead to a route: what finding one costs can be measured with it.
#[must_use]
pub fn is_route(method: &Method, path: &str) -> bool {
    matches!(find(method, path), Found::Route(..))
}

/// Finds the route for a method and a raw path. HEAD is GET without the body.
pub(super) fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    if is_odd(path) {
        return Found::Odd;
    }
    let wanted = if method == Method::HEAD { &Method::GET } else { method };
    // Most paths that are asked for stand in the table as they are.
    if let Some(route) = ROUTES.iter().find(|route| route.pattern == path && route.method == *wanted) {
        return Found::Route(route, "");
    }
    let mut there: Option<&'static Route> = None;
    let (mut reads, mut writes, mut is_admin) = (false, false, false);
    for route in ROUTES.iter().chain(&PAGES) {
        let Some(rest) = rest(route.pattern, path) else { continue };
        if route.method == *wanted {
            return Found::Route(route, rest);
        }
        there = there.or(Some(route));
        reads |= route.method == Method::GET;
        writes |= route.method == Method::POST;
        is_admin |= route.target == Target::Admin;
    }
    match (there, reads, writes) {
        (None, _, _) => Found::Nothing,
        (Some(route), _, _) if is_admin => Found::WrongMethod(route, "GET, HEAD, POST, PATCH, DELETE"),
        (Some(route), true, true) => Found::WrongMethod(route, "GET, HEAD, POST"),
        (Some(route), true, false) => Found::WrongMethod(route, "GET, HEAD"),
        (Some(route), false, _) => Found::WrongMethod(route, "POST"),
    }
}

/// What stands for `{}` or `*` when the path fits the pattern; empty where there is neither.
fn rest<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some(at) = memchr::memchr2(b'{', b'*', pattern.as_bytes()) else {
        return (pattern == path).then_some("");
    };
    let (start, wild) = pattern.split_at(at);
    let rest = path.strip_prefix(start)?;
    match wild.strip_prefix("{}") {
        None => (!rest.is_empty()).then_some(rest),
        Some(end) => {
            let segment = rest.strip_suffix(end)?;
            (!segment.is_empty() && !segment.contains('/')).then_some(segment)
        }
    }
}

/// A `%` is allowed only where names of models, keys and accounts may need it.
fn is_odd(path: &str) -> bool {
    let Some(segments) = path.strip_prefix('/') else { return true };
    let escapes = || path.starts_with("/v1/models/") || path.starts_with("/admin/v1/");
    let mut segment = 0;
    for (at, byte) in segments.bytes().enumerate() {
        if byte == b'/' {
            if is_odd_segment(&segments[segment..at]) {
                return true;
            }
            segment = at + 1;
        } else if !(PLAIN[usize::from(byte)] || (byte == b'%' && escapes())) {
            return true;
        }
    }
    path != "/" && is_odd_segment(&segments[segment..])
}

fn is_odd_segment(segment: &str) -> bool {
    matches!(segment, "" | "." | "..")
}

/// The bytes that stand for themselves in a segment.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        plain[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'+' | b',' | b'=');
        byte += 1;
    }
    plain
};

/// The name of a model behind `/v1/models/`, with its escapes undone once (RFC 3986, 2.1); none when they are broken.
pub(super) fn unescaped(rest: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.bytes();
    while let Some(byte) = left.next() {
        match byte {
            b'%' => {
                let digits = [left.next()?, left.next()?];
                let digits = std::str::from_utf8(&digits).ok().filter(|text| !text.starts_with('+'))?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(method: &Method, path: &str) -> Option<Target> {
        match find(method, path) {
            Found::Route(route, _) => Some(route.target),
            Found::WrongMethod(..) | Found::Nothing | Found::Odd => None,
        }
    }

    #[test]
    fn every_route_is_found_by_its_own_path_and_method() {
        for route in ROUTES.iter().chain(&PAGES) {
            let path = route.pattern.replace('*', "org/name").replace("{}", "one");
            assert_eq!(target(&route.method, &path), Some(route.target), "{path}");
            assert!(is_route(&route.method, &path), "{path}");
        }
        assert!(!is_route(&Method::GET, "/v1") && !is_route(&Method::PUT, "/v1/key"));
    }

    #[test]
    fn what_stands_for_a_part_of_a_pattern_is_that_part() {
        for (path, part) in [
            ("/v1/models", ""),
            ("/v1/models/a", "a"),
            ("/v1/models/org/name%20x", "org/name%20x"),
            ("/assets/style.css", "style.css"),
            ("/admin/v1/keys/key_1/rotate", "keys/key_1/rotate"),
        ] {
            assert!(matches!(find(&Method::GET, path), Found::Route(_, found) if found == part), "{path}");
        }
        assert!(matches!(find(&Method::GET, "/assets/a/b"), Found::Nothing));
    }

    #[test]
    fn everything_under_v1_takes_a_key_and_nothing_else_does() {
        for route in ROUTES.iter().chain(&PAGES) {
            assert_eq!(
                route.authority == Authority::Bearer,
                route.pattern.starts_with("/v1"),
                "{}",
                route.pattern
            );
        }
    }

    #[test]
    fn what_lies_below_the_dashboard_is_for_those_who_are_signed_in() {
        for route in &PAGES {
            let is_inner = route.pattern.starts_with("/dashboard");
            let is_for_all = route.authority == Authority::Visitor;
            assert!(is_inner != is_for_all || route.pattern == "/sign-out", "{}", route.pattern);
        }
    }

    #[test]
    fn head_is_get_and_others_are_told_what_is_allowed() {
        assert_eq!(target(&Method::HEAD, "/v1/models"), Some(Target::Models));
        assert!(matches!(find(&Method::GET, "/v1/chat/completions"), Found::WrongMethod(_, "POST")));
        assert!(matches!(find(&Method::DELETE, "/v1/models/a"), Found::WrongMethod(_, "GET, HEAD")));
        assert!(matches!(find(&Method::PATCH, "/sign-in"), Found::WrongMethod(_, "GET, HEAD, POST")));
        let admin = "GET, HEAD, POST, PATCH, DELETE";
        assert!(matches!(find(&Method::PUT, "/admin/v1/keys"), Found::WrongMethod(_, all) if all == admin));
        let lower = Method::from_bytes(b"get").unwrap();
        assert!(matches!(find(&lower, "/v1/models"), Found::WrongMethod(..)));
    }

    #[test]
    fn odd_paths_are_refused_and_never_made_right() {
        for path in [
            "",
            "*",
            "v1/models",
            "//v1/models",
            "/v1//models",
            "/v1/./models",
            "/v1/../v1/models",
            "/v1/models/",
            "/v1/models/..",
            "/v1/models/a//b",
            "/v1/%6dodels",
            "/%76%31/models",
            "/v1/models;x",
            "/v1\\models",
            "/healthz/",
            "/healthz%00",
            "/v1/models/a\u{e9}",
            "/dashboard/",
            "/dashboard/keys/%6eew",
            "/sign-in/",
        ] {
            assert!(matches!(find(&Method::GET, path), Found::Odd), "{path}");
        }
        for path in ["/V1/models", "/v1", "/v1/modelsx", "/healthzz", "/v1/chat/completions/x"] {
            assert!(matches!(find(&Method::GET, path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn names_of_models_may_have_slashes_plain_or_escaped() {
        assert_eq!(unescaped("org/name").as_deref(), Some("org/name"));
        assert_eq!(unescaped("org%2Fname").as_deref(), Some("org/name"));
        assert_eq!(unescaped("org%2fname%3A1").as_deref(), Some("org/name:1"));
        for broken in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(unescaped(broken), None, "{broken}");
        }
    }
}
