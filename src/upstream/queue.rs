//! Whose turn it is at a server with a bounded number of slots: fair between those who ask, first come first served
//! for each of them. Never: who they are, time, threads.
//!
//! Start-time fair queuing (Goyal, Vin, Cheng, 1996), each request counting as one: a request starts, in virtual time,
//! when the one before it of the same asker ends there, or now if that is later; it ends `1 / weight` later. The
//! smallest start is next, and now is the start of whoever got a slot last. So whoever has nothing here yet comes
//! before the second request of anybody else.

use std::collections::{BTreeMap, BTreeSet};

/// The virtual time that a request of weight 1 takes.
const UNIT: u64 = 1 << 20;

/// So many askers are remembered, whether or not they have anything here.
const REMEMBERED: usize = 1024;

/// Slots and those who wait for one. `K` tells askers apart, `W` is what stands in line.
pub(super) struct FairQueue<K, W> {
    slots_max: usize,
    /// Slots given out.
    out: usize,
    waiting_max: usize,
    waiting: usize,
    now: u64,
    /// The last virtual end.
    latest: u64,
    /// Numbers for places and for turns.
    count: u64,
    askers: BTreeMap<K, Asker<W>>,
    /// With so many it is time to forget some.
    askers_max: usize,
    /// The first of each asker who waits, by virtual start.
    turns: BTreeMap<Turn, K>,
    /// How much each asker who waits has in line, by its weight.
    loads: BTreeSet<(u64, K)>,
}

/// A virtual start; of equals the first known is first.
type Turn = (u64, u64);

struct Asker<W> {
    cost: u64,
    /// The virtual end of its last request that got a slot.
    end: u64,
    /// Where it stands among the turns, if it waits.
    turn: Option<Turn>,
    /// Its places, by number.
    line: BTreeMap<u64, W>,
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<K> {
    asker: K,
    number: u64,
}

/// What became of one who asked to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<K, W> {
    /// There was a slot, and it is his.
    Slot,
    /// He waits. In a full line somebody else had to go for him.
    Waits(Place<K>, Option<W>),
    /// The line is full.
    Full,
}

impl<W> Asker<W> {
    fn new(cost: u64) -> Self {
        Self { cost, end: 0, turn: None, line: BTreeMap::new() }
    }

    /// The virtual start of its next request.
    fn start(&self, now: u64) -> u64 {
        self.end.max(now)
    }

    fn load(&self) -> u64 {
        self.cost.saturating_mul(self.line.len() as u64)
    }
}

impl<K: Copy + Ord, W> FairQueue<K, W> {
    /// At least one slot; none may wait when `waiting_max` is 0.
    pub(super) fn new(slots_max: usize, waiting_max: usize) -> Self {
        Self {
            slots_max: slots_max.max(1),
            out: 0,
            waiting_max,
            waiting: 0,
            now: 0,
            latest: 0,
            count: 0,
            askers: BTreeMap::new(),
            askers_max: REMEMBERED,
            turns: BTreeMap::new(),
            loads: BTreeSet::new(),
        }
    }

    /// Sets the bounds anew. What is over them stays until it comes back by itself.
    pub(super) fn set_bounds(&mut self, slots_max: usize, waiting_max: usize) {
        (self.slots_max, self.waiting_max) = (slots_max.max(1), waiting_max);
    }

    /// Slots there are.
    pub(super) const fn slots_max(&self) -> usize {
        self.slots_max
    }

    /// Slots given out.
    pub(super) const fn out(&self) -> usize {
        self.out
    }

    /// How many wait.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a slot; says whether there was one. While somebody waits, there is none.
    pub(super) fn take(&mut self, asker: K, weight: u32) -> bool {
        if self.out >= self.slots_max {
            return false;
        }
        self.out += 1;
        if self.askers.len() >= self.askers_max {
            self.forget();
        }
        let cost = cost(weight);
        let known = self.askers.entry(asker).or_insert_with(|| Asker::new(cost));
        known.cost = cost;
        self.now = known.start(self.now);
        known.end = self.now + cost;
        self.latest = self.latest.max(known.end);
        true
    }

    /// Takes a slot or a place in line. In a full line whoever has the most in it, by weight, gives up the last of his
    /// places for one who has less even then.
    pub(super) fn enter(&mut self, asker: K, weight: u32, waiter: W) -> Entered<K, W> {
        if self.take(asker, weight) {
            return Entered::Slot;
        }
        let mut gone = None;
        if self.waiting >= self.waiting_max {
            let Some(longest) = self.longer_than(asker, weight) else { return Entered::Full };
            gone = self.remove_last(longest);
        }
        if self.askers.len() >= self.askers_max {
            self.forget();
        }
        self.unlist(asker);
        self.count += 1;
        let (number, cost) = (self.count, cost(weight));
        let known = self.askers.entry(asker).or_insert_with(|| Asker::new(cost));
        known.cost = cost;
        known.line.insert(number, waiter);
        self.waiting += 1;
        self.list(asker);
        Entered::Waits(Place { asker, number }, gone)
    }

    /// Gives a place in line up; says whether it was still there.
    pub(super) fn leave(&mut self, place: Place<K>) -> bool {
        self.remove(place.asker, place.number).is_some()
    }

    /// Whether the place is still there.
    pub(super) fn holds(&self, place: Place<K>) -> bool {
        self.askers.get(&place.asker).is_some_and(|known| known.line.contains_key(&place.number))
    }

    /// Sends those away who wait and of whom this holds.
    pub(super) fn part(&mut self, holds: impl Fn(&W) -> bool) -> Vec<W> {
        let all = self.askers.iter().flat_map(|(asker, known)| {
            let wanted = known.line.iter().filter(|(_, waiter)| holds(waiter));
            wanted.map(|(number, _)| (*asker, *number))
        });
        let all: Vec<_> = all.collect();
        all.into_iter().filter_map(|(asker, number)| self.remove(asker, number)).collect()
    }

    /// Sends everybody away who waits.
    pub(super) fn dissolve(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.remove_first().map(|(_, waiter)| waiter)).collect()
    }

    /// Gives a slot back: to those who wait, in turn, until one accepts it. Who does not has lost his place.
    /// When more are out than there are, it goes to nobody.
    pub(super) fn give_back(&mut self, accepts: impl FnMut(W) -> bool) {
        if self.out <= self.slots_max && self.hand_on(accepts) {
            return;
        }
        self.out -= 1;
        if self.out == 0 {
            // Nobody owes anybody anything.
            self.now = self.latest;
        }
    }

    /// Gives a slot that is free to those who wait, as [`FairQueue::give_back`] does; says whether one took it.
    pub(super) fn give_spare(&mut self, accepts: impl FnMut(W) -> bool) -> bool {
        let is_taken = self.out < self.slots_max && self.hand_on(accepts);
        self.out += usize::from(is_taken);
        is_taken
    }

    fn hand_on(&mut self, mut accepts: impl FnMut(W) -> bool) -> bool {
        while let Some((asker, waiter)) = self.remove_first() {
            if accepts(waiter) {
                self.served(asker);
                return true;
            }
        }
        false
    }

    /// The asker who was first has got a slot.
    fn served(&mut self, asker: K) {
        self.unlist(asker);
        if let Some(known) = self.askers.get_mut(&asker) {
            self.now = known.start(self.now);
            known.end = self.now + known.cost;
            self.latest = self.latest.max(known.end);
        }
        self.list(asker);
    }

    fn remove_first(&mut self) -> Option<(K, W)> {
        let asker = *self.turns.first_key_value()?.1;
        let number = *self.askers.get(&asker)?.line.keys().next()?;
        self.remove(asker, number).map(|waiter| (asker, waiter))
    }

    fn remove_last(&mut self, asker: K) -> Option<W> {
        let number = *self.askers.get(&asker)?.line.keys().next_back()?;
        self.remove(asker, number)
    }

    fn remove(&mut self, asker: K, number: u64) -> Option<W> {
        self.unlist(asker);
        let waiter = self.askers.get_mut(&asker).and_then(|known| known.line.remove(&number));
        self.waiting -= usize::from(waiter.is_some());
        self.list(asker);
        waiter
    }

    /// Who has the most in line, if that is more than `asker` would have with one more.
    fn longer_than(&self, asker: K, weight: u32) -> Option<K> {
        let own = self.askers.get(&asker).map_or(0, |known| known.line.len() as u64) + 1;
        let &(load, longest) = self.loads.last()?;
        (load > cost(weight).saturating_mul(own)).then_some(longest)
    }

    /// Takes an asker out of the turns and loads, so that it can be changed.
    fn unlist(&mut self, asker: K) {
        let Some(known) = self.askers.get(&asker) else { return };
        if let Some(turn) = known.turn {
            self.turns.remove(&turn);
            self.loads.remove(&(known.load(), asker));
        }
    }

    /// Puts an asker where it belongs among the turns and loads, if it waits.
    fn list(&mut self, asker: K) {
        let Some(known) = self.askers.get_mut(&asker) else { return };
        if known.line.is_empty() {
            known.turn = None;
            return;
        }
        let start = known.start(self.now);
        if known.turn.is_none_or(|(at, _)| at != start) {
            self.count += 1;
            known.turn = Some((start, self.count));
        }
        self.turns.extend(known.turn.map(|turn| (turn, asker)));
        self.loads.insert((known.load(), asker));
    }

    /// Forgets those who have nothing in line and whose time has passed; when they are still many, also those whose
    /// time has not.
    fn forget(&mut self) {
        let now = self.now;
        self.askers.retain(|_, known| !known.line.is_empty() || known.end > now);
        if self.askers.len() >= self.askers_max / 2 {
            self.askers.retain(|_, known| !known.line.is_empty());
        }
        self.askers_max = REMEMBERED.max(2 * self.askers.len());
    }
}

/// The virtual time that a request takes.
fn cost(weight: u32) -> u64 {
    UNIT / u64::from(weight.clamp(1, 100))
}

#[cfg(test)]
mod tests;
