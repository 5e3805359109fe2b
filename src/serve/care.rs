//! Who shows the certificate, and the care for it: from files or from a CA. Never: what either does.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::ServerConfig;
use crate::tls::Identity;
use crate::types::Clock;

use super::identity::{self, Keeper};

/// Runs for ever.
pub(super) type Care = Pin<Box<dyn Future<Output = ()> + Send>>;

/// None where plain HTTP is spoken.
pub(super) fn begin(
    server: &ServerConfig,
    data: &Path,
    clock: &Arc<dyn Clock>,
) -> Option<(Arc<Identity>, Care)> {
    if let Some(tls) = &server.tls {
        let keeper = Arc::new(Keeper::new(tls));
        return Some((keeper.identity(), Box::pin(keeper.keep(identity::LOOK_EVERY, Arc::clone(clock)))));
    }
    from_ca(server, data, clock)
}

#[cfg(feature = "acme")]
fn from_ca(server: &ServerConfig, data: &Path, clock: &Arc<dyn Clock>) -> Option<(Arc<Identity>, Care)> {
    use super::machine::MachineRandom;
    use super::settings;
    use crate::tls::acme::keep_renewed;

    let settings = settings::acme(server.acme.as_ref()?);
    let identity = Arc::new(Identity::default());
    let (shown_in, data, clock) = (Arc::clone(&identity), data.to_path_buf(), Arc::clone(clock));
    let care = async move {
        keep_renewed(settings, &data, shown_in, clock, Arc::new(MachineRandom::new())).await;
    };
    Some((identity, Box::pin(care)))
}

/// The configuration names no domains then.
#[cfg(not(feature = "acme"))]
fn from_ca(_: &ServerConfig, _: &Path, _: &Arc<dyn Clock>) -> Option<(Arc<Identity>, Care)> {
    None
}
