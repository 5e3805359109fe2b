//! The closed loop: how much a server needs for what it can just do.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::moment;

use super::crowd::{Crowd, Watcher};
use super::script::Script;
use super::{Common, Window, seconds, spread, together};

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Send so many requests and no more, instead of as many as go into the time.
    #[arg(long)]
    requests: Option<u64>,
    /// Have so many requests open and no more, on each of the connections in turn.
    #[arg(long, conflicts_with = "requests")]
    at_once: Option<usize>,
}

#[derive(Default)]
struct Count {
    answers: u64,
    times: Vec<u64>,
    left: Option<u64>,
    /// Those that wait for their turn, where not every connection has a request open.
    line: Option<VecDeque<usize>>,
}

impl Watcher for Count {
    fn body(&mut self, _: usize, _: &[u8], _: u64) {}

    fn whole(&mut self, number: usize, asked_at: u64) -> Result<bool, Failure> {
        self.answers += 1;
        self.times.push(moment::now() - asked_at);
        if let Some(line) = &mut self.line {
            line.push_back(number);
            return Ok(false);
        }
        let Some(left) = &mut self.left else { return Ok(true) };
        let more = *left > 0;
        *left = left.saturating_sub(1);
        Ok(more)
    }
}

impl Count {
    fn forget(&mut self) {
        self.answers = 0;
        self.times.clear();
    }
}

pub(super) fn run(options: &Options) -> Result<Value, Failure> {
    let common = &options.common;
    let mut crowd = Crowd::new(common, Script::new(common, None)?)?;
    let mut count = Count::default();
    let window = match (options.requests, options.at_once) {
        (Some(requests), _) => so_many(&mut crowd, &mut count, common, requests)?,
        (None, Some(at_once)) => by_turns(&mut crowd, &mut count, common, at_once)?,
        (None, None) => so_long(&mut crowd, &mut count, common)?,
    };
    let about = json!({ "answers": count.answers, "length": crowd.length(), "reconnects": crowd.reconnects });
    Ok(together([about, window, spread("answer", &mut count.times)]))
}

fn so_long(crowd: &mut Crowd<'_>, count: &mut Count, common: &Common) -> Result<Value, Failure> {
    begin(crowd, common.connections as u64)?;
    crowd.until(moment::now() + seconds(common.warm), count)?;
    count.forget();
    let window = Window::begin(&common.process)?;
    crowd.until(moment::now() + seconds(common.seconds), count)?;
    window.end()
}

fn so_many(
    crowd: &mut Crowd<'_>,
    count: &mut Count,
    common: &Common,
    requests: u64,
) -> Result<Value, Failure> {
    let window = Window::begin(&common.process)?;
    let at_once = requests.min(common.connections as u64);
    count.left = Some(requests - at_once);
    begin(crowd, at_once)?;
    while count.answers < requests {
        crowd.turn(Duration::from_secs(1), count)?;
    }
    window.end()
}

/// Every connection has had its turn before anything is counted.
fn by_turns(
    crowd: &mut Crowd<'_>,
    count: &mut Count,
    common: &Common,
    at_once: usize,
) -> Result<Value, Failure> {
    count.line = Some((0..common.connections).collect());
    let mut turn = |count: &mut Count| -> Result<(), Failure> {
        let open = |count: &Count| common.connections - count.line.as_ref().map_or(0, VecDeque::len);
        while open(count) < at_once {
            let Some(number) = count.line.as_mut().and_then(VecDeque::pop_front) else { break };
            crowd.ask(number, moment::now())?;
        }
        crowd.turn(Duration::from_millis(100), count)?;
        Ok(())
    };
    let warm = moment::now() + seconds(common.warm);
    while moment::now() < warm || count.answers < common.connections as u64 {
        turn(count)?;
    }
    count.forget();
    let window = Window::begin(&common.process)?;
    let end = moment::now() + seconds(common.seconds);
    while moment::now() < end {
        turn(count)?;
    }
    window.end()
}

fn begin(crowd: &mut Crowd<'_>, members: u64) -> Result<(), Failure> {
    (0..members as usize).try_for_each(|number| crowd.ask(number, moment::now()))
}
