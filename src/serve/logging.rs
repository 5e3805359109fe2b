//! Log lines on stderr: text on a terminal, JSON otherwise. Never: what is in them.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
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

/// Starts logging. Lines of the libraries below stay at warnings: the finest level is for Ember's own.
pub(super) fn start(level: Level, style: Style, access: bool) {
    let terminal = std::io::stderr().is_terminal();
    let filter = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("ember_gateway", level)
        .with_target("audit", Level::INFO)
        .with_target("access", if access { Level::INFO } else { Level::ERROR });
    let json = style == Style::Json || (style == Style::Auto && !terminal);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first one's settings.
    let _ = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(terminal)).try_init()
    };
}
