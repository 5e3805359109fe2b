//! What is wrong with a configuration, and where. Never: finding it out, and never the content of a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In a file; line and column count from 1, the column in characters.
    Line { file: PathBuf, line: usize, column: usize },
    /// A file as a whole.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nowhere: Ember's own default.
    Default,
}

impl Place {
    /// As `config show --origin` says it.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::Line { file, line, .. } => format!("{}:{line}", file.display()),
            Self::File(file) => file.display().to_string(),
            Self::Variable(name) => name.clone(),
            Self::Flag(name) => (*name).to_string(),
            Self::Default => "default".to_string(),
        }
    }
}

/// One thing that is wrong. Shown as `ember.toml:12:5: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    place: Place,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => f.write_str(&self.message),
            Place::Line { file, line, column } => {
                write!(f, "{}:{line}:{column}: {}", file.display(), self.message)
            }
            Place::File(_) | Place::Variable(_) | Place::Flag(_) => {
                write!(f, "{}: {}", self.place.origin(), self.message)
            }
        }
    }
}

/// Everything that is wrong, in the order of the file, then variables, then flags. Never empty in an `Err`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Fault { place, message: in_one_line(message.into()) });
    }

    /// `value`, unless something is wrong.
    pub(super) fn unless<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.0.sort();
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A message fit for a terminal: names in a file may have line ends and worse.
fn in_one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    message.chars().map(shown).collect()
}
