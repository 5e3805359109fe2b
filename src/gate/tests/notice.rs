//! What the meter is told of those who use a key.

use std::net::IpAddr;

use super::*;
use crate::meter::{BrowserRefusals, KeyUser};
use crate::types::ClientName;

#[test]
fn who_uses_a_key_is_remembered_and_who_uses_an_old_secret_apart() {
    let hall = Hall::new();
    let (record, old) = hall.key();
    let new = Key::generate(Environment::Prod, &hall.dice).unwrap();
    let end = NOW.after(Duration::from_secs(60));
    let secrets = vec![secret(&new, None), secret(&old, Some(end))];
    hall.commit(&KeyRecord { secrets, ..record.clone() });
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let agent = b"curl/8.5.0";
    let come = |key: &Key, now| {
        let caller = hall.identify_at(key.expose().as_bytes(), now).ok().unwrap();
        hall.gate.notice(&caller, address, agent);
        caller.replaced_at()
    };
    let trace = || hall.meter.traces().of(record.id).unwrap();
    assert_eq!(come(&new, NOW), None);
    assert_eq!(trace().old_secret, None, "it came with the newest");
    assert_eq!(come(&old, SOON), Some(end));
    let client = ClientName::of(agent);
    let user = KeyUser { address, client, first_at: NOW, last_at: SOON, requests: 2 };
    assert_eq!(trace().users, std::slice::from_ref(&user));
    assert_eq!(trace().old_secret, Some(KeyUser { first_at: SOON, requests: 1, ..user }));
}

#[test]
fn a_browser_that_is_refused_is_remembered_with_its_page() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let caller = |record: &KeyRecord| {
        hall.commit(record);
        hall.identify(&key).ok().unwrap()
    };
    assert!(!caller(&record).allows_browser());
    hall.gate.notice_browser(&caller(&record), b"https://example.com");
    let origin = "https://example.com".to_string();
    let refused = hall.meter.traces().of(record.id).unwrap().browsers;
    assert_eq!(refused, Some(BrowserRefusals { requests: 1, last_at: NOW, origin }));
    assert!(caller(&KeyRecord { allow_browser: true, ..record.clone() }).allows_browser());
}
