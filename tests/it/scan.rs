//! `ember scan`: what it finds, what it says of it, what it never shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ember_gateway::types::{Environment, Key, Random, RandomUnavailable};
use serde_json::Value;

use crate::ember::Home;

/// A home with a folder to look into.
struct Place {
    home: Home,
    folder: PathBuf,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap()
}

struct Same(u8);

impl Random for Same {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomUnavailable> {
        bytes.fill(self.0);
        Ok(())
    }
}

/// A key of the right shape that nobody issued.
fn never_issued(byte: u8) -> String {
    Key::generate(Environment::Staging, &Same(byte)).unwrap().expose().to_string()
}

/// What is shown of a key.
fn mark(key: &str) -> String {
    let (start, secret) = key.split_at(key.len() - 38);
    format!("{start}...{}", &secret[34..])
}

impl Place {
    fn new() -> Self {
        let home = Home::with_echo();
        let folder = home.file("code");
        fs::create_dir(&folder).unwrap();
        Self { home, folder }
    }

    fn repository() -> Self {
        let place = Self::new();
        place.git(&["init", "-q", "-b", "main"]);
        place
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.folder.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// Git as on a machine where nothing is configured.
    fn git_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", path()).env("HOME", self.home.folder.path());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ana").env(format!("GIT_{who}_EMAIL"), "ana@example.com");
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").current_dir(&self.folder).args(args);
        command
    }

    fn git(&self, args: &[&str]) -> String {
        let output = self.git_command(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_string()
    }

    fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.home.command(&[&["scan"], args].concat());
        command.env("PATH", path()).env("HOME", self.home.folder.path()).current_dir(&self.folder);
        command
    }

    fn scan(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The places that are found, with all else that is said of them, as `-o plain` has it.
    fn rows(&self, args: &[&str]) -> Vec<Vec<String>> {
        let output = self.scan(&[args, &["-o", "plain"]].concat());
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let line = |line: &str| line.split('\t').map(ToString::to_string).collect();
        text(&output.stdout).lines().map(line).collect()
    }

    fn places(&self, args: &[&str]) -> Vec<String> {
        self.rows(args).into_iter().map(|mut row| row.remove(0)).collect()
    }

    /// What is known of each key, by its mark.
    fn status(&self, args: &[&str], key: &str) -> String {
        let rows = self.rows(args);
        let row = rows.iter().find(|row| row[1] == mark(key));
        row.unwrap_or_else(|| panic!("not found: {rows:?}"))[2].clone()
    }
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// Nothing of a key's secret but its last four characters.
fn has_no_key(output: &Output, keys: &[String]) {
    let said = said(output);
    for key in keys {
        let secret = &key[key.len() - 38..];
        assert!(!said.contains(&secret[..12]) && !said.contains(&secret[26..]), "a key was shown: {said}");
    }
}

#[test]
fn keys_are_found_in_files_of_every_kind() {
    let place = Place::new();
    let key = never_issued(7);
    place.write("a/app.py", format!("import os\n\napi_key = \"{key}\"\n"));
    place.write(".env", format!("OPENAI_API_KEY={key}\n"));
    place.write("glued.txt", format!("x{key}{key}9"));
    place.write("picture.bin", [&[0, 255, 10, 254, 0][..], key.as_bytes(), &[0, 200]].concat());
    place.write("near.txt", format!("{} {}", &key[..key.len() - 1], key.to_uppercase()));
    place.write(".git/config", &key);
    place.write("far/away/sub.txt", format!("\r\n{key}"));
    std::os::unix::fs::symlink(place.folder.join(".env"), place.folder.join("link")).unwrap();
    std::os::unix::fs::symlink(&place.folder, place.folder.join("loop")).unwrap();
    let found = place.places(&[]);
    let glued = key.len() + 2;
    assert_eq!(
        found,
        [
            ".env:1:16",
            "a/app.py:3:12",
            "far/away/sub.txt:2:1",
            "glued.txt:1:2",
            &format!("glued.txt:1:{glued}"),
            "picture.bin:2:3"
        ]
    );
    assert_eq!(place.places(&["a", "link"]), ["a/app.py:3:12", "link:1:16"], "what is named is followed");
}

#[test]
fn a_key_is_found_wherever_the_pieces_of_a_file_end() {
    let place = Place::new();
    let key = never_issued(7);
    let mut wanted = Vec::new();
    for (number, before) in [0, 1, 30, key.len() - 1, key.len(), key.len() + 60].into_iter().enumerate() {
        let start = 256 * 1024 - before;
        let name = format!("{number}.log");
        // A second one, a piece later and in another line.
        let rest = format!("{}\n{key}", "-".repeat(256 * 1024));
        place.write(&name, format!("{}{key}{rest}", "-".repeat(start)));
        wanted.extend([format!("{name}:1:{}", start + 1), format!("{name}:2:1")]);
    }
    assert_eq!(place.places(&[]), wanted);
}

#[test]
fn what_git_ignores_is_left_out_unless_it_is_named() {
    let place = Place::repository();
    let key = never_issued(7);
    place.write(".gitignore", "secret.env\n/target/\n");
    for name in ["secret.env", "target/out", "sub/kept", "sub/local"] {
        place.write(name, &key);
    }
    place.write("sub/.gitignore", "local\n");
    assert_eq!(place.places(&[]), ["sub/kept:1:1"]);
    assert_eq!(place.places(&["sub"]), ["sub/kept:1:1"]);
    assert_eq!(place.places(&["secret.env"]), ["secret.env:1:1"]);
    let all = place.places(&["--no-ignore"]);
    assert_eq!(all, ["secret.env:1:1", "sub/kept:1:1", "sub/local:1:1", "target/out:1:1"]);
}

#[test]
fn no_key_is_in_any_output() {
    let place = Place::repository();
    let (live, tagged) = (place.home.key("app"), never_issued(9));
    let keys = [live.clone(), never_issued(7), tagged.clone()];
    place.write(&format!("{}.txt", keys[1]), "");
    place.write(&format!("dir-{live}/app.txt"), &live);
    place.commit(&format!("use {live}"));
    place.git(&["tag", "-a", "v1", "-m", &tagged]);
    place.write("more.txt", &keys[1]);
    place.git(&["add", "-A"]);
    for more in [&[][..], &["--git"], &["--staged"]] {
        for format in ["table", "plain", "json"] {
            let output = place.scan(&[more, &["-o", format, "-vv"]].concat());
            assert_eq!(exit(&output), 1, "{}", said(&output));
            has_no_key(&output, &keys);
        }
    }
    let found = place.places(&[]);
    let (first, second) = (mark(&live), mark(&keys[1]));
    assert!(found.contains(&format!("dir-{first}/app.txt:1:1")), "{found:?}");
    assert!(found.contains(&format!("dir-{first}")) && found.contains(&format!("{second}.txt")), "{found:?}");
    let output = place.scan(&["--revoke"]);
    has_no_key(&output, &keys);
    let shown = place.home.ok(&["key", "show", "app"]);
    assert!(shown.contains("found by ember scan") && !shown.contains("dir-"), "{shown}");
    let unread = place.home.file(&format!("dir-{live}"));
    fs::write(&unread, "").unwrap();
    has_no_key(&place.home.run(&["scan", "--git", unread.to_str().unwrap()]), &keys);
}

#[test]
fn a_key_that_was_committed_and_deleted_is_found_with_its_commit() {
    let place = Place::repository();
    let (key, other) = (never_issued(7), never_issued(8));
    place.write("readme", "hello\n");
    place.commit("first");
    place.write("conf/app key.yml", format!("a: 1\nkey: {key}\n"));
    let brought = place.commit("second");
    place.write("conf/app key.yml", format!("a: 2\nb: 2\nkey: {key}\n"));
    place.commit("third");
    place.git(&["rm", "-q", "-r", "conf"]);
    place.commit("take it out");
    place.git(&["checkout", "-q", "-b", "side", "HEAD~1"]);
    place.write("side.txt", &other);
    let side = place.commit("on a branch");
    place.git(&["checkout", "-q", "main"]);
    let message = place.commit(&format!("oops {other}"));
    assert_eq!(exit(&place.scan(&[])), 0, "it is in no file any more");
    let short = |commit: &str| commit[..12].to_string();
    let mut wanted = vec![
        format!("{}:conf/app key.yml:2:6", short(&brought)),
        format!("{}:side.txt:1:1", short(&side)),
        format!("{}: its message", short(&message)),
    ];
    let mut found = place.places(&["--git", "."]);
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let json: Value = serde_json::from_slice(&place.scan(&["--git", "-o", "json"]).stdout).unwrap();
    let all = json["data"].as_array().unwrap();
    let one = all.iter().find(|find| find["secret"] == mark(&key).as_str()).unwrap();
    assert_eq!((&one["commit"], &one["path"]), (&brought.into(), &"conf/app key.yml".into()));
    assert_eq!(
        (&one["line"], &one["column"], &one["status"]),
        (&2.into(), &6.into(), &"never_issued_here".into())
    );
}

#[test]
fn a_history_with_all_that_git_knows_is_read() {
    let place = Place::repository();
    let keys = [never_issued(1), never_issued(2), never_issued(3), never_issued(4)];
    place.write("base", "base");
    place.commit("base");
    place.git(&["tag", "-a", "v1", "-m", &keys[0]]);
    place.write("base", &keys[1]);
    place.git(&["stash", "-q"]);
    // Brought by a merge alone.
    place.git(&["checkout", "-q", "-b", "side"]);
    place.write("side", "side");
    place.commit("side");
    place.git(&["checkout", "-q", "main"]);
    place.commit("main goes on");
    place.git(&["merge", "-q", "--no-commit", "side"]);
    place.write("merged", &keys[2]);
    place.write("large", format!("{}{}", "x\n".repeat(1_000_000), keys[3]));
    let merge = place.commit("merge");
    let rows = place.rows(&["--git"]);
    for key in &keys {
        assert!(rows.iter().any(|row| row[1] == mark(key)), "{rows:?}");
    }
    let place_of = |key: &str| rows.iter().find(|row| row[1] == mark(key)).unwrap()[0].clone();
    assert_eq!(place_of(&keys[2]), format!("{}:merged:1:1", &merge[..12]));
    assert_eq!(place_of(&keys[3]), format!("{}:large:1000001:1", &merge[..12]));
}

#[test]
fn a_history_of_which_a_part_is_missing_is_not_called_clean() {
    let place = Place::repository();
    place.write("app", "one");
    place.commit("one");
    place.write("app", "two");
    place.commit("two");
    place.git(&["config", "uploadpack.allowFilter", "true"]);
    assert_eq!(exit(&place.scan(&["--git"])), 0);
    let url = format!("file://{}", place.folder.display());
    for (name, how, word) in
        [("shallow", "--depth=1", "--unshallow"), ("partial", "--filter=blob:none", "a partial clone")]
    {
        let to = place.home.file(name);
        place.git(&["clone", "-q", "--no-checkout", how, &url, to.to_str().unwrap()]);
        let output = place.scan(&["--git", to.to_str().unwrap()]);
        assert!(exit(&output) == 4 && said(&output).contains(word), "{}", said(&output));
    }
}

#[test]
fn a_repository_runs_nothing_of_its_own() {
    let place = Place::repository();
    place.write("app", never_issued(7));
    place.commit("app");
    place.write("app", never_issued(8));
    place.git(&["add", "-A"]);
    place.write("trap", "#!/bin/sh\ntouch trapped\ncat\n");
    let trap = place.folder.join("trap");
    fs::set_permissions(&trap, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    place.write(".gitattributes", "* diff=trap\n");
    for name in [
        "diff.external",
        "diff.trap.command",
        "diff.trap.textconv",
        "core.fsmonitor",
        "core.pager",
        "gpg.program",
    ] {
        place.git(&["config", name, trap.to_str().unwrap()]);
    }
    place.git(&["config", "log.showSignature", "true"]);
    for args in [&["--git"][..], &["--staged"]] {
        assert_eq!(exit(&place.scan(args)), 1);
    }
    assert!(!place.folder.join("trapped").exists());
}

#[test]
fn only_what_is_about_to_be_committed_counts_for_a_hook() {
    let place = Place::repository();
    let key = never_issued(7);
    place.write("staged", format!("\n{key}"));
    place.write("not-staged", &key);
    place.git(&["add", "staged"]);
    place.write("staged", "taken out of the file alone");
    assert_eq!(place.places(&["--staged"]), ["staged:2:1"], "before the first commit");
    place.git(&["commit", "-q", "-m", "first"]);
    assert_eq!(exit(&place.scan(&["--staged"])), 0);
    place.git(&["rm", "-q", "--cached", "staged"]);
    assert_eq!(exit(&place.scan(&["--staged"])), 0, "taking a key out is no fault");
}

#[test]
fn stdin_is_read_when_it_is_named() {
    let place = Place::new();
    let key = never_issued(7);
    let output = place.home.run_with(&["scan", "-", "-o", "plain"], &format!("a\nb {key}\n"));
    assert_eq!(exit(&output), 1);
    assert!(text(&output.stdout).starts_with(&format!("-:2:3\t{}\t", mark(&key))), "{}", said(&output));
    let clean = place.home.run_with(&["scan", "-"], "nothing to see\n");
    assert_eq!((exit(&clean), text(&clean.stdout)), (0, String::new()));
    let clean = place.home.run_with(&["scan", "-", "-o", "json"], "nothing to see\n");
    let json: Value = serde_json::from_slice(&clean.stdout).unwrap();
    assert_eq!((exit(&clean), json["data"].as_array().unwrap().len()), (0, 0));
}

#[test]
fn exit_codes_are_those_of_the_help() {
    let place = Place::new();
    place.write("clean", "nothing");
    let code = |args: &[&str]| {
        let output = place.scan(args);
        (exit(&output), text(&output.stderr))
    };
    assert_eq!(code(&[]).0, 0);
    assert_eq!(code(&["--git", "--staged"]).0, 2);
    assert_eq!(code(&["--git", "-"]).0, 2);
    assert_eq!(code(&["clean", "missing"]).0, 6);
    let (exit_code, error) = code(&["--git"]);
    assert!(exit_code == 6 && error.contains("not a git repository"), "{error}");
    // A file that can be opened and not read, for root as well.
    let (exit_code, error) = code(&["clean", "/proc/self/mem"]);
    assert!(exit_code == 4 && error.contains("/proc/self/mem can't be read"), "{error}");
    place.write("key", never_issued(7));
    assert_eq!(code(&["key", "/proc/self/mem"]).0, 1);
    let no_git = place.command(&["--git"]).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(exit(&no_git), 5, "{}", said(&no_git));
    let help = place.home.ok(&["scan", "--help"]);
    for line in
        ["0  no secret", "1  one was found", "4  none was found, but not", "5  git can't", "6  there is no"]
    {
        assert!(help.contains(line), "{line}");
    }
}

#[test]
fn it_says_which_keys_are_live_and_whose() {
    let place = Place::new();
    let home = &place.home;
    let keys = ["live", "gone", "off", "old"].map(|name| home.key(name));
    home.ok(&["key", "revoke", "gone"]);
    home.ok(&["key", "disable", "off"]);
    let new = home.ok(&["key", "rotate", "old", "--now"]);
    let (stranger, graced) = (never_issued(7), home.key("graced"));
    home.ok(&["key", "rotate", "graced", "--grace", "1h"]);
    place.write("keys", [&keys[..], &[new.clone(), stranger.clone(), graced.clone()]].concat().join("\n"));
    let mut seen = Vec::new();
    for running in [false, true] {
        let _server = running.then(|| home.serve());
        for (key, status) in [
            (&keys[0], "live"),
            (&keys[1], "revoked"),
            (&keys[2], "disabled"),
            (&keys[3], "replaced"),
            (&new, "live"),
            (&stranger, "never_issued_here"),
            (&graced, "live_until_its_grace_ends"),
        ] {
            assert_eq!(place.status(&[], key), status);
        }
        let output = place.scan(&[]);
        let first = text(&output.stdout).lines().nth(1).unwrap().to_string();
        assert!(first.contains(" live ") && first.contains("ana@example.com"), "{first}");
        let id = first.rsplit(' ').next().unwrap();
        assert!(text(&output.stderr).contains(&format!("ember key revoke {id}")), "{}", said(&output));
        seen.push(text(&output.stdout));
    }
    assert_eq!(seen[0], seen[1], "the same with a server and without");
    assert_eq!(
        home.ok(&["key", "list", "--status", "active", "-o", "plain"]).lines().count(),
        3,
        "nothing was revoked"
    );
}

#[test]
fn a_key_that_was_found_can_be_revoked_and_is_refused_from_then_on() {
    let place = Place::new();
    let home = &place.home;
    let (leaked, other, off) = (home.key("leaked"), home.key("other"), home.key("off"));
    home.ok(&["key", "disable", "off"]);
    let old = home.key("rotated");
    let new = home.ok(&["key", "rotate", "rotated"]);
    place.write("src/app.py", format!("{leaked}\n{off}\n{old}\n{}", never_issued(7)));
    let server = home.serve();
    let status = |key: &str| server.get("/v1/models", Some(key)).status;
    assert_eq!(status(&leaked), 200);
    let output = place.scan(&["--revoke", "src", "-o", "json"]);
    assert_eq!(exit(&output), 1, "a key lies there all the same");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all: Vec<_> =
        json["data"].as_array().unwrap().iter().map(|find| find["status"].as_str().unwrap()).collect();
    assert_eq!(all, ["revoked_now", "revoked_now", "live_until_its_grace_ends", "never_issued_here"]);
    assert_eq!((status(&leaked), status(&other)), (401, 200));
    assert_eq!(
        (status(&old), status(&new)),
        (200, 200),
        "an older secret does not take the newer one with it"
    );
    let shown = home.ok(&["key", "show", "leaked"]);
    assert!(shown.contains("found by ember scan in src/app.py:1:1"), "{shown}");
    assert_eq!(place.status(&[], &leaked), "revoked");
    let again = place.scan(&[]);
    assert!(!said(&again).contains("To revoke"), "{}", said(&again));
    assert!(said(&again).contains("would end the newer one, too"), "{}", said(&again));
}

#[test]
fn without_an_ember_what_is_found_is_told_all_the_same() {
    let place = Place::new();
    place.write("key", never_issued(7));
    let nowhere = place.home.file("nowhere");
    let scan = |more: &[&str]| {
        let mut command = crate::ember::program();
        command
            .current_dir(&place.folder)
            .arg("--data")
            .arg(&nowhere)
            .arg("scan")
            .args(more)
            .output()
            .unwrap()
    };
    for args in [&[][..], &["--revoke"]] {
        let output = scan(args);
        assert_eq!(exit(&output), 1);
        let (rows, error) = (text(&output.stdout), text(&output.stderr));
        assert!(rows.contains("unknown here") && error.contains("there is no Ember in"), "{rows}{error}");
    }
    assert!(!nowhere.exists());
    place.write("ember.toml", "[server]\nlisen = 1\n");
    let mut command = crate::ember::program();
    let output = command.current_dir(&place.folder).args(["scan", "key"]).output().unwrap();
    let (rows, error) = (text(&output.stdout), text(&output.stderr));
    assert!(exit(&output) == 1 && rows.contains("unknown here"), "{rows}{error}");
    assert!(error.contains("which keys are live is not known"), "{error}");
}

#[test]
fn what_is_no_key_but_opens_a_door_is_found_too() {
    let place = Place::new();
    let token = place.home.ok(&["token", "create", "ci"]);
    place.write("ci.yml", format!("token: {token}"));
    let output = place.scan(&["--revoke"]);
    assert_eq!(exit(&output), 1);
    assert!(said(&output).contains(&format!("{}  not looked up", mark(&token))), "{}", said(&output));
    assert!(said(&output).contains("ember token list"), "{}", said(&output));
    has_no_key(&output, &[token]);
}

#[test]
fn a_closed_pipe_does_not_make_finds_unseen() {
    let place = Place::new();
    let key = place.home.key("app");
    place.write("key", &key);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(&["--revoke"]).stdout(writer).output().unwrap();
    assert_eq!(exit(&output), 1);
    assert_eq!(place.status(&[], &key), "revoked");
}

#[test]
fn names_of_files_do_not_act_on_a_terminal() {
    let place = Place::new();
    place.write("a\u{1b}[31m\u{202e}\tb\nc", never_issued(7));
    for format in ["table", "plain"] {
        let output = place.scan(&["-o", format]);
        let first = text(&output.stdout);
        assert!(!said(&output).contains(['\u{1b}', '\u{202e}']), "{first:?}");
        let rows = if format == "table" { 2 } else { 1 };
        assert_eq!(first.lines().count(), rows, "{first:?}");
    }
}

const LEAKS: &str = include_str!("../../docs/leaks.md");

/// What stands in the document's first block of a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = LEAKS.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

fn rules() -> [regex::bytes::Regex; 2] {
    let gitleaks: toml_edit::DocumentMut = block("toml").parse().unwrap();
    let gitleaks = gitleaks["rules"][0]["regex"].as_str().unwrap();
    let python = block("python").split("re.compile(r\"").nth(1).unwrap().split("\")").next().unwrap();
    [gitleaks, python].map(|rule| regex::bytes::Regex::new(rule).unwrap())
}

#[test]
fn the_rules_for_other_scanners_match_keys_and_nothing_like_them() {
    for rule in rules() {
        for byte in 0..62 {
            for environment in Environment::ALL {
                let key = Key::generate(environment, &Same(byte)).unwrap();
                for text in [key.expose().to_string(), format!("KEY=\"{}\"\n", key.expose())] {
                    let found = rule.find(text.as_bytes()).unwrap();
                    assert_eq!(found.as_bytes(), key.expose().as_bytes(), "{rule}");
                }
            }
        }
        let key = never_issued(7);
        for bad in [
            key[..key.len() - 1].to_string(),
            format!("{key}x"),
            key.replace("staging", "test"),
            key.replace("ember_", "Ember_"),
            format!("m{key}"),
            key.replacen('_', "-", 2),
            "ember_prod_".to_string() + &".".repeat(38),
        ] {
            assert!(!rule.is_match(bad.as_bytes()), "{rule} {bad}");
        }
    }
}

#[test]
fn the_hook_in_the_document_stops_a_commit_with_a_key() {
    let place = Place::repository();
    let hook = place.folder.join(".git/hooks/pre-commit");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, block("sh")).unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let folder = Path::new(env!("CARGO_BIN_EXE_ember")).parent().unwrap();
    let path = std::env::join_paths([folder.to_path_buf()].into_iter().chain(std::env::split_paths(&path())));
    let path = path.unwrap();
    let commit = |message: &str| {
        place.git(&["add", "-A"]);
        place.git_command(&["commit", "-q", "-m", message]).env("PATH", &path).output().unwrap()
    };
    place.write("app.py", "key = os.environ['OPENAI_API_KEY']\n");
    let clean = commit("clean");
    assert!(clean.status.success(), "{}", said(&clean));
    let key = never_issued(7);
    place.write("app.py", format!("key = '{key}'\n"));
    let dirty = commit("dirty");
    assert!(!dirty.status.success());
    assert!(said(&dirty).contains(&format!("app.py:1:8  {}", mark(&key))), "{}", said(&dirty));
    has_no_key(&dirty, &[key]);
    assert_eq!(place.git(&["rev-list", "--count", "HEAD"]), "1");
}
