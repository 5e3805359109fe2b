//! README's shell blocks, run as a reader would run them.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::ember::{Ember, Home, eventually, program};

const README: &str = include_str!("../../README.md");

/// The two commands that have to be enough; `tests/run` itself runs the first as it stands here.
const COMMANDS: [&str; 2] = ["cargo run --release -- up", "./tests/run"];

/// What stands between ```sh and ```.
fn shell_blocks() -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn the_first_block_is_the_two_commands() {
    let first = shell_blocks()[0];
    let commands: Vec<_> = first.lines().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(commands, COMMANDS);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
    assert_ne!(std::fs::metadata(script).unwrap().permissions().mode() & 0o111, 0);
}

#[test]
fn the_other_blocks_run_one_after_the_other_as_they_stand() {
    let home = Home::new("");
    let mut up = program();
    up.current_dir(home.folder.path()).env("XDG_DATA_HOME", home.folder.path());
    // Nothing may be found on this machine's ports: the snippets name the stand-in.
    let echo = home.file("echo.toml");
    std::fs::write(&echo, "[models]\necho = true\n").unwrap();
    up.arg("-c").arg(&echo).args(["up", "--listen", "127.0.0.1:0"]);
    let server = Ember::start(up);
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_ember")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var_os("PATH").unwrap().to_str().unwrap());
    for block in &shell_blocks()[1..] {
        let script = block.replace("127.0.0.1:7411", &server.address.to_string());
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &script]).current_dir(home.folder.path());
        shell.env_clear().env("PATH", &path).env("XDG_DATA_HOME", home.folder.path());
        let output = shell.output().unwrap();
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{block}\n{said}\n{wrong}");
        assert!(!said.contains("\"error\""), "{block}\n{said}");
    }
    // The last block has revoked the key of the second.
    let key = std::fs::read_to_string(home.file("my-app.key.new")).unwrap();
    eventually("the revoked key to be refused", || server.get("/v1/models", Some(key.trim())).status == 401);
}
