//! The `ember` program: arguments in, exit code out.

fn main() {}
