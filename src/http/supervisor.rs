//! What looks after a connection beside hyper: its deadlines, its client's hang-up, the order to stop, and its rest
//! while nothing goes on. Never: what is asked on it, how it is closed.

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use super::pulse::{Look, Pulse};
use super::stop::StopWatch;
use super::transport::Transport;

/// How long a client of HTTP/2 gets to take note that its idle connection ends, and to have what it sent in the same
/// moment answered.
const FAREWELL_TIME: Duration = Duration::from_secs(1);
/// A connection without any deadline is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A client that asks again within this time keeps hyper, with its buffers, while it goes on like that. From others it is
/// taken as soon as they are answered, so that buffers are held for what goes on, not for who is connected.
const SOON: Duration = Duration::from_millis(50);

/// The orders to stop, one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    None,
    Drain,
    Cut,
}

/// Stands beside hyper, and alone while the connection rests.
pub(super) struct Supervisor {
    transport: Arc<Transport>,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
    timer: Pin<Box<Sleep>>,
    stop: StopWatch,
    /// Waits for the next of the orders to stop, once it was polled.
    ear: Pin<Box<dyn Future<Output = ()> + Send>>,
    awaits: Order,
    /// Whether the timer knows whom to wake.
    is_set: bool,
    /// Until when an idle connection stands although its time is up.
    farewell: Option<Instant>,
    /// Nothing goes on, and hyper is not needed for what comes next.
    quiet: bool,
    /// Something that the client sent was thrown away.
    threw_away: bool,
    /// The client asked again soon after its last rest had begun.
    asks_soon: bool,
}

impl Supervisor {
    pub(super) fn new(
        transport: Arc<Transport>,
        pulse: Arc<Pulse>,
        limits: Arc<Limits>,
        stop: &StopWatch,
    ) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + limits.header_timeout));
        let (ear, awaits, stop) = (Box::pin(stop.clone().draining()), Order::None, stop.clone());
        Self {
            transport,
            pulse,
            limits,
            timer,
            stop,
            ear,
            awaits,
            is_set: false,
            farewell: None,
            quiet: false,
            threw_away: false,
            asks_soon: false,
        }
    }

    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The bounds that held when the connection began.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether hyper can be taken from the connection: it has nothing in hand. Known after [`Self::is_over`].
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether something was thrown away that the client sent, so that the connection has to end with the answer that is
    /// under way. Known after [`Self::is_over`].
    pub(super) fn threw_away(&self) -> bool {
        self.threw_away
    }

    /// Waits in place of hyper for what the client says next; nothing when the connection is over. Nobody else may read
    /// or write meanwhile.
    pub(super) async fn rest(&mut self) -> Bytes {
        tracing::trace!("a connection is put to rest");
        self.pulse.let_go();
        let began = Instant::now();
        let said = poll_fn(|cx| match self.transport.poll_part(cx) {
            Poll::Ready(said) => Poll::Ready(said.unwrap_or_default()),
            Poll::Pending if self.ends_soon(cx) || self.is_over(cx) => Poll::Ready(Bytes::new()),
            Poll::Pending => Poll::Pending,
        })
        .await;
        self.quiet = false;
        self.asks_soon = began.elapsed() < SOON;
        said
    }

    /// Whether this connection is to end with the answers that are under way.
    pub(super) fn ends_soon(&mut self, cx: &mut Context<'_>) -> bool {
        self.is_draining(cx) || self.pulse.must_close() || self.farewell.is_some()
    }

    /// The orders are waited for, once each, only to be woken by them; what holds is looked at.
    fn is_draining(&mut self, cx: &mut Context<'_>) -> bool {
        if self.awaits == Order::None {
            let _ = self.ear.as_mut().poll(cx);
            self.awaits = Order::Drain;
        }
        let is_draining = self.stop.is_draining();
        if is_draining && self.awaits != Order::Cut {
            self.ear = Box::pin(self.stop.clone().cutting());
            let _ = self.ear.as_mut().poll(cx);
            self.awaits = Order::Cut;
        }
        is_draining
    }

    /// Whether a connection that is over is told first, since nothing but time ends it. A request may be on its way to it,
    /// and only HTTP/2 has a word for that (GOAWAY, RFC 9113, 6.8).
    pub(super) fn announces_end(&mut self) -> bool {
        let announces = self.farewell.is_none() && self.pulse.has_streams() && self.pulse.is_idle();
        if announces {
            self.farewell = Some(Instant::now() + FAREWELL_TIME);
        }
        announces
    }

    /// Whether nobody needs to wait for this connection any more.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let mut look = self.pulse.look(cx, &self.limits);
        while look.is_answering {
            match self.has_hung_up(cx) {
                Poll::Pending => break,
                Poll::Ready(true) => return true,
                Poll::Ready(false) => look = self.pulse.look(cx, &self.limits),
            }
        }
        self.is_late(cx, &look)
    }

    /// While an answer is under way hyper reads nothing; a hang-up must be seen all the same. Bytes that come now are
    /// requests sent too early: they are thrown away, and the connection ends with this answer.
    fn has_hung_up(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = [const { MaybeUninit::uninit() }; 512];
        let mut buf = ReadBuf::uninit(&mut scratch);
        match ready!(self.transport.poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {
                self.pulse.has_thrown_away();
                self.threw_away = true;
                Poll::Ready(false)
            }
            Ok(()) | Err(_) => Poll::Ready(true),
        }
    }

    /// The timer is not touched when something happens, only moved on when it rings too early. It is set anew when a
    /// deadline comes before it.
    fn is_late(&mut self, cx: &mut Context<'_>, look: &Look) -> bool {
        self.quiet |= look.quiet_since.is_some() && !self.asks_soon;
        let ends = look.ends.map(|ends| self.farewell.map_or(ends, |until| until.max(ends)));
        loop {
            let rests = look.quiet_since.filter(|_| !self.quiet).map(|since| since + SOON);
            let next = [ends, rests].into_iter().flatten().min();
            if let Some(next) = next.filter(|next| *next < self.timer.deadline()) {
                self.timer.as_mut().reset(next);
            }
            if self.is_set && !self.timer.is_elapsed() {
                return false;
            }
            // Without a budget the timer looks at nothing, and does not know whom to wake.
            self.is_set = has_budget_remaining();
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.is_set = false;
            let now = Instant::now();
            if ends.is_some_and(|ends| ends <= now) {
                return true;
            }
            if rests.is_some_and(|rests| rests <= now) {
                self.quiet = true;
                self.timer.as_mut().reset(ends.unwrap_or(now + LOOK_AGAIN));
            } else {
                self.timer.as_mut().reset(next.unwrap_or(now + LOOK_AGAIN));
            }
        }
    }
}
