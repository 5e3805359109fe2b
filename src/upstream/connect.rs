//! Opens connections to model servers. Never: keeps them.

use std::future::Future;
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
pub(super) async fn connect(address: &Address, timeout: Duration) -> Result<Wire, RelayFault> {
    let until = deadline(Instant::now(), timeout);
    let connecting = async {
        Ok::<Wire, RelayFault>(match address {
            Address::Tcp { host, port } => Wire::Tcp(connect_tcp(host, *port).await.map_err(fault_of)?),
            Address::Tls(secure) => {
                let stream = connect_tcp(secure.host(), secure.port()).await.map_err(fault_of)?;
                Wire::Tls(Box::new(secure.shake_hands(stream).await?))
            }
            Address::Unix(path) => Wire::Unix(UnixStream::connect(path).await.map_err(fault_of)?),
            Address::Echo(settings) => Wire::Echo(echo::connect(*settings)),
        })
    };
    timeout_at(until, connecting).await.unwrap_or(Err(RelayFault::Timeout))
}

fn fault_of(error: io::Error) -> RelayFault {
    if error.kind() == io::ErrorKind::TimedOut { RelayFault::Timeout } else { RelayFault::Unreachable }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?.take(ADDRESSES_MAX).collect();
    first_of(addresses, reach).await
}

async fn reach(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What the first address gives that can be reached. The next one is tried when those before it have failed or are slow,
/// so that an IPv6 address that leads nowhere does not hide the IPv4 address.
async fn first_of<T: Send + 'static, F: Future<Output = io::Result<T>> + Send + 'static>(
    addresses: Vec<SocketAddr>,
    reach: impl Fn(SocketAddr) -> F,
) -> io::Result<T> {
    if let [only] = addresses.as_slice() {
        return reach(*only).await;
    }
    let mut left = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        if let Some(address) = left.next() {
            tries.spawn(reach(address));
        } else if tries.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some(tried) = tries.join_next() => match tried {
                Ok(Ok(reached)) => return Ok(reached),
                Ok(Err(error)) => last = error,
                Err(_) => {}
            },
            () = sleep(HEAD_START), if left.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries addresses whose last byte says after how many tens of milliseconds they answer; 0 refuses, 255 never answers.
    async fn first(last_bytes: &[u8]) -> (Result<u8, io::ErrorKind>, u128) {
        let addresses = last_bytes.iter().map(|byte| SocketAddr::from(([192, 0, 2, *byte], 80)));
        let begin = Instant::now();
        let reach = |address: SocketAddr| async move {
            match address.ip().to_string().rsplit('.').next().unwrap().parse::<u8>().unwrap() {
                0 => Err(io::ErrorKind::ConnectionRefused.into()),
                255 => std::future::pending().await,
                byte => {
                    sleep(Duration::from_millis(10) * byte.into()).await;
                    Ok(byte)
                }
            }
        };
        let reached = first_of(addresses.collect(), reach).await;
        (reached.map_err(|error| error.kind()), begin.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_leads_nowhere_does_not_hide_the_next_one() {
        assert_eq!(first(&[1, 2]).await, (Ok(1), 10));
        assert_eq!(first(&[0, 1]).await, (Ok(1), 10), "refused: at once");
        assert_eq!(first(&[255, 1]).await, (Ok(1), 260), "silent: after its head start");
        assert_eq!(first(&[255, 0, 255, 1]).await, (Ok(1), 510));
        assert_eq!(first(&[30, 255]).await, (Ok(30), 300), "late, and still the first");
        assert_eq!(first(&[0, 0]).await, (Err(io::ErrorKind::ConnectionRefused), 0));
        assert_eq!(first(&[]).await, (Err(io::ErrorKind::NotFound), 0));
        assert_eq!(first(&[7]).await, (Ok(7), 70));
    }
}
