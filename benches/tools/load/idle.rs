//! Connections that have had one answer each and do nothing any more, for looking at the memory that they take.

use std::io::Read;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::moment;

use super::crowd::{Crowd, Watcher};
use super::script::Script;
use super::{Common, say};

/// Requests open at once while the connections are being used for the first time.
const AT_ONCE: usize = 32;

#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
}

#[derive(Default)]
struct Answers(usize);

impl Watcher for Answers {
    fn body(&mut self, _: usize, _: &[u8], _: u64) {}

    fn whole(&mut self, _: usize, _: u64) -> Result<bool, Failure> {
        self.0 += 1;
        Ok(false)
    }
}

pub(super) fn run(options: &Options) -> Result<Value, Failure> {
    let common = &options.common;
    let mut crowd = Crowd::empty(common, Script::new(common, None)?)?;
    let mut answers = Answers::default();
    let mut asked = 0;
    while answers.0 < common.connections {
        while asked < common.connections && asked - answers.0 < AT_ONCE {
            // Opened only now: a server need not wait for long for the first request.
            crowd.add()?;
            crowd.ask(asked, moment::now())?;
            asked += 1;
        }
        crowd.turn(Duration::from_secs(1), &mut answers)?;
    }
    say(&json!({ "ready": true }))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    // A connection that was closed meanwhile is opened anew, and counted.
    for _ in 0..common.connections {
        crowd.turn(Duration::ZERO, &mut answers)?;
    }
    Ok(json!({ "connections": common.connections, "answers": answers.0, "reconnects": crowd.reconnects }))
}
