//! The load generator: requests on one thread, every answer checked, and one line of JSON at the end. What goes wrong
//! ends it: a bench that measures errors is worth nothing.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::accounting::Used;
use crate::moment;

mod closed;
mod crowd;
mod idle;
mod open;
mod script;
mod streams;

#[derive(clap::Subcommand)]
pub(crate) enum Load {
    /// Each connection asks again as soon as its answer is whole.
    Closed(closed::Options),
    /// So many requests a second, whatever the answers take.
    Open(open::Options),
    /// Streams side by side, with a stamp in every chunk.
    Streams(streams::Options),
    /// Connections that do nothing, after one answer each, until stdin ends.
    Idle(idle::Options),
}

#[derive(clap::Args)]
struct Common {
    /// Where to send requests.
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// A file with the keys to use in turn, one on a line; without it one that was made up, with a wrong checksum.
    #[arg(long)]
    keys: Option<PathBuf>,
    /// Give the key that was made up a right checksum, so that it has to be looked up.
    #[arg(long)]
    well_formed: bool,
    /// How many of the keys.
    #[arg(long, default_value_t = usize::MAX)]
    keys_used: usize,
    /// Models to ask for in turn: bench alone, or bench-000, bench-001 ...
    #[arg(long, default_value_t = 1)]
    models: usize,
    /// Bytes of a request's body at least.
    #[arg(long, default_value_t = 0)]
    body_bytes: usize,
    /// Ask for an answer of 32 kB.
    #[arg(long)]
    long_answer: bool,
    /// Have an administrator's token in place of a key, and make keys whose names begin like this.
    #[arg(long)]
    issue: Option<String>,
    /// The status that every answer must have.
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 0.2)]
    warm: f64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Seconds after which it is given up, over and above those.
    #[arg(long, default_value_t = 60.0)]
    patience: f64,
    /// Processes whose use of the processor is counted in the same time.
    #[arg(long)]
    process: Vec<u32>,
}

pub(crate) fn run(load: Load) -> Result<(), Failure> {
    let said = match load {
        Load::Closed(options) => closed::run(&options)?,
        Load::Open(options) => open::run(&options)?,
        Load::Streams(options) => streams::run(&options)?,
        Load::Idle(options) => idle::run(&options)?,
    };
    say(&said)
}

fn say(value: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// A stretch of time that is counted, with what the processes used in it.
struct Window {
    began: u64,
    used: Used,
    processes: Vec<u32>,
}

impl Window {
    fn begin(processes: &[u32]) -> Result<Self, Failure> {
        Ok(Self { used: Used::of(processes)?, began: moment::now(), processes: processes.to_vec() })
    }

    fn end(&self) -> Result<Value, Failure> {
        let seconds = (moment::now() - self.began) as f64 / 1e9;
        let used = Used::of(&self.processes)?.since(self.used);
        Ok(json!({ "seconds": seconds, "cpu_ns": used.nanos, "cpu_by_ticks_ns": used.by_ticks }))
    }
}

/// The middle, the 99th percentile and the longest, in nanoseconds.
fn spread(name: &str, times: &mut [u64]) -> Value {
    times.sort_unstable();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).or(times.last()).copied();
    json!({
        format!("{name}_p50_ns"): at(0.5),
        format!("{name}_p99_ns"): at(0.99),
        format!("{name}_max_ns"): times.last(),
    })
}

/// Objects as one.
fn together(parts: impl IntoIterator<Item = Value>) -> Value {
    let mut all = serde_json::Map::new();
    for part in parts {
        if let Value::Object(members) = part {
            all.extend(members);
        }
    }
    Value::Object(all)
}

fn seconds(count: f64) -> u64 {
    moment::nanos(Duration::from_secs_f64(count))
}
