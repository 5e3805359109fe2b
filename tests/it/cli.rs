//! The command line, with the server stopped and running.

use std::path::PathBuf;

use crate::ember::Home;
use crate::transcript::replay;

fn commands() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/commands.txt")
}

/// A process that changes the store itself logs what it did.
fn is_log(line: &str) -> bool {
    line.contains(" INFO audit: ")
}

#[test]
fn a_session_with_the_server_stopped_is_as_it_is_written_down() {
    replay(&Home::new(""), &commands(), is_log);
}

#[test]
fn the_same_session_with_the_server_running_is_no_different() {
    let home = Home::new("");
    let _server = home.serve();
    replay(&home, &commands(), is_log);
}
