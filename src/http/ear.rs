//! The waker that hyper is given on HTTP/1: it wakes the connection's task, but not for what that task does itself in
//! silence. Never: what a wake is about.
//!
//! hyper wakes its own task whenever a part of a request's body is taken from it, the last one too, although nothing is
//! left to do then.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static HEARING: Cell<Hearing> = const { Cell::new(Hearing::On) };
}

/// What becomes of the wakes that this thread gives through ears.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hearing {
    On,
    Off,
    /// Off, and there was one.
    Missed,
}

/// A future that is woken through an ear.
pub(super) struct Eared<F> {
    pub(super) future: F,
    /// The waker of the task that it was polled in last, and that of its ear.
    known: Option<(Waker, Waker)>,
}

impl<F> Eared<F> {
    pub(super) fn new(future: F) -> Self {
        Self { future, known: None }
    }
}

impl<F: Future + Unpin> Future for Eared<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, known } = self.get_mut();
        let (_, ear) = match known {
            Some(known) if known.0.will_wake(cx.waker()) => known,
            known => known.insert((cx.waker().clone(), Ear::waker(cx.waker()))),
        };
        Pin::new(future).poll(&mut Context::from_waker(ear))
    }
}

/// Hears for a task.
struct Ear {
    task: Waker,
}

impl Ear {
    fn waker(task: &Waker) -> Waker {
        Waker::from(Arc::new(Self { task: task.clone() }))
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match HEARING.get() {
            Hearing::On => self.task.wake_by_ref(),
            Hearing::Off | Hearing::Missed => HEARING.set(Hearing::Missed),
        }
    }
}

/// Does something that may wake tasks of this thread through ears, and keeps that from them. Tells whether it would have
/// woken one.
pub(super) fn unheard<T>(act: impl FnOnce() -> T) -> (T, bool) {
    let silence = Silence::begin();
    let done = act();
    (done, silence.end())
}

/// Ends in a panic, too.
struct Silence;

impl Silence {
    fn begin() -> Self {
        HEARING.set(Hearing::Off);
        Self
    }

    fn end(self) -> bool {
        HEARING.get() == Hearing::Missed
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        HEARING.set(Hearing::On);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_hears_every_wake_but_its_own_in_silence() {
        let count = Arc::new(Count::default());
        let ear = Ear::waker(&Waker::from(Arc::clone(&count)));
        let woken = || count.0.load(Ordering::SeqCst);
        ear.wake_by_ref();
        assert_eq!(woken(), 1);
        assert!(unheard(|| ear.wake_by_ref()).1);
        assert_eq!(woken(), 1);
        assert!(!unheard(|| ()).1);
        let elsewhere = ear.clone();
        unheard(|| std::thread::spawn(move || elsewhere.wake()).join().unwrap());
        assert_eq!(woken(), 2, "another thread is heard");
        let _ = std::panic::catch_unwind(|| unheard(|| panic!("in silence")));
        ear.wake();
        assert_eq!(woken(), 3, "after a panic, too");
    }
}
