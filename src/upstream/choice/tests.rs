//! The choice among servers that nobody speaks to.

use proptest::prelude::*;

use super::*;
use crate::types::{KeyId, ModelId, Random, RandomUnavailable, UpstreamState};
use crate::upstream::server::{Blame, Changes, Server};
use crate::upstream::{Address, ServerSettings};

struct Sixes;

impl Random for Sixes {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(6);
        Ok(())
    }
}

/// Servers by priority, weight, slots and places in line.
fn servers(all: &[(u32, u32, usize, usize)]) -> Vec<Candidate> {
    let changes = Changes::default();
    let server =
        |(number, (priority, weight, in_flight_max, queue_max)): (usize, &(u32, u32, usize, usize))| {
            let settings = ServerSettings {
                name: format!("s{number}"),
                address: Address::Tcp { host: "127.0.0.1".to_string(), port: 1 },
                prefix: String::new(),
                models: Vec::new(),
                aliases: Default::default(),
                api_key: None,
                connect_timeout: Duration::ZERO,
                first_byte_timeout: Duration::ZERO,
                idle_timeout: Duration::ZERO,
                total_timeout: Duration::ZERO,
                priority: *priority,
                weight: *weight,
                health_path: None,
                health_interval: None,
                in_flight_max: *in_flight_max,
                queue_max: *queue_max,
                queue_timeout: Duration::from_secs(10),
                metadata: Default::default(),
            };
            let server = Arc::new(Server::new(settings, Arc::new(Sixes), Arc::clone(&changes)).unwrap());
            Candidate { server, real: Arc::new("m".parse::<ModelId>().unwrap()) }
        };
    all.iter().enumerate().map(server).collect()
}

fn asker() -> Asker {
    Asker { key: KeyId::from_bytes(&[1; 16]).unwrap(), weight: 1 }
}

fn choice(all: &[Candidate]) -> Choice {
    let catalogue = Arc::new(Catalogue::new(Vec::new(), Vec::new(), 0));
    let route = Arc::new(Route { name: "m".into(), candidates: all.to_vec() });
    Choice::of(catalogue, route, asker(), 0)
}

/// Who gets a request now.
fn free(all: &[Candidate]) -> Option<Chosen> {
    choice(all).free(&mut Now::default())
}

fn name(chosen: &Chosen) -> &str {
    &chosen.candidate.server.name
}

async fn wait(all: &[Candidate]) -> Result<Chosen, RelayFault> {
    choice(all).wait(&ReportHandle::default()).await
}

/// How many of so many requests each server gets, `at_once` of them under way at a time, the oldest ending first.
fn shares(all: &[Candidate], requests: usize, at_once: usize) -> Vec<usize> {
    let mut counts = vec![0; all.len()];
    let mut under_way = std::collections::VecDeque::new();
    for _ in 0..requests {
        if under_way.len() == at_once {
            under_way.pop_front();
        }
        let chosen = free(all).unwrap();
        counts[all.iter().position(|one| one.server.name == name(&chosen)).unwrap()] += 1;
        under_way.push_back(chosen);
    }
    counts
}

#[tokio::test]
async fn requests_are_shared_out_as_the_weights_say_however_many_are_under_way() {
    for at_once in [1, 2, 4, 8, 64] {
        let equal = servers(&[(0, 1, 1000, 0); 4]);
        assert_eq!(shares(&equal, 4000, at_once), [1000; 4], "{at_once} at once");
        let unequal = shares(&servers(&[(0, 100, 1000, 0), (0, 300, 1000, 0)]), 4000, at_once);
        assert!(unequal[0].abs_diff(1000) <= 2, "{unequal:?}, {at_once} at once");
        let far = shares(&servers(&[(0, 1, 1000, 0), (0, 1000, 1000, 0)]), 10_010, at_once);
        assert!((9..=12).contains(&far[0]), "{far:?}, {at_once} at once");
    }
}

#[tokio::test]
async fn the_least_busy_is_asked_whoever_was_asked_last() {
    let all = servers(&[(0, 1, 10, 0), (0, 1, 10, 0)]);
    let slow: Vec<_> = (0..6).map(|_| free(&all).unwrap()).collect();
    let (first, second): (Vec<_>, Vec<_>) = slow.into_iter().partition(|chosen| name(chosen) == "s0");
    assert_eq!((first.len(), second.len()), (3, 3));
    drop(first);
    let next: Vec<_> = (0..3).map(|_| free(&all).unwrap()).collect();
    assert!(next.iter().all(|chosen| name(chosen) == "s0"), "the other one has three under way");
    drop(second);
}

#[tokio::test]
async fn one_that_was_away_does_not_get_all_that_it_missed() {
    let all = servers(&[(0, 1, 10, 0), (0, 1, 10, 0)]);
    all[0].server.drain(true);
    assert_eq!(shares(&all, 1000, 1), [0, 1000]);
    all[0].server.drain(false);
    let after = shares(&all, 100, 1);
    assert!(after[0] <= 51, "{after:?}");
}

#[tokio::test]
async fn a_lower_number_is_first_and_a_higher_one_serves_when_none_of_it_is_well() {
    let all = servers(&[(10, 1, 10, 0), (0, 1, 10, 0), (0, 1, 10, 0)]);
    assert_eq!(shares(&all, 10, 1), [0, 5, 5]);
    all[1].server.failed(RelayFault::Unreachable, Blame::Server);
    assert_eq!(shares(&all, 10, 1), [0, 0, 10]);
    all[2].server.drain(true);
    assert_eq!(shares(&all, 10, 1), [10, 0, 0]);
    all[0].server.failed(RelayFault::Unreachable, Blame::Server);
    assert_eq!(shares(&all, 10, 1), [0, 10, 0], "all are ill: the better priority has it");
}

#[tokio::test(start_paused = true)]
async fn a_busy_priority_is_waited_for_and_the_next_one_serves_when_that_comes_to_nothing() {
    let all = servers(&[(0, 1, 1, 1), (5, 1, 1, 1)]);
    let first = free(&all).unwrap();
    assert_eq!(name(&first), "s0");
    assert!(free(&all).is_none(), "the expensive one is not taken while there is a line");
    let began = Instant::now();
    let second = wait(&all).await.unwrap();
    assert_eq!((name(&second), began.elapsed().as_secs()), ("s1", 10), "after the time in line");
    let (third, ()) = tokio::join!(wait(&all), async { drop(first) });
    assert_eq!(name(&third.unwrap()), "s0", "whoever waits gets what comes free");
}

#[tokio::test(start_paused = true)]
async fn without_a_line_the_next_priority_serves_at_once() {
    let all = servers(&[(0, 1, 1, 0), (5, 1, 1, 0)]);
    let began = Instant::now();
    let first = free(&all).unwrap();
    let second = wait(&all).await.unwrap();
    assert_eq!([name(&first), name(&second)], ["s0", "s1"]);
    assert!(matches!(wait(&all).await, Err(RelayFault::Overloaded { .. })));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_all_priorities_together_is_no_longer_than_the_longest_of_one() {
    let all = servers(&[(0, 1, 1, 1), (5, 1, 1, 1), (9, 1, 1, 1)]);
    let _busy: Vec<_> = all.iter().map(|one| one.server.slots.take(asker()).unwrap()).collect();
    let began = Instant::now();
    assert!(matches!(wait(&all).await, Err(RelayFault::Overloaded { .. })));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn only_one_trial_goes_to_a_server_whose_time_is_over() {
    let all = servers(&[(0, 1, 10, 0), (0, 1, 10, 0)]);
    all[0].server.failed(RelayFault::Unreachable, Blame::Server);
    assert_eq!(shares(&all, 10, 1), [0, 10]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shares(&all, 10, 1), [1, 9]);
    all[0].server.answered(Instant::now());
    assert!([5, 6].contains(&shares(&all, 10, 1)[0]), "it is one of two again");
}

#[tokio::test]
async fn the_last_server_is_never_shut_by_failures_and_a_drained_one_is_never_asked() {
    let all = servers(&[(0, 1, 10, 0), (3, 1, 10, 0)]);
    for one in &all {
        one.server.failed(RelayFault::Unreachable, Blame::Server);
        one.server.was_checked(Some(RelayFault::Unreachable), Duration::ZERO);
    }
    assert_eq!(name(&free(&all).unwrap()), "s0");
    all[0].server.drain(true);
    assert_eq!(name(&free(&all).unwrap()), "s1");
    all[1].server.drain(true);
    assert!(free(&all).is_none() && choice(&all).is_empty());
    assert!(matches!(wait(&all).await, Err(RelayFault::Drained)));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_only_for_a_drained_server_is_handed_on_or_answered() {
    // Alone; with a neighbour that has no line and comes free; with one of the next priority.
    for (neighbour, found) in
        [(None, Err(RelayFault::Drained)), (Some((0, 1, 1, 0)), Ok("s1")), (Some((7, 1, 1, 0)), Ok("s1"))]
    {
        let all = servers(&[(0, 1, 1, 1)].into_iter().chain(neighbour).collect::<Vec<_>>());
        let busy = all[0].server.slots.take(asker()).unwrap();
        let too = all.get(1).and_then(|one| one.server.slots.take(asker()));
        let began = Instant::now();
        let (outcome, ()) = tokio::join!(wait(&all), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(all[0].server.slots.waiting(), 1);
            drop(too);
            all[0].server.drain(true);
        });
        assert_eq!(outcome.as_ref().map(name).map_err(|fault| *fault), found);
        assert_eq!(began.elapsed().as_secs(), 1, "nobody waits on for a drained server");
        drop(busy);
        assert_eq!((all[0].server.slots.in_flight(), all[0].server.slots.waiting()), (0, 0));
        assert!(all[0].server.slots.take(asker()).is_none());
        all[0].server.drain(false);
        assert!(all[0].server.slots.take(asker()).is_some());
    }
}

fn key(number: usize) -> KeyId {
    KeyId::from_bytes(&[u8::try_from(number).unwrap(); 16]).unwrap()
}

#[tokio::test]
async fn bug_one_that_only_errs_is_left_alone_however_little_it_has_to_do() {
    let all = servers(&[(0, 1, 100, 0), (0, 1, 100, 0)]);
    let _busy: Vec<_> = (0..10).map(|_| all[1].server.slots.take(asker()).unwrap()).collect();
    let mut erred = 0;
    for number in 0..50 {
        let chosen = free(&all).unwrap();
        if name(&chosen) == "s0" {
            erred += 1;
            chosen.candidate.server.erred(key(1 + number % 2));
        }
    }
    assert_eq!(erred, 5);
}

#[tokio::test(start_paused = true)]
async fn bug_whoever_waits_at_two_is_not_sent_to_the_one_that_fails() {
    let all = servers(&[(0, 1, 1, 5), (0, 1, 1, 5)]);
    let (bad, good) = (free(&all).unwrap(), free(&all).unwrap());
    let (bad, good) = if name(&bad) == "s0" { (bad, good) } else { (good, bad) };
    let (outcome, ()) = tokio::join!(wait(&all), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((all[0].server.slots.waiting(), all[1].server.slots.waiting()), (1, 1));
        all[0].server.failed(RelayFault::Unreachable, Blame::Server);
        drop(bad);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!((all[0].server.slots.in_flight(), all[1].server.slots.waiting()), (0, 1));
        drop(good);
    });
    assert_eq!(name(&outcome.unwrap()), "s1");
}

#[tokio::test(start_paused = true)]
async fn bug_a_slot_of_a_server_that_failed_meanwhile_is_left_where_another_is_well() {
    let all = servers(&[(0, 1, 1, 5), (0, 1, 1, 0)]);
    let (bad, good) =
        (all[0].server.slots.take(asker()).unwrap(), all[1].server.slots.take(asker()).unwrap());
    let (outcome, ()) = tokio::join!(wait(&all), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // He has the slot before he can hear of it.
        drop((bad, good));
        all[0].server.failed(RelayFault::Unreachable, Blame::Server);
    });
    assert_eq!(name(&outcome.unwrap()), "s1");
}

#[tokio::test(start_paused = true)]
async fn bug_the_time_in_line_counts_from_the_first_wait() {
    let all = servers(&[(0, 1, 1, 5), (0, 1, 1, 5)]);
    let (first, _second) =
        (all[0].server.slots.take(asker()).unwrap(), all[1].server.slots.take(asker()).unwrap());
    let (mut choice, report, began) = (choice(&all), ReportHandle::default(), Instant::now());
    let (chosen, ()) = tokio::join!(choice.wait(&report), async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        drop(first);
    });
    let chosen = chosen.unwrap();
    choice.tried(Arc::clone(&chosen.candidate.server));
    assert!(matches!(choice.wait(&report).await, Err(RelayFault::Overloaded { .. })));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn bug_a_line_moves_when_a_server_comes_back() {
    type Change = fn(&Server);
    let ways: [(Change, Change); 3] = [
        (|server| server.drain(true), |server| server.drain(false)),
        (
            |server| server.failed(RelayFault::Unreachable, Blame::Server),
            |server| server.answered(Instant::now()),
        ),
        (
            |server| assert!(server.was_checked(Some(RelayFault::Unreachable), Duration::ZERO)),
            |server| assert!(server.was_checked(None, Duration::ZERO)),
        ),
    ];
    for (goes, comes_back) in ways {
        let all = servers(&[(0, 1, 1, 5), (0, 1, 1, 5)]);
        goes(&all[0].server);
        let _busy = all[1].server.slots.take(asker()).unwrap();
        let began = Instant::now();
        let (outcome, ()) = tokio::join!(wait(&all), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(all[1].server.slots.waiting(), 1);
            comes_back(&all[0].server);
        });
        let chosen = outcome.unwrap();
        assert!(name(&chosen) == "s0" && began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(all[1].server.slots.waiting(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn bug_one_late_check_says_little_and_none_where_requests_are_answered() {
    let all = servers(&[(0, 1, 1, 5)]);
    let server = &all[0].server;
    let (late, took) = (Some(RelayFault::Timeout), Duration::from_secs(5));
    assert!(server.was_checked(None, Duration::ZERO));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!server.was_checked(late, took), "once");
    server.answered(Instant::now());
    server.answered(Instant::now() - took * 2);
    for _ in 0..3 {
        assert!(!server.was_checked(late, took), "answered meanwhile");
    }
    tokio::time::advance(took * 2).await;
    assert!(!server.was_checked(late, took), "the first in which nothing was answered");
    assert_eq!(server.condition().state(), UpstreamState::Up);
    assert!(server.was_checked(late, took), "twice in a row");
    assert_eq!(server.condition().state(), UpstreamState::Down);
    assert!(server.was_checked(None, took) && server.was_checked(Some(RelayFault::Unreachable), took));
    assert!(server.was_checked(None, took), "a good one between two late ones");
    assert!(
        !server.was_checked(late, took) && !server.was_checked(None, took) && !server.was_checked(late, took)
    );
    assert_eq!(server.condition().state(), UpstreamState::Up);
}

#[tokio::test(start_paused = true)]
async fn bug_whoever_was_sent_on_from_an_open_circuit_hears_of_it() {
    let all = servers(&[(0, 1, 1, 5), (0, 1, 1, 5)]);
    let (slow, _hung) =
        (all[0].server.slots.take(asker()).unwrap(), all[1].server.slots.take(asker()).unwrap());
    let fails = |one: &Candidate| one.server.failed(RelayFault::Unreachable, Blame::Server);
    all.iter().for_each(fails);
    let began = Instant::now();
    let (outcome, ()) = tokio::join!(wait(&all), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(all[0].server.begins() && all[1].server.begins(), "a trial of each");
        fails(&all[0]);
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(slow);
    });
    assert_eq!(name(&outcome.unwrap()), "s0");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bug_a_better_server_that_comes_back_is_asked_by_those_who_wait_at_a_dear_one() {
    let all = servers(&[(0, 1, 1, 0), (0, 1, 1, 0), (10, 1, 1, 5)]);
    let _full = (all[0].server.slots.take(asker()).unwrap(), all[2].server.slots.take(asker()).unwrap());
    assert!(all[1].server.was_checked(Some(RelayFault::Unreachable), Duration::ZERO));
    let began = Instant::now();
    let (outcome, ()) = tokio::join!(wait(&all), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(all[2].server.slots.waiting(), 1);
        assert!(all[1].server.was_checked(None, Duration::ZERO));
    });
    assert_eq!(name(&outcome.unwrap()), "s1");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

/// How one server is: its priority, its weight, its slots, how many of them are taken, what it was given, and whether it
/// is well (0 is not).
type Is = (u32, u32, usize, usize, usize, u8);

/// Servers that are so, with their slots.
fn as_they_are(all: &[Is]) -> (Vec<Candidate>, Vec<Slot>) {
    let places: Vec<_> = all.iter().map(|is| (is.0, is.1, is.2, 0)).collect();
    let (candidates, mut taken) = (servers(&places), Vec::new());
    for (one, (_, _, _, busy, turns, well)) in candidates.iter().zip(all) {
        taken.extend((0..*busy).filter_map(|_| one.server.slots.take(asker())));
        (0..*turns).for_each(|_| one.server.takes_turn(0));
        if *well == 0 {
            one.server.failed(RelayFault::Unreachable, Blame::Server);
        }
    }
    (candidates, taken)
}

/// As [`Choice::free`], always by sorting.
fn free_by_sorting(all: &[Candidate]) -> Option<Chosen> {
    let mut choice = choice(all);
    choice.list();
    let preferred = choice.sort();
    let tier = choice.tier_behind(None, preferred)?;
    choice.free_among(tier, preferred.well)
}

proptest! {
    #[test]
    fn a_look_at_each_finds_the_one_that_sorting_puts_first(
        all in proptest::collection::vec((0_u32..2, 1_u32..5, 1_usize..6, 0_usize..6, 0_usize..6, 0_u8..12), 1..6),
        requests in 1_usize..12,
    ) {
        let ((looked_at, _busy), (sorted, _as_busy)) = (as_they_are(&all), as_they_are(&all));
        let (mut held, turns) = (Vec::new(), |all: &[Candidate]| -> Vec<u64> {
            all.iter().map(|one| one.server.turn()).collect()
        });
        for _ in 0..requests {
            let foremost = choice(&looked_at).foremost(&mut Now::default());
            let is_plain = all.iter().all(|is| is.5 > 0);
            let has_room = looked_at.iter().all(|one| one.server.slots.in_flight() < one.server.slots.slots_max());
            prop_assert!(foremost.is_some() || !(is_plain && has_room));
            let chosen = foremost.or_else(|| free_by_sorting(&looked_at));
            let first = free_by_sorting(&sorted);
            prop_assert_eq!(chosen.as_ref().map(name), first.as_ref().map(name));
            prop_assert_eq!(turns(&looked_at), turns(&sorted));
            held.extend([chosen, first]);
        }
    }
}
