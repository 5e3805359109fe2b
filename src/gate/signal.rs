//! The end of a key's use, heard by everyone who uses it. Never: why it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::types::sync::atomic::{AtomicU8, Ordering};
use crate::types::sync::{IS_MODELLED, Mutex, MutexGuard};

use super::Cut;

/// Set once, heard by all; small, since every key in memory has one.
pub(super) struct Signal {
    /// 0, or one more than the cut's number; and [`LISTENED`]. One word, so that of one who gives and one who begins to
    /// listen the later always sees the earlier.
    state: AtomicU8,
    ears: Arc<Ears>,
}

/// Someone has waited for the signal.
const LISTENED: u8 = 0x80;

const CUTS: [Cut; 4] = [Cut::Revoked, Cut::Disabled, Cut::Replaced, Cut::AccountDisabled];

/// Who waits for any of many signals: most keys have nobody most of the time, and so need no list of their own.
#[derive(Default)]
pub(super) struct Ears([Mutex<Slab<Ear>>; PARTS]);

/// So many lists, so that few threads meet at one.
const PARTS: usize = if IS_MODELLED { 1 } else { 16 };
/// An empty list gives back the memory of more.
const KEPT: usize = 64;

struct Ear {
    /// The signal's address: it lives as long as one waits for it.
    signal: usize,
    waker: Waker,
}

/// Resolves when the key is cut; never, while it stands. Costs next to nothing until it has to wait.
pub struct CutSignal {
    signal: Arc<Signal>,
    place: Option<Place>,
}

impl CutSignal {
    /// Whether the key is cut, for one who does not wait.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.signal.given().is_some()
    }
}

/// Where one is listed, and the task that is woken then.
struct Place {
    number: usize,
    task: (usize, usize),
}

impl Signal {
    pub(super) fn new(cut: Option<Cut>, ears: &Arc<Ears>) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(number(cut)), ears: Arc::clone(ears) })
    }

    /// Whether it was given, and which.
    pub(super) fn given(&self) -> Option<Cut> {
        cut(self.state.load(Ordering::Acquire))
    }

    /// Gives it; another one takes the place of the one before.
    pub(super) fn give(self: &Arc<Self>, cut: Cut) {
        let give = |state| Some(number(Some(cut)) | (state & LISTENED));
        let before = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, give);
        if before.is_ok_and(|before| before & LISTENED == 0) {
            return;
        }
        let wakers: Vec<Waker> = {
            let ears = self.part();
            let mine = ears.iter().filter(|(_, ear)| ear.signal == self.address());
            mine.map(|(_, ear)| ear.waker.clone()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Resolves when it is given. Holds the signal.
    pub(super) fn heard(self: &Arc<Self>) -> CutSignal {
        CutSignal { signal: Arc::clone(self), place: None }
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn part(self: &Arc<Self>) -> MutexGuard<'_, Slab<Ear>> {
        let part = &self.ears.0[part_of(self.address())];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CutSignal {
    fn listen(&mut self, waker: &Waker, task: (usize, usize)) {
        let mut ears = self.signal.part();
        let ear = Ear { signal: self.signal.address(), waker: waker.clone() };
        let known = self.place.as_ref().and_then(|place| ears.get_mut(place.number));
        let before = match known {
            Some(known) => Some(std::mem::replace(known, ear)),
            None => {
                self.place = Some(Place { number: ears.insert(ear), task });
                None
            }
        };
        // Its waker may be the last that holds a task, and that may be listed, too.
        drop(ears);
        drop(before);
        if let Some(place) = &mut self.place {
            place.task = task;
        }
    }
}

impl Future for CutSignal {
    type Output = Cut;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cut> {
        if let Some(cut) = self.signal.given() {
            return Poll::Ready(cut);
        }
        // A task is known by these two as long as its waker is kept.
        let waker = cx.waker();
        let task = (waker.data().addr(), std::ptr::from_ref(waker.vtable()).addr());
        if self.place.as_ref().is_some_and(|place| place.task == task) {
            return Poll::Pending;
        }
        self.listen(waker, task);
        // Looks again now that it is listed, so that nothing is missed in between.
        match cut(self.signal.state.fetch_or(LISTENED, Ordering::AcqRel)) {
            Some(cut) => Poll::Ready(cut),
            None => Poll::Pending,
        }
    }
}

impl Drop for CutSignal {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut ears = self.signal.part();
        let ear = ears.try_remove(place.number);
        if ears.is_empty() && ears.capacity() > KEPT {
            *ears = Slab::new();
        }
        // Its waker may be the last that holds the task.
        drop(ears);
        drop(ear);
    }
}

/// What is allocated lies 16 bytes apart at least, and what is made alike often by the same distance.
#[allow(clippy::modulo_one, reason = "a model has one list")]
const fn part_of(address: usize) -> usize {
    ((address >> 4) ^ (address >> 9)) % PARTS
}

fn number(cut: Option<Cut>) -> u8 {
    let place = cut.and_then(|cut| CUTS.iter().position(|known| *known == cut));
    place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(0)
}

fn cut(state: u8) -> Option<Cut> {
    let number = usize::from(state & !LISTENED);
    number.checked_sub(1).and_then(|number| CUTS.get(number)).copied()
}

#[cfg(test)]
impl Ears {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|part| part.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Barrier, mpsc};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    /// Longer than a machine that is busy needs.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_is_heard_whenever_one_begins_to_listen() {
        let ears = Arc::new(Ears::default());
        for cut in CUTS {
            let (signal, other) = (Signal::new(None, &ears), Signal::new(None, &ears));
            assert_eq!(signal.given(), None);
            let early: Vec<_> = (0..3).map(|_| tokio::spawn(signal.heard())).collect();
            let bystander = tokio::spawn(other.heard());
            tokio::task::yield_now().await;
            assert_eq!(ears.len(), 4);
            signal.give(cut);
            for one in early {
                assert_eq!(one.await.ok(), Some(cut));
            }
            assert_eq!((signal.heard().await, signal.given()), (cut, Some(cut)));
            assert_eq!(Signal::new(Some(cut), &ears).heard().await, cut);
            assert!(!bystander.is_finished());
            bystander.abort();
            assert!(bystander.await.is_err());
            assert_eq!(ears.len(), 0, "those who went are not listed");
        }
    }

    /// Tells that it was woken.
    struct Bell(mpsc::Sender<usize>, usize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(self.1);
        }
    }

    #[test]
    fn the_task_that_asked_last_is_woken() {
        let ears = Arc::new(Ears::default());
        let signal = Signal::new(None, &ears);
        let (sender, rung) = mpsc::channel();
        let mut heard = signal.heard();
        for number in [1, 2, 2, 1, 3] {
            let waker = Waker::from(Arc::new(Bell(sender.clone(), number)));
            assert!(Pin::new(&mut heard).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(ears.len(), 1);
        signal.give(Cut::Disabled);
        assert_eq!(rung.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn nobody_is_woken_by_the_signal_of_another() {
        let ears = Arc::new(Ears::default());
        // So many that two of them share a list.
        let signals: Vec<_> = (0..=PARTS).map(|_| Signal::new(None, &ears)).collect();
        let (sender, rung) = mpsc::channel();
        let mut heard: Vec<_> = signals.iter().map(Signal::heard).collect();
        for (number, heard) in heard.iter_mut().enumerate() {
            let waker = Waker::from(Arc::new(Bell(sender.clone(), number)));
            assert!(Pin::new(heard).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        for (number, signal) in signals.iter().enumerate() {
            signal.give(Cut::Disabled);
            assert_eq!(rung.try_iter().collect::<Vec<_>>(), [number]);
            assert!(heard.iter().enumerate().all(|(other, heard)| heard.is_given() == (other <= number)));
        }
    }

    #[test]
    fn a_long_list_loses_nobody_and_its_memory_is_given_back_when_it_is_empty() {
        for (many, is_kept) in [(KEPT / 2, true), (KEPT * 4, false)] {
            let signal = Signal::new(None, &Arc::new(Ears::default()));
            let (sender, rung) = mpsc::channel();
            let waker = Waker::from(Arc::new(Bell(sender, 0)));
            let mut all: Vec<_> = (0..many).map(|_| signal.heard()).collect();
            for heard in &mut all {
                assert!(Pin::new(heard).poll(&mut Context::from_waker(&waker)).is_pending());
            }
            drop(all.pop());
            signal.give(Cut::Revoked);
            assert_eq!(rung.try_iter().count(), many - 1, "all who stayed");
            drop(all);
            assert_eq!(signal.part().capacity() > 0, is_kept, "{many}");
        }
    }

    /// A task that listens, too.
    struct Listener(#[expect(dead_code, reason = "is dropped with the task")] Mutex<CutSignal>);

    impl Wake for Listener {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn bug_a_task_whose_last_waker_is_replaced_may_be_listed_itself() {
        let (sender, done) = mpsc::channel();
        std::thread::spawn(move || {
            let signal = Signal::new(None, &Arc::new(Ears::default()));
            let (mut heard, mut other) = (signal.heard(), signal.heard());
            assert!(Pin::new(&mut other).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            let listener = Waker::from(Arc::new(Listener(Mutex::new(other))));
            assert!(Pin::new(&mut heard).poll(&mut Context::from_waker(&listener)).is_pending());
            drop(listener);
            assert!(Pin::new(&mut heard).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(signal.ears.len(), 1);
            sender.send(()).unwrap();
        });
        done.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn signals_that_lie_at_equal_distances_are_spread_over_the_lists() {
        for distance in (32..=1024).step_by(16) {
            let mut counts = [0; PARTS];
            (0..1024).for_each(|number| counts[part_of(0x7f00_0000_0000 + number * distance)] += 1);
            assert!(counts.iter().all(|count| *count <= 1024 / PARTS * 2), "{distance}: {counts:?}");
        }
    }

    #[test]
    fn signals_that_lie_side_by_side_have_a_list_each() {
        for distance in [16, 32, 48] {
            let place = |number: usize| part_of(0x7f00_0000_0000 + number * distance);
            assert_eq!((0..8).map(place).collect::<HashSet<_>>().len(), PARTS.min(8), "{distance}");
        }
    }

    #[test]
    fn law_3_a_signal_given_between_the_look_and_the_listing_is_heard() {
        let ears = Arc::new(Ears::default());
        for round in 0..500 {
            let (signal, start) = (Signal::new(None, &ears), Barrier::new(2));
            // Nobody can be listed while this is held; those who come have looked already.
            let held = signal.part();
            std::thread::scope(|threads| {
                let listener = threads.spawn(|| {
                    let mut heard = signal.heard();
                    start.wait();
                    Pin::new(&mut heard).poll(&mut Context::from_waker(Waker::noop()))
                });
                start.wait();
                (0..round * 100).for_each(|_| std::hint::spin_loop());
                signal.give(Cut::Revoked);
                drop(held);
                assert_eq!(listener.join().unwrap(), Poll::Ready(Cut::Revoked), "round {round}");
            });
        }
    }

    #[test]
    fn law_3_no_wake_up_is_lost_however_giving_and_listening_cross() {
        const ROUNDS: usize = 20_000;
        let ears = Arc::new(Ears::default());
        let signals: Vec<_> = (0..ROUNDS).map(|_| Signal::new(None, &ears)).collect();
        let (start, is_over) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for (round, signal) in signals.iter().enumerate() {
                    start.wait();
                    // Now a little earlier, now a little later.
                    (0..round % 64).for_each(|_| std::hint::spin_loop());
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    signal.give(Cut::Revoked);
                }
            });
            for (round, signal) in signals.iter().enumerate() {
                let (sender, rung) = mpsc::channel();
                let waker = Waker::from(Arc::new(Bell(sender, round)));
                let mut heard = signal.heard();
                start.wait();
                let first = Pin::new(&mut heard).poll(&mut Context::from_waker(&waker));
                if first.is_pending() && rung.recv_timeout(LONG).is_err() {
                    is_over.store(true, Ordering::SeqCst);
                    start.wait();
                    panic!("round {round}: given, and nobody was woken");
                }
                assert!(Pin::new(&mut heard).poll(&mut Context::from_waker(&waker)).is_ready());
            }
        });
        assert_eq!(ears.len(), 0);
    }
}
