//! What is typed and what comes back: help, keys shown once, questions, lists.

use super::*;

#[test]
fn help_and_version_are_data() {
    let house = House::new();
    assert_eq!(house.ok(&["version"]), format!("ember {VERSION}\n"));
    assert_eq!(house.ok(&["version", "-o", "plain"]), format!("{VERSION}\n"));
    assert!(house.ok(&["key", "create", "--help"]).contains("ember key create --account"));
    assert!(house.ok(&["--version"]).contains(VERSION));
}

#[test]
fn serving_is_handed_on_with_the_flags() {
    let house = House::new();
    let end = house.run(&["up", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:1"]);
    assert!(end.code == 130 && end.err.contains("127.0.0.1:9"), "{}", end.err);
    let end = house.run(&["serve", "--listen", "127.0.0.1:1"]);
    assert!(end.code == 130 && end.err.contains("127.0.0.1:1"), "{}", end.err);
}

#[test]
fn a_whole_key_in_the_arguments_is_refused_and_never_repeated() {
    let house = House::with_ana();
    let key = house.key("app");
    for args in [
        &["key", "revoke", &key][..],
        &["key", "show", &format!("{key}\n")],
        &["key", "revoke", "app", "--reason", &format!("found {key} on a wiki")],
        &["account", "show", &key],
        &[&format!("--output={key}")],
    ] {
        let end = house.run(args);
        assert_eq!(end.code, 2);
        assert!(!end.err.contains(&key) && end.err.contains("whole key"), "{}", end.err);
    }
    assert_eq!(house.verify(&key), 0, "nothing was done");
}

#[test]
fn on_a_terminal_a_key_is_shown_once_and_said_to_be() {
    let house = House::with_ana();
    let end = house.run_so(
        &["key", "create", "--account", "ana@example.com", "--name", "app", "--expires", "90d"],
        &TERMINAL,
    );
    assert!(end.out.contains("shown once") && end.out.contains("in 90 days"), "{}", end.out);
    assert!(end.out.contains("\u{1b}["), "colour on a terminal");
    for (env, args) in [
        (&[("NO_COLOR", "1")][..], &["key", "list"][..]),
        (&[], &["--color", "never", "key", "create", "--account", "ana@example.com", "--name", "b"]),
    ] {
        let end = house.run_so(args, &Way { env, ..TERMINAL });
        assert!(end.code == 0 && !end.out.contains('\u{1b}'), "{}", end.out);
    }
}

#[test]
fn json_has_the_key_once_and_never_again() {
    let house = House::with_ana();
    let out = house.ok(&["key", "create", "--account", "ana@example.com", "--name", "app", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let key = json["key"].as_str().unwrap();
    assert!(Key::parse(key.as_bytes()).is_ok());
    assert_eq!((json["object"].as_str(), json["account"].as_str()), (Some("key"), Some("ana@example.com")));
    for args in [&["key", "list", "-o", "json"][..], &["key", "show", "app", "-o", "json"]] {
        assert!(!house.ok(args).contains(key));
    }
}

#[test]
fn a_key_goes_into_a_new_private_file_or_is_not_issued() {
    let house = House::with_ana();
    let create = |name: &str| {
        house.run(&["key", "create", "--account", "ana@example.com", "--name", name, "--out", "app.env"])
    };
    let end = create("one");
    assert!(end.code == 0 && end.out.is_empty() && end.err.contains(".gitignore"), "{}{}", end.out, end.err);
    let text = std::fs::read_to_string(house.file("app.env")).unwrap();
    assert_eq!(house.verify(&text), 0);
    assert_eq!(std::fs::metadata(house.file("app.env")).unwrap().permissions().mode() & 0o777, 0o600);
    let end = create("two");
    assert!(end.code == 7 && end.err.contains("nothing was issued"), "{}", end.err);
    assert_eq!(std::fs::read_to_string(house.file("app.env")).unwrap(), text);
    assert_eq!(house.ok(&["key", "list", "-o", "plain"]).lines().count(), 1);
    let end =
        house.run(&["key", "create", "--account", "eve@example.com", "--name", "x", "--out", "none.txt"]);
    assert!(end.code == 6 && !house.file("none.txt").exists(), "no file for a key that there is not");
}

#[test]
fn what_can_not_be_undone_is_asked_on_a_terminal() {
    let house = House::with_ana();
    let key = house.key("app");
    let answer = |stdin, args: &[&str]| house.run_so(args, &Way { stdin, ..TERMINAL });
    for stdin in ["", "\n", "n\n", "nay\n"] {
        let end = answer(stdin, &["key", "revoke", "app"]);
        assert!(
            end.code == 1 && end.err.contains("[y/N]") && end.err.contains("ana@example.com"),
            "{}",
            end.err
        );
    }
    assert_eq!(house.verify(&key), 0);
    assert_eq!(answer("y\n", &["key", "revoke", "app"]).code, 0);
    assert_eq!(house.verify(&key), 4);
    assert_eq!(answer("", &["account", "disable", "ana@example.com"]).code, 1);
    assert_eq!(answer("", &["account", "disable", "ana@example.com", "-y"]).code, 0);
    assert_eq!(house.run(&["account", "delete", "ana@example.com", "-y"]).code, 0);
}

#[test]
fn a_password_comes_on_stdin_only() {
    let house = House::with_ana();
    let passwd = |stdin, terminal| {
        house.run_so(&["account", "passwd", "ana@example.com"], &Way { stdin, terminal, env: &[] })
    };
    assert_eq!(passwd("correct horse\n", false).code, 0);
    assert_eq!(passwd("", false).code, 2);
    assert_eq!(passwd("short", false).code, 2);
    assert_eq!(passwd("correct horse\n", true).code, 2);
    let registry = house.open(&house.data(), false, &Rules::default()).ok().unwrap().registry;
    let place = crate::types::Place::new(std::net::Ipv4Addr::LOCALHOST.into(), "test");
    let right = crate::types::Secret::new("correct horse".to_string());
    assert!(registry.sign_in("ana@example.com", &right, &place).is_ok(), "without the line end");
}

#[test]
fn lists_are_aligned_for_people_and_bare_for_programs() {
    let house = House::with_ana();
    assert!(house.run(&["key", "list"]).err.contains("none"));
    house.key("a");
    house.ok(&[
        "key",
        "create",
        "--account",
        "ana@example.com",
        "--name",
        "longer name",
        "--env",
        "prod",
        "--expires",
        "30d",
    ]);
    let table = house.ok(&["key", "list"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME         ENV   STATUS  ACCOUNT"), "{table}");
    assert!(lines[1].starts_with("a            dev   active  ana@example.com"), "{table}");
    assert!(lines[2].contains("in 30 days") && lines[2].contains(" UTC"), "{table}");
    let plain = house.ok(&["key", "list", "--env", "prod", "-o", "plain"]);
    assert_eq!(
        plain.split('\t').take(4).collect::<Vec<_>>(),
        ["longer name", "prod", "active", "ana@example.com"]
    );
}
