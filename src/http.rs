//! The public door: listening, HTTP/1.1 and HTTP/2, routing, bounds, and the words of every refusal.
//! Never: who may pass (the gate says), what a model server is (upstream knows).

mod access;
pub mod admin;
mod allowance;
mod answer;
mod body;
mod browser;
mod conduct;
mod connection;
mod dashboard;
mod draft;
mod ear;
mod ending;
mod envelope;
mod error;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handshake;
mod health;
mod listen;
mod operator;
mod pages;
mod pulse;
mod request;
mod route;
mod scrape;
mod service;
mod site;
mod socket;
mod stop;
mod supervisor;
mod surrender;
mod transport;
mod v1;

use std::time::Duration;

pub use access::{AccessLog, Look, TakeLine};
pub use browser::Origins;
pub use conduct::Conduct;
pub use health::Readiness;
pub use listen::Listener;
pub use route::is_route;
pub use scrape::MetricsListener;
pub use service::Parts;
pub use site::Site;
pub use stop::Stop;
pub use surrender::Revoker;

/// The bounds of the public door.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections served at once; more wait to be accepted.
    pub connections_max: usize,
    /// From accept to the first byte, and from a request's first byte to the end of its head.
    pub header_timeout: Duration,
    /// Longest wait for the next part of a request's body.
    pub body_timeout: Duration,
    /// Longest life of a connection without a request.
    pub idle_timeout: Duration,
    /// Longest wait for a client that takes nothing of an answer.
    pub write_timeout: Duration,
    /// How long one who asked for a stream stands in line for a model server before it begins.
    pub keepalive_after: Duration,
    /// Header lines per request.
    pub headers_max: usize,
    /// Bytes of all header names and values of a request.
    pub header_bytes_max: usize,
    /// Bytes of a request's target.
    pub target_bytes_max: usize,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes of all request bodies held at once.
    pub buffered_bytes_max: usize,
    /// Tokens held for an answer when the request does not say how many it wants at most.
    pub completion_tokens: u64,
    /// HTTP/2 streams per connection.
    pub streams_max: u32,
}
