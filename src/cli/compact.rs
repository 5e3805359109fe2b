//! `ember compact`: the data file as small as what is in it. Never: how its pages are moved.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::store::{CompactStep, Compacted};

use super::args::Format;
use super::desk::Desk;
use super::error::{CliError, Exit};
use super::size::size;
use super::socket;
use super::table::plain;
use super::terminal::Screen;

/// The turning bar, for those who wait.
const TURNS: [&str; 4] = ["|", "/", "-", "\\"];

pub(super) fn run(desk: &Desk<'_>, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    if socket::connect(desk.data())?.is_some() {
        return Err(running(desk));
    }
    let began = Instant::now();
    let mut turns = TURNS.iter().cycle();
    let compacted = desk.services.compact(desk.data(), &mut |step, bytes| {
        let turn = turns.next().copied().unwrap_or_default();
        screen.progress(&line(turn, step, bytes, began.elapsed()));
    });
    screen.progress("");
    match compacted {
        Ok(compacted) => show(&compacted, began.elapsed(), screen),
        Err(error) if error.is_locked() => Err(running(desk)),
        Err(error) => Err(error.into()),
    }
}

/// There is no percentage: how many pages will move is known when they have moved.
fn line(turn: &str, step: CompactStep, bytes: u64, elapsed: Duration) -> String {
    let doing = match step {
        CompactStep::Reading => "reading every record",
        CompactStep::Moving => "moving pages",
        CompactStep::Proving => "reading every record again",
    };
    format!("{turn} {doing}, the file has {}, {} s", size(bytes), elapsed.as_secs())
}

fn running(desk: &Desk<'_>) -> CliError {
    let sentence =
        format!("a server or a command has the store in {} open; nothing was changed", desk.data().display());
    CliError::new(Exit::Conflict, sentence).hint("stop the server, compact, and start it again")
}

fn show(done: &Compacted, took: Duration, screen: &mut Screen<'_, '_>) -> Result<(), CliError> {
    let Compacted { bytes_before, bytes_after, rows } = *done;
    match screen.format {
        Format::Json => {
            let json = json!({ "object": "compaction", "bytes_before": bytes_before, "bytes_after": bytes_after,
                "records": rows, "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX) });
            screen.data(&format!("{json:#}"))
        }
        Format::Plain | Format::Csv => {
            let row = [bytes_before, bytes_after, rows].map(|number| number.to_string()).to_vec();
            screen.data(&plain(&[row]).join("\n"))
        }
        Format::Table => {
            screen.data(&format!("Before  {}\nNow     {}", size(bytes_before), size(bytes_after)))?;
            screen.note(&format!(
                "All {rows} records were read before and after, in {:.1} s.",
                took.as_secs_f64()
            ));
            Ok(())
        }
    }
}
