//! Turns, places and bounds, by themselves and at random. Never: threads.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Queue = FairQueue<char, u32>;

fn waits(queue: &mut Queue, asker: char, waiter: u32) -> Place<char> {
    let Entered::Waits(place, None) = queue.enter(asker, 1, waiter) else { panic!("{waiter} has no place") };
    place
}

/// Who gets the next slot that comes back.
fn next(queue: &mut Queue) -> Option<u32> {
    let mut whose = None;
    queue.give_back(|waiter| whose.replace(waiter).is_none());
    whose
}

#[test]
fn one_asker_is_served_in_order() {
    let mut queue = Queue::new(1, 10);
    assert!(queue.take('a', 1));
    for waiter in 1..=3 {
        waits(&mut queue, 'a', waiter);
    }
    assert!(!queue.take('b', 1), "nobody slips in");
    assert_eq!([(); 4].map(|()| next(&mut queue)), [Some(1), Some(2), Some(3), None]);
    assert_eq!((queue.out(), queue.waiting()), (0, 0));
}

#[test]
fn one_request_comes_before_the_second_of_anybody_else() {
    for slots in [1, 2, 7] {
        let mut queue = Queue::new(slots, 1000);
        let taken = (0..slots).all(|_| queue.take('a', 1));
        assert!(taken);
        for waiter in 0..200 {
            waits(&mut queue, 'a', waiter);
        }
        // Those who got their slots without waiting count, too.
        waits(&mut queue, 'c', 2000);
        assert_eq!(next(&mut queue), Some(2000), "{slots} slots");
        for waiter in 0..50 {
            assert_eq!(next(&mut queue), Some(waiter));
        }
        waits(&mut queue, 'b', 1000);
        assert_eq!(next(&mut queue), Some(1000), "{slots} slots");
        assert_eq!(next(&mut queue), Some(50));
    }
}

#[test]
fn slots_are_shared_by_weight() {
    let mut queue = FairQueue::<char, char>::new(1, 1000);
    assert!(queue.take('x', 1));
    for _ in 0..100 {
        for (asker, weight) in [('a', 1), ('b', 3), ('c', 6)] {
            assert!(matches!(queue.enter(asker, weight, asker), Entered::Waits(..)));
        }
    }
    let mut served = BTreeMap::<char, u32>::new();
    for _ in 0..100 {
        queue.give_back(|asker| {
            *served.entry(asker).or_default() += 1;
            true
        });
    }
    let off = |asker, share: u32| served[&asker].abs_diff(share);
    assert!(off('a', 10) <= 1 && off('b', 30) <= 1 && off('c', 60) <= 1, "{served:?}");
}

#[test]
fn a_full_line_costs_whoever_has_most_of_it() {
    let mut queue = Queue::new(1, 4);
    assert!(queue.take('a', 1));
    for waiter in 1..=4 {
        waits(&mut queue, 'a', waiter);
    }
    assert_eq!(queue.enter('a', 1, 5), Entered::Full, "his own");
    assert!(matches!(queue.enter('b', 1, 6), Entered::Waits(_, Some(4))), "the last that came");
    assert!(matches!(queue.enter('b', 1, 7), Entered::Waits(_, Some(3))));
    assert_eq!(queue.enter('b', 1, 8), Entered::Full, "as many as the other has");
    assert_eq!(
        queue.enter('c', 1, 9),
        Entered::Waits(Place { asker: 'c', number: queue.count - 1 }, Some(7))
    );
    assert_eq!(
        queue.enter('d', 1, 10),
        Entered::Waits(Place { asker: 'd', number: queue.count - 1 }, Some(2))
    );
    assert_eq!(queue.enter('e', 1, 11), Entered::Full, "everybody has one");
    assert_eq!(queue.waiting(), 4);
    let mut none = Queue::new(1, 0);
    assert!(none.take('a', 1));
    assert_eq!(none.enter('b', 1, 1), Entered::Full);
}

#[test]
fn whoever_does_not_take_a_slot_is_passed_over() {
    let mut queue = Queue::new(1, 10);
    assert!(queue.take('a', 1));
    let place = waits(&mut queue, 'b', 1);
    waits(&mut queue, 'c', 2);
    waits(&mut queue, 'b', 3);
    queue.leave(place);
    queue.leave(place);
    let mut offered = Vec::new();
    queue.give_back(|waiter| {
        offered.push(waiter);
        false
    });
    offered.sort_unstable();
    assert_eq!((offered, queue.out(), queue.waiting()), (vec![2, 3], 0, 0));
}

#[test]
fn an_idle_server_has_no_debts() {
    let mut queue = Queue::new(1, 10);
    assert!(queue.take('a', 1));
    assert_eq!(next(&mut queue), None);
    assert!(queue.take('b', 100));
    assert!(matches!(queue.enter('b', 100, 2), Entered::Waits(_, None)));
    waits(&mut queue, 'a', 1);
    assert_eq!(next(&mut queue), Some(1), "what he had before is forgotten");
}

#[test]
fn askers_are_not_remembered_without_end() {
    let mut queue = FairQueue::<u32, u32>::new(2, 10);
    assert!(queue.take(0, 1));
    for asker in 1..100_000 {
        assert!(queue.take(asker, 1 + asker % 100));
        queue.give_back(|_| false);
        assert!(queue.askers.len() <= 2 * REMEMBERED);
    }
}

/// One who waits, as a model that looks at everybody each time sees him.
struct Waiting {
    place: Place<u8>,
    asker: u8,
    /// How often others got a slot since he came, and whether they were more than one time each.
    passed: BTreeMap<u8, u32>,
}

#[derive(Debug, Clone)]
enum Act {
    Ask(u8),
    GiveBack,
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_u8..5).prop_map(Act::Ask),
        // One who asks and asks.
        4 => Just(Act::Ask(9)),
        6 => Just(Act::GiveBack),
        1 => any::<usize>().prop_map(Act::Leave),
    ]
}

/// The queue, and what is known of it from outside.
struct Checked {
    queue: FairQueue<u8, u64>,
    slots: usize,
    line_max: usize,
    out: usize,
    waiting: BTreeMap<u64, Waiting>,
    names: u64,
}

impl Checked {
    fn act(&mut self, act: &Act) {
        match act {
            Act::Ask(asker) => self.ask(*asker),
            Act::GiveBack if self.out > 0 => self.give_back(),
            Act::GiveBack => {}
            Act::Leave(which) => {
                let name = self.waiting.keys().nth(which % self.waiting.len().max(1)).copied();
                if let Some(gone) = name.and_then(|name| self.waiting.remove(&name)) {
                    self.queue.leave(gone.place);
                }
            }
        }
        assert!(self.out <= self.slots && self.waiting.len() <= self.line_max);
        assert_eq!((self.queue.out(), self.queue.waiting()), (self.out, self.waiting.len()));
        assert!(self.waiting.is_empty() || self.out == self.slots, "somebody waits beside a free slot");
    }

    fn ask(&mut self, asker: u8) {
        self.names += 1;
        match self.queue.enter(asker, 1, self.names) {
            Entered::Slot => self.out += 1,
            Entered::Waits(place, gone) => {
                if let Some(gone) = gone {
                    let gone = self.waiting.remove(&gone).expect("sent away twice");
                    let held = |asker| self.waiting.values().filter(|one| one.asker == asker).count();
                    assert!(held(gone.asker) > held(asker), "he had less than the one who came");
                }
                self.waiting.insert(self.names, Waiting { place, asker, passed: BTreeMap::new() });
            }
            Entered::Full => assert_eq!(self.waiting.len(), self.line_max),
        }
    }

    fn give_back(&mut self) {
        let mut whose = None;
        self.queue.give_back(|name| whose.replace(name).is_none());
        let Some(name) = whose else {
            assert!(self.waiting.is_empty(), "somebody was forgotten");
            self.out -= 1;
            return;
        };
        let served = self.waiting.remove(&name).expect("served twice, or after he left").asker;
        let earlier = self.waiting.iter().find(|(other, one)| one.asker == served && **other < name);
        assert!(earlier.is_none(), "not in order");
        let mut seen = std::collections::BTreeSet::new();
        for one in self.waiting.values_mut() {
            // The bound holds for the first of each asker.
            if one.asker == served || !seen.insert(one.asker) {
                one.passed.clear();
                continue;
            }
            let passed = one.passed.entry(served).or_default();
            *passed += 1;
            assert!(*passed <= 1, "{served} came twice before {}", one.asker);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn law_10_slots_are_neither_lost_nor_doubled_and_nobody_comes_twice_before_another(
        slots in 1_usize..5,
        line_max in 0_usize..40,
        acts in proptest::collection::vec(act(), 0..400),
    ) {
        let queue = FairQueue::new(slots, line_max);
        let mut checked = Checked { queue, slots, line_max, out: 0, waiting: BTreeMap::new(), names: 0 };
        for act in &acts {
            checked.act(act);
        }
        while checked.out > 0 {
            checked.act(&Act::GiveBack);
        }
        prop_assert!(checked.waiting.is_empty());
    }
}
