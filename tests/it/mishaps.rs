//! What commands say of the mishaps of a first month: each names the thing, the reason and the next step.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::desk::{NOBODY, as_nobody, is_root};
use crate::doctor::SmallDisk;
use crate::ember::{Home, program};

#[track_caller]
fn says(output: &Output, exit: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    for words in words {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

#[test]
fn whoever_asks_in_the_wrong_place_hears_where_a_service_keeps_its_data() {
    let home = Home::new("");
    let mut command = program();
    command.current_dir(home.folder.path()).env("HOME", home.folder.path()).args(["key", "list"]);
    let output = command.output().unwrap();
    says(&output, 6, &["there is no data directory", ".local/share/ember", "often /var/lib/ember", "--data"]);
    fs::create_dir(home.data()).unwrap();
    says(&home.run(&["key", "list"]), 6, &["there is no store at", "often /var/lib/ember"]);
}

#[test]
fn a_port_that_is_taken_is_told_with_what_may_have_it() {
    let home = Home::new("[models]\necho = true\n");
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let output = home.run(&["serve", "--listen", &taken.to_string()]);
    says(&output, 1, &[&taken.to_string(), "another program listens there already", "--listen"]);
    drop(held);
}

#[test]
fn an_address_of_another_machine_is_told() {
    let home = Home::new("[models]\necho = true\n");
    let output = home.run(&["serve", "--listen", "192.0.2.1:7411"]);
    says(&output, 1, &["192.0.2.1:7411", "this machine has no such address", "0.0.0.0"]);
}

#[test]
fn a_port_that_is_roots_is_told_with_what_a_service_needs() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if !is_root() || first.trim().parse::<u16>().is_ok_and(|first| first <= 80) {
        return eprintln!("everyone may listen on port 80 here, or this is not root");
    }
    let home = Home::new("[models]\necho = true\n");
    fs::create_dir(home.data()).unwrap();
    fs::set_permissions(home.data(), Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(home.data(), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = as_nobody(&home, &["serve", "--listen", "127.0.0.1:80"]).output().unwrap();
    says(&output, 1, &["127.0.0.1:80", "ports below 1024 are root's", "CAP_NET_BIND_SERVICE"]);
}

#[test]
fn a_data_directory_that_cant_be_made_is_told() {
    if !is_root() {
        return eprintln!("not root: nothing can be run as someone else");
    }
    let home = Home::new("[models]\necho = true\n");
    let output = as_nobody(&home, &["serve"]).output().unwrap();
    let data = home.data();
    let words = [data.to_str().unwrap(), "can't be made", &format!("give it to user {NOBODY}")];
    says(&output, 4, &words);
}

#[test]
fn a_disk_that_is_read_only_is_told_and_the_doctor_named() {
    let home = Home::new("[models]\necho = true\n");
    fs::create_dir(home.data()).unwrap();
    let Some(disk) = SmallDisk::at(&home.data(), "size=12m,mode=700") else { return };
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    disk.mount_again("remount,ro");
    for args in [&["key", "list"][..], &["serve"], &["backup", "copy.redb"]] {
        says(&home.run(args), 5, &["ember.redb", "Read-only file system", "`ember doctor`"]);
    }
}

#[test]
fn what_only_a_running_server_knows_is_told_with_how_to_start_one() {
    let home = Home::with_echo();
    says(
        &home.run(&["model", "list"]),
        5,
        &["no server runs on this data directory", "`ember serve` starts one"],
    );
    says(&home.run(&["audit", "--follow"]), 5, &["no server runs on this data directory", "`ember serve`"]);
}
