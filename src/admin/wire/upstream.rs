//! Model servers and how they did when they were tried, as JSON. Never: anything else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, UpstreamState, UpstreamStatus, UpstreamStep, UpstreamTest};

use super::{time_or_none, unreadable};

#[derive(Serialize, Deserialize)]
pub(super) struct UpstreamJson {
    pub(super) name: String,
    object: String,
    address: String,
    state: String,
    since: Option<String>,
    healthy: bool,
    models: u64,
    in_flight: u64,
    waiting: u64,
    priority: u32,
    weight: u32,
    latency_ms: Option<f64>,
    detail: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UpstreamTestJson {
    object: String,
    name: String,
    ok: bool,
    steps: Vec<StepJson>,
}

#[derive(Serialize, Deserialize)]
struct StepJson {
    step: String,
    ok: bool,
    took_ms: f64,
    detail: String,
}

impl UpstreamJson {
    pub(super) fn of(one: &UpstreamStatus) -> Self {
        Self {
            name: one.name.clone(),
            object: "upstream".to_string(),
            address: one.address.clone(),
            state: one.state.as_str().to_string(),
            since: one.since.map(|since| since.to_string()),
            healthy: one.state.is_healthy(),
            models: one.models,
            in_flight: one.in_flight,
            waiting: one.waiting,
            priority: one.priority,
            weight: one.weight,
            latency_ms: one.latency.map(millis),
            detail: one.detail.clone(),
        }
    }

    pub(super) fn read(self) -> Result<UpstreamStatus, AdminError> {
        Ok(UpstreamStatus {
            name: self.name,
            address: self.address,
            state: state(&self.state)?,
            since: time_or_none(self.since.as_deref())?,
            models: self.models,
            in_flight: self.in_flight,
            waiting: self.waiting,
            priority: self.priority,
            weight: self.weight,
            latency: self.latency_ms.map(duration).transpose()?,
            detail: self.detail,
        })
    }
}

impl UpstreamTestJson {
    pub(super) fn of(test: &UpstreamTest) -> Self {
        let step = |one: &UpstreamStep| StepJson {
            step: one.name.clone(),
            ok: one.ok,
            took_ms: millis(one.took),
            detail: one.detail.clone(),
        };
        Self {
            object: "upstream_test".to_string(),
            name: test.name.clone(),
            ok: test.is_ok(),
            steps: test.steps.iter().map(step).collect(),
        }
    }

    pub(super) fn read(self) -> Result<UpstreamTest, AdminError> {
        let step = |one: StepJson| {
            Ok(UpstreamStep { name: one.step, ok: one.ok, took: duration(one.took_ms)?, detail: one.detail })
        };
        let steps = self.steps.into_iter().map(step).collect::<Result<_, AdminError>>()?;
        Ok(UpstreamTest { name: self.name, steps })
    }
}

/// A state by its word.
pub(super) fn state(word: &str) -> Result<UpstreamState, AdminError> {
    UpstreamState::from_word(word).ok_or_else(|| unreadable("it has an unknown state"))
}

/// To the tenth: what lies below says nothing about a network.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn duration(millis: f64) -> Result<Duration, AdminError> {
    Duration::try_from_secs_f64(millis / 1000.0).map_err(unreadable)
}
