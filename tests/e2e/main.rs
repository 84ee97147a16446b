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

mod approvals;
mod audits;
mod clocks;
mod contract;
mod crashes;
mod documents;
mod enrolment;
mod fleet;
mod grants;
mod groups;
mod inventory;
mod jobs;
mod lan;
mod members;
mod orders;
mod places;
mod presence;
mod private;
mod screens;
mod shells;
mod shipped;
mod signing;
mod tokens;
mod trust;
mod words;

#[path = "../support/schema.rs"]
mod schema;
#[path = "../support/mod.rs"]
mod support;
