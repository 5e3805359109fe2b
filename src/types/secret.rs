//! Text that must never be shown: passwords and the keys of model servers. Never: how it is checked.

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Random, RandomUnavailable, base62};

/// A secret text, wiped when dropped. It has no `Debug`, `Display`, `Clone` or `Serialize`:
///
/// ```compile_fail
/// let secret = ember_gateway::types::Secret::new("hunter2".to_string());
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = ember_gateway::types::Secret::new("hunter2".to_string());
/// println!("{secret}");
/// ```
/// ```compile_fail
/// let secret = ember_gateway::types::Secret::new("hunter2".to_string());
/// let copy = secret.clone();
/// ```
/// ```compile_fail
/// let secret = ember_gateway::types::Secret::new("hunter2".to_string());
/// serde_json::to_string(&secret);
/// ```
/// ```
/// let secret = ember_gateway::types::Secret::new("hunter2".to_string());
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(String);

/// Whether two are the same; takes as long wherever they differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let (one, other) = (self.0.as_bytes(), other.0.as_bytes());
        one.len() == other.len() && one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

impl Eq for Secret {}

impl Secret {
    /// A password for a person to copy: 20 random digits and letters (119 bits).
    ///
    /// # Errors
    /// [`RandomUnavailable`] when the random source fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomUnavailable> {
        let mut text = String::new();
        base62::push_random(&mut text, 20, random)?;
        Ok(Self(text))
    }

    /// Takes the text over; the caller must not keep a copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}
