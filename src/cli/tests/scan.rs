//! What `ember scan` asks a person.

use super::*;

/// Ana's keys lie in a file, one in each line.
fn leaked(names: &[&str]) -> (House, Vec<String>) {
    let house = House::with_ana();
    let keys: Vec<_> = names.iter().map(|name| house.key(name)).collect();
    std::fs::write(house.file("leaked"), keys.join("\n")).unwrap();
    (house, keys)
}

#[test]
fn a_person_is_asked_for_each_live_key() {
    let (house, keys) = leaked(&["first", "second", "third", "gone"]);
    house.ok(&["key", "revoke", "gone"]);
    let end = house.run_so(&["scan", "leaked"], &Way { stdin: "n\nyes\n\n", ..TERMINAL });
    assert_eq!(end.code, 1, "{}", end.err);
    assert_eq!(end.err.matches("It can't be undone. [y/N]").count(), 3, "{}", end.err);
    assert!(end.err.contains("Key second (dev") && end.err.contains("is revoked for good"), "{}", end.err);
    assert_eq!(keys.iter().map(|key| house.verify(key)).collect::<Vec<_>>(), [0, 4, 0, 4]);
    assert!(!end.err.contains("To revoke"), "{}", end.err);
}

#[test]
fn nobody_is_asked_with_yes_or_revoke_or_without_a_terminal() {
    let (house, keys) = leaked(&["app"]);
    for (args, terminal) in [(&["-y", "scan", "leaked"][..], true), (&["scan", "leaked"], false)] {
        let end = house.run_so(args, &Way { stdin: "y\n", terminal, env: &[] });
        assert!(end.code == 1 && !end.err.contains("[y/N]"), "{}", end.err);
        assert!(end.err.contains("ember key revoke key_"), "{}", end.err);
        assert_eq!(house.verify(&keys[0]), 0, "-y alone revokes nothing");
    }
    let end = house.run_so(&["scan", "leaked", "--revoke"], &TERMINAL);
    assert!(end.code == 1 && !end.err.contains("[y/N]") && end.out.contains("revoked now"), "{}", end.err);
    assert_eq!(house.verify(&keys[0]), 4);
}

#[test]
fn the_store_is_not_asked_for_when_nothing_was_found() {
    let house = House::with_ana();
    std::fs::write(house.file("clean"), "nothing").unwrap();
    let before = house.asked.load(Ordering::SeqCst);
    let end = house.run(&["scan", "clean"]);
    assert_eq!((end.code, end.out.as_str()), (0, ""), "{}", end.err);
    assert_eq!(house.asked.load(Ordering::SeqCst), before);
}
