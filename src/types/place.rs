//! Where a person comes from. Never: whether he may.

use std::net::{IpAddr, Ipv6Addr};

use super::is_control;

/// An address and a browser, as they are shown in a list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The person's address; an IPv4 address is one, however it was written.
    pub address: IpAddr,
    /// What the browser calls itself: up to 256 characters.
    pub agent: String,
}

const AGENT_CHARS_MAX: usize = 256;

impl Place {
    /// A place; an agent that is too long is cut, and what acts on a terminal is left out.
    #[must_use]
    pub fn new(address: IpAddr, agent: &str) -> Self {
        let agent = agent.chars().filter(|c| !is_control(*c)).take(AGENT_CHARS_MAX).collect();
        Self { address: address.to_canonical(), agent }
    }

    /// What is one customer's to choose freely counts as one address: the /64 of an IPv6 address (RFC 6177).
    #[must_use]
    pub fn neighbourhood(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }
    }
}
