//! What is asked about model servers: how they are, out of service, back again, tried. Never: speaking to them.

use crate::registry::{Problem, RegistryError};
use crate::types::{Actor, ModelId};

use super::{AdminError, Desk, Reply, Running, UpstreamAsk, UpstreamState};

impl Desk<'_> {
    /// For administrators and the machine.
    pub(super) fn upstream(&self, actor: Actor, ask: &UpstreamAsk) -> Result<Reply, AdminError> {
        self.registry.administrators_only(actor)?;
        match ask {
            UpstreamAsk::List => Ok(Reply::Upstreams(self.running()?.status().upstreams)),
            UpstreamAsk::Drain { upstream } => self.drain(actor, upstream, true),
            UpstreamAsk::Undrain { upstream } => self.drain(actor, upstream, false),
            UpstreamAsk::Test { upstream, model, stream } => {
                self.test(actor, upstream, model.as_ref(), *stream)
            }
        }
    }

    /// Takes a model server out of service, or puts it back, whether or not the disk can be written. What changes nothing
    /// leaves no event.
    fn drain(&self, actor: Actor, name: &str, drained: bool) -> Result<Reply, AdminError> {
        let server = self.running()?;
        let known = server.status().upstreams.into_iter().find(|one| one.name == name);
        let known = known.ok_or_else(no_server)?;
        let is_news = (known.state == UpstreamState::Draining) != drained;
        if is_news {
            self.registry.may_drain(actor)?;
        }
        let mut now = server.drain(name, drained).ok_or_else(no_server)?;
        if is_news && let Err(error) = self.registry.note_drain(actor, name, drained) {
            let done = if drained { "drained" } else { "undrained" };
            tracing::warn!(upstream = name, %error, "{done}, not in the trail");
            now.detail = format!("{done}, not in the trail: {error}");
        }
        Ok(Reply::Upstream(now))
    }

    /// Tries a model server. With a model it costs a few tokens, which are nobody's, and leaves an event.
    fn test(
        &self,
        actor: Actor,
        name: &str,
        model: Option<&ModelId>,
        stream: bool,
    ) -> Result<Reply, AdminError> {
        if stream && model.is_none() {
            return Err(AdminError::invalid("a stream is asked for of a model; name one"));
        }
        let server = self.running()?;
        if let Some(model) = model {
            if !server.status().upstreams.iter().any(|one| one.name == name) {
                return Err(no_server());
            }
            self.registry.note_test(actor, name, model)?;
        }
        server.test(name, model, stream)?.map(Reply::UpstreamTested).ok_or_else(no_server)
    }

    fn running(&self) -> Result<&dyn Running, AdminError> {
        let sentence =
            "no server runs on this data directory, and only a running one knows its model servers";
        self.server.ok_or_else(|| AdminError::unavailable(sentence))
    }
}

fn no_server() -> AdminError {
    let sentence = "there is no such model server; `ember upstream list` shows those there are";
    AdminError { problem: Problem::NotFound, ..RegistryError::NotFound(sentence.to_string()).into() }
}

#[cfg(test)]
mod tests;
