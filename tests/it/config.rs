//! Law 13 through the program: which source wins, and what is said about faults.

use std::process::Output;

use serde_json::Value;

use crate::ember::{Ember, Home};

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The value and the origin of a setting, as `config show --origin` has them.
fn shown(home: &Home, env: &[(&str, &str)], name: &str) -> (String, String) {
    let mut command = home.command(&["config", "show", "--origin", "-o", "json"]);
    let output = command.envs(env.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = json["data"].as_array().unwrap().iter().find(|one| one["setting"] == name).unwrap().clone();
    let text = |member: &str| found[member].as_str().unwrap().to_string();
    (text("value"), text("origin"))
}

fn refused(home: &Home, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = home.command(args).envs(env.iter().copied()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    stderr(&output)
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let home = Home::new("[log]\nlevel = \"warn\"\n");
    assert_eq!(shown(&home, &[], "log.format"), ("\"auto\"".to_string(), "default".to_string()));
    let (value, origin) = shown(&home, &[], "log.level");
    assert_eq!(value, "\"warn\"");
    assert!(origin.ends_with("ember.toml:4"), "{origin}");
    let env = [("EMBER_LOG__LEVEL", "debug"), ("EMBER_DATA", "/from/the/environment")];
    assert_eq!(shown(&home, &env, "log.level"), ("\"debug\"".to_string(), "EMBER_LOG__LEVEL".to_string()));
    assert_eq!(shown(&home, &env, "data").1, "--data");
    let server = Ember::start({
        let mut command = home.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("EMBER_SERVER__LISTEN", "127.0.0.1:1").env("EMBER_LOG__FORMAT", "text");
        command.env("EMBER_LOG__LEVEL", "info");
        command
    });
    assert!(!server.log().contains("{\"timestamp\""), "{}", server.log());
}

#[test]
fn every_fault_is_listed_with_its_place_and_what_was_meant() {
    let home = Home::new(
        "drain_timeut = \"1s\"\nheaders_max = \"many\"\n[stor]\n[[upstream]]\nname = \"A B\"\nurl = \"ftp://x\"\n",
    );
    let env = [("EMBER_LOG__LEVLE", "info"), ("EMBER_SERVER__BODY_BYTES_MAX", "-1")];
    for args in [&["config", "check"][..], &["serve"], &["up"], &["config", "show"]] {
        let error = refused(&home, args, &env);
        for words in [
            "ember.toml:3:1: ",
            "did you mean 'server.drain_timeout'",
            "ember.toml:4:",
            "headers_max",
            "ember.toml:5:",
            "ember.toml:7:",
            "ember.toml:8:",
            "EMBER_LOG__LEVLE: ",
            "did you mean 'EMBER_LOG__LEVEL'",
            "EMBER_SERVER__BODY_BYTES_MAX: ",
            "nothing was changed",
        ] {
            assert!(error.contains(words), "{words:?} is not in\n{error}");
        }
        assert!(!home.data().exists(), "{args:?} has changed something");
    }
}

#[test]
fn an_unknown_variable_with_two_underscores_is_refused_and_another_is_warned_of() {
    let home = Home::new("");
    let error = refused(&home, &["config", "check"], &[("EMBER_X__Y", "1")]);
    assert!(error.contains("EMBER_X__Y"), "{error}");
    let output =
        home.command(&["config", "check"]).env("EMBER_FOO", "secret-looking-value").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("EMBER_FOO"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("secret-looking-value"));
    let quiet = home.command(&["config", "check"]).env("EMBERS_SOMETHING", "1").output().unwrap();
    assert!(!stderr(&quiet).contains("EMBERS_SOMETHING"), "{}", stderr(&quiet));
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_toml() {
    let home = Home::new("");
    let other = |name: &str| {
        let mut command = crate::ember::program();
        command.current_dir(home.folder.path()).args(["-c", name, "config", "check"]);
        command.output().unwrap()
    };
    let absent = other("absent.toml");
    assert_eq!(absent.status.code(), Some(3));
    assert!(stderr(&absent).contains("absent.toml"));
    std::fs::write(home.file("broken.toml"), "[server\nlisten = 1").unwrap();
    let broken = other("broken.toml");
    assert_eq!(broken.status.code(), Some(3));
    assert!(stderr(&broken).contains("broken.toml:1:"), "{}", stderr(&broken));
    let mut here = crate::ember::program();
    here.current_dir(home.folder.path()).args(["--data", "d", "config", "show", "-o", "json"]);
    let output = here.output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        json["file"].as_str().unwrap().ends_with("ember.toml"),
        "./ember.toml is found without being named"
    );
}

#[test]
fn a_key_of_a_model_server_is_never_printed_and_never_written_into_the_file() {
    const CANARY: &str = "sk-canary-49c1e7d2";
    let upstream = "[[upstream]]\nname = \"local\"\nurl = \"http://127.0.0.1:9\"\n";
    let home = Home::new(&format!("{upstream}api_key_env = \"LOCAL_KEY\"\n"));
    for args in [&["config", "show"][..], &["config", "show", "--origin", "-o", "json"], &["config", "check"]]
    {
        let output = home.command(args).env("LOCAL_KEY", CANARY).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let all = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8(all).unwrap().contains(CANARY), "{args:?}");
    }
    assert_eq!(shown(&home, &[("LOCAL_KEY", CANARY)], "upstream.0.api_key").0, "(secret)");
    let home = Home::new(&format!("{upstream}api_key = \"{CANARY}\"\n"));
    let error = refused(&home, &["config", "check"], &[]);
    assert!(error.contains("api_key_file") && !error.contains(CANARY), "{error}");
    let home = Home::new(&format!("{upstream}api_key_file = \"absent.key\"\n"));
    let error = refused(&home, &["serve"], &[]);
    assert!(error.contains("absent.key"), "{error}");
}
