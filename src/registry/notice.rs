//! Events about what is done outside the store: nothing but the event is written. Never: doing it.

use crate::store::Commit;
use crate::types::{Actor, ModelId};

use super::access::administrators_only;
use super::audit::Action;
use super::denial::Attempt;
use super::{Registry, RegistryError};

impl Registry {
    /// Whether this actor may take model servers out of service now. Asks no disk.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::TooMany`].
    pub fn may_drain(&self, actor: Actor) -> Result<(), RegistryError> {
        administrators_only(actor)?;
        self.pace(actor)
    }

    /// Writes down that a model server was taken out of service, or put back. To be called after it was done: a server
    /// that does harm can be taken out while the disk can't be written.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn note_drain(&self, actor: Actor, upstream: &str, drained: bool) -> Result<(), RegistryError> {
        administrators_only(actor)?;
        let action = if drained { Action::UpstreamDrained } else { Action::UpstreamUndrained };
        self.note_upstream(actor, action, upstream)
    }

    /// Writes down that a model server is asked for an answer, which costs tokens that are nobody's. To be called before
    /// it is done, so that nothing is spent that is not in the trail.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn note_test(&self, actor: Actor, upstream: &str, model: &ModelId) -> Result<(), RegistryError> {
        administrators_only(actor)?;
        self.pace(actor)?;
        self.note_upstream(actor, Action::UpstreamTested, &format!("{upstream} {model}"))
    }

    fn note_upstream(&self, actor: Actor, action: Action, detail: &str) -> Result<(), RegistryError> {
        self.until_agreed(|| {
            let writes = self.event(actor, action, &[0; 16], detail.to_string())?;
            Ok(Attempt::Commit(Commit { writes, ..Commit::default() }, ()))
        })
    }
}
