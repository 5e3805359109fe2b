//! Checks the servers and reads their own model lists: when, and what follows. Costs no tokens. Never: what a list means.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::answer::Answer;
use super::connect::connect;
use super::headers;
use super::list_file;
use super::listing::Listing;
use super::pieces::Pieces;
use super::pool::Lease;
use super::server::Server;
use super::settings::Address;
use super::{RelayFault, Upstreams};

/// The longest that a check may take.
pub(super) const READING_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest list.
const LIST_BYTES_MAX: usize = 4 << 20;
/// How soon a server that is down is asked again; twice as long after each time, up to the second.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How soon a server is asked again because a request made its condition doubtful.
const DOUBT_WAIT: Duration = Duration::from_millis(500);
/// How long a loopback port has to answer.
const DISCOVERY_TIMEOUT: Duration = Duration::from_millis(300);

/// Where model servers listen when nobody tells them otherwise. Another kind may listen there as well.
pub const USUAL_PORTS: [(&str, u16); 5] =
    [("Ollama", 11434), ("vLLM", 8000), ("llama.cpp", 8080), ("SGLang", 30000), ("LM Studio", 1234)];

/// What listens on the ports that were asked, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Those that answer with a model list.
    pub servers: Vec<(String, SocketAddr)>,
    /// Those that want a key before they show one (401 or 403).
    pub locked: Vec<(String, SocketAddr)>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Server,
    Locked,
}

/// Asks ports on 127.0.0.1, all at once, for a model list.
pub async fn discover(ports: &[(&str, u16)]) -> Discovered {
    let mut asking = JoinSet::new();
    for (place, (_, port)) in ports.iter().enumerate() {
        let port = *port;
        asking.spawn(async move { Some((place, found_at(port).await?)) });
    }
    let mut found: Vec<(usize, Found)> = asking.join_all().await.into_iter().flatten().collect();
    found.sort_unstable();
    let mut discovered = Discovered::default();
    for (place, found) in found {
        let (name, port) = ports[place];
        let list = match found {
            Found::Server => &mut discovered.servers,
            Found::Locked => &mut discovered.locked,
        };
        list.push((name.to_string(), SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    }
    discovered
}

async fn found_at(port: u16) -> Option<Found> {
    let address = Address::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port };
    let host = HeaderValue::try_from(address.to_string()).ok()?;
    let asking = ask(&address, headers::begin("GET", &Uri::from_static("/v1/models"), &host));
    match timeout(DISCOVERY_TIMEOUT, asking).await {
        Ok(Ok((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _))) => Some(Found::Locked),
        Ok(Ok((status, body))) if status.is_success() => Listing::read_all(&body).map(|_| Found::Server),
        Ok(Ok(_) | Err(_)) | Err(_) => None,
    }
}

impl Upstreams {
    /// Checks every server once, all at once.
    pub async fn look(self: &Arc<Self>) {
        let mut readings = JoinSet::new();
        for server in self.catalogue.servers() {
            let upstreams = Arc::clone(self);
            readings.spawn(async move { upstreams.check(&server, &mut None).await });
        }
        readings.join_all().await;
    }

    /// Checks every server at once and again every `refresh`, or as often as its own interval says; one that is down
    /// sooner, and all when the servers were replaced. Never ends: spawn it, and abort it at the end.
    pub async fn watch(self: Arc<Self>) {
        let mut replaced = self.replaced.subscribe();
        let (mut readers, mut read) = (JoinSet::new(), Vec::new());
        loop {
            let servers = self.catalogue.servers();
            for server in &servers {
                if !read.iter().any(|known| Arc::ptr_eq(known, server)) {
                    readers.spawn(Arc::clone(&self).keep_reading(Arc::clone(server)));
                }
            }
            read = servers;
            tokio::select! {
                _ = replaced.changed() => self.save_lists().await,
                Some(_) = readers.join_next(), if !readers.is_empty() => {}
            }
        }
    }

    /// Until the server is not one of them any more.
    async fn keep_reading(self: Arc<Self>, server: Arc<Server>) {
        let mut replaced = self.replaced.subscribe();
        let mut retry = Retry::default();
        let mut listed_at = None;
        while let Some(is_well) = self.check(&server, &mut listed_at).await {
            let interval = server.health_interval.unwrap_or_else(|| self.refresh());
            let wait = if is_well {
                retry = Retry::default();
                interval
            } else {
                retry.next().min(interval)
            };
            let soonest = Instant::now() + DOUBT_WAIT;
            tokio::select! {
                () = sleep(wait) => {}
                () = server.doubted.notified() => sleep_until(soonest).await,
                _ = replaced.changed() => retry = Retry::default(),
            }
        }
    }

    /// Whether the server is well: by its health path where it has one, else by its list. With a health path the list
    /// is read as well when its time has come, and says nothing about that. None when it is not one of the servers any
    /// more.
    async fn check(&self, server: &Arc<Server>, listed_at: &mut Option<Instant>) -> Option<bool> {
        let discovering = self.catalogue.is_discovering(server)?;
        let began = Instant::now();
        let fault = match &server.health_uri {
            Some(uri) => in_time(health_of(server, uri)).await.err(),
            None => self.read_list(server, discovering).await.err(),
        };
        let took = began.elapsed();
        let is_due = listed_at.is_none_or(|at| at.elapsed() >= self.refresh());
        if server.health_uri.is_some() && fault.is_none() && is_due {
            match self.read_list(server, discovering).await {
                Ok(()) => *listed_at = Some(began),
                Err(fault) => {
                    tracing::debug!(upstream = server.name, "its model list can't be read: {fault}")
                }
            }
        }
        // What was asked of one that was replaced meanwhile says nothing of its successor.
        self.catalogue.is_discovering(server)?;
        if server.was_checked(fault, took) {
            match fault {
                Some(fault) => tracing::warn!(upstream = server.name, "the model server is down: {fault}"),
                None => tracing::info!(upstream = server.name, "the model server is up"),
            }
        }
        Some(fault.is_none())
    }

    async fn read_list(&self, server: &Arc<Server>, discovering: bool) -> Result<(), RelayFault> {
        let list = in_time(list_of(server, discovering)).await?;
        if list.is_some_and(|list| self.catalogue.heard(server, list)) {
            self.save_lists().await;
        }
        Ok(())
    }

    fn refresh(&self) -> Duration {
        *self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn save_lists(&self) {
        let Some(path) = self.models_file.clone() else { return };
        let _one_at_a_time = self.saving.lock().await;
        let lists = self.catalogue.lists();
        let file = path.display().to_string();
        let saving = tokio::task::spawn_blocking(move || {
            list_file::save(&path, lists.iter().map(|(server, list)| (server.as_ref(), list)))
        });
        match saving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%file, %error, "the model lists can't be kept for the next start")
            }
            Err(error) => tracing::warn!(%file, %error, "the model lists can't be kept for the next start"),
        }
    }
}

/// How soon a server that is down is asked again.
struct Retry(Duration);

impl Default for Retry {
    fn default() -> Self {
        Self(RETRY_FIRST)
    }
}

impl Retry {
    fn next(&mut self) -> Duration {
        let next = (self.0 * 2).min(RETRY_MAX);
        std::mem::replace(&mut self.0, next)
    }
}

async fn in_time<T>(check: impl Future<Output = Result<T, RelayFault>>) -> Result<T, RelayFault> {
    timeout(READING_TIMEOUT, check).await.unwrap_or(Err(RelayFault::Timeout))
}

/// What a server says of itself on its health path.
pub(super) async fn health_of(server: &Server, uri: &Uri) -> Result<(), RelayFault> {
    let (status, _) = ask(&server.address, server.head_for(uri)).await?;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(RelayFault::AuthRefused)
        }
        _ if status.is_success() => Ok(()),
        _ => Err(RelayFault::Refused),
    }
}

/// A server's list. A server whose models are listed by hand need not have one: it is up when it answers at all.
pub(super) async fn list_of(server: &Server, discovering: bool) -> Result<Option<Vec<Listing>>, RelayFault> {
    let (status, body) = ask(&server.address, server.head_for(&server.models_uri)).await?;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            return Err(RelayFault::AuthRefused);
        }
        _ => {}
    }
    let list = status.is_success().then(|| Listing::read_all(&body)).flatten();
    let is_up = list.is_some() || (!discovering && !status.is_server_error());
    if is_up && !server.leaks_in(&body) { Ok(list) } else { Err(RelayFault::Invalid) }
}

/// Asks for what a head begins to ask for, over a connection of its own.
pub(super) async fn ask(address: &Address, mut head: Vec<u8>) -> Result<(StatusCode, Bytes), RelayFault> {
    let mut lease = Lease::new(connect(address, READING_TIMEOUT).await?);
    headers::line(&mut head, "accept", b"application/json");
    headers::line(&mut head, "accept-encoding", b"identity");
    head.extend_from_slice(b"\r\n");
    lease.send(&head, Pieces::None).await?;
    if headers::is_encoded(lease.head()) {
        return Err(RelayFault::Invalid);
    }
    let status = lease.head().status();
    let body = Answer::new(lease, None).collect(LIST_BYTES_MAX).await?;
    Ok((status, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bug_a_server_that_is_down_is_asked_again_within_half_a_minute() {
        let mut retry = Retry::default();
        assert_eq!([(); 6].map(|()| retry.next().as_secs()), [2, 4, 8, 16, 30, 30]);
    }
}
