//! Accepting connections, no more than the bound, until told to stop. Never: what happens on a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::ServerConfig;

use super::connection;
use super::service::{Parts, Peer, Service};
use super::stop::Stop;

/// Sockets that are bound and not yet served.
pub struct Listener {
    sockets: Vec<TcpListener>,
    /// How TLS is spoken on all of them; none where it is not.
    tls: Option<Arc<ServerConfig>>,
}

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;
/// When accepting fails (too many open files, say), others must get to close theirs first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections get to say goodbye after the drain.
const CUT_TIME: Duration = Duration::from_secs(2);

impl Listener {
    /// Binds every address. `[::]` is every address of the machine, IPv4 too, unless an IPv4 address is named for the
    /// same port: then that one is all of IPv4.
    ///
    /// # Errors
    /// The address that could not be bound, and why.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = |address| bind_one(address, takes_both(address, addresses));
        let sockets = addresses.iter().map(|address| bind(*address).map_err(|error| (*address, error)));
        Ok(Self { sockets: sockets.collect::<Result<_, _>>()?, tls: None })
    }

    /// Speaks TLS on every address.
    #[must_use]
    pub fn with_tls(self, tls: Arc<ServerConfig>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Takes sockets that are bound and listening already.
    ///
    /// # Errors
    /// What the system said.
    pub fn of(sockets: Vec<std::net::TcpListener>) -> io::Result<Self> {
        let taken = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        Ok(Self { sockets: taken.collect::<io::Result<_>>()?, tls: None })
    }

    /// The addresses bound, with the ports the system chose.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Serves until `stop` says to drain, then waits for what is under way, as long as it may go on, then
    /// cuts it.
    pub async fn serve(self, parts: Parts, stop: &Stop) {
        let conduct = Arc::clone(&parts.conduct);
        let connections_max = conduct.get().limits.connections_max;
        let service = Arc::new(Service::new(parts));
        let slots = Arc::new(Semaphore::new(connections_max));
        let mut doors = JoinSet::new();
        for socket in self.sockets {
            let (service, slots) = (Arc::clone(&service), Arc::clone(&slots));
            doors.spawn(accept(socket, self.tls.clone(), service, slots, stop.clone()));
        }
        while doors.join_next().await.is_some() {}
        let everyone = u32::try_from(connections_max).unwrap_or(u32::MAX);
        if timeout(conduct.get().drain_timeout, slots.acquire_many(everyone)).await.is_err() {
            stop.cut();
            let _ = timeout(CUT_TIME, slots.acquire_many(everyone)).await;
        }
    }
}

pub(super) fn bind_one(address: SocketAddr, takes_both: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        // Said in any case: what the system does by itself is a setting (net.ipv6.bindv6only).
        set_ipv6_v6only(&socket, !takes_both)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether clients of IPv4 come in by this address of IPv6, too.
fn takes_both(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let named = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port() && address.port() != 0;
    address.ip().is_unspecified() && !all.iter().any(named)
}

/// An IPv4 client that came in by an IPv6 address (`::ffff:192.0.2.1`) is the IPv4 client it is, everywhere from here on.
fn peer(address: SocketAddr, is_encrypted: bool) -> Peer {
    let address = match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    };
    Peer { address, is_encrypted }
}

async fn accept(
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    service: Arc<Service>,
    slots: Arc<Semaphore>,
    stop: Stop,
) {
    let mut draining = std::pin::pin!(stop.watch().draining());
    loop {
        let slot = tokio::select! {
            () = &mut draining => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let accepted = tokio::select! {
            () = &mut draining => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let (service, tls, watch) = (Arc::clone(&service), tls.clone(), stop.watch());
                let peer = peer(address, tls.is_some());
                tokio::spawn(async move {
                    let _slot = slot;
                    let _open = service.parts.metrics.connection_opened();
                    connection::serve(stream, tls, peer, service, watch).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_client_is_one_by_whichever_address_it_came_in() {
        for (came, is) in [
            ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
        ] {
            assert_eq!(peer(address(came), false).address, address(is));
        }
    }

    #[test]
    fn every_address_takes_ipv4_unless_an_ipv4_address_is_named_for_its_port() {
        let all = ["[::]:1", "[::]:2", "127.0.0.1:2", "[::1]:3", "[::]:0", "127.0.0.1:0"].map(address);
        let both = all.map(|one| takes_both(one, &all));
        assert_eq!(both, [true, false, false, false, true, false]);
    }
}
