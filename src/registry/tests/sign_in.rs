//! Signing in with a password, and how often it may be tried.

use super::*;

fn try_with(house: &House, email: &str, password: &str, from: &Place) -> Result<SignedIn, RegistryError> {
    house.registry.sign_in(email, &secret(password), from)
}

fn error(house: &House, email: &str, password: &str, from: &Place) -> RegistryError {
    try_with(house, email, password, from).map(drop).unwrap_err()
}

/// Addresses and passwords that are all wrong, each in its own way.
fn wrong(house: &House) -> Vec<(&'static str, String)> {
    house.person(ANA, Role::Admin);
    house.account("without-password@example.com");
    house.person("disabled@example.com", Role::Member);
    house.registry.disable_account(ROOT, "disabled@example.com").unwrap();
    house.person("deleted@example.com", Role::Member);
    house.registry.delete_account(ROOT, "deleted@example.com").unwrap();
    vec![
        (ANA, "correct horse batterz".to_string()),
        (ANA, String::new()),
        (ANA, "x".repeat(1025)),
        (ANA, "x".repeat(1 << 20)),
        (ANA, format!("{PASSWORD}\0")),
        ("nobody@example.com", PASSWORD.to_string()),
        ("nobody@example.com", "x".repeat(1025)),
        ("without-password@example.com", String::new()),
        ("without-password@example.com", PASSWORD.to_string()),
        ("disabled@example.com", "wrong password".to_string()),
        ("deleted@example.com", PASSWORD.to_string()),
        ("no address", PASSWORD.to_string()),
        ("", String::new()),
        (" ana@example.com", PASSWORD.to_string()),
        ("ana@example.com\0", PASSWORD.to_string()),
    ]
}

#[test]
fn whatever_is_wrong_the_answer_is_the_same() {
    let house = House::new();
    let all = wrong(&house);
    let answers: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(number, (email, password))| error(&house, email, password, &stranger(number)))
        .collect();
    assert_eq!(answers[0].problem(), Problem::NotAllowed);
    for (answer, (email, _)) in answers.iter().zip(&all) {
        assert_eq!(answer, &answers[0], "{email:?}");
    }
    for table in [table::SESSIONS, table::TICKETS, table::KNOWN_PLACES] {
        assert_eq!(house.store.count(table).unwrap(), 0, "{}", table.0);
    }
}

#[test]
fn whatever_is_wrong_takes_as_long() {
    let house = House::new();
    let all = wrong(&house);
    let took = |email: &str, password: &str| {
        let start = std::time::Instant::now();
        error(&house, email, password, &place(HOME));
        house.wait(MINUTE * 5);
        start.elapsed()
    };
    // A machine at work is slower now and then and never quicker.
    let quickest = |email: &str, password: &str| (0..3).map(|_| took(email, password)).min().unwrap();
    let times: Vec<_> =
        all.iter().map(|(email, password)| (email, quickest(email, password), took(ANA, "wrong"))).collect();
    let usual = times.iter().map(|(_, _, usual)| *usual).min().unwrap();
    for (email, took, _) in times {
        assert!(took * 3 > usual, "{email:?}: {took:?} instead of {usual:?}");
    }
}

#[test]
fn whoever_is_disabled_is_told_so_only_when_he_knows_the_password() {
    let house = House::new();
    house.person(ANA, Role::Member);
    house.registry.disable_account(ROOT, ANA).unwrap();
    let (problem, words) = refused(try_with(&house, ANA, PASSWORD, &place(HOME)));
    assert_eq!(problem, Problem::NotAllowed);
    assert!(words.contains("disabled"), "{words}");
    assert!(!error(&house, ANA, "wrong password", &place(HOME)).to_string().contains("disabled"));
    house.registry.enable_account(ROOT, ANA).unwrap();
    try_with(&house, ANA, PASSWORD, &place(HOME)).unwrap();
}

#[test]
fn the_case_of_an_address_does_not_matter() {
    let house = House::new();
    let ana = house.person(ANA, Role::Admin);
    for typed in [ANA, "ANA@EXAMPLE.COM", "Ana@Example.com"] {
        let signed = try_with(&house, typed, PASSWORD, &place(HOME)).unwrap();
        assert_eq!((signed.account, signed.session.account), (ana.clone(), ana.id));
        assert_eq!(signed.session.place, place(HOME));
        assert!(house.is_signed_in(&signed.ticket));
    }
}

#[test]
fn after_ten_wrong_tries_strangers_wait_and_the_owner_does_not() {
    let house = House::new();
    house.person(ANA, Role::Member);
    try_with(&house, ANA, PASSWORD, &place(HOME)).unwrap();
    for number in 0..10 {
        let typed = if number % 2 == 0 { ANA } else { "ANA@Example.com" };
        assert_eq!(
            error(&house, typed, "wrong", &stranger(number)).problem(),
            Problem::NotAllowed,
            "{number}"
        );
    }
    for password in ["wrong", PASSWORD] {
        let told = error(&house, ANA, password, &stranger(99));
        assert_eq!((told.problem(), told.wait()), (Problem::TooMany, Some(Duration::from_secs(30))));
    }
    try_with(&house, ANA, PASSWORD, &place(HOME)).unwrap();
    try_with(&house, ANA, PASSWORD, &place("::ffff:192.0.2.1")).unwrap();
    house.wait(Duration::from_secs(30) - MILLI);
    assert_eq!(error(&house, ANA, "wrong", &stranger(99)).wait(), Some(MILLI));
    house.wait(MILLI);
    assert_eq!(error(&house, ANA, "wrong", &stranger(99)).problem(), Problem::NotAllowed);
    assert_eq!(error(&house, ANA, "wrong", &stranger(98)).problem(), Problem::TooMany, "one, and no more");
}

#[test]
fn a_place_that_is_known_is_not_free_to_guess_either() {
    let house = House::new();
    house.person(ANA, Role::Member);
    try_with(&house, ANA, PASSWORD, &place(HOME)).unwrap();
    for number in 0..10 {
        assert_eq!(error(&house, ANA, "wrong", &place(HOME)).problem(), Problem::NotAllowed, "{number}");
    }
    assert_eq!(error(&house, ANA, PASSWORD, &place(HOME)).wait(), Some(Duration::from_secs(30)));
}

#[test]
fn waiting_tells_nothing_about_whether_there_is_such_an_account() {
    let told = |email: &str| {
        let house = House::new();
        house.person(ANA, Role::Member);
        (0..12).map(|number| error(&house, email, "wrong", &stranger(number))).collect::<Vec<_>>()
    };
    assert_eq!(told(ANA), told("nobody@example.com"));
}

#[test]
fn one_address_can_not_go_through_all_accounts() {
    let house = House::new();
    let network = |number: usize| place(&format!("2001:db8:1:2::{number}"));
    for number in 0..20 {
        let told = error(&house, &format!("user{number}@example.com"), "wrong", &network(number));
        assert_eq!(told.problem(), Problem::NotAllowed, "{number}");
    }
    let told = error(&house, "user99@example.com", "wrong", &network(99));
    assert_eq!((told.problem(), told.wait()), (Problem::TooMany, Some(Duration::from_secs(6))));
    assert_eq!(error(&house, "user99@example.com", "wrong", &place(HOME)).problem(), Problem::NotAllowed);
}

#[test]
fn a_right_password_does_not_count_and_forgives_no_wrong_one() {
    let house = House::new();
    house.person(ANA, Role::Member);
    for number in 0..25 {
        try_with(&house, ANA, PASSWORD, &stranger(number)).unwrap();
    }
    for number in 100..109 {
        error(&house, ANA, "wrong", &stranger(number));
        try_with(&house, ANA, PASSWORD, &stranger(150 + number - 100)).unwrap();
    }
    assert_eq!(error(&house, ANA, "wrong", &stranger(200)).problem(), Problem::NotAllowed, "the tenth");
    assert_eq!(error(&house, ANA, "wrong", &stranger(201)).problem(), Problem::TooMany);
}

#[test]
fn of_64_who_race_with_wrong_passwords_ten_are_looked_at() {
    let house = House::new();
    house.person(ANA, Role::Member);
    let start = std::sync::Barrier::new(64);
    let racer = |number: usize| {
        start.wait();
        error(&house, ANA, "wrong", &stranger(number)).problem()
    };
    let told: Vec<_> = std::thread::scope(|threads| {
        let racers: Vec<_> = (0..64).map(|number| threads.spawn(move || racer(number))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let looked_at = told.iter().filter(|problem| **problem == Problem::NotAllowed).count();
    assert!((1..=10).contains(&looked_at), "{looked_at}");
    assert!(told.iter().all(|problem| matches!(problem, Problem::NotAllowed | Problem::TooMany)));
}

#[test]
fn bug_what_could_not_be_looked_at_is_no_wrong_try() {
    let house = House::new();
    let ana = house.person(ANA, Role::Member);
    let signed = house.session_of(&ana);
    house.store.lose(Some(table::PASSWORDS));
    for number in 0..30 {
        let told = error(&house, ANA, PASSWORD, &stranger(1));
        assert_eq!(told.problem(), Problem::Unavailable, "{number}: {told}");
        let (old, new) = (secret(PASSWORD), secret("staple of batteries"));
        let changed = house.registry.change_password(&signed.session, &old, &new, &stranger(1));
        assert_eq!(problem(changed), Problem::Unavailable);
    }
    house.store.lose(None);
    try_with(&house, ANA, PASSWORD, &stranger(1)).unwrap();
}

#[test]
fn bug_a_text_of_any_length_is_not_kept_whole() {
    let house = House::new();
    let long = "x".repeat(1 << 20);
    error(&house, &long, "wrong", &stranger(1));
    assert!(house.registry.throttle.bytes() < 2000);
    for number in 2..11 {
        error(&house, &format!("{long}{number}"), "wrong", &stranger(number));
    }
    assert_eq!(error(&house, &long, "wrong", &stranger(11)).problem(), Problem::TooMany);
}
