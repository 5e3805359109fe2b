//! `POST /v1/key/revoke`: whoever holds a key can revoke it. And what is told to those who use a secret that was rotated.
//! Never: what revoking takes.

use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::gate::Caller;
use crate::registry::{Held, RegistryError};
use crate::types::{Key, Timestamp};

use super::access::Access;
use super::body;
use super::draft::Draft;
use super::error::ApiError;
use super::request::Noted;
use super::service::Service;
use super::v1::Asked;

/// Takes a secret away from everyone who holds it. May block on the disk.
pub type Revoker = Arc<dyn Fn(&Held) -> Result<(), RegistryError> + Send + Sync>;

const WARNING: HeaderName = HeaderName::from_static("x-ember-warning");
const BODY_BYTES_MAX: usize = 4096;

/// What may come along.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Revoked {
    object: &'static str,
    id: String,
    revoked: bool,
}

/// Revokes the key that the request brings.
pub(super) async fn revoke(
    service: &Service,
    caller: Caller,
    request: Request<Incoming>,
    asked: Asked<'_>,
    access: &mut Access,
) -> Result<Draft, ApiError> {
    let (head, incoming) = request.into_parts();
    let noted = Noted::read(&head.headers);
    let secret = secret(&noted)?;
    noted.refuse_encoded()?;
    let wait = asked.conduct.limits.body_timeout;
    let body = access
        .reading(pin!(body::read(incoming, head.version, BODY_BYTES_MAX, wait, &service.memory)))
        .await?;
    access.bytes_in = body.len();
    asked.open.body_done();
    let (key, is_old) = (caller.key(), caller.replaced_at().is_some());
    let held = Held { key, secret: secret.digest(), is_old, address: access.peer, reason: reason(&body)? };
    let revoke = Arc::clone(&service.parts.revoke);
    let done = spawn_blocking(move || revoke(&held)).await.map_err(|_| ApiError::Internal)?;
    done.map_err(|error| refused(&error))?;
    let revoked = Revoked { object: "key", id: key.to_string(), revoked: true };
    // Plain data always serialises.
    Ok(Draft::json(StatusCode::OK, serde_json::to_vec(&revoked).unwrap_or_default().into()))
}

/// The warning to a caller whose secret stops soon.
pub(super) fn warn(old_until: Option<Timestamp>, headers: &mut HeaderMap) {
    let text = old_until.map(|end| format!("this secret was rotated; it works until {end}"));
    headers.extend(text.and_then(|text| Some((WARNING, HeaderValue::from_str(&text).ok()?))));
}

fn secret(noted: &Noted<'_>) -> Result<Key, ApiError> {
    noted.bearer()?.and_then(|text| Key::parse(text).ok()).ok_or(ApiError::InvalidKey)
}

/// What serde says of a fault may quote the text, and the text may hold a key.
fn reason(body: &[u8]) -> Result<Option<String>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let said = serde_json::from_slice::<Said>(body);
    said.map(|said| said.reason).map_err(|_| {
        ApiError::InvalidJson("it is not {\"reason\": \"...\"}; send that, or no body".to_string())
    })
}

fn refused(error: &RegistryError) -> ApiError {
    match error {
        RegistryError::Invalid(sentence) => ApiError::InvalidJson(sentence.clone()),
        RegistryError::NotDurable(_) => ApiError::NotDurable,
        RegistryError::Store(_)
        | RegistryError::NotFound(_)
        | RegistryError::Ambiguous { .. }
        | RegistryError::NotAllowed(_)
        | RegistryError::Conflict(_)
        | RegistryError::TooMany { .. } => ApiError::Store,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_come_along_and_nothing_else() {
        for (body, said) in
            [("", None), (" ", None), ("{}", None), (r#"{"reason":"leaked"}"#, Some("leaked"))]
        {
            assert_eq!(reason(body.as_bytes()).unwrap().as_deref(), said, "{body}");
        }
        for body in ["x", r#"{"reason":1}"#, r#"{"why":"x"}"#] {
            assert!(matches!(reason(body.as_bytes()), Err(ApiError::InvalidJson(_))), "{body}");
        }
    }
}
