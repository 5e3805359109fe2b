//! Proof that a form was sent from a page of Ember's: where the request comes from, and a token that only such a page
//! has. Never: who sends it.

use http::HeaderMap;
use http::header::{HeaderName, ORIGIN};
use ring::hmac;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What the token is derived for, so that the same secret could serve for something else.
const PURPOSE: &[u8] = b"ember form";

/// The token that goes with a cookie's secret: HMAC-SHA-256 of a fixed text, in hexadecimal. Whoever reads the page can't
/// get from it to the cookie.
pub(in crate::http) fn token(secret: &str) -> String {
    let tag = hmac::sign(&key(secret), PURPOSE);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `given` is the token of this secret; takes as long whatever is wrong.
pub(in crate::http) fn is_token(secret: &str, given: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let byte = |digits: &[u8]| match digits.iter().all(|digit| is_digit(*digit)) {
        true => u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok(),
        false => None,
    };
    let tag: Option<Vec<u8>> = given.as_bytes().chunks(2).map(byte).collect();
    !secret.is_empty() && tag.is_some_and(|tag| hmac::verify(&key(secret), PURPOSE, &tag).is_ok())
}

/// Whether a request was made by a page of this origin. Browsers say so in `Origin` (RFC 6454), which is `null` where a
/// page hides where it comes from, and in `Sec-Fetch-Site`. What says nothing is refused.
pub(in crate::http) fn is_same_origin(headers: &HeaderMap, base_url: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().map(|value| value.as_bytes());
    let is_ours = origin.is_some_and(|origin| origin.eq_ignore_ascii_case(base_url.as_bytes()));
    let is_hidden = origin.is_none_or(|origin| origin == b"null");
    let site = headers.get(FETCH_SITE).map(|value| value.as_bytes());
    origins.next().is_none()
        && match site {
            Some(site) => site == b"same-origin" && (is_ours || is_hidden),
            None => is_ours,
        }
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(pairs: &[(HeaderName, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        is_same_origin(&headers, "https://ai.test")
    }

    #[test]
    fn a_token_is_of_its_own_secret_only() {
        let token = token("secret");
        assert!(is_token("secret", &token));
        for other in ["", "00", "zz", &token[2..], &token.to_uppercase(), &token.replace('a', "b"), "é"] {
            assert!(!is_token("secret", other), "{other}");
        }
        assert!(!is_token("another", &token));
    }

    #[test]
    fn only_this_sites_pages_are_its_own() {
        let same = (FETCH_SITE, "same-origin");
        for good in [
            &[(ORIGIN, "https://ai.test")][..],
            &[(ORIGIN, "https://ai.test"), same.clone()],
            &[(ORIGIN, "null"), same.clone()],
            std::slice::from_ref(&same),
        ] {
            assert!(says(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &[(ORIGIN, "null")],
            &[(ORIGIN, "http://ai.test")],
            &[(ORIGIN, "https://ai.test:8443")],
            &[(ORIGIN, "https://evil.test")],
            &[(ORIGIN, "https://evil.test"), same.clone()],
            &[(ORIGIN, "https://ai.test"), (FETCH_SITE, "cross-site")],
            &[(ORIGIN, "https://ai.test"), (FETCH_SITE, "same-site")],
            &[(ORIGIN, "https://ai.test"), (ORIGIN, "https://evil.test")],
            &[(FETCH_SITE, "none")],
        ] {
            assert!(!says(bad), "{bad:?}");
        }
    }
}
