//! What is served, what was done, what was used and which keys there are, through the command line.

use super::*;
use crate::registry::{NewAccount, PAGE_MAX};
use crate::types::{Actor, Role};

#[test]
fn the_models_need_a_running_server() {
    let house = House::with_ana();
    let end = house.run(&["model", "list"]);
    assert!(
        end.code == 5 && end.err.contains("no server runs") && end.err.contains("ember up"),
        "{}",
        end.err
    );
    let _registry = house.serve();
    let end = house.run(&["model", "list"]);
    assert!(
        end.code == 0 && end.out.starts_with("MODEL") && end.out.contains("gpu-1 (up), gpu-2 (down)"),
        "{}",
        end.out
    );
    assert!(house.ok(&["model", "list", "-o", "json"]).contains("\"llama3\""));
}

#[test]
fn the_trail_begins_with_the_newest_and_is_cut_where_it_was_asked() {
    let house = House::with_ana();
    house.key("one");
    house.key("two");
    house.ok(&["key", "revoke", "one", "--reason", "lost"]);
    let words = |args: &[&str]| -> Vec<String> {
        let out = house.ok(&[&["audit", "-o", "plain"], args].concat());
        out.lines().map(|line| line.split('\t').nth(1).unwrap().to_string()).collect()
    };
    assert_eq!(words(&[]), ["key.revoked", "key.created", "key.created", "account.created"]);
    assert_eq!(words(&["--action", "key.created"]), ["key.created", "key.created"]);
    assert_eq!(words(&["--action", "key"]), ["key.revoked", "key.created", "key.created"]);
    assert_eq!(words(&["--search", "LOST"]), ["key.revoked"]);
    let end = house.run(&["audit", "--limit", "3"]);
    assert!(end.out.lines().count() == 4 && end.err.contains("earlier events"), "{}{}", end.out, end.err);
    assert!(end.out.contains("on the machine") && end.out.contains(" UTC"), "{}", end.out);
    assert!(house.ok(&["audit", "--limit", "3", "-o", "json"]).contains("\"has_more\": true"));
    assert!(house.run(&["audit", "--limit", "4"]).err.is_empty());
    assert!(house.run(&["audit", "--search", "nobody at all"]).err.contains("There are none"));
    let end = house.run(&["audit", "--action", "key.sold"]);
    assert!(end.code == 2 && end.err.contains("key.created"), "{}", end.err);
    for limit in ["0", "100001", "-1"] {
        assert_eq!(house.run(&["audit", "--limit", limit]).code, 2, "{limit}");
    }
}

#[test]
fn a_trail_of_several_pages_is_whole() {
    let house = House::with_ana();
    let registry = house.serve();
    // Commits that wait together share a write to the disk.
    std::thread::scope(|threads| {
        for thread in 0..16 {
            let registry = &registry;
            threads.spawn(move || {
                for number in (thread..PAGE_MAX).step_by(16) {
                    let email = format!("p{number}@example.com").parse().unwrap();
                    let new = NewAccount { email, name: None, role: Role::Member, password: None };
                    assert!(registry.create_account(Actor::Machine { uid: 0 }, &new).is_ok());
                }
            });
        }
    });
    let all = house.ok(&["audit", "--limit", "5000", "-o", "plain"]);
    let lines: Vec<_> = all.lines().collect();
    assert!(lines.len() == PAGE_MAX + 1 && lines[PAGE_MAX].contains("ana@example.com"), "{}", lines.len());
    assert_eq!(lines.iter().collect::<std::collections::BTreeSet<_>>().len(), PAGE_MAX + 1);
}

#[test]
fn use_is_told_of_everyone_or_of_one_account() {
    let house = House::with_ana();
    assert!(house.ok(&["usage"]).starts_with("SINCE"));
    let json: serde_json::Value =
        serde_json::from_str(&house.ok(&["usage", "--account", "ana@example.com", "-o", "json"])).unwrap();
    assert_eq!((json["object"].as_str(), json["week"]["requests"].as_u64()), (Some("usage"), Some(0)));
    assert_eq!(house.run(&["usage", "--account", "eve@example.com"]).code, 6);
}

#[test]
fn keys_are_searched_and_say_when_they_were_used() {
    let house = House::with_ana();
    house.key("search-app");
    let other = house.key("other");
    let found = |text: &str| house.ok(&["key", "list", "--search", text, "-o", "plain"]);
    assert!(found("SEARCH").starts_with("search-app\t") && found("SEARCH").lines().count() == 1);
    assert!(found(&other[other.len() - 4..]).starts_with("other\t"));
    assert_eq!(found("nothing"), "");
    let list = house.ok(&["key", "list"]);
    assert!(list.lines().next().unwrap().contains("EXPIRES  LAST USED  CREATED"), "{list}");
    assert!(house.ok(&["key", "show", "other"]).contains("Last used    never"));
}
