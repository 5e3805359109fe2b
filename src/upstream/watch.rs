//! What ends a request from outside: a cut key, Ember's own end, time. Never: what is done then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::RelayFault;
use crate::gate::CutSignal;

/// Resolves when the time to drain is over.
pub type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who knows when the time to drain is over.
pub trait StopSource: Send + Sync {
    /// To be waited for, by a request that takes a while: most never ask.
    fn stopped(self: Arc<Self>) -> StopSignal;
}

/// The point `wait` after `from`, or one that nobody lives to see.
pub(super) fn deadline(from: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    from + wait.min(FAR)
}

/// How long a request goes on before it listens to its signals. Most have their answer by then, and need not be listed
/// anywhere to be woken; those that have not hear of a cut soon enough (law 3: within a second).
pub(super) const DEAF: Duration = Duration::from_millis(200);

/// The two signals that end any request. Not to be asked again after one was heard.
pub(super) struct Signals {
    cut: CutSignal,
    stopping: Arc<dyn StopSource>,
    /// The stop, and who listens to both; none before they were asked for the first time.
    stop: Option<(StopSignal, Ear)>,
}

/// Listens for one who is asked more often than there is news: what he waits for is asked only when it rang.
pub(super) struct Ear {
    bell: Arc<Bell>,
    /// Rings it.
    ring: Waker,
    /// The task that it wakes.
    task: Waker,
    /// What was asked last had nothing to say.
    waits: bool,
}

/// Rings when there may be news, and wakes the task that waits for them.
struct Bell {
    has_rung: AtomicBool,
    task: Mutex<Waker>,
}

impl Signals {
    pub(super) fn new(cut: CutSignal, stopping: Arc<dyn StopSource>) -> Self {
        Self { cut, stopping, stop: None }
    }

    /// Whether they wake whoever waits.
    pub(super) const fn are_heard(&self) -> bool {
        self.stop.is_some()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayFault> {
        let listen = || (Arc::clone(&self.stopping).stopped(), Ear::new(cx.waker()));
        let (stop, ear) = self.stop.get_or_insert_with(listen);
        ear.poll(cx, |cx| {
            if let Poll::Ready(cut) = Pin::new(&mut self.cut).poll(cx) {
                return Poll::Ready(RelayFault::Cut(cut));
            }
            stop.as_mut().poll(cx).map(|()| RelayFault::Stopped)
        })
    }

    pub(super) async fn heard(&mut self) -> RelayFault {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// What comes of something, unless a signal is heard before.
    pub(super) async fn or<T>(&mut self, work: impl Future<Output = T>) -> Result<T, RelayFault> {
        tokio::select! {
            biased;
            fault = self.heard() => Err(fault),
            outcome = work => Ok(outcome),
        }
    }
}

impl Ear {
    pub(super) fn new(task: &Waker) -> Self {
        let bell = Arc::new(Bell { has_rung: AtomicBool::new(false), task: Mutex::new(task.clone()) });
        Self { ring: Waker::from(Arc::clone(&bell)), bell, task: task.clone(), waits: false }
    }

    /// What `ask` says, which is asked only if it may say something else than the last time.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.task.will_wake(cx.waker()) {
            self.task.clone_from(cx.waker());
            self.bell.task().clone_from(cx.waker());
        }
        if !self.bell.is_rung() && self.waits {
            return Poll::Pending;
        }
        let outcome = ask(&mut Context::from_waker(&self.ring));
        self.waits = outcome.is_pending();
        outcome
    }
}

impl Bell {
    /// Whether it has rung since it was asked.
    fn is_rung(&self) -> bool {
        self.has_rung.load(Ordering::Relaxed) && self.has_rung.swap(false, Ordering::AcqRel)
    }

    fn task(&self) -> MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        let task = self.task().clone();
        task.wake();
    }
}

/// Rings at a time that is mostly later than the one before: it is moved only when it rings too early, so a timer is
/// seldom touched, whoever waits for it.
#[derive(Default)]
pub(super) struct Alarm(Option<(Pin<Box<Sleep>>, Ear)>);

impl Alarm {
    /// Ready `at` that time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let set = || (Box::pin(sleep_until(at)), Ear::new(cx.waker()));
        let (sleep, ear) = self.0.get_or_insert_with(set);
        if at < sleep.deadline() {
            sleep.as_mut().reset(at);
            ear.waits = false;
        }
        ear.poll(cx, |cx| {
            loop {
                ready!(sleep.as_mut().poll(cx));
                if sleep.deadline() >= at {
                    return Poll::Ready(());
                }
                sleep.as_mut().reset(at);
            }
        })
    }
}

/// The time of one step, read when it is asked for the first time.
#[derive(Default)]
pub(super) struct Now(Option<Instant>);

impl Now {
    /// One that was read already.
    pub(super) const fn at(now: Instant) -> Self {
        Self(Some(now))
    }

    pub(super) fn get(&mut self) -> Instant {
        *self.0.get_or_insert_with(Instant::now)
    }
}

/// Measures silence: only while bytes are waited for.
pub(super) struct Patience {
    idle: Duration,
    end: Option<Instant>,
    waiting_since: Option<Instant>,
}

impl Patience {
    /// Lasts `idle` from each chunk to the next, and never longer than to the `end`, if there is one.
    pub(super) fn new(idle: Duration, end: Option<Instant>) -> Self {
        Self { idle, end, waiting_since: None }
    }

    /// Bytes came.
    pub(super) fn renew(&mut self) {
        self.waiting_since = None;
    }

    /// Ready when it is over. To be asked whenever there are no bytes, always with the same alarm.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, alarm: &mut Alarm) -> Poll<()> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let silent = deadline(since, self.idle);
        alarm.poll(cx, self.end.map_or(silent, |end| end.min(silent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_from_the_last_bytes() {
        let begin = Instant::now();
        let (mut patience, mut alarm) = (Patience::new(IDLE, None), Alarm::default());
        for _ in 0..5 {
            let waiting = poll_fn(|cx| patience.poll(cx, &mut alarm));
            assert!(tokio::time::timeout(IDLE * 9 / 10, waiting).await.is_err());
            patience.renew();
        }
        poll_fn(|cx| patience.poll(cx, &mut alarm)).await;
        assert_eq!(begin.elapsed().as_secs(), 5 * 9 + 10);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waited_does_not_count() {
        let (mut patience, mut alarm) = (Patience::new(IDLE, None), Alarm::default());
        assert!(poll_fn(|cx| Poll::Ready(patience.poll(cx, &mut alarm))).await.is_pending());
        patience.renew();
        tokio::time::advance(IDLE * 100).await;
        let begin = Instant::now();
        poll_fn(|cx| patience.poll(cx, &mut alarm)).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_however_lively_it_is_and_no_wait_is_too_long() {
        let begin = Instant::now();
        let end = Some(deadline(begin, IDLE));
        let (mut patience, mut alarm) = (Patience::new(Duration::MAX, end), Alarm::default());
        poll_fn(|cx| patience.poll(cx, &mut alarm)).await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_at_the_time_it_was_asked_for_last_sooner_or_later() {
        let (mut alarm, begin) = (Alarm::default(), Instant::now());
        for seconds in [3, 2, 5, 5, 4, 9] {
            let at = begin + Duration::from_secs(seconds);
            assert!(poll_fn(|cx| Poll::Ready(alarm.poll(cx, at))).await.is_pending());
        }
        poll_fn(|cx| alarm.poll(cx, begin + Duration::from_secs(7))).await;
        assert_eq!(begin.elapsed().as_secs(), 7);
        poll_fn(|cx| alarm.poll(cx, begin + Duration::from_secs(8))).await;
        assert_eq!(begin.elapsed().as_secs(), 8);
    }

    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_had_nothing_to_say_is_asked_again_when_it_rang_and_the_task_that_asked_last_is_woken() {
        let tasks: [Arc<Task>; 2] = Default::default();
        let wakers = [0, 1].map(|number| Waker::from(Arc::clone(&tasks[number])));
        let mut ear = Ear::new(&wakers[0]);
        let mut ask = |number: usize, says: Poll<()>| {
            let mut ring = None;
            let said = ear.poll(&mut Context::from_waker(&wakers[number]), |cx| {
                ring = Some(cx.waker().clone());
                says
            });
            (said, ring)
        };
        let (said, ring) = ask(0, Poll::Pending);
        assert!(said.is_pending());
        let (said, asked) = ask(1, Poll::Ready(()));
        assert!(said.is_pending() && asked.is_none(), "it did not ring");
        ring.unwrap().wake();
        assert_eq!(tasks.each_ref().map(|task| task.0.load(Ordering::SeqCst)), [false, true]);
        assert!(ask(1, Poll::Ready(())).0.is_ready());
        assert!(ask(1, Poll::Pending).1.is_some(), "it may have more to say");
        assert!(ask(1, Poll::Pending).1.is_none());
    }

    /// Counts how often it is asked.
    struct Stopping(Arc<Mutex<(bool, u32, Option<Waker>)>>);

    impl Future for Stopping {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().unwrap();
            (state.1, state.2) = (state.1 + 1, Some(cx.waker().clone()));
            if state.0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[tokio::test]
    async fn a_stop_is_asked_once_and_again_when_it_rang_and_wakes_the_task_that_waits_last() {
        let state = Arc::new(Mutex::new((false, 0, None)));
        let cut = crate::upstream::tests::never_cut().await;
        let mut signals = Signals::new(cut, crate::upstream::tests::stops(Stopping(Arc::clone(&state))));
        let mut asked = tokio::spawn(async move {
            for _ in 0..3 {
                assert!(poll_fn(|cx| Poll::Ready(signals.poll(cx))).await.is_pending());
            }
            signals
        });
        let mut signals = (&mut asked).await.unwrap();
        assert_eq!(state.lock().unwrap().1, 1);
        let waits = tokio::spawn(async move { signals.heard().await });
        tokio::task::yield_now().await;
        state.lock().unwrap().0 = true;
        let waker = state.lock().unwrap().2.clone().unwrap();
        waker.wake();
        let heard = tokio::time::timeout(IDLE, waits).await.expect("it was not woken").unwrap();
        assert_eq!((heard, state.lock().unwrap().1), (RelayFault::Stopped, 2));
    }
}
