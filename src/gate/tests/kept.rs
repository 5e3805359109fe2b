//! What is kept of limits: in memory what is needed and not much more, on disk all of it.

use std::num::NonZeroU64;

use super::limits::{block_on, bounds, done, hall_with};
use super::*;
use crate::meter::RateUsed;
use crate::types::{LimitKind, Tokens};

/// Grants of keys that were never seen before, all of one account.
fn strangers(hall: &Hall) -> impl Iterator<Item = Grant> {
    let known = hall.identify(&hall.key().1).ok().unwrap().grant().clone();
    std::iter::repeat_with(move || Grant { key: KeyId::generate(NOW, &hall.dice).unwrap(), ..known.clone() })
}

/// So many of them make a request each. How many holders are in memory then.
fn come(hall: &Hall, strangers: &mut impl Iterator<Item = Grant>, count: usize) -> usize {
    for grant in strangers.by_ref().take(count) {
        assert!(at_once(hall.gate.limiter.take(&grant, 10, NOW)).is_ok());
    }
    hall.gate.limiter.tallies_len()
}

#[test]
fn what_nobody_needs_is_forgotten_once_there_is_a_quarter_more_than_was_needed() {
    let hall = hall_with(LimitKind::RequestsPerMinute, 5);
    let mut strangers = strangers(&hall);
    assert_eq!(come(&hall, &mut strangers, 10_001), 10_001, "none of them is written down");
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    assert_eq!(come(&hall, &mut strangers, 2499), 12_500);
    assert_eq!(come(&hall, &mut strangers, 1), 2500, "those that are not written down, and the newest");
}

#[test]
fn few_are_never_forgotten() {
    let hall = hall_with(LimitKind::RequestsPerMinute, 5);
    let mut strangers = strangers(&hall);
    assert_eq!(come(&hall, &mut strangers, 3), 3);
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    assert_eq!(come(&hall, &mut strangers, 1), 4);
}

/// A page that has read of one holder, and lets others come in between before it answers.
struct Slow {
    page: Arc<Page>,
    about: Mutex<Option<Holder>>,
}

impl LimitLedger for Slow {
    fn read(
        &self,
        holder: Holder,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Used>, SourceTrouble>> + Send + '_>> {
        Box::pin(async move {
            let found = self.page.read(holder).await;
            let is_slow = *self.about.lock().unwrap() == Some(holder);
            if is_slow {
                tokio::task::yield_now().await;
            }
            found
        })
    }

    fn write(
        &self,
        all: Vec<(Holder, Used)>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SourceTrouble>> + Send + '_>> {
        self.page.write(all)
    }
}

fn slow_hall(key: Bounds, account: Bounds) -> (Hall, Arc<Slow>) {
    let mut hall = Hall::new();
    let slow = Arc::new(Slow { page: hall.ledger.clone(), about: Mutex::default() });
    let limiter = Arc::new(Limiter::new(slow.clone(), hall.ledger.clone(), key, account));
    hall.gate = Gate::new(hall.book.clone(), hall.meter.clone(), limiter, 1000);
    (hall, slow)
}

#[test]
fn what_was_read_before_it_was_used_and_forgotten_is_read_again() {
    let (hall, slow) = slow_hall(bounds(LimitKind::RequestsPerMinute, 5), Bounds::default());
    let (mut strangers, limiter) = (strangers(&hall), &hall.gate.limiter);
    let grant = strangers.next().unwrap();
    block_on(async {
        *slow.about.lock().unwrap() = Some(Holder::Key(grant.key));
        let mut late = Box::pin(limiter.take(&grant, 10, NOW));
        assert!(poll(late.as_mut()).is_pending(), "it has read that nothing was used");
        *slow.about.lock().unwrap() = None;
        let mut hold = limiter.take(&grant, 10, NOW).await.ok().unwrap();
        hold.settle(Some(Tokens::default()), NOW);
        drop(hold);
        limiter.flush(NOW).await.unwrap();
        assert_eq!(come(&hall, &mut strangers, 10_000), 10_000, "one was forgotten");
        let left = late.await.ok().unwrap().allowances().requests.map(|one| one.left);
        assert_eq!(left, Some(3), "both count");
    });
}

#[test]
fn what_a_request_has_in_hand_while_it_waits_is_not_forgotten() {
    let (own, account) = (LimitKind::RequestsPerMinute, LimitKind::TokensPerMinute);
    let (hall, slow) = slow_hall(bounds(own, 1), bounds(account, 1000));
    let (mut strangers, limiter) = (strangers(&hall), &hall.gate.limiter);
    let grant = strangers.next().unwrap();
    block_on(async {
        *slow.about.lock().unwrap() = Some(Holder::Account(grant.account));
        let mut late = Box::pin(limiter.take(&grant, 10, NOW));
        assert!(poll(late.as_mut()).is_pending(), "it knows its key, and waits for its account");
        *slow.about.lock().unwrap() = None;
        come(&hall, &mut strangers, 10_000);
        let first = limiter.take(&grant, 10, NOW).await;
        assert!(first.is_ok());
        assert!(matches!(late.await, Err(Refusal::Limited(_))), "two of one a minute");
    });
}

#[test]
fn a_rate_is_written_down_to_the_nanosecond() {
    let hall = hall_with(LimitKind::RequestsPerMinute, 7);
    let (record, key) = hall.key();
    done(&mut hall.pass(&key).ok().unwrap(), 1, 1);
    block_on(hall.gate.limiter.flush(NOW)).unwrap();
    let used = hall.ledger.ledger.read(Holder::Key(record.id)).unwrap().unwrap();
    let seventh = Duration::from_nanos(8_571_428_571);
    let rate = RateUsed { debt: seventh, owed: seventh, max: NonZeroU64::new(7) };
    assert_eq!(used.rates, [rate, RateUsed::default()]);
}
