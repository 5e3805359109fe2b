//! Being built.

pub mod body;
pub mod tap;
pub mod usage;
