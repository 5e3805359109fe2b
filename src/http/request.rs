//! What a request's head must be like before anything is done with it, and the key it brings. Never: whether the
//! key is good.

use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use hyper::body::Incoming;

use crate::types::{Key, Random, RequestId, Timestamp};

use super::Limits;
use super::error::ApiError;
use super::pulse::OpenRequest;

/// The caller's, the answer's and the model server's.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The text after `Bearer `; none when there is no Authorization header or it is of another kind.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let first = given.next();
    if given.next().is_some() {
        return Err(ApiError::BadRequest("it has two Authorization headers".to_string()));
    }
    let text = first.map(HeaderValue::as_bytes).unwrap_or_default();
    Ok(match text.split_at_checked("Bearer ".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"Bearer ") => Some(rest.trim_ascii()),
        _ => None,
    })
}

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

/// Refuses heads that another HTTP implementation could understand differently, or that are out of bounds.
pub(super) fn check(
    request: &Request<Incoming>,
    open: &OpenRequest,
    limits: &Limits,
) -> Result<(), ApiError> {
    if let Some(fault) = open.fault() {
        return Err(bad(fault.as_str()));
    }
    check_size(request, limits)?;
    if request.version() < Version::HTTP_2
        && (request.uri().authority().is_some() || request.uri().scheme().is_some())
    {
        return Err(bad("its target is a whole URL; send the path alone"));
    }
    check_host(request)
}

/// One host: HTTP/1.0 may leave it out, HTTP/2 has it in `:authority` and may repeat it (RFC 9113, 8.3.1).
fn check_host(request: &Request<Incoming>) -> Result<(), ApiError> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let headers = || request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
    let mut hosts = authority.into_iter().chain(headers());
    let Some(host) = hosts.next() else {
        let may_lack = request.version() == Version::HTTP_10;
        return if may_lack { Ok(()) } else { Err(bad("it must have exactly one Host header")) };
    };
    if headers().count() > 1 || hosts.any(|other| !other.eq_ignore_ascii_case(host)) {
        return Err(bad("it must have exactly one Host header"));
    }
    if is_host(host) { Ok(()) } else { Err(bad("its Host header is not a host")) }
}

/// Bodies go on as they come, so they must come as they are.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Ok(())
    } else {
        Err(ApiError::UnsupportedEncoding)
    }
}

/// Ember reads bodies as UTF-8. A model server that went by another charset could read another model.
pub(super) fn refuse_charset(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next().map(HeaderValue::as_bytes).unwrap_or_default().to_ascii_lowercase();
    if kinds.next().is_some() {
        return Err(bad("it has two Content-Type headers"));
    }
    let named =
        kind.split(|byte| *byte == b';').filter_map(|part| part.trim_ascii().strip_prefix(b"charset"));
    let plain =
        |name: &[u8]| name.iter().copied().filter(|byte| !b" =\"'\t".contains(byte)).collect::<Vec<u8>>();
    match named.map(plain).all(|name| name == b"utf-8" || name == b"utf8") {
        true => Ok(()),
        false => Err(bad("its Content-Type names a charset other than UTF-8")),
    }
}

fn check_size(request: &Request<Incoming>, limits: &Limits) -> Result<(), ApiError> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target_bytes_max {
        return Err(ApiError::TargetTooLong(limits.target_bytes_max));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > limits.headers_max || bytes > limits.header_bytes_max {
        return Err(ApiError::HeadersTooLarge);
    }
    Ok(())
}

/// A name or address with an optional port (RFC 3986, 3.2.2); never a user, a path or a query.
fn is_host(host: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(byte);
    !host.is_empty() && host.len() <= 255 && host.iter().all(known)
}

fn bad(detail: &str) -> ApiError {
    ApiError::BadRequest(detail.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_type(kinds: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for kind in kinds {
            headers.append(CONTENT_TYPE, kind.parse().unwrap());
        }
        refuse_charset(&headers).is_ok()
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
        assert_eq!(bearer(&one("Bearer abc")).unwrap(), Some(&b"abc"[..]));
        assert_eq!(bearer(&one("bEARER  abc ")).unwrap(), Some(&b"abc"[..]));
        for other in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(bearer(&one(other)).unwrap(), None, "{other}");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
        let mut two = one("Bearer abc");
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer abc"));
        assert!(bearer(&two).is_err());
    }
}
