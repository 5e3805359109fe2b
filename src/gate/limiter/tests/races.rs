//! Proof 7, of law 10: reserve against settle, in every order of up to three threads. Here is the real limiter, with
//! loom's locks, and a ledger in memory (`tests/races/run`).

#![allow(clippy::unwrap_used, reason = "it is a test")]

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::*;
use crate::gate::{About, GrantStanding, Owner};
use crate::types::sync::{Racer, block_on, every_order, preemptions};
use crate::types::{
    AccountId, Environment, KeyId, LimitKind, ModelScope, Policy, Random, RandomUnavailable, Tokens, Weight,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// What is written down. Its lock is a step that others may come before and after.
#[derive(Default)]
struct Page(Mutex<FxHashMap<Holder, Used>>);

impl LimitLedger for Page {
    fn read(&self, holder: Holder) -> Answer<'_, Option<Used>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().get(&holder).cloned()) })
    }

    fn write(&self, all: Vec<(Holder, Used)>) -> Answer<'_, ()> {
        Box::pin(async move {
            self.0.lock().unwrap().extend(all);
            Ok(())
        })
    }
}

struct Stopped;

impl Stopwatch for Stopped {
    fn elapsed(&self) -> Duration {
        Duration::from_secs(1)
    }
}

struct Number(u8);

impl Random for Number {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(self.0);
        Ok(())
    }
}

/// What the key with this number opens; all are of one account.
fn grant(number: u8) -> Grant {
    Grant {
        key: KeyId::generate(NOW, &Number(number)).unwrap(),
        about: Arc::new(About {
            name: "ci".parse().unwrap(),
            environment: Environment::Prod,
            created_at: NOW,
            hint: None,
        }),
        account: AccountId::generate(NOW, &Number(0)).unwrap(),
        policy: Arc::default(),
        models: ModelScope::All,
        allow_browser: false,
        weight: Weight::default(),
        standing: GrantStanding::Active,
        expires_at: None,
        expiry_met: false,
        replaced_at: None,
        owner: Owner { is_active: true, policy: Arc::<Policy>::default() },
    }
}

fn bounds<const N: usize>(limits: [(LimitKind, u64); N]) -> Bounds {
    let mut bounds = Bounds::default();
    limits.into_iter().for_each(|(kind, max)| bounds.set(kind, NonZeroU64::new(max)));
    bounds
}

/// A limiter, and what stands when nobody can come between. What is counted here is no step of the model's.
struct Desk {
    limiter: Arc<Limiter>,
    page: Arc<Page>,
    open: AtomicU64,
    open_max: u64,
    passed: AtomicU64,
    tokens: AtomicU64,
}

/// How a request ends.
#[derive(Clone, Copy)]
enum End {
    Used(u64),
    WentNowhere,
    Dropped,
}

impl Desk {
    fn new(open_max: u64, key: Bounds, account: Bounds) -> Arc<Self> {
        let page = Arc::new(Page::default());
        let limiter = Arc::new(Limiter::new(page.clone(), Arc::new(Stopped), key, account));
        let (open, passed, tokens) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { limiter, page, open, open_max, passed, tokens })
    }

    fn take(&self, key: u8, tokens: u64) -> Option<Hold> {
        match block_on(self.limiter.take(&grant(key), tokens, NOW)) {
            Ok(hold) => Some(hold),
            Err(Refusal::Limited(_)) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// A request of 10 tokens, from its admission to its end.
    fn request(&self, key: u8, end: End) {
        let Some(mut hold) = self.take(key, 10) else { return };
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(open <= self.open_max, "{open} at once");
        self.passed.fetch_add(1, Ordering::SeqCst);
        let settle = |hold: &mut Hold, used: Option<u64>| {
            let tokens = used.map(|completion| Tokens { prompt: 0, completion, cached: 0 });
            self.tokens.fetch_add(used.unwrap_or(0), Ordering::SeqCst);
            hold.settle(tokens, NOW);
        };
        match end {
            End::Used(used) => settle(&mut hold, Some(used)),
            End::WentNowhere => settle(&mut hold, None),
            End::Dropped => {}
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn racer(self: &Arc<Self>, run: impl FnOnce(&Self) + Send + 'static) -> Racer {
        let desk = Arc::clone(self);
        Box::new(move || run(&desk))
    }

    /// Of the account's first budget, what is written down.
    fn written(&self) -> u64 {
        let page = self.page.0.lock().unwrap();
        let used = page.get(&Holder::Account(grant(0).account));
        used.and_then(|used| used.budgets.first()).map_or(0, |spent| spent.amount)
    }
}

#[test]
fn law_10_places_are_never_more_than_there_are_and_all_come_back() {
    for places in [1, 2] {
        let set = move || {
            let desk =
                Desk::new(places, bounds([(LimitKind::ConcurrentRequests, places)]), Bounds::default());
            let ends = [End::Used(3), End::WentNowhere, End::Dropped];
            let racers = ends.map(|end| desk.racer(move |desk| desk.request(1, end)));
            (desk, racers.into())
        };
        let look = move |desk: Arc<Desk>| {
            assert!(desk.passed.load(Ordering::SeqCst) >= places);
            let all: Vec<_> = (0..places).map(|_| desk.take(1, 10)).collect();
            assert!(all.iter().all(Option::is_some), "a place is stuck");
            assert!(desk.take(1, 10).is_none(), "a place too many came back");
        };
        let name = format!("three requests for {places} places");
        every_order(&name, preemptions(2, Some(4)), set, look);
    }
}

#[test]
fn law_10_a_key_and_its_account_are_taken_from_together() {
    let set = || {
        let key = bounds([(LimitKind::ConcurrentRequests, 1), (LimitKind::RequestsPerMinute, 2)]);
        let account = bounds([(LimitKind::ConcurrentRequests, 2), (LimitKind::RequestsPerMinute, 2)]);
        let desk = Desk::new(2, key, account);
        let racers = [1, 2, 1].map(|key| desk.racer(move |desk| desk.request(key, End::Used(3))));
        (desk, racers.into())
    };
    let look = |desk: Arc<Desk>| {
        let passed = desk.passed.load(Ordering::SeqCst);
        assert!((1..=2).contains(&passed), "{passed} of 2 a minute");
        // Whoever was refused by one limit has taken nothing of the other.
        let left: Vec<_> = (passed..2).map(|_| desk.take(3, 10)).collect();
        assert!(left.iter().all(Option::is_some) || left.len() > 1, "what was refused was taken");
        assert!(left.len() > 1 || desk.take(4, 10).is_none(), "more than two a minute");
    };
    every_order("three requests of two keys of an account", preemptions(2, Some(4)), set, look);
}

#[test]
fn law_8_a_budget_holds_and_is_written_down_ahead() {
    let set = || {
        let desk = Desk::new(2, Bounds::default(), bounds([(LimitKind::TokensPerDay, 20)]));
        let request = |used| {
            desk.racer(move |desk| {
                desk.request(1, End::Used(used));
                let (written, spent) = (desk.written(), desk.tokens.load(Ordering::SeqCst));
                assert!(written >= spent, "a crash would forget {} tokens", spent - written);
            })
        };
        let flush = desk.racer(|desk| block_on(desk.limiter.flush(NOW)).unwrap());
        let racers = vec![request(4), request(10), flush];
        (desk, racers)
    };
    let look = |desk: Arc<Desk>| {
        let spent = desk.tokens.load(Ordering::SeqCst);
        assert!(spent <= 20 && desk.written() >= spent);
        assert!(desk.take(1, 20 - spent + 1).is_none(), "more than the budget");
        assert!(desk.take(1, 20 - spent).is_some(), "what was not used did not come back");
        block_on(desk.limiter.close(NOW)).unwrap();
        assert_eq!((desk.written(), desk.limiter.owes()), (spent, false));
    };
    every_order("two requests and a flush of their budget", preemptions(2, Some(4)), set, look);
}
