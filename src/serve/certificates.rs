//! Who shows the certificate, and the care for it: from files or from a CA. Never: what either does.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::ServerConfig;
use crate::tls::Identity;
use crate::types::Clock;

use super::identity::{self, Keeper};
use super::reload::Part;

/// What is shown, and what looks after it.
pub(super) struct Certificates {
    identity: Arc<Identity>,
    care: Care,
    /// Of files.
    keeper: Option<Arc<Keeper>>,
}

/// Runs for ever.
type Care = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Certificates {
    /// None where plain HTTP is spoken.
    pub(super) fn begin(server: &ServerConfig, data: &Path, clock: &Arc<dyn Clock>) -> Option<Self> {
        let Some(tls) = &server.tls else { return from_ca(server, data, clock) };
        let keeper = Arc::new(Keeper::new(tls));
        let care = Box::pin(Arc::clone(&keeper).keep(identity::LOOK_EVERY, Arc::clone(clock)));
        Some(Self { identity: keeper.identity(), care, keeper: Some(keeper) })
    }

    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// What shows the files' content when the configuration is loaded anew; none where there are no files.
    pub(super) fn part(&self) -> Option<Part> {
        let keeper = self.keeper.clone()?;
        Some(Box::new(move |config| {
            let (keeper, tls) = (Arc::clone(&keeper), config.server.tls.take());
            Ok(Box::new(move || {
                if let Some(tls) = tls {
                    keeper.take(tls);
                }
            }))
        }))
    }

    /// What looks after it. To be spawned.
    pub(super) fn care(self) -> Care {
        self.care
    }
}

#[cfg(feature = "acme")]
fn from_ca(server: &ServerConfig, data: &Path, clock: &Arc<dyn Clock>) -> Option<Certificates> {
    use super::machine::MachineRandom;
    use super::settings;
    use crate::tls::acme::keep_renewed;

    let settings = settings::acme(server.acme.as_ref()?);
    let (identity, random) = (Arc::new(Identity::default()), Arc::new(MachineRandom::new()));
    // What is kept is shown from here on, which is before anybody can connect.
    let care = keep_renewed(settings, data, Arc::clone(&identity), Arc::clone(clock), random);
    Some(Certificates { identity, care: Box::pin(care), keeper: None })
}

/// The configuration names no domains then.
#[cfg(not(feature = "acme"))]
fn from_ca(_: &ServerConfig, _: &Path, _: &Arc<dyn Clock>) -> Option<Certificates> {
    None
}
