//! Tests through the front door, and of the house itself.

#![expect(clippy::unwrap_used, reason = "a test that can not go on ends there")]
#![expect(unreachable_pub, reason = "the modules of one test binary share what they need")]

#[cfg(feature = "acme")]
mod acme;
mod backup;
mod browser;
mod cli;
mod compact;
mod config;
mod crash;
mod desk;
mod doctor;
mod door;
mod drain;
mod ember;
mod exposition;
mod exposure;
mod failover;
mod fault;
mod framing;
mod guard;
mod http2;
mod https_upstream;
mod ipv6;
mod limits;
mod logs;
mod metrics;
mod misbehave;
mod mishaps;
mod model;
mod operate;
mod people;
mod pipe;
mod practice;
#[path = "../../src/types/proof.rs"]
mod proof;
mod queue;
mod readme;
mod reload;
mod requests;
mod rest;
mod scan;
mod secrets;
mod secured;
mod service;
mod streams;
mod surrender;
mod tidy;
mod timers;
mod tls;
mod trail;
mod transcript;
mod upstreams;
mod usage;
mod visitor;
mod wire;
