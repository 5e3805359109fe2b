//! Denials before they are on disk, and what runs on a key when it is cut.

use super::*;

fn running(hall: &Hall, key: &Key) -> Running {
    Running::new(hall.identify(key).unwrap_or_else(|refusal| panic!("{refusal:?}")))
}

#[test]
fn what_runs_is_cut_by_a_denial_or_a_commit_and_by_nothing_less() {
    type Deed = fn(&Hall, &KeyRecord);
    let deeds: [(&str, Deed, Option<Cut>); 12] = [
        ("nothing", |_, _| {}, None),
        ("a new name", |hall, key| hall.commit(&renamed(key)), None),
        ("fewer models", |hall, key| hall.commit(&only(key, &["x"])), None),
        ("expiry", |hall, key| hall.commit(&KeyRecord { expires_at: Some(NOW), ..key.clone() }), None),
        (
            "the end of a grace",
            |hall, key| {
                let mut key = key.clone();
                key.secrets[0].valid_until = Some(NOW);
                hall.commit(&key);
            },
            None,
        ),
        ("an active account", |hall, key| hall.commit_account(key.account, AccountStatus::Active), None),
        ("revoked", |hall, key| hall.commit(&revoked(key)), Some(Cut::Revoked)),
        ("disabled", |hall, key| hall.commit(&disabled(key)), Some(Cut::Disabled)),
        (
            "account off",
            |hall, key| hall.commit_account(key.account, AccountStatus::Disabled),
            Some(Cut::AccountDisabled),
        ),
        ("denied", |hall, key| hall.gate.deny(revocation(key)), Some(Cut::Revoked)),
        (
            "denied by account",
            |hall, key| {
                hall.gate.deny(denial(DenialTarget::Account(key.account), DenialReason::AccountDisabled));
            },
            Some(Cut::AccountDisabled),
        ),
        (
            "denied by secret",
            |hall, key| {
                hall.gate.deny(denial(DenialTarget::Secret(key.secrets[0].digest), DenialReason::Replaced));
            },
            Some(Cut::Replaced),
        ),
    ];
    for (name, deed, expected) in deeds {
        let hall = Hall::new();
        let ((record, key), (_, other)) = (hall.key(), hall.key());
        let (mut here, mut bystander) = (running(&hall, &key), running(&hall, &other));
        let quiet = hall.identify(&key).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        deed(&hall, &record);
        assert_eq!(here.heard(), expected, "{name}");
        assert_eq!(Running::new(quiet).heard(), expected, "{name}: one who listens only now");
        assert_eq!(bystander.heard(), None, "{name}");
    }
}

#[tokio::test]
async fn one_who_waits_for_the_cut_is_woken() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let waiting = tokio::spawn(running(&hall, &key).signal);
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    hall.gate.deny(revocation(&record));
    assert_eq!(waiting.await.unwrap(), Cut::Revoked);
}

#[test]
fn a_rotation_at_once_cuts_the_old_secret_alone() {
    let hall = Hall::new();
    let (record, old) = hall.key();
    let new = Key::generate(Environment::Prod, &hall.dice).unwrap();
    let third = Key::generate(Environment::Prod, &hall.dice).unwrap();
    let secrets = vec![secret(&new, None), secret(&old, Some(SOON))];
    hall.commit(&KeyRecord { secrets, ..record.clone() });
    let (mut on_old, mut on_new) = (running(&hall, &old), running(&hall, &new));
    let drop_old = denial(DenialTarget::Secret(old.digest()), DenialReason::Replaced);
    hall.gate.deny(drop_old);
    assert_eq!((on_old.heard(), on_new.heard()), (Some(Cut::Replaced), None));
    assert!(hall.identify(&new).is_ok());
    hall.commit(&KeyRecord { secrets: vec![secret(&new, None)], ..record.clone() });
    hall.gate.lift(drop_old);
    assert_eq!((refusal(hall.identify(&old)), on_new.heard()), (Refusal::Cut(Cut::Replaced), None));
    hall.commit(&KeyRecord { secrets: vec![secret(&third, None)], ..record });
    assert_eq!(on_new.heard(), Some(Cut::Replaced), "also without a denial");
    assert!(hall.identify(&third).is_ok());
}

#[test]
fn a_denial_holds_for_a_key_that_is_not_in_memory_yet() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    for (target, because, cut) in [
        (DenialTarget::Key(record.id), DenialReason::Disabled, Cut::Disabled),
        (DenialTarget::Secret(key.digest()), DenialReason::Replaced, Cut::Replaced),
        (DenialTarget::Account(record.account), DenialReason::AccountDisabled, Cut::AccountDisabled),
    ] {
        let hall = Hall::new();
        hall.commit(&record);
        hall.gate.deny(denial(target, because));
        for _ in 0..2 {
            assert_eq!(refusal(hall.identify(&key)), Refusal::Cut(cut));
        }
        hall.commit(&renamed(&record));
        assert_eq!(refusal(hall.identify(&key)), Refusal::Cut(cut), "another commit lifts nothing");
        hall.gate.lift(denial(target, because));
        assert!(hall.identify(&key).is_ok());
        hall.gate.cache.checked_len();
    }
}

#[test]
fn a_lift_after_a_conflict_revives_the_key_but_not_what_was_cut() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let mut before = running(&hall, &key);
    hall.gate.deny(revocation(&record));
    hall.gate.lift(revocation(&record));
    let mut after = running(&hall, &key);
    assert_eq!((before.heard(), after.heard()), (Some(Cut::Revoked), None));
    hall.gate.deny(revocation(&record));
    assert_eq!(after.heard(), Some(Cut::Revoked));
}

#[test]
fn overlapping_denials_hold_until_the_last_is_lifted() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let revoke = revocation(&record);
    let disable = denial(DenialTarget::Key(record.id), DenialReason::Disabled);
    let stop = denial(DenialTarget::Account(record.account), DenialReason::AccountDisabled);
    let drop_secret = denial(DenialTarget::Secret(key.digest()), DenialReason::Replaced);
    for denials in
        [vec![revoke, revoke], vec![revoke, disable], vec![disable, revoke], vec![revoke, stop, drop_secret]]
    {
        assert!(hall.identify(&key).is_ok());
        denials.iter().for_each(|denial| hall.gate.deny(*denial));
        for denial in &denials {
            assert!(matches!(refusal(hall.identify(&key)), Refusal::Cut(_)), "{denials:?}");
            hall.gate.lift(*denial);
        }
        assert!(hall.identify(&key).is_ok(), "{denials:?}");
        hall.gate.cache.checked_len();
    }
}

#[test]
fn a_committed_denial_outlives_its_lift() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    assert!(hall.identify(&key).is_ok());
    hall.gate.deny(revocation(&record));
    hall.commit(&revoked(&record));
    hall.gate.lift(revocation(&record));
    assert_eq!(refusal(hall.identify(&key)), Refusal::Cut(Cut::Revoked));
}

#[test]
fn switched_on_again_a_key_is_good_for_new_callers_only() {
    let hall = Hall::new();
    let (record, key) = hall.key();
    let mut before = running(&hall, &key);
    hall.commit(&disabled(&record));
    assert_eq!(refusal(hall.identify(&key)), Refusal::Cut(Cut::Disabled));
    hall.commit(&record);
    let mut after = running(&hall, &key);
    assert_eq!((before.heard(), after.heard()), (Some(Cut::Disabled), None));
    assert_eq!(
        refusal(at_once(hall.gate.admit(before.caller, asking("m"), NOW))),
        Refusal::Cut(Cut::Disabled)
    );
    assert!(at_once(hall.gate.admit(after.caller, asking("m"), NOW)).is_ok());
}
