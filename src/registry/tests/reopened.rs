//! A real file: what was acknowledged is there after a kill, what was ended stays ended, no ticket is in it.

use std::path::Path;

use super::people::disguises;
use super::*;
use crate::store::{Birth, RedbStore, StoreOptions};

/// A registry on a file, with the clock and the dice of `house`.
fn on_disk(house: &House, path: &Path) -> Registry {
    let options = || StoreOptions { ballast_bytes: 0, ..StoreOptions::default() };
    let birth = Birth { created_at: START, store_id: *b"0123456789abcdef" };
    let store = match path.exists() {
        true => RedbStore::open(path, options()),
        false => RedbStore::create(path, birth, options()),
    };
    Registry::new(Arc::new(store.unwrap()), house.clock.clone(), house.dice.clone(), None)
        .with_rules(Rules { sign_up: SignUp::Invite, ..Rules::default() })
}

/// The file as a kill in this moment leaves it, opened again.
fn killed(house: &House, path: &Path, count: &mut u32) -> Registry {
    *count += 1;
    let copy = path.with_extension(format!("killed{count}"));
    std::fs::copy(path, &copy).unwrap();
    on_disk(house, &copy)
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let (house, folder) = (House::new(), tempfile::tempdir().unwrap());
    let (path, mut kills) = (folder.path().join("ember.redb"), 0);
    let registry = on_disk(&house, &path);
    let mut after_kill = || killed(&house, &path, &mut kills);
    let new = NewAccount { role: Role::Admin, password: Some(secret(PASSWORD)), ..new_account(ANA) };
    registry.create_account(ROOT, &new).unwrap();
    let signed = registry.sign_in(ANA, &secret(PASSWORD), &place(HOME)).unwrap();
    let kept = after_kill().session(&signed.ticket).unwrap();
    assert_eq!(kept, Some((signed.session.clone(), signed.account.clone())));
    let invite = NewInvite { email: "bo@example.com".parse().unwrap(), role: Role::Member, lifetime: DAY };
    let (invite, link) = registry.create_invite(ROOT, &invite).unwrap();
    let reset = registry.issue_reset(ROOT, ANA).unwrap();
    let token = NewToken { name: "ci".parse().unwrap(), expires_at: None };
    let (token, admin) = registry.create_token(ROOT, &token).unwrap();
    let again = after_kill();
    assert_eq!(again.invite(&link).unwrap(), invite);
    assert_eq!(again.reset_account(&reset.ticket).unwrap(), signed.account);
    assert_eq!(again.token_actor(&admin).unwrap(), Some(Actor::Token { token: token.id }));
    let newcomer = Newcomer { name: None, password: secret(PASSWORD), place: place(HOME) };
    let bo = registry.accept_invite(&link, &newcomer).unwrap();
    let next = registry.redeem_reset(&reset.ticket, &secret("staple of batteries"), &place(HOME)).unwrap();
    registry.revoke_token(ROOT, "ci").unwrap();
    registry.end_session(ROOT, bo.session.id).unwrap();
    let again = after_kill();
    assert!(again.invite(&link).is_err() && again.reset_account(&reset.ticket).is_err(), "used is used");
    assert_eq!(again.token_actor(&admin).unwrap(), None);
    assert!(again.session(&bo.ticket).unwrap().is_none() && again.session(&signed.ticket).unwrap().is_none());
    assert!(again.session(&next.ticket).unwrap().is_some());
    assert_eq!(problem(again.sign_in(ANA, &secret(PASSWORD), &place(HOME))), Problem::NotAllowed);
    again.sign_in(ANA, &secret("staple of batteries"), &place(HOME)).unwrap();
    let events =
        |registry: &Registry| registry.events(ROOT, &AuditFilter::default(), None, 100).unwrap().entries;
    assert_eq!(events(&after_kill()), events(&registry));
    let tickets = [signed.ticket, link, reset.ticket, admin, bo.ticket, next.ticket];
    drop((registry, again));
    no_ticket_is_in(folder.path(), &tickets);
}

fn no_ticket_is_in(folder: &Path, tickets: &[Ticket]) {
    let mut searched = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        searched += usize::from(holds(ANA));
        for ticket in tickets {
            let text = ticket.expose();
            for part in [text, &text[text.len() - 38..text.len() - 4]] {
                assert!(!disguises(part).iter().any(|text| holds(text)), "a ticket is in the file");
            }
        }
    }
    assert!(searched >= 4, "the search itself must find what is there");
}
