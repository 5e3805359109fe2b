//! A timer wheel with a tick of a millisecond: what is due, and when. It knows nothing of what that is.

/// The longest wait, in ticks.
const TICKS: usize = 8192;
const TICK_NANOS: u64 = 1_000_000;

/// A stream of a connection.
pub(crate) type Due = (usize, u64);

pub(crate) struct Wheel {
    slots: Vec<Vec<Due>>,
    /// The last tick that was worked off.
    tick: u64,
    count: usize,
}

impl Wheel {
    pub(crate) fn new(now: u64) -> Self {
        Self { slots: vec![Vec::new(); TICKS], tick: now / TICK_NANOS, count: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts one in for so many ticks after the one that is being worked off.
    pub(crate) fn put(&mut self, now: u64, wait: u64, due: Due) {
        if self.count == 0 {
            self.tick = self.tick.max(now / TICK_NANOS);
        }
        let slot = (self.tick + wait.clamp(1, TICKS as u64 - 1)) as usize % TICKS;
        self.slots[slot].push(due);
        self.count += 1;
    }

    /// What has become due; all that was late comes at once. Each tick is worked off before the next begins, so a
    /// put made meanwhile counts from the tick that was due, not from now.
    pub(crate) fn turn(&mut self, now: u64, due: &mut Vec<Due>) {
        let now = now / TICK_NANOS;
        if self.count == 0 {
            self.tick = now;
        }
        while self.tick < now && due.is_empty() {
            self.tick += 1;
            due.append(&mut self.slots[self.tick as usize % TICKS]);
        }
        self.count -= due.len();
    }
}
