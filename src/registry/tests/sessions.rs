//! How sessions begin, last and end.

use super::super::session::person;
use super::*;
use crate::types::{SessionId, TicketKind};

type Ending = fn(&House, &SignedIn);

/// Everything that ends a session of [`ANA`]'s.
fn endings() -> Vec<(&'static str, Ending)> {
    vec![
        ("signing out", |house, signed| {
            house.registry.end_session(person(&signed.account), signed.session.id).unwrap();
        }),
        ("an administrator", |house, signed| {
            house.registry.end_session(ROOT, signed.session.id).unwrap();
        }),
        ("signing out everywhere else", |house, signed| {
            let other = house.session_of(&signed.account);
            let keep = Some(other.session.id);
            let ended = house.registry.end_sessions(person(&signed.account), ANA, keep).unwrap();
            assert_eq!(ended.len(), 1);
            assert!(house.is_signed_in(&other.ticket));
        }),
        ("signing out everywhere", |house, signed| {
            let ended = house.registry.end_sessions(person(&signed.account), ANA, None).unwrap();
            assert_eq!(ended.len(), 1);
        }),
        ("a password set by an administrator", |house, _| {
            house.registry.set_password(ROOT, ANA, &secret("staple of batteries"), None).unwrap();
        }),
        ("a password set by the owner", |house, signed| {
            let (actor, new) = (person(&signed.account), secret("staple of batteries"));
            house.registry.set_password(actor, ANA, &new, Some(&secret(PASSWORD))).unwrap();
        }),
        ("a password changed by the owner", |house, signed| {
            let new = secret("staple of batteries");
            let next = house.registry.change_password(&signed.session, &secret(PASSWORD), &new, &place(HOME));
            assert!(house.is_signed_in(&next.unwrap().ticket), "he goes on in a new one");
        }),
        ("a reset link", |house, _| {
            let reset = house.registry.issue_reset(ROOT, ANA).unwrap();
            let next =
                house.registry.redeem_reset(&reset.ticket, &secret("staple of batteries"), &place(HOME));
            assert!(house.is_signed_in(&next.unwrap().ticket));
        }),
        ("a disabled account", |house, _| drop(house.registry.disable_account(ROOT, ANA).unwrap())),
        ("a deleted account", |house, _| drop(house.registry.delete_account(ROOT, ANA).unwrap())),
    ]
}

#[test]
fn whatever_ends_a_session_ends_it_for_good_and_no_one_elses() {
    for (name, end) in endings() {
        let house = House::new();
        let (ana, bo) = (house.person(ANA, Role::Member), house.account("bo@example.com"));
        let (signed, other) = (house.session_of(&ana), house.session_of(&bo));
        assert!(house.is_signed_in(&signed.ticket), "{name}");
        end(&house, &signed);
        assert!(!house.is_signed_in(&signed.ticket), "{name}");
        assert!(house.is_signed_in(&other.ticket), "{name} is not Bo's business");
        let listed = house.registry.sessions(ROOT, ANA).unwrap_or_default();
        assert!(listed.iter().all(|session| session.id != signed.session.id), "{name}: still listed");
        // Deleted ones can't be enabled.
        let _ = house.registry.enable_account(ROOT, ANA);
        assert!(!house.is_signed_in(&signed.ticket), "{name}: back with the account");
        if house.registry.account(ROOT, ANA).is_ok() {
            assert!(house.is_signed_in(&house.session_of(&ana).ticket), "{name}: a new one works");
        }
    }
}

#[test]
fn a_session_that_is_not_used_ends_to_the_millisecond() {
    for (wait, is_good) in [(MINUTE * 30 - MILLI, true), (MINUTE * 30, false), (DAY, false)] {
        let house = House::new();
        let signed = house.session_of(&house.account(ANA));
        house.wait(wait);
        let listed = house.registry.sessions(ROOT, ANA).unwrap().len();
        assert_eq!((house.is_signed_in(&signed.ticket), listed), (is_good, usize::from(is_good)), "{wait:?}");
    }
}

#[test]
fn a_session_in_use_ends_to_the_millisecond_after_its_whole_lifetime() {
    let house = House::new();
    let signed = house.session_of(&house.account(ANA));
    let end = signed.session.created_at.after(MINUTE * 720);
    while house.clock.now().after(MINUTE * 20) < end {
        house.wait(MINUTE * 20);
        assert!(house.is_signed_in(&signed.ticket));
    }
    house.wait(end.since(house.clock.now()) - MILLI);
    assert!(house.is_signed_in(&signed.ticket));
    house.wait(MILLI);
    assert!(!house.is_signed_in(&signed.ticket));
}

#[test]
fn the_last_use_is_written_down_once_a_minute() {
    let house = House::new();
    let signed = house.session_of(&house.account(ANA));
    let commits = || house.log().len();
    let seen = || {
        let (session, account) = house.registry.session(&signed.ticket).unwrap().unwrap();
        assert_eq!((session.id, account.id), (signed.session.id, signed.account.id));
        assert_eq!(
            house.registry.sessions(ROOT, ANA).unwrap(),
            std::slice::from_ref(&session),
            "kept as it is told"
        );
        session.seen_at
    };
    commits();
    house.wait(MINUTE - MILLI);
    assert_eq!((seen(), commits()), (START, 0));
    house.wait(MILLI);
    for written in [1, 0, 0] {
        assert_eq!((seen(), commits()), (START.after(MINUTE), written));
    }
    house.store.turn(Weather::Broken);
    house.wait(MINUTE);
    assert_eq!(house.registry.session(&signed.ticket).unwrap().unwrap().0.seen_at, START.after(MINUTE * 2));
    house.store.turn(Weather::Fair);
    assert_eq!(house.neighbour().sessions(ROOT, ANA).unwrap()[0].seen_at, START.after(MINUTE));
}

#[test]
fn a_use_that_was_on_its_way_does_not_bring_back_a_session_that_was_ended() {
    let house = House::new();
    let signed = house.session_of(&house.account(ANA));
    house.wait(MINUTE);
    let (neighbour, id) = (house.neighbour(), signed.session.id);
    house.store.meanwhile(move || drop(neighbour.end_session(ROOT, id).unwrap()));
    house.registry.session(&signed.ticket).unwrap();
    assert!(!house.is_signed_in(&signed.ticket));
    assert_eq!(house.store.count(table::SESSIONS).unwrap(), 0);
}

#[test]
fn an_account_has_20_sessions_and_a_new_one_ends_the_one_unused_for_longest() {
    let house = House::new();
    let ana = house.account(ANA);
    let mut all = Vec::new();
    for _ in 0..20 {
        house.wait(MILLI);
        all.push(house.session_of(&ana));
    }
    house.wait(MINUTE);
    assert!(all.iter().all(|one| house.neighbour().sessions(ROOT, ANA).unwrap().contains(&one.session)));
    assert!(house.is_signed_in(&all[0].ticket), "and used just now");
    for ended in 1..=5 {
        all.push(house.session_of(&ana));
        let alive =
            |one: &&SignedIn| house.store.get(table::SESSIONS, one.session.id.as_bytes()).unwrap().is_some();
        assert_eq!(all.iter().filter(alive).count(), 20);
        assert!(!house.is_signed_in(&all[ended].ticket));
        assert!(house.is_signed_in(&all[0].ticket));
    }
    for table in [table::SESSIONS, table::SESSION_INDEX, table::TICKETS] {
        assert_eq!(house.store.count(table).unwrap(), 20, "{} is kept clean", table.0);
    }
}

#[test]
fn sessions_that_are_over_are_swept_away_by_the_next_one() {
    let house = House::new();
    let ana = house.person(ANA, Role::Member);
    for _ in 0..3 {
        drop(house.session_of(&ana));
    }
    house.registry.set_password(ROOT, ANA, &secret("staple of batteries"), None).unwrap();
    drop(house.session_of(&ana));
    house.wait(DAY);
    drop(house.session_of(&ana));
    assert_eq!(house.store.count(table::SESSIONS).unwrap(), 1);
}

#[test]
fn sessions_are_listed_the_one_used_last_first_and_to_their_owner_and_administrators_only() {
    let house = House::new();
    let (ana, bo) = (house.account(ANA), house.account("bo@example.com"));
    let first = house.session_of(&ana);
    house.wait(MILLI);
    let second = house.session_of(&ana);
    let ids = |actor| {
        house.registry.sessions(actor, ANA).map(|all| all.iter().map(|one| one.id).collect::<Vec<_>>())
    };
    assert_eq!(ids(person(&ana)).unwrap(), [second.session.id, first.session.id]);
    house.wait(MINUTE);
    assert!(house.is_signed_in(&first.ticket));
    assert_eq!(ids(ROOT).unwrap(), [first.session.id, second.session.id]);
    assert_eq!(problem(ids(person(&bo))), Problem::NotFound);
    assert_eq!(house.registry.sessions(ROOT, "bo@example.com").unwrap(), []);
    let sentence = |id| refused(house.registry.end_session(person(&bo), id)).1.replace(&id.to_string(), "ID");
    let unknown = SessionId::generate(START, &*house.dice).unwrap();
    assert_eq!(sentence(first.session.id), sentence(unknown), "someone else's looks like none");
    assert!(house.is_signed_in(&first.ticket));
    house.registry.end_session(ROOT, first.session.id).unwrap();
    assert_eq!(problem(house.registry.end_session(ROOT, first.session.id)), Problem::NotFound);
}

#[test]
fn ending_the_others_leaves_one_and_everyone_elses() {
    let house = House::new();
    let (ana, bo) = (house.account(ANA), house.account("bo@example.com"));
    let all: Vec<_> = (0..5).map(|_| house.session_of(&ana)).collect();
    let other = house.session_of(&bo);
    let ended = house.registry.end_sessions(person(&ana), ANA, Some(all[2].session.id)).unwrap();
    assert_eq!(ended.len(), 4);
    let alive: Vec<_> = all.iter().map(|one| house.is_signed_in(&one.ticket)).collect();
    assert_eq!(alive, [false, false, true, false, false]);
    assert!(house.is_signed_in(&other.ticket));
}

#[test]
fn a_ticket_that_was_never_given_or_is_of_another_kind_is_no_session() {
    let house = House::new();
    let ana = house.account(ANA);
    let signed = house.session_of(&ana);
    for kind in TicketKind::ALL {
        let ticket = Ticket::generate(kind, &*house.dice).unwrap();
        assert!(!house.is_signed_in(&ticket), "{kind:?}");
        let value = table::ticket_value(kind, signed.session.id.as_bytes());
        house.store.put(table::TICKETS, ticket.digest().as_bytes(), &value);
        assert_eq!(house.is_signed_in(&ticket), kind == TicketKind::Session, "{kind:?}");
    }
}

#[test]
fn no_session_opens_for_an_account_that_was_stopped_or_got_another_password_meanwhile() {
    for (name, deed) in [
        ("disabled", (|registry| drop(registry.disable_account(ROOT, ANA).unwrap())) as fn(&Registry)),
        ("deleted", |registry| drop(registry.delete_account(ROOT, ANA).unwrap())),
        ("another password", |registry| {
            drop(registry.set_password(ROOT, ANA, &secret("staple of batteries"), None).unwrap());
        }),
    ] {
        let house = House::new();
        house.person(ANA, Role::Member);
        let neighbour = house.neighbour();
        house.store.meanwhile(move || deed(&neighbour));
        let outcome = house.registry.sign_in(ANA, &secret(PASSWORD), &place(HOME));
        assert!(matches!(problem(outcome), Problem::Conflict | Problem::NotAllowed), "{name}");
        assert_eq!(house.store.count(table::SESSIONS).unwrap(), 0, "{name}");
    }
}

#[test]
fn a_session_begun_while_its_account_stops_never_outlives_that() {
    let house = House::new();
    let ana = house.account(ANA);
    let mut begun = 0;
    for round in 0..300 {
        let start = std::sync::Barrier::new(4);
        let epoch = house.registry.epoch(ana.id).unwrap();
        let open = || {
            start.wait();
            house.registry.open_session(ana.id, epoch, &place(HOME))
        };
        let signed: Vec<_> = std::thread::scope(|threads| {
            let racers: Vec<_> = (0..3).map(|_| threads.spawn(open)).collect();
            start.wait();
            house.registry.disable_account(ROOT, ANA).unwrap();
            racers.into_iter().filter_map(|racer| racer.join().unwrap().ok()).collect()
        });
        begun += signed.len();
        house.registry.enable_account(ROOT, ANA).unwrap();
        assert!(signed.iter().all(|one| !house.is_signed_in(&one.ticket)), "round {round}");
    }
    assert!(begun > 0, "the race was never close");
}

#[test]
fn a_session_begun_with_a_password_never_outlives_it() {
    let house = House::new();
    house.person(ANA, Role::Member);
    for round in 0..12 {
        let (old, new) = (format!("{PASSWORD}{round}"), format!("{PASSWORD}{}", round + 1));
        house.registry.set_password(ROOT, ANA, &secret(&old), None).unwrap();
        let start = std::sync::Barrier::new(3);
        let signed: Vec<_> = std::thread::scope(|threads| {
            let sign_in = || {
                start.wait();
                house.registry.sign_in(ANA, &secret(&old), &place(HOME))
            };
            let racers: Vec<_> = (0..2).map(|_| threads.spawn(sign_in)).collect();
            start.wait();
            house.registry.set_password(ROOT, ANA, &secret(&new), None).unwrap();
            racers.into_iter().filter_map(|racer| racer.join().unwrap().ok()).collect()
        });
        assert!(signed.iter().all(|one| !house.is_signed_in(&one.ticket)), "round {round}");
        house.wait(MINUTE * 5);
    }
}

#[test]
fn bug_a_session_begun_by_a_password_change_while_the_account_stops_does_not_come_back() {
    for delete in [false, true] {
        let house = House::new();
        let signed = house.session_of(&house.person(ANA, Role::Member));
        let (neighbour, (tell, told)) = (house.neighbour(), std::sync::mpsc::channel());
        house.store.meanwhile(move || {
            let (old, new) = (secret(PASSWORD), secret("staple of batteries"));
            tell.send(neighbour.change_password(&signed.session, &old, &new, &place(HOME)).unwrap()).unwrap();
        });
        let stop = if delete { Registry::delete_account } else { Registry::disable_account };
        stop(&house.registry, ROOT, ANA).unwrap();
        let next = told.recv().unwrap();
        assert!(!house.is_signed_in(&next.ticket));
        let _ = house.registry.enable_account(ROOT, ANA);
        assert!(!house.is_signed_in(&next.ticket));
    }
}

#[test]
fn bug_a_session_in_constant_use_does_not_end_where_the_operator_set_a_short_time() {
    for idle in [MINUTE, MINUTE + MINUTE / 2, MINUTE * 2] {
        let house = House::new();
        let rules = Rules { session_idle: idle, ..Rules::default() };
        let registry = house.neighbour().with_rules(rules);
        let ana = house.account(ANA);
        let signed = registry.open_session(ana.id, 0, &place(HOME)).unwrap();
        for _ in 0..20 {
            house.wait(idle / 2);
            assert!(registry.session(&signed.ticket).unwrap().is_some(), "{idle:?}");
        }
        house.wait(idle);
        assert!(registry.session(&signed.ticket).unwrap().is_none());
    }
}

#[test]
fn bug_a_session_that_was_over_stays_over_though_the_clock_goes_back() {
    let house = House::new();
    let ana = house.account(ANA);
    let signed = house.session_of(&ana);
    house.wait(MINUTE * 30);
    assert!(!house.is_signed_in(&signed.ticket));
    house.clock.0.store(START.as_millis(), Ordering::SeqCst);
    assert!(!house.is_signed_in(&signed.ticket));
    // Begun by a clock that was a year ahead, it would last a year longer.
    house.wait(DAY * 365);
    let ahead = house.session_of(&ana);
    assert!(house.is_signed_in(&ahead.ticket));
    house.clock.0.store(START.as_millis(), Ordering::SeqCst);
    assert!(!house.is_signed_in(&ahead.ticket));
    let fresh = house.session_of(&ana);
    house.clock.0.fetch_sub(60_000, Ordering::SeqCst);
    assert!(house.is_signed_in(&fresh.ticket), "a clock that is put right by a minute ends nothing");
}
