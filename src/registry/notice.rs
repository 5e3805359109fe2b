//! Events about what is done outside the store: nothing but the event is written. Never: doing it.

use crate::store::Commit;
use crate::types::Actor;

use super::access::administrators_only;
use super::audit::Action;
use super::denial::Attempt;
use super::{Registry, RegistryError};

impl Registry {
    /// Writes down that a model server is taken out of service, or put back. To be called before it is done, so that
    /// nothing is done that is not in the trail.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn note_drain(&self, actor: Actor, upstream: &str, drained: bool) -> Result<(), RegistryError> {
        administrators_only(actor)?;
        self.pace(actor)?;
        let action = if drained { Action::UpstreamDrained } else { Action::UpstreamUndrained };
        self.until_agreed(|| {
            let writes = self.event(actor, action, &[0; 16], upstream.to_string())?;
            Ok(Attempt::Commit(Commit { writes, ..Commit::default() }, ()))
        })
    }
}
