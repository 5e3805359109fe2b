//! Who has the store: a server that answers, somebody else, or nobody. Never: what is in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::admin::{self, Command, Reply, ServerStatus};
use crate::cli::desk::Desk;
use crate::cli::error::{CliError, Exit};
use crate::cli::{Looked, OpenError, socket};
use crate::http::admin::{Client, ClientError, SOCKET, VERSION};
use crate::types::Origin;
use crate::types::moment::both;

use super::finding::Finding;

const CHECK: &str = "server";

/// Who can tell of the store.
pub(super) enum Witness {
    /// The running server.
    Server(ServerStatus),
    /// This process looks at the file itself.
    File(Looked),
    /// Nobody; that was said.
    Nobody,
}

impl Witness {
    /// The running server's process id.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Server(server) => Some(server.pid),
            Self::File(_) | Self::Nobody => None,
        }
    }

    /// The running server, as it answered.
    pub(super) fn into_server(self) -> Option<ServerStatus> {
        match self {
            Self::Server(server) => Some(server),
            Self::File(_) | Self::Nobody => None,
        }
    }

    /// Has a command carried out that only reads.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) fn ask(&self, command: &Command, desk: &Desk<'_>) -> Result<Reply, CliError> {
        match self {
            Self::Server(_) => desk.ask_running(command),
            Self::File(looked) => {
                let registry = looked.registry.asked_from(Origin::File);
                let asked = admin::Desk {
                    registry: &registry,
                    meter: &looked.meter,
                    clock: desk.services.clock(),
                    server: None,
                    base_url: &desk.settings.base_url,
                    prices: &desk.settings.prices,
                };
                Ok(admin::run(&asked, desk.actor(), command)?)
            }
            Self::Nobody => Err(CliError::new(Exit::Unreachable, "nobody can tell of the store")),
        }
    }
}

/// Who has the store, as a finding and as someone to ask.
pub(super) fn find(desk: &Desk<'_>) -> (Finding, Witness) {
    match socket::connect(desk.data()) {
        Ok(Some(stream)) => ask_server(Client::new(stream), desk),
        Ok(None) => look(desk),
        Err(error) => (Finding::of_error(CHECK, error), Witness::Nobody),
    }
}

fn ask_server(client: Client, desk: &Desk<'_>) -> (Finding, Witness) {
    match client.ask(&Command::Status) {
        Ok(Reply::Status(admin::Status { server: Some(server), .. })) => {
            let since = both(server.started_at, desk.now());
            let found = format!("ember {VERSION} runs as process {} since {since}", server.pid);
            (Finding::ok(CHECK, found), Witness::Server(server))
        }
        Ok(_) => (Finding::fail(CHECK, "its answer makes no sense", "restart it"), Witness::Nobody),
        Err(error @ ClientError::OtherVersion(_)) => {
            let next = "restart the server, so that it runs the version that is installed";
            (Finding::warn(CHECK, error.to_string(), next), Witness::Nobody)
        }
        Err(error) => (Finding::of_error(CHECK, error.into()), Witness::Nobody),
    }
}

fn look(desk: &Desk<'_>) -> (Finding, Witness) {
    let file = desk.data().join(super::DATABASE);
    match desk.services.look(&file) {
        Ok(looked) => {
            let stale = desk.data().join(SOCKET).symlink_metadata().is_ok();
            let left =
                if stale { "; the socket of one that was killed is left, and does no harm" } else { "" };
            (Finding::ok(CHECK, format!("none runs on this data directory{left}")), Witness::File(looked))
        }
        Err(error) if error.is_locked() => (held(&file), Witness::Nobody),
        Err(error) => (unusable(error), Witness::Nobody),
    }
}

fn held(file: &Path) -> Finding {
    let who = holder(file).unwrap_or_else(|| "another process".to_string());
    let found = format!("{who} has {} open and takes no commands", file.display());
    let next = "wait, if a server is starting there or a command is at work; else end that process";
    Finding::fail(CHECK, found, next)
}

/// The process that has a file locked, as the kernel's list of locks (proc_locks(5)) has it; nothing, where the lock is of
/// a kind that has no process, or of another machine.
fn holder(file: &Path) -> Option<String> {
    let facts = file.metadata().ok()?;
    let device = (rustix::fs::major(facts.dev()), rustix::fs::minor(facts.dev()));
    let inode = format!("{:02x}:{:02x}:{}", device.0, device.1, facts.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let mut holders = locks.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().filter(|word| *word != "->").collect();
        let pid: u32 = words.get(4)?.parse().ok()?;
        (*words.get(5)? == inode && pid > 0).then_some(pid)
    });
    let pid = holders.find(|pid| *pid != std::process::id())?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}

fn unusable(error: OpenError) -> Finding {
    let is_missing = error.is_missing();
    let error = CliError::from(error);
    if is_missing {
        return Finding::of_error("store", error);
    }
    let next = "nothing was changed; see \"Upgrade, move, recover\" in docs/operate.md";
    Finding::fail("store", error.message, next)
}
