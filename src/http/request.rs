//! What a request's head must be like before anything is done with it, and the key it brings. Never: whether the
//! key is good.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Version};

use crate::types::{Key, Random, RequestId, Timestamp};

use super::Limits;
use super::error::ApiError;
use super::pulse::OpenRequest;

/// The caller's, the answer's and the model server's.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The caller's request id where it is usable, else a new one.
pub(super) fn request_id(headers: &HeaderMap, now: Timestamp, random: &dyn Random) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let text = value.as_bytes();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let usable = (1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.iter().all(plain);
        // An id is logged and sent on; a key, put there by mistake, must not be.
        usable && std::str::from_utf8(text).is_ok_and(|text| !Key::may_be_in(text))
    };
    headers.get(&REQUEST_ID).filter(usable).cloned().unwrap_or_else(|| {
        let made = RequestId::generate(now, random).ok().map(|id| id.text());
        // Without random bytes requests still get answers; they only can't be told apart.
        made.and_then(|id| HeaderValue::from_maybe_shared(bytes::Bytes::from_owner(id)).ok())
            .unwrap_or(HeaderValue::from_static("req_unknown"))
    })
}

/// The headers that Ember itself goes by, found in one pass over all of them.
#[derive(Default)]
pub(super) struct Noted<'a> {
    host: Lines<'a>,
    authorization: Lines<'a>,
    content_type: Lines<'a>,
    user_agent: Lines<'a>,
    origin: Lines<'a>,
    /// Whether it has one of the other headers that only browsers send.
    is_fetched: bool,
    /// Whether its body is in an encoding.
    is_encoded: bool,
    lines: usize,
    /// Of all names and values.
    bytes: usize,
}

/// The lines of one header.
#[derive(Default, Clone, Copy)]
struct Lines<'a> {
    first: Option<&'a [u8]>,
    has_more: bool,
}

impl<'a> Lines<'a> {
    fn take(&mut self, value: &'a [u8]) {
        self.has_more |= self.first.is_some();
        self.first = self.first.or(Some(value));
    }
}

impl<'a> Noted<'a> {
    pub(super) fn read(headers: &'a HeaderMap) -> Self {
        let mut noted = Self { lines: headers.len(), ..Self::default() };
        for (name, value) in headers {
            let (name, value) = (name.as_str(), value.as_bytes());
            noted.bytes += name.len() + value.len();
            match name {
                "host" => noted.host.take(value),
                "authorization" => noted.authorization.take(value),
                "content-type" => noted.content_type.take(value),
                "user-agent" => noted.user_agent.take(value),
                "origin" => noted.origin.take(value),
                "sec-fetch-site" | "sec-fetch-dest" => noted.is_fetched = true,
                "content-encoding" => noted.is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
                _ => {}
            }
        }
        noted
    }

    /// The text after `Bearer `; none when there is no Authorization header or it is of another kind.
    pub(super) fn bearer(&self) -> Result<Option<&'a [u8]>, ApiError> {
        if self.authorization.has_more {
            return Err(bad("it has two Authorization headers"));
        }
        let text = self.authorization.first.unwrap_or_default();
        Ok(match text.split_at_checked("Bearer ".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Some(rest.trim_ascii()),
            _ => None,
        })
    }

    /// What the client calls itself; empty when it says nothing.
    pub(super) fn user_agent(&self) -> &'a [u8] {
        self.user_agent.first.unwrap_or_default()
    }

    /// The site whose page asks.
    pub(super) fn origin(&self) -> Option<&'a [u8]> {
        self.origin.first
    }

    /// Whether it has one of the other headers that only browsers send.
    pub(super) fn is_fetched(&self) -> bool {
        self.is_fetched
    }

    /// Refuses heads that another HTTP implementation could understand differently, or that are out of bounds.
    pub(super) fn check(&self, head: &Parts, open: &OpenRequest, limits: &Limits) -> Result<(), ApiError> {
        if let Some(fault) = open.fault() {
            return Err(bad(fault.as_str()));
        }
        self.check_size(head, limits)?;
        if head.version < Version::HTTP_2 && (head.uri.authority().is_some() || head.uri.scheme().is_some()) {
            return Err(bad("its target is a whole URL; send the path alone"));
        }
        self.check_host(head)
    }

    fn check_size(&self, head: &Parts, limits: &Limits) -> Result<(), ApiError> {
        let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > limits.target_bytes_max {
            return Err(ApiError::TargetTooLong(limits.target_bytes_max));
        }
        if self.lines > limits.headers_max || self.bytes > limits.header_bytes_max {
            return Err(ApiError::HeadersTooLarge);
        }
        Ok(())
    }

    /// One host: HTTP/1.0 may leave it out, HTTP/2 has it in `:authority` and may repeat it (RFC 9113, 8.3.1).
    fn check_host(&self, head: &Parts) -> Result<(), ApiError> {
        let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let is_one = match (authority, self.host.first) {
            (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
            (None, None) if head.version == Version::HTTP_10 => return Ok(()),
            (one, other) => one.is_some() || other.is_some(),
        };
        if !is_one || self.host.has_more {
            return Err(bad("it must have exactly one Host header"));
        }
        match authority.or(self.host.first).is_some_and(is_host) {
            true => Ok(()),
            false => Err(bad("its Host header is not a host")),
        }
    }

    /// Bodies go on as they come, so they must come as they are.
    pub(super) fn refuse_encoded(&self) -> Result<(), ApiError> {
        if self.is_encoded { Err(ApiError::UnsupportedEncoding) } else { Ok(()) }
    }

    /// Ember reads bodies as UTF-8. A model server that went by another charset could read another model.
    pub(super) fn refuse_charset(&self) -> Result<(), ApiError> {
        if self.content_type.has_more {
            return Err(bad("it has two Content-Type headers"));
        }
        let kind = self.content_type.first.unwrap_or_default();
        if kind.eq_ignore_ascii_case(b"application/json") || is_of_utf_8(&kind.to_ascii_lowercase()) {
            return Ok(());
        }
        Err(bad("its Content-Type names a charset other than UTF-8"))
    }
}

/// Whether a type in small letters names no charset but UTF-8.
fn is_of_utf_8(kind: &[u8]) -> bool {
    let named =
        kind.split(|byte| *byte == b';').filter_map(|part| part.trim_ascii().strip_prefix(b"charset"));
    let plain =
        |name: &[u8]| name.iter().copied().filter(|byte| !b" =\"'\t".contains(byte)).collect::<Vec<u8>>();
    named.map(plain).all(|name| name == b"utf-8" || name == b"utf8")
}

/// A name or address with an optional port (RFC 3986, 3.2.2); never a user, a path or a query.
fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.len() <= 255 && host.iter().all(|byte| OF_HOST[usize::from(*byte)])
}

/// The bytes of hosts.
static OF_HOST: [bool; 256] = {
    let mut of_host = [false; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        let is_sign = matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%');
        of_host[byte as usize] = byte.is_ascii_alphanumeric() || is_sign;
        byte += 1;
    }
    of_host
};

fn bad(detail: &str) -> ApiError {
    ApiError::BadRequest(detail.to_string())
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, CONTENT_TYPE};

    use super::*;

    fn of_type(kinds: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for kind in kinds {
            headers.append(CONTENT_TYPE, kind.parse().unwrap());
        }
        Noted::read(&headers).refuse_charset().is_ok()
    }

    #[test]
    fn bug_a_charset_that_hides_a_second_model_is_refused() {
        for good in
            [&[][..], &["application/json"], &["application/json; charset=utf-8"], &["a/b;CHARSET=\"UTF-8\""]]
        {
            assert!(of_type(good), "{good:?}");
        }
        for bad in [
            &["application/json; charset=utf-7"][..],
            &["application/json;charset=utf-16le"],
            &["application/json; charset = \"utf-7\""],
            &["application/json; charset=utf-8; charset=utf-7"],
            &["application/json", "application/json; charset=utf-7"],
        ] {
            assert!(!of_type(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_bearer_is_what_stands_behind_the_word_in_the_only_header() {
        let one = |text: &str| HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
        let bearer = |headers: &HeaderMap| Noted::read(headers).bearer().map(|text| text.map(<[u8]>::to_vec));
        assert_eq!(bearer(&one("Bearer abc")).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(bearer(&one("bEARER  abc ")).unwrap(), Some(b"abc".to_vec()));
        for other in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(bearer(&one(other)).unwrap(), None, "{other}");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        let mut two = one("Bearer abc");
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        assert!(bearer(&two).is_err());
    }
}
