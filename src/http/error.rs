//! Every refusal on /v1, its status and its words, in OpenAI's shape: one exhaustive table. Never: when to refuse.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::gate::{Cut, Limited, Refusal, Whose};
use crate::types::{Measure, Unit};
use crate::upstream::RelayFault;

use super::allowance::span;

const DRAINED: &str = "Every server for this model is out of service for maintenance. Try again later.";
const OVERLOADED: &str = "Every server for this model works at its limit. Try again in a moment.";

/// When it makes sense to ask again for a model whose servers are drained, in seconds: nobody knows better.
const DRAINED_S: u32 = 10;

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiError {
    /// No key, malformed, or never issued.
    InvalidKey,
    KeyRevoked,
    KeyReplaced,
    KeyExpired,
    KeyDisabled,
    AccountDisabled,
    AddressNotAllowed,
    RouteNotAllowed,
    BrowserNotAllowed,
    ModelNotFound(String),
    ModelsNotRead,
    /// An operator wants no requests at any server of the model.
    Drained,
    NotFound,
    MethodNotAllowed(&'static str),
    InvalidJson(String),
    MissingModel,
    BadRequest(String),
    /// The caller stopped in the middle of its body, or sent it malformed.
    BodyBrokeOff,
    UnsupportedEncoding,
    StateNotAllowed(&'static str),
    BodyTooLarge(usize),
    HeadersTooLarge,
    TargetTooLong(usize),
    /// Too many bytes of request bodies are held already.
    MemoryFull,
    /// A rate, or the number of requests under way, is at its limit.
    RateLimited(Box<Limited>),
    /// A budget of tokens is spent.
    QuotaSpent(Box<Limited>),
    /// Every server for the model is full, for so many milliseconds yet.
    Overloaded(u32),
    Unavailable,
    UpstreamInvalid,
    UpstreamAuth,
    UpstreamTimeout,
    /// Its own error was passed on; only logs say this.
    UpstreamError,
    Store,
    /// Denied from now on, but a restart could forget it.
    NotDurable,
    Stopping,
    Internal,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

const AUTHENTICATION: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const RATE: &str = "rate_limit_error";
const QUOTA: &str = "insufficient_quota";
const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

const BROWSER: &str = "API keys do not belong in browsers: whoever opens the page can read the key. Call your own \
    server from the page, and let that call this API.";
const UPSTREAM_AUTH: &str = "The model server refuses this service. Your key is fine; tell the operator.";
const NOT_DURABLE: &str = "The key is denied from now on, but that is not on disk yet: a restart could forget it. Tell \
    the operator.";

impl ApiError {
    /// The table: status, `type` and `code`.
    const fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidKey => (StatusCode::UNAUTHORIZED, AUTHENTICATION, "invalid_api_key"),
            Self::KeyRevoked | Self::KeyReplaced => {
                (StatusCode::UNAUTHORIZED, AUTHENTICATION, "api_key_revoked")
            }
            Self::KeyExpired => (StatusCode::UNAUTHORIZED, AUTHENTICATION, "api_key_expired"),
            Self::KeyDisabled | Self::AccountDisabled => {
                (StatusCode::UNAUTHORIZED, AUTHENTICATION, "api_key_disabled")
            }
            Self::AddressNotAllowed => (StatusCode::UNAUTHORIZED, AUTHENTICATION, "ip_not_allowed"),
            Self::RouteNotAllowed => (StatusCode::FORBIDDEN, PERMISSION, "insufficient_permissions"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, RATE, "rate_limit_exceeded"),
            Self::QuotaSpent(_) => (StatusCode::TOO_MANY_REQUESTS, QUOTA, QUOTA),
            Self::BrowserNotAllowed => (StatusCode::FORBIDDEN, PERMISSION, "browser_not_allowed"),
            Self::ModelNotFound(_) => (StatusCode::NOT_FOUND, INVALID, "model_not_found"),
            Self::ModelsNotRead | Self::Drained => {
                (StatusCode::SERVICE_UNAVAILABLE, SERVER, "upstream_unavailable")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, INVALID, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, INVALID, "method_not_allowed"),
            Self::InvalidJson(_) => (StatusCode::BAD_REQUEST, INVALID, "invalid_json"),
            Self::MissingModel => (StatusCode::BAD_REQUEST, INVALID, "missing_model"),
            Self::BadRequest(_) | Self::BodyBrokeOff => (StatusCode::BAD_REQUEST, INVALID, "bad_request"),
            Self::UnsupportedEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, "unsupported_encoding")
            }
            Self::StateNotAllowed(_) => (StatusCode::BAD_REQUEST, INVALID, "state_not_allowed"),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, "request_too_large"),
            Self::HeadersTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, INVALID, "request_too_large")
            }
            Self::TargetTooLong(_) => (StatusCode::URI_TOO_LONG, INVALID, "request_too_large"),
            Self::MemoryFull | Self::Overloaded(_) | Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, SERVER, "overloaded")
            }
            Self::Unavailable => (StatusCode::BAD_GATEWAY, SERVER, "upstream_unavailable"),
            Self::UpstreamInvalid => (StatusCode::BAD_GATEWAY, SERVER, "upstream_invalid"),
            Self::UpstreamAuth => (StatusCode::BAD_GATEWAY, SERVER, "upstream_auth_failed"),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, SERVER, "upstream_timeout"),
            Self::UpstreamError => (StatusCode::BAD_GATEWAY, SERVER, "upstream_error"),
            Self::Store => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "store_unavailable"),
            Self::NotDurable => (StatusCode::SERVICE_UNAVAILABLE, SERVER, "not_durable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, SERVER, "internal_error"),
        }
    }

    /// The sentence for the caller: the thing, the reason, the next step.
    pub(super) fn message(&self) -> String {
        match self {
            Self::InvalidKey => {
                "No valid API key was given. Send it in the header 'Authorization: Bearer KEY'.".into()
            }
            Self::KeyRevoked => "This API key was revoked. Create a new one and use that.".into(),
            Self::KeyReplaced => {
                "This API key was rotated; its old secret no longer works. Use the new one.".into()
            }
            Self::KeyExpired => "This API key has expired. Ask for a later end or a new key.".into(),
            Self::KeyDisabled => "This API key is disabled. Whoever manages it can enable it.".into(),
            Self::AccountDisabled => {
                "This API key's account is disabled. An administrator can enable it.".into()
            }
            Self::AddressNotAllowed => {
                "This API key may not be used from this address. Whoever manages it can allow it.".into()
            }
            Self::RouteNotAllowed => {
                "This API key may not use this route. Whoever manages it can allow it.".into()
            }
            Self::RateLimited(limited) | Self::QuotaSpent(limited) => limited_words(limited),
            Self::BrowserNotAllowed => BROWSER.into(),
            Self::ModelNotFound(model) => {
                format!(
                    "The model '{model}' does not exist or this API key may not use it. See GET /v1/models."
                )
            }
            Self::ModelsNotRead => {
                "A model server has not said yet which models it has. Try again soon.".into()
            }
            Self::Drained => DRAINED.into(),
            Self::NotFound => "There is nothing at this path. Check the base URL: it ends in /v1.".into(),
            Self::MethodNotAllowed(allowed) => format!("This path does not take that method. Use {allowed}."),
            Self::InvalidJson(detail) => format!("The body can't be used: {detail}."),
            Self::MissingModel => "The body names no model. Put a string 'model' into it.".into(),
            Self::BadRequest(detail) => format!("The request can't be used: {detail}."),
            Self::BodyBrokeOff => "The request can't be used: its body broke off or is malformed.".into(),
            Self::UnsupportedEncoding => "The body is compressed. Send it without Content-Encoding.".into(),
            Self::StateNotAllowed(member) => {
                format!(
                    "'{member}' would use what others left on the model server. Send the whole conversation."
                )
            }
            Self::BodyTooLarge(limit) => format!("The body is larger than {limit} bytes. Send less at once."),
            Self::HeadersTooLarge => "The request has too many or too large headers. Send fewer.".into(),
            Self::TargetTooLong(limit) => {
                format!("The target is longer than {limit} bytes. Send a shorter one.")
            }
            Self::MemoryFull => "Too much is being sent at once. Try again in a moment.".into(),
            Self::Overloaded(_) => OVERLOADED.into(),
            Self::Stopping => "The service is restarting. Try again in a moment.".into(),
            Self::Unavailable => "The model server can't be reached or broke off. Try again.".into(),
            Self::UpstreamInvalid => "The model server's answer made no sense. Tell the operator.".into(),
            Self::UpstreamAuth => UPSTREAM_AUTH.into(),
            Self::UpstreamTimeout => "The model server took too long. Try again, or ask for less.".into(),
            Self::UpstreamError => "The model server answered with an error of its own.".into(),
            Self::Store => "Keys can't be checked right now. Try again in a moment.".into(),
            Self::NotDurable => NOT_DURABLE.into(),
            Self::Internal => "Something went wrong here. Give the operator the request id.".into(),
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.row().0
    }

    pub(super) const fn code(&self) -> &'static str {
        self.row().2
    }

    /// Seconds after which trying again makes sense.
    pub(super) const fn retry_after(&self) -> Option<u32> {
        if let Self::Overloaded(millis) = self {
            Some(millis.div_ceil(1000))
        } else if matches!(self, Self::ModelsNotRead) {
            Some(2)
        } else if matches!(self, Self::Drained) {
            Some(DRAINED_S)
        } else if self.status().as_u16() == 503 {
            Some(1)
        } else {
            None
        }
    }

    /// The limit that stands in the way.
    pub(super) fn limited(&self) -> Option<&Limited> {
        if let Self::RateLimited(limited) | Self::QuotaSpent(limited) = self { Some(limited) } else { None }
    }

    /// How long the servers will be busy yet, in milliseconds.
    pub(super) const fn retry_after_ms(&self) -> Option<u32> {
        if let Self::Overloaded(millis) = self { Some(*millis) } else { None }
    }

    const fn param(&self) -> Option<&'static str> {
        if let Self::StateNotAllowed(member) = self {
            Some(member)
        } else if matches!(self, Self::ModelNotFound(_) | Self::MissingModel) {
            Some("model")
        } else {
            None
        }
    }

    /// The body of the refusal.
    pub(super) fn json(&self) -> Bytes {
        // Whoever tries keys is refused for as little as can be.
        static INVALID_KEY: LazyLock<Bytes> = LazyLock::new(|| ApiError::InvalidKey.json_text().into());
        if *self == Self::InvalidKey { INVALID_KEY.clone() } else { self.json_text().into() }
    }

    /// The same as text: what an error event of a stream carries.
    pub(super) fn json_text(&self) -> String {
        let (_, kind, code) = self.row();
        let inner = Inner { message: &self.message(), kind, param: self.param(), code };
        // Plain strings always serialise.
        serde_json::to_string(&Envelope { error: inner }).unwrap_or_default()
    }
}

impl From<Cut> for ApiError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Revoked => Self::KeyRevoked,
            Cut::Replaced => Self::KeyReplaced,
            Cut::Disabled => Self::KeyDisabled,
            Cut::AccountDisabled => Self::AccountDisabled,
        }
    }
}

impl ApiError {
    /// The words for a refusal of the gate; `model` is what was asked for.
    pub(super) fn of_refusal(refusal: &Refusal, model: &str) -> Self {
        match refusal {
            Refusal::InvalidKey => Self::InvalidKey,
            Refusal::Cut(cut) => (*cut).into(),
            Refusal::Expired => Self::KeyExpired,
            Refusal::ModelNotAllowed => Self::ModelNotFound(model.to_string()),
            Refusal::AddressNotAllowed => Self::AddressNotAllowed,
            Refusal::RouteNotAllowed => Self::RouteNotAllowed,
            Refusal::Limited(limited) => match limited.kind.measure() {
                Measure::Budget(Unit::Tokens, _) => Self::QuotaSpent(limited.clone()),
                Measure::Budget(Unit::Requests, _) | Measure::Rate(_) | Measure::Open => {
                    Self::RateLimited(limited.clone())
                }
            },
            Refusal::Trouble(_) => Self::Store,
        }
    }

    /// The words for a fault of the relay.
    pub(super) fn of_fault(fault: RelayFault, model: &str) -> Self {
        match fault {
            RelayFault::UnknownModel => Self::ModelNotFound(model.to_string()),
            RelayFault::ModelsNotRead => Self::ModelsNotRead,
            RelayFault::Drained => Self::Drained,
            RelayFault::Overloaded { retry_after } => {
                Self::Overloaded(u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX))
            }
            RelayFault::Unreachable | RelayFault::TlsFailed | RelayFault::BrokeOff => Self::Unavailable,
            RelayFault::Invalid => Self::UpstreamInvalid,
            RelayFault::AuthRefused => Self::UpstreamAuth,
            RelayFault::Timeout => Self::UpstreamTimeout,
            RelayFault::Refused => Self::UpstreamError,
            RelayFault::Cut(cut) => cut.into(),
            RelayFault::Stopped => Self::Stopping,
        }
    }
}

/// The sentence about a limit: whose it is, how far it goes, what to do.
fn limited_words(limited: &Limited) -> String {
    let Limited { kind, max, needed, wait, .. } = limited;
    let whose = match limited.whose {
        Whose::Key => "This API key",
        Whose::Account => "This API key's account",
    };
    let limit = format!("{whose} may use {max} {}", kind.in_words());
    let used = match limited.left {
        0 => "they are used up".to_string(),
        left => format!("{left} are left of them, while this request may take {needed}"),
    };
    match wait {
        _ if !limited.fits => format!(
            "{limit}, and this request alone may take {needed}. Ask for less: a shorter prompt, or fewer tokens at most."
        ),
        Some(wait) => format!("{limit}, and {used}. Try again in {}.", span(*wait)),
        None if kind.measure() == Measure::Open => {
            format!("{limit}, and they are under way. Try again when one of them has ended.")
        }
        None => format!("{limit}, and {used}. Whoever manages it can allow more."),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::Allowances;
    use crate::types::LimitKind;

    fn limited(kind: LimitKind, wait: Option<u64>, fits: bool) -> Box<Limited> {
        Box::new(Limited {
            kind,
            whose: if fits { Whose::Key } else { Whose::Account },
            max: 60,
            wait: wait.map(Duration::from_millis),
            fits,
            needed: 61,
            left: if kind == LimitKind::TokensPerDay { 59 } else { 0 },
            allowances: Allowances::default(),
        })
    }

    fn all() -> Vec<ApiError> {
        vec![
            ApiError::InvalidKey,
            ApiError::KeyRevoked,
            ApiError::KeyReplaced,
            ApiError::KeyExpired,
            ApiError::KeyDisabled,
            ApiError::AccountDisabled,
            ApiError::AddressNotAllowed,
            ApiError::RouteNotAllowed,
            ApiError::RateLimited(limited(LimitKind::RequestsPerMinute, Some(1500), true)),
            ApiError::RateLimited(limited(LimitKind::TokensPerMinute, None, false)),
            ApiError::RateLimited(limited(LimitKind::ConcurrentRequests, None, true)),
            ApiError::QuotaSpent(limited(LimitKind::TokensPerDay, Some(3_600_000), true)),
            ApiError::QuotaSpent(limited(LimitKind::TokensTotal, None, true)),
            ApiError::BrowserNotAllowed,
            ApiError::ModelNotFound("m\"1".to_string()),
            ApiError::ModelsNotRead,
            ApiError::Drained,
            ApiError::NotFound,
            ApiError::MethodNotAllowed("GET, HEAD"),
            ApiError::InvalidJson("it is not JSON (line 1, column 2)".to_string()),
            ApiError::MissingModel,
            ApiError::BadRequest("it has two Host headers".to_string()),
            ApiError::BodyBrokeOff,
            ApiError::UnsupportedEncoding,
            ApiError::StateNotAllowed("previous_response_id"),
            ApiError::BodyTooLarge(33_554_432),
            ApiError::HeadersTooLarge,
            ApiError::TargetTooLong(8192),
            ApiError::MemoryFull,
            ApiError::Overloaded(2500),
            ApiError::Unavailable,
            ApiError::UpstreamInvalid,
            ApiError::UpstreamAuth,
            ApiError::UpstreamTimeout,
            ApiError::UpstreamError,
            ApiError::Store,
            ApiError::NotDurable,
            ApiError::Stopping,
            ApiError::Internal,
        ]
    }

    /// Callers' code hangs on these words: a change shows here. `EMBER_BLESS=1` writes the file anew.
    #[test]
    fn every_error_is_as_the_golden_file_has_it() {
        let mut lines = String::new();
        for error in all() {
            let retry = error.retry_after().map_or_else(|| "-".to_string(), |seconds| seconds.to_string());
            let json = String::from_utf8(error.json().to_vec()).unwrap();
            lines.push_str(&format!("{} retry-after={retry} {json}\n", error.status().as_u16()));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/errors.txt");
        if option_env!("EMBER_BLESS").is_some() {
            std::fs::write(path, &lines).unwrap();
        }
        assert_eq!(lines, std::fs::read_to_string(path).unwrap());
    }
}
