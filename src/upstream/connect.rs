//! Opens connections to model servers. Never: keeps them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::settings::Address;
use super::wire::Wire;
use super::{RelayFault, deadline, echo};

/// Connects within `timeout`.
///
/// # Errors
/// [`RelayFault::Unreachable`] or [`RelayFault::Timeout`].
pub(super) async fn connect(address: &Address, timeout: Duration) -> Result<Box<dyn Wire>, RelayFault> {
    let until = deadline(Instant::now(), timeout);
    let connecting = async {
        Ok::<Box<dyn Wire>, io::Error>(match address {
            Address::Tcp { host, port } => Box::new(connect_tcp(host, *port, until).await?),
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Echo(settings) => Box::new(echo::connect(*settings)),
        })
    };
    match timeout_at(until, connecting).await {
        Ok(Ok(wire)) => Ok(wire),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Err(RelayFault::Timeout),
        Ok(Err(_)) => Err(RelayFault::Unreachable),
        Err(_) => Err(RelayFault::Timeout),
    }
}

/// Tries all addresses of a host, each for its share of the time that is left.
async fn connect_tcp(host: &str, port: u16, until: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = until.saturating_duration_since(now) / left;
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
