//! How many of something, for people. Never: nouns with a plural of their own.

/// `1 key`, `2 keys`: for nouns that take an s.
///
/// ```
/// use ember_gateway::types::counted;
///
/// assert_eq!([counted(0u64, "key"), counted(1u64, "key")], ["0 keys", "1 key"]);
/// ```
#[must_use]
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
