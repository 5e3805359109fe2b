//! Backups and restores: whole or not at all, and no right that was taken away comes back unsaid.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::desk::{NOBODY, as_nobody, is_root};
use crate::door;
use crate::ember::{Ember, Home};

fn home() -> Home {
    let home = Home::new("[models]\necho = true\n[log]\naccess = false\n");
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    home
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn ids(home: &Home) -> Vec<String> {
    let json: Value = serde_json::from_str(&home.ok(&["key", "list", "-o", "json"])).unwrap();
    json["data"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_string()).collect()
}

fn status(server: &Ember, key: &str) -> String {
    let answer = server.get("/v1/models", Some(key));
    if answer.status == 200 { "ok".to_string() } else { answer.code() }
}

#[test]
fn a_backup_is_whole_private_and_never_replaces_a_file() {
    for running in [false, true] {
        let home = home();
        let server = running.then(|| home.serve());
        let keys: Vec<_> = (0..5).map(|number| home.key(&format!("app-{number}"))).collect();
        let output = home.run(&["backup", "copy.redb"]);
        assert_eq!((exit(&output), output.stdout.len()), (0, 0), "{}", stderr(&output));
        let copy = home.file("copy.redb");
        assert_eq!(copy.metadata().unwrap().mode() & 0o777, 0o600);
        let before = fs::read(&copy).unwrap();
        assert_eq!(exit(&home.run(&["backup", "copy.redb"])), 7);
        assert!(fs::read(&copy).unwrap() == before);
        assert_eq!(exit(&home.run(&["backup", "no/such/place.redb"])), 1);
        let beside = fs::read_dir(home.folder.path()).unwrap().count();
        assert_eq!(beside, 3, "ember.toml, data and the copy, and no draft");
        drop(server);
        let other = Home::new("[models]\necho = true\n");
        other.ok(&["restore", copy.to_str().unwrap()]);
        assert_eq!(other.data().metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(other.data().join("ember.redb").metadata().unwrap().mode() & 0o777, 0o600);
        assert!(!other.data().join("restore.tmp").exists());
        let server = other.serve();
        assert!(keys.iter().all(|key| status(&server, key) == "ok"));
    }
}

#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    let home = home();
    let server = home.serve();
    let stopped = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (until, stop) = stopped;
        let home = &home;
        scope.spawn(move || {
            for number in 0.. {
                door::create(home, &format!("busy-{number}")).unwrap();
                if stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                    return;
                }
            }
        });
        for round in 0..3 {
            let (before, name) = (ids(home), format!("copy-{round}.redb"));
            home.ok(&["backup", &name]);
            let other = Home::new("");
            other.ok(&["restore", home.file(&name).to_str().unwrap()]);
            let there = ids(&other);
            assert!(before.iter().all(|id| there.contains(id)), "round {round}");
        }
        // Dropped, by a panic too, it ends the other thread.
        drop(until);
    });
    drop(server);
}

#[test]
fn what_was_taken_away_since_stays_away_and_is_named() {
    let home = home();
    home.ok(&["account", "create", "bob@example.com"]);
    home.ok(&["account", "create", "carl@example.com"]);
    let of = |account: &str, name: &str| home.ok(&["key", "create", "--account", account, "--name", name]);
    let revoked = home.key("revoked");
    let (disabled, rotated) = (home.key("disabled"), home.key("rotated"));
    let (kept, gone, off) =
        (home.key("kept"), of("bob@example.com", "bobs"), of("carl@example.com", "carls"));
    home.ok(&["backup", "copy.redb"]);
    home.ok(&["key", "revoke", "revoked", "--reason", "leaked"]);
    home.ok(&["key", "disable", "disabled"]);
    home.ok(&["key", "update", "kept", "--expires", "2099-01-01"]);
    let fresh = home.ok(&["key", "rotate", "rotated", "--now"]);
    home.ok(&["account", "delete", "bob@example.com", "-y"]);
    home.ok(&["account", "disable", "carl@example.com"]);
    let late = home.key("late");
    let output = home.run(&["restore", "copy.redb"]);
    let told = stderr(&output);
    assert_eq!(exit(&output), 0, "{told}");
    for words in [
        "Key revoked (dev, key_",
        "Key disabled (dev, key_",
        "Key rotated (dev, key_",
        "Account bob@example.com stays deleted",
        "Account carl@example.com stays disabled",
        "ember.redb.before-restore-",
    ] {
        assert!(told.contains(words), "{words:?} is not in\n{told}");
    }
    let server = home.serve();
    let statuses = [&revoked, &disabled, &rotated, &fresh, &gone, &off, &kept, &late];
    assert_eq!(
        statuses.map(|key| status(&server, key)),
        [
            "api_key_revoked",
            "api_key_disabled",
            "api_key_revoked",
            "invalid_api_key",
            "api_key_revoked",
            "api_key_disabled",
            "ok",
            "invalid_api_key"
        ]
    );
    let shown: Value = serde_json::from_str(&home.ok(&["key", "show", "kept", "-o", "json"])).unwrap();
    assert_eq!(shown["expires_at"], "2099-01-01T23:59:59.999Z");
    let shown: Value = serde_json::from_str(&home.ok(&["key", "show", "revoked", "-o", "json"])).unwrap();
    assert_eq!(shown["revoked_reason"], "leaked");
}

#[test]
fn a_restore_under_a_running_server_is_refused() {
    let home = home();
    let key = home.key("app");
    home.ok(&["backup", "copy.redb"]);
    let server = home.serve();
    home.key("later");
    let output = home.run(&["restore", "copy.redb"]);
    assert_eq!(exit(&output), 7, "{}", stderr(&output));
    assert!(stderr(&output).contains("stop it"), "{}", stderr(&output));
    assert_eq!((status(&server, &key).as_str(), ids(&home).len()), ("ok", 2));
    assert!(!home.data().join("restore.tmp").exists());
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let home = home();
    home.key("app");
    home.ok(&["backup", "copy.redb"]);
    home.key("later");
    let whole = fs::read(home.file("copy.redb")).unwrap();
    let before = fs::read(home.data().join("ember.redb")).unwrap();
    let mut flipped = whole.clone();
    let name = whole.windows(15).position(|window| window == b"ana@example.com").unwrap();
    flipped[name] ^= 1;
    let mut codes = Vec::new();
    for bytes in
        [Vec::new(), b"a text".to_vec(), whole[..4096].to_vec(), whole[..whole.len() / 2].to_vec(), flipped]
    {
        fs::write(home.file("bad.redb"), &bytes).unwrap();
        let output = home.run(&["restore", "bad.redb", "-y"]);
        let error = stderr(&output);
        codes.push(exit(&output));
        assert!(error.contains("bad.redb") && error.contains("nothing was changed"), "{error}");
        assert!(!error.contains("panicked"), "{error}");
        assert!(fs::read(home.data().join("ember.redb")).unwrap() == before);
        assert!(fs::read(home.file("bad.redb")).unwrap() == bytes, "the backup was changed");
        assert!(!home.data().join("restore.tmp").exists());
    }
    assert_eq!(codes, [1; 5]);
    assert_eq!(exit(&home.run(&["restore", "absent.redb"])), 6);
    let empty = Home::new("");
    fs::write(empty.file("bad.redb"), "a text").unwrap();
    assert_eq!(exit(&empty.run(&["restore", "bad.redb"])), 1);
    assert!(!empty.data().exists(), "a failed restore leaves no directory");
}

#[test]
fn over_a_store_that_cannot_be_read_a_restore_needs_a_yes() {
    let home = home();
    let key = home.key("app");
    home.ok(&["backup", "copy.redb"]);
    fs::write(home.data().join("ember.redb"), "not a store any more").unwrap();
    let asked = home.run(&["restore", "copy.redb"]);
    assert_eq!(exit(&asked), 7);
    assert!(stderr(&asked).contains("-y"), "{}", stderr(&asked));
    assert_eq!(fs::read(home.data().join("ember.redb")).unwrap(), b"not a store any more");
    let done = home.run(&["restore", "copy.redb", "-y"]);
    assert_eq!(exit(&done), 0, "{}", stderr(&done));
    assert!(stderr(&done).contains("would work again"), "{}", stderr(&done));
    assert_eq!(status(&home.serve(), &key), "ok");
}

/// Law 4: killed at any moment, a restore leaves the old store or the new one, and what was revoked stays revoked.
#[test]
fn a_restore_that_was_killed_leaves_the_old_store_or_the_new_one() {
    let home = home();
    let revoked = home.key("revoked");
    home.ok(&["backup", "copy.redb"]);
    home.ok(&["key", "revoke", "revoked"]);
    home.key("later");
    let old = fs::read(home.data().join("ember.redb")).unwrap();
    let began = Instant::now();
    home.ok(&["restore", "copy.redb"]);
    let mut longest = began.elapsed() + Duration::from_millis(5);
    let mut seen = [0, 0];
    let mut round = 0u32;
    // Where the machine is slower now than it was, the last moments are tried again, later.
    while round < 40 || (seen.contains(&0) && round < 400) {
        longest += longest * (round / 40) / 20;
        fs::write(home.data().join("ember.redb"), &old).unwrap();
        let mut child = home
            .command(&["restore", "copy.redb"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(longest * (round % 40) / 40);
        child.kill().unwrap();
        child.wait().unwrap();
        let count = ids(&home).len();
        assert!((1..=2).contains(&count), "round {round}: {count} keys");
        seen[2 - count] += 1;
        let verdict = home.run_with(&["key", "verify"], &revoked);
        assert_eq!(exit(&verdict), 4, "round {round}: it came back");
        round += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "always the same end: {seen:?}");
    for _ in 0..2 {
        home.ok(&["restore", "copy.redb"]);
    }
    assert!(!home.data().join("restore.tmp").exists());
}

/// Backups lie on media that are not written to.
#[test]
fn a_backup_that_may_only_be_read_can_be_restored() {
    let home = home();
    let key = home.key("app");
    home.ok(&["backup", "copy.redb"]);
    let copy = home.file("copy.redb");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
    let other = Home::new("");
    let args = ["restore", copy.to_str().unwrap()];
    let output = if is_root() {
        fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(other.data()).unwrap();
        fs::set_permissions(other.data(), fs::Permissions::from_mode(0o700)).unwrap();
        for path in [&copy, &other.data()] {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        as_nobody(&other, &args).output().unwrap()
    } else {
        other.run(&args)
    };
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert_eq!(exit(&other.run_with(&["key", "verify"], &key)), 0);
}
