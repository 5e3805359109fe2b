//! Being built.

pub mod body;
pub mod echo;
pub mod tap;
pub mod usage;
