//! What the public door goes by and may be changed while it serves. Never: who changes it.

use std::sync::Arc;
use std::time::Duration;

use super::{Limits, Origins, Site};

/// Each request, and each new connection, goes by what holds when it begins.
#[derive(Debug, Clone)]
pub struct Conduct {
    /// The bounds. Those of connections and of all bodies together are the ones it began with.
    pub limits: Arc<Limits>,
    /// Where Ember is reached.
    pub site: Site,
    /// Whose pages may use keys that allow it.
    pub origins: Origins,
    /// How long open requests may go on after a stop is asked for.
    pub drain_timeout: Duration,
}
