//! Connections to one model server: leased to one request at a time, kept for a moment between requests.
//! Never: which server, what is sent.
//!
//! A connection has no task of its own: whoever leases it drives it, so dropping the lease closes the socket there
//! and then.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use super::pieces::Pieces;
use super::wire::{Probe, Probed, Wire};

/// How long a connection is kept without a request: uvicorn closes its own after 5 s.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// How many are kept.
const IDLE_COUNT_MAX: usize = 64;
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

type Driver = Connection<TokioIo<Probed>, Pieces>;

/// The connections of one server that have nothing to do.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The longest unused first.
    leases: Vec<(Instant, Lease)>,
    swept: bool,
}

/// A connection in the hands of one request. Closes when dropped.
pub(super) struct Lease {
    sender: SendRequest<Pieces>,
    connection: Option<Box<Driver>>,
    probe: Probe,
}

impl Pool {
    /// A connection that was used last and is still alive, as far as one can tell without writing.
    pub(super) fn take(&self) -> Option<Lease> {
        let now = Instant::now();
        loop {
            let (since, mut lease) = self.lock().leases.pop()?;
            if now < since + IDLE_MAX && lease.is_alive() {
                return Some(lease);
            }
        }
    }

    /// Keeps a connection whose answer was read whole, if it can be used again.
    pub(super) fn keep(self: &Arc<Self>, mut lease: Lease) {
        if !lease.is_idle() {
            return;
        }
        let mut idle = self.lock();
        if idle.leases.len() == IDLE_COUNT_MAX {
            idle.leases.remove(0);
        }
        idle.leases.push((Instant::now(), lease));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what was kept too long; says when to come again.
    fn close_old(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.lock();
        idle.leases.retain(|(since, _)| now < *since + IDLE_MAX);
        let next = idle.leases.first().map(|(since, _)| *since + IDLE_MAX);
        idle.swept = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut next = Some(Instant::now() + IDLE_MAX);
    while let Some(at) = next {
        sleep_until(at).await;
        next = pool.upgrade().and_then(|pool| pool.close_old());
    }
}

impl Lease {
    /// Speaks HTTP/1.1 over a new connection.
    pub(super) async fn open(wire: Box<dyn Wire>) -> hyper::Result<Self> {
        let (wire, probe) = Probed::new(wire);
        let (sender, connection) =
            Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(wire)).await?;
        Ok(Self { sender, connection: Some(Box::new(connection)), probe })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// With the request when not a byte of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<Pieces>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Pieces>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| {
            self.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Lets the connection read and write.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Whether it waits for a request, and the kernel knows of no byte and no end that came meanwhile: what the
    /// runtime has not heard of would else be taken for the next answer.
    fn is_alive(&mut self) -> bool {
        self.probe.set(true);
        let alive = self.is_idle();
        self.probe.set(false);
        alive
    }

    /// Whether it waits for a request. Forgets the task that drove it.
    fn is_idle(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let driven = pin!(unconstrained(Pin::new(connection))).poll(&mut Context::from_waker(Waker::noop()));
        driven.is_pending() && self.sender.is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    async fn lease() -> (Lease, DuplexStream) {
        let (here, there) = duplex(64);
        (Lease::open(Box::new(here)).await.unwrap(), there)
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_is_closed_after_three_seconds() {
        let pool: Arc<Pool> = Arc::default();
        for _ in 0..2 {
            let (lease, mut there) = lease().await;
            let begin = Instant::now();
            pool.keep(lease);
            assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
            assert!((IDLE_MAX..IDLE_MAX * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_closed_or_is_too_old_is_not_given_out() {
        let pool: Arc<Pool> = Arc::default();
        let (closed, there) = lease().await;
        pool.keep(closed);
        drop(there);
        assert!(pool.take().is_none());

        let (_there, old) = {
            let (lease, there) = lease().await;
            (there, lease)
        };
        pool.lock().leases.push((Instant::now(), old));
        tokio::time::advance(IDLE_MAX).await;
        assert!(pool.take().is_none());
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept_and_the_last_used_is_given_out_first() {
        let pool: Arc<Pool> = Arc::default();
        let mut others = Vec::new();
        for _ in 0..=IDLE_COUNT_MAX {
            let (lease, there) = lease().await;
            pool.keep(lease);
            others.push(there);
        }
        assert_eq!(pool.lock().leases.len(), IDLE_COUNT_MAX);
        assert_eq!(others[0].read(&mut [0; 8]).await.unwrap(), 0, "the oldest made room");
        drop(pool.take());
        assert_eq!(others[IDLE_COUNT_MAX].read(&mut [0; 8]).await.unwrap(), 0, "the newest was taken");
    }
}
