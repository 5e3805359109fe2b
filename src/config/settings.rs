//! The one list of settings: path, kind, default, meaning. Never: what anybody wrote.

use super::kind::{
    Kind::{self, Any, Count, Size, Switch, Text, TextOrTexts, Texts, Time, Word},
    shown,
};
use super::{acme, address};
use crate::types::{Limit, ModelId, Price, is_control};

/// One setting. In `path`, `#` stands for the number of an upstream and `*` for a model's name.
pub(super) struct Row {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// As an environment variable would say it. `None`: there is none.
    pub(super) default: Option<&'static str>,
    /// What it is for; part of every fault, and of the example file.
    pub(super) doc: &'static str,
    /// Whether a change holds only after a restart. All others hold from a reload on (docs/reload.md).
    pub(super) needs_restart: bool,
}

const fn row(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Row {
    Row { path, kind, default: Some(default), doc, needs_restart: false }
}

impl Row {
    const fn after_restart(self) -> Self {
        Self { needs_restart: true, ..self }
    }
}

const fn limit(path: &'static str, doc: &'static str) -> Row {
    row(path, Count(0, Limit::MAX), "0", doc)
}

const fn bare(path: &'static str, kind: Kind, doc: &'static str) -> Row {
    Row { path, kind, default: None, doc, needs_restart: false }
}

/// Every setting there is, in the order of `ember.toml`.
pub(super) static SETTINGS: &[Row] = &[
    row("data", Text(path), "", "the data directory").after_restart(),
    row(
        "server.listen",
        TextOrTexts(listen),
        "127.0.0.1:7411",
        "one address and port to listen on, or a list of them",
    )
    .after_restart(),
    row("server.public_url", Text(public_url), "", "the URL that callers use: scheme, host and port"),
    row("server.trusted_proxies", Texts(network), "[]", "the proxies in front: addresses or networks"),
    row("server.cors_origins", Texts(origin), "[]", "the origins whose pages may use keys that allow it"),
    row("server.drain_timeout", Time("10ms", "1h"), "30s", "how long open requests may go on after a stop"),
    row("server.connections_max", Count(1, 1_000_000), "10000", "open connections at once").after_restart(),
    row(
        "server.header_timeout",
        Time("10ms", "1h"),
        "10s",
        "until the first byte, and from it to the end of a request's head",
    ),
    row(
        "server.body_timeout",
        Time("10ms", "1h"),
        "30s",
        "the longest wait for the next part of a request's body",
    ),
    row(
        "server.idle_timeout",
        Time("10ms", "24h"),
        "75s",
        "how long a connection may be open without a request",
    ),
    row(
        "server.write_timeout",
        Time("10ms", "24h"),
        "60s",
        "how long a client may take nothing of an answer",
    ),
    row(
        "server.keepalive_after",
        Time("10ms", "1h"),
        "10s",
        "how long a stream may wait for a model server before it begins, with comments",
    ),
    row("server.headers_max", Count(8, 1000), "80", "header lines of one request"),
    row("server.header_bytes_max", Size("1KiB", "1MiB"), "64KiB", "all header lines of one request together"),
    row("server.target_bytes_max", Size("256", "64KiB"), "8KiB", "path and query of one request"),
    row("server.body_bytes_max", Size("1KiB", "1GiB"), "32MiB", "the body of one request"),
    row("server.buffered_bytes_max", Size("1KiB", "64GiB"), "256MiB", "the bodies of all requests together")
        .after_restart(),
    row("server.streams_max", Count(1, 10_000), "128", "HTTP/2 streams of one connection"),
    row("server.tls.cert_file", Text(path), "", "the certificate chain that clients are shown, in PEM")
        .after_restart(),
    row("server.tls.key_file", Text(path), "", "the private key of the certificate, or credential:NAME")
        .after_restart(),
    row("server.acme.domains", Texts(acme_domain), "[]", "the domains to have a certificate for by ACME")
        .after_restart(),
    row("server.acme.email", Text(acme::email), "", "where the CA may write to").after_restart(),
    row(
        "server.acme.directory",
        Text(acme::directory),
        "https://acme-v02.api.letsencrypt.org/directory",
        "the URL of the CA's directory",
    )
    .after_restart(),
    row("server.acme.ca_file", Text(path), "", "the roots to trust a CA of your own by").after_restart(),
    row("store.cache_bytes", Size("1MiB", "64GiB"), "8MiB", "memory for pages of the data file")
        .after_restart(),
    row(
        "store.ballast_bytes",
        Size("1MiB", "1GiB"),
        "4MiB",
        "disk space held back, so that keys can be revoked on a full disk",
    )
    .after_restart(),
    row("keys.cached_max", Count(1, 100_000_000), "100000", "key records held in memory").after_restart(),
    row("keys.rotation_grace", Time("1s", "365d"), "24h", "how long the old secret works after `key rotate`"),
    row(
        "keys.unused_expiry",
        Time("0s", "3650d"),
        "0s",
        "how long nobody may use a key before Ember lets it expire; 0s is for ever",
    ),
    row(
        "limits.completion_tokens",
        Count(1, 10_000_000),
        "1024",
        "tokens that are held for an answer when the request does not say how many it wants at most",
    ),
    limit("limits.key.requests_per_minute", "requests in a minute of one key; 0 is no limit"),
    limit("limits.key.tokens_per_minute", "tokens in a minute of one key; 0 is no limit"),
    limit("limits.key.concurrent_requests", "requests at once of one key; 0 is no limit"),
    limit("limits.key.requests_per_day", "requests in a day of one key; 0 is no limit"),
    limit("limits.key.tokens_per_day", "tokens in a day of one key; 0 is no limit"),
    limit("limits.key.tokens_per_week", "tokens in a week of one key; 0 is no limit"),
    limit("limits.key.tokens_per_month", "tokens in a month of one key; 0 is no limit"),
    limit("limits.key.tokens_total", "tokens in all of one key; 0 is no limit"),
    limit("limits.account.requests_per_minute", "requests in a minute of one account; 0 is no limit"),
    limit("limits.account.tokens_per_minute", "tokens in a minute of one account; 0 is no limit"),
    limit("limits.account.concurrent_requests", "requests at once of one account; 0 is no limit"),
    limit("limits.account.requests_per_day", "requests in a day of one account; 0 is no limit"),
    limit("limits.account.tokens_per_day", "tokens in a day of one account; 0 is no limit"),
    limit("limits.account.tokens_per_week", "tokens in a week of one account; 0 is no limit"),
    limit("limits.account.tokens_per_month", "tokens in a month of one account; 0 is no limit"),
    limit("limits.account.tokens_total", "tokens in all of one account; 0 is no limit"),
    row(
        "dashboard.sign_up",
        Word(&["closed", "invite", "open"]),
        "closed",
        "who may make an account for himself",
    ),
    row("dashboard.sign_up_domains", Texts(domain), "[]", "the domains that addresses must be of"),
    row(
        "dashboard.session_idle",
        Time("1m", "30d"),
        "30m",
        "how long a person stays signed in without doing anything",
    ),
    row("dashboard.session_lifetime", Time("1m", "90d"), "12h", "how long a person stays signed in at most"),
    row(
        "audit.retention",
        Text(retention),
        "never",
        "how long events of the audit trail are kept; never: for good",
    ),
    row("models.echo", Switch, "false", "whether the built-in stand-in model ember-echo is served"),
    row(
        "models.refresh",
        Time("10ms", "24h"),
        "30s",
        "how often the model lists of the servers are read again",
    ),
    bare("models.prices.*.prompt", Text(price), "the price of a million tokens read"),
    bare("models.prices.*.completion", Text(price), "the price of a million tokens written"),
    bare(
        "models.prices.*.cached",
        Text(price),
        "the price of a million tokens read that the server had cached",
    ),
    row("usage.retention", Time("1d", "3653d"), "90d", "how long records of what was used are kept"),
    row("usage.currency", Text(currency), "", "the word behind amounts of money"),
    row(
        "metrics.listen",
        Text(metrics_listen),
        "",
        "an address and port for Prometheus, without any credential; empty is none",
    )
    .after_restart(),
    row(
        "log.level",
        Word(&["error", "warn", "info", "debug", "trace"]),
        "info",
        "the finest level that is written",
    ),
    row(
        "log.format",
        Word(&["auto", "text", "json"]),
        "auto",
        "the form of a line; auto is text on a terminal, else json",
    )
    .after_restart(),
    row("log.access", Switch, "true", "whether each request leaves a line"),
    bare("upstream.#.name", Text(name), "the name of a model server in logs and metrics"),
    bare("upstream.#.url", Text(upstream), "where a model server listens"),
    row("upstream.#.models", Texts(model), "[]", "the models it serves; empty asks the server"),
    bare("upstream.#.aliases.*", Text(model), "a model under another name: public = real"),
    row(
        "upstream.#.api_key_file",
        Text(path),
        "",
        "the file with Ember's own key for the server, or credential:NAME",
    ),
    row("upstream.#.api_key_env", Text(variable), "", "the variable with Ember's own key for the server"),
    row("upstream.#.ca_file", Text(path), "", "with https: the file of those who may vouch for the server"),
    row("upstream.#.connect_timeout", Time("10ms", "5m"), "5s", "until a connection stands"),
    row("upstream.#.first_byte_timeout", Time("10ms", "24h"), "10m", "until an answer begins"),
    row(
        "upstream.#.idle_timeout",
        Time("10ms", "24h"),
        "5m",
        "the longest wait between two parts of an answer",
    ),
    row("upstream.#.total_timeout", Time("10ms", "7d"), "30m", "a whole answer that does not stream"),
    row(
        "upstream.#.priority",
        Count(0, 100),
        "0",
        "servers of a higher number are used when none of a lower one will do",
    ),
    row("upstream.#.weight", Count(1, 1000), "1", "its share of the requests among servers of one priority"),
    row(
        "upstream.#.health_path",
        Text(health_path),
        "",
        "what is asked for to know whether the server is well; empty asks for its model list",
    ),
    row(
        "upstream.#.health_interval",
        Time("0s", "24h"),
        "0s",
        "how often the server is asked whether it is well; 0s is as often as models.refresh says",
    ),
    row("upstream.#.in_flight_max", Count(1, 1_000_000), "256", "requests at once to the server"),
    row("upstream.#.queue_max", Count(0, 1_000_000), "1024", "requests that wait for the server at once"),
    row("upstream.#.queue_timeout", Time("10ms", "24h"), "60s", "how long a request waits for the server"),
    bare("upstream.#.metadata.*.name", Text(any), "a model's name for people"),
    bare(
        "upstream.#.metadata.*.context_length",
        Count(1, 1_000_000_000),
        "the tokens that a model can look at",
    ),
    bare("upstream.#.metadata.*.max_output_length", Count(1, 1_000_000_000), "the most tokens of one answer"),
    bare(
        "upstream.#.metadata.*.supported_parameters",
        Texts(any),
        "the request parameters that a model understands",
    ),
    bare("upstream.#.metadata.*.pricing", Any, "prices, in any form"),
];

fn any(_: &str) -> Result<(), String> {
    Ok(())
}

fn path(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) { Err(format!("{} is not a path", shown(text))) } else { Ok(()) }
}

fn listen(text: &str) -> Result<(), String> {
    address::listen(text).map(|_| ())
}

fn metrics_listen(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { listen(text) }
}

fn public_url(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { address::public_url(text).map(|_| ()) }
}

fn network(text: &str) -> Result<(), String> {
    address::network(text).map(|_| ())
}

fn retention(text: &str) -> Result<(), String> {
    super::kind::retention(text).map(drop)
}

fn origin(text: &str) -> Result<(), String> {
    address::origin(text).map(|_| ())
}

fn domain(text: &str) -> Result<(), String> {
    address::domain(text).map(|_| ())
}

fn acme_domain(text: &str) -> Result<(), String> {
    acme::domain(text).map(|_| ())
}

fn upstream(text: &str) -> Result<(), String> {
    address::upstream(text).map(|_| ())
}

fn health_path(text: &str) -> Result<(), String> {
    const BYTES_MAX: usize = 1024;
    let is_plain = |c: char| c.is_ascii_graphic() && !"?#%\\\"<>`{|}^".contains(c);
    if text.is_empty() || (text.starts_with('/') && text.len() <= BYTES_MAX && text.chars().all(is_plain)) {
        Ok(())
    } else {
        Err(format!("{} is not a path such as /health", shown(text)))
    }
}

fn model(text: &str) -> Result<(), String> {
    text.parse::<ModelId>().map(|_| ()).map_err(|error| format!("{}: {error}", shown(text)))
}

fn price(text: &str) -> Result<(), String> {
    text.parse::<Price>().map(|_| ()).map_err(|error| format!("{}: {error}", shown(text)))
}

fn currency(text: &str) -> Result<(), String> {
    const CHARS_MAX: usize = 8;
    if text.chars().count() <= CHARS_MAX && !text.chars().any(is_control) {
        Ok(())
    } else {
        Err(format!("{} is not a word of at most {CHARS_MAX} characters", shown(text)))
    }
}

fn name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(plain) {
        Ok(())
    } else {
        Err(format!("{} is not 1 to 64 of a-z, 0-9, '.', '_' and '-'", shown(text)))
    }
}

/// Not shown when wrong: somebody may have put the key itself here.
fn variable(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit()) {
        Ok(())
    } else {
        Err("takes the name of a variable (A-Z, 0-9 and '_'), not the key itself".to_string())
    }
}
