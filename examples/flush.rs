//! Measures how long it takes to write down what many keys have used, and what that costs those who count meanwhile:
//! `cargo run --release --example flush -- DIR [KEYS] [OPEN]`. Leaves a store in DIR.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ember_gateway::meter::{Holder, Ledger, Meter, OpenUse, RateUsed, Spent, Used};
use ember_gateway::store::{Birth, RedbStore, Store, StoreOptions};
use ember_gateway::types::{AccountId, Clock, Ending, KeyId, Timestamp, Tokens};

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

const ROUNDS: i64 = 10;
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn id(kind: u8, number: usize) -> [u8; 16] {
    // As random as an id is: rows of neighbours do not lie together.
    let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [kind; 16];
    bytes[..8].copy_from_slice(&mixed.to_be_bytes());
    bytes
}

fn begin(meter: &Arc<Meter>, number: usize) -> Option<OpenUse> {
    let (key, account) = (KeyId::from_bytes(&id(1, number))?, AccountId::from_bytes(&id(2, number))?);
    let open = meter.open(key, account, START);
    open.progress().is_for("qwen3-8b");
    open.progress().sent_to("local");
    Some(open)
}

fn request(meter: &Arc<Meter>, number: usize) {
    if let Some(mut open) = begin(meter, number) {
        open.settle(Some(Tokens { prompt: 700, completion: 300, cached: 100 }), Ending::Done);
    }
}

/// A rate and a budget for each key, in commits as large as the limiter makes them.
fn write_limits(store: &Arc<dyn Store>, keys: usize) -> Result<Duration, Box<dyn std::error::Error>> {
    const BATCH: usize = 500;
    let ledger = Ledger::new(Arc::clone(store));
    let at = START;
    let row = |number: usize| {
        let budgets = vec![Spent { budget: 3, since: at, amount: number as u64 }];
        let nine = Duration::from_secs(9);
        let rate = RateUsed { debt: nine, owed: nine, max: NonZeroU64::new(60) };
        let used = Used { rates: [rate, RateUsed::default()], at, budgets };
        Some((Holder::Key(KeyId::from_bytes(&id(1, number))?), used))
    };
    let rows: Vec<_> = (0..keys).filter_map(row).collect();
    let began = Instant::now();
    rows.chunks(BATCH).try_for_each(|batch| ledger.write(batch))?;
    Ok(began.elapsed())
}

/// Of times in order, the one in the middle, the one in a thousand, and the longest.
#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn tell(what: &str, times: &[Duration]) {
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    println!("{what} median {:?}, 99.9% {:?}, longest {longest:?}", at(500), at(999));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("name a directory")?;
    let keys: usize = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let open: usize = args.next().map_or(Ok(0), |text| text.parse())?;
    let birth = Birth { created_at: Timestamp::from_millis(1_700_000_000_000), store_id: [1; 16] };
    let store = RedbStore::create(&Path::new(&dir).join("ember.redb"), birth, StoreOptions::default())?;
    let store: Arc<dyn Store> = Arc::new(store);
    let clock = Arc::new(HandClock(AtomicI64::new(1_800_000_000_000)));
    let meter = Arc::new(Meter::new(clock.clone(), Arc::clone(&store)));
    meter.begin()?;
    let streams: Vec<_> = (0..open).filter_map(|number| begin(&meter, number)).collect();
    let mut flushes = Vec::new();
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        (0..keys).for_each(|number| request(&meter, number));
        for stream in &streams {
            let completion = u64::try_from(round)? + 1;
            stream.progress().used(Tokens { prompt: 700, completion, cached: 0 });
        }
        clock.0.fetch_add(1000, Ordering::SeqCst);
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            let counting = threads.spawn(|| {
                let mut waits = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    request(&meter, 0);
                    waits.push(began.elapsed());
                    std::thread::sleep(Duration::from_micros(100));
                }
                waits
            });
            let began = Instant::now();
            let flushed = meter.flush();
            flushes.push(began.elapsed());
            done.store(true, Ordering::SeqCst);
            waits.extend(counting.join().unwrap_or_default());
            flushed
        })?;
    }
    let mut limits = (0..ROUNDS).map(|_| write_limits(&store, keys)).collect::<Result<Vec<_>, _>>()?;
    limits.sort();
    flushes.sort();
    waits.sort();
    tell(&format!("{keys} keys, {open} open requests: flush"), &flushes);
    tell("what these keys used of their limits:", &limits);
    tell("counting a request meanwhile:", &waits);
    Ok(())
}
