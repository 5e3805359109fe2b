//! The name of a model. Never: who serves it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A model's name as callers and model servers write it: 1 to 256 bytes, no controls. A copy shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(Arc<str>);

/// The text can't name a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a model's name has 1 to 256 bytes and no control characters")]
pub struct ModelIdError;

impl ModelId {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, to be kept.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for ModelId {
    type Err = ModelIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let has_control = match text.is_ascii() {
            true => text.bytes().any(|byte| byte.is_ascii_control()),
            false => text.chars().any(char::is_control),
        };
        if text.is_empty() || text.len() > Self::BYTES_MAX || has_control {
            Err(ModelIdError)
        } else {
            Ok(Self(text.into()))
        }
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::borrow::Borrow<str> for ModelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}
