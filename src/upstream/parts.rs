//! What requests to a server are made of, from its settings: addresses, headers. Never: sending them.

use http::{HeaderValue, Uri};

use super::Endpoint;
use super::settings::{Address, ServerSettings, SettingsFault};

/// Text without JSON's escapes: what each stands for if it stands for ASCII, else nothing; stray backslashes go.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
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

pub(super) fn uris(settings: &ServerSettings) -> Result<(Uri, [Uri; Endpoint::ALL.len()]), SettingsFault> {
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

pub(super) fn health_uri(settings: &ServerSettings) -> Result<Option<Uri>, SettingsFault> {
    let Some(path) = &settings.health_path else { return Ok(None) };
    let whole = format!("{}{path}", settings.prefix.trim_end_matches('/'));
    let parsed = whole.parse::<Uri>().ok().filter(|uri| path.starts_with('/') && uri.path() == whole);
    let fault = SettingsFault::HealthPath { server: settings.name.clone(), path: path.clone() };
    parsed.map(Some).ok_or(fault)
}

pub(super) fn host(settings: &ServerSettings) -> Result<HeaderValue, SettingsFault> {
    let (text, host) = match &settings.address {
        Address::Unix(_) | Address::Echo(_) => return Ok(HeaderValue::from_static("localhost")),
        Address::Tcp { host, .. } => (settings.address.to_string(), host.as_str()),
        Address::Tls(secure) => (secure.to_string(), secure.host()),
    };
    HeaderValue::try_from(text)
        .ok()
        .filter(|_| !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#', '[']))
        .ok_or_else(|| SettingsFault::Host { server: settings.name.clone(), host: host.to_string() })
}

pub(super) fn authorization(settings: &ServerSettings) -> Result<Option<HeaderValue>, SettingsFault> {
    let Some(key) = &settings.api_key else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
        .ok()
        .filter(|_| !key.expose().is_empty())
        .ok_or_else(|| SettingsFault::ApiKey { server: settings.name.clone() })?;
    value.set_sensitive(true);
    Ok(Some(value))
}
