//! Attacks on real agents: from the network between them, from a member that turned, from a mesh process
//! that was taken over, from outside, and from the kernel's SIGKILL.
//!
//! Each test founds its own fleet (see `../e2e/fleet.rs`). What must never happen is counted by files that
//! the commands write; what must still happen is waited for.

#![cfg(feature = "agent")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests: what is missing fails them, deadlines are real time, and figures are shown"
)]

mod audit;
mod changes;
mod confinement;
mod damage;
mod evil;
mod executor;
mod guest;
mod kills;
mod liar;
mod listed;
mod member;
mod network;
mod outsider;
mod packages;
mod roles;
mod service;
mod signer;

#[expect(dead_code, reason = "what the tests of behaviour use")]
#[path = "../e2e/fleet.rs"]
mod fleet;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/mod.rs"]
mod support;
