//! Every fault, in its place, all at once.

use super::*;

#[test]
fn ten_faults_are_reported_at_once_each_in_its_place() {
    let toml = r#"data = 7
sever = { listen = "x" }

[server]
lisen = "127.0.0.1:1"
drain_timeout = "30"
streams_max = 0
body_bytes_max = "64MB"
  public_url = "https://x/y"
[log]
level = "loud"
access = "yes"

[[upstream]]
name = "Ä"; 
"#;
    assert!(faults_of(toml).starts_with("ember.toml:15:11: "), "{}", faults_of(toml));
    let toml = toml.replace(
        "name = \"Ä\"; \n",
        "name = \"Ä\"\nurl = \"ftp://gpu\"\nmodels = [\"a\", \"a\"]\napi_key = \"sk-hunter2\"\n",
    );
    let faults = faults_of(&toml);
    let expected = [
        "ember.toml:1:8: data: expected a text in quotes, found a whole number (the data directory)",
        "ember.toml:2:1: unknown setting 'sever'; did you mean 'server'?",
        "ember.toml:5:1: unknown setting 'server.lisen'; did you mean 'server.listen'?",
        "ember.toml:6:17: server.drain_timeout: '30' is not a time; write a number and a unit, such as 30s, 5m, 12h or 90d (how long open requests may go on after a stop)",
        "ember.toml:7:15: server.streams_max: 0 is outside 1 to 10000 (HTTP/2 streams of one connection)",
        "ember.toml:8:18: server.body_bytes_max: '64MB' is not a size; write bytes, or a number with KiB, MiB or GiB (the body of one request)",
        "ember.toml:9:16: server.public_url: 'https://x/y' has more than scheme, host and port; write it like https://ai.example.com (the URL that callers use: scheme, host and port)",
        "ember.toml:11:9: log.level: 'loud' is none of error, warn, info, debug, trace (the finest level that is written)",
        "ember.toml:12:10: log.access: expected true or false, found a text (whether each request leaves a line)",
        "ember.toml:15:8: upstream.name: 'Ä' is not 1 to 64 of a-z, 0-9, '.', '_' and '-' (the name of a model server in logs and metrics)",
        "ember.toml:16:7: upstream.url: 'ftp://gpu' does not begin with http://, https:// or unix:; write it like http://127.0.0.1:8000 or unix:/run/vllm.sock (where a model server listens)",
        "ember.toml:17:10: upstream.models: 'a' is listed twice (the models it serves; empty asks the server)",
        "ember.toml:18:1: a key is never written into the configuration; put it into a file and name that with api_key_file, or into a variable and name that with api_key_env",
    ];
    assert_eq!(faults.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn bug_a_name_with_a_control_character_does_not_reach_the_terminal() {
    let faults = faults_of("\"a\\u001b[2J\\nb\" = 1\n[server]\n\"lis\\rten\" = 1\n");
    let expected = [
        r"ember.toml:1:1: unknown setting 'a\u{1b}[2J\nb'",
        r"ember.toml:3:1: unknown setting 'server.lis\rten'; did you mean 'server.listen'?",
    ];
    assert_eq!(faults.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn faults_of_file_variables_and_flags_come_together() {
    let place = Place::new(
        "[server]\nheaders_max = 1\n",
        &[
            ("EMBER_SERVER__LISEN", "x"),
            ("EMBER_UPSTREAM__2__ULR", "x"),
            ("EMBER_server__listen", "127.0.0.1:1"),
            ("EMBER_LOG__ACCESS", "maybe"),
            ("EMBER_UPSTREAM__0__API_KEY", "sk-hunter2"),
        ],
    );
    let flags =
        Flags { listen: Some("7411".to_string()), upstreams: vec!["gpu:1".to_string()], ..Flags::default() };
    let faults = place.faults(flags);
    let starts = [
        "ember.toml:2:15: server.headers_max: 1 is outside 8 to 1000",
        "EMBER_LOG__ACCESS: expected true or false, found a text",
        "EMBER_SERVER__LISEN: unknown setting; did you mean 'EMBER_SERVER__LISTEN'?",
        "EMBER_UPSTREAM__0__API_KEY: a key is never written",
        "EMBER_UPSTREAM__2__ULR: unknown setting; did you mean 'EMBER_UPSTREAM__2__URL'?",
        "EMBER_server__listen: unknown setting; did you mean 'EMBER_SERVER__LISTEN'?",
        "--listen: '7411' is not an address and a port",
        "--upstream: 'gpu:1' ",
    ];
    let lines: Vec<&str> = faults.lines().collect();
    assert_eq!(lines.len(), starts.len(), "{faults}");
    assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{faults}");
}

#[test]
fn rules_across_settings_are_checked() {
    for (toml, fault) in [
        ("[server]\nbody_bytes_max = \"512MiB\"", "2:18: server.buffered_bytes_max (268435456) is below"),
        ("[server]\nbuffered_bytes_max = 1024", "2:22: server.buffered_bytes_max (1024) is below"),
        ("[server]\nlisten = []", "2:10: server.listen is empty"),
        (
            "[server]\nlisten = [\"localhost:1\", \"127.0.0.1:1\"]",
            "2:10: server.listen has 127.0.0.1:1 twice",
        ),
        ("[[upstream]]\nname = \"a\"", "1:1: this upstream has no url"),
        ("upstream = [{ url = \"http://a\" }]", "1:13: this upstream has no name"),
        (
            "[upstream]\nurl = \"http://a\"",
            "1:2: each model server is a section of its own; write [[upstream]]",
        ),
        ("server = 3", "1:1: 'server' is a section, not a setting; write [server]"),
        ("[server.listen]\na = 1", "1:1: server.listen: expected a list of texts"),
        (
            "upstream = [{ name = \"a\", url = \"http://a\" }, { name = \"a\", url = \"http://b\" }]",
            "1:56: two upstreams",
        ),
        (
            "models.echo = true\n[[upstream]]\nname = \"echo\"\nurl = \"http://a\"",
            "1:15: models.echo needs the name",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"http://a\"\naliases = { \"\" = \"b\" }",
            "4:18: '': a model's name has",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"http://a\"\n[upstream.metadata.m]\nnmae = 1",
            "5:1: unknown setting",
        ),
        (
            "[[upstream]]\nname = \"a\"\nurl = \"http://a\"\n[upstream.metadata.m]\npricing = [nan]",
            "5:11: upstream.met",
        ),
        ("log.level = 'info'\nlog.level = 'warn'", "2:1: duplicate key"),
    ] {
        let faults = faults_of(toml);
        assert!(
            faults.starts_with(&format!("ember.toml:{fault}")) && faults.lines().count() == 1,
            "{faults}"
        );
    }
}

#[test]
fn a_refused_value_brings_no_further_faults() {
    let toml =
        "[server]\nbody_bytes_max = \"512MiB\"\nbuffered_bytes_max = 1\n[[upstream]]\nname = 1\nurl = 2";
    assert_eq!(faults_of(toml).lines().count(), 3, "{}", faults_of(toml));
}
