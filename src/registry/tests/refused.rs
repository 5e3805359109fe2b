//! Refused sign-ins: one event for each address and minute, bounded, and nothing of what was typed.

use super::*;

fn try_in(house: &House, email: &str, from: &str) {
    house.registry.sign_in(email, &secret("not the password"), &place(from)).map(drop).unwrap_err();
}

fn told(house: &House) -> Vec<(String, String)> {
    let filter = AuditFilter { action: Some("refused".to_string()), search: None };
    let mut events = house.registry.events(ROOT, &filter, None, PAGE_MAX).unwrap().entries;
    events.reverse();
    assert!(events.iter().all(|event| event.actor == Actor::Ember));
    events.into_iter().map(|event| (event.target_id(), event.detail)).collect()
}

#[test]
fn a_hundred_refusals_at_one_address_are_one_event() {
    let house = House::new();
    house.person(ANA, Role::Member);
    for number in 0..100 {
        try_in(&house, if number % 2 == 0 { ANA } else { "my password, in the wrong field" }, HOME);
    }
    house.registry.write_down_refused(false).unwrap();
    assert!(told(&house).is_empty(), "the minute is not over");
    house.wait(MINUTE);
    house.registry.write_down_refused(false).unwrap();
    let [(address, detail)] = &told(&house)[..] else { panic!("{:?}", told(&house)) };
    assert_eq!(
        (address.as_str(), detail.as_str()),
        (HOME, &*format!("100 tries at 2 accounts in the minute from {START}"))
    );
    let written = house.store.written.lock().unwrap();
    assert!(!written.windows(11).any(|part| part == b"my password"), "what was typed is kept nowhere");
    drop(written);
    house.registry.write_down_refused(true).unwrap();
    assert_eq!(told(&house).len(), 1);
}

#[test]
fn a_network_counts_as_one_address_and_each_minute_for_itself() {
    let house = House::new();
    for number in 0..3 {
        try_in(&house, ANA, &format!("2001:db8::{number}"));
    }
    house.wait(MINUTE);
    try_in(&house, ANA, "2001:db8::9");
    house.registry.note_refused_token("2001:db8::1".parse().unwrap());
    house.registry.write_down_refused(true).unwrap();
    let mut told: Vec<_> = told(&house).into_iter().map(|(at, detail)| format!("{at}: {detail}")).collect();
    told.sort();
    let second = START.after(MINUTE);
    assert_eq!(
        told,
        [
            format!("2001:db8::: 1 try at 1 account in the minute from {second}"),
            format!("2001:db8::: 1 try in the minute from {second}"),
            format!("2001:db8::: 3 tries at 1 account in the minute from {START}"),
        ]
    );
}

#[test]
fn an_attack_from_everywhere_is_bounded_in_memory_and_on_disk() {
    let house = House::new();
    for number in 0..5000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        house.registry.note_refused_token(address.into());
    }
    for _ in 0..30 {
        house.wait(MINUTE);
        house.registry.note_refused_token("192.0.2.1".parse().unwrap());
    }
    house.store.turn(Weather::Full);
    house.registry.write_down_refused(true).unwrap_err();
    house.store.turn(Weather::Fair);
    house.registry.write_down_refused(true).unwrap();
    let told = told(&house);
    assert_eq!(told.len(), 51 + 9, "fifty addresses and all others, then minutes up to the bound");
    let count = |(_, detail): &(String, String)| detail.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(told.iter().map(count).sum::<u64>(), 5030, "none is lost");
    assert!(
        told.iter()
            .any(|(at, detail)| at.is_empty() && detail.starts_with("4950 tries from further addresses"))
    );
}
