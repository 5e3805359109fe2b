//! What whoever started this process arranged for it: where notices go, sockets that are bound already, a container.
//! Never: uses any of it.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use listenfd::ListenFd;

use crate::cli::Terminal;

/// The facts, read once at the start.
#[derive(Default)]
pub struct Surroundings {
    /// What goes to stdout lands in a log that others may read, so that no secret must go there.
    pub(super) output_is_kept: bool,
    /// `NOTIFY_SOCKET`: where the service manager hears how it goes (sd_notify(3)).
    pub(super) notify_socket: Option<String>,
    /// `WATCHDOG_USEC`: how long the service manager waits for a sign of life (sd_watchdog_enabled(3)).
    pub(super) watchdog: Option<Duration>,
    /// Sockets that the service manager bound and passed (sd_listen_fds(3)), each with a reason when it is of no use.
    pub(super) sockets: Vec<Result<TcpListener, String>>,
    /// A person at a terminal started it: then it ends when the terminal is closed.
    pub(super) at_terminal: bool,
    /// Loopback addresses lead to nobody outside.
    pub(super) is_container: bool,
}

impl Surroundings {
    /// Reads them. To be called while the process has one thread: what was passed is taken out of the environment.
    #[must_use]
    pub fn of(terminal: &Terminal<'_>, output_is_kept: bool) -> Self {
        let is_for_us = |name| is_own_pid(terminal.variable(name));
        let watched = terminal.variable("WATCHDOG_PID").is_none() || is_for_us("WATCHDOG_PID");
        let is_container = is_container(terminal, Path::new("/"));
        let is_entry = is_container && is_started_from_outside() && !terminal.stdout_is_terminal;
        let sockets = if is_for_us("LISTEN_PID") { passed(ListenFd::from_env()) } else { Vec::new() };
        Self {
            output_is_kept: output_is_kept || is_entry,
            notify_socket: terminal.variable("NOTIFY_SOCKET").map(str::to_string),
            watchdog: terminal.variable("WATCHDOG_USEC").filter(|_| watched).and_then(watchdog),
            sockets,
            at_terminal: terminal.stdin_is_terminal,
            is_container,
        }
    }
}

fn is_own_pid(text: Option<&str>) -> bool {
    text.and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}

fn watchdog(text: &str) -> Option<Duration> {
    text.parse().ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

fn passed(mut fds: ListenFd) -> Vec<Result<TcpListener, String>> {
    (0..fds.len()).filter_map(|index| take(&mut fds, index).transpose()).collect()
}

fn take(fds: &mut ListenFd, index: usize) -> Result<Option<TcpListener>, String> {
    let Some(socket) = fds.take_tcp_listener(index).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    // With Accept=yes the manager passes one connection instead.
    match rustix::net::sockopt::socket_acceptconn(&socket) {
        Ok(true) => Ok(Some(socket)),
        Ok(false) => Err(format!("descriptor {} of those passed does not listen", index + 1)),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether this is a container's command although not its first process: that is a small init, or, where several
/// containers see each other's processes, nobody who can be seen.
fn is_started_from_outside() -> bool {
    rustix::process::getppid().is_none_or(rustix::process::Pid::is_init)
}

/// The marks that Docker, Podman, systemd-nspawn, LXC and Kubernetes leave.
fn is_container(terminal: &Terminal<'_>, root: &Path) -> bool {
    let files = [".dockerenv", "run/.containerenv"];
    let variables = ["container", "KUBERNETES_SERVICE_HOST"];
    files.iter().any(|file| root.join(file).exists())
        || variables.iter().any(|name| terminal.variable(name).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(env: &[(&str, &str)]) -> Terminal<'static> {
        Terminal {
            stdin: Box::new(std::io::empty()),
            stdout: Box::new(std::io::sink()),
            stderr: Box::new(std::io::sink()),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            cwd: std::path::PathBuf::new(),
            uid: 1000,
        }
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let own = std::process::id().to_string();
        let read = |env: &[(&str, &str)]| Surroundings::of(&terminal(env), false).watchdog;
        assert_eq!(read(&[("WATCHDOG_USEC", "3000000")]), Some(Duration::from_secs(3)));
        assert_eq!(
            read(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &own)]),
            Some(Duration::from_secs(3))
        );
        assert_eq!(read(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]), None);
        for odd in ["0", "-1", "soon", ""] {
            assert_eq!(read(&[("WATCHDOG_USEC", odd)]), None, "{odd}");
        }
    }

    #[test]
    fn a_container_is_known_by_its_marks() {
        let root = tempfile::tempdir().unwrap();
        assert!(!is_container(&terminal(&[]), root.path()));
        assert!(is_container(&terminal(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]), root.path()));
        assert!(is_container(&terminal(&[("container", "podman")]), root.path()));
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert!(is_container(&terminal(&[]), root.path()));
    }
}
