//! `/healthz` and `/readyz`: whether the process lives, and whether it can serve. Never: names of anything.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::types::UpstreamState;
use crate::upstream::Upstreams;

use super::stop::StopWatch;

/// Tells whether the store answers.
pub type Readiness = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Serialize)]
struct Report {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
}

/// The answer of `/healthz`.
pub(super) fn alive() -> (StatusCode, Bytes) {
    (StatusCode::OK, Bytes::from_static(b"{\"alive\":true}"))
}

/// The answer of `/readyz`, its reasons in fixed words.
pub(super) fn ready(store: &Readiness, upstreams: &Upstreams, stop: &StopWatch) -> (StatusCode, Bytes) {
    let mut reasons = Vec::new();
    if !store() {
        reasons.push("store unavailable");
    }
    if !upstreams.health().iter().any(|server| server.up && server.state != UpstreamState::Draining) {
        reasons.push("no model server up");
    }
    if stop.is_draining() {
        reasons.push("draining");
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, serde_json::to_vec(&Report { ready, reasons }).unwrap_or_default().into())
}
