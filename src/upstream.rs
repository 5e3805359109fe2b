//! Being built.

pub mod body;
