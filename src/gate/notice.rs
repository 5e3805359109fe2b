//! What the gate has the meter remember of those who use a key. Never: what follows from it.

use std::net::IpAddr;

use crate::types::Timestamp;

use super::{Caller, Gate};

impl Gate {
    /// Remembers where a caller's request came from, and the program that made it by its user-agent.
    pub fn notice(&self, caller: &Caller, address: IpAddr, agent: &[u8]) {
        let is_old = caller.replaced_at().is_some();
        self.meter.traces().see(caller.key(), address, agent, caller.identified_at(), is_old);
    }

    /// Remembers that a browser's request was refused, and the site whose page made it.
    pub fn notice_browser(&self, caller: &Caller, origin: &[u8]) {
        self.meter.traces().refuse_browser(caller.key(), origin, caller.identified_at());
    }
}

impl Caller {
    /// Whether requests of browsers may use the key.
    #[must_use]
    pub fn allows_browser(&self) -> bool {
        self.entry().grant().allow_browser
    }

    /// When the secret that the caller brought stops, though its key goes on; none when it is the key's newest.
    #[must_use]
    pub fn replaced_at(&self) -> Option<Timestamp> {
        self.entry().grant().replaced_at
    }
}
