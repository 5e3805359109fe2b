//! How long it takes to refuse a key tells nothing about keys that were issued. Never: the network, which hides more.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::*;

/// How many characters are shared. The first ten are `ember_dev_`: there nothing of a secret is.
const SHARED: [usize; 4] = [10, 20, 30, 40];
/// Beyond this the difference is no chance.
const T_MAX: f64 = 4.5;
/// A machine on which no smaller difference would be seen proves nothing: it is given more samples, then it fails.
const VISIBLE_MAX_NS: f64 = 100.0;
const TRIES_MAX: usize = 5;
/// Keys that are made before any of them is tried.
const BATCH: usize = 1000;

/// Reads keys in the thread that asks: waiting for another one would hide what is looked for.
struct Direct(Registry);

impl KeySource for Direct {
    fn find<'a>(
        &'a self,
        digest: KeyDigest,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Grant>, SourceTrouble>> + Send + 'a>> {
        let found = self.0.by_digest(&digest).map_err(trouble);
        let grant = |(record, account)| Grant::of(&record, &digest, Owner::of(&account));
        let found = found.map(|found| found.map(grant));
        Box::pin(async move { found })
    }

    fn end_met(&self, _: EndMet) {}
}

/// A key with a right checksum that begins like another one and is not it.
fn beginning_like(like: &[u8], shared: usize, dice: &mut Dice) -> Vec<u8> {
    loop {
        let mut key = like.to_vec();
        key[shared..].fill_with(|| dice.digit());
        mend(&mut key);
        if key != like {
            return key;
        }
    }
}

fn nanoseconds_of_refusal(hall: &Hall, key: &[u8]) -> f64 {
    let now = SystemClock.now();
    let began = Instant::now();
    let outcome = pin!(hall.gate.identify(Some(key), now)).poll(&mut Context::from_waker(Waker::noop()));
    let took = began.elapsed();
    assert!(matches!(outcome, Poll::Ready(Err(Refusal::InvalidKey))), "it is not refused at once");
    took.as_nanos() as f64
}

/// Samples of two kinds, one of which begins like a key that was issued, the other like one that was not; in an order
/// that chance gives, so that what else the machine does harms both alike.
fn samples(hall: &Hall, shared: usize, dice: &mut Dice, count: usize) -> [Vec<f64>; 2] {
    let issued = &hall.issued[0];
    let kinds = [beginning_like(issued, 10, dice), issued.clone()];
    let mut took = [Vec::new(), Vec::new()];
    // What the first batch takes is not counted: caches and the processor's clock are still cold.
    for batch in 0..=count / BATCH {
        let mut one = || {
            let kind = dice.below(2);
            (kind, beginning_like(&kinds[kind], shared, dice))
        };
        let keys: Vec<_> = (0..BATCH).map(|_| one()).collect();
        for (kind, key) in keys {
            let nanoseconds = nanoseconds_of_refusal(hall, &key);
            if batch > 0 {
                took[kind].push(nanoseconds);
            }
        }
    }
    took
}

/// Leaves out what is above the 99th percentile of both kinds together: there the machine did something else.
fn crop(took: &mut [Vec<f64>; 2]) {
    let mut all: Vec<_> = took.concat();
    all.sort_unstable_by(f64::total_cmp);
    let highest = all[all.len() * 99 / 100];
    took.iter_mut().for_each(|kind| kind.retain(|value| *value <= highest));
}

/// Welch's t, and the standard error of the difference of means that it is measured in.
fn welch([one, other]: &[Vec<f64>; 2]) -> (f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let error = |values: &[f64]| {
        let (mean, count) = (mean(values), values.len() as f64);
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) / count
    };
    let of_the_difference = (error(one) + error(other)).sqrt();
    ((mean(one) - mean(other)) / of_the_difference, of_the_difference)
}

#[test]
fn the_statistics_are_those_of_the_books() {
    // Means 3 and 6, variances 2.5 and 10, five of each.
    let (t, error) = welch(&[vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![2.0, 4.0, 6.0, 8.0, 10.0]]);
    assert!(
        (error - 2.5_f64.sqrt()).abs() < 1e-12 && (t + 3.0 / 2.5_f64.sqrt()).abs() < 1e-12,
        "{t} {error}"
    );
    let mut took = [(0..100).map(f64::from).collect(), (100..200).map(f64::from).collect()];
    crop(&mut took);
    assert_eq!((took[0].len(), took[1].len()), (100, 99));
}

/// What was measured: how many samples, t, and the smallest difference of means that would have been seen.
struct Measured {
    count: usize,
    t: f64,
    visible_ns: f64,
}

/// Goes on while the machine is too noisy to see anything; never because of what it sees.
fn measure(hall: &Hall, shared: usize) -> Measured {
    let each = proof::size(5000, 200_000);
    let mut dice = Dice(shared as u64);
    let mut all = [Vec::new(), Vec::new()];
    let mut tries = 0;
    loop {
        tries += 1;
        let more = samples(hall, shared, &mut dice, each);
        all.iter_mut().zip(more).for_each(|(known, more)| known.extend(more));
        let mut cropped = all.clone();
        crop(&mut cropped);
        let (t, error) = welch(&cropped);
        let measured = Measured { count: tries * each, t, visible_ns: T_MAX * error };
        if !proof::is_full() || measured.visible_ns < VISIBLE_MAX_NS || tries == TRIES_MAX {
            return measured;
        }
    }
}

/// Law 2. Every day only that it can be measured; when proven, what is seen.
#[test]
fn the_time_of_a_refusal_does_not_tell_how_much_of_a_key_is_right() {
    let hall = Hall::new(proof::size(100, 1000), |registry| Arc::new(Direct(registry)));
    let of_a_user = pin!(hall.refusal(&hall.issued[0])).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(of_a_user, Poll::Ready(None), "the key is in use");
    let all = SHARED.map(|shared| (shared, measure(&hall, shared)));
    for (shared, Measured { count, t, visible_ns }) in &all {
        let what = format!("refusals of keys that share {shared} characters");
        proof::show(&format!("{what}, t over {count}"), format!("{t:.2}"), "-4.5 to 4.5");
        let visible = format!("{visible_ns:.0} ns");
        proof::show(&format!("{what}, difference that would be seen"), visible, "under 100 ns");
    }
    for (shared, Measured { t, visible_ns, .. }) in all.iter().filter(|_| proof::is_full()) {
        assert!(t.abs() < T_MAX, "{shared} characters shared: t is {t}");
        assert!(*visible_ns < VISIBLE_MAX_NS, "the machine is too noisy to see less than {visible_ns} ns");
    }
}
