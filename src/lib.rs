//! Ember: accounts, API keys and byte-exact forwarding in front of OpenAI-compatible model servers.
//!
//! The floors, from the ground up; a lower one never names a higher one (`docs/architecture.md`).

pub mod types;

pub mod tls;

pub mod metrics;

pub mod store;

pub mod registry;

pub mod meter;

pub mod gate;

pub mod admin;

pub mod upstream;

pub mod http;

pub mod config;

pub mod cli;

pub mod serve;

#[cfg(test)]
mod seeds;
