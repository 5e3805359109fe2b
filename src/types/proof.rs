//! The size of proofs: each test that is one has a size for every day and one that shows what the laws say. Never: what
//! is proven.

#![allow(dead_code, unreachable_pub, reason = "the tests of the crate and those of its front door share it")]

/// Whether proofs are to be as large as the laws say: `tests/prove` sets EMBER_PROOF to `full`.
#[expect(clippy::disallowed_methods, reason = "the size of a proof is not Ember's configuration")]
pub fn is_full() -> bool {
    std::env::var("EMBER_PROOF").is_ok_and(|size| size == "full")
}

/// The number for every day, or the one that the laws say.
pub fn size(small: usize, full: usize) -> usize {
    if is_full() { full } else { small }
}

/// Says what was shown, in a line that `tests/prove` looks for.
#[allow(clippy::print_stdout, reason = "a proof speaks to whoever runs it")]
pub fn show(name: &str, value: impl std::fmt::Display, must: &str) {
    println!("\nproof: {name}: {value} (must {must})");
}

/// Says of so many that it happened to none: each was looked at, and the first would have ended the test.
pub fn show_none(name: &str, of: impl std::fmt::Display) {
    show(name, format_args!("0 of {of}"), "0");
}
