//! `ember compact`: the file shrinks, nothing is lost, whoever has it open is left alone, and a kill does no harm.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use ember_gateway::store::{self, Commit, RedbStore, Store, StoreOptions, Table, Write};
use serde_json::Value;

use crate::doctor::SmallDisk;
use crate::ember::Home;

const KILLS: u32 = 20;

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// As old records of what was used leave it: `rows` were written, one of twenty is left.
fn leave_holes(data: &Path, rows: u32) {
    const OLD: Table = Table("old");
    let store = RedbStore::open(&data.join("ember.redb"), StoreOptions::default()).unwrap();
    let commit = |writes: Vec<Write>| store.commit(Commit { writes, ..Commit::default() }).unwrap();
    let key = |number: u32| number.to_be_bytes().to_vec();
    for first in (0..rows).step_by(10_000) {
        let put = |number| Write::Put { table: OLD, key: key(number), value: vec![number as u8; 400] };
        commit((first..rows.min(first + 10_000)).map(put).collect());
    }
    let gone = (0..rows).filter(|number| number % 20 != 0);
    commit(gone.map(|number| Write::Delete { table: OLD, key: key(number) }).collect());
}

fn home() -> (Home, String) {
    let home = Home::with_echo();
    let key = home.key("app");
    leave_holes(&home.data(), 60_000);
    (home, key)
}

#[test]
fn a_compacted_file_is_smaller_and_everything_is_still_there() {
    let (home, key) = home();
    let before = home.data().join("ember.redb").metadata().unwrap().len();
    let done: Value = serde_json::from_str(&home.ok(&["compact", "-o", "json"])).unwrap();
    assert_eq!(done["object"], "compaction");
    assert_eq!(done["bytes_before"], before);
    let after = home.data().join("ember.redb").metadata().unwrap();
    assert_eq!(done["bytes_after"], after.len());
    assert!(after.len() * 4 < before, "{before} -> {}", after.len());
    assert_eq!(after.mode() & 0o777, 0o600);
    let server = home.serve();
    assert_eq!(server.get("/v1/models", Some(&key)).status, 200);
    assert!(server.stop().success());
    home.ok(&["audit", "--verify"]);
    let output = home.run(&["compact"]);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(said.starts_with("Before  ") && said.contains("\nNow     "), "{said}");
    assert!(!stderr(&output).contains('\u{1b}'), "only a terminal sees how far it is: {}", stderr(&output));
    assert_eq!(home.ok(&["compact", "-o", "plain"]).split('\t').count(), 3);
}

#[test]
fn a_store_that_somebody_has_open_is_left_alone() {
    let home = Home::with_echo();
    let file = home.data().join("ember.redb");
    let server = home.serve();
    let refused = |output: &Output| {
        let said = stderr(output);
        assert_eq!(exit(output), 7, "{said}");
        assert!(said.contains("nothing was changed") && said.contains("stop the server"), "{said}");
    };
    refused(&home.run(&["compact"]));
    server.kill();
    let held = RedbStore::open(&file, StoreOptions::default()).unwrap();
    refused(&home.run(&["compact"]));
    drop(held);
    home.ok(&["compact"]);
    assert_eq!(exit(&Home::new("").run(&["compact"])), 6);
}

#[test]
fn a_damaged_file_is_not_compacted() {
    let (home, _) = home();
    let file = home.data().join("ember.redb");
    let mut bytes = fs::read(&file).unwrap();
    // Of a record that is still there, in every copy that old pages may have.
    let record = [20; 400];
    let places = bytes.windows(400).enumerate().filter(|(_, part)| *part == record);
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|place| bytes[place] ^= 1);
    fs::write(&file, &bytes).unwrap();
    let output = home.run(&["compact"]);
    assert_eq!(exit(&output), 5, "{}", stderr(&output));
    assert!(stderr(&output).contains("is damaged"), "{}", stderr(&output));
    assert!(fs::read(&file).unwrap() == bytes);
}

#[test]
fn a_full_disk_is_room_enough_to_make_room() {
    let home = Home::new("[models]\necho = true\n");
    fs::create_dir(home.data()).unwrap();
    let Some(_disk) = SmallDisk::at(&home.data(), "size=120m,mode=700") else { return };
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    leave_holes(&home.data(), 60_000);
    let file = home.data().join("ember.redb");
    let whole = store::verify(&file).unwrap();
    // Up to the last byte.
    let mut filler = fs::File::create(home.data().join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let before = file.metadata().unwrap().len();
    let output = home.run(&["compact"]);
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert!(file.metadata().unwrap().len() * 4 < before);
    assert_eq!(store::verify(&file).unwrap(), whole);
}

#[test]
fn a_kill_in_the_midst_of_it_loses_nothing() {
    let (home, key) = home();
    let file = home.data().join("ember.redb");
    let (whole, copy) = (store::verify(&file).unwrap(), fs::read(&file).unwrap());
    let began = Instant::now();
    home.ok(&["compact"]);
    let took = began.elapsed();
    let mut cut_short = 0;
    for round in 0..KILLS {
        fs::write(&file, &copy).unwrap();
        let mut process =
            home.command(&["compact"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From its beginning to its end, in even steps.
        std::thread::sleep(took.mul_f64(f64::from(round + 1) / f64::from(KILLS + 1)));
        process.kill().unwrap();
        cut_short += u32::from(!process.wait().unwrap().success());
        assert_eq!(store::verify(&file).unwrap(), whole, "round {round}");
        if round % 5 == 0 {
            assert_eq!(exit(&home.run_with(&["key", "verify"], &key)), 0, "round {round}");
            home.ok(&["compact"]);
            assert_eq!(store::verify(&file).unwrap(), whole, "round {round}");
        }
    }
    assert!(cut_short * 2 > KILLS, "only {cut_short} were killed before the end, which took {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}
