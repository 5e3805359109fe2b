//! What is said and where: configuration, quiet, closed pipes, controls, words.

use super::*;

#[test]
fn a_broken_configuration_stops_all_but_what_names_its_directory() {
    let house = House::with_ana();
    house.key("app");
    std::fs::write(house.file("ember.toml"), "colour = 1\n").unwrap();
    let end = house.run(&["config", "check"]);
    assert!(end.code == 3 && end.err.contains("ember.toml:1"), "{}", end.err);
    assert_eq!(house.run(&["serve"]).code, 3);
    let end = house.run(&["key", "disable", "app"]);
    assert!(end.code == 0 && end.err.contains("left out"), "{}", end.err);
    let without = &["key", "revoke", "app"];
    let end = house.run_without_data(without, &Way::default());
    assert!(end.code == 3 && end.err.contains("--data DIR"), "{}", end.err);
    let data = house.data();
    let env = &[("EMBER_DATA", data.to_str().unwrap())];
    let end = house.run_without_data(without, &Way { env, ..Way::default() });
    assert!(end.code == 0 && end.err.contains("left out"), "{}", end.err);
}

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let house = House::new();
    let shown = house.ok(&["config", "show", "--origin"]);
    assert!(shown.starts_with("SETTING") && shown.contains("--data"), "{shown}");
    assert!(house.ok(&["config", "default"]).contains("[server]"));
    house.ok(&["config", "check"]);
    let json: serde_json::Value = serde_json::from_str(&house.ok(&["config", "show", "-o", "json"])).unwrap();
    assert_eq!(json["object"], "config");
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let house = House::with_ana();
    let end = house.run(&["-q", "key", "create", "--account", "ana@example.com", "--name", "app"]);
    assert!(end.code == 0 && end.err.is_empty() && end.out.starts_with("ember_dev_"), "{}", end.err);
    assert!(house.run(&["-q", "key", "show", "x"]).err.starts_with("error: "));
}

/// A pipe whose reader is gone.
struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_quietly_but_a_key_is_not_lost_quietly() {
    let house = House::with_ana();
    let piped = |args: &[&str]| {
        let mut err = Vec::new();
        let mut all: Vec<OsString> = vec!["ember".into(), "--data".into(), house.data().into()];
        all.extend(args.iter().map(OsString::from));
        let mut terminal = Terminal {
            stdin: Box::new(&b""[..]),
            stdout: Box::new(Closed),
            stderr: Box::new(&mut err),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            env: Vec::new(),
            cwd: house.folder.path().to_path_buf(),
            uid: 0,
        };
        let code = run(all, &mut terminal, &house);
        drop(terminal);
        (code, String::from_utf8(err).unwrap())
    };
    assert_eq!(piped(&["account", "list"]), (0, String::new()));
    let (code, err) = piped(&["key", "create", "--account", "ana@example.com", "--name", "app"]);
    assert!(code == 1 && err.contains("was issued") && err.contains("rotate"), "{err}");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let house = House::with_ana();
    for args in [
        &["key", "show", "a\u{1b}[2Jb"][..],
        &["key", "create", "--account", "a", "--name", "a\u{1b}[2Jb"],
        &["\u{1b}[2J"],
        &["account", "show", "a\u{1b}]0;x\u{7}@b.c"],
        &["backup", "no\u{1b}[2Jthere/x"],
    ] {
        let end = house.run_so(args, &Way { env: &[("NO_COLOR", "1")], ..TERMINAL });
        assert!(end.code != 0 && !end.err.contains(['\u{1b}', '\u{7}']), "{args:?} {:?}", end.err);
    }
}

#[test]
fn bug_an_empty_file_that_a_killed_command_left_is_no_obstacle() {
    let house = House::with_ana();
    let out = house.file("key");
    let create = ["key", "create", "--account", "ana@example.com", "--name", "app", "--out", "key"];
    for (mode, text, code) in [(0o644, "", 7), (0o600, "x", 7), (0o600, "", 0), (0o600, "", 7)] {
        if code == 7 && !out.exists() || !text.is_empty() || mode == 0o644 {
            std::fs::write(&out, text).unwrap();
        } else if code == 0 {
            std::fs::write(&out, "").unwrap();
        }
        std::fs::set_permissions(&out, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(house.run(&create).code, code, "{mode:o} {text:?}");
    }
    assert_eq!(house.verify(&std::fs::read_to_string(&out).unwrap()), 0);
}

#[test]
fn bug_words_name_what_is_wrong_and_say_it_once() {
    let house = House::with_ana();
    std::fs::write(house.file("junk"), b"junk").unwrap();
    for (args, code, word) in [
        (&["restore", "nope.redb"][..], 6, "there is no backup at"),
        (&["restore", "junk"], 1, "nothing was changed"),
        (&["key", "verify"], 2, "no key came on stdin"),
        (&["backup", "-"], 2, "stdout"),
    ] {
        let end = house.run(args);
        let said = end.err.matches("nothing was changed").count();
        assert!(
            end.code == code && end.err.contains(word) && said <= 1,
            "{args:?} {}: {}",
            end.code,
            end.err
        );
        assert!(!end.err.contains("ember up"), "{}", end.err);
    }
    let absent = House::new();
    std::fs::create_dir(absent.data()).unwrap();
    let end = absent.run(&["key", "list"]);
    assert!(end.code == 6 && end.err.matches("ember up").count() == 1, "{}", end.err);
    let locked = CliError::from(OpenError::Store(crate::store::OpenError::Locked { path: house.data() }));
    assert!(
        locked.message.contains("a server or a command") && locked.hint.unwrap().contains("ember status")
    );
}

#[test]
fn how_far_a_compaction_is_is_shown_to_a_person_at_a_terminal_alone() {
    let house = House::with_ana();
    let terminal = Way { terminal: true, ..Way::default() };
    let end = house.run_so(&["compact"], &terminal);
    let first = "\r\u{1b}[K| moving pages, the file has 3.0 MiB, 0 s\r\u{1b}[K/ reading every record again";
    assert!(end.code == 0 && end.err.starts_with(first), "{:?}", end.err);
    assert!(end.err.contains("\r\u{1b}[KAll 6 records were read before and after"), "{:?}", end.err);
    let dumb = Way { env: &[("TERM", "dumb")], ..Way { terminal: true, ..Way::default() } };
    for (args, way) in
        [(&["compact"][..], &Way::default()), (&["compact"], &dumb), (&["-q", "compact"], &terminal)]
    {
        let end = house.run_so(args, way);
        assert!(end.code == 0 && !end.err.contains("moving pages"), "{:?}", end.err);
    }
}
