//! The admin API under `/admin/v1`, and its door on the Unix socket: HTTP/1.1, for root and the server's own user only.
//! Never: rules (the registry has them), the socket's file (`serve` binds it), who asks on the public door.

mod answer;
mod client;
mod crowd;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod problem;
mod query;
mod route;
mod server;
mod target;
#[cfg(test)]
mod tests;

use std::fs::File;

use crate::admin::AdminError;

pub(in crate::http) use answer::{Answered, failure, refusal};
pub use client::{Client, ClientError};
pub(in crate::http) use problem::status_of;
pub use server::{AdminDoor, Terms, serve_connection};

/// What the admin API takes and answers, for programs (OpenAPI 3.1). The tests hold it to the table of routes.
pub(in crate::http) const OPENAPI: &str = include_str!("admin/openapi.json");

/// The socket's name in the data directory.
pub const SOCKET: &str = "ember.sock";

/// Both sides name their version in this header; they must be the same program.
pub const VERSION_HEADER: &str = "ember-version";

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes a whole, consistent copy of the store and gives it to be read from its beginning; nothing of it is left when
/// the file is dropped. May block.
pub type Snapshot = Box<dyn Fn() -> Result<File, AdminError> + Send + Sync>;
