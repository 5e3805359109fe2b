//! Log lines on stderr: text on a terminal, JSON otherwise. Never: what is in them.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which lines are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    /// The finest level of Ember's own lines. Those of the libraries below stay at warnings.
    pub(super) level: Level,
    /// A line for each request.
    pub(super) access: bool,
    /// A line for each change, beside the event in the store.
    pub(super) audit: bool,
}

/// The log that was started.
#[derive(Clone)]
pub(super) struct Log(reload::Handle<Targets, Registry>);

impl Log {
    /// Writes other lines from now on.
    pub(super) fn set(&self, lines: Lines) {
        // There is nothing to change when another log was started first (tests).
        let _ = self.0.reload(filter(lines));
    }
}

fn filter(lines: Lines) -> Targets {
    let Lines { level, access, audit } = lines;
    let wanted = |wanted| if wanted { Level::INFO } else { Level::ERROR };
    Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("ember_gateway", level)
        .with_target("audit", wanted(audit))
        .with_target("access", wanted(access))
}

/// Starts logging.
pub(super) fn start(style: Style, lines: Lines) -> Log {
    let terminal = std::io::stderr().is_terminal();
    let (filter, handle) = reload::Layer::new(filter(lines));
    let json = style == Style::Json || (style == Style::Auto && !terminal);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first one's settings.
    let _ = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(terminal)).try_init()
    };
    Log(handle)
}
