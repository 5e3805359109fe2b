//! Slots in the hands of several at once. Never: model servers, sockets.

use std::pin::pin;

use proptest::prelude::*;

use super::*;
use crate::types::{Random, RandomUnavailable, Timestamp};

/// Ids that are told apart by one byte.
struct Only(u8);

impl Random for Only {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(self.0);
        Ok(())
    }
}

fn asker(number: u8) -> Asker {
    let key = KeyId::generate(Timestamp::from_millis(1_700_000_000_000), &Only(number)).unwrap();
    Asker { key, weight: 1 }
}

fn begin<'a>(asker: Asker, servers: impl IntoIterator<Item = &'a Arc<Slots>>) -> Result<Wait, LineFull> {
    let mut wait = Wait::new(asker);
    wait.stand_at(&servers.into_iter().collect::<Vec<_>>())?;
    Ok(wait)
}

fn poll(wait: &mut Wait) -> Poll<Result<Slot, LineFull>> {
    Pin::new(wait).poll(&mut Context::from_waker(Waker::noop()))
}

fn has_slot(wait: &mut Wait) -> Slot {
    match poll(wait) {
        Poll::Ready(Ok(slot)) => slot,
        Poll::Ready(Err(LineFull)) | Poll::Pending => panic!("no slot"),
    }
}

#[test]
fn the_first_slot_of_several_servers_is_taken_and_the_other_lines_are_left() {
    let (one, two) = (Slots::new(1, 10), Slots::new(1, 10));
    let held = [one.take(asker(1)).unwrap(), two.take(asker(1)).unwrap()];
    let mut wait = begin(asker(2), [&one, &two]).unwrap();
    let mut later = begin(asker(3), [&one, &two]).unwrap();
    assert!(poll(&mut wait).is_pending() && poll(&mut later).is_pending());
    let [first, second] = held;
    drop(second);
    let slot = has_slot(&mut wait);
    assert!(slot.is_of(&two) && !slot.is_of(&one));
    drop(wait);
    assert_eq!((one.waiting(), two.waiting()), (1, 1), "he stood in both lines");
    drop(first);
    assert!(has_slot(&mut later).is_of(&one), "nobody stood in his way any more");
    drop((later, slot));
    assert_eq!([&one, &two].map(|slots| (slots.in_flight(), slots.waiting())), [(0, 0); 2]);
}

#[test]
fn law_10_a_slot_that_was_put_down_for_one_who_left_goes_to_the_next() {
    let slots = Slots::new(1, 10);
    let held = slots.take(asker(1)).unwrap();
    let gone = begin(asker(2), [&slots]).unwrap();
    let mut next = begin(asker(3), [&slots]).unwrap();
    drop(held);
    assert!(poll(&mut next).is_pending(), "it was put down for the first");
    drop(gone);
    drop(has_slot(&mut next));
    assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
}

#[test]
fn one_slot_of_two_that_come_free_at_once_goes_on() {
    let (one, two) = (Slots::new(1, 10), Slots::new(1, 10));
    let held = [one.take(asker(1)).unwrap(), two.take(asker(1)).unwrap()];
    let mut wait = begin(asker(2), [&one, &two]).unwrap();
    let mut other = begin(asker(3), [&two]).unwrap();
    drop(held);
    assert!(has_slot(&mut other).is_of(&two));
    assert!(has_slot(&mut wait).is_of(&one));
}

#[test]
fn whoever_is_sent_away_from_every_line_hears_it() {
    let (one, two) = (Slots::new(1, 2), Slots::new(1, 3));
    let held = (one.take(asker(1)).unwrap(), two.take(asker(1)).unwrap());
    let mut first = begin(asker(1), [&one, &two]).unwrap();
    let mut second = begin(asker(1), [&one, &two]).unwrap();
    let mut other = begin(asker(2), [&one, &two]).unwrap();
    assert_eq!((one.waiting(), two.waiting()), (2, 3));
    assert!(poll(&mut second).is_pending(), "he still waits at the other");
    assert!(begin(asker(2), [&one, &two]).is_err());
    let third = begin(asker(3), [&two]).unwrap();
    assert!(matches!(poll(&mut second), Poll::Ready(Err(LineFull))));
    drop(held.1);
    assert!(has_slot(&mut other).is_of(&two), "who had nothing yet is next");
    assert!(poll(&mut first).is_pending());
    drop((first, second, other, third, held.0));
    assert_eq!([&one, &two].map(|slots| (slots.in_flight(), slots.waiting())), [(0, 0); 2]);
}

#[test]
fn law_10_other_bounds_hold_at_once_and_what_is_over_them_comes_back_in_its_time() {
    let slots = Slots::new(1, 10);
    let held = slots.take(asker(1)).unwrap();
    let mut waits = [(); 3].map(|()| begin(asker(2), [&slots]).unwrap());
    slots.set_bounds(3, 10);
    let [one, two] = [0, 1].map(|number| has_slot(&mut waits[number]));
    assert!(poll(&mut waits[2]).is_pending());
    assert_eq!((slots.in_flight(), slots.waiting()), (3, 1));
    slots.set_bounds(2, 0);
    assert!(begin(asker(3), [&slots]).is_err(), "nobody more may wait");
    drop(held);
    assert!(poll(&mut waits[2]).is_pending(), "there was one too many");
    drop(one);
    let last = has_slot(&mut waits[2]);
    assert_eq!((slots.in_flight(), slots.waiting()), (2, 0));
    drop((two, last));
    assert_eq!(slots.in_flight(), 0);
}

#[test]
fn closed_slots_go_to_nobody_and_who_waited_is_sent_away() {
    let (one, two) = (Slots::new(1, 10), Slots::new(1, 10));
    let held = (one.take(asker(1)).unwrap(), two.take(asker(1)).unwrap());
    let mut here = begin(asker(2), [&one]).unwrap();
    let mut both = begin(asker(3), [&one, &two]).unwrap();
    one.close();
    assert!(matches!(poll(&mut here), Poll::Ready(Err(LineFull))));
    assert!(poll(&mut both).is_pending(), "he still waits at the other");
    drop(held.0);
    assert!(one.take(asker(2)).is_none() && begin(asker(2), [&one]).is_err());
    drop(held.1);
    assert!(has_slot(&mut both).is_of(&two));
    drop((here, both));
    assert_eq!([&one, &two].map(|slots| (slots.in_flight(), slots.waiting())), [(0, 0); 2]);
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_what_the_line_will_take() {
    let slots = Slots::new(2, 10);
    assert_eq!(slots.backlog(), None);
    let held = slots.take(asker(1)).unwrap();
    tokio::time::advance(Duration::from_secs(8)).await;
    drop(held);
    assert_eq!(slots.backlog(), Some(Duration::from_secs(4)));
    let held = [slots.take(asker(1)).unwrap(), slots.take(asker(1)).unwrap()];
    let waits = [(); 4].map(|()| begin(asker(1), [&slots]).unwrap());
    assert_eq!(slots.backlog(), Some(Duration::from_secs(20)));
    drop((waits, held));
    assert_eq!(slots.backlog(), Some(Duration::from_secs(4) * 49 / 64), "two that took no time");
}

/// Threads that take, wait, give up and give back at random; at the end nothing is out and nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_10_nothing_is_lost_in_a_race() {
    let servers: Arc<[Arc<Slots>; 2]> = Arc::new([Slots::new(2, 30), Slots::new(1, 30)]);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40_u8 {
        let servers = Arc::clone(&servers);
        tasks.spawn(async move {
            for turn in 0..200_usize {
                let Ok(wait) = begin(asker(number % 5), &*servers) else { continue };
                let mut wait = pin!(wait);
                for _ in 0..(turn * 7 + usize::from(number)) % 5 {
                    tokio::task::yield_now().await;
                }
                let patient = !(turn + usize::from(number)).is_multiple_of(3);
                if patient && let Ok(slot) = wait.as_mut().await {
                    tokio::task::yield_now().await;
                    drop(slot);
                }
            }
        });
    }
    tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.expect("somebody was forgotten");
    for slots in servers.iter() {
        assert_eq!((slots.in_flight(), slots.waiting()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn law_10_nobody_waits_beside_a_free_slot(acts in proptest::collection::vec((0_u8..4, 0_u8..5, any::<usize>()), 0..200)) {
        let servers = [Slots::new(1, 8), Slots::new(3, 8)];
        let (mut waits, mut slots) = (Vec::new(), Vec::new());
        for (act, number, which) in acts {
            match act {
                0 | 1 => {
                    let wanted = &servers[usize::from(number) % 2..=(which % 2).max(usize::from(number) % 2)];
                    waits.extend(begin(asker(number), wanted));
                }
                2 if !slots.is_empty() => drop(slots.swap_remove(which % slots.len())),
                3 if !waits.is_empty() => drop(waits.swap_remove(which % waits.len())),
                _ => {}
            }
            waits.retain_mut(|wait| match poll(wait) {
                Poll::Ready(Ok(slot)) => {
                    slots.push(slot);
                    false
                }
                Poll::Ready(Err(LineFull)) => false,
                Poll::Pending => true,
            });
            for (server, max) in servers.iter().zip([1, 3]) {
                let out = slots.iter().filter(|slot| slot.is_of(server)).count();
                prop_assert_eq!(server.in_flight(), out);
                prop_assert!(out <= max && (server.waiting() == 0 || out == max));
            }
            let lines: usize = servers.iter().map(|server| server.waiting()).sum();
            prop_assert!((waits.len()..=2 * waits.len()).contains(&lines));
        }
        drop((waits, slots));
        for server in &servers {
            prop_assert_eq!((server.in_flight(), server.waiting()), (0, 0));
        }
    }
}

#[test]
fn bug_a_server_that_is_gone_is_not_opened_by_an_undrain() {
    let slots = Slots::new(1, 1);
    slots.drain(true);
    slots.close();
    slots.drain(false);
    assert!(slots.is_closed() && slots.take(asker(1)).is_none());
}

#[test]
fn whoever_changes_lines_keeps_his_place_in_those_that_stay() {
    let (one, two) = (Slots::new(1, 10), Slots::new(1, 10));
    let held = [&one, &two].map(|slots| slots.take(asker(1)).unwrap());
    let mut first = begin(asker(2), [&one]).unwrap();
    let mut second = begin(asker(2), [&one]).unwrap();
    first.stand_at(&[&one, &two]).unwrap();
    assert_eq!((one.waiting(), two.waiting()), (2, 1));
    first.stand_at(&[&one]).unwrap();
    assert_eq!((one.waiting(), two.waiting()), (2, 0));
    drop(held);
    let slot = has_slot(&mut first);
    assert!(slot.is_of(&one) && poll(&mut second).is_pending());
    drop((first, slot));
    assert!(has_slot(&mut second).is_of(&one));
}

#[test]
fn only_those_who_stand_elsewhere_are_sent_on_and_they_may_come_back() {
    let (one, two) = (Slots::new(1, 10), Slots::new(1, 10));
    let held = [&one, &two].map(|slots| slots.take(asker(1)).unwrap());
    let (mut both, alone) = (begin(asker(2), [&one, &two]).unwrap(), begin(asker(3), [&one]).unwrap());
    one.send_on();
    assert_eq!((one.waiting(), two.waiting()), (1, 1));
    both.stand_at(&[&one, &two]).unwrap();
    assert_eq!((one.waiting(), two.waiting()), (2, 1));
    drop(alone);
    one.drain(true);
    two.drain(true);
    one.drain(false);
    both.stand_at(&[&one, &two]).unwrap();
    assert_eq!((one.waiting(), two.waiting()), (1, 0), "he begins anew");
    drop(held);
    assert!(has_slot(&mut both).is_of(&one));
}
