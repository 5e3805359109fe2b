//! What ends a request from outside: a cut key, Ember's own end, time. Never: what is done then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::RelayFault;
use crate::gate::CutSignal;

/// Resolves when the time to drain is over.
pub type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The point `wait` after `from`, or one that nobody lives to see.
pub(super) fn deadline(from: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from + wait.min(FAR)
}

/// The two signals that end any request. Not to be asked again after one was heard.
pub(super) struct Signals {
    pub(super) cut: CutSignal,
    pub(super) stop: StopSignal,
}

impl Signals {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayFault> {
        if let Poll::Ready(cut) = Pin::new(&mut self.cut).poll(cx) {
            return Poll::Ready(RelayFault::Cut(cut));
        }
        self.stop.as_mut().poll(cx).map(|()| RelayFault::Stopped)
    }

    pub(super) async fn heard(&mut self) -> RelayFault {
        poll_fn(|cx| self.poll(cx)).await
    }
}

/// Measures silence: only while bytes are waited for, and without touching a timer for each chunk.
pub(super) struct Patience {
    idle: Duration,
    end: Option<Instant>,
    waiting_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Lasts `idle` from each chunk to the next, and never longer than to the `end`, if there is one.
    pub(super) fn new(idle: Duration, end: Option<Instant>) -> Self {
        Self { idle, end, waiting_since: None, alarm: None }
    }

    /// Bytes came.
    pub(super) fn renew(&mut self) {
        self.waiting_since = None;
    }

    /// Ready when it is over. To be asked whenever there are no bytes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let silent = deadline(since, self.idle);
        let over = self.end.map_or(silent, |end| end.min(silent));
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(over)));
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= over {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_from_the_last_bytes() {
        let begin = Instant::now();
        let mut patience = Patience::new(IDLE, None);
        for _ in 0..5 {
            let waiting = poll_fn(|cx| patience.poll(cx));
            assert!(tokio::time::timeout(IDLE * 9 / 10, waiting).await.is_err());
            patience.renew();
        }
        poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 5 * 9 + 10);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waited_does_not_count() {
        let mut patience = Patience::new(IDLE, None);
        assert!(poll_fn(|cx| Poll::Ready(patience.poll(cx))).await.is_pending());
        patience.renew();
        tokio::time::advance(IDLE * 100).await;
        let begin = Instant::now();
        poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_however_lively_it_is_and_no_wait_is_too_long() {
        let begin = Instant::now();
        let mut patience = Patience::new(Duration::MAX, Some(deadline(begin, IDLE)));
        poll_fn(|cx| patience.poll(cx)).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}
