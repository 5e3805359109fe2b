//! The slots of one server, and waiting for the first that comes free at any of several. Never: whose turn it is
//! (`queue.rs` says), what a slot is used for.
//!
//! A slot that comes back goes straight to whoever is next: nobody is woken to try his luck. Locks are taken one at a
//! time, but for a waiter's own, which may be taken inside that of the slots.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::glance::{Glanced, Inside};
use super::queue::{Entered, FairQueue, Place};
use super::watch::Now;
use crate::types::KeyId;

/// Whose request it is, and what his turns weigh: 1 to 100.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) key: KeyId,
    pub(super) weight: u32,
}

/// A server's slots and the line for them.
pub(super) struct Slots {
    /// Glanced at, it is the requests under way, or [`CLOSED`].
    desk: Glanced<Desk>,
}

/// No slot is given out.
const CLOSED: usize = usize::MAX;

struct Desk {
    queue: FairQueue<KeyId, Arc<Seat>>,
    /// An operator wants no slot given out. Those that are out come back as ever.
    is_drained: bool,
    /// The server is gone: no slot is given out ever again.
    is_gone: bool,
    /// How long slots were held lately; none until one came back.
    held: Option<Duration>,
}

/// The right to one request at a server; given back when dropped.
pub(super) struct Slot {
    of: Arc<Slots>,
    since: Instant,
    /// When it was of no use any more; none when that is when it is dropped.
    until: Option<Instant>,
}

/// There was no place in line, or it had to be given up for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineFull;

/// One who waits in one line or several; out of all of them when dropped.
pub(super) struct Wait {
    asker: Asker,
    seat: Arc<Seat>,
    places: Vec<(Arc<Slots>, Place<KeyId>)>,
}

/// Where a slot is put for one who waits.
struct Seat(Mutex<State>);

enum State {
    /// In so many lines.
    Waiting(usize, Option<Waker>),
    Given(Slot),
    Over,
}

impl Slots {
    pub(super) fn new(slots_max: usize, waiting_max: usize) -> Arc<Self> {
        let queue = FairQueue::new(slots_max, waiting_max);
        let desk = Desk { queue, is_drained: false, is_gone: false, held: None };
        Arc::new(Self { desk: Glanced::new(desk, Desk::load) })
    }

    /// Sets the bounds anew: more slots go to those who wait at once; what is out over fewer comes back in its time.
    pub(super) fn set_bounds(self: &Arc<Self>, slots_max: usize, waiting_max: usize) {
        let mut wakers = Vec::new();
        let mut desk = self.desk();
        desk.queue.set_bounds(slots_max, waiting_max);
        loop {
            let mut woken = None;
            let is_taken = desk.queue.give_spare(|seat| seat.accept(|| self.slot(), &mut woken));
            wakers.extend(woken);
            if !is_taken {
                break;
            }
        }
        drop(desk);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes a slot if one is free.
    pub(super) fn take(self: &Arc<Self>, asker: Asker) -> Option<Slot> {
        self.take_at(asker, &mut Now::default())
    }

    /// The same at that time.
    pub(super) fn take_at(self: &Arc<Self>, asker: Asker, now: &mut Now) -> Option<Slot> {
        let mut desk = self.desk();
        let taken = !desk.is_closed() && desk.queue.take(asker.key, asker.weight);
        drop(desk);
        taken.then(|| self.slot_since(now.get()))
    }

    /// How many there are.
    pub(super) fn slots_max(&self) -> usize {
        self.desk().queue.slots_max()
    }

    /// Gives out no slot any more, and sends those away who wait for one; or gives them out again.
    pub(super) fn drain(&self, drained: bool) {
        self.shut(|desk| desk.is_drained = drained);
    }

    /// Gives out no slot ever again, and sends those away who wait for one.
    pub(super) fn close(&self) {
        self.shut(|desk| desk.is_gone = true);
    }

    fn shut(&self, change: impl FnOnce(&mut Desk)) {
        let mut desk = self.desk();
        change(&mut desk);
        let gone = if desk.is_closed() { desk.queue.dissolve() } else { Vec::new() };
        drop(desk);
        gone.iter().for_each(|seat| seat.sent_away());
    }

    /// Sends those away who stand in another line as well.
    pub(super) fn send_on(&self) {
        let gone = self.desk().queue.part(|seat| seat.lines() > 1);
        gone.iter().for_each(|seat| seat.sent_away());
    }

    /// Whether no slot is given out.
    pub(super) fn is_closed(&self) -> bool {
        self.desk().is_closed()
    }

    /// Requests under way; none when no slot is given out.
    pub(super) fn load(&self) -> Option<usize> {
        Some(self.desk.glance()).filter(|load| *load != CLOSED)
    }

    /// Requests under way.
    pub(super) fn in_flight(&self) -> usize {
        self.desk().queue.out()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.desk().queue.waiting()
    }

    /// How long it will take until the line, as it is, has been worked off; none when nobody can know.
    pub(super) fn backlog(&self) -> Option<Duration> {
        let desk = self.desk();
        let requests = u32::try_from(desk.queue.waiting() + 1).unwrap_or(u32::MAX);
        let slots = u32::try_from(desk.queue.slots_max()).unwrap_or(u32::MAX);
        desk.held.map(|held| held.saturating_mul(requests) / slots)
    }

    /// Takes a slot for the one on `seat`, or a place in line.
    fn enter(self: &Arc<Self>, asker: Asker, seat: &Arc<Seat>) -> Result<Option<Place<KeyId>>, LineFull> {
        // Before it stands there, since it may be sent away at once.
        seat.joins();
        let entered = {
            let mut desk = self.desk();
            match desk.is_closed() {
                true => Entered::Full,
                false => desk.queue.enter(asker.key, asker.weight, Arc::clone(seat)),
            }
        };
        match entered {
            Entered::Slot => {
                seat.put(self.slot());
                Ok(None)
            }
            Entered::Waits(place, gone) => {
                if let Some(gone) = gone {
                    gone.sent_away();
                }
                Ok(Some(place))
            }
            Entered::Full => {
                seat.sent_away();
                Err(LineFull)
            }
        }
    }

    fn slot(self: &Arc<Self>) -> Slot {
        self.slot_since(Instant::now())
    }

    fn slot_since(self: &Arc<Self>, since: Instant) -> Slot {
        Slot { of: Arc::clone(self), since, until: None }
    }

    fn desk(&self) -> Inside<'_, Desk> {
        self.desk.lock()
    }
}

impl Desk {
    const fn is_closed(&self) -> bool {
        self.is_drained || self.is_gone
    }

    fn load(&self) -> usize {
        if self.is_closed() { CLOSED } else { self.queue.out() }
    }

    /// The mean moves by an eighth of what is new.
    fn learn(&mut self, held: Duration) {
        self.held = Some(self.held.map_or(held, |mean| (mean * 7 + held) / 8));
    }
}

impl Slot {
    /// Whether it is one of these.
    pub(super) fn is_of(&self, slots: &Arc<Slots>) -> bool {
        Arc::ptr_eq(&self.of, slots)
    }

    /// What it was for is over; it is about to be dropped.
    pub(super) fn ends(&mut self, now: Instant) {
        self.until = Some(now);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let held = self.until.unwrap_or_else(Instant::now) - self.since;
        let mut woken = None;
        let mut desk = self.of.desk();
        desk.learn(held);
        desk.queue.give_back(|seat| seat.accept(|| self.of.slot(), &mut woken));
        drop(desk);
        if let Some(waker) = woken {
            waker.wake();
        }
    }
}

impl Wait {
    /// In no line yet.
    pub(super) fn new(asker: Asker) -> Self {
        Self { asker, seat: Seat::new(), places: Vec::new() }
    }

    /// Stands in line at these and nowhere else, or has a slot already. Places there are kept.
    ///
    /// # Errors
    /// [`LineFull`] when there is no place at any.
    pub(super) fn stand_at(&mut self, servers: &[&Arc<Slots>]) -> Result<(), LineFull> {
        if self.seat.is_over() {
            // Sent away from everywhere: he begins anew.
            *self = Self::new(self.asker);
        }
        // As long as it goes about it is in one line more, so that nobody sends it away for good.
        self.seat.joins();
        for (slots, place) in std::mem::take(&mut self.places) {
            let is_wanted = servers.iter().any(|wanted| Arc::ptr_eq(wanted, &slots));
            if is_wanted && slots.desk().queue.holds(place) {
                self.places.push((slots, place));
            } else if slots.desk().queue.leave(place) {
                self.seat.sent_away();
            }
        }
        for slots in servers {
            if self.places.iter().any(|(known, _)| Arc::ptr_eq(known, slots)) {
                continue;
            }
            match slots.enter(self.asker, &self.seat) {
                Ok(Some(place)) => self.places.push((Arc::clone(slots), place)),
                Ok(None) => return Ok(()),
                Err(LineFull) => {}
            }
        }
        self.seat.sent_away();
        if self.seat.is_over() { Err(LineFull) } else { Ok(()) }
    }
}

impl Future for Wait {
    type Output = Result<Slot, LineFull>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Slot, LineFull>> {
        self.seat.poll(cx)
    }
}

impl Drop for Wait {
    /// A slot that was just put down goes to the next.
    fn drop(&mut self) {
        drop(self.seat.take_over());
        for (slots, place) in self.places.drain(..) {
            slots.desk().queue.leave(place);
        }
    }
}

impl Seat {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Waiting(0, None))))
    }

    fn is_over(&self) -> bool {
        matches!(*self.state(), State::Over)
    }

    /// In how many lines it stands.
    fn lines(&self) -> usize {
        if let State::Waiting(lines, _) = *self.state() { lines } else { 0 }
    }

    /// Puts a slot down, if somebody waits for one; the slot is made only then.
    fn accept(&self, slot: impl FnOnce() -> Slot, woken: &mut Option<Waker>) -> bool {
        let mut state = self.state();
        let State::Waiting(_, waker) = &mut *state else { return false };
        *woken = waker.take();
        *state = State::Given(slot());
        true
    }

    /// The one who waits took this slot himself.
    fn put(&self, slot: Slot) {
        let mut slot = Some(slot);
        let mut state = self.state();
        if matches!(*state, State::Waiting(..))
            && let Some(slot) = slot.take()
        {
            *state = State::Given(slot);
        }
        // What is left goes back when nothing is locked.
        drop(state);
    }

    fn joins(&self) {
        if let State::Waiting(lines, _) = &mut *self.state() {
            *lines += 1;
        }
    }

    /// It is in one line less.
    fn sent_away(&self) {
        let mut state = self.state();
        let State::Waiting(lines, waker) = &mut *state else { return };
        *lines -= 1;
        if *lines > 0 {
            return;
        }
        let waker = waker.take();
        *state = State::Over;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Slot, LineFull>> {
        let mut state = self.state();
        match &mut *state {
            State::Waiting(_, waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Given(_) | State::Over => {
                let last = std::mem::replace(&mut *state, State::Over);
                Poll::Ready(if let State::Given(slot) = last { Ok(slot) } else { Err(LineFull) })
            }
        }
    }

    fn take_over(&self) -> State {
        std::mem::replace(&mut *self.state(), State::Over)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
