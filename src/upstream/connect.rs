//! Opens connections to model servers. Never: keeps them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::settings::Address;
use super::wire::Wire;
use super::{RelayFault, deadline, echo};

/// How long one of a host's addresses is tried alone (RFC 8305, 5: "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);
/// How many of a host's addresses are tried.
const ADDRESSES_MAX: usize = 16;

/// Connects within `timeout`, TLS included.
///
/// # Errors
/// [`RelayFault::Unreachable`], [`RelayFault::TlsFailed`] or [`RelayFault::Timeout`].
pub(super) async fn connect(address: &Address, timeout: Duration) -> Result<Box<dyn Wire>, RelayFault> {
    let until = deadline(Instant::now(), timeout);
    let connecting = async {
        Ok::<Box<dyn Wire>, RelayFault>(match address {
            Address::Tcp { host, port } => Box::new(connect_tcp(host, *port).await.map_err(fault_of)?),
            Address::Tls(secure) => {
                let stream = connect_tcp(secure.host(), secure.port()).await.map_err(fault_of)?;
                Box::new(secure.shake_hands(stream).await?)
            }
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(fault_of)?),
            Address::Echo(settings) => Box::new(echo::connect(*settings)),
        })
    };
    timeout_at(until, connecting).await.unwrap_or(Err(RelayFault::Timeout))
}

fn fault_of(error: io::Error) -> RelayFault {
    if error.kind() == io::ErrorKind::TimedOut { RelayFault::Timeout } else { RelayFault::Unreachable }
}

/// Takes the first of a host's addresses that answers. The next one is tried when those before it have failed or are
/// slow, so that an IPv6 address that leads nowhere does not hide the IPv4 address.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect::<Vec<_>>().into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        match addresses.next() {
            Some(address) if tries.is_empty() && addresses.len() == 0 => return reach(address).await,
            Some(address) => drop(tries.spawn(reach(address))),
            None if tries.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            },
            () = sleep(HEAD_START), if addresses.len() > 0 => {}
        }
    }
}

async fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
