//! Tests through the front door, and of the house itself.

#![expect(clippy::unwrap_used, reason = "a test that can not go on ends there")]
#![expect(unreachable_pub, reason = "the modules of one test binary share what they need")]

mod backup;
mod browser;
mod cli;
mod config;
mod crash;
mod desk;
mod door;
mod drain;
mod ember;
mod framing;
mod guard;
mod http2;
mod limits;
mod model;
mod people;
mod practice;
mod queue;
mod readme;
mod reload;
mod requests;
mod scan;
mod secrets;
mod streams;
mod surrender;
mod tidy;
mod timers;
mod trail;
mod transcript;
mod usage;
mod wire;
