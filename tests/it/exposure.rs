//! What `ember doctor` says of TLS: whether keys travel in clear, who can read which file, until when a certificate is good.

use std::fs;

use crate::doctor::{doctor, with_mode};
use crate::ember::Home;
use crate::pipe::{CERT_FILE, KEY_FILE, Pair, SECTION};

const ECHO: &str = "[models]\necho = true\n";
const OPEN: &str = "listen = \"0.0.0.0:0\"\n";
const ACME: &str =
    "[server.acme]\ndomains = [\"ai.example.com\"]\ndirectory = \"https://ca.example.test/dir\"\n";
/// Where what that CA gave is kept.
#[cfg(feature = "acme")]
const KEPT: &str = "acme/ca.example.test-e7340729";

fn home(config: &str) -> Home {
    let home = Home::new(config);
    with_mode(&home.file("ember.toml"), 0o600);
    home
}

#[test]
fn bug_only_keys_are_secrets() {
    let home = home(&format!("{SECTION}{ECHO}"));
    Pair::new().put(home.folder.path());
    with_mode(&home.file(CERT_FILE), 0o644);
    doctor(&home, &[]).has_none("secrets");
    with_mode(&home.file(KEY_FILE), 0o604);
    doctor(&home, &[]).has("warn", "secrets", KEY_FILE);
    if cfg!(not(feature = "acme")) {
        return;
    }
    let acme = format!("{ACME}ca_file = \"cert.pem\"\n{ECHO}");
    fs::write(home.file("ember.toml"), acme).unwrap();
    let report = doctor(&home, &[]);
    report.has_none("secrets");
    report.has("ok", "configuration", "is without fault");
}

#[test]
fn bug_listeners_that_speak_tls_are_not_in_clear() {
    let home = home("");
    fs::write(home.file("ember.toml"), format!("[server]\n{OPEN}{SECTION}{ECHO}")).unwrap();
    Pair::new().put(home.folder.path());
    let report = doctor(&home, &[]);
    report.has_none("listeners");
    report.has("ok", "listeners", "https://0.0.0.0:0");
    for (more, warned) in [
        (ACME, false),
        ("trusted_proxies = [\"10.0.0.7\"]\n", false),
        ("trusted_proxies = [\"0.0.0.0/0\"]\n", true),
        ("", true),
    ] {
        fs::write(home.file("ember.toml"), format!("[server]\n{OPEN}{more}{ECHO}")).unwrap();
        let found = doctor(&home, &[]).found("warn", "listeners");
        assert_eq!(found.contains("in clear"), warned, "{more}: {found}");
    }
}

#[test]
fn a_certificate_of_files_is_told_with_its_end() {
    let home = home(&format!("{SECTION}{ECHO}"));
    Pair::new().put(home.folder.path());
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    for (pair, level, words, exit) in [
        (Pair::valid_days(-1, 100), "ok", "for ember.test, 127.0.0.1, until 20", 0),
        (Pair::valid_days(-1, 13), "warn", "it expires in 12 days", 0),
        (Pair::valid_days(1, 100), "warn", "it holds from", 0),
        (Pair::valid_days(-9, -1), "fail", "it expired on", 1),
    ] {
        pair.put(home.folder.path());
        let report = doctor(&home, &[]);
        report.has(level, "certificate", words);
        assert_eq!(report.exit, exit, "{words}");
    }
    fs::write(home.file("ember.toml"), ECHO).unwrap();
    let report = doctor(&home, &[]);
    report.has_none("certificate");
    assert_eq!(report.found("ok", "certificate"), "");
}

#[cfg(feature = "acme")]
#[test]
fn a_certificate_of_a_ca_is_told_with_its_end() {
    let home = home(&format!("{ACME}{ECHO}"));
    home.ok(&["account", "create", "ana@example.com", "--admin"]);
    doctor(&home, &[]).has("warn", "certificate", "there is none yet for ai.example.com");
    let folder = home.data().join(KEPT);
    fs::create_dir_all(&folder).unwrap();
    let keep = |text: String| fs::write(folder.join("certificate.pem"), text).unwrap();
    for (pair, level, words) in [
        (Pair::valid_days(-1, 89), "ok", "for ember.test, 127.0.0.1, until 20"),
        (Pair::valid_days(-1, 5), "ok", "until 20"),
        (Pair::valid_days(-70, 20), "warn", "to be renewed since"),
        (Pair::valid_days(-90, -1), "fail", "it expired on"),
    ] {
        keep(pair.key + &pair.chain);
        doctor(&home, &[]).has(level, "certificate", words);
    }
    keep("torn".to_string());
    doctor(&home, &[]).has("warn", "certificate", "can't be used");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "it was set aside");
}
