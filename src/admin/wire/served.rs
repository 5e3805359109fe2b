//! The models that are served and what was used, as JSON. Never: anything else.

use serde::{Deserialize, Serialize};

use crate::admin::{AdminError, ModelServer, ModelView, UsageSums, UsageView};

use super::status::TokensJson;
use super::upstream::state;

#[derive(Serialize, Deserialize)]
pub(super) struct ModelJson {
    pub(super) id: String,
    object: String,
    servers: Vec<ModelServerJson>,
}

#[derive(Serialize, Deserialize)]
struct ModelServerJson {
    name: String,
    model: String,
    healthy: bool,
    state: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UsageJson {
    object: String,
    day: SumsJson,
    week: SumsJson,
}

#[derive(Serialize, Deserialize)]
struct SumsJson {
    requests: u64,
    tokens: TokensJson,
}

impl ModelJson {
    pub(super) fn of(model: &ModelView) -> Self {
        let server = |one: &ModelServer| ModelServerJson {
            name: one.name.clone(),
            model: one.model.clone(),
            healthy: one.state.is_healthy(),
            state: one.state.as_str().to_string(),
        };
        Self {
            id: model.name.clone(),
            object: "model".to_string(),
            servers: model.servers.iter().map(server).collect(),
        }
    }

    pub(super) fn read(self) -> Result<ModelView, AdminError> {
        let server = |one: ModelServerJson| {
            Ok(ModelServer { state: state(&one.state)?, name: one.name, model: one.model })
        };
        let servers = self.servers.into_iter().map(server).collect::<Result<_, AdminError>>()?;
        Ok(ModelView { name: self.id, servers })
    }
}

impl UsageJson {
    pub(super) fn of(usage: &UsageView) -> Self {
        Self { object: "usage".to_string(), day: SumsJson::of(usage.day), week: SumsJson::of(usage.week) }
    }

    pub(super) fn read(self) -> UsageView {
        UsageView { day: self.day.read(), week: self.week.read() }
    }
}

impl SumsJson {
    fn of(sums: UsageSums) -> Self {
        Self { requests: sums.requests, tokens: TokensJson::of(sums.tokens) }
    }

    fn read(self) -> UsageSums {
        UsageSums { requests: self.requests, tokens: self.tokens.read() }
    }
}
