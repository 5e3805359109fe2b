//! The chain of the audit trail: it holds however commits end and whoever commits, and shows every change.

use proptest::prelude::*;

use super::super::chain::{ANCHOR, BEFORE, HEAD};
use super::super::record::event::{decode_event, encode_event, encode_unlinked};
use super::super::table::{AUDIT, AUDIT_CHAIN, AUDIT_INDEX, AUDIT_MARKS};
use super::*;
use crate::store::{Birth, Fault, FaultKind, FaultOn, Faults, RedbStore, StoreOptions};
use crate::types::{AccountId, EventId, Origin, TrailHead};

/// The outcome of all steps, and how many events were looked at.
fn verify(registry: &Registry, noted: Option<TrailHead>) -> (u64, Option<TrailFault>) {
    let (mut checked, mut after) = (0, None::<TrailCursor>);
    loop {
        let found = registry.verify_trail(ROOT, noted, after).unwrap();
        checked += found.checked;
        // As the next step gets it from a program.
        after = found.next.map(|next| next.to_string().parse().unwrap());
        if after.is_none() {
            return (checked, found.fault);
        }
    }
}

#[track_caller]
fn holds(registry: &Registry, events: u64) {
    assert_eq!(verify(registry, None), (events, None));
}

fn rename(house: &House, number: usize) {
    let id = house.registry.keys(ROOT, &KeyFilter::default(), None, 1).unwrap().entries[0].id.to_string();
    house.wait(MILLI);
    let changes = KeyChanges { name: format!("k{number}").parse().ok(), ..KeyChanges::default() };
    house.registry.update_key(ROOT, &id, &changes).unwrap();
}

/// A house with an account, a key and so many events.
fn house_with(events: usize) -> House {
    let house = House::new();
    house.key(ANA, "ci");
    (2..events).for_each(|number| rename(&house, number));
    house
}

fn rows(house: &House, table: Table) -> Vec<Row> {
    house.store.inner.scan(table, Bound::Unbounded, Bound::Unbounded, 100_000).unwrap()
}

fn delete(house: &House, table: Table, key: &[u8]) {
    let writes = vec![Write::Delete { table, key: key.to_vec() }];
    house.store.inner.commit(Commit { writes, ..Commit::default() }).unwrap();
}

#[test]
fn an_empty_trail_holds_and_ends_at_nothing() {
    let house = House::new();
    holds(&house.registry, 0);
    assert_eq!(house.registry.trail_head(), Ok(TrailHead::START));
    assert_eq!(verify(&house.registry, Some(TrailHead::START)).1, None);
}

#[test]
fn every_event_has_a_number_and_the_head_moves_with_each() {
    let house = house_with(5);
    let heads: Vec<_> = (5..9)
        .map(|number| {
            rename(&house, number);
            house.registry.trail_head().unwrap()
        })
        .collect();
    assert_eq!(heads.iter().map(|head| head.sequence).collect::<Vec<_>>(), [6, 7, 8, 9]);
    let news = house.registry.news(ROOT, &AuditFilter::default(), Some(0), 100).unwrap();
    let numbers: Vec<_> = news.entries.iter().map(|event| event.sequence).collect();
    assert_eq!((numbers, news.next, news.has_more), ((1..=9).collect(), 9, false));
    holds(&house.registry, 9);
    for head in heads {
        assert_eq!(verify(&house.registry, Some(head)).1, None, "{head}");
        let other = TrailHead { hash: [1; 32], ..head };
        assert!(verify(&house.registry, Some(other)).1.unwrap().what.contains("rewritten"));
    }
}

#[test]
fn an_event_says_from_where_it_came() {
    let house = House::new();
    let there = Origin::address("::ffff:192.0.2.7".parse().unwrap());
    house.registry.asked_from(there).create_account(ROOT, &new_account(ANA)).unwrap();
    house.registry.asked_from(Origin::Socket).create_key(ROOT, &new_key(ANA, "ci")).map(drop).unwrap();
    house.wait(MILLI);
    house.store.turn(Weather::Broken);
    house.registry.asked_from(there).revoke_key(ROOT, "ci", None).unwrap_err();
    house.store.turn(Weather::Fair);
    assert_eq!(house.registry.asked_from(Origin::File).settle_denials(), 0);
    let news = house.registry.news(ROOT, &AuditFilter::default(), Some(0), 100).unwrap();
    let origins: Vec<_> = news.entries.iter().map(|event| event.origin.to_string()).collect();
    assert_eq!(origins, ["192.0.2.7", "socket", "192.0.2.7"], "what is owed keeps its origin");
    holds(&house.registry, 3);
}

/// What someone with the file in his hands may do to it, short of computing the rest of the chain anew.
#[derive(Debug, Clone, Copy)]
enum Tampering {
    Edit,
    EditWithItsLink,
    Remove,
    RemoveWithItsLink,
    RemoveItsLink,
    InsertAsNew,
    InsertAsOld,
    InsertTwice,
    Swap,
    SwapLinks,
    CutHeadRow,
    MoveAnchor,
    CutBeginning,
}

const ALL: [Tampering; 13] = [
    Tampering::Edit,
    Tampering::EditWithItsLink,
    Tampering::Remove,
    Tampering::RemoveWithItsLink,
    Tampering::RemoveItsLink,
    Tampering::InsertAsNew,
    Tampering::InsertAsOld,
    Tampering::InsertTwice,
    Tampering::Swap,
    Tampering::SwapLinks,
    Tampering::CutHeadRow,
    Tampering::MoveAnchor,
    Tampering::CutBeginning,
];

/// An event with its link, as the file has them.
struct Specimen {
    number: [u8; 8],
    id: Vec<u8>,
    bytes: Vec<u8>,
    link: Vec<u8>,
}

impl Specimen {
    fn of(house: &House, sequence: u64) -> Self {
        let number = sequence.to_be_bytes();
        let link = house.store.inner.get(AUDIT_CHAIN, &number).unwrap().unwrap();
        let id = link[..16].to_vec();
        let bytes = house.store.inner.get(AUDIT, &id).unwrap().unwrap();
        Self { number, id, bytes, link }
    }

    fn head(&self) -> TrailHead {
        TrailHead { sequence: u64::from_be_bytes(self.number), hash: self.link[16..].try_into().unwrap() }
    }

    fn remove(&self, house: &House) {
        delete(house, AUDIT, &self.id);
        delete(house, AUDIT_CHAIN, &self.number);
    }
}

/// Does it to the event with this number.
fn tamper(house: &House, how: Tampering, sequence: u64) {
    let one = Specimen::of(house, sequence);
    let next = || Specimen::of(house, sequence + 1);
    let event = decode_event(&one.id, &one.bytes).unwrap();
    let other = Event { detail: "nothing of note".to_string(), ..event };
    let mut new_id = one.id.clone();
    new_id[15] ^= 1;
    match how {
        Tampering::Edit => house.store.put(AUDIT, &one.id, &encode_event(&other)),
        Tampering::EditWithItsLink => {
            let before = match sequence {
                1 => TrailHead::START,
                _ => Specimen::of(house, sequence - 1).head(),
            };
            let changed = encode_event(&other);
            let head = before.next(&one.id, &changed);
            house.store.put(AUDIT, &one.id, &changed);
            house.store.put(AUDIT_CHAIN, &one.number, &[&one.id[..], &head.hash].concat());
        }
        Tampering::Remove => delete(house, AUDIT, &one.id),
        Tampering::RemoveWithItsLink => one.remove(house),
        Tampering::RemoveItsLink => delete(house, AUDIT_CHAIN, &one.number),
        Tampering::InsertAsNew => {
            house.store.put(AUDIT, &new_id, &encode_event(&Event { sequence: 99_999, ..other }));
        }
        Tampering::InsertAsOld => house.store.put(AUDIT, &new_id, &encode_unlinked(&other)),
        Tampering::InsertTwice => house.store.put(AUDIT, &new_id, &one.bytes),
        Tampering::Swap => {
            let next = next();
            house.store.put(AUDIT, &one.id, &next.bytes);
            house.store.put(AUDIT, &next.id, &one.bytes);
        }
        Tampering::SwapLinks => {
            let next = next();
            house.store.put(AUDIT_CHAIN, &one.number, &next.link);
            house.store.put(AUDIT_CHAIN, &next.number, &one.link);
        }
        Tampering::CutHeadRow => delete(house, AUDIT_MARKS, HEAD),
        Tampering::MoveAnchor => house.store.put(AUDIT_MARKS, ANCHOR, &one.head().to_bytes()),
        Tampering::CutBeginning => {
            (1..=sequence).for_each(|number| Specimen::of(house, number).remove(house));
            house.store.put(AUDIT_MARKS, ANCHOR, &one.head().to_bytes());
        }
    }
}

#[test]
fn every_kind_of_tampering_is_found_and_told_where_it_is() {
    for how in ALL {
        let house = house_with(9);
        tamper(&house, how, 4);
        let fault = verify(&house.registry, None).1.unwrap_or_else(|| panic!("{how:?} was not found"));
        let expected = match how {
            Tampering::Edit | Tampering::Remove | Tampering::Swap | Tampering::SwapLinks => Some(4),
            Tampering::RemoveItsLink | Tampering::RemoveWithItsLink | Tampering::InsertTwice => Some(4),
            // The link itself was made to fit, so that the next one no longer does.
            Tampering::EditWithItsLink => Some(5),
            Tampering::InsertAsNew => Some(99_999),
            Tampering::CutHeadRow => Some(1),
            Tampering::MoveAnchor | Tampering::CutBeginning => Some(4),
            Tampering::InsertAsOld => None,
        };
        assert_eq!(fault.sequence, expected, "{how:?}: {fault:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_tampering_goes_unseen_wherever_it_is(how in 0..ALL.len(), at in 1_u64..12, more in 0_usize..4) {
        let house = house_with(12);
        let noted = house.registry.trail_head().unwrap();
        (0..more).for_each(|number| rename(&house, 100 + number));
        prop_assert_eq!(verify(&house.registry, Some(noted)).1, None);
        tamper(&house, ALL[how], at);
        prop_assert!(verify(&house.registry, None).1.is_some(), "{:?} at {}", ALL[how], at);
    }

    #[test]
    fn no_flipped_bit_goes_unseen(place in any::<prop::sample::Index>(), bit in 0_usize..8, table in 0_usize..3) {
        let house = house_with(6);
        let table = [AUDIT, AUDIT_CHAIN, AUDIT_MARKS][table];
        let mut bytes: Vec<(Vec<u8>, usize)> = Vec::new();
        for (key, value) in rows(&house, table) {
            bytes.extend((0..value.len()).map(|at| (key.clone(), at)));
        }
        let (key, at) = bytes[place.index(bytes.len())].clone();
        let mut value = house.store.inner.get(table, &key).unwrap().unwrap();
        value[at] ^= 1 << bit;
        house.store.put(table, &key, &value);
        prop_assert!(verify(&house.registry, None).1.is_some());
    }
}

#[test]
fn a_cut_tail_and_a_rewritten_trail_are_found_with_a_head_that_was_noted() {
    let house = house_with(8);
    let early = house.registry.trail_head().unwrap();
    (8..12).for_each(|number| rename(&house, number));
    let noted = house.registry.trail_head().unwrap();
    for sequence in 9..=12_u64 {
        let number = sequence.to_be_bytes();
        let link = house.store.inner.get(AUDIT_CHAIN, &number).unwrap().unwrap();
        delete(&house, AUDIT, &link[..16]);
        delete(&house, AUDIT_CHAIN, &number);
    }
    house.store.put(AUDIT_MARKS, HEAD, &early.to_bytes());
    let neighbour = house.neighbour();
    assert_eq!(verify(&neighbour, None).1, None, "by itself a cut tail can't be seen");
    assert_eq!(verify(&neighbour, Some(early)).1, None);
    let fault = verify(&neighbour, Some(noted)).1.unwrap();
    assert!(fault.sequence == Some(8) && fault.what.contains("cut off"), "{fault:?}");
    // Whoever goes on from there can't get back to the head that was noted.
    let other = House { registry: Arc::new(neighbour), ..house };
    (0..4).for_each(|number| rename(&other, 50 + number));
    assert_eq!(verify(&other.registry, None).1, None);
    let fault = verify(&other.registry, Some(noted)).1.unwrap();
    assert!(fault.sequence == Some(12) && fault.what.contains("rewritten"), "{fault:?}");
    assert_eq!(verify(&other.registry, Some(early)).1, None);
}

/// Makes the events of a house as they were before there was a chain.
fn make_old(house: &House) {
    for (id, bytes) in rows(house, AUDIT) {
        house.store.put(AUDIT, &id, &encode_unlinked(&decode_event(&id, &bytes).unwrap()));
    }
    for table in [AUDIT_CHAIN, AUDIT_MARKS] {
        rows(house, table).iter().for_each(|(key, _)| delete(house, table, key));
    }
}

#[test]
fn events_from_before_the_chain_are_held_by_its_beginning() {
    let house = house_with(5);
    make_old(&house);
    let registry = house.neighbour();
    let head = registry.trail_head().unwrap();
    assert_eq!(head.sequence, 5);
    holds(&registry, 5);
    registry.begin_chain().unwrap();
    registry.begin_chain().unwrap();
    assert_eq!(registry.trail_head(), Ok(head));
    let house = House { registry: Arc::new(registry), ..house };
    rename(&house, 77);
    holds(&house.registry, 6);
    assert_eq!(verify(&house.registry, Some(head)).1, None);
    assert_eq!(house.registry.news(ROOT, &AuditFilter::default(), Some(5), 9).unwrap().entries.len(), 1);
    let old = rows(&house, AUDIT);
    let forge = |change: &dyn Fn()| {
        change();
        let fault = verify(&house.registry, None).1.unwrap();
        assert!(fault.what.contains("older than the chain"), "{fault:?}");
        old.iter().for_each(|(id, bytes)| house.store.put(AUDIT, id, bytes));
        assert_eq!(verify(&house.registry, None).1, None);
    };
    forge(&|| delete(&house, AUDIT, &old[2].0));
    let event = decode_event(&old[2].0, &old[2].1).unwrap();
    forge(&|| {
        house.store.put(AUDIT, &old[2].0, &encode_unlinked(&Event { actor: Actor::Ember, ..event.clone() }))
    });
    forge(&|| {
        house.store.put(AUDIT, &old[1].0, &old[2].1);
        house.store.put(AUDIT, &old[2].0, &old[1].1);
    });
}

#[test]
fn the_chain_goes_on_after_every_kind_of_failure() {
    let house = house_with(3);
    let mut events = 3;
    for weather in [Weather::Broken, Weather::Full, Weather::BrokenLate, Weather::Crowded] {
        house.store.turn(weather);
        house.wait(MILLI);
        let outcome = house.registry.create_account(ROOT, &new_account(&format!("w{events}@example.com")));
        assert!(outcome.is_err());
        house.store.turn(Weather::Fair);
        events += u64::from(weather == Weather::BrokenLate);
        rename(&house, 200 + events as usize);
        events += 1;
        holds(&house.registry, events);
    }
    // Somebody else, who knows nothing of what this one believes, commits in between.
    let neighbour = house.neighbour();
    house
        .store
        .meanwhile(move || drop(neighbour.create_account(ROOT, &new_account("n@example.com")).unwrap()));
    rename(&house, 300);
    holds(&house.registry, events + 2);
    // And whoever is ahead in the line fails for reasons of his own.
    house.registry.create_account(ROOT, &new_account("n@example.com")).unwrap_err();
    rename(&house, 301);
    holds(&house.registry, events + 3);
}

fn on_disk(house: &House, path: &std::path::Path, faults: Option<Faults>) -> Registry {
    let options = StoreOptions { ballast_bytes: 0, faults, reopen_wait: MILLI, ..StoreOptions::default() };
    let birth = Birth { created_at: START, store_id: [7; 16] };
    let store = match path.exists() {
        true => RedbStore::open(path, options),
        false => RedbStore::create(path, birth, options),
    };
    Registry::new(Arc::new(store.unwrap()), house.clock.clone(), house.dice.clone(), None)
}

#[test]
fn many_at_once_of_whom_many_fail_leave_a_chain_that_holds() {
    const CALLERS: usize = 16;
    let (house, folder) = (House::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ember.redb");
    let faults = Faults::default();
    let registry = on_disk(&house, &path, Some(faults.clone()));
    registry.create_account(ROOT, &new_account(ANA)).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (registry, faults, done) = (&registry, &faults, &done);
            scope.spawn(move || {
                for number in 0..20 {
                    // All callers race for the same address: one gets it.
                    let shared =
                        registry.create_account(ROOT, &new_account(&format!("n{number}@example.com")));
                    let own = registry.create_key(ROOT, &new_key(ANA, &format!("k{caller}-{number}")));
                    let made = u64::from(shared.is_ok()) + u64::from(own.is_ok());
                    done.fetch_add(made, Ordering::SeqCst);
                    if number == 10 && caller % 4 == 0 {
                        let (on, kind) = (FaultOn::Writes, FaultKind::Full);
                        faults.set(Fault { on, kind, skip: caller as u64, times: 1, while_filled: None });
                    }
                }
            });
        }
    });
    faults.heal();
    let began = std::time::Instant::now();
    while registry.trail_head().is_err() {
        assert!(began.elapsed() < MINUTE, "the store was not reopened");
        std::thread::yield_now();
    }
    let news = registry.news(ROOT, &AuditFilter::default(), Some(0), PAGE_MAX).unwrap();
    let (checked, fault) = verify(&registry, None);
    assert_eq!((fault, checked), (None, news.next));
    assert!(checked > done.load(Ordering::SeqCst), "what was acknowledged has its event");
    assert!(done.load(Ordering::SeqCst) >= 20 + 16, "most of it was done");
    drop(registry);
    holds(&on_disk(&house, &path, None), checked);
}

#[test]
fn old_events_are_removed_and_the_chain_begins_behind_them() {
    let house = house_with(4);
    make_old(&house);
    let registry = house.neighbour();
    registry.begin_chain().unwrap();
    let house = House { registry: Arc::new(registry), ..house };
    (4..6).for_each(|number| rename(&house, number));
    let early = house.registry.trail_head().unwrap();
    house.wait(DAY * 3);
    (6..9).for_each(|number| rename(&house, number));
    assert_eq!(house.registry.trim_trail(DAY * 30), Ok(0), "nothing is that old");
    let mut removed = Vec::new();
    while let count @ 1.. = house.registry.trim_trail(DAY).unwrap() {
        removed.push(count);
        assert_eq!(verify(&house.registry, None).1, None);
    }
    assert_eq!(removed, [4, 2], "those before the chain, then those on it");
    holds(&house.registry, 5);
    assert_eq!(rows(&house, AUDIT).len(), 5, "three changes and two removals");
    assert_eq!(rows(&house, AUDIT_INDEX).len(), 5);
    let trimmed = AuditFilter { action: Some("audit.trimmed".to_string()), search: None };
    let told = house.registry.events(ROOT, &trimmed, None, 9).unwrap().entries;
    assert!(told[0].detail.starts_with("events 5 to 6 removed"), "{}", told[0].detail);
    assert_eq!(told[0].target_id(), "");
    assert_eq!(verify(&house.registry, Some(early)).1, None, "the anchor is the head that was noted");
    let gone = TrailHead { sequence: 3, ..early };
    assert!(verify(&house.registry, Some(gone)).1.unwrap().what.contains("removed for its age"));
    let before = house.store.inner.get(AUDIT_MARKS, BEFORE).unwrap().unwrap();
    let moved = TrailHead::from_bytes(&before).unwrap();
    house.store.put(AUDIT_MARKS, ANCHOR, &moved.to_bytes());
    assert!(verify(&house.registry, None).1.is_some(), "an anchor that was moved is found");
}

#[test]
fn what_is_removed_during_a_look_is_no_fault() {
    let house = house_with(2500);
    let first = house.registry.verify_trail(ROOT, None, None).unwrap();
    house.wait(DAY * 2);
    assert_eq!(house.registry.trim_trail(DAY), Ok(500));
    let mut after = first.next;
    while let Some(cursor) = after {
        let found = house.registry.verify_trail(ROOT, None, Some(cursor)).unwrap();
        assert_eq!(found.fault, None);
        after = found.next;
    }
    holds(&house.registry, 2001);
}

#[test]
fn a_look_goes_on_beside_changes_and_only_administrators_may_look() {
    let house = house_with(2200);
    let first = house.registry.verify_trail(ROOT, None, None).unwrap();
    rename(&house, 9000);
    let second = house.registry.verify_trail(ROOT, None, first.next).unwrap();
    let third = house.registry.verify_trail(ROOT, None, second.next).unwrap();
    let last = house.registry.verify_trail(ROOT, None, third.next).unwrap();
    let all = [&first, &second, &third, &last];
    assert!(all.iter().all(|step| step.fault.is_none()), "{all:?}");
    assert_eq!((first.checked + second.checked, last.next), (2200, None));
    let member = house.member(ANA);
    assert_eq!(problem(house.registry.verify_trail(member, None, None)), Problem::NotAllowed);
    assert_eq!(problem(house.registry.news(member, &AuditFilter::default(), None, 1)), Problem::NotAllowed);
}

#[test]
fn news_come_once_each_however_the_parts_are_cut() {
    let house = house_with(30);
    let filter = AuditFilter::default();
    for limit in [1, 7, 30, 100] {
        let (mut after, mut numbers) = (0, Vec::new());
        loop {
            let news = house.registry.news(ROOT, &filter, Some(after), limit).unwrap();
            numbers.extend(news.entries.iter().map(|event| event.sequence));
            after = news.next;
            if !news.has_more {
                break;
            }
        }
        assert_eq!(numbers, (1..=30).collect::<Vec<_>>(), "in parts of {limit}");
    }
    let start = house.registry.news(ROOT, &filter, None, 9).unwrap();
    assert_eq!((start.entries.len(), start.next), (0, 30), "without a number nothing old is told");
    let beyond = house.registry.news(ROOT, &filter, Some(99), 9).unwrap();
    assert_eq!((beyond.entries.len(), beyond.next), (0, 30), "an older copy was put in its place");
    let only = AuditFilter { action: Some("account".to_string()), search: None };
    let filtered = house.registry.news(ROOT, &only, Some(0), 100).unwrap();
    assert_eq!((filtered.entries.len(), filtered.next), (1, 30));
}

#[test]
fn a_page_of_a_filter_that_nothing_fits_ends_and_says_where_to_go_on() {
    let house = House::new();
    let id = house.account(ANA).id;
    let of = |number: u64| {
        let at = START.after(Duration::from_millis(number));
        let id = EventId::generate(at, &*house.dice).unwrap();
        let (actor, action, origin) = (Actor::Ember, Action::SignedIn, Origin::Unknown);
        let event = Event {
            id,
            sequence: 0,
            at,
            actor,
            action,
            origin,
            target: *id.as_bytes(),
            detail: String::new(),
        };
        Write::Put { table: AUDIT, key: id.as_bytes().to_vec(), value: encode_unlinked(&event) }
    };
    let writes = (1..=30_000).map(of).collect();
    house.store.inner.commit(Commit { writes, ..Commit::default() }).unwrap();
    let filter = AuditFilter { action: Some("account.created".to_string()), search: None };
    let first = house.registry.events(ROOT, &filter, None, 10).unwrap();
    assert!(first.entries.is_empty() && first.next.is_some());
    let second = house.registry.events(ROOT, &filter, first.next, 10).unwrap();
    assert_eq!((second.entries.len(), second.next), (1, None));
    assert_eq!(second.entries[0].target, *AccountId::as_bytes(&id));
}
