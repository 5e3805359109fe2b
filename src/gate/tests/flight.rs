//! Look-ups: one at a time for a digest, and none that is older than a commit is kept.

use super::*;

/// Starts a request and returns once it waits for its look-up.
async fn start(hall: &Arc<Hall>, key: &Arc<Key>) -> tokio::task::JoinHandle<Result<Caller, Refusal>> {
    let started = Arc::new(AtomicBool::new(false));
    let (hall, key, mark) = (Arc::clone(hall), Arc::clone(key), Arc::clone(&started));
    let request = tokio::spawn(async move {
        mark.store(true, Ordering::SeqCst);
        hall.gate.identify(Some(key.expose().as_bytes()), NOW).await
    });
    // On the one thread of these tests a request that has begun has come as far as it can.
    while !started.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
    request
}

#[tokio::test]
async fn a_hundred_first_requests_make_one_look_up() {
    for is_known in [true, false] {
        let hall = Arc::new(Hall::new());
        let (record, key) = hall.draft();
        if is_known {
            hall.commit(&record);
        }
        let (key, pause) = (Arc::new(key), hall.pause());
        let mut requests = Vec::new();
        for _ in 0..100 {
            requests.push(start(&hall, &key).await);
        }
        pause.go.add_permits(1);
        for request in requests {
            let outcome = request.await.unwrap().map(|caller| caller.key());
            assert_eq!(outcome, if is_known { Ok(record.id) } else { Err(Refusal::InvalidKey) });
        }
        assert_eq!(hall.asked(), 1);
        assert_eq!(hall.gate.cache.checked_len(), usize::from(is_known));
        assert_eq!(hall.gate.flights.open_count(), 0);
    }
}

#[tokio::test]
async fn bug_a_hundred_requests_in_trouble_wait_for_one_look_up_and_not_in_line() {
    let hall = Arc::new(Hall::new());
    let (_, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    hall.book.is_broken.store(true, Ordering::SeqCst);
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.push(start(&hall, &key).await);
    }
    pause.go.add_permits(100);
    for request in requests {
        assert!(matches!(refusal(request.await.unwrap()), Refusal::Trouble(_)));
    }
    assert_eq!((hall.asked(), hall.gate.flights.open_count()), (1, 0));
    hall.book.is_broken.store(false, Ordering::SeqCst);
    assert!(start(&hall, &key).await.await.unwrap().is_ok(), "trouble is not remembered");
}

#[tokio::test]
async fn when_the_first_hangs_up_the_next_looks_up() {
    let hall = Arc::new(Hall::new());
    let (_, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    let first = start(&hall, &key).await;
    let second = start(&hall, &key).await;
    let third = start(&hall, &key).await;
    pause.arrival().await;
    first.abort();
    assert!(first.await.is_err());
    pause.arrival().await;
    second.abort();
    assert!(second.await.is_err());
    pause.arrival().await;
    pause.go.add_permits(1);
    assert!(third.await.unwrap().is_ok());
    assert_eq!(hall.asked(), 3);
}

#[tokio::test]
async fn one_who_hangs_up_closes_nothing_to_newcomers() {
    let hall = Arc::new(Hall::new());
    let (_, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    let first = start(&hall, &key).await;
    let second = start(&hall, &key).await;
    pause.arrival().await;
    second.abort();
    assert!(second.await.is_err());
    let third = start(&hall, &key).await;
    pause.go.add_permits(2);
    for request in [first, third] {
        assert!(request.await.unwrap().is_ok());
    }
    assert_eq!((hall.asked(), hall.gate.flights.open_count()), (1, 0));
}

#[tokio::test]
async fn when_all_hang_up_nothing_is_left_behind() {
    let hall = Arc::new(Hall::new());
    let (_, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    for _ in 0..3 {
        let request = start(&hall, &key).await;
        request.abort();
        assert!(request.await.is_err());
        assert_eq!(hall.gate.flights.open_count(), 0);
    }
    pause.go.add_permits(1);
    assert!(start(&hall, &key).await.await.unwrap().is_ok());
    assert_eq!((hall.asked(), hall.gate.cache.checked_len()), (4, 1));
}

#[tokio::test]
async fn a_look_up_that_read_before_a_commit_is_not_kept() {
    type Deed = fn(&Hall, &KeyRecord);
    let deeds: [(&str, Deed, Result<(), Refusal>); 7] = [
        ("revoked", |hall, record| hall.commit(&revoked(record)), Err(Refusal::Cut(Cut::Revoked))),
        ("disabled", |hall, record| hall.commit(&disabled(record)), Err(Refusal::Cut(Cut::Disabled))),
        ("other models", |hall, record| hall.commit(&only(record, &["x"])), Err(Refusal::ModelNotAllowed)),
        (
            "expired",
            |hall, record| hall.commit(&KeyRecord { expires_at: Some(NOW), ..record.clone() }),
            Err(Refusal::Expired),
        ),
        (
            "account off",
            |hall, record| hall.commit_account(record.account, AccountStatus::Disabled),
            Err(Refusal::Cut(Cut::AccountDisabled)),
        ),
        ("another key", |hall, _| drop(hall.key()), Ok(())),
        (
            "another account off",
            |hall, _| hall.commit_account(hall.key().0.account, AccountStatus::Disabled),
            Ok(()),
        ),
    ];
    for (name, deed, expected) in deeds {
        let hall = Arc::new(Hall::new());
        let (record, key) = hall.key();
        let (key, pause) = (Arc::new(key), hall.pause());
        let request = start(&hall, &key).await;
        pause.arrival().await;
        deed(&hall, &record);
        pause.go.add_permits(1);
        let outcome =
            request.await.unwrap().and_then(|caller| at_once(hall.gate.admit(caller, asking("m"), NOW)));
        assert_eq!(outcome.map(drop), expected, "{name}");
        assert_eq!(hall.admit(&key).map(drop), expected, "{name}: what is kept is the new state");
        assert_eq!(hall.asked(), 1, "{name}: what was committed is known without reading again");
    }
}

#[tokio::test]
async fn a_key_created_while_it_was_looked_for_is_found() {
    let hall = Arc::new(Hall::new());
    let (record, key) = hall.draft();
    let (key, pause) = (Arc::new(key), hall.pause());
    let early = start(&hall, &key).await;
    pause.arrival().await;
    hall.commit(&record);
    let late = start(&hall, &key).await;
    pause.go.add_permits(2);
    assert!(late.await.unwrap().is_ok(), "created before it was asked for");
    assert!(early.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_becomes_of_others_is_no_reason_to_look_for_an_unknown_key_again() {
    let hall = Arc::new(Hall::new());
    let unknown = Arc::new(Key::generate(Environment::Prod, &hall.dice).unwrap());
    let pause = hall.pause();
    let request = start(&hall, &unknown).await;
    pause.arrival().await;
    let (other, _) = hall.key();
    hall.commit_account(other.account, AccountStatus::Disabled);
    pause.go.add_permits(2);
    assert_eq!(refusal(request.await.unwrap()), Refusal::InvalidKey);
    assert_eq!(hall.asked(), 1);
}

/// A look-up has landed, and one who waited for it was not woken yet: whoever comes now must not join it.
#[test]
fn a_newcomer_does_not_join_a_look_up_that_has_landed() {
    let hall = Hall::new();
    let (record, key) = hall.draft();
    let pause = hall.pause();
    let ask = || Box::pin(hall.gate.identify(Some(key.expose().as_bytes()), NOW));
    let (mut first, mut slow, mut late) = (ask(), ask(), ask());
    assert!(poll(first.as_mut()).is_pending() && poll(slow.as_mut()).is_pending());
    pause.go.add_permits(1);
    assert!(matches!(poll(first.as_mut()), Poll::Ready(Err(Refusal::InvalidKey))));
    hall.commit(&record);
    pause.go.add_permits(1);
    assert!(matches!(poll(late.as_mut()), Poll::Ready(Ok(_))), "issued before it was asked for");
    assert!(
        matches!(poll(slow.as_mut()), Poll::Ready(Err(Refusal::InvalidKey))),
        "asked for before it was issued"
    );
    assert_eq!((hall.asked(), hall.gate.flights.open_count()), (2, 0));
}

#[tokio::test]
async fn a_denial_reaches_a_look_up_under_way() {
    for is_lifted in [false, true] {
        let hall = Arc::new(Hall::new());
        let (record, key) = hall.key();
        let (key, pause) = (Arc::new(key), hall.pause());
        let request = start(&hall, &key).await;
        pause.arrival().await;
        hall.gate.deny(revocation(&record));
        if is_lifted {
            hall.commit(&revoked(&record));
            hall.gate.lift(revocation(&record));
        }
        pause.go.add_permits(2);
        assert_eq!(refusal(request.await.unwrap()), Refusal::Cut(Cut::Revoked));
        assert_eq!(refusal(hall.identify(&key)), Refusal::Cut(Cut::Revoked));
    }
}

/// A good key was answered with "try again" when its record changed faster than it was read.
#[tokio::test]
async fn bug_a_record_that_never_holds_still_is_read_once() {
    let hall = Arc::new(Hall::new());
    let (record, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    let request = start(&hall, &key).await;
    pause.arrival().await;
    for _ in 0..100 {
        hall.commit(&renamed(&record));
        hall.commit(&record);
    }
    pause.go.add_permits(1);
    assert!(request.await.unwrap().is_ok());
    assert_eq!(hall.asked(), 1);
}

#[tokio::test]
async fn more_commits_than_are_kept_make_it_read_again() {
    let hall = Arc::new(Hall::new());
    let (record, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    let request = start(&hall, &key).await;
    pause.arrival().await;
    hall.commit(&revoked(&record));
    (0..300).for_each(|_| drop(hall.key()));
    pause.go.add_permits(2);
    assert_eq!(refusal(request.await.unwrap()), Refusal::Cut(Cut::Revoked));
    assert_eq!(hall.asked(), 2);
}

#[tokio::test]
async fn a_flood_of_commits_is_trouble_in_the_end() {
    let hall = Arc::new(Hall::new());
    let (record, key) = hall.key();
    let (key, pause) = (Arc::new(key), hall.pause());
    let request = start(&hall, &key).await;
    while !request.is_finished() {
        pause.arrival().await;
        (0..300).for_each(|_| hall.commit(&record));
        pause.go.add_permits(1);
        tokio::task::yield_now().await;
        if hall.book.asked.load(Ordering::SeqCst) == LOOK_UPS_MAX {
            break;
        }
    }
    (0..300).for_each(|_| hall.commit(&record));
    pause.go.add_permits(1);
    assert!(matches!(refusal(request.await.unwrap()), Refusal::Trouble(_)));
    assert_eq!(hall.asked(), LOOK_UPS_MAX);
}

#[tokio::test]
async fn look_ups_of_different_keys_do_not_wait_for_each_other() {
    let hall = Arc::new(Hall::new());
    let pause = hall.pause();
    let keys: Vec<_> = (0..20).map(|_| Arc::new(hall.key().1)).collect();
    let mut requests = Vec::new();
    for key in &keys {
        requests.push(start(&hall, key).await);
    }
    for _ in 0..20 {
        pause.arrival().await;
    }
    pause.go.add_permits(20);
    for request in requests {
        assert!(request.await.unwrap().is_ok());
    }
    assert_eq!(hall.asked(), 20);
}
