//! Law 5 for people: what is wrong with the store is never a wrong password, a bad link or an ended session.

use super::super::session::person;
use super::*;

/// Someone of every kind, and every ticket there is.
struct Cast {
    house: House,
    ana: Account,
    signed: SignedIn,
    reset: Reset,
    invite: crate::types::Invite,
    link: Ticket,
    token: Ticket,
}

impl Cast {
    fn new() -> Self {
        let house = House::with_sign_up(SignUp::Open { domains: Vec::new() });
        let ana = house.person(ANA, Role::Admin);
        let signed = house.session_of(&ana);
        let reset = house.registry.issue_reset(ROOT, ANA).unwrap();
        let new = NewInvite { email: "bo@example.com".parse().unwrap(), role: Role::Member, lifetime: DAY };
        let (invite, link) = house.registry.create_invite(ROOT, &new).unwrap();
        let (_, token) = house
            .registry
            .create_token(ROOT, &NewToken { name: "ci".parse().unwrap(), expires_at: None })
            .unwrap();
        Self { house, ana, signed, reset, invite, link, token }
    }

    fn newcomer(&self) -> Newcomer {
        Newcomer { name: None, password: secret(PASSWORD), place: place(HOME) }
    }

    /// Everything that only reads.
    fn looks(&self) -> Vec<(&'static str, Result<(), RegistryError>)> {
        let registry = &self.house.registry;
        vec![
            ("session", registry.session(&self.signed.ticket).map(drop)),
            ("sessions", registry.sessions(ROOT, ANA).map(drop)),
            ("reset_account", registry.reset_account(&self.reset.ticket).map(drop)),
            ("invite", registry.invite(&self.link).map(drop)),
            ("invites", registry.invites(ROOT).map(drop)),
            ("token_actor", registry.token_actor(&self.token).map(drop)),
            ("tokens", registry.tokens(ROOT).map(drop)),
            ("events", registry.events(ROOT, &AuditFilter::default(), None, 1).map(drop)),
        ]
    }

    /// Everything that changes something.
    fn deeds(&self) -> Vec<(&'static str, Result<(), RegistryError>)> {
        let registry = &self.house.registry;
        let (old, new, home) = (secret(PASSWORD), secret("staple of batteries"), place(HOME));
        let invite =
            NewInvite { email: "cy@example.com".parse().unwrap(), role: Role::Member, lifetime: DAY };
        let token = NewToken { name: "cd".parse().unwrap(), expires_at: None };
        let renamed = AccountChanges { name: Some("Ana M".parse().ok()), ..AccountChanges::default() };
        vec![
            ("sign_in", registry.sign_in(ANA, &old, &home).map(drop)),
            ("end_session", registry.end_session(ROOT, self.signed.session.id).map(drop)),
            ("set_password", registry.set_password(ROOT, ANA, &new, None).map(drop)),
            ("own password", registry.set_password(person(&self.ana), ANA, &new, Some(&old)).map(drop)),
            ("change_password", registry.change_password(&self.signed.session, &old, &new, &home).map(drop)),
            ("issue_reset", registry.issue_reset(ROOT, ANA).map(drop)),
            ("redeem_reset", registry.redeem_reset(&self.reset.ticket, &new, &home).map(drop)),
            ("create_invite", registry.create_invite(ROOT, &invite).map(drop)),
            ("revoke_invite", registry.revoke_invite(ROOT, self.invite.id).map(drop)),
            ("accept_invite", registry.accept_invite(&self.link, &self.newcomer()).map(drop)),
            ("sign_up", registry.sign_up(&"dee@example.com".parse().unwrap(), &self.newcomer())),
            ("create_token", registry.create_token(ROOT, &token).map(drop)),
            ("revoke_token", registry.revoke_token(ROOT, "ci").map(drop)),
            ("update_account", registry.update_account(ROOT, ANA, &renamed).map(drop)),
        ]
    }

    fn everything_still_works(&self) {
        assert!(self.house.is_signed_in(&self.signed.ticket));
        for (name, outcome) in self.looks() {
            assert_eq!(outcome, Ok(()), "{name}");
        }
        self.house.sign_in(ANA);
        assert_eq!(self.house.registry.account(ROOT, ANA).unwrap(), self.ana);
    }
}

#[test]
fn a_store_that_takes_nothing_is_told_as_such_and_nothing_is_changed() {
    for weather in [Weather::Broken, Weather::Full] {
        let cast = Cast::new();
        cast.house.store.turn(weather);
        for (name, outcome) in cast.deeds() {
            assert_eq!(problem(outcome), Problem::Unavailable, "{name}");
        }
        for (name, outcome) in cast.looks() {
            assert_eq!(outcome, Ok(()), "{name} only reads");
        }
        cast.house.store.turn(Weather::Fair);
        cast.everything_still_works();
    }
}

#[test]
fn a_store_that_others_keep_changing_is_a_conflict() {
    let cast = Cast::new();
    cast.house.store.turn(Weather::Crowded);
    for (name, outcome) in cast.deeds() {
        assert_eq!(problem(outcome), Problem::Conflict, "{name}");
    }
    cast.house.store.turn(Weather::Fair);
    cast.everything_still_works();
}

#[test]
fn a_store_that_can_not_be_read_is_told_as_such() {
    let cast = Cast::new();
    cast.house.store.unreadable.store(true, Ordering::SeqCst);
    for (name, outcome) in cast.looks().into_iter().chain(cast.deeds()) {
        assert_eq!(problem(outcome), Problem::Unavailable, "{name}");
    }
    cast.house.store.unreadable.store(false, Ordering::SeqCst);
    cast.everything_still_works();
}

#[test]
fn no_table_that_is_lost_makes_a_right_password_wrong() {
    let tables = [
        table::ACCOUNTS,
        table::EMAILS,
        table::PASSWORDS,
        table::EPOCHS,
        table::KNOWN_PLACES,
        table::SESSION_INDEX,
    ];
    for lost in tables {
        let house = House::new();
        house.person(ANA, Role::Member);
        let signed = house.sign_in(ANA);
        house.store.lose(Some(lost));
        for _ in 0..3 {
            let outcome = house.registry.sign_in(ANA, &secret(PASSWORD), &place(HOME));
            assert_eq!(problem(outcome), Problem::Unavailable, "{}", lost.0);
        }
        let seen = house.registry.session(&signed.ticket);
        assert!(matches!(seen, Ok(Some(_)) | Err(RegistryError::Store(_))), "{}", lost.0);
        house.store.lose(None);
        assert!(house.is_signed_in(&signed.ticket));
    }
}

#[test]
fn bug_a_row_that_is_damaged_is_neither_a_wrong_password_nor_a_dead_ticket() {
    let cast = Cast::new();
    let (house, id) = (&cast.house, cast.ana.id);
    let digest = |ticket: &Ticket| ticket.digest().as_bytes().to_vec();
    for (table, row, bytes) in [
        (table::PASSWORDS, id.as_bytes().to_vec(), &b"$argon2id$v=19$m=19456,t=2,p=1$AAAA"[..]),
        (table::PASSWORDS, id.as_bytes().to_vec(), b""),
        (
            table::PASSWORDS,
            id.as_bytes().to_vec(),
            b"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (table::PASSWORDS, id.as_bytes().to_vec(), b"\xff"),
        (
            table::PASSWORDS,
            id.as_bytes().to_vec(),
            b"$argon2id$v=19$m=1,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        (table::EPOCHS, id.as_bytes().to_vec(), b"1234567"),
        (table::EMAILS, ANA.as_bytes().to_vec(), b"x"),
        (table::EMAILS, ANA.as_bytes().to_vec(), &[9; 16]),
    ] {
        let before = house.store.get(table, &row).unwrap();
        house.store.put(table, &row, bytes);
        let outcome = house.registry.sign_in(ANA, &secret(PASSWORD), &place(HOME));
        assert_eq!(problem(outcome), Problem::Unavailable, "{} {bytes:?}", table.0);
        let write = match before {
            Some(value) => Write::Put { table, key: row, value },
            None => Write::Delete { table, key: row },
        };
        house.store.commit(Commit { writes: vec![write], ..Commit::default() }).unwrap();
    }
    for ticket in [&cast.signed.ticket, &cast.reset.ticket, &cast.link, &cast.token] {
        house.store.put(table::TICKETS, &digest(ticket), b"s");
    }
    let by_ticket = ["session", "reset_account", "invite", "token_actor"];
    for (name, outcome) in cast.looks().into_iter().filter(|(name, _)| by_ticket.contains(name)) {
        assert_eq!(problem(outcome), Problem::Unavailable, "{name}");
    }
}

#[test]
fn bug_whoever_is_denied_but_not_yet_on_disk_is_let_in_nowhere() {
    type Deed = fn(&Registry) -> Result<Account, RegistryError>;
    let deeds: [Deed; 2] =
        [|registry| registry.disable_account(ROOT, ANA), |registry| registry.delete_account(ROOT, ANA)];
    for deed in deeds {
        let cast = Cast::new();
        let registry = &cast.house.registry;
        let token = NewToken { name: "hers".parse().unwrap(), expires_at: None };
        let (_, hers) = registry.create_token(person(&cast.ana), &token).unwrap();
        let (old, new, home) = (secret(PASSWORD), secret("staple of batteries"), place(HOME));
        cast.house.store.turn(Weather::Broken);
        assert_eq!(problem(deed(registry)), Problem::NotDurable);
        // A disk that is well again before what is owed was written down.
        cast.house.store.turn(Weather::Fair);
        assert!(registry.session(&cast.signed.ticket).unwrap().is_none());
        assert_eq!(registry.token_actor(&hers).unwrap(), None);
        assert!(registry.token_actor(&cast.token).unwrap().is_some(), "the machine's own stands");
        assert_eq!(problem(registry.sign_in(ANA, &old, &home)), Problem::NotAllowed);
        assert_eq!(problem(registry.reset_account(&cast.reset.ticket)), Problem::NotFound);
        assert_eq!(problem(registry.redeem_reset(&cast.reset.ticket, &new, &home)), Problem::NotFound);
        assert_eq!(problem(registry.issue_reset(ROOT, ANA)), Problem::Conflict);
        let changed = registry.change_password(&cast.signed.session, &old, &new, &home);
        assert_eq!(problem(changed), Problem::Conflict);
        assert_eq!(registry.settle_denials(), 0);
        assert!(registry.session(&cast.signed.ticket).unwrap().is_none());
    }
}
