//! Real agents on loopback: what a fleet does, and what it does with bad input.
//!
//! Each test founds its own fleet (see `fleet.rs`), waits for conditions and leaves nothing behind.

#![cfg(feature = "agent")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: what is missing fails them, and deadlines are real time"
)]

#[expect(dead_code, reason = "the tests that use all of it come next")]
mod fleet;
mod members;
mod orders;

#[expect(dead_code, reason = "not every module has a check that a machine may lack")]
#[path = "../support/mod.rs"]
mod support;
