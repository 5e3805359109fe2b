//! One model server: how to speak to it, how busy it is, how it has been. Never: which models it has, who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Uri};
use memchr::memmem;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::breaker::{Breaker, Circuit, Failure};
use super::failures::Failures;
use super::glance::Glanced;
use super::headers::{begin, line};
use super::parts::{authorization, health_uri, host, unescaped, uris};
use super::pool::Pool;
use super::settings::{Address, ServerSettings, SettingsFault};
use super::slots::{Slot, Slots};
use super::{Endpoint, RelayFault};
use crate::types::{KeyId, Random, UpstreamState};

/// The turn of a server with weight 1; a server that was away catches up by no more.
const TURN: u64 = 1 << 20;

/// The shortest key that is searched for in answers: a shorter one may be a word that stands in any of them.
const SEARCHED_BYTES_MIN: usize = 8;

/// A model server, as requests see it.
pub(super) struct Server {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) connect_timeout: Duration,
    pub(super) first_byte_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) total_timeout: Duration,
    pub(super) queue_timeout: Duration,
    /// Requests under way and those that wait.
    pub(super) slots: Arc<Slots>,
    pub(super) pool: Arc<Pool>,
    pub(super) priority: u32,
    /// At least 1.
    pub(super) weight: u32,
    /// Told when it should be checked before its time.
    pub(super) doubted: Notify,
    pub(super) models_uri: Uri,
    /// What is asked for to know whether it is well; its list, without it.
    pub(super) health_uri: Option<Uri>,
    /// How often it is asked for, where that is not as often as the list.
    pub(super) health_interval: Option<Duration>,
    /// What it was given of requests so far, by its weight.
    turn: AtomicU64,
    random: Arc<dyn Random>,
    /// The beginnings of requests' heads, with its key.
    heads: [Vec<u8>; Endpoint::ALL.len()],
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    /// Looks for its key.
    finder: Option<memmem::Finder<'static>>,
    /// Its name, to be kept by many.
    pub(super) label: Arc<str>,
    /// What it was made of, but for its bounds.
    settings: ServerSettings,
    /// Shared with those that take its place.
    /// Glanced at, it is whether all is plainly well.
    condition: Arc<Glanced<Condition>>,
    changes: Changes,
    pub(super) failures: Arc<Failures>,
}

/// Told when a server may be a better or a worse place for a request than it was. One for all servers.
pub(super) type Changes = Arc<watch::Sender<()>>;

/// What a request that came to nothing says of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The server is at fault, whatever was asked.
    Server,
    /// The server is at fault, unless it is this key's request.
    Either(KeyId),
    /// Nothing: it is as likely the request.
    Nobody,
}

/// Whether requests should go to a server; the better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Well,
    /// Its circuit is open.
    Failing,
    Down,
    /// Not even when no other is left.
    Drained,
}

/// What is known of a server's health.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition {
    /// The last check was good.
    pub(super) up: bool,
    /// What went wrong last, unless a check was good since.
    pub(super) fault: Option<RelayFault>,
    /// How long the last check took.
    pub(super) latency: Option<Duration>,
    /// Since when its state is what it is; none before the first change.
    since: Option<Instant>,
    breaker: Breaker,
    /// What opened the circuit.
    opened_by: Option<RelayFault>,
    drained: bool,
    /// It refused Ember's key and has not answered since.
    refused_key: bool,
    /// The last check took too long, which alone says little of a server that is busy.
    was_late: bool,
    /// When a request was answered last.
    answered_at: Option<Instant>,
}

impl Condition {
    pub(super) fn state(&self) -> UpstreamState {
        match self {
            Self { drained: true, .. } => UpstreamState::Draining,
            _ if self.is_down() => UpstreamState::Down,
            _ if self.breaker.is_tripped() => UpstreamState::Open,
            Self { up: true, .. } => UpstreamState::Up,
            Self { up: false, .. } => UpstreamState::Unknown,
        }
    }

    fn is_plainly_well(&self) -> bool {
        matches!(self.state(), UpstreamState::Up | UpstreamState::Unknown)
    }

    /// Whether the last check failed. What requests meet before the first one says nothing about that.
    const fn is_down(&self) -> bool {
        !self.up && self.latency.is_some()
    }

    /// For how long.
    pub(super) fn lasts(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    /// What is wrong.
    pub(super) fn reason(&self) -> Option<RelayFault> {
        if self.state() == UpstreamState::Open { self.opened_by } else { self.fault }
    }
}

/// The right to one request at a server; given back when dropped.
pub(super) struct ServerSlot {
    server: Arc<Server>,
    slot: Slot,
}

impl Server {
    /// # Errors
    /// [`SettingsFault`] when no request could be made from the settings.
    pub(super) fn new(
        settings: ServerSettings,
        random: Arc<dyn Random>,
        changes: Changes,
    ) -> Result<Self, SettingsFault> {
        let (models_uri, uris) = uris(&settings)?;
        let health_uri = health_uri(&settings)?;
        let host = host(&settings)?;
        let authorization = authorization(&settings)?;
        if settings.api_key.as_ref().is_some_and(|key| key.expose().len() < SEARCHED_BYTES_MIN) {
            tracing::warn!(
                upstream = settings.name,
                "the key for this model server is shorter than {SEARCHED_BYTES_MIN} characters, so its errors can't \
                 be searched for it; give the server a longer one"
            );
        }
        let heads = uris.map(|uri| {
            let mut head = own_head("POST", &uri, &host, authorization.as_ref());
            line(&mut head, "accept-encoding", b"identity");
            head
        });
        let searched = settings.api_key.as_ref().filter(|key| key.expose().len() >= SEARCHED_BYTES_MIN);
        let finder = searched.map(|key| memmem::Finder::new(key.expose()).into_owned());
        Ok(Self {
            name: settings.name.clone(),
            label: settings.name.as_str().into(),
            address: settings.address.clone(),
            connect_timeout: settings.connect_timeout,
            first_byte_timeout: settings.first_byte_timeout,
            idle_timeout: settings.idle_timeout,
            total_timeout: settings.total_timeout,
            queue_timeout: settings.queue_timeout,
            slots: Slots::new(settings.in_flight_max, settings.queue_max),
            pool: Arc::default(),
            priority: settings.priority,
            weight: settings.weight.max(1),
            doubted: Notify::new(),
            models_uri,
            health_uri,
            health_interval: settings.health_interval,
            turn: AtomicU64::new(0),
            random,
            heads,
            host,
            authorization,
            finder,
            settings: ServerSettings { in_flight_max: 0, queue_max: 0, ..settings },
            condition: Arc::new(Glanced::new(Condition::default(), |one| usize::from(one.is_plainly_well()))),
            changes,
            failures: Arc::default(),
        })
    }

    /// Whether the same was said of both, but for their bounds.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// What it is called, and where its list is.
    pub(super) fn place(&self) -> (String, String) {
        (self.name.clone(), format!("{}{}", self.address, self.models_uri))
    }

    /// The same, in the place of one that is reached there already: with its slots, so that the bounds hold for both
    /// together, and what is known of it.
    pub(super) fn succeeding(self, old: &Self) -> Self {
        let condition = Arc::clone(&old.condition);
        let (slots, failures) = (Arc::clone(&old.slots), Arc::clone(&old.failures));
        let turn = AtomicU64::new(old.turn());
        Self { slots, failures, turn, condition, ..self }
    }

    /// It takes the place of that one from now on. What the old key met says nothing about a new one.
    pub(super) fn takes_over(&self, old: &Self) {
        if self.settings.api_key != old.settings.api_key {
            self.change(|condition| {
                condition.breaker = Breaker::default();
                condition.refused_key = false;
            });
        }
    }

    /// Hears of changes of any server from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How every request to an endpoint begins.
    pub(super) fn head(&self, endpoint: Endpoint) -> &[u8] {
        &self.heads[endpoint as usize]
    }

    /// How a request for something else begins.
    pub(super) fn head_for(&self, target: &Uri) -> Vec<u8> {
        own_head("GET", target, &self.host, self.authorization.as_ref())
    }

    /// The same without its key.
    pub(super) fn head_of_anyone(&self, target: &Uri) -> Vec<u8> {
        own_head("GET", target, &self.host, None)
    }

    /// Whether it has a key that must not be shown.
    pub(super) fn has_key(&self) -> bool {
        self.settings.api_key.is_some()
    }

    /// Whether its key stands in `bytes`, plain or with JSON's escapes. A key that is as short as a word is not
    /// looked for.
    pub(super) fn leaks_in(&self, bytes: &[u8]) -> bool {
        let Some(finder) = self.finder.as_ref().filter(|finder| finder.needle().len() <= bytes.len()) else {
            return false;
        };
        finder.find(bytes).is_some()
            || (memchr::memchr(b'\\', bytes).is_some() && finder.find(&unescaped(bytes)).is_some())
    }

    /// Whether requests should go there.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        let condition = self.condition.lock();
        match condition.state() {
            UpstreamState::Draining => Standing::Drained,
            UpstreamState::Down => Standing::Down,
            UpstreamState::Open if condition.breaker.circuit(now) == Circuit::Open => Standing::Failing,
            UpstreamState::Open | UpstreamState::Up | UpstreamState::Unknown => Standing::Well,
        }
    }

    /// Whether all is well with it, so that a request may go there whatever the time is.
    pub(super) fn is_plainly_well(&self) -> bool {
        self.condition.glance() > 0
    }

    /// A request goes there; says whether it may, for all that is known of its failures.
    pub(super) fn begins(&self) -> bool {
        let mut condition = self.condition.lock();
        !condition.breaker.is_tripped() || condition.breaker.begins(Instant::now())
    }

    /// What it was given so far, by its weight.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// It was given a request. `most`: the most that any of its kind was given.
    pub(super) fn takes_turn(&self, most: u64) {
        let from = self.turn().max(most.saturating_sub(TURN));
        self.turn.store(from + TURN / u64::from(self.weight), Ordering::Relaxed);
    }

    /// How it is.
    pub(super) fn condition(&self) -> Condition {
        *self.condition.lock()
    }

    /// A request to it came to nothing.
    pub(super) fn failed(&self, fault: RelayFault, blame: Blame) {
        let failure = match (fault, blame) {
            (_, Blame::Nobody) => return self.failures.count(fault),
            (RelayFault::Unreachable | RelayFault::TlsFailed, _) => Failure::Unreachable,
            (_, Blame::Server) => Failure::Own,
            (_, Blame::Either(key)) => Failure::Met(key),
        };
        let was_up = self.change(|condition| {
            condition.fault = Some(fault);
            condition.up
        });
        self.counts_against(fault, failure);
        if was_up {
            self.doubted.notify_one();
        }
    }

    /// It answered a request of that key that it can't answer now.
    pub(super) fn unable(&self, key: KeyId) {
        self.counts_against(RelayFault::Refused, Failure::Met(key));
    }

    /// It answered a request of that key with an error of its own.
    pub(super) fn erred(&self, key: KeyId) {
        self.counts_against(RelayFault::Refused, Failure::Error(key));
    }

    fn counts_against(&self, fault: RelayFault, failure: Failure) {
        self.failures.count(fault);
        let dice = self.dice();
        let opened = self.change(|condition| {
            let opened = condition.breaker.failed(failure, Instant::now(), dice)?;
            condition.opened_by = Some(fault);
            Some(opened)
        });
        if let Some(opened) = opened {
            let for_ms = opened.as_millis();
            tracing::warn!(upstream = self.name, for_ms, "requests go elsewhere while they can: {fault}");
            self.slots.send_on();
            self.changes.send_replace(());
        }
    }

    /// It refused Ember's key; says whether that is news.
    pub(super) fn refused_key(&self) -> bool {
        !std::mem::replace(&mut self.condition.lock().refused_key, true)
    }

    /// A request to it was answered.
    pub(super) fn answered(&self, now: Instant) {
        let (was_up, was_open) = self.change(|condition| {
            let was_open = condition.breaker.is_tripped();
            condition.breaker.answered();
            condition.refused_key = false;
            condition.answered_at = condition.answered_at.max(Some(now));
            (condition.up, was_open)
        });
        if was_open {
            tracing::info!(upstream = self.name, "the model server answers again");
        }
        if !was_up {
            self.doubted.notify_one();
        }
    }

    /// It was checked, in so much time; says whether the outcome is news. A check that takes too long says nothing when
    /// requests were answered meanwhile, and little before the next one takes too long as well.
    pub(super) fn was_checked(&self, fault: Option<RelayFault>, took: Duration) -> bool {
        let began = Instant::now().checked_sub(took);
        let (news, may_be_tried) = self.change(|condition| {
            let is_late = fault == Some(RelayFault::Timeout);
            let has_answered = is_late && began.is_some() && condition.answered_at >= began;
            let was_late = std::mem::replace(&mut condition.was_late, is_late && !has_answered);
            let is_first = is_late && !was_late;
            if has_answered || (is_first && !condition.is_down()) {
                return (false, false);
            }
            let news = condition.up != fault.is_none() || (fault.is_some() && condition.fault != fault);
            let changes = fault.is_none() && condition.breaker.checked(condition.is_down(), Instant::now());
            condition.up = fault.is_none();
            condition.fault = fault;
            condition.latency = Some(took);
            (news, changes)
        });
        if may_be_tried {
            self.changes.send_replace(());
        }
        news
    }

    /// Takes no new requests, or takes them again. Those under way go on; who waits is sent on.
    pub(super) fn drain(&self, drained: bool) {
        self.change(|condition| {
            self.slots.drain(drained);
            condition.drained = drained;
        });
    }

    /// Whether an operator wants no new requests there.
    pub(super) fn is_draining(&self) -> bool {
        self.condition.lock().drained
    }

    /// Whether it takes no new requests: it is drained, or it is gone.
    pub(super) fn is_drained(&self) -> bool {
        self.slots.is_closed()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Condition) -> T) -> T {
        let mut condition = self.condition.lock();
        let before = condition.state();
        let outcome = change(&mut condition);
        let is_other = condition.state() != before;
        if is_other {
            condition.since = Some(Instant::now());
        }
        drop(condition);
        if is_other {
            self.changes.send_replace(());
        }
        outcome
    }

    /// Where none is to be had the middle will do: it only keeps servers and gateways out of step.
    fn dice(&self) -> u32 {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes).map_or(u32::MAX / 2, |()| u32::from_ne_bytes(bytes))
    }
}

fn own_head(method: &str, target: &Uri, host: &HeaderValue, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let mut head = begin(method, target, host);
    if let Some(authorization) = authorization {
        line(&mut head, "authorization", authorization.as_bytes());
    }
    head
}

impl ServerSlot {
    pub(super) fn new(server: Arc<Server>, slot: Slot) -> Self {
        Self { server, slot }
    }

    /// What it was for is over; it is about to be dropped.
    pub(super) fn ends(&mut self, now: Instant) {
        self.slot.ends(now);
    }

    /// Whose it is.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }
}
