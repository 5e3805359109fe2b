//! One model server: how to speak to it, how busy it is, how it has been. Never: which models it has, who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Uri};
use memchr::memmem;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pool::Pool;
use super::settings::{Address, ServerSettings, SettingsFault};
use super::slots::{Slot, Slots};
use super::{Endpoint, RelayFault};

/// How long a server that failed is asked last.
const SHUNNED: Duration = Duration::from_secs(2);

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
    /// Told when its list should be read before its time.
    pub(super) doubted: Notify,
    pub(super) models_uri: Uri,
    uris: [Uri; Endpoint::ALL.len()],
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    /// What it was made of, but for its bounds.
    settings: ServerSettings,
    condition: Mutex<Condition>,
}

/// What is known of a server's health.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Condition {
    /// Its list was read, last time.
    pub(super) up: bool,
    /// What went wrong last, unless its list was read since.
    pub(super) fault: Option<RelayFault>,
    failed_at: Option<Instant>,
    /// It refused Ember's key and has not answered since.
    refused_key: bool,
}

/// The right to one request at a server; given back when dropped.
pub(super) struct ServerSlot {
    server: Arc<Server>,
    _slot: Slot,
}

impl Server {
    /// # Errors
    /// [`SettingsFault`] when no request could be made from the settings.
    pub(super) fn new(settings: ServerSettings) -> Result<Self, SettingsFault> {
        let (models_uri, uris) = uris(&settings)?;
        let host = host(&settings)?;
        let authorization = authorization(&settings)?;
        if settings.api_key.as_ref().is_some_and(|key| key.expose().len() < SEARCHED_BYTES_MIN) {
            tracing::warn!(
                upstream = settings.name,
                "the key for this model server is shorter than {SEARCHED_BYTES_MIN} characters, so its errors can't \
                 be searched for it; give the server a longer one"
            );
        }
        Ok(Self {
            name: settings.name.clone(),
            address: settings.address.clone(),
            connect_timeout: settings.connect_timeout,
            first_byte_timeout: settings.first_byte_timeout,
            idle_timeout: settings.idle_timeout,
            total_timeout: settings.total_timeout,
            queue_timeout: settings.queue_timeout,
            slots: Slots::new(settings.in_flight_max, settings.queue_max),
            pool: Arc::default(),
            doubted: Notify::new(),
            models_uri,
            uris,
            host,
            authorization,
            settings: ServerSettings { in_flight_max: 0, queue_max: 0, ..settings },
            condition: Mutex::default(),
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
    /// together, and what is known of its health.
    pub(super) fn succeeding(self, old: &Self) -> Self {
        let condition = Mutex::new(old.condition());
        Self { slots: Arc::clone(&old.slots), condition, ..self }
    }

    /// Where an endpoint is.
    pub(super) fn uri(&self, endpoint: Endpoint) -> Uri {
        self.uris[endpoint as usize].clone()
    }

    /// The headers that every request to it begins with.
    pub(super) fn own_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(HOST, self.host.clone());
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        headers
    }

    /// Whether it has a key that must not be shown.
    pub(super) fn has_key(&self) -> bool {
        self.settings.api_key.is_some()
    }

    /// Whether its key stands in `bytes`, plain or with JSON's escapes. A key that is as short as a word is not
    /// looked for.
    pub(super) fn leaks_in(&self, bytes: &[u8]) -> bool {
        let key = self.settings.api_key.as_ref();
        let Some(key) = key.filter(|key| key.expose().len() >= SEARCHED_BYTES_MIN) else { return false };
        let finder = memmem::Finder::new(key.expose());
        finder.find(bytes).is_some()
            || (memchr::memchr(b'\\', bytes).is_some() && finder.find(&unescaped(bytes)).is_some())
    }

    /// Whether it failed a moment ago.
    pub(super) fn is_shunned(&self) -> bool {
        self.lock().failed_at.is_some_and(|at| at.elapsed() < SHUNNED)
    }

    /// Whether its list could not be read, last time. Nobody tried yet: no.
    pub(super) fn is_down(&self) -> bool {
        let condition = self.lock();
        !condition.up && condition.fault.is_some()
    }

    /// How it is.
    pub(super) fn condition(&self) -> Condition {
        *self.lock()
    }

    /// A request to it came to nothing.
    pub(super) fn failed(&self, fault: RelayFault) {
        let was_up = {
            let mut condition = self.lock();
            condition.failed_at = Some(Instant::now());
            condition.fault = Some(fault);
            condition.up
        };
        if was_up {
            self.doubted.notify_one();
        }
    }

    /// It refused Ember's key; says whether that is news.
    pub(super) fn refused_key(&self) -> bool {
        !std::mem::replace(&mut self.lock().refused_key, true)
    }

    /// It answered that it can't answer now.
    pub(super) fn unable(&self) {
        self.lock().failed_at = Some(Instant::now());
    }

    /// A request to it was answered.
    pub(super) fn answered(&self) {
        let was_up = {
            let mut condition = self.lock();
            condition.failed_at = None;
            condition.refused_key = false;
            condition.up
        };
        if !was_up {
            self.doubted.notify_one();
        }
    }

    /// Its list was read, or could not be; says whether that is news.
    pub(super) fn was_read(&self, fault: Option<RelayFault>) -> bool {
        let mut condition = self.lock();
        let news = condition.up != fault.is_none() || (fault.is_some() && condition.fault != fault);
        condition.up = fault.is_none();
        condition.fault = fault;
        news
    }

    fn lock(&self) -> MutexGuard<'_, Condition> {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerSlot {
    pub(super) fn new(server: Arc<Server>, slot: Slot) -> Self {
        Self { server, _slot: slot }
    }

    /// Whose it is.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

/// Text without JSON's escapes: what each stands for if it stands for ASCII, else nothing; stray backslashes go.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            plain.push(byte);
        } else if let Some((code, after)) = escaped_code(rest) {
            plain.extend(u8::try_from(code));
            rest = after;
        }
    }
    plain
}

/// The code of `u` and four digits, and what comes behind.
fn escaped_code(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = text.strip_prefix(b"u")?.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}

fn uris(settings: &ServerSettings) -> Result<(Uri, [Uri; Endpoint::ALL.len()]), SettingsFault> {
    let prefix = settings.prefix.trim_end_matches('/');
    let uri = |path: &str| {
        let whole = format!("{prefix}{path}");
        let parsed = whole.parse::<Uri>().ok().filter(|uri| uri.path() == whole);
        parsed.ok_or_else(|| SettingsFault::Prefix {
            server: settings.name.clone(),
            prefix: settings.prefix.clone(),
        })
    };
    let [chat, completions, embeddings, responses] = Endpoint::ALL.map(|endpoint| uri(endpoint.path()));
    Ok((uri("/v1/models")?, [chat?, completions?, embeddings?, responses?]))
}

fn host(settings: &ServerSettings) -> Result<HeaderValue, SettingsFault> {
    let (text, host) = match &settings.address {
        Address::Unix(_) | Address::Echo(_) => return Ok(HeaderValue::from_static("localhost")),
        Address::Tcp { host, .. } => (settings.address.to_string(), host),
    };
    HeaderValue::try_from(text)
        .ok()
        .filter(|_| !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#', '[']))
        .ok_or_else(|| SettingsFault::Host { server: settings.name.clone(), host: host.clone() })
}

fn authorization(settings: &ServerSettings) -> Result<Option<HeaderValue>, SettingsFault> {
    let Some(key) = &settings.api_key else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
        .ok()
        .filter(|_| !key.expose().is_empty())
        .ok_or_else(|| SettingsFault::ApiKey { server: settings.name.clone() })?;
    value.set_sensitive(true);
    Ok(Some(value))
}
