//! Asks model servers how they are, once, for whoever looks after them. Costs no tokens. Never: keeps anything.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::reading::{READING_TIMEOUT, ask, list_of};
use super::server::Server;
use super::{RelayFault, ServerSettings, SettingsFault};
use crate::types::{ModelId, Random};

/// How a model server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The models of its list; none when it has no list and need not have one. Else why it can't be used.
    pub models: Result<Option<Vec<ModelId>>, RelayFault>,
    /// From asking to the whole answer, or to the fault.
    pub latency: Duration,
    /// Whether it shows its list without a key, so that it can be used without one by whoever reaches it.
    pub is_open: bool,
}

/// Asks all servers at once, each for a few seconds at most; the answers are in their order.
///
/// # Errors
/// [`SettingsFault`] of the first server that no request could be made for.
pub async fn probe(
    servers: Vec<ServerSettings>,
    random: &Arc<dyn Random>,
) -> Result<Vec<Probe>, SettingsFault> {
    let mut asking = JoinSet::new();
    for (place, settings) in servers.into_iter().enumerate() {
        let discovering = settings.models.is_empty();
        let server = Server::new(settings, Arc::clone(random), Arc::default())?;
        asking.spawn(async move { (place, probe_one(&server, discovering).await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_unstable_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, probe)| probe).collect())
}

async fn probe_one(server: &Server, discovering: bool) -> Probe {
    let began = Instant::now();
    let list = timeout(READING_TIMEOUT, list_of(server, discovering)).await;
    let list = list.unwrap_or(Err(RelayFault::Timeout));
    let latency = began.elapsed();
    let is_open = match &list {
        Ok(_) if server.has_key() => timeout(READING_TIMEOUT, answers_anyone(server)).await.unwrap_or(false),
        Ok(list) => list.is_some(),
        Err(_) => false,
    };
    let models = list.map(|list| list.map(|list| list.into_iter().map(|listing| listing.id).collect()));
    Probe { models, latency, is_open }
}

async fn answers_anyone(server: &Server) -> bool {
    let answer = ask(&server.address, server.head_of_anyone(&server.models_uri)).await;
    answer.is_ok_and(|(status, _)| status.is_success())
}
