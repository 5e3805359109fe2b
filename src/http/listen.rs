//! Accepting connections, no more than the bound, until told to stop. Never: what happens on a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection;
use super::service::{Parts, Peer, Service};
use super::stop::Stop;

/// Sockets that are bound and not yet served.
pub struct Listener {
    sockets: Vec<TcpListener>,
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
        Ok(Self { sockets: sockets.collect::<Result<_, _>>()? })
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
            doors.spawn(accept(socket, Arc::clone(&service), Arc::clone(&slots), stop.clone()));
        }
        while doors.join_next().await.is_some() {}
        let everyone = u32::try_from(connections_max).unwrap_or(u32::MAX);
        if timeout(conduct.get().drain_timeout, slots.acquire_many(everyone)).await.is_err() {
            stop.cut();
            let _ = timeout(CUT_TIME, slots.acquire_many(everyone)).await;
        }
    }
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn accept(socket: TcpListener, service: Arc<Service>, slots: Arc<Semaphore>, stop: Stop) {
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
                let (service, watch) = (Arc::clone(&service), stop.watch());
                tokio::spawn(async move {
                    let _slot = slot;
                    connection::serve(stream, Peer(address), service, watch).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
