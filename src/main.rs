//! The `ember` program: arguments in, exit code out.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use ember_gateway::cli::{self, Terminal};
use ember_gateway::serve::Machine;

fn main() -> ExitCode {
    let mut terminal = terminal();
    let machine = Machine::new(output_is_kept(&terminal)).in_terminal(terminal.stdin_is_terminal);
    ExitCode::from(cli::run(std::env::args_os(), &mut terminal, &machine))
}

#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn terminal() -> Terminal<'static> {
    let env = std::env::vars_os();
    let env = env.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Terminal {
        stdin: Box::new(io::stdin()),
        stdout: Box::new(io::stdout()),
        stderr: Box::new(io::stderr()),
        stdin_is_terminal: io::stdin().is_terminal(),
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        env: env.collect(),
        cwd: std::env::current_dir().unwrap_or_default(),
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Under systemd, and as a container's first process, stdout lands in a log that others may read.
fn output_is_kept(terminal: &Terminal<'_>) -> bool {
    let journal = terminal.variable("JOURNAL_STREAM").is_some_and(is_stdout);
    (journal || std::process::id() == 1) && !terminal.stdout_is_terminal
}

/// `JOURNAL_STREAM` is inherited: it holds only for a stream with its device and inode (systemd.exec(5)).
fn is_stdout(journal: &str) -> bool {
    let stdout = rustix::fs::fstat(io::stdout());
    stdout.is_ok_and(|facts| journal == format!("{}:{}", facts.st_dev, facts.st_ino))
}
