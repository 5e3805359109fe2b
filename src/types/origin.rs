//! From where a change came. Never: who made it.

use std::fmt;
use std::net::IpAddr;

/// The way by which a change came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// Not known, or nobody outside: Ember itself.
    #[default]
    Unknown,
    /// The machine's socket of the running server.
    Socket,
    /// A command that opened the store's file itself.
    File,
    /// A connection from this address.
    Address(IpAddr),
}

impl Origin {
    /// A connection from this address; an IPv4 address is one, however it was written.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::Socket => f.write_str("socket"),
            Self::File => f.write_str("file"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl std::str::FromStr for Origin {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Ok(Self::Unknown),
            "socket" => Ok(Self::Socket),
            "file" => Ok(Self::File),
            address => address.parse().map(Self::Address),
        }
    }
}
