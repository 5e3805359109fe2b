//! Naming a key: by id, the beginning of an id, name, last four characters.

use super::*;

#[test]
fn a_key_answers_to_id_beginning_name_and_last_four() {
    let house = House::new();
    let (one, _) = house.key("ana@example.com", "ci");
    house.wait(DAY);
    let (two, _) = house.key("ana@example.com", "batch job");
    for key in [&one, &two] {
        let id = key.id.to_string();
        let hint = key.hint().unwrap().to_string();
        for text in [&id[..], &id[..id.len() - 1], &id[..14], key.name.as_str(), &hint] {
            assert_eq!(house.registry.key(ROOT, text).unwrap().id, key.id, "{text}");
        }
    }
    for text in ["", "c", "ci ", "CI", "key_8", "key_!", "acct_0", "zzzz", "no such key"] {
        assert_eq!(problem(house.registry.key(ROOT, text)), Problem::NotFound, "{text:?}");
    }
}

#[test]
fn an_ambiguous_text_lists_each_candidate() {
    let house = House::new();
    let one = house.key("ana@example.com", "ci").0;
    let two = house.key("bo@example.com", "ci").0;
    house.registry.disable_key(ROOT, &two.id.to_string()).unwrap();
    for text in ["ci", "key_", &one.id.to_string()[..8]] {
        let (problem, words) = refused(house.registry.key(ROOT, text));
        assert_eq!(problem, Problem::Conflict, "{text}");
        for key in [&one, &two] {
            let line = words
                .lines()
                .find(|line| line.contains(&key.id.to_string()))
                .expect("a candidate is missing");
            assert!(line.contains("ci") && line.contains("prod"), "{line}");
            assert!(line.contains(&key.hint().unwrap().to_string()), "{line}");
        }
        assert!(words.contains("disabled") && words.contains("active"), "{words}");
    }
    let kept = house.registry.key_count().unwrap();
    assert_eq!(problem(house.registry.revoke_key(ROOT, "ci", None)), Problem::Conflict);
    assert_eq!((house.registry.key_count().unwrap(), house.denied().len()), (kept, 0));
}

#[test]
fn a_name_that_is_another_keys_last_four_is_ambiguous() {
    let house = House::new();
    let (one, _) = house.key("ana@example.com", "ci");
    let hint = one.hint().unwrap().to_string();
    let (two, _) = house.key("ana@example.com", &hint);
    let (_, words) = refused(house.registry.key(ROOT, &hint));
    assert!(words.contains(&one.id.to_string()) && words.contains(&two.id.to_string()), "{words}");
    house.registry.revoke_key(ROOT, &one.id.to_string(), None).unwrap();
    assert_eq!(house.registry.key(ROOT, &hint).unwrap().id, two.id);
}

#[test]
fn a_key_named_like_its_own_last_four_is_one_key() {
    let house = House::new();
    let (key, _) = house.key("ana@example.com", "ci");
    let hint = key.hint().unwrap().to_string();
    let rename = KeyChanges { name: hint.parse().ok(), ..KeyChanges::default() };
    house.registry.update_key(ROOT, "ci", &rename).unwrap();
    assert_eq!(house.registry.key(ROOT, &hint).unwrap().id, key.id);
}

#[test]
fn a_revoked_twin_is_passed_over() {
    let house = House::new();
    let old = house.key("ana@example.com", "ci").0;
    house.registry.revoke_key(ROOT, "ci", None).unwrap();
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().id, old.id, "alone it is still found");
    let new = house.key("ana@example.com", "ci").0;
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().id, new.id);
    house.registry.revoke_key(ROOT, "ci", None).unwrap();
    assert_eq!(problem(house.registry.key(ROOT, "ci")), Problem::Conflict, "two revoked ones are two");
}

#[test]
fn bug_a_live_key_is_found_behind_many_revoked_twins() {
    let house = House::new();
    for _ in 0..30 {
        let id = house.key("ana@example.com", "ci").0.id.to_string();
        house.registry.revoke_key(ROOT, &id, None).unwrap();
    }
    let live = house.key("ana@example.com", "ci").0;
    assert_eq!(house.registry.key(ROOT, "ci").unwrap().id, live.id);
    assert_eq!(house.registry.key(ROOT, "key_").unwrap().id, live.id);
    house.registry.revoke_key(ROOT, "ci", None).unwrap();
    let (_, words) = refused(house.registry.key(ROOT, "ci"));
    assert!(words.lines().count() <= 21, "a list of candidates has a bound: {words}");
}

#[test]
fn bug_a_members_key_is_found_behind_many_of_others_with_its_name() {
    let house = House::new();
    for _ in 0..30 {
        house.key("ana@example.com", "ci");
    }
    let own = house.key("bo@example.com", "ci").0;
    let bo = house.member("bo@example.com");
    assert_eq!(house.registry.key(bo, "ci").unwrap().id, own.id);
    assert_eq!(house.registry.key(bo, "key_").unwrap().id, own.id);
}

#[test]
fn bug_a_whole_key_or_most_of_one_is_never_given_back() {
    let house = House::new();
    let (_, key) = house.key("ana@example.com", "ci");
    let stranger = Key::generate(Environment::Dev, &*house.dice).unwrap();
    for key in [key.expose(), stranger.expose()] {
        for typed in [
            key.to_string(),
            format!("{key}\n"),
            format!(" {key}"),
            format!("Bearer {key}"),
            format!("OPENAI_API_KEY={key}"),
            format!("'{key}'"),
            key[..key.len() - 1].to_string(),
            key[..30].to_string(),
        ] {
            let secret = &key[15..30];
            for outcome in [
                house.registry.key(ROOT, &typed).map(drop),
                house.registry.revoke_key(ROOT, &typed, None).map(drop),
                house.registry.account(ROOT, &typed).map(drop),
                house.registry.create_key(ROOT, &new_key(&typed, "x")).map(drop),
            ] {
                let (_, words) = refused(outcome);
                assert!(!words.contains(secret), "{words}");
            }
        }
    }
}

#[test]
fn what_was_typed_is_given_back_without_controls_and_short() {
    let house = House::new();
    let (_, words) = refused(house.registry.key(ROOT, &format!("\u{1b}[2J{}", "x".repeat(5000))));
    assert!(!words.contains('\u{1b}') && words.len() < 200, "{words}");
}

#[test]
fn someone_elses_key_looks_like_none() {
    let house = House::new();
    let own = house.key("ana@example.com", "own").0;
    let (other, other_key) = house.key("bo@example.com", "other");
    let ana = house.member("ana@example.com");
    assert_eq!(house.registry.key(ana, "own").unwrap(), own);
    assert_eq!(house.registry.key(ana, "key_").unwrap(), own);
    let id = other.id.to_string();
    let hint = other.hint().unwrap().to_string();
    let registry = &house.registry;
    for text in [&id[..], "other", &hint] {
        let refusals = || {
            [
                registry.key(ana, text).map(drop),
                registry.update_key(ana, text, &KeyChanges::default()).map(drop),
                registry.disable_key(ana, text).map(drop),
                registry.enable_key(ana, text).map(drop),
                registry.revoke_key(ana, text, None).map(drop),
                registry.rotate_key(ana, text, Rotation::Now).map(drop),
            ]
            .map(refused)
        };
        let there = refusals();
        // The same words when the key is not there at all.
        let gone = House::new();
        gone.account("ana@example.com");
        let ana = gone.member("ana@example.com");
        let missing = refused(gone.registry.key(ana, text));
        assert_eq!(missing.0, Problem::NotFound);
        assert!(there.iter().all(|refusal| *refusal == missing), "{there:?}");
    }
    assert_eq!(registry.verify_key(ROOT, &other_key).unwrap().0, other);
    assert!(house.denied().is_empty());
}

#[test]
fn someone_elses_account_looks_like_none() {
    let house = House::new();
    house.account("ana@example.com");
    let bo = house.account("bo@example.com");
    let ana = house.member("ana@example.com");
    let registry = &house.registry;
    for (theirs, missing) in
        [("bo@example.com", "no@example.com"), (&bo.id.to_string()[..], "acct_00000000000000000000000000")]
    {
        let filter = |account: &str| KeyFilter { account: Some(account.to_string()), ..KeyFilter::default() };
        let refusals = |text: &str| {
            [
                registry.account(ana, text).map(drop),
                registry.set_password(ana, text, &secret("correct horse"), None).map(drop),
                registry.create_key(ana, &new_key(text, "ci")).map(drop),
                registry.keys(ana, &filter(text), None, 10).map(drop),
            ]
            .map(refused)
        };
        let words = |text: &str| refusals(text).map(|(problem, words)| (problem, words.replace(text, "X")));
        assert_eq!(words(theirs), words(missing));
        assert!(words(theirs).iter().all(|(problem, _)| *problem == Problem::NotFound));
    }
}
