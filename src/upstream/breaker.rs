//! When a server that fails is left alone, for how long, and when it is tried again. Never: what a failure is, clocks or
//! dice of its own, whether another server is there.
//!
//! A circuit breaker (Nygard, Release It!, 2007): closed, open after failures in a row, half-open when its time is over.
//! Half-open, the next request is a trial; the door closes behind it until its outcome is known or as long again.

use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it; one where nobody could be reached counts as all of them: no request can be the
/// cause of that.
const FAILURES_MAX: u32 = 3;
/// The longest that it is open the first time; twice as long each time, up to the second.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What it says of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Requests go there.
    Closed,
    /// One request may go there.
    HalfOpen,
    /// Requests go elsewhere, while there is a better place.
    Open,
}

/// The failures of one server in a row, and what follows from them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// How many times it has opened since a request was answered.
    opened: u32,
    /// Until when it is open; none while it is closed.
    until: Option<Instant>,
    /// A trial is under way.
    trial: bool,
}

impl Breaker {
    pub(super) fn circuit(&self, now: Instant) -> Circuit {
        match self.until {
            None => Circuit::Closed,
            Some(until) if now < until => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }

    /// Whether it is not closed.
    pub(super) const fn is_tripped(&self) -> bool {
        self.until.is_some()
    }

    /// A request goes there. Says whether it may: half-open, only the first.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        match self.circuit(now) {
            Circuit::Closed => true,
            Circuit::Open => false,
            Circuit::HalfOpen => {
                self.trial = true;
                self.until = Some(now + longest(self.opened));
                true
            }
        }
    }

    /// A request failed there; the `dice` say how much of the longest time it is open, from a half to all of it. Says
    /// for how long, when it opens now.
    pub(super) fn failed(&mut self, unreachable: bool, now: Instant, dice: u32) -> Option<Duration> {
        self.failures = self.failures.saturating_add(if unreachable { FAILURES_MAX } else { 1 });
        let opens = match self.circuit(now) {
            Circuit::Closed => self.failures >= FAILURES_MAX,
            Circuit::HalfOpen => true,
            // What was under way before it opened says nothing new.
            Circuit::Open => self.trial,
        };
        if !opens {
            return None;
        }
        self.opened = self.opened.saturating_add(1);
        self.trial = false;
        let half = longest(self.opened) / 2;
        let open = half + half.mul_f64(f64::from(dice) / f64::from(u32::MAX));
        self.until = Some(now + open);
        Some(open)
    }

    /// A request was answered there.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A check of it was good. It closes when its time is over, or the server `came_back`; the next failure opens it
    /// again, for twice as long, until a request is answered.
    pub(super) fn checked(&mut self, came_back: bool, now: Instant) {
        if self.is_tripped() && (came_back || self.circuit(now) == Circuit::HalfOpen) {
            self.until = None;
            self.trial = false;
            self.failures = FAILURES_MAX - 1;
        }
    }
}

/// The longest that it may be open, the so manieth time.
fn longest(opened: u32) -> Duration {
    let doublings = opened.saturating_sub(1).min(16);
    OPEN.0.saturating_mul(1 << doublings).min(OPEN.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// As long as it goes.
    fn fail(breaker: &mut Breaker, now: Instant) -> Option<Duration> {
        breaker.failed(false, now, u32::MAX)
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..2 {
            assert_eq!([fail(&mut breaker, now), fail(&mut breaker, now)], [None, None]);
            breaker.answered();
        }
        assert_eq!([fail(&mut breaker, now), fail(&mut breaker, now)], [None, None]);
        assert_eq!(breaker.circuit(now), Circuit::Closed);
        assert_eq!(fail(&mut breaker, now), Some(OPEN.0));
        assert_eq!(breaker.circuit(now), Circuit::Open);
        breaker.answered();
        assert_eq!(breaker.circuit(now), Circuit::Closed);
    }

    #[test]
    fn one_who_cannot_be_reached_opens_it_at_once() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert!(breaker.failed(true, now, 0).is_some());
        assert_eq!(breaker.circuit(now), Circuit::Open);
    }

    #[test]
    fn failures_of_before_do_not_make_it_longer_and_one_trial_is_let_through_at_a_time() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(true, now, u32::MAX);
        assert_eq!(fail(&mut breaker, now), None, "it was under way when the door closed");
        assert!(!breaker.begins(now));
        let later = now + OPEN.0;
        assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
        assert!(breaker.begins(later) && !breaker.begins(later), "two trials");
        assert_eq!(fail(&mut breaker, later), Some(OPEN.0 * 2));
        assert_eq!(fail(&mut breaker, later), None, "the trial has failed only once");
        assert!(!breaker.begins(later + OPEN.0 * 2 - MS));
        // A trial of which nothing is heard bars the way no longer than a failed one.
        assert!(breaker.begins(later + OPEN.0 * 2));
        assert!(breaker.begins(later + OPEN.0 * 4));
        breaker.answered();
        assert_eq!(breaker.circuit(later), Circuit::Closed);
    }

    #[test]
    fn the_time_doubles_up_to_a_bound_and_the_dice_take_a_half_of_it_at_most() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        let mut times = Vec::new();
        for dice in [u32::MAX, 0, u32::MAX, u32::MAX / 2, u32::MAX, u32::MAX, 0, u32::MAX] {
            let open = breaker.failed(true, now, dice).unwrap();
            now += open;
            times.push(open.as_millis());
        }
        assert_eq!(times, [1000, 1000, 4000, 6000, 16_000, 30_000, 15_000, 30_000]);
    }

    #[test]
    fn a_good_check_closes_it_when_its_time_is_over_but_forgets_nothing() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(true, now, u32::MAX);
        breaker.checked(false, now);
        assert_eq!(breaker.circuit(now), Circuit::Open, "its time is not over");
        let later = now + OPEN.0;
        breaker.checked(false, later);
        assert_eq!(breaker.circuit(later), Circuit::Closed);
        assert_eq!(fail(&mut breaker, later), Some(OPEN.0 * 2), "one failure is enough now, for longer");
        breaker.checked(true, later);
        assert_eq!(breaker.circuit(later), Circuit::Closed, "who was down and is back need not wait");
    }
}
