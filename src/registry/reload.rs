//! The event of a configuration that was loaded anew. Never: what the settings are.

use crate::store::Commit;
use crate::types::Actor;

use super::audit::Action;
use super::denial::Attempt;
use super::{Registry, RegistryError};

/// There is one configuration, and nothing else is called like it.
const TARGET: [u8; 16] = [0; 16];

/// The most settings named in one event; of more, their number is told.
const NAMED_MAX: usize = 50;

impl Registry {
    /// Writes down that the configuration is loaded anew, with the names of the settings that changed.
    ///
    /// # Errors
    /// [`RegistryError::NotAllowed`], [`RegistryError::Store`].
    pub fn note_reload(&self, actor: Actor, changed: &[String]) -> Result<(), RegistryError> {
        self.administrators_only(actor)?;
        let detail = detail(changed);
        self.until_agreed(|| {
            let writes = self.event(actor, Action::ConfigReloaded, &TARGET, detail.clone())?;
            Ok(Attempt::Commit(Commit { writes, ..Commit::default() }, ()))
        })
    }
}

fn detail(changed: &[String]) -> String {
    if changed.is_empty() {
        return "no setting changed".to_string();
    }
    let mut named = changed.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
    if let Some(more) = changed.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        named.push(format!("and {more} more"));
    }
    format!("changed: {}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded() {
        assert_eq!(detail(&[]), "no setting changed");
        let many: Vec<_> = (0..60).map(|number| format!("s{number}")).collect();
        assert!(detail(&many).ends_with("s49, and 10 more"));
        assert_eq!(detail(&many[..2]), "changed: s0, s1");
    }
}
