//! The admin door on the Unix socket: HTTP/1.1 under `/admin/v1`, for root and the server's own user only.
//! Never: rules (the registry has them), the socket's file (`serve` binds it).

mod client;
mod problem;
mod route;
mod server;
mod target;
#[cfg(test)]
mod tests;

use std::fs::File;

use crate::admin::AdminError;

pub use client::{Client, ClientError};
pub use server::{AdminDoor, serve_connection};

/// The socket's name in the data directory.
pub const SOCKET: &str = "ember.sock";

/// Both sides name their version in this header; they must be the same program.
pub const VERSION_HEADER: &str = "ember-version";

/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes a whole, consistent copy of the store and gives it to be read from its beginning; nothing of it is left when
/// the file is dropped. May block.
pub type Snapshot = Box<dyn Fn() -> Result<File, AdminError> + Send + Sync>;
