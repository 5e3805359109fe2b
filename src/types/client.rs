//! What a program that uses a key calls itself, cut down to what may be kept and shown. Never: who it really is.

use std::fmt;

use super::Key;

/// The beginning of a user-agent: up to 48 plain characters, before the first bracket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(String);

const BYTES_MAX: usize = 48;

impl ClientName {
    /// What a program is called that does not say.
    pub const UNNAMED: &str = "unnamed";

    /// From a user-agent header (RFC 9110, 10.1.5). One that may hold a key says nothing.
    #[must_use]
    pub fn of(agent: &[u8]) -> Self {
        Self(Self::told(agent).to_string())
    }

    /// The name as it is kept in a record.
    #[must_use]
    pub fn kept(text: &str) -> Self {
        Self::of(text.as_bytes())
    }

    /// Whether it is the one of this header.
    #[must_use]
    pub fn is_of(&self, agent: &[u8]) -> bool {
        // A name is its own name, and most programs send nothing else.
        self.0.as_bytes() == agent || self.0 == Self::told(agent)
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The program without its version: `OpenAI/Python` of `OpenAI/Python 1.99.9`, `curl` of `curl/8.5.0`.
    #[must_use]
    pub fn product(&self) -> &str {
        let first = self.0.split(' ').next().unwrap_or_default();
        match first.split_once('/') {
            Some((name, version)) if version.is_empty() || is_version(version) => name,
            Some(_) | None => first,
        }
    }

    fn told(agent: &[u8]) -> &str {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" ./_+-".contains(byte);
        let end = agent.iter().take(BYTES_MAX).position(|byte| !plain(byte)).unwrap_or(agent.len());
        let start = agent.get(..end.min(BYTES_MAX)).unwrap_or_default();
        let text = std::str::from_utf8(start).unwrap_or_default().trim();
        let whole = agent.get(..1024).unwrap_or(agent);
        if text.is_empty() || Key::may_be_among(whole) { Self::UNNAMED } else { text }
    }
}

fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    text.starts_with(|c: char| c.is_ascii_digit())
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_the_plain_beginning_of_its_user_agent() {
        for (agent, name, product) in [
            ("OpenAI/Python 1.99.9", "OpenAI/Python 1.99.9", "OpenAI/Python"),
            ("OpenAI/JS 6.49.0", "OpenAI/JS 6.49.0", "OpenAI/JS"),
            ("curl/8.5.0", "curl/8.5.0", "curl"),
            ("node", "node", "node"),
            ("python-requests/2.31 (x)", "python-requests/2.31", "python-requests"),
            ("Mozilla/5.0 (X11; Linux) Chrome/1", "Mozilla/5.0", "Mozilla"),
            ("", "unnamed", "unnamed"),
            ("(", "unnamed", "unnamed"),
            ("a\u{1b}[31m", "a", "a"),
            ("<script>", "unnamed", "unnamed"),
        ] {
            let client = ClientName::of(agent.as_bytes());
            assert_eq!((client.as_str(), client.product()), (name, product), "{agent}");
            assert!(client.is_of(agent.as_bytes()) && ClientName::kept(client.as_str()) == client);
        }
        assert_eq!(ClientName::of(&[b'a'; 500]).as_str().len(), BYTES_MAX);
        assert_eq!(ClientName::of(b"\xff\xfe").as_str(), "unnamed");
    }

    #[test]
    fn law_2_a_key_in_a_user_agent_is_not_kept() {
        let key = format!("ember_prod_{}", "a".repeat(38));
        assert_eq!(ClientName::of(format!("app/1 {key}").as_bytes()).as_str(), ClientName::UNNAMED);
    }
}
