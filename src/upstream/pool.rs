//! Connections to one model server: leased to one request at a time, kept for a moment between requests.
//! Never: which server, what is sent.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::RelayFault;
use super::connection::{Connection, Unanswered};
use super::pieces::Pieces;
use super::watch::Now;
use super::wire::{Look, Wire};

/// How long a connection is kept without a request: uvicorn closes its own after 5 s.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// How many connections to one server are kept that have nothing to do.
pub const IDLE_CONNECTIONS_MAX: usize = 64;
/// One that was used so lately is believed to be as it was, when it has earned that.
const HOT: Duration = Duration::from_micros(250);
/// So many times in a row the kernel knew of nothing.
const LOOKS_MIN: u32 = 16;
/// How long nothing is believed after a kept connection was not as it should be.
const WARY: Duration = Duration::from_secs(60);

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
    /// Until when the kernel is always asked.
    wary_until: Option<Instant>,
}

/// A connection in the hands of one request. Closes when dropped.
pub(super) struct Lease {
    connection: Box<Connection>,
    /// How many times in a row it was found quiet when it was taken.
    looks: u32,
}

impl Pool {
    /// A connection that was used last and is still alive, as far as one can tell without writing.
    ///
    /// What came since the last answer would be taken for the next one, and a connection that was closed
    /// loses a request; so the kernel is asked, which knows both. One that was used a moment ago is left to
    /// the runtime: but only when the kernel had nothing to say of it many times, and not for a while after
    /// any connection of this server was found otherwise.
    pub(super) fn take(&self, now: &mut Now) -> Option<Lease> {
        loop {
            let (is_hot, mut lease) = self.lock().pop(now.get())?;
            let look = if is_hot && lease.looks >= LOOKS_MIN { Look::Runtime } else { Look::Kernel };
            if lease.is_quiet(look) {
                lease.looks = lease.looks.saturating_add(1);
                return Some(lease);
            }
            self.is_wary();
        }
    }

    /// A connection was not as it should be.
    pub(super) fn is_wary(&self) {
        self.lock().wary_until = Some(Instant::now() + WARY);
    }

    /// Keeps a connection whose answer was read whole, if it can be used again.
    ///
    /// Not where the request may not have been read: what is left of it may be taken for the next one, and be
    /// answered at any time.
    pub(super) fn keep(self: &Arc<Self>, mut lease: Lease, now: &mut Now) {
        if !(lease.is_reusable() && lease.has_heard_all()) {
            return;
        }
        lease.rest();
        let mut idle = self.lock();
        if idle.leases.len() == IDLE_CONNECTIONS_MAX {
            idle.leases.remove(0);
        }
        idle.leases.push((now.get(), lease));
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

    #[cfg(test)]
    pub(super) fn believes_nothing(&self) -> bool {
        self.lock().wary_until.is_some_and(|until| Instant::now() < until)
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    /// The one used last, if that is not too long ago; and whether it is still hot.
    fn pop(&mut self, now: Instant) -> Option<(bool, Lease)> {
        let (since, lease) = self.leases.pop_if(|(since, _)| now < *since + IDLE_MAX)?;
        let is_wary = self.wary_until.is_some_and(|until| now < until);
        Some((!is_wary && now < since + HOT, lease))
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
    pub(super) fn new(wire: Wire) -> Self {
        Self { connection: Box::new(Connection::new(wire)), looks: 0 }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`RelayFault::BrokeOff`], [`RelayFault::Invalid`].
    pub(super) async fn send(&mut self, head: &[u8], pieces: Pieces) -> Result<(), RelayFault> {
        self.begin(|out| out.extend_from_slice(head), pieces);
        let answered = poll_fn(|cx| self.poll_head(cx)).await;
        answered.map_err(|why| match why {
            Unanswered::Invalid => RelayFault::Invalid,
            Unanswered::Unsent | Unanswered::BrokeOff => RelayFault::BrokeOff,
        })
    }
}

impl Deref for Lease {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpStream;

    fn lease() -> (Lease, DuplexStream) {
        let (here, there) = duplex(64);
        (Lease::new(Wire::Echo(here)), there)
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_is_closed_after_three_seconds() {
        let pool: Arc<Pool> = Arc::default();
        for _ in 0..2 {
            let (lease, mut there) = lease();
            let begin = Instant::now();
            pool.keep(lease, &mut Now::default());
            assert_eq!(there.read(&mut [0; 8]).await.unwrap(), 0);
            assert!((IDLE_MAX..IDLE_MAX * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_closed_or_is_too_old_is_not_given_out() {
        let pool: Arc<Pool> = Arc::default();
        let (closed, there) = lease();
        pool.keep(closed, &mut Now::default());
        drop(there);
        assert!(pool.take(&mut Now::default()).is_none());

        let (_there, old) = {
            let (lease, there) = lease();
            (there, lease)
        };
        pool.lock().leases.push((Instant::now(), old));
        tokio::time::advance(IDLE_MAX).await;
        assert!(pool.take(&mut Now::default()).is_none());
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_kept_and_the_last_used_is_given_out_first() {
        let pool: Arc<Pool> = Arc::default();
        let mut others = Vec::new();
        for _ in 0..=IDLE_CONNECTIONS_MAX {
            let (lease, there) = lease();
            pool.keep(lease, &mut Now::default());
            others.push(there);
        }
        assert_eq!(pool.lock().leases.len(), IDLE_CONNECTIONS_MAX);
        assert_eq!(others[0].read(&mut [0; 8]).await.unwrap(), 0, "the oldest made room");
        drop(pool.take(&mut Now::default()));
        assert_eq!(others[IDLE_CONNECTIONS_MAX].read(&mut [0; 8]).await.unwrap(), 0, "the newest was taken");
    }

    /// Keeps a connection of which the kernel knows that the server has hung up, and the runtime does not.
    fn keep_left(pool: &Arc<Pool>, looks: u32) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let here = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(here.peek(&mut [0; 1]).unwrap(), 0);
        here.set_nonblocking(true).unwrap();
        let mut lease = Lease::new(Wire::Tcp(TcpStream::from_std(here).unwrap()));
        lease.looks = looks;
        pool.keep(lease, &mut Now::default());
    }

    #[tokio::test]
    async fn a_connection_is_kept_only_after_an_answer_that_says_that_the_request_was_read() {
        for (answer, is_kept) in [("200 OK", true), ("204 Nothing", false), ("404 No", false)] {
            let pool: Arc<Pool> = Arc::default();
            let (mut lease, mut there) = lease();
            let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
            there.write_all(answer.as_bytes()).await.unwrap();
            lease.send(b"HEAD", Pieces::None).await.unwrap();
            pool.keep(lease, &mut Now::default());
            assert_eq!(pool.take(&mut Now::default()).is_some(), is_kept, "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_kernel_is_asked_until_that_is_earned_and_again_when_anything_was_odd_or_a_moment_has_passed()
    {
        let pool: Arc<Pool> = Arc::default();
        keep_left(&pool, LOOKS_MIN - 1);
        assert!(pool.take(&mut Now::default()).is_none(), "it has not earned that");
        keep_left(&pool, LOOKS_MIN);
        assert!(pool.take(&mut Now::default()).is_none(), "one was odd a moment ago");
        pool.lock().wary_until = Some(Instant::now());
        keep_left(&pool, LOOKS_MIN);
        pool.lock().leases[0].0 = Instant::now() - HOT;
        assert!(pool.take(&mut Now::default()).is_none(), "a moment has passed");
        pool.lock().wary_until = Some(Instant::now());
        keep_left(&pool, LOOKS_MIN);
        assert!(pool.take(&mut Now::default()).is_some(), "the runtime has heard of nothing");
    }
}
