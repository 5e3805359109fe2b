//! Tests through the front door, and of the house itself.

#![expect(clippy::unwrap_used, reason = "a test that can not go on ends there")]
#![expect(unreachable_pub, reason = "the modules of one test binary share what they need")]

mod backup;
mod cli;
mod crash;
mod desk;
mod door;
mod ember;
mod readme;
mod secrets;
mod tidy;
mod transcript;
