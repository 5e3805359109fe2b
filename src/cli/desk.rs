//! Getting a command done: by the running server, or by this process when none runs. The store's lock is the judge,
//! the socket is only the door. Never: what commands do.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::admin::{self, Command, Reply};
use crate::http::admin::{Client, ClientError};
use crate::types::{Actor, Origin, Timestamp};

use super::error::{CliError, Exit};
use super::settings::Settings;
use super::{Opened, Services, socket};

/// How long to wait for a server that is starting or stopping, and how often to look.
const WAIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where commands are handed in.
pub(super) struct Desk<'s> {
    pub(super) services: &'s dyn Services,
    pub(super) settings: Settings,
    uid: u32,
    wait: Duration,
}

/// Whoever can carry a command out.
pub(super) enum Hand {
    /// The running server.
    Server(Client),
    /// This process: nobody else has the store open.
    Own(Opened),
}

impl<'s> Desk<'s> {
    pub(super) fn new(services: &'s dyn Services, settings: Settings, uid: u32) -> Self {
        Self { services, settings, uid, wait: WAIT }
    }

    pub(super) fn data(&self) -> &Path {
        &self.settings.data
    }

    pub(super) fn now(&self) -> Timestamp {
        self.services.clock().now()
    }

    /// Who asks, when this process does it itself.
    pub(super) fn actor(&self) -> Actor {
        Actor::Machine { uid: self.uid }
    }

    /// Has a command carried out on a store that is there.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) fn ask(&self, command: &Command) -> Result<Reply, CliError> {
        self.ask_or_create(command, false)
    }

    /// The same; makes a store when there is none and `create` says so.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) fn ask_or_create(&self, command: &Command, create: bool) -> Result<Reply, CliError> {
        let started = Instant::now();
        loop {
            match self.reach(create, started)? {
                Hand::Own(opened) => return self.run(&opened, command),
                Hand::Server(client) => match client.ask(command) {
                    // A server that is stopping hangs up; looking again does no harm.
                    Err(ClientError::NoAnswer(_))
                        if command.only_reads() && started.elapsed() < self.wait =>
                    {
                        sleep(LOOK_EVERY);
                    }
                    answer => return Ok(answer?),
                },
            }
        }
    }

    /// Has a command carried out that only a running server can answer.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) fn ask_server(&self, command: &Command) -> Result<Reply, CliError> {
        match self.reach(false, Instant::now())? {
            Hand::Server(client) => Ok(client.ask(command)?),
            Hand::Own(_) => {
                let sentence = "no server runs on this data directory, and only a running one knows this";
                Err(CliError::new(Exit::Unreachable, sentence).hint("`ember up` or `ember serve` starts one"))
            }
        }
    }

    /// Has a command carried out by the server that runs now; looks once, and never at the file.
    ///
    /// # Errors
    /// [`CliError`]; [`Exit::Unreachable`] when none runs.
    pub(super) fn ask_running(&self, command: &Command) -> Result<Reply, CliError> {
        match socket::connect(self.data())? {
            Some(stream) => Ok(Client::new(stream).ask(command)?),
            None => Err(CliError::new(Exit::Unreachable, "no server runs on this data directory")
                .hint("`ember up` or `ember serve` starts one")),
        }
    }

    /// Whoever can carry a command out now, or within the wait.
    ///
    /// # Errors
    /// [`CliError`].
    pub(super) fn reach(&self, create: bool, started: Instant) -> Result<Hand, CliError> {
        loop {
            if let Some(stream) = socket::connect(self.data())? {
                return Ok(Hand::Server(Client::new(stream)));
            }
            match self.services.open(self.data(), create, &self.settings.rules) {
                Ok(opened) => return Ok(Hand::Own(opened)),
                Err(error) if error.is_locked() && started.elapsed() < self.wait => sleep(LOOK_EVERY),
                Err(error) if error.is_locked() => return Err(self.locked()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn run(&self, opened: &Opened, command: &Command) -> Result<Reply, CliError> {
        let registry = opened.registry.asked_from(Origin::File);
        let desk = admin::Desk {
            registry: &registry,
            meter: &opened.meter,
            clock: self.services.clock(),
            server: None,
            base_url: &self.settings.base_url,
            prices: &self.settings.prices,
        };
        Ok(admin::run(&desk, self.actor(), command)?)
    }

    fn locked(&self) -> CliError {
        let sentence = format!(
            "another process has the store in {} open and takes no commands; waited {} s",
            self.data().display(),
            self.wait.as_secs()
        );
        CliError::new(Exit::Unreachable, sentence)
            .hint("if a server is starting, try again when it is up; `fuser ember.redb` in that directory names the process")
    }

    /// A desk that gives up at once, for tests.
    #[cfg(test)]
    pub(super) fn impatient(self) -> Self {
        Self { wait: Duration::ZERO, ..self }
    }
}
