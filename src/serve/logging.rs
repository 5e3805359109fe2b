//! Log lines on stderr: text on a terminal, JSON otherwise. Never: what is in them.

mod spool;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::http::{AccessLog, Look};
use crate::types::Clock;

use spool::Spool;

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

/// The log of a server.
#[derive(Clone)]
pub(super) struct Log {
    filter: reload::Handle<Targets, Registry>,
    look: Look,
    access: Arc<AtomicBool>,
    spool: Arc<Spool>,
}

/// The first of some access lines waits for so long at most. On a terminal none does.
const GATHER: Duration = Duration::from_millis(250);

impl Log {
    /// Writes other lines from now on.
    pub(super) fn set(&self, lines: Lines) {
        self.access.store(lines.access, Ordering::Relaxed);
        // There is nothing to change when another log was started first (tests).
        let _ = self.filter.reload(filter(lines));
    }

    /// Where access lines go.
    pub(super) fn access(&self, clock: Arc<dyn Clock>) -> AccessLog {
        let spool = Arc::clone(&self.spool);
        AccessLog::new(self.look, Arc::clone(&self.access), clock, Box::new(move |line| spool.gather(line)))
    }

    /// Comes back when everything is written, but does not wait for ever.
    pub(super) fn flush(&self) {
        self.spool.flush();
    }

    /// The lines that stderr did not take, and that could not be kept.
    pub(super) fn lines_lost(&self) -> u64 {
        self.spool.lost()
    }
}

#[cfg(test)]
impl Log {
    /// One that nobody reads.
    pub(super) fn silent() -> Self {
        let lines = Lines { level: Level::ERROR, access: false, audit: false };
        let (_, filter) = reload::Layer::new(filter(lines));
        let spool = Spool::start(io::sink(), GATHER, Box::new(|_| ())).unwrap();
        Self { filter, look: Look::Json, access: Arc::default(), spool }
    }
}

/// What the other lines are written with: each is whole, and comes at once.
struct Said(Arc<Spool>);

impl Write for Said {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// Starts the log of a server: access lines are gathered, the others come at once, all in their order.
///
/// # Errors
/// Those of the system, when there can be no thread that writes.
pub(super) fn start(style: Style, lines: Lines) -> io::Result<Log> {
    let is_terminal = io::stderr().is_terminal();
    let gather = if is_terminal { Duration::ZERO } else { GATHER };
    let lost = |lines| tracing::warn!(lines, "log lines were lost: stderr did not take them");
    let spool = Spool::start(io::stderr(), gather, Box::new(lost))?;
    let (access, said) = (Arc::new(AtomicBool::new(lines.access)), Arc::clone(&spool));
    let (filter, handle) = reload::Layer::new(filter(lines));
    let look = look(style, is_terminal);
    begin(filter, look, move || Said(Arc::clone(&said)));
    tell_of_panics(Arc::clone(&spool));
    Ok(Log { filter: handle, look, access, spool })
}

/// Starts the log of a command, which has no access lines.
pub(super) fn start_plain(lines: Lines) {
    begin(filter(lines), look(Style::Text, io::stderr().is_terminal()), io::stderr);
}

fn look(style: Style, is_terminal: bool) -> Look {
    match (style, is_terminal) {
        (Style::Json, _) | (Style::Auto, false) => Look::Json,
        (Style::Text, false) => Look::Text,
        (Style::Text | Style::Auto, true) => Look::Colour,
    }
}

fn begin<W>(filter: impl Layer<Registry> + Send + Sync, look: Look, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first one's settings.
    let _ = match look {
        Look::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        Look::Text => registry.with(lines.with_ansi(false)).try_init(),
        Look::Colour => registry.with(lines.with_ansi(true)).try_init(),
    };
}

/// Says what the standard library says of a panic, in the log: on its own way to stderr a thread that serves could be
/// held for ever by one who does not read.
fn tell_of_panics(spool: Arc<Spool>) {
    std::panic::set_hook(Box::new(move |panic| {
        let current = std::thread::current();
        let mut text = format!("thread '{}' {panic}\n", current.name().unwrap_or("<unnamed>"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{trace}\n"));
        }
        spool.say(text.as_bytes());
    }));
}
