//! What an answer's head, and an error's body, say of the request and of the server. Never: where else it may go.

use http::StatusCode;
use tokio::time::{Instant, timeout};

use super::RelayFault;
use super::answer::Answer;
use super::head::Head;
use super::headers;
use super::relay_body::Source;
use super::server::{Blame, Server};
use crate::types::KeyId;

/// The most of a failing server's words that is searched for its key; more is not passed on.
pub(super) const ERROR_BYTES_MAX: usize = 1 << 20;

/// A try that came to nothing, and whether the server may have seen any of it.
pub(super) struct Attempt {
    pub(super) fault: RelayFault,
    pub(super) written: bool,
    /// Whose fault it is; none when it may be the server's or the request's.
    pub(super) blame: Option<Blame>,
}

impl Attempt {
    pub(super) const fn unwritten(fault: RelayFault) -> Self {
        Self { fault, written: false, blame: Some(Blame::Server) }
    }

    pub(super) const fn written(fault: RelayFault) -> Self {
        Self { fault, written: true, blame: None }
    }

    const fn blamed(fault: RelayFault, blame: Blame) -> Self {
        Self { fault, written: true, blame: Some(blame) }
    }
}

/// Whether the answer may be shown, by its head and the length of its body, to one who `asks_for_stream` or not.
pub(super) fn judge(
    server: &Server,
    head: &Head,
    length: Option<u64>,
    asks_for_stream: bool,
) -> Result<(), Attempt> {
    let status = head.status();
    match status {
        // Without a key of Ember's there is none to refuse: it is the request that is forbidden.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            if status != StatusCode::FORBIDDEN || server.has_key() =>
        {
            if server.refused_key() {
                tracing::warn!(
                    upstream = server.name,
                    status = status.as_u16(),
                    "the model server refuses Ember's key for it; check its api_key"
                );
            }
            // Hosted ones forbid a request whose words they do not like.
            let forbidden = status == StatusCode::FORBIDDEN;
            let blame = if forbidden { Blame::Nobody } else { Blame::Server };
            Err(Attempt::blamed(RelayFault::AuthRefused, blame))
        }
        _ if !(status.is_success() || status.is_client_error() || status.is_server_error()) => {
            Err(Attempt::written(RelayFault::Invalid))
        }
        // It would look like a stream that has come to its end.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT
            if asks_for_stream || headers::is_event_stream(head) =>
        {
            Err(Attempt::written(RelayFault::Invalid))
        }
        _ if asks_for_stream && status.is_success() && length == Some(0) => {
            Err(Attempt::written(RelayFault::Invalid))
        }
        _ if headers::is_encoded(head) => Err(Attempt::written(RelayFault::Invalid)),
        _ => Ok(()),
    }
}

/// A server's error, after a look whether it shows the server's own key.
pub(super) async fn searched(server: &Server, answer: Answer) -> Result<Source, Attempt> {
    // Too long, or it says too much: the request may have made it so.
    let invalid = || Attempt::blamed(RelayFault::Invalid, Blame::Nobody);
    let body = timeout(server.idle_timeout, answer.collect(ERROR_BYTES_MAX)).await;
    let body = body
        .unwrap_or(Err(RelayFault::Timeout))
        .map_err(|fault| if fault == RelayFault::Invalid { invalid() } else { Attempt::written(fault) })?;
    if server.leaks_in(&body) {
        tracing::warn!(upstream = server.name, "an error of the model server shows Ember's key for it");
        return Err(invalid());
    }
    Ok(Source::Whole(Some(body).filter(|body| !body.is_empty())))
}

/// What the server's status for a request of that key says of it, is known from now on.
pub(super) fn learn(server: &Server, status: StatusCode, key: KeyId, now: Instant) {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            server.unable(key);
        }
        // Neither says whether it could have answered another one.
        StatusCode::TOO_MANY_REQUESTS | StatusCode::NOT_IMPLEMENTED => {}
        status if status.is_server_error() => server.erred(key),
        _ => server.answered(now),
    }
}
