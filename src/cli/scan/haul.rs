//! What was found so far, each secret once with all its places, and what could not be read. Never: looking for it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;

use crate::types::{SeenSecret, Sighting};

use super::sieve::Spot;

/// So many secrets are kept, and so many places; more are counted.
const SECRETS_MAX: usize = 10_000;
const PLACES_MAX: usize = 10_000;
/// So many warnings are said one by one.
const UNREAD_MAX: usize = 20;
/// Of a commit's id, as git's own short forms.
const COMMIT_CHARS: usize = 12;

/// Where a secret lies. No text in it has a secret in clear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The commit that brought it, or the tag that has it.
    pub(super) commit: Option<String>,
    /// The file; none in the message of a commit or tag.
    pub(super) path: Option<String>,
    /// Where in the file; none when it is in the file's name.
    pub(super) spot: Option<(u64, u64)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(commit) = &self.commit {
            write!(f, "{}:", commit.get(..COMMIT_CHARS).unwrap_or(commit))?;
        }
        f.write_str(self.path.as_deref().unwrap_or(" its message"))?;
        match self.spot {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// A secret that was found.
pub(super) struct Loot {
    /// What is shown of it.
    pub(super) mark: String,
    pub(super) secret: SeenSecret,
    /// The first.
    pub(super) place: Place,
}

/// One secret in one place.
pub(super) struct Find {
    /// Which of the secrets.
    pub(super) secret: usize,
    pub(super) place: Place,
}

/// Everything so far.
#[derive(Default)]
pub(super) struct Haul {
    pub(super) secrets: Vec<Loot>,
    pub(super) finds: Vec<Find>,
    /// Finds that are not kept.
    pub(super) more: u64,
    /// Files, or versions of files, that were read.
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) unread: Unread,
    numbers: HashMap<[u8; 32], usize>,
    /// In a history, a secret is told once for each file: with the commit that brought it.
    told: HashSet<(usize, Option<String>)>,
}

/// What could not be read.
#[derive(Default)]
pub(super) struct Unread {
    /// Of the first.
    pub(super) warnings: Vec<String>,
    /// How many more.
    pub(super) more: u64,
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        self.warnings.is_empty()
    }
}

impl Haul {
    /// Keeps a find, within bounds.
    pub(super) fn add(&mut self, seen: Sighting, place: Place) {
        let digest = seen.secret.digest();
        let known = self.numbers.get(&digest).copied();
        let is_full = match known {
            Some(_) => self.finds.len() >= PLACES_MAX,
            None => self.secrets.len() >= SECRETS_MAX,
        };
        let secret = known.unwrap_or(self.secrets.len());
        if place.commit.is_some() && !is_full && !self.told.insert((secret, place.path.clone())) {
            return;
        }
        if is_full {
            self.more += 1;
            return;
        }
        if known.is_none() {
            self.numbers.insert(digest, secret);
            self.secrets.push(Loot { mark: seen.mark, secret: seen.secret, place: place.clone() });
        }
        self.finds.push(Find { secret, place });
    }

    /// Keeps what is in a file's name.
    pub(super) fn add_name(&mut self, name: &[u8], commit: Option<&str>, path: &str) {
        for seen in Sighting::all_in(name) {
            let place =
                Place { commit: commit.map(ToString::to_string), path: Some(path.into()), spot: None };
            self.add(seen, place);
        }
    }

    /// Keeps what reading a text came to. `path` must be masked; none stands for a message.
    pub(super) fn add_text(
        &mut self,
        commit: Option<&str>,
        path: Option<&str>,
        sift: impl FnOnce(&mut dyn FnMut(Spot, Sighting)) -> io::Result<u64>,
    ) -> io::Result<()> {
        let bytes = sift(&mut |spot, seen| {
            let spot = path.map(|_| (spot.line, spot.column));
            let place =
                Place { commit: commit.map(ToString::to_string), path: path.map(ToString::to_string), spot };
            self.add(seen, place);
        })?;
        self.files += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// Keeps a warning, within bounds; what it names is masked here.
    pub(super) fn warn(&mut self, sentence: &str) {
        if self.unread.warnings.len() < UNREAD_MAX {
            self.unread.warnings.push(Sighting::mask(sentence));
        } else {
            self.unread.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Environment, Key, Random, RandomUnavailable};

    struct Numbered(u32);
    impl Random for Numbered {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
            for (place, byte) in bytes.iter_mut().enumerate() {
                *byte = if place < 8 { 62 + ((self.0 >> (4 * place)) & 15) as u8 } else { 0 };
            }
            Ok(())
        }
    }

    fn seen(number: u32) -> Sighting {
        let key = Key::generate(Environment::Dev, &Numbered(number)).unwrap();
        Sighting::all_in(key.expose().as_bytes()).next().unwrap()
    }

    fn place(commit: Option<&str>, line: u64) -> Place {
        Place { commit: commit.map(ToString::to_string), path: Some("a".to_string()), spot: Some((line, 1)) }
    }

    #[test]
    fn a_history_tells_a_secret_once_for_each_file() {
        let mut haul = Haul::default();
        haul.add(seen(1), place(Some("c1"), 1));
        haul.add(seen(1), place(Some("c2"), 2));
        haul.add(seen(2), place(Some("c2"), 3));
        haul.add(seen(1), place(None, 1));
        haul.add(seen(1), place(None, 2));
        let lines: Vec<_> = haul.finds.iter().map(|find| find.place.to_string()).collect();
        assert_eq!(lines, ["c1:a:1:1", "c2:a:3:1", "a:1:1", "a:2:1"]);
        assert_eq!(haul.secrets.len(), 2);
    }

    #[test]
    fn what_is_too_much_is_counted_and_a_new_secret_still_gets_its_place() {
        let mut haul = Haul::default();
        for line in 0..PLACES_MAX as u64 + 5 {
            haul.add(seen(1), place(None, line));
        }
        haul.add(seen(2), place(None, 1));
        assert_eq!((haul.finds.len(), haul.secrets.len(), haul.more), (PLACES_MAX + 1, 2, 5));
        for number in 3..SECRETS_MAX as u32 + 5 {
            haul.add(seen(number), place(None, 1));
        }
        assert_eq!((haul.secrets.len(), haul.more), (SECRETS_MAX, 9));
        for _ in 0..UNREAD_MAX + 3 {
            haul.warn("x");
        }
        assert_eq!((haul.unread.warnings.len(), haul.unread.more), (UNREAD_MAX, 3));
    }
}
