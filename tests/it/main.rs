//! Tests through the front door, and of the house itself.

mod tidy;
