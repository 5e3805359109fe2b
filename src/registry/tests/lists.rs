//! Lists, page by page.

use super::*;
use crate::types::{AccountStatus, KeyId, KeyStatus};

/// Thirty keys of three accounts, every environment and every status among them.
fn full_house() -> (House, Vec<KeyRecord>) {
    let house = House::new();
    let emails = ["ana@example.com", "bo@example.com", "cy@example.com"];
    emails.iter().for_each(|email| drop(house.account(email)));
    let mut keys = Vec::new();
    for n in 0..30 {
        house.wait(Duration::from_millis(1));
        let new = NewKey {
            environment: Environment::ALL[n % 3],
            expires_at: (n % 5 == 0).then(|| START.after(MINUTE)),
            ..new_key(emails[n / 3 % 3], &format!("k{n}"))
        };
        keys.push(house.registry.create_key(ROOT, &new).unwrap().0);
    }
    for (n, key) in keys.iter_mut().enumerate() {
        let change = match n % 7 {
            1 => Registry::disable_key,
            2 => |registry: &Registry, actor, text: &str| registry.revoke_key(actor, text, None),
            _ => Registry::key,
        };
        *key = change(&house.registry, ROOT, &key.id.to_string()).unwrap();
    }
    house.wait(MINUTE);
    (house, keys)
}

fn paged(house: &House, actor: Actor, filter: &KeyFilter, limit: usize) -> Vec<KeyId> {
    let mut found = Vec::new();
    loop {
        let page = house.registry.keys(actor, filter, found.last().copied(), limit).unwrap();
        assert!(page.entries.len() <= limit);
        assert!(!page.has_more || page.entries.len() == limit, "a page before the last is full");
        found.extend(page.entries.iter().map(|key| key.id));
        if !page.has_more {
            return found;
        }
    }
}

#[test]
fn pages_of_any_size_give_each_key_of_a_filter_once() {
    let (house, keys) = full_house();
    let now = house.clock.now();
    let accounts = [None, Some("ana@example.com"), Some("BO@example.com")];
    let environments = [None, Some(Environment::Dev), Some(Environment::Prod)];
    let statuses: Vec<_> = [None].into_iter().chain(KeyStatus::ALL.map(Some)).collect();
    for account in accounts {
        let owner = account.map(|text| house.registry.account(ROOT, text).unwrap().id);
        for environment in environments {
            for status in &statuses {
                let filter = KeyFilter {
                    account: account.map(str::to_string),
                    environment,
                    status: *status,
                    search: None,
                    newest_first: false,
                };
                let fits = |key: &&KeyRecord| {
                    owner.is_none_or(|owner| owner == key.account)
                        && environment.is_none_or(|wanted| wanted == key.environment)
                        && status.is_none_or(|wanted| wanted == key.status(now))
                };
                let expected: Vec<_> = keys.iter().filter(fits).map(|key| key.id).collect();
                for limit in (1..=keys.len() + 1).chain([PAGE_MAX, usize::MAX]) {
                    assert_eq!(paged(&house, ROOT, &filter, limit), expected, "{filter:?}, {limit} a page");
                }
            }
        }
    }
}

#[test]
fn a_limit_of_nothing_gives_one_and_has_no_overflow() {
    let (house, keys) = full_house();
    let page = house.registry.keys(ROOT, &KeyFilter::default(), None, 0).unwrap();
    assert_eq!((page.entries, page.has_more), (vec![keys[0].clone()], true));
}

#[test]
fn lists_go_on_behind_a_whole_page_that_the_filter_left_out() {
    let house = House::new();
    for n in 0..PAGE_MAX + 5 {
        house.key("ana@example.com", &format!("k{n}"));
    }
    let last = house.registry.disable_key(ROOT, &format!("k{}", PAGE_MAX + 4)).unwrap();
    for account in [None, Some("ana@example.com".to_string())] {
        let filter =
            KeyFilter { account: account.clone(), status: Some(KeyStatus::Disabled), ..KeyFilter::default() };
        assert_eq!(paged(&house, ROOT, &filter, 1), [last.id]);
        let all = KeyFilter { account, ..KeyFilter::default() };
        let first = house.registry.keys(ROOT, &all, None, usize::MAX).unwrap();
        assert_eq!((first.entries.len(), first.has_more), (PAGE_MAX, true));
    }
}

#[test]
fn a_member_lists_his_own_keys() {
    let (house, keys) = full_house();
    let ana = house.member("ana@example.com");
    let own = KeyFilter { account: Some("ana@example.com".to_string()), ..KeyFilter::default() };
    let owner = house.registry.account(ROOT, "ana@example.com").unwrap().id;
    let expected: Vec<_> = keys.iter().filter(|key| key.account == owner).map(|key| key.id).collect();
    assert_eq!(paged(&house, ana, &own, 4), expected);
    assert_eq!(paged(&house, ana, &KeyFilter::default(), 4), expected, "and sees no others without asking");
}

#[test]
fn pages_of_any_size_give_each_account_that_is_there_once() {
    let house = House::new();
    let mut accounts = Vec::new();
    for n in 0..12 {
        house.wait(Duration::from_millis(1));
        accounts.push(house.account(&format!("a{n}@example.com")));
    }
    for n in [0, 5, 11] {
        house.registry.delete_account(ROOT, &format!("a{n}@example.com")).unwrap();
    }
    accounts[3] = house.registry.disable_account(ROOT, "a3@example.com").unwrap();
    assert_eq!(accounts[3].status, AccountStatus::Disabled);
    let deleted = [accounts[0].id, accounts[5].id, accounts[11].id];
    accounts.retain(|account| !deleted.contains(&account.id));
    for limit in (1..=13).chain([usize::MAX]) {
        let mut found: Vec<Account> = Vec::new();
        loop {
            let page = house.registry.accounts(ROOT, found.last().map(|last| last.id), limit).unwrap();
            found.extend(page.entries);
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found, accounts, "{limit} a page");
    }
}
