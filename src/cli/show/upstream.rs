//! Model servers and how they did when they were tried, as rows. Never: the words of errors.

use std::time::Duration;

use crate::admin::{UpstreamStatus, UpstreamStep};
use crate::cli::moment::Times;

pub(super) const UPSTREAMS: [&str; 11] = [
    "NAME",
    "STATE",
    "SINCE",
    "IN FLIGHT",
    "WAITING",
    "MODELS",
    "PRIORITY",
    "WEIGHT",
    "LATENCY",
    "ADDRESS",
    "REASON",
];
pub(super) const STEPS: [&str; 4] = ["STEP", "RESULT", "TIME", "DETAIL"];

pub(super) fn row(server: &UpstreamStatus, times: Times) -> Vec<String> {
    vec![
        server.name.clone(),
        server.state.as_str().to_string(),
        server.since.map(|since| times.relative(since)).unwrap_or_default(),
        server.in_flight.to_string(),
        server.waiting.to_string(),
        server.models.to_string(),
        server.priority.to_string(),
        server.weight.to_string(),
        server.latency.map(millis).unwrap_or_default(),
        server.address.clone(),
        server.detail.clone(),
    ]
}

pub(super) fn step(step: &UpstreamStep) -> Vec<String> {
    let result = if step.ok { "ok" } else { "fail" };
    vec![step.name.clone(), result.to_string(), millis(step.took), step.detail.clone()]
}

fn millis(time: Duration) -> String {
    format!("{:.1}ms", time.as_secs_f64() * 1000.0)
}
