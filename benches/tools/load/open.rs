//! The open loop: what an answer takes when requests come at their own pace.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
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
    /// Requests in a second.
    #[arg(long, default_value_t = 500)]
    rate: u64,
}

struct Line {
    idle: Vec<usize>,
    times: Vec<u64>,
}

impl Watcher for Line {
    fn body(&mut self, _: usize, _: &[u8], _: u64) {}

    fn whole(&mut self, number: usize, asked_at: u64) -> Result<bool, Failure> {
        self.times.push(moment::now() - asked_at);
        self.idle.push(number);
        Ok(false)
    }
}

pub(super) fn run(options: &Options) -> Result<Value, Failure> {
    let common = &options.common;
    let mut crowd = Crowd::new(common, Script::new(common, None)?)?;
    let mut line = Line { idle: (0..common.connections).collect(), times: Vec::new() };
    let timer = Timer::new(&crowd)?;
    let gap = 1_000_000_000 / options.rate;
    on_schedule(&mut crowd, &mut line, &timer, gap, seconds(common.warm) / gap)?;
    line.times.clear();
    let window = Window::begin(&common.process)?;
    on_schedule(&mut crowd, &mut line, &timer, gap, seconds(common.seconds) / gap)?;
    let about =
        json!({ "answers": line.times.len(), "length": crowd.length(), "reconnects": crowd.reconnects });
    Ok(together([about, window.end()?, spread("answer", &mut line.times)]))
}

/// Sends so many requests and waits for all answers. The time of each counts from when it was to be sent.
fn on_schedule(
    crowd: &mut Crowd<'_>,
    line: &mut Line,
    timer: &Timer,
    gap: u64,
    requests: u64,
) -> Result<(), Failure> {
    let began = moment::now();
    let answers = line.times.len() as u64 + requests;
    let mut sent = 0;
    let mut waiting: VecDeque<u64> = VecDeque::new();
    while (line.times.len() as u64) < answers {
        while sent < requests && began + sent * gap <= moment::now() {
            waiting.push_back(began + sent * gap);
            sent += 1;
        }
        while let Some(at) = waiting.front().copied() {
            let Some(number) = line.idle.pop() else { break };
            crowd.ask(number, at)?;
            waiting.pop_front();
        }
        if sent < requests {
            timer.set(began + sent * gap)?;
        }
        crowd.turn(Duration::from_secs(1), line)?;
    }
    Ok(())
}

/// A timer of the system's that is as precise as its clock; waits of epoll are not.
struct Timer(OwnedFd);

impl Timer {
    fn new(crowd: &Crowd<'_>) -> Result<Self, Failure> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        crowd.add_timer(&mut SourceFd(&timer.as_raw_fd()))?;
        Ok(Self(timer))
    }

    fn set(&self, moment: u64) -> Result<(), Failure> {
        let second = 1_000_000_000;
        let at =
            Timespec { tv_sec: i64::try_from(moment / second)?, tv_nsec: i64::try_from(moment % second)? };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}
