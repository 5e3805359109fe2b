//! Sockets, locks, backups and restores, through the command line.

use super::*;

#[test]
fn a_stale_socket_is_no_obstacle() {
    let house = House::with_ana();
    drop(UnixListener::bind(house.data().join(SOCKET)).unwrap());
    house.key("app");
}

#[test]
fn a_socket_path_may_be_longer_than_an_address_holds() {
    let mut house = House::new();
    let deep = house.folder.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    house.folder = tempfile::tempdir_in(&deep).unwrap();
    house.ok(&["account", "create", "ana@example.com", "--admin"]);
    house.key("app");
    let short = tempfile::tempdir().unwrap().path().join("s");
    std::fs::create_dir_all(short.parent().unwrap()).unwrap();
    // Bound under a short name and moved: a socket keeps working under its new one.
    let path = house.data().join(SOCKET);
    let listener = UnixListener::bind(&short).unwrap();
    std::fs::rename(&short, &path).unwrap();
    assert!(crate::cli::socket::connect(&house.data()).unwrap().is_some());
    drop(listener);
    assert!(crate::cli::socket::connect(&house.data()).unwrap().is_none());
}

#[test]
fn a_store_that_stays_locked_is_told_and_not_waited_for_for_ever() {
    let house = House::with_ana();
    let held = house.open(&house.data(), false, &crate::registry::Rules::default()).ok().unwrap();
    let settings = crate::cli::settings::Settings {
        data: house.data(),
        rotation_grace: std::time::Duration::from_secs(1),
        rules: crate::registry::Rules::default(),
        base_url: String::new(),
        prices: crate::types::Prices::default(),
    };
    let desk = crate::cli::Desk::new(&house, settings, 0).impatient();
    let error = desk.ask(&crate::admin::Command::Status).err().unwrap();
    assert!(error.exit == Exit::Unreachable && error.message.contains("another process"), "{error}");
    drop(held);
    assert!(desk.ask(&crate::admin::Command::Status).is_ok());
}

#[test]
fn a_command_waits_for_a_server_that_is_starting() {
    let house = House::with_ana();
    let held = house.open(&house.data(), false, &crate::registry::Rules::default()).ok().unwrap();
    let before = house.asked.load(Ordering::SeqCst);
    let list = std::thread::scope(|threads| {
        let asking = threads.spawn(|| house.run(&["account", "list", "-o", "plain"]));
        while house.asked.load(Ordering::SeqCst) < before + 2 {
            std::thread::yield_now();
        }
        drop(held);
        asking.join().unwrap()
    });
    assert!(list.code == 0 && list.out.contains("ana@example.com"), "{}", list.err);
}

#[test]
fn a_backup_is_private_whole_and_never_replaces_a_file() {
    let house = House::with_ana();
    let key = house.key("app");
    let end = house.run(&["backup", "b.redb"]);
    assert!(end.code == 0 && end.err.contains("verified"), "{}", end.err);
    assert_eq!(std::fs::metadata(house.file("b.redb")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(crate::store::verify(&house.file("b.redb")).is_ok());
    let bytes = std::fs::read(house.file("b.redb")).unwrap();
    assert!(!bytes.windows(key.len()).any(|window| window == key.as_bytes()));
    assert_eq!(house.run(&["backup", "b.redb"]).code, 7);
    let left: Vec<_> =
        std::fs::read_dir(house.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the data directory and the backup: {left:?}");
}

#[test]
fn a_restore_brings_back_what_was_there_but_no_revoked_key() {
    let house = House::with_ana();
    let (kept, revoked) = (house.key("kept"), house.key("revoked"));
    house.ok(&["backup", "b.redb"]);
    house.ok(&["key", "revoke", "revoked"]);
    house.ok(&["key", "update", "kept", "--name", "renamed"]);
    let later = house.key("later");
    let end = house.run(&["restore", "b.redb"]);
    assert!(
        end.code == 0 && end.err.contains("Key revoked") && end.err.contains("stays: revoked"),
        "{}",
        end.err
    );
    assert_eq!((house.verify(&kept), house.verify(&revoked), house.verify(&later)), (0, 4, 6));
    assert!(house.ok(&["key", "list"]).contains("kept"), "the name of then");
    let mut names: Vec<_> = std::fs::read_dir(house.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "ballast")
        .collect();
    names.sort();
    assert!(names.len() == 2 && names[1].starts_with("ember.redb.before-restore-2026"), "{names:?}");
    assert!(crate::store::verify(&house.data().join(&names[1])).is_ok(), "what was there is kept whole");
}

#[test]
fn a_restore_over_a_store_that_can_not_be_read_needs_a_yes() {
    let house = House::with_ana();
    let key = house.key("app");
    house.ok(&["backup", "b.redb"]);
    let path = house.data().join("ember.redb");
    std::fs::File::options().write(true).open(&path).unwrap().write_all(&[0; 4096]).unwrap();
    let end = house.run(&["restore", "b.redb"]);
    assert!(end.code == 7 && end.err.contains("would work again") && end.err.contains("-y"), "{}", end.err);
    assert_eq!(house.run(&["restore", "b.redb", "-y"]).code, 0);
    assert_eq!(house.verify(&key), 0);
}

#[test]
fn a_restore_into_nothing_makes_the_store() {
    let house = House::with_ana();
    let key = house.key("app");
    house.ok(&["backup", "b.redb"]);
    std::fs::remove_dir_all(house.data()).unwrap();
    house.ok(&["restore", "b.redb"]);
    assert_eq!(std::fs::metadata(house.data()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(house.verify(&key), 0);
    std::fs::write(house.file("junk"), b"junk").unwrap();
    assert_eq!(house.run(&["restore", "junk"]).code, 1);
    assert_eq!(house.verify(&key), 0);
}
