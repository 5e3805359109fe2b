//! Why a command line did not do what it was asked, and the exit code that says so. Never: how it is printed.

use std::io;

use crate::admin::AdminError;
use crate::http::admin::ClientError;
use crate::registry::Problem;
use crate::store;

/// Exit codes; docs/operate.md lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for a reason without a code of its own.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// This user, or this key, may not.
    NotAllowed = 4,
    /// The server or the store can't be reached, is locked or busy, or could not make it durable.
    Unreachable = 5,
    /// There is no such thing; no data directory either.
    NotFound = 6,
    /// It clashes with what is there.
    Conflict = 7,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// A failed command: what is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// The thing and the reason; nothing is printed when it is empty.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure with a sentence.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// An end of which everything was said already, or nothing needs to be.
    #[must_use]
    pub fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// A failed write to stdout; whoever closed the pipe knows that he did.
    pub(super) fn of_stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::Ok);
        }
        Self::new(Exit::Failure, format!("the output could not be written: {error}"))
    }

    /// A file that could not be used.
    pub(super) fn of_file(error: &io::Error, message: impl Into<String>) -> Self {
        let exit =
            if error.kind() == io::ErrorKind::PermissionDenied { Exit::NotAllowed } else { Exit::Failure };
        Self::new(exit, message)
    }
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> Self {
        let exit = match error.problem {
            Problem::Invalid => Exit::Usage,
            Problem::NotFound => Exit::NotFound,
            Problem::NotAllowed => Exit::NotAllowed,
            Problem::Conflict => Exit::Conflict,
            Problem::Configuration => Exit::Configuration,
            Problem::TooMany | Problem::Unavailable | Problem::NotDurable => Exit::Unreachable,
        };
        let mut message = error.detail;
        if !error.faults.is_empty() {
            message = format!("{message}:\n{}", error.faults.join("\n"));
        }
        Self::new(exit, message)
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(error) => error.into(),
            ClientError::OtherVersion(_) => Self::new(Exit::Unreachable, error.to_string())
                .hint("restart the server, so that it runs the version that is installed"),
            ClientError::NoAnswer(_) => Self::new(Exit::Unreachable, error.to_string())
                .hint("it may have been done all the same: look before you ask again"),
            ClientError::Write(_) => Self::new(Exit::Failure, error.to_string()),
        }
    }
}

/// Why the data directory or a store in it can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no data directory.
    #[error("{0}")]
    Missing(String),
    /// It is someone else's.
    #[error("{0}")]
    NotAllowed(String),
    /// It can't be used as it is.
    #[error("{0}")]
    Unusable(String),
    /// It lies on a file system that takes no writes.
    #[error("{0}")]
    ReadOnly(String),
    /// The store in it can't be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
}

impl OpenError {
    /// Whether another process has the store open.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Store(store::OpenError::Locked { .. }))
    }

    /// Whether there is no store.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Store(store::OpenError::NotFound { .. }))
    }
}

/// Under systemd's ProtectSystem=strict everything is that is not named.
const READ_ONLY: &str = "`ember doctor` looks at the directory and its disk; under systemd, name the directory in \
                         ReadWritePaths= (docs/service.md)";
/// For whoever asks on his own account after a service that is another user's.
const ELSEWHERE: &str = "a service has its own, often /var/lib/ember: name it with --data";

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let message = error.to_string();
        match &error {
            // The sentence says already that `ember up` makes one.
            OpenError::Missing(_) => Self::new(Exit::NotFound, message).hint(format!(
                "`ember account create EMAIL --admin` makes one without starting; {ELSEWHERE}"
            )),
            OpenError::Store(store::OpenError::NotFound { .. }) => {
                Self::new(Exit::NotFound, message).hint(format!(
                    "`ember up` makes one and starts; `ember account create EMAIL --admin` makes one without starting; \
                     {ELSEWHERE}"
                ))
            }
            OpenError::Store(store::OpenError::Locked { .. }) => Self::new(Exit::Unreachable, message)
                .hint("`ember status` tells whether a server runs there; one server has a data directory"),
            OpenError::NotAllowed(_) => Self::new(Exit::NotAllowed, message),
            OpenError::Store(store::OpenError::Exists { .. }) => Self::new(Exit::Conflict, message),
            OpenError::Store(store::OpenError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::new(Exit::NotAllowed, message)
            }
            OpenError::ReadOnly(_) => Self::new(Exit::Unreachable, message).hint(READ_ONLY),
            OpenError::Store(store::OpenError::Io { source, .. })
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                Self::new(Exit::Unreachable, message).hint(READ_ONLY)
            }
            OpenError::Unusable(_)
            | OpenError::Store(
                store::OpenError::NotAnEmberStore { .. }
                | store::OpenError::Newer { .. }
                | store::OpenError::Damaged { .. }
                | store::OpenError::Io { .. },
            ) => Self::new(Exit::Unreachable, message)
                .hint("`ember doctor` looks at the directory, its disk and what is in it"),
        }
    }
}
