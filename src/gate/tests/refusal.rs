//! Who is let through, who is not, and what he is told.

use super::*;

#[test]
fn missing_malformed_and_unknown_keys_are_refused_alike() {
    let hall = Hall::new();
    let (_, known) = hall.key();
    let known = known.expose();
    let unknown = Key::generate(Environment::Prod, &hall.dice).unwrap();
    let swapped = known.replace("ember_prod_", "ember_dev_");
    let longer = format!("{known}x");
    for bearer in [
        None,
        Some(&b""[..]),
        Some(b"sk-123"),
        Some(b"\xff\xfe"),
        Some(&known.as_bytes()[1..]),
        Some(longer.as_bytes()),
        Some(swapped.as_bytes()),
    ] {
        assert_eq!(refusal(at_once(hall.gate.identify(bearer, NOW))), Refusal::InvalidKey);
    }
    assert_eq!(hall.asked(), 0, "what is no key costs no look-up");
    assert_eq!(refusal(hall.identify(&unknown)), Refusal::InvalidKey);
    assert_eq!(hall.asked(), 1);
}

#[test]
fn a_holder_is_told_what_became_of_his_key() {
    let past = |record: &KeyRecord, expires_at, valid_until| {
        let mut record = KeyRecord { expires_at, ..record.clone() };
        record.secrets[0].valid_until = valid_until;
        record
    };
    type Fate<'a> = Box<dyn Fn(&KeyRecord) -> KeyRecord + 'a>;
    let fates: [(Fate<'_>, Result<(), Refusal>); 11] = [
        (Box::new(KeyRecord::clone), Ok(())),
        (Box::new(revoked), Err(Refusal::Cut(Cut::Revoked))),
        (Box::new(disabled), Err(Refusal::Cut(Cut::Disabled))),
        (
            Box::new(|record| KeyRecord { secrets: Vec::new(), ..record.clone() }),
            Err(Refusal::Cut(Cut::Replaced)),
        ),
        (Box::new(|record| past(record, Some(NOW), None)), Err(Refusal::Expired)),
        (Box::new(|record| past(record, Some(SOON), None)), Ok(())),
        (Box::new(|record| past(record, None, Some(NOW))), Err(Refusal::Cut(Cut::Replaced))),
        (Box::new(|record| past(record, None, Some(SOON))), Ok(())),
        (Box::new(|record| past(record, Some(NOW), Some(NOW))), Err(Refusal::Expired)),
        (Box::new(|record| revoked(&past(record, Some(NOW), Some(NOW)))), Err(Refusal::Cut(Cut::Revoked))),
        (Box::new(|record| disabled(&past(record, Some(NOW), None))), Err(Refusal::Cut(Cut::Disabled))),
    ];
    for (number, (fate, expected)) in fates.iter().enumerate() {
        for is_cached in [false, true] {
            let hall = Hall::new();
            let (record, key) = hall.key();
            if is_cached {
                assert!(hall.identify(&key).is_ok());
            }
            hall.commit(&fate(&record));
            assert_eq!(hall.identify(&key).map(drop), *expected, "fate {number}, cached: {is_cached}");
            let mut near = key.expose().as_bytes().to_vec();
            let last = near.len() - 1;
            near[last] = if near[last] == b'x' { b'y' } else { b'x' };
            assert_eq!(
                refusal(hall.identify_at(&near, NOW)),
                Refusal::InvalidKey,
                "told to one who holds no key"
            );
        }
    }
}

#[test]
fn time_alone_ends_and_an_update_revives_a_key() {
    let hall = Hall::new();
    let (record, key) = hall.draft();
    let bearer = key.expose().as_bytes();
    let record = KeyRecord { expires_at: Some(SOON), ..record };
    hall.commit(&record);
    assert!(hall.identify_at(bearer, NOW).is_ok());
    assert_eq!(refusal(hall.identify_at(bearer, SOON)), Refusal::Expired);
    hall.commit(&KeyRecord { expires_at: None, ..record });
    assert!(hall.identify_at(bearer, SOON).is_ok());
    assert_eq!(hall.asked(), 1);
}

#[test]
fn a_key_is_let_through_to_its_models_only() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let passes = |name: &str| match at_once(hall.gate.admit(hall.identify(&key)?, asking(name), NOW)) {
        Ok(pass) => Ok(pass.model().as_str() == name && pass.caller().key() == record.id),
        Err(refusal) => Err(refusal),
    };
    assert_eq!(passes("anything"), Ok(true));
    hall.commit(&only(&record, &["a", "org/b"]));
    for (name, expected) in
        [("a", true), ("org/b", true), ("b", false), ("A", false), ("a ", false), ("org", false)]
    {
        assert_eq!(passes(name), if expected { Ok(true) } else { Err(Refusal::ModelNotAllowed) }, "{name}");
    }
    hall.commit(&only(&record, &[]));
    assert_eq!(passes("a"), Err(Refusal::ModelNotAllowed));
}

#[test]
fn between_identify_and_admit_a_key_may_end() {
    let hall = Hall::new();
    let (record, key) = hall.draft();
    hall.commit(&KeyRecord { expires_at: Some(SOON), ..record.clone() });
    let caller = hall.identify(&key).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    assert_eq!(refusal(at_once(hall.gate.admit(caller, asking("m"), SOON))), Refusal::Expired);
    let caller = hall.identify(&key).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    hall.gate.deny(revocation(&record));
    assert_eq!(refusal(at_once(hall.gate.admit(caller, asking("m"), NOW))), Refusal::Cut(Cut::Revoked));
}

#[test]
fn a_known_key_is_not_asked_for_twice_and_an_unknown_one_is() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let unknown = Key::generate(Environment::Prod, &hall.dice).unwrap();
    for _ in 0..10 {
        assert!(hall.admit(&key).is_ok());
    }
    hall.commit(&renamed(&record));
    hall.commit(&revoked(&record));
    for _ in 0..10 {
        assert_eq!(refusal(hall.admit(&key)), Refusal::Cut(Cut::Revoked));
    }
    assert_eq!(hall.asked(), 1);
    for _ in 0..3 {
        assert_eq!(refusal(hall.identify(&unknown)), Refusal::InvalidKey);
    }
    assert_eq!((hall.asked(), hall.gate.cache.checked_len()), (3, 1), "strangers fill no memory");
}

#[test]
fn trouble_is_never_an_invalid_key_and_is_not_remembered() {
    let hall = Hall::new();
    let (_, known) = hall.key();
    let (_, fresh) = hall.key();
    let unknown = Key::generate(Environment::Prod, &hall.dice).unwrap();
    assert!(hall.identify(&known).is_ok());
    hall.book.is_broken.store(true, Ordering::SeqCst);
    for key in [&fresh, &unknown] {
        assert!(matches!(refusal(hall.identify(key)), Refusal::Trouble(_)));
    }
    assert!(hall.identify(&known).is_ok(), "what is in memory needs no disk");
    hall.book.is_broken.store(false, Ordering::SeqCst);
    assert!(hall.identify(&fresh).is_ok());
    assert_eq!(refusal(hall.identify(&unknown)), Refusal::InvalidKey);
}

#[test]
fn a_stopped_account_stops_its_keys_and_only_those() {
    for is_cached in [false, true] {
        let hall = Hall::new();
        let (one, one_key) = hall.key();
        let (two, two_key) = hall.draft();
        hall.commit(&KeyRecord { account: one.account, ..two });
        let (_, other_key) = hall.key();
        if is_cached {
            assert!([&one_key, &two_key, &other_key].iter().all(|key| hall.identify(key).is_ok()));
        }
        hall.commit_account(one.account, AccountStatus::Disabled);
        for key in [&one_key, &two_key] {
            assert_eq!(refusal(hall.identify(key)), Refusal::Cut(Cut::AccountDisabled));
        }
        assert!(hall.identify(&other_key).is_ok());
        hall.commit(&renamed(&one));
        assert_eq!(refusal(hall.identify(&one_key)), Refusal::Cut(Cut::AccountDisabled));
        hall.commit_account(one.account, AccountStatus::Active);
        assert!([&one_key, &two_key].iter().all(|key| hall.identify(key).is_ok()));
        hall.commit_account(one.account, AccountStatus::Deleted);
        assert_eq!(refusal(hall.identify(&one_key)), Refusal::Cut(Cut::AccountDisabled));
        hall.commit(&revoked(&one));
        assert_eq!(refusal(hall.identify(&one_key)), Refusal::Cut(Cut::Revoked));
    }
}

#[test]
fn a_rotated_key_has_two_secrets_for_the_length_of_its_grace() {
    let hall = Hall::new();
    let (record, old) = hall.key();
    assert!(hall.identify(&old).is_ok());
    let new = Key::generate(Environment::Prod, &hall.dice).unwrap();
    let secrets = vec![secret(&new, None), secret(&old, Some(SOON))];
    hall.commit(&KeyRecord { secrets, ..record.clone() });
    for (key, now, expected) in [
        (&old, NOW, Ok(record.id)),
        (&new, NOW, Ok(record.id)),
        (&old, SOON, Err(Refusal::Cut(Cut::Replaced))),
        (&new, SOON, Ok(record.id)),
    ] {
        assert_eq!(hall.identify_at(key.expose().as_bytes(), now).map(|caller| caller.key()), expected);
    }
    hall.commit(&KeyRecord { secrets: vec![secret(&new, None)], ..record });
    assert_eq!(refusal(hall.identify(&old)), Refusal::Cut(Cut::Replaced));
    assert!(hall.identify(&new).is_ok());
}

#[test]
fn an_account_may_have_fewer_models_than_its_keys() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let told = |models: ModelScope| {
        let account = account(record.account, AccountStatus::Active);
        hall.gate.changed(&Change::Account(Account { policy: models.into(), ..account }));
    };
    assert!(hall.admit(&key).is_ok());
    told(ModelScope::Only([model("x")].into()));
    assert_eq!(refusal(hall.admit(&key)), Refusal::ModelNotAllowed);
    told(ModelScope::All);
    assert!(hall.admit(&key).is_ok());
}

#[test]
fn a_caller_has_the_weight_of_his_key() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let weight = |number| {
        hall.commit(&KeyRecord { weight: Weight::new(number).unwrap(), ..record.clone() });
        hall.identify(&key).ok().unwrap().weight()
    };
    assert_eq!([1, 2, 100].map(weight), [1, 2, 100]);
}
