//! Proof 2 through the front door: disks that are full or read-only, and things in the store's place that are no store.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::desk::{NOBODY, as_nobody, is_root};
use crate::doctor::{SmallDisk, from_the_future, with_mode};
use crate::door;
use crate::ember::{Ember, Home, PATIENCE, eventually};
use crate::proof;

const CREATE: [&str; 6] = ["key", "create", "--account", "ana@example.com", "--name", "late"];

/// What is tried against each thing; none of it may change anything.
const COMMANDS: [&[&str]; 6] = [
    &["serve"],
    &["up"],
    &["account", "create", "bob@example.com", "--admin"],
    &CREATE,
    &["key", "list"],
    &["backup", "copy.redb"],
];

/// Fills a disk to its last byte.
fn fill(file: &Path) {
    use std::io::Write as _;
    let mut filler = fs::File::options().create(true).append(true).open(file).unwrap();
    for part in [64 * 1024, 4096, 1] {
        while filler.write_all(&vec![b'x'; part]).is_ok() {}
    }
}

/// Creates keys until the disk takes no more: the file has some room inside, which is used up first.
fn until_full(home: &Home) -> String {
    for _ in 0..2000 {
        let output = home.run(&CREATE);
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(5));
            assert!(output.stdout.is_empty());
            return String::from_utf8(output.stderr).unwrap();
        }
        fill(&home.data().join("filler"));
    }
    panic!("the disk takes more and more");
}

fn is_refused(server: &Ember, key: &str) -> bool {
    server.get("/v1/models", Some(key)).code() == "api_key_revoked"
}

/// Laws 3, 4 and 5.
#[test]
fn on_a_full_disk_rights_are_taken_away_and_keys_that_stand_pass() {
    let home = Home::new("[models]\necho = true\n[log]\naccess = false\n");
    fs::create_dir(home.data()).unwrap();
    let Some(_disk) = SmallDisk::at(&home.data(), "size=24m,mode=700") else { return };
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let mut server = home.serve();
    let good = home.key("good");
    let keys: Vec<_> = (0..100).map(|n| door::create(&home, &format!("app-{n}")).unwrap()).collect();
    fill(&home.data().join("filler"));
    let said = until_full(&home);
    assert!(said.contains("the disk is full") && said.contains("free some space"), "{said}");
    for (part, keys) in keys.chunks(50).enumerate() {
        for (id, key) in keys {
            assert!(door::revoke(&home, id));
            assert!(is_refused(&server, key));
            assert_eq!(server.get("/v1/models", Some(&good)).status, 200);
        }
        // Killed and started again while there is no space.
        if part == 0 {
            server.kill();
            server = home.serve();
            assert!(keys.iter().all(|(_, key)| is_refused(&server, key)));
        }
    }
    assert!(until_full(&home).contains("the disk is full"));
    fs::remove_file(home.data().join("filler")).unwrap();
    let mut made = 0;
    eventually("a key after there is space again", || {
        made += usize::from(home.run(&CREATE).status.success());
        made > 0
    });
    server.kill();
    let server = home.serve();
    let refused = keys.iter().filter(|(_, key)| is_refused(&server, key)).count();
    assert_eq!((refused, server.get("/v1/models", Some(&good)).status), (100, 200));
    proof::show("keys revoked on a full disk, refused at once and after a restart", refused, "100");
    proof::show("keys made without a restart when space came back", made, "1");
}

/// What stands at a path and in its folder, without following links.
type Facts = (u32, Option<PathBuf>, Option<Vec<u8>>, Vec<PathBuf>);

fn facts(thing: &Path) -> Facts {
    let there = thing.symlink_metadata().unwrap();
    let mut beside: Vec<_> =
        fs::read_dir(thing.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
    beside.sort();
    let bytes = there.is_file().then(|| fs::read(thing).unwrap());
    (there.mode(), fs::read_link(thing).ok(), bytes, beside)
}

/// What a command said that has to end by itself.
#[track_caller]
fn to_its_end(command: &mut Command, case: &str) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            let said = child.wait_with_output().unwrap();
            panic!("{case} goes on: {}", String::from_utf8_lossy(&said.stderr));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.wait_with_output().unwrap()
}

/// Every command is refused with this exit code and these words, and leaves everything as it is. How many it were.
#[track_caller]
fn refuses_all(home: &Home, thing: &Path, name: &str, exit: i32, words: &[&str], nobody: bool) -> usize {
    for args in COMMANDS {
        let before = facts(thing);
        let mut command = if nobody { as_nobody(home, args) } else { home.command(args) };
        let output = to_its_end(&mut command, &format!("{name}, {args:?}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{name}, {args:?}: {said}");
        assert!(words.iter().all(|words| said.contains(words)), "{name}, {args:?}: {said}");
        assert!(!said.contains("panicked"), "{name}, {args:?}: {said}");
        assert!(output.stdout.is_empty(), "{name}, {args:?}: {:?}", String::from_utf8_lossy(&output.stdout));
        assert!(facts(thing) == before, "{name}: {args:?} changed something");
    }
    COMMANDS.len()
}

type Put = fn(&Path, &[u8]);

/// What may lie where the store should, what is said of it, and how it comes there from the bytes of a good store.
const THINGS: [(&str, &str, Put); 14] = [
    ("empty", "it is empty", |path, _| fs::write(path, "").unwrap()),
    ("one byte", "another program wrote it", |path, _| fs::write(path, "r").unwrap()),
    ("text", "another program wrote it", |path, _| fs::write(path, "mine\n".repeat(2000)).unwrap()),
    ("zeros", "another program wrote it", |path, good| fs::write(path, vec![0; good.len()]).unwrap()),
    ("only the beginning", "is damaged", |path, good| fs::write(path, &good[..9]).unwrap()),
    ("one page", "is damaged", |path, good| fs::write(path, &good[..4096]).unwrap()),
    ("a third", "is damaged", |path, good| fs::write(path, &good[..good.len() / 3]).unwrap()),
    ("less a byte", "is damaged", |path, good| fs::write(path, &good[..good.len() - 1]).unwrap()),
    ("a flipped bit", "is damaged", |path, good| {
        let mut bytes = good.to_vec();
        let place = bytes.windows(15).rposition(|part| part == b"ana@example.com").unwrap();
        bytes[place] ^= 1;
        fs::write(path, bytes).unwrap();
    }),
    ("another redb", "is not an Ember store", |path, _| {
        let database = redb::Database::create(path).unwrap();
        database.begin_write().unwrap().commit().unwrap();
    }),
    ("a newer one", "use a later version", |path, good| {
        fs::write(path, good).unwrap();
        from_the_future(path);
    }),
    ("a link to a store", "it is not a regular file", |path, good| {
        let elsewhere = path.parent().unwrap().with_file_name("elsewhere");
        fs::write(&elsewhere, good).unwrap();
        symlink(elsewhere, path).unwrap();
    }),
    ("a link to nowhere", "it is not a regular file", |path, _| symlink("nowhere", path).unwrap()),
    ("a directory", "it is not a regular file", |path, _| fs::create_dir(path).unwrap()),
];

#[test]
fn what_lies_in_the_stores_place_is_never_overwritten_and_never_a_first_run() {
    let home = Home::with_echo();
    let store = home.data().join("ember.redb");
    let good = fs::read(&store).unwrap();
    let mut tried = 0;
    fs::remove_file(&store).unwrap();
    for (name, words, put) in THINGS {
        put(&store, &good);
        tried += refuses_all(&home, &store, name, 5, &["ember.redb", words], false);
        match store.symlink_metadata().unwrap().is_dir() {
            true => fs::remove_dir(&store).unwrap(),
            false => fs::remove_file(&store).unwrap(),
        }
    }
    let device = if is_root() { &["c", "1", "3"][..] } else { &["p"] };
    for kind in [&["p"][..], device] {
        assert!(Command::new("mknod").arg(&store).args(kind).status().unwrap().success());
        let made = store.symlink_metadata().unwrap().file_type();
        assert!(made.is_fifo() || made.is_char_device());
        tried += refuses_all(&home, &store, kind[0], 5, &["ember.redb", "it is not a regular file"], false);
        fs::remove_file(&store).unwrap();
    }
    let elsewhere = home.file("elsewhere");
    assert!(fs::read(&elsewhere).unwrap() == good, "what a link leads to was changed");
    proof::show("commands on what is no store of ours", tried, "any");
    proof::show_none("of those that changed a byte or began anew", tried);
    fs::write(&store, good).unwrap();
    with_mode(&store, 0o600);
    home.key("works-again");
}

#[test]
fn a_read_only_disk_is_said_and_left_alone() {
    let home = Home::new("[models]\necho = true\n");
    fs::create_dir(home.data()).unwrap();
    let Some(disk) = SmallDisk::at(&home.data(), "size=12m,mode=700") else { return };
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    let server = home.serve();
    let key = home.key("app");
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    assert!(server.stop().success());
    disk.mount_again("remount,ro");
    let words = ["ember.redb", "Read-only file system"];
    let tried = refuses_all(&home, &home.data().join("ember.redb"), "read-only", 5, &words, false);
    disk.mount_again("remount,rw");
    assert_eq!(home.serve().get("/v1/models", Some(&key)).status, 200);
    proof::show_none("commands on a read-only disk that changed a byte", tried);
}

/// Whose a file is and who may do what with it, as someone without rights meets it.
#[test]
fn a_store_that_is_not_ours_to_use_is_said_and_left_alone() {
    if !is_root() {
        return eprintln!("not tried: not root, nothing can be run as someone else");
    }
    let home = Home::with_echo();
    let (data, store) = (home.data(), home.data().join("ember.redb"));
    let mut tried = 0;
    for (name, directory, file, exit, words) in [
        ("root's directory", (0, 0o700), (0, 0o600), 4, "user 0"),
        ("an open directory of root's", (0, 0o777), (0, 0o666), 4, "user 0"),
        ("root's file", (NOBODY, 0o700), (0, 0o600), 4, "Permission denied"),
        ("a file that may not be read", (NOBODY, 0o700), (NOBODY, 0o000), 4, "Permission denied"),
        ("a file that may not be written", (NOBODY, 0o700), (NOBODY, 0o400), 4, "Permission denied"),
    ] {
        for (path, (uid, mode)) in [(&data, directory), (&store, file)] {
            chown(path, Some(uid), Some(uid)).unwrap();
            with_mode(path, mode);
        }
        tried += refuses_all(&home, &store, name, exit, &[words, "data"], true);
    }
    proof::show_none("commands on a store of another owner or mode that changed a byte", tried);
}

/// A server runs, and its socket may not be used: the command does not go around it.
#[test]
fn bug_a_socket_that_may_not_be_used_is_named() {
    if !is_root() {
        return eprintln!("not tried: not root, nothing can be run as someone else");
    }
    let home = Home::with_echo();
    for entry in fs::read_dir(home.data()).unwrap() {
        chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    chown(home.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    let server = Ember::start(as_nobody(&home, &["serve"]));
    let socket = home.data().join("ember.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    with_mode(&socket, 0o000);
    for args in [&CREATE[..], &["key", "list"], &["account", "create", "bob@example.com", "--admin"]] {
        let output = as_nobody(&home, args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("ember.sock forbid its use") && said.contains("chmod 600"), "{args:?}: {said}");
    }
    with_mode(&socket, 0o600);
    assert!(as_nobody(&home, &CREATE).status().unwrap().success());
    drop(server);
}
