//! The cookies: a session's secret, a visitor's, the theme. Never: what is behind a session.

use cookie::{Cookie, SameSite};
use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// What a cookie is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Jar {
    /// The session's ticket.
    Session,
    /// A random text that forms are tied to before anyone is signed in.
    Visitor,
    /// auto, light or dark.
    Theme,
}

impl Jar {
    /// Over HTTPS the prefix keeps other hosts and plain HTTP from setting it (RFC 6265bis, 4.1.3.2). Plain HTTP, which is
    /// for the machine itself, can't have that.
    const fn name(self, is_secure: bool) -> &'static str {
        match (self, is_secure) {
            (Self::Session, true) => "__Host-ember_session",
            (Self::Session, false) => "ember_session",
            (Self::Visitor, true) => "__Host-ember_visitor",
            (Self::Visitor, false) => "ember_visitor",
            (Self::Theme, true) => "__Host-ember_theme",
            (Self::Theme, false) => "ember_theme",
        }
    }

    /// The value that a request brings; none where it brings two.
    pub(in crate::http) fn read(self, headers: &HeaderMap, is_secure: bool) -> Option<String> {
        // Other services on the host may have cookies of any bytes; only plain text is looked at, since what a parser
        // takes for space around a name could hide one.
        let parts =
            headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let plain = parts.filter(|part| part.is_ascii()).filter_map(|part| std::str::from_utf8(part).ok());
        let cookies = plain.filter_map(|part| Cookie::parse(part).ok());
        let mut named = cookies.filter(|cookie| cookie.name() == self.name(is_secure));
        let first = named.next()?;
        if named.next().is_some() { None } else { Some(first.value().to_string()) }
    }

    /// The header that sets it, until the browser is closed; the theme for a year.
    pub(in crate::http) fn set(self, value: &str, is_secure: bool) -> Option<HeaderValue> {
        let mut cookie = self.plain(value, is_secure);
        if self == Self::Theme {
            cookie.set_max_age(cookie::time::Duration::days(365));
        }
        HeaderValue::from_str(&cookie.to_string()).ok()
    }

    /// The header that takes it away.
    pub(in crate::http) fn clear(self, is_secure: bool) -> Option<HeaderValue> {
        let mut cookie = self.plain("", is_secure);
        cookie.set_max_age(cookie::time::Duration::ZERO);
        HeaderValue::from_str(&cookie.to_string()).ok()
    }

    fn plain(self, value: &str, is_secure: bool) -> Cookie<'static> {
        Cookie::build((self.name(is_secure), value.to_string()))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(is_secure)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_https_a_cookie_is_bound_to_the_host() {
        let set = Jar::Session.set("abc", true).unwrap();
        assert_eq!(set, "__Host-ember_session=abc; HttpOnly; SameSite=Lax; Secure; Path=/");
        let set = Jar::Session.set("abc", false).unwrap();
        assert_eq!(set, "ember_session=abc; HttpOnly; SameSite=Lax; Path=/");
    }

    #[test]
    fn one_cookie_is_read_and_two_are_none() {
        let headers = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            Jar::Session.read(&headers, false)
        };
        assert_eq!(headers(&["a=b; ember_session=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(headers(&["a=b", "ember_session=x"]).as_deref(), Some("x"));
        assert_eq!(headers(&["ember_session=x; ember_session=y"]), None);
        assert_eq!(headers(&["__Host-ember_session=x"]), None);
        assert_eq!(headers(&["lang=fran\u{e7}ais; ember_session=x"]).as_deref(), Some("x"));
        assert_eq!(headers(&["\u{2003}ember_session=y"]), None, "space that is none");
    }
}
