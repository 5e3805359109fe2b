//! When a server that fails is left alone, for how long, and when it is tried again. Never: what a failure is, clocks or
//! dice of its own, whether another server is there.
//!
//! A circuit breaker (Nygard, Release It!, 2007): closed, open after failures in a row, half-open when its time is over.
//! Half-open, the next request is a trial; the door closes behind it until its outcome is known or as long again.

use std::time::Duration;

use tokio::time::Instant;

use crate::types::KeyId;

/// So many failures in a row open it; one where nobody could be reached counts as all of them: no request can be the
/// cause of that.
const FAILURES_MAX: u32 = 3;
/// So many failures in a row open it when errors are among them.
const ERRORS_MAX: u32 = 5;
/// So many failures and errors in a row open it when all were met by the same key, whose own doing they may be.
const ONE_KEYS_MAX: u32 = 20;
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

/// What a server has done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody was there.
    Unreachable,
    /// It failed, and no request can be the cause.
    Own,
    /// It failed a request of that key, which may be the cause.
    Met(KeyId),
    /// It answered a request of that key with an error, which says less than no answer.
    Error(KeyId),
}

/// The failures of one server in a row, and what follows from them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Breaker {
    failures: u32,
    errors: u32,
    /// The key that met the first of them that a request may be the cause of.
    first: Option<KeyId>,
    /// No single key can be the cause of them all.
    many: bool,
    /// It was opened because nobody was there.
    unreached: bool,
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
    pub(super) fn failed(&mut self, failure: Failure, now: Instant, dice: u32) -> Option<Duration> {
        self.count(failure);
        let opens = match self.circuit(now) {
            Circuit::Closed => self.is_enough(),
            Circuit::HalfOpen => true,
            // What was under way before it opened says nothing new.
            Circuit::Open => self.trial,
        };
        if !opens {
            return None;
        }
        self.opened = self.opened.saturating_add(1);
        self.trial = false;
        self.unreached = failure == Failure::Unreachable;
        let half = longest(self.opened) / 2;
        let open = half + half.mul_f64(f64::from(dice) / f64::from(u32::MAX));
        self.until = Some(now + open);
        Some(open)
    }

    /// A request was answered there.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A check of it was good; says whether that changes anything. When its time is over, or the server `came_back`, it
    /// closes if it was opened because nobody was there: somebody is. Else a trial may go, and only its answer closes it:
    /// a server that is stuck lists its models all the same.
    pub(super) fn checked(&mut self, came_back: bool, now: Instant) -> bool {
        let changes = self.is_tripped() && (came_back || self.circuit(now) == Circuit::HalfOpen);
        if changes && self.unreached {
            let opened = self.opened;
            *self = Self { opened, ..Self::default() };
        } else if changes {
            self.until = Some(now);
            self.trial = false;
        }
        changes
    }

    fn count(&mut self, failure: Failure) {
        let key = match failure {
            Failure::Unreachable | Failure::Own => None,
            Failure::Met(key) | Failure::Error(key) => Some(key),
        };
        match failure {
            Failure::Unreachable => self.failures = self.failures.saturating_add(FAILURES_MAX),
            Failure::Own | Failure::Met(_) => self.failures = self.failures.saturating_add(1),
            Failure::Error(_) => self.errors = self.errors.saturating_add(1),
        }
        self.many |= key.is_none() || self.first.is_some_and(|first| Some(first) != key);
        self.first = self.first.or(key);
    }

    /// Whether there are so many in a row that the server must be the cause.
    fn is_enough(&self) -> bool {
        let all = self.failures.saturating_add(self.errors);
        all >= ONE_KEYS_MAX || (self.many && (self.failures >= FAILURES_MAX || all >= ERRORS_MAX))
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
        breaker.failed(Failure::Own, now, u32::MAX)
    }

    fn key(number: u8) -> KeyId {
        KeyId::from_bytes(&[number; 16]).unwrap()
    }

    /// How many of these in a row open it.
    fn row(failures: impl Fn(u8) -> Failure) -> Option<u8> {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (1..=100).find(|number| breaker.failed(failures(*number), now, 0).is_some())
    }

    #[test]
    fn what_one_key_alone_has_met_opens_it_only_after_a_long_row() {
        assert_eq!(row(|_| Failure::Met(key(1))), Some(20));
        assert_eq!(row(|_| Failure::Error(key(1))), Some(20));
        assert_eq!(row(|number| Failure::Met(key(number))), Some(3));
        assert_eq!(row(|number| Failure::Error(key(number))), Some(5));
        assert_eq!(row(|number| Failure::Met(key(number / 10))), Some(10), "the second key has met it, too");
        let mixed = |number: u8| match number % 2 {
            0 => Failure::Met(key(1)),
            _ => Failure::Error(key(2)),
        };
        assert_eq!(row(mixed), Some(5));
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
        assert!(breaker.failed(Failure::Unreachable, now, 0).is_some());
        assert_eq!(breaker.circuit(now), Circuit::Open);
    }

    #[test]
    fn failures_of_before_do_not_make_it_longer_and_one_trial_is_let_through_at_a_time() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(Failure::Unreachable, now, u32::MAX);
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
            let open = breaker.failed(Failure::Unreachable, now, dice).unwrap();
            now += open;
            times.push(open.as_millis());
        }
        assert_eq!(times, [1000, 1000, 4000, 6000, 16_000, 30_000, 15_000, 30_000]);
    }

    #[test]
    fn a_good_check_closes_what_nobody_reached_when_its_time_is_over_but_forgets_nothing() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.failed(Failure::Unreachable, now, u32::MAX);
        assert!(!breaker.checked(false, now));
        assert_eq!(breaker.circuit(now), Circuit::Open, "its time is not over");
        let later = now + OPEN.0;
        assert!(breaker.checked(false, later));
        assert_eq!(breaker.circuit(later), Circuit::Closed);
        let again = breaker.failed(Failure::Unreachable, later, u32::MAX);
        assert_eq!(again, Some(OPEN.0 * 2), "for longer");
        assert!(breaker.checked(true, later));
        assert_eq!(breaker.circuit(later), Circuit::Closed, "who was down and is back need not wait");
    }

    #[test]
    fn a_good_check_lets_one_trial_go_to_a_server_that_failed_requests_and_only_an_answer_closes_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            fail(&mut breaker, now);
        }
        let later = now + OPEN.0;
        for came_back in [false, true] {
            breaker.checked(came_back, later);
            assert_eq!(breaker.circuit(later), Circuit::HalfOpen);
        }
        assert!(breaker.begins(later) && !breaker.begins(later));
        breaker.answered();
        assert_eq!(breaker.circuit(later), Circuit::Closed);
    }
}
