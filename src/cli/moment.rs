//! Points in time as the command line shows them.

pub(super) use crate::types::moment::{absolute, both, length, relative};
