//! Accepting connections, no more than the bound, until told to stop. Never: what happens on a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
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
    /// Binds every address.
    ///
    /// # Errors
    /// The address that could not be bound, and why.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let sockets = addresses.iter().map(|address| bind_one(*address).map_err(|error| (*address, error)));
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

    /// Serves until `stop` says to drain, then waits for what is under way, `drain_timeout` at most, then cuts it.
    pub async fn serve(self, parts: Parts, stop: &Stop, drain_timeout: Duration) {
        let connections_max = parts.limits.connections_max;
        let service = Arc::new(Service::new(parts));
        let slots = Arc::new(Semaphore::new(connections_max));
        let mut doors = JoinSet::new();
        for socket in self.sockets {
            let (service, slots) = (Arc::clone(&service), Arc::clone(&slots));
            doors.spawn(accept(socket, self.tls.clone(), service, slots, stop.clone()));
        }
        while doors.join_next().await.is_some() {}
        let everyone = u32::try_from(connections_max).unwrap_or(u32::MAX);
        if timeout(drain_timeout, slots.acquire_many(everyone)).await.is_err() {
            stop.cut();
            let _ = timeout(CUT_TIME, slots.acquire_many(everyone)).await;
        }
    }
}

pub(super) fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
                let peer = Peer { address, is_encrypted: tls.is_some() };
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
